"""Meta-SGD: learn where to start, in which direction to go, and how far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.hyperparameters import hyperparameter
from .maml import MAML
from .rate_sharing import SHARING


@dataclass(frozen=True)
class MetaSGD(MAML):
    """Meta-SGD: MAML with a learned rate for every parameter; a rate may become negative.

    The paper draws the starting rates from a range; here they all start at ``inner_lr``.
    """

    source: ClassVar[str] = "Li et al. 2017, §3.2 and algorithm 1"

    learn_rates: str = hyperparameter(
        "parameter", "inner rates learned along with θ, and what shares one", choices=SHARING[1:]
    )
