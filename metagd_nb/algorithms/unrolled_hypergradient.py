"""Hypergradients through an unrolled horizon: learn the rates of a whole descent from where it ends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..core.array_api import as_float, namespace
from ..core.hyperparameters import hyperparameter
from ..problems.base import Problem
from ..tasks import Tasks
from .base import Algorithm, State, StepEvaluation, learning_rate
from .maml import pull_back
from .optimizers import OPTIMIZERS, Optimizer
from .rate_sharing import SHARING, gather, shared_start, spread


@dataclass(frozen=True)
class Unroll(Algorithm):
    """Unrolled hypergradient: improve the rates by how well a whole descent with them ends.

    Descend ``horizon`` steps from the start, move the rates by the exact slope of the loss at the end, begin again.
    Row t holds the loss at the end of the t-th descent; ``params`` are where it ended, ``learned`` its rates.
    The slope is that of MAML in its rates, with one task whose support and query are the same.
    """

    source: ClassVar[str] = (
        "Maclaurin, Duvenaud & Adams 2015, algorithm 2 (without its reversal); Franceschi et al. 2017"
    )

    lr: float = learning_rate(0.01)
    horizon: int = hyperparameter(10, "steps of the descent that is unrolled", low=1, high=10_000)
    sharing: str = hyperparameter("run", "what shares a rate", choices=SHARING[1:])
    hyper_lr: float = hyperparameter(0.001, "rate at which the rates learn", low=0, high=1e6, scale="log", live=True)
    outer: str = hyperparameter("sgd", "rule of the hyper-update", choices=tuple(OPTIMIZERS))

    @cached_property
    def _rule(self) -> Optimizer:
        return OPTIMIZERS[self.outer]()

    def init_parameters(self, problem: Problem, theta: np.ndarray, tasks: Tasks | None = None) -> np.ndarray:
        rates = shared_start(problem.layout, self.sharing, self.horizon, np.full(theta.shape, self.lr))
        return np.concatenate([theta, rates.astype(theta.dtype)])

    def init(self, theta: np.ndarray) -> State:
        return self._rule.init(theta), theta

    def evaluate(self, problem: Problem, theta: np.ndarray, state: State, batch: Any) -> StepEvaluation:
        size = problem.layout.size
        each = spread(problem.layout, self.sharing, self.horizon, theta[size:], self.horizon)
        phi: Any = theta[:size]
        passed = []
        for rate in each:
            passed.append(problem.linearize(phi, batch))
            phi = passed[-1].step(rate)
        end = problem.linearize(phi, batch)
        _, in_rates = pull_back(passed, each, end.grad, learns=True)
        learned = gather(problem.layout, self.sharing, self.horizon, in_rates)
        still = np.zeros(size, theta.dtype)  # every descent begins at the same start
        grad = namespace(learned).concatenate([still, learned])
        ended = namespace(learned).concatenate([problem.flat(phi, 1)[0], theta[size:]])
        return StepEvaluation(as_float(end.loss[0]), grad, self.horizon + 1, self.horizon, (state[0], ended))

    def update(self, theta: np.ndarray, evaluation: StepEvaluation) -> tuple[np.ndarray, State]:
        step, kept = self._rule.update(evaluation.grad, evaluation.state[0], self.hyper_lr)
        return theta - step, (kept, evaluation.state[1])

    def result(self, problem: Problem, theta: np.ndarray, state: State) -> np.ndarray:
        return np.asarray(state[1])[: problem.layout.size]

    def learned(self, problem: Problem, theta: np.ndarray) -> dict[str, np.ndarray]:
        return {"lr": theta[problem.layout.size :].copy()}

    def rates(self, problem: Problem, theta: np.ndarray, state: State) -> tuple[float, ...]:
        return as_float(theta[problem.layout.size :].mean()), self.hyper_lr

    def on_rate_change(
        self, problem: Problem, theta: np.ndarray, state: State, changed: dict[str, Any]
    ) -> tuple[np.ndarray, State]:
        return (self.init_parameters(problem, theta[: problem.layout.size]) if "lr" in changed else theta), state
