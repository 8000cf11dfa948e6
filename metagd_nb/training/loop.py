"""Training loop: takes the steps of a run, writes its record, and carries out requests between two steps.

``advance()`` moves from θ_{t−1} to θ_t (not at the first call) and writes row t, so that the last row and the present
parameters belong together; ``advance_many()`` takes several steps. `drivers` call both.
"""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.environment import keep_freed_memory
from ..core.errors import one_line
from .callbacks import Callback
from .clock import Clock
from .executors.base import Snapshot
from .executors.least_squares import LeastSquaresExecutor
from .executors.selection import make_executor
from .plan import Plan
from .record import Record
from .requests import Event, requests_of, validate
from .settings import Settings
from .stopping import StoppingRule, divergence

if TYPE_CHECKING:
    import asyncio

Array = np.ndarray
COUNTED = ("step", "loss", "grad_norm", "grad_evals", "hvps", "seconds")


class TrainingLoop:
    """One training, step by step.

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
    grad_evals, hvps : int
        Numbers of gradient evaluations and of Hessian·vectors so far.
    """

    def __init__(self, plan: Plan) -> None:
        keep_freed_memory()
        self.plan, self.algorithm, self.settings = plan, plan.algorithm, plan.settings
        self.record = Record((*COUNTED, *self.algorithm.live_rates()))
        self.events: list[Event] = []
        self.stopped: str | None = None
        self.error: BaseException | None = None
        self.cell: str | None = None
        self.saved: dict[str, Any] | None = None
        self.driver: threading.Thread | None = None
        self.task: asyncio.Task[Any] | None = None
        self.waiting, self.paused = 0, False
        self.callbacks: list[Callback] = []
        self.clock, self.steps_requested = Clock(), 0  # steps while paused
        self.executor = make_executor(plan)
        self.requests = requests_of(self.executor.processes)
        self.note = plan.note or self.executor.note
        self.snapshot = self.best = Snapshot(-1, plan.theta, math.nan, self.executor.state)
        self.stopping = StoppingRule(plan.settings, plan.sampled)
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

    def peek(self) -> dict[str, Any]:
        """Return the present ``step``, ``loss`` and ``params`` (copies by name), which belong together; never waits."""
        problem, snapshot = self.plan.problem, self.snapshot
        flat = self.algorithm.result(problem, snapshot.theta, snapshot.state)
        params = {name: view.copy() for name, view in problem.layout.views(flat).items()}
        return {"step": snapshot.step, "loss": snapshot.loss, "params": params}

    def use(self, settings: Settings) -> None:
        """Continue under other settings."""
        self.plan = self.plan._replace(settings=settings)
        self.settings = self.stopping.settings = settings

    # ---- steps -----------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Take one step: an update (except at the first call), then the row of where it led."""
        step, most = self._next()
        row = self.executor.advance(self.algorithm, step, self.clock.origin, most)
        snapshot, norm, grad_evals, hvps, seconds, rates, no_descent = row
        loss = snapshot.loss
        self.grad_evals += grad_evals
        self.hvps += hvps
        line = (step, loss, norm, self.grad_evals, self.hvps, seconds, *rates)
        self.record.append(line, not step % self.settings.record_every)
        self.snapshot = snapshot  # next to the row it belongs to: an interrupt may come between any two lines
        reason = self.stopping.judge(step, loss, norm, seconds) or ("no-descent" if no_descent else None)
        if self.stopping.best_step == step and reason != "diverged":
            self.best = snapshot
        if self.steps_requested:
            self.steps_requested -= 1
        if reason is not None:
            self.executor.settle()
            self._end(reason)

    def _next(self) -> tuple[int, int]:
        """Start the clock of the next step; return its number, and how many steps may follow one another from there."""
        step = self.snapshot.step + 1
        if step == 0:
            self.clock.start()
        else:
            self.clock.go()
        allowed = self.steps_requested if self.paused else self.settings.steps - step + 1
        return step, max(allowed, 1)

    def advance_many(self) -> None:
        """Take as many steps as the executor takes at once, a few milliseconds' worth: equal to repeated `advance`."""
        executor, algorithm = self.executor, self.algorithm
        if not isinstance(executor, LeastSquaresExecutor) or self.snapshot.step < 0 or self.settings.record_every > 1:
            self.advance()
            return
        step, most = self._next()
        stride = executor.advance_many(algorithm.lr, self.clock.origin, most)  # type: ignore[attr-defined]
        count, reason = self.stopping.judge_all(step, stride.loss, stride.norm, stride.seconds)
        rates = algorithm.rates(self.plan.problem, executor.theta, executor.state)
        self.record.extend(stride.rows(count, step, self.grad_evals, self.hvps, rates))
        self.grad_evals += count
        executor.keep(stride, count)
        self.snapshot = Snapshot(step + count - 1, executor.theta, float(stride.loss[count - 1]), executor.state)
        best = self.stopping.best_step
        if best >= step:
            i = best - step
            self.best = Snapshot(best, stride.theta[i].copy(), float(stride.loss[i]), executor.state)
        self.steps_requested = max(self.steps_requested - count, 0)
        if reason is not None:
            self._end(reason)

    def _end(self, reason: str) -> None:
        self.record.keep_latest()
        if reason == "diverged":
            self.note = divergence(self.algorithm, self.snapshot.step, self.snapshot.loss, self.best.step)
            if self.best.step >= 0:
                self.snapshot = self.best
        self.stopped = reason
        self.requests.notify()

    def fail(self, error: BaseException) -> None:
        """End because a user's function raised: the state stays, the reason is noted in one line."""
        self.error = error
        self.note = f"failed at step {self.snapshot.step + 1}: {one_line(error)}"
        self._end("failed")

    def add_note(self, line: str) -> None:
        """Add a line to the note."""
        self.note = "\n".join(filter(None, [self.note, line]))

    # ---- requests --------------------------------------------------------------------------------------------------

    def request(self, kind: str, value: Any = None) -> int:
        """Queue ``pause``, ``resume``, ``step`` (n), ``stop`` or ``set`` ({name: value}); return at once.

        Returns
        -------
        int
            Number of the request, for ``requests.done``.
        """
        return self.requests.add(kind, validate(self.algorithm, kind, value))

    def handle_requests(self) -> None:
        """Carry out the requests since the last step; called by the driver between two steps."""
        if self.snapshot.step < 0:
            self.advance()  # events have a row to stand at, and a result has one
        for kind, value in self.requests.take():
            if self.stopped is None:
                self.handle(kind, value)
        self.requests.notify()

    def handle(self, kind: str, value: Any = None) -> None:
        """Carry out one request and write it as an event, if it changes anything."""
        if kind == "stop":
            self.write_event(kind, value)
            self._end(value or "user")
        elif kind == "set":
            self.algorithm = replace(self.algorithm, **value)
            self.executor.retune(self.algorithm, value)
            # the same parameters with the new rates
            self.snapshot = self.snapshot._replace(theta=self.theta, state=self.executor.state)
            self.write_event(kind, value)
        elif kind == "pause":
            self._pause()
        elif kind == "step":
            self.steps_requested += int(value or 1)
            self._pause()
            self.write_event(kind, int(value or 1))
        elif self.paused:
            self.paused, self.steps_requested = False, 0
            self.write_event(kind)

    def interrupt(self) -> None:
        """End as by a request to stop, unless the run has ended."""
        if self.stopped is None:
            self.handle("stop", "interrupted")

    def _pause(self) -> None:
        if not self.paused:
            self.paused = True
            self.write_event("pause")

    def write_event(self, kind: str, value: Any = None) -> None:
        """Write an event at the step of the last row, which is then recorded."""
        self.record.keep_latest()
        self.events.append(Event(self.snapshot.step, kind, value))
