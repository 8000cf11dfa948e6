"""Adam with decoupled weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.hyperparameters import hyperparameter
from .adam import Adam
from .base import StepEvaluation
from .theta import Array, State


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: θ ← (1 − ηλ)θ − Adam's step, whose means do not see the decay."""

    source: ClassVar[str] = "Loshchilov & Hutter 2019, algorithm 2"

    weight_decay: float = hyperparameter(0.01, "weight decay λ, apart from the gradient", low=0, high=1e6, scale="log")

    def update(self, theta: Array, evaluation: StepEvaluation) -> tuple[Array, State]:
        moved, state = super().update(theta, evaluation)
        return moved - self.lr * self.weight_decay * theta, state
