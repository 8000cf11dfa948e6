"""Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.hyperparameters import hyperparameter
from .base import Descent, learning_rate
from .optimizers import Optimizer
from .optimizers import adam as adam_rule


@dataclass(frozen=True)
class Adam(Descent):
    """Adam: each coordinate's step is scaled by the running size of its gradient."""

    source: ClassVar[str] = "Kingma & Ba 2015, algorithm 1"

    lr: float = learning_rate(0.01)
    beta1: float = hyperparameter(0.9, "decay of the mean of gradients", low=0, high=0.99999)
    beta2: float = hyperparameter(0.999, "decay of the mean of squared gradients", low=0, high=0.99999)
    eps: float = hyperparameter(1e-8, "keeps the division finite", low=0, above=True, high=1, scale="log")

    def optimizer(self) -> Optimizer:
        return adam_rule(self.beta1, self.beta2, self.eps)
