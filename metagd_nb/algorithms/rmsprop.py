"""RMSprop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.hyperparameters import hyperparameter
from .base import Descent, learning_rate
from .optimizers import Optimizer
from .optimizers import rmsprop as rmsprop_rule


@dataclass(frozen=True)
class RMSprop(Descent):
    """RMSprop: each coordinate's step is divided by the running root mean square of its gradient."""

    source: ClassVar[str] = "Tieleman & Hinton 2012, lecture 6.5"

    lr: float = learning_rate(0.01)
    decay: float = hyperparameter(0.99, "decay ρ of the mean of squared gradients", low=0, high=0.99999)
    eps: float = hyperparameter(1e-8, "keeps the division finite", low=0, above=True, high=1, scale="log")

    def optimizer(self) -> Optimizer:
        return rmsprop_rule(self.decay, self.eps)
