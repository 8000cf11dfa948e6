"""What a method is: a frozen set of hyperparameters, a look at the present parameters, and a move.

``evaluate`` evaluates (loss and gradient at θ_t: one row of the record); ``update`` takes the step to θ_{t+1}.
State is separate, plain and never changed in place, so a run can be stopped between any two steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from ..core.array_api import as_float
from ..core.errors import MetagdError
from ..core.hyperparameters import Checked, hyperparameter, hyperparameters
from ..problems.base import Problem
from ..tasks import Batch, TaskBatch, Tasks
from .optimizers import OPTIMIZERS, Optimizer

Array = np.ndarray
State = Any


class StepEvaluation(NamedTuple):
    """One evaluation: the loss, the direction (P,), and what it cost."""

    loss: float
    grad: Array
    grad_evals: int
    hvps: int
    state: State  # with what an adaptive rule learned by looking


class MetaGradient(NamedTuple):
    """What one meta-step saw: query losses (T,) after adaptation, the direction (M,), and the cost for each task."""

    loss: Array
    grad: Array
    grad_evals: int
    hvps: int = 0


@dataclass(frozen=True)
class Algorithm(Checked):
    """Base of all methods; the fields of a subclass are its hyperparameters."""

    setting: ClassVar[Literal["single", "meta"]] = "single"  # one loss, or a family of tasks
    source: ClassVar[str] = ""
    compiles: ClassVar[bool] = True  # whether JAX can trace a whole step; otherwise it is taken in NumPy
    refuses: ClassVar[bool] = False  # whether a look may raise over a value; compiled, it then gives nan

    def init_parameters(self, problem: Problem, theta: Array, tasks: Tasks | None = None) -> Array:
        """All that is learned (M,), from the starting parameters (P,): these first, then what else there is.

        ``tasks`` is the family that will be learned from, where there is one.
        """
        return theta

    def init(self, theta: Array) -> State:
        """The state that goes with a start (M,)."""
        return ()

    def evaluate(self, problem: Problem, theta: Array, state: State, batch: Any) -> StepEvaluation:
        """Loss and gradient at ``theta`` (M,)."""
        raise TypeError(f"{type(self).__name__} needs a method look")

    def update(self, theta: Array, evaluation: StepEvaluation) -> tuple[Array, State]:
        """The next ``theta`` (M,) and state."""
        raise TypeError(f"{type(self).__name__} needs a method move")

    @classmethod
    def live_rates(cls) -> tuple[str, ...]:
        """The rates that the record keeps and a person may change while the run goes on."""
        return tuple(name for name, declared in hyperparameters(cls).items() if declared.live)

    def result(self, problem: Problem, theta: Array, state: State) -> Array:
        """The parameters (P,) that a run has to show for ``theta`` (M,)."""
        return theta[: problem.layout.size]

    def learned(self, problem: Problem, theta: Array) -> dict[str, Array]:
        """What is learned beside the parameters, by name."""
        return {}

    def rates(self, problem: Problem, theta: Array, state: State) -> tuple[float, ...]:
        """Their present values, in the order of `live`; the mean of a rate that has several."""
        return self._set_rates

    @cached_property
    def _set_rates(self) -> tuple[float, ...]:
        return tuple(float(np.mean(getattr(self, name))) for name in self.live_rates())

    def on_rate_change(
        self, problem: Problem, theta: Array, state: State, changed: dict[str, Any]
    ) -> tuple[Array, State]:
        """``theta`` and state after a person has set ``changed``; only methods that learn a rate care."""
        return theta, state


@dataclass(frozen=True)
class Descent(Algorithm):
    """Methods that follow the gradient of one loss, through an outer optimizer."""

    def optimizer(self) -> Optimizer:
        """The rule that turns a gradient into a step."""
        raise TypeError(f"{type(self).__name__} needs a method optimizer")

    def init(self, theta: Array) -> State:
        return self._rule.init(theta)

    @cached_property
    def _rule(self) -> Optimizer:
        """The rule, made once: anew at each step it would cost as much as the step."""
        return self.optimizer()

    def evaluate(self, problem: Problem, theta: Array, state: State, batch: Batch) -> StepEvaluation:
        point = problem.linearize(theta, batch)
        return StepEvaluation(as_float(point.loss[0]), point.grad[0], 1, 0, state)

    def update(self, theta: Array, evaluation: StepEvaluation) -> tuple[Array, State]:
        step, state = self._rule.update(evaluation.grad, evaluation.state, self.lr)  # type: ignore[attr-defined]
        return theta - step, state


def learning_rate(default: float) -> Any:
    """The declaration of η that every descent method shares."""
    return hyperparameter(default, "learning rate η", low=0, high=1e6, scale="log", live=True)


def inner_rate(default: float) -> Any:
    """The declaration of the adaptation steps' rate that every meta-learning method shares."""
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
    """Methods that learn, over a family of tasks, where learning should start."""

    setting: ClassVar[Literal["single", "meta"]] = "meta"
    embeds: ClassVar[bool] = False  # whether it uses a model's features and not its outputs

    inner_lr: float | tuple[float, ...] = inner_rate(0.01)
    inner_steps: int = hyperparameter(1, "adaptation steps on the support set", low=0, high=1000)
    meta_lr: float = hyperparameter(0.001, "rate of the meta-update", low=0, high=1e6, scale="log", live=True)
    outer: str = hyperparameter("adam", "rule of the meta-update", choices=tuple(OPTIMIZERS))
    meta_batch_size: int = hyperparameter(25, "tasks in a meta-step", low=1, high=100_000)
    shots: int = hyperparameter(10, "support points a task, or a class where tasks are N-way", low=1, high=100_000)
    queries: int = hyperparameter(10, "query points a task, or a class where tasks are N-way", low=1, high=100_000)

    def meta_gradient(self, problem: Problem, theta: Array, batch: TaskBatch) -> MetaGradient:
        """The direction of the meta-update at ``theta`` (M,), and the query losses after adaptation."""
        raise TypeError(f"{type(self).__name__} needs a method meta_gradient")

    def rate(self, problem: Problem) -> Any:
        """The inner rate as it multiplies a gradient: a number, or an array (P,) in the problem's precision."""
        if not isinstance(self.inner_lr, tuple):
            return self.inner_lr
        rates = self._rates.astype(problem.dtype, copy=False)
        if len(rates) != problem.layout.size:
            raise MetagdError(f"has {len(rates)} rates for {problem.layout.size} parameters", "inner_lr")
        return rates

    @cached_property
    def _rates(self) -> Array:
        return np.array(self.inner_lr, float)

    def start(self, problem: Problem, theta: Array, steps: int) -> tuple[Any, Sequence[Any]]:
        """Where adaptation starts, and the rate of each of ``steps`` steps."""
        return theta, [self.rate(problem)] * steps

    def path(self, problem: Problem, theta: Array, support: Batch, steps: int) -> Iterator[Any]:
        """φ after 0, 1, … ``steps`` adaptation steps from ``theta`` (M,)."""
        phi, rates = self.start(problem, theta, steps)
        yield phi
        for rate in rates:
            phi = problem.linearize(phi, support).step(rate)
            yield phi

    def adapt(self, problem: Problem, theta: Array, support: Batch, steps: int | None = None) -> Any:
        """φ after ``steps`` adaptation steps (default ``inner_steps``)."""
        *_, phi = self.path(problem, theta, support, self.inner_steps if steps is None else steps)
        return phi

    def predict(self, problem: Any, phi: Any, x: Array) -> Array:
        """Outputs (T, K, C) at adapted parameters, for x (T, K, D)."""
        return np.asarray(problem.predict(phi, x))

    def loss(self, problem: Problem, phi: Any, batch: Batch) -> Array:
        """Losses (T,) at adapted parameters."""
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
    """Give a renamed object under its old name, with a warning."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{name} is now called {_RENAMED[name].__name__}", DeprecationWarning, stacklevel=2)
    return _RENAMED[name]
