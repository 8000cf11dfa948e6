"""Training loop: takes the steps of a run, writes its record, and carries out requests between two steps.

``advance()`` moves from θ_{t−1} to θ_t (not at the first call) and writes row t, so that the last row and the present
parameters belong together; ``advance_many()`` takes several steps. `drivers` call both.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..core.errors import one_line
from .executors.base import Snapshot
from .executors.least_squares import LeastSquaresExecutor
from .loop_state import LoopState
from .requests import validate
from .stopping import divergence


class TrainingLoop(LoopState):
    """One training, step by step; `LoopState` has its attributes.

    Parameters
    ----------
    plan : Plan
    """

    # ---- steps -----------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Take one step: an update (except at the first call), then the row of where it led."""
        step, most = self._next()
        row = self.executor.advance(self.algorithm, step, self.clock.origin, most)
        snapshot, norm, grad_evals, hvps, seconds, rates, no_descent = row
        loss = snapshot.loss
        self.grad_evals += grad_evals
        self.hvps += hvps
        measured, no_better = self._measure(snapshot) if self.measures else ((), None)
        line = (step, loss, norm, self.grad_evals, self.hvps, seconds, *rates, *self._epoch(step), *measured)
        self.record.append(line, not step % self.settings.record_every or any(map(math.isfinite, measured)))
        self.snapshot = snapshot  # next to the row it belongs to: an interrupt may come between any two lines
        reason = self.stopping.judge(step, loss, norm, seconds) or no_better or ("no-descent" if no_descent else None)
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
        measured = self.plan.validation or self.plan.metrics
        if measured is not None:
            allowed = min(allowed, -step % measured.every + 1)  # parameters are read there
        return step, int(max(min(allowed, self.next_call - step + 1), 1))

    def _measure(self, snapshot: Snapshot) -> tuple[list[float], str | None]:
        """Return the columns that are measured at some steps only, and the reason to stop that follows from them."""
        plan, step = self.plan, snapshot.step
        every = plan.validation or plan.metrics
        if every is None or not every.due(step):
            return [math.nan] * len(plan.measured()), None
        params, values, reason = self.algorithm.result(plan.problem, snapshot.theta, snapshot.state), [], None
        if plan.validation is not None:
            values.append(plan.validation(params))
            reason = self.stopping.judge_validation(step, values[0])
        if plan.metrics is not None:
            values += plan.metrics(plan.problem.layout, params)
        return values, reason

    def _epoch(self, step: int) -> tuple[int, ...]:
        """Return the column of whole epochs before a step; without mini-batches there is none."""
        epochs = self.plan.epochs
        return () if epochs is None else (step // epochs.length,)

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
