"""State of a training between two steps, and what displays and drivers read of it."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.environment import keep_freed_memory
from .callbacks import Callback
from .clock import Clock
from .executors.base import Snapshot, without_schedule
from .executors.selection import make_executor
from .plan import Plan
from .record import Record
from .requests import Event, requests_of
from .settings import Settings
from .stopping import WINDOW, StoppingRule

if TYPE_CHECKING:
    import asyncio

Array = np.ndarray


class LoopState:
    """State of one training.

    Parameters
    ----------
    plan : Plan

    Attributes
    ----------
    algorithm : Algorithm
        With its present rates; ``plan.algorithm`` has those of the start.
    snapshot, best : Snapshot
        Step, loss, parameters and state that belong together: now, and at the best row.
    stopped : str or None
        Reason of the end, a key of `stopping.REASONS`.
    error : exception or None
        Raised by the user's function.
    cell, saved : str or None, dict or None
        Text of the cell that started the run; contents of the file that it was read from.
    driver, task : threading.Thread, asyncio.Task or None
        Thread that takes the steps; task of an event loop where there are no threads.
    waiting : int
        Number of threads that wait for the end.
    next_call : float
        Step at which a callback wants to be called, so that no more steps are taken at once.
    measures : bool
        True if the record has columns that are measured at some steps only.
    grad_evals, hvps : int
        Numbers of gradient evaluations and of Hessian·vectors so far.
    """

    def __init__(self, plan: Plan) -> None:
        keep_freed_memory()
        self.plan, self.algorithm, self.settings = plan, plan.algorithm, plan.settings
        self.record = Record(plan.columns())
        self.events: list[Event] = []
        self.stopped: str | None = None
        self.error: BaseException | None = None
        self.cell: str | None = None
        self.saved: dict[str, Any] | None = None
        self.driver: threading.Thread | None = None
        self.task: asyncio.Task[Any] | None = None
        self.waiting, self.paused = 0, False
        self.next_call, self.measures = math.inf, bool(plan.measured())
        self.callbacks: list[Callback] = []
        self.clock, self.steps_requested = Clock(), 0  # steps while paused
        self.executor = make_executor(plan)
        self.requests = requests_of(self.executor.processes)
        self.note = plan.note or self.executor.note
        self.snapshot = self.best = Snapshot(-1, plan.theta, math.nan, self.executor.state)
        window = WINDOW if plan.epochs is None else plan.epochs.length
        self.stopping = StoppingRule(plan.settings, plan.sampled, plan.validation is not None, window)
        self.grad_evals = self.hvps = 0

    # ---- state -----------------------------------------------------------------------------------------------------

    @property
    def sampled(self) -> bool:
        """True where losses carry sampling noise."""
        return self.stopping.sampled

    @property
    def theta(self) -> Array:
        """All that is learned (M,), now: the parameters (P,) first; a rate that was set is in it at once."""
        return self.executor.theta

    @property
    def running(self) -> bool:
        """True while a driver holds the loop, paused or not; False once the last frame is drawn."""
        return self.driver is not None

    @property
    def idle(self) -> bool:
        """True while it is paused with no step requested: the driver has nothing to do."""
        return self.paused and not self.steps_requested

    def seconds(self) -> float:
        """Return the seconds of training so far; 0 before the first row."""
        return self.clock.seconds() if len(self.record) else 0.0

    @property
    def result(self) -> Snapshot:
        """Snapshot of which results are read: the present one, or the best if the settings keep that."""
        return self.best if self.settings.keep == "best" and self.best.step >= 0 else self.snapshot

    def peek(self) -> dict[str, Any]:
        """Return ``step``, ``loss`` and ``params`` (copies by name) of `result`, which belong together; never waits."""
        problem, snapshot = self.plan.problem, self.result
        flat = self.algorithm.result(problem, snapshot.theta, snapshot.state)
        params = {name: view.copy() for name, view in problem.layout.views(flat).items()}
        return {"step": snapshot.step, "loss": snapshot.loss, "params": params}

    def end_schedule_of_set_rates(self) -> None:
        """End the schedule of a rate that the user has set, in a run whose events come from a file."""
        changed = {name for event in self.events if event.kind == "set" for name in event.value}
        self.executor.options = without_schedule(self.executor.options, changed)

    def rates(self) -> tuple[float, ...]:
        """Return the live rates that the next step will use, in the order of ``algorithm.live_rates()``.

        A rate is nan where the schedule of the user's fails, which ends the run only when the step is taken.
        """
        algorithm, snapshot, options = self.algorithm, self.snapshot, self.executor.options
        if options is not None:
            algorithm = options.expected(algorithm, max(snapshot.step, 0))
        return algorithm.rates(self.plan.problem, snapshot.theta, snapshot.state)

    def use(self, settings: Settings) -> None:
        """Continue under other settings."""
        self.plan = self.plan._replace(settings=settings)
        self.settings = self.stopping.settings = settings

    def add_note(self, line: str) -> None:
        """Add a line to the note."""
        self.note = "\n".join(filter(None, [self.note, line]))

    def write_event(self, kind: str, value: Any = None) -> None:
        """Write an event at the step of the last row, which is then recorded."""
        self.record.keep_latest()
        self.events.append(Event(self.snapshot.step, kind, value))
