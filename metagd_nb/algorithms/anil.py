"""ANIL: adapt the head only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..core.hyperparameters import hyperparameter
from ..problems.base import Problem
from .maml import MAML


@dataclass(frozen=True)
class ANIL(MAML):
    """ANIL (almost no inner loop): MAML that adapts only some of the parameters.

    A mask is a rate of zero, so nothing else differs from MAML.
    """

    source: ClassVar[str] = "Raghu et al. 2020, §4"

    adapted: str = hyperparameter("last", "parameters to adapt, comma-separated: W2,b2; last: those of the last layer")

    def mask(self, problem: Problem) -> np.ndarray:
        names = problem.layout.last if self.adapted == "last" else [n.strip() for n in self.adapted.split(",")]
        return problem.layout.mask(names)
