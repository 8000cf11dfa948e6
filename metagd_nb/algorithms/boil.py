"""BOIL: adapt all layers but the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..core.hyperparameters import hyperparameter
from ..problems.base import Problem
from .anil import ANIL


@dataclass(frozen=True)
class BOIL(ANIL):
    """BOIL (body only update in the inner loop): MAML that adapts all layers but the last.

    The mask is that of ANIL, inverted: the features change from task to task, and the last layer stays as it was
    learned. A model with one layer adapts nothing.
    """

    source: ClassVar[str] = "Oh, Yoo, Kim & Yun 2021, BOIL: Towards representation change for few-shot learning, §3"

    adapted: str = hyperparameter(
        "body", "parameters to adapt, comma-separated: W0,b0; body: those of all layers but the last"
    )

    def mask(self, problem: Problem) -> np.ndarray:
        if self.adapted != "body":
            return super().mask(problem)
        return ~problem.layout.mask(problem.layout.last)
