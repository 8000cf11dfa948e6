"""Base class of the methods that learn an initialization for a family of tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from ..core.array_api import as_float
from ..core.errors import MetagdError
from ..core.hyperparameters import hyperparameter
from ..problems.base import Problem
from ..tasks import Batch, TaskBatch
from .base import Algorithm, MetaGradient, StepEvaluation
from .inner_loop import Parameters, Rate, adaptation
from .optimizers import OPTIMIZERS, Optimizer
from .theta import Array, State


def inner_rate(default: float) -> Any:
    """Declare the rate of the adaptation steps of a meta-learning method."""
    return hyperparameter(
        default,
        "rate of the adaptation steps; several: one a parameter, 0 leaves it unadapted",
        low=0,
        high=1e6,
        scale="log",
        live=True,
        vector=True,
    )


@dataclass(frozen=True)
class Meta(Algorithm):
    """Methods that learn an initialization for a family of tasks."""

    setting: ClassVar[Literal["single", "meta"]] = "meta"
    scheduled_rate: ClassVar[str] = "meta_lr"
    # "" where the direction is the gradient of the query loss after adaptation. Otherwise its formula for one task, in
    # terms of theta, phi, support_grad(at), query_grad(at), shots, queries.
    direction: ClassVar[str] = ""
    embeds: ClassVar[bool] = False  # uses the model's features instead of its outputs

    inner_lr: float | tuple[float, ...] = inner_rate(0.01)
    inner_steps: int = hyperparameter(1, "adaptation steps on the support set", low=0, high=1000)
    meta_lr: float = hyperparameter(0.001, "rate of the meta-update", low=0, high=1e6, scale="log", live=True)
    outer: str = hyperparameter("adam", "rule of the meta-update", choices=tuple(OPTIMIZERS))
    meta_batch_size: int = hyperparameter(25, "tasks in a meta-step", low=1, high=100_000)
    shots: int = hyperparameter(10, "support points a task, or a class where tasks are N-way", low=1, high=100_000)
    queries: int = hyperparameter(10, "query points a task, or a class where tasks are N-way", low=1, high=100_000)

    def meta_gradient(self, problem: Problem, theta: Array, batch: TaskBatch) -> MetaGradient:
        """Return the direction of the meta-update and the query losses after adaptation.

        Parameters
        ----------
        problem : Problem
        theta : array (M,)
        batch : TaskBatch

        Returns
        -------
        MetaGradient

        Raises
        ------
        TypeError
            For a class without this method.
        """
        raise TypeError(f"{type(self).__name__} needs a method meta_gradient")

    def rate(self, problem: Problem) -> Rate:
        """Return the inner rate.

        Parameters
        ----------
        problem : Problem

        Returns
        -------
        float or array (P,)
            An array is in the problem's precision.

        Raises
        ------
        MetagdError
            For another number of rates than parameters.
        """
        if not isinstance(self.inner_lr, tuple):
            return self.inner_lr
        rates = self._rates.astype(problem.dtype, copy=False)
        if len(rates) != problem.layout.size:
            raise MetagdError(f"has {len(rates)} rates for {problem.layout.size} parameters", "inner_lr")
        return rates

    @cached_property
    def _rates(self) -> Array:
        return np.array(self.inner_lr, float)

    def start(self, problem: Problem, theta: Array, steps: int) -> tuple[Parameters, Sequence[Rate]]:
        """Return the start of the adaptation and its rates.

        Parameters
        ----------
        problem : Problem
        theta : array (M,)
        steps : int

        Returns
        -------
        phi : array (P,) or (T, P)
        rates : sequence of float or array (P,)
            The rate of each step.
        """
        return theta, [self.rate(problem)] * steps

    def path(self, problem: Problem, theta: Array, support: Batch, steps: int) -> Iterator[Parameters]:
        """Yield the parameters φ after 0, 1, … ``steps`` adaptation steps.

        Parameters
        ----------
        problem : Problem
        theta : array (M,)
        support : Batch
        steps : int

        Yields
        ------
        phi : array (P,) or (T, P), or the value that `Point.step` returns
        """
        phi, rates = self.start(problem, theta, steps)
        return adaptation(problem, phi, support, rates)

    def adapt(self, problem: Problem, theta: Array, support: Batch, steps: int | None = None) -> Parameters:
        """Adapt to tasks.

        Parameters
        ----------
        problem : Problem
        theta : array (M,)
        support : Batch
        steps : int, optional
            Adaptation steps; by default ``inner_steps``.

        Returns
        -------
        array (T, P), or the value that `Point.step` returns
        """
        return deque(self.path(problem, theta, support, self.inner_steps if steps is None else steps), maxlen=1).pop()

    def predict(self, problem: Problem, phi: Parameters, x: Array) -> Array:
        """Predict with adapted parameters.

        Parameters
        ----------
        problem : Problem
        phi : array (P,) or (T, P), or the value that `Point.step` returns
        x : array (T, K, D)

        Returns
        -------
        array (T, K, C)
        """
        return np.asarray(problem.predict(phi, x))

    def loss(self, problem: Problem, phi: Parameters, batch: Batch) -> Array:
        """Evaluate the losses of adapted parameters.

        Parameters
        ----------
        problem : Problem
        phi : array (P,) or (T, P), or the value that `Point.step` returns
        batch : Batch

        Returns
        -------
        array (T,)
        """
        return np.asarray(problem.linearize(phi, batch).loss)

    @cached_property
    def _rule(self) -> Optimizer:
        return OPTIMIZERS[self.outer]()

    def init(self, theta: Array) -> State:
        return self._rule.init(theta)

    def evaluate(self, problem: Problem, theta: Array, state: State, batch: TaskBatch) -> StepEvaluation:
        return self.step_evaluation(self.meta_gradient(problem, theta, batch), len(batch), state)

    @staticmethod
    def step_evaluation(found: MetaGradient, tasks: int, state: State) -> StepEvaluation:
        """Sum up a meta-gradient as the evaluation of a step.

        Parameters
        ----------
        found : MetaGradient
        tasks : int
            Number of tasks T.
        state : tuple

        Returns
        -------
        StepEvaluation
        """
        loss = as_float(found.loss.sum()) / tasks
        return StepEvaluation(loss, found.grad, tasks * found.grad_evals, tasks * found.hvps, state)

    def update(self, theta: Array, evaluation: StepEvaluation) -> tuple[Array, State]:
        step, state = self._rule.update(evaluation.grad, evaluation.state, self.meta_lr)
        return theta - step, state
