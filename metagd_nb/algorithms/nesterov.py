"""Gradient descent with Nesterov's momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.hyperparameters import hyperparameter
from .base import Descent, learning_rate
from .optimizers import Optimizer
from .optimizers import nesterov as nesterov_rule


@dataclass(frozen=True)
class Nesterov(Descent):
    """Nesterov's momentum: m ← βm + ∇L(θ), θ ← θ − η(∇L(θ) + βm)."""

    source: ClassVar[str] = "Nesterov 1983; in this form Sutskever et al. 2013, §2"

    lr: float = learning_rate(0.1)
    momentum: float = hyperparameter(0.9, "share β of the last step that is kept", low=0, high=1)

    def optimizer(self) -> Optimizer:
        return nesterov_rule(self.momentum)
