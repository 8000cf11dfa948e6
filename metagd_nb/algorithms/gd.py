"""Gradient descent, plain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Descent, learning_rate
from .optimizers import Optimizer, sgd


@dataclass(frozen=True)
class GD(Descent):
    """Gradient descent: θ ← θ − η∇L(θ)."""

    source: ClassVar[str] = "Cauchy 1847; Goodfellow, Bengio & Courville 2016, §4.3"

    lr: float = learning_rate(0.1)

    def optimizer(self) -> Optimizer:
        return sgd()
