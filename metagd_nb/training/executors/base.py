"""Executors take the steps of a run: `StepExecutor` one by one, others many at a time or compiled."""

from __future__ import annotations

import math
import time
from collections.abc import Container
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ...algorithms import Algorithm, StepEvaluation
from ...algorithms.theta import State
from ...algorithms.update_options import UpdateOptions
from ..plan import Plan

if TYPE_CHECKING:
    from .processes import Processes

Array = np.ndarray


class Snapshot(NamedTuple):
    """Parameters, loss and state of one row, which belong together.

    A rate that the user sets is in it at once; the row before keeps the rate with which it was reached.
    """

    step: int
    theta: Array  # (M,)
    loss: float
    state: State = None


class Row(NamedTuple):
    """Result of one step: where it led, the norm of the gradient there, its costs, and the live rates."""

    snapshot: Snapshot
    norm: float
    grad_evals: int
    hvps: int
    seconds: float  # since the clock's start
    rates: tuple[float, ...]
    no_descent: bool = False  # the method finds no lower point


class Executor(Protocol):
    """Takes the steps of one run, and holds the state between two of them.

    Attributes
    ----------
    options : UpdateOptions or None
        What is done to gradient and rate before an update, now.
    """

    options: UpdateOptions | None

    @property
    def theta(self) -> Array:
        """All that is learned (M,), now."""

    @property
    def state(self) -> State:
        """State of the method, now."""

    @property
    def evaluation(self) -> StepEvaluation | None:
        """Evaluation from which the next step moves on; None before the first."""

    @property
    def ready(self) -> bool:
        """True where ``theta`` and ``state`` can be read without computing anything."""

    @property
    def processes(self) -> Processes | None:
        """Processes that take each step together; None where this one computes alone."""

    @property
    def note(self) -> str | None:
        """One line for the user, where there is something to say about this way of computing."""

    def advance(self, algorithm: Algorithm, step: int, clock: float, most: int) -> Row:
        """Take one step.

        Parameters
        ----------
        algorithm : Algorithm
            With its present rates.
        step : int
            Number of the step; at 0 nothing moves.
        clock : float
            Moment (of ``time.perf_counter``) from which seconds are counted.
        most : int
            Number of steps that may follow each other from here without a request, this one included.
        """

    def settle(self) -> None:
        """Make ``theta`` and ``state`` readable; with several processes, all call it at the same step."""

    def restore(self, theta: Array, state: State, evaluation: StepEvaluation | None) -> None:
        """Take the place where another run of the same plan was between two steps."""

    def retune(self, algorithm: Algorithm, changed: dict[str, Any]) -> None:
        """Use the rates ``changed`` that the user has set; ``algorithm`` has them."""


def without_schedule(options: UpdateOptions | None, changed: Container[str]) -> UpdateOptions | None:
    """Return the options of an update without their schedule, if its rate is one of those that the user changed."""
    if options is None or options.rate not in changed:
        return options
    return options._replace(schedule=None)


class StepExecutor:
    """Takes one step at a time."""

    ready = True
    note: str | None = None
    processes = None

    def __init__(self, plan: Plan, theta: Array, state: State) -> None:
        self.problem, self.batches = plan.problem, plan.batches
        self.theta, self.state = theta, state
        self.evaluation: StepEvaluation | None = None
        self._first = plan.first
        self.options = plan.update_options

    def advance(self, algorithm: Algorithm, step: int, clock: float, most: int) -> Row:
        """Update (except at first), then evaluate."""
        theta, state = self.theta, self.state
        if self.evaluation is not None:
            if self.options is None:
                theta, state = algorithm.update(theta, self.evaluation)
            else:
                algorithm = self.options.scheduled(algorithm, step - 1)
                theta, state = self.options.update(algorithm, theta, self.evaluation)
            if self.problem.bounds is not None:
                theta = self.problem.bounds.project(theta)
        elif self.options is not None:
            algorithm = self.options.scheduled(algorithm, 0)  # the rate of the first update
        evaluation, self._first = self._first, None
        if evaluation is None:
            evaluation = algorithm.evaluate(self.problem, theta, state, self.batches(step))
        self.theta, self.state, self.evaluation = theta, evaluation.state, evaluation
        slope = evaluation.grad
        if self.problem.bounds is not None:
            slope = self.problem.bounds.stationarity(theta, slope)
        norm = math.sqrt(slope.dot(slope))
        seconds = time.perf_counter() - clock
        rates = algorithm.rates(self.problem, theta, evaluation.state)
        snapshot = Snapshot(step, theta, evaluation.loss, evaluation.state)
        stuck = algorithm.no_descent(evaluation.state)
        return Row(snapshot, norm, evaluation.grad_evals, evaluation.hvps, seconds, rates, stuck)

    def settle(self) -> None:
        """Do nothing: they are."""

    def restore(self, theta: Array, state: State, evaluation: StepEvaluation | None) -> None:
        """Go on from there."""
        self.theta, self.state, self.evaluation, self._first = theta, state, evaluation, None

    def retune(self, algorithm: Algorithm, changed: dict[str, Any]) -> None:
        """Learned rates start again from the values that were set; a schedule of a rate that was set ends."""
        self.options = without_schedule(self.options, changed)
        self.theta, self.state = algorithm.on_rate_change(self.problem, self.theta, self.state, changed)
        if self.evaluation is not None:
            self.evaluation = self.evaluation._replace(state=self.state)
