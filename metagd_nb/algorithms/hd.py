"""Hypergradient descent: the learning rate descends its own gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..hyper import hyper
from ..problem import Problem
from .base import Algorithm, Look, State, learning_rate


@dataclass(frozen=True)
class HD(Algorithm):
    """Hypergradient descent: η_t = η_{t−1} + β∇L(θ_t)·∇L(θ_{t−1}), then θ ← θ − η_t∇L(θ_t).

    The loss after the last step, as a function of the rate that made it, has the slope
    −∇L(θ_t)·∇L(θ_{t−1}): the rate descends it. State: the rate and the gradient before.
    """

    source: ClassVar[str] = "Baydin et al. 2018, eq. 6 and algorithm 4 (SGD-HD)"

    lr: float = learning_rate(0.01)
    hyper_lr: float = hyper(0.001, "rate β at which the learning rate learns", low=0, high=1e6, scale="log", live=True)

    def init(self, theta: np.ndarray) -> State:
        return self.lr, np.zeros_like(theta)

    def look(self, problem: Problem, theta: np.ndarray, state: State, batch: Any) -> Look:
        lr, before = state
        point = problem.linearize(theta, batch)
        grad = point.grad[0]
        lr += self.hyper_lr * float(grad @ before)
        return Look(float(point.loss[0]), grad, 1, 0, (lr, grad))

    def move(self, theta: np.ndarray, look: Look) -> tuple[np.ndarray, State]:
        return theta - look.state[0] * look.grad, look.state

    def rates(self, problem: Problem, theta: np.ndarray, state: State) -> tuple[float, ...]:
        return state[0], self.hyper_lr

    def retuned(
        self, problem: Problem, theta: np.ndarray, state: State, changed: dict[str, Any]
    ) -> tuple[np.ndarray, State]:
        return theta, (changed.get("lr", state[0]), state[1])
