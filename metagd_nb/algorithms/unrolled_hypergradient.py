"""Hypergradients: learn the learning rates of gradient descent by differentiating through its unrolled steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ..core.array_api import as_float, namespace
from ..core.hyperparameters import hyperparameter
from ..core.parameters import ParameterLayout
from ..problems.base import Problem
from ..tasks import Batch, Tasks
from .base import Algorithm, StepEvaluation, learning_rate
from .inner_loop import pull_back, unroll
from .optimizers import OPTIMIZERS, Optimizer
from .rate_sharing import SHARING, gather, n_rates, shared_start, spread
from .theta import State


@dataclass(frozen=True)
class Unroll(Algorithm):
    """Unrolled hypergradient: learn the rates by gradient descent on the loss after ``horizon`` steps.

    Each outer step takes ``horizon`` inner steps from the initial parameters, then updates the rates with the exact
    gradient of the final loss. Row t holds the final loss of outer step t; ``params`` are the final parameters,
    ``learned`` the rates. It is MAML's gradient in the rates, with one task whose support and query are the same.
    """

    source: ClassVar[str] = (
        "Maclaurin, Duvenaud & Adams 2015, algorithm 2 (without its reversal); Franceschi et al. 2017"
    )
    takes_batches: ClassVar[bool] = False  # a step is a whole descent on one loss

    lr: float = learning_rate(0.01)
    horizon: int = hyperparameter(10, "steps of the descent that is unrolled", low=1, high=10_000)
    sharing: str = hyperparameter("run", "what shares a rate", choices=SHARING[1:])
    hyper_lr: float = hyperparameter(0.001, "rate at which the rates learn", low=0, high=1e6, scale="log", live=True)
    outer: str = hyperparameter("sgd", "rule of the hyper-update", choices=tuple(OPTIMIZERS))

    @cached_property
    def _rule(self) -> Optimizer:
        return OPTIMIZERS[self.outer]()

    def extra_layout(self, problem: Problem) -> ParameterLayout:
        return ParameterLayout({"lr": (n_rates(problem.layout, self.sharing, self.horizon),)})

    def constants(self) -> tuple[str, ...]:
        return ("parameters",)  # every descent starts from the same initial parameters

    def init_parameters(self, problem: Problem, theta: np.ndarray, tasks: Tasks | None = None) -> np.ndarray:
        rates = shared_start(problem.layout, self.sharing, self.horizon, np.full(theta.shape, self.lr))
        return np.concatenate([theta, rates.astype(theta.dtype)])

    def init(self, theta: np.ndarray) -> State:
        return self._rule.init(theta), theta

    def evaluate(self, problem: Problem, theta: np.ndarray, state: State, batch: Batch) -> StepEvaluation:
        size, learned = problem.layout.size, self.extras(problem, theta)["lr"]
        rates = spread(problem.layout, self.sharing, self.horizon, learned, self.horizon)
        passed, phis = unroll(problem, theta[:size], batch, rates)
        end = problem.linearize(phis[-1], batch)
        _, rate_grads = pull_back(passed, rates, end.grad, learns=True)
        in_rates = gather(problem.layout, self.sharing, self.horizon, rate_grads)
        join = namespace(in_rates).concatenate
        grad = join([np.zeros(size, theta.dtype), in_rates])  # every descent begins at the same parameters
        ended = join([problem.flat(phis[-1], 1)[0], learned])
        return StepEvaluation(as_float(end.loss[0]), grad, self.horizon + 1, self.horizon, (state[0], ended))

    def update(self, theta: np.ndarray, evaluation: StepEvaluation) -> tuple[np.ndarray, State]:
        step, memory = self._rule.update(evaluation.grad, evaluation.state[0], self.hyper_lr)
        return theta - step, (memory, evaluation.state[1])

    def result(self, problem: Problem, theta: np.ndarray, state: State) -> np.ndarray:
        return np.asarray(state[1])[: problem.layout.size]
