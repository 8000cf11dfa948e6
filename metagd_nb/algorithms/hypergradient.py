"""Hypergradient descent: the learning rate descends its own gradient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..core.array_api import as_float
from ..core.hyperparameters import hyperparameter
from ..problems.base import Problem
from ..tasks import Batch
from .base import Algorithm, StepEvaluation, learning_rate
from .optimizers import OPTIMIZERS, Optimizer
from .theta import State


@dataclass(frozen=True)
class HD(Algorithm):
    """Hypergradient descent: the learning rate descends the loss's own slope in it.

    η_t = η_{t−1} + β∇L(θ_t)·u_{t−1}, then θ ← θ − η_t u_t, with u = ∇L for plain descent. The loss after the last
    step, as a function of the rate that made it, has the slope −∇L(θ_t)·u_{t−1}, u being the direction of that step:
    the rate descends it. ``multiplicative`` changes the rate by the share β cos(∇L, u) instead. State: the rate, the
    last direction, and the state of the rule.
    """

    source: ClassVar[str] = "Baydin et al. 2018, their SGD-HD and Adam-HD (momentum here is the heavy ball)"

    lr: float = learning_rate(0.01)
    hyper_lr: float = hyperparameter(
        0.001, "rate β at which the learning rate learns", low=0, high=1e6, scale="log", live=True
    )
    rule: str = hyperparameter("sgd", "what turns a gradient into a direction", choices=tuple(OPTIMIZERS))
    form: str = hyperparameter("additive", "how the rate changes", choices=("additive", "multiplicative"))

    @cached_property
    def _rule(self) -> Optimizer:
        return OPTIMIZERS[self.rule]()

    def init(self, theta: np.ndarray) -> State:
        return self.lr, np.zeros_like(theta), self._rule.init(theta)

    def evaluate(self, problem: Problem, theta: np.ndarray, state: State, batch: Batch) -> StepEvaluation:
        lr, before, memory = state
        point = problem.linearize(theta, batch)
        grad = point.grad[0]
        slope = as_float(grad @ before)
        if self.form == "additive":
            lr = lr + self.hyper_lr * slope
        else:
            size = (as_float(grad @ grad) * as_float(before @ before)) ** 0.5
            lr = lr * (1 + self.hyper_lr * slope / (size + (size == 0)))
        return StepEvaluation(as_float(point.loss[0]), grad, 1, 0, (lr, before, memory))

    def update(self, theta: np.ndarray, evaluation: StepEvaluation) -> tuple[np.ndarray, State]:
        lr, _, memory = evaluation.state
        direction, memory = self._rule.update(evaluation.grad, memory, 1.0)
        return theta - lr * direction, (lr, direction, memory)

    def rates(self, problem: Problem, theta: np.ndarray, state: State) -> tuple[float, ...]:
        return state[0], self.hyper_lr

    def on_rate_change(
        self, problem: Problem, theta: np.ndarray, state: State, changed: dict[str, Any]
    ) -> tuple[np.ndarray, State]:
        return theta, (changed.get("lr", state[0]), *state[1:])
