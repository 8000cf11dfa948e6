"""Base classes of the methods: `Algorithm`, `Descent` for one loss and `Meta` for a family of tasks.

A method is a frozen dataclass whose fields are its hyperparameters. ``evaluate`` returns loss and gradient at θ_t (one
row of the record), ``update`` takes the step to θ_{t+1}. State is separate and never changed in place, so that a run
can stop between any two steps.

Shapes: T tasks, K points for each, P parameters; θ (M,) holds the parameters (P,) and what a method learns besides.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from ..core.array_api import as_float
from ..core.errors import MetagdError
from ..core.hyperparameters import Checked, hyperparameter, hyperparameters
from ..core.parameters import ParameterLayout
from ..problems.base import Problem
from ..tasks import Batch, TaskBatch, Tasks
from .inner_loop import Parameters, Rate, adaptation
from .optimizers import OPTIMIZERS, Optimizer

Array = np.ndarray
State = Any
NOTHING = ParameterLayout({})


class StepEvaluation(NamedTuple):
    """Result of one evaluation at θ."""

    loss: float
    grad: Array  # (M,), the direction that the update descends
    grad_evals: int  # gradients of one task's loss
    hvps: int  # Hessian·vector products of one task's loss
    state: State  # the state for the update, with what an adaptive rule has computed from this gradient


class MetaGradient(NamedTuple):
    """Result of one meta-step."""

    loss: Array  # (T,), query losses after adaptation
    grad: Array  # (M,), mean over tasks of the meta-gradient
    grad_evals: int  # for each task
    hvps: int = 0  # for each task


@dataclass(frozen=True)
class Algorithm(Checked):
    """Base of all methods; the fields of a subclass are its hyperparameters."""

    setting: ClassVar[Literal["single", "meta"]] = "single"  # one loss, or a family of tasks
    source: ClassVar[str] = ""  # author, year and section
    compiles: ClassVar[bool] = True  # JAX can trace a whole step; otherwise the step is taken in NumPy
    refuses: ClassVar[bool] = False  # an evaluation may raise because of a value; compiled, it returns nan instead

    def bind(self, tasks: Tasks | None) -> Self:
        """Return the method for a family of tasks; methods that depend on the family keep its sizes."""
        return self

    def extra_layout(self, problem: Problem) -> ParameterLayout:
        """Return the named slices of what is learned besides the parameters; in θ (M,) they follow these."""
        return NOTHING

    def extras(self, problem: Problem, theta: Array) -> dict[str, Array]:
        """Return name → view of ``theta`` (M,) for each of these slices."""
        return self.extra_layout(problem).views(theta[problem.layout.size :])

    def constants(self) -> tuple[str, ...]:
        """Return the names of the slices of θ that the method uses but does not change ("parameters": the first P)."""
        return ()

    def init_parameters(self, problem: Problem, theta: Array, tasks: Tasks | None = None) -> Array:
        """Return the initial θ (M,).

        Parameters
        ----------
        problem : Problem
        theta : array (P,)
            Initial parameters.
        tasks : Tasks, optional
            The family to learn from; the method must be bound to it (`bind`).
        """
        return theta

    def init(self, theta: Array) -> State:
        """Return the initial state for an initial θ (M,)."""
        return ()

    def evaluate(self, problem: Problem, theta: Array, state: State, batch: Any) -> StepEvaluation:
        """Return loss and gradient at ``theta`` (M,)."""
        raise TypeError(f"{type(self).__name__} needs a method evaluate")

    def update(self, theta: Array, evaluation: StepEvaluation) -> tuple[Array, State]:
        """Return the next θ (M,) and state."""
        raise TypeError(f"{type(self).__name__} needs a method update")

    @classmethod
    def live_rates(cls) -> tuple[str, ...]:
        """Return the names of the rates that the record holds and that may change during a run."""
        return tuple(name for name, declared in hyperparameters(cls).items() if declared.live)

    def result(self, problem: Problem, theta: Array, state: State) -> Array:
        """Return the parameters (P,) that a run shows for ``theta`` (M,)."""
        return theta[: problem.layout.size]

    def learned(self, problem: Problem, theta: Array) -> dict[str, Array]:
        """Return a copy of what is learned besides the parameters, by name."""
        return {name: view.copy() for name, view in self.extras(problem, theta).items()}

    def rates(self, problem: Problem, theta: Array, state: State) -> tuple[float, ...]:
        """Return the present values of `live_rates`; the mean of a rate with several values."""
        learned = self.extras(problem, theta)
        if not learned:
            return self._set_rates
        return tuple(
            as_float(learned[name].mean()) if name in learned else rate
            for name, rate in zip(self._live, self._set_rates, strict=True)
        )

    @cached_property
    def _live(self) -> tuple[str, ...]:
        return self.live_rates()

    @cached_property
    def _set_rates(self) -> tuple[float, ...]:
        return tuple(float(np.mean(getattr(self, name))) for name in self._live)

    def on_rate_change(
        self, problem: Problem, theta: Array, state: State, changed: dict[str, Any]
    ) -> tuple[Array, State]:
        """Return θ and state after the user has set the rates ``changed``; all values of a learned rate are set."""
        if not changed.keys().isdisjoint(self.extra_layout(problem).shapes):
            theta = self.init_parameters(problem, theta[: problem.layout.size])
        return theta, state


@dataclass(frozen=True)
class Descent(Algorithm):
    """Methods that descend the gradient of one loss with an optimizer."""

    def optimizer(self) -> Optimizer:
        """Return the rule that turns a gradient into a step."""
        raise TypeError(f"{type(self).__name__} needs a method optimizer")

    def init(self, theta: Array) -> State:
        return self._rule.init(theta)

    @cached_property
    def _rule(self) -> Optimizer:
        """The optimizer, built once: building it at each step would cost as much as the step."""
        return self.optimizer()

    def evaluate(self, problem: Problem, theta: Array, state: State, batch: Batch) -> StepEvaluation:
        point = problem.linearize(theta, batch)
        return StepEvaluation(as_float(point.loss[0]), point.grad[0], 1, 0, state)

    def update(self, theta: Array, evaluation: StepEvaluation) -> tuple[Array, State]:
        step, state = self._rule.update(evaluation.grad, evaluation.state, self.lr)  # type: ignore[attr-defined]
        return theta - step, state


def learning_rate(default: float) -> Any:
    """Declare the learning rate η of a single-task method."""
    return hyperparameter(default, "learning rate η", low=0, high=1e6, scale="log", live=True)


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
        """Return the direction of the meta-update at ``theta`` (M,) and the query losses after adaptation."""
        raise TypeError(f"{type(self).__name__} needs a method meta_gradient")

    def rate(self, problem: Problem) -> Rate:
        """Return the inner rate: a number, or an array (P,) in the problem's precision.

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
        """Return the parameters where adaptation begins and the rate of each of ``steps`` steps."""
        return theta, [self.rate(problem)] * steps

    def path(self, problem: Problem, theta: Array, support: Batch, steps: int) -> Iterator[Parameters]:
        """Yield φ after 0, 1, … ``steps`` adaptation steps from ``theta`` (M,)."""
        phi, rates = self.start(problem, theta, steps)
        return adaptation(problem, phi, support, rates)

    def adapt(self, problem: Problem, theta: Array, support: Batch, steps: int | None = None) -> Parameters:
        """Return φ after ``steps`` adaptation steps (default ``inner_steps``)."""
        return deque(self.path(problem, theta, support, self.inner_steps if steps is None else steps), maxlen=1).pop()

    def predict(self, problem: Problem, phi: Parameters, x: Array) -> Array:
        """Return outputs (T, K, C) at adapted parameters for x (T, K, D)."""
        return np.asarray(problem.predict(phi, x))

    def loss(self, problem: Problem, phi: Parameters, batch: Batch) -> Array:
        """Return losses (T,) at adapted parameters."""
        return np.asarray(problem.linearize(phi, batch).loss)

    @cached_property
    def _rule(self) -> Optimizer:
        return OPTIMIZERS[self.outer]()

    def init(self, theta: Array) -> State:
        return self._rule.init(theta)

    def evaluate(self, problem: Problem, theta: Array, state: State, batch: TaskBatch) -> StepEvaluation:
        found, tasks = self.meta_gradient(problem, theta, batch), len(batch)
        return StepEvaluation(
            as_float(found.loss.sum()) / tasks, found.grad, tasks * found.grad_evals, tasks * found.hvps, state
        )

    def update(self, theta: Array, evaluation: StepEvaluation) -> tuple[Array, State]:
        step, state = self._rule.update(evaluation.grad, evaluation.state, self.meta_lr)
        return theta - step, state


_RENAMED: dict[str, Any] = {"hyper": hyperparameter, "Outer": Optimizer}  # old names of this module, still importable


def __getattr__(name: str) -> Any:
    """Return a renamed object by its old name, with a warning."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{name} is now called {_RENAMED[name].__name__}", DeprecationWarning, stacklevel=2)
    return _RENAMED[name]
