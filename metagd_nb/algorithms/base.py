"""Base classes of the methods: `Algorithm`, and `Descent` for one loss; `Meta` is for a family of tasks.

A method is a frozen dataclass whose fields are its hyperparameters. ``evaluate`` returns loss and gradient at θ_t (one
row of the record), ``update`` takes the step to θ_{t+1}. State is separate and never changed in place, so that a run
can stop between any two steps.

Shapes: T tasks, K points for each, P parameters; θ (M,) holds the parameters (P,) and what a method learns besides.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Self

from ..core.array_api import as_float
from ..core.hyperparameters import hyperparameter
from ..problems.base import Problem
from ..tasks import Batch, Tasks
from .optimizers import Optimizer
from .theta import Array, State, Theta


class StepEvaluation(NamedTuple):
    """Result of one evaluation at θ.

    Attributes
    ----------
    loss : float
    grad : array (M,)
        Direction that the update descends.
    grad_evals, hvps : int
        Gradients, and Hessian·vector products, of one task's loss.
    state : tuple
        State for the update, with the results that an adaptive rule has computed from this gradient.
    """

    loss: float
    grad: Array
    grad_evals: int
    hvps: int
    state: State


class MetaGradient(NamedTuple):
    """Result of one meta-step.

    Attributes
    ----------
    loss : array (T,)
        Query losses after adaptation.
    grad : array (M,)
        Mean over tasks of the meta-gradient.
    grad_evals, hvps : int
        Gradients, and Hessian·vector products, for each task.
    truncated : int
        Tasks whose linear system was left unsolved.
    """

    loss: Array
    grad: Array
    grad_evals: int
    hvps: int = 0
    truncated: int = 0


@dataclass(frozen=True)
class Algorithm(Theta):
    """Base of all methods; the fields of a subclass are its hyperparameters."""

    setting: ClassVar[Literal["single", "meta"]] = "single"  # one loss, or a family of tasks
    source: ClassVar[str] = ""  # author, year and section
    takes_bounds: ClassVar[bool] = False  # its steps may be projected onto bounds of the parameters
    scheduled_rate: ClassVar[str] = ""  # rate that a schedule may change; "" if neither rate nor gradient may be
    compiles: ClassVar[bool] = True  # JAX can trace a whole step; otherwise the step is taken in NumPy
    takes_batches: ClassVar[bool] = True  # it may see other rows in each step
    refuses: ClassVar[bool] = False  # an evaluation may raise because of a value; compiled, it returns nan instead

    def bind(self, tasks: Tasks | None) -> Self:
        """Return the method for a family of tasks; methods that depend on the family keep its sizes.

        Parameters
        ----------
        tasks : Tasks or None

        Returns
        -------
        Algorithm
        """
        return self

    def init(self, theta: Array) -> State:
        """Return the initial state.

        Parameters
        ----------
        theta : array (M,)
            Initial θ.

        Returns
        -------
        tuple
        """
        return ()

    def evaluate(self, problem: Problem, theta: Array, state: State, batch: Any) -> StepEvaluation:
        """Evaluate loss and gradient.

        Parameters
        ----------
        problem : Problem
        theta : array (M,)
        state : tuple
        batch : Batch or TaskBatch
            Data of the step; tasks for methods that learn a family.

        Returns
        -------
        StepEvaluation

        Raises
        ------
        TypeError
            For a class without this method.
        """
        raise TypeError(f"{type(self).__name__} needs a method evaluate")

    def update(self, theta: Array, evaluation: StepEvaluation) -> tuple[Array, State]:
        """Take a step.

        Parameters
        ----------
        theta : array (M,)
        evaluation : StepEvaluation
            Result of `evaluate` at ``theta``.

        Returns
        -------
        theta : array (M,)
        state : tuple

        Raises
        ------
        TypeError
            For a class without this method.
        """
        raise TypeError(f"{type(self).__name__} needs a method update")

    def no_descent(self, state: State) -> bool:
        """Return True if the method finds no lower point, so that further steps would change nothing.

        Parameters
        ----------
        state : tuple
            State after `evaluate`.

        Returns
        -------
        bool
        """
        return False

    def check_state(self, theta: Array, state: State) -> None:
        """Raise a ValueError if a state from a file holds what the method cannot have added to it.

        Parameters
        ----------
        theta : array (M,)
        state : tuple
        """

    def remark(self, state: State) -> str | None:
        """Return one line for the summary of a run that has ended, where its results need an explanation.

        Parameters
        ----------
        state : tuple

        Returns
        -------
        str or None
        """
        return None


@dataclass(frozen=True)
class Descent(Algorithm):
    """Methods that descend the gradient of one loss with an optimizer."""

    takes_bounds: ClassVar[bool] = True
    scheduled_rate: ClassVar[str] = "lr"

    def optimizer(self) -> Optimizer:
        """Return the rule that turns a gradient into a step.

        Returns
        -------
        Optimizer

        Raises
        ------
        TypeError
            For a class without this method.
        """
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
    """Declare the learning rate η of a single-task method.

    Parameters
    ----------
    default : float

    Returns
    -------
    Hyperparameter
        To be the default of a field ``lr``; its type is Any, since the field holds a float.
    """
    return hyperparameter(default, "learning rate η", low=0, high=1e6, scale="log", live=True)


_RENAMED: dict[str, Any] = {"hyper": hyperparameter, "Outer": Optimizer}  # old names of this module, still importable


def __getattr__(name: str) -> Any:
    """Return a renamed object by its old name, with a warning."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{name} is now called {_RENAMED[name].__name__}", DeprecationWarning, stacklevel=2)
    return _RENAMED[name]
