"""Gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.hyperparameters import hyperparameter
from .base import Descent, learning_rate
from .optimizers import Optimizer
from .optimizers import momentum as heavy_ball


@dataclass(frozen=True)
class Momentum(Descent):
    """Heavy ball: m ← βm + ∇L(θ), θ ← θ − ηm."""

    source: ClassVar[str] = "Polyak 1964; Sutskever et al. 2013, §2"

    lr: float = learning_rate(0.1)
    momentum: float = hyperparameter(0.9, "share β of the last step that is kept", low=0, high=1)

    def optimizer(self) -> Optimizer:
        return heavy_ball(self.momentum)
