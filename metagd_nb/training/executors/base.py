"""What takes the steps of a run, one by one: `StepExecutor`; on JAX some at a time, see `onjax`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...algorithms import Algorithm, StepEvaluation
from ...problems.base import Problem
from ...tasks import Reference, Tasks
from ..stopping import Settings

Array = np.ndarray


class Plan(NamedTuple):
    """All that a run is made from: the same plan makes the same run."""

    method: str
    algorithm: Algorithm
    problem: Problem
    batches: Callable[[int], Any]
    settings: Settings
    tasks: Tasks | None = None
    references: tuple[Reference, ...] = ()
    note: str | None = None
    warm_start: Array | None = None  # (P,) where learning begins, in place of the problem's own start
    given: Any = None  # what the person handed over
    again: Callable[..., Plan] | None = None  # a plan of the same settings, from other things: ``again(loss=…)``


class Snapshot(NamedTuple):
    """A consistent snapshot: the parameters and the loss of one row, and the rates that go on from there.

    A rate that a person sets is in it at once; the row before keeps the one with which it was reached.
    """

    step: int
    theta: Array  # (M,)
    loss: float
    state: Any = None


class Row(NamedTuple):
    """What one step has to say: where it led, the gradient's norm there, what it cost, and the live rates."""

    shown: Snapshot
    norm: float
    grad_evals: int
    hvps: int
    seconds: float  # since the clock's start
    rates: tuple[float, ...]


class Executor(Protocol):
    """Takes the steps of one run, and knows the state between two of them."""

    @property
    def theta(self) -> Array:
        """All that is learned (M,), now."""

    @property
    def state(self) -> Any:
        """What the method keeps beside it, now."""

    @property
    def evaluation(self) -> StepEvaluation | None:
        """The evaluation from which the next step moves on; None before the first."""

    @property
    def at_hand(self) -> bool:
        """Whether these can be read without computing anything."""

    def advance(self, algorithm: Algorithm, step: int, clock: float, most: int) -> Row:
        """Take one step.

        Parameters
        ----------
        algorithm : Algorithm
            With the rates of now.
        step : int
            Its number; at 0 nothing moves.
        clock : float
            The moment (of ``time.perf_counter``) from which seconds are counted.
        most : int
            How many steps may follow each other from here, this one included, if nobody intervenes.
        """

    def restore(self, theta: Array, state: Any, evaluation: StepEvaluation | None) -> None:
        """Stand where another run of the same plan stood between two steps."""

    def retune(self, algorithm: Algorithm, changed: dict[str, Any]) -> None:
        """A person has set the rates ``changed``; ``algorithm`` has them."""


class StepExecutor:
    """One step at a time."""

    at_hand = True

    def __init__(self, plan: Plan, theta: Array, state: Any) -> None:
        self.problem, self.batches = plan.problem, plan.batches
        self.theta, self.state = theta, state
        self.evaluation: StepEvaluation | None = None

    def advance(self, algorithm: Algorithm, step: int, clock: float, most: int) -> Row:
        """One move (none at first), and a look at where it led."""
        theta, state = self.theta, self.state
        if self.evaluation is not None:
            theta, state = algorithm.update(theta, self.evaluation)
        evaluation = algorithm.evaluate(self.problem, theta, state, self.batches(step))
        self.theta, self.state, self.evaluation = theta, evaluation.state, evaluation
        norm = math.sqrt(evaluation.grad.dot(evaluation.grad))
        seconds = time.perf_counter() - clock
        rates = algorithm.rates(self.problem, theta, evaluation.state)
        return Row(
            Snapshot(step, theta, evaluation.loss, evaluation.state),
            norm,
            evaluation.grad_evals,
            evaluation.hvps,
            seconds,
            rates,
        )

    def restore(self, theta: Array, state: Any, evaluation: StepEvaluation | None) -> None:
        """Go on from there."""
        self.theta, self.state, self.evaluation = theta, state, evaluation

    def retune(self, algorithm: Algorithm, changed: dict[str, Any]) -> None:
        """Rates that are learned start again from where they were set."""
        self.theta, self.state = algorithm.on_rate_change(self.problem, self.theta, self.state, changed)
        if self.evaluation is not None:
            self.evaluation = self.evaluation._replace(state=self.state)
