"""The methods, one a file; ``ALGORITHMS`` is the table that everything else reads."""

from __future__ import annotations

from .adam import Adam
from .base import Algorithm, Descent, Look, Meta
from .fomaml import FOMAML
from .gd import GD
from .hd import HD
from .maml import MAML
from .momentum import Momentum

ALGORITHMS: dict[str, type[Algorithm]] = {
    "gd": GD,
    "momentum": Momentum,
    "adam": Adam,
    "hd": HD,
    "maml": MAML,
    "fomaml": FOMAML,
}

__all__ = ["ALGORITHMS", "Algorithm", "Descent", "Look", "Meta"]
