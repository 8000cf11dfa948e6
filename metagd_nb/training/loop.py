"""A stepper: a run with no thread of its own, the record it writes, and the requests that it obeys.

``advance()`` does one step: it moves from θ_{t−1} to θ_t (not at the first call) and writes row t, so after every
call the last row and the present parameters belong together; ``stride()`` does several on end. Whoever drives it
(`drive`) may be a blocking loop or a background thread. What a person asks for is queued by ``request`` and obeyed
between two steps; each such thing is an event, at its step.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..algorithms import Algorithm, StepEvaluation
from ..core.errors import one_line, unknown_name
from ..core.hyperparameters import hyperparameters
from ..problems.closed_form.buffers import keep_freed_memory
from .executors.base import Executor, Plan, Snapshot, StepExecutor
from .executors.least_squares import LeastSquaresExecutor
from .record import Record
from .stopping import StoppingRule

Array = np.ndarray
COUNTED = ("step", "loss", "grad_norm", "grad_evals", "hvps", "seconds")


class Event(NamedTuple):
    """What the person did, after the row of which step."""

    step: int
    kind: str
    value: Any = None


def _executor(plan: Plan, theta: Array, state: Any) -> Executor:
    if plan.settings.backend != "jax":
        return (LeastSquaresExecutor if LeastSquaresExecutor.suits(plan) else StepExecutor)(plan, theta, state)
    from .executors.jax import jax_executor

    return jax_executor(plan, theta, state)


class TrainingLoop:
    """One training, step by step; `Run` adds waiting and results.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        keep_freed_memory()
        self.plan = plan
        self.method, self.algorithm, self.problem, self._batches, self.settings = plan[:5]
        self.sampled = self.algorithm.setting == "meta" and not (plan.tasks is not None and plan.tasks.full_batch)
        self.note = plan.note
        self.events: list[Event] = []
        self.stopped: str | None = None
        self.paused = False
        self.waiting = 0
        self.driver: threading.Thread | None = None
        self.keep: Any = None  # an asyncio task, which its loop only references weakly
        self.error: BaseException | None = None  # what a user's function raised under way
        self.cell: str | None = None  # the text of the cell that started it
        self.kept: dict[str, Any] | None = None  # what the file says that it was read from
        self.record = Record((*COUNTED, *self.algorithm.live_rates()))
        # (M,): the parameters (P,), then what else is learned
        theta = self.algorithm.init_parameters(self.problem, self.beginning(), plan.tasks)
        self._executor = _executor(plan, theta, self.algorithm.init(theta))
        self.note = self.note or getattr(self._executor, "note", None)
        self._shown = self._best = Snapshot(-1, theta, math.nan, self._executor.state)
        self._verdict = StoppingRule(self.settings, self.sampled)
        self._grad_evals = self._hvps = 0
        self._pending: tuple[float, ...] | None = None  # the last row, where the record does not hold it
        self._steps_owed = 0
        self._clock = 0.0  # the moment at which training would have begun had it never rested
        self._left: float | None = None  # the moment at which one who steps by hand let go
        self._requests: deque[tuple[str, Any]] = deque()
        self._asked = self._obeyed = 0
        self.wake = threading.Event()  # for a driver that rests
        self._changed = threading.Condition()  # for readers that wait

    def beginning(self) -> Array:
        """The parameters (P,) at which this run began; a copy."""
        if self.plan.warm_start is not None:
            return self.plan.warm_start.copy()
        return np.asarray(self.problem.start(np.random.default_rng(self.settings.seed)))

    @property
    def iteration(self) -> int:
        """Updates done."""
        return max(self._shown.step, 0)

    @property
    def theta(self) -> Array:
        """All that is learned (M,), now: the parameters (P,) first; a rate that was set is in it at once."""
        return self._executor.theta

    @property
    def _state(self) -> Any:
        return self._executor.state

    @property
    def _evaluation(self) -> StepEvaluation | None:
        return self._executor.evaluation

    @property
    def shown(self) -> Snapshot:
        """Step, parameters (P,) and loss that belong together, now; never waits."""
        return self._shown

    @property
    def at_hand(self) -> bool:
        """Whether the present parameters can be read without computing anything."""
        return self._executor.at_hand

    def advance(self) -> None:
        """One step: an update (except at the first call), then the row of where it led."""
        step, most = self._coming()
        row = self._executor.advance(self.algorithm, step, self._clock, most)
        shown, norm, grad_evals, hvps, seconds, rates = row
        loss = shown.loss
        self._grad_evals += grad_evals
        self._hvps += hvps
        line = (step, loss, norm, self._grad_evals, self._hvps, seconds, *rates)
        if step % self.settings.record_every:
            self._pending = line
        else:
            self._pending = None
            self.record.append(line)
        self._shown = shown  # next to the row it belongs to: an interrupt may come between any two lines
        reason = self._verdict.judge(step, loss, norm, seconds)
        if self._verdict.best_step == step and reason != "diverged":
            self._best = self._shown
        if self._steps_owed:
            self._steps_owed -= 1
        if reason is not None:
            self._end(reason)

    def keep_row(self) -> None:
        """The last row into the record, where every so many are kept and it is none of them."""
        if self._pending is not None:
            line, self._pending = self._pending, None
            self.record.append(line)

    def _coming(self) -> tuple[int, int]:
        """The number of the next step, and how many may follow each other from there; its time counts from now."""
        step = self._shown.step + 1
        if self._left is not None:
            self._clock += time.perf_counter() - self._left
            self._left = None
        if step == 0:
            self._clock = time.perf_counter()
        owed = self._steps_owed if self.paused else self.settings.steps - step + 1
        return step, max(owed, 1)

    def advance_many(self) -> None:
        """As many steps as the engine takes at once, a few milliseconds' worth: the same as so many times `advance`."""
        jax_executor, algorithm = self._executor, self.algorithm
        thinned = self.settings.record_every > 1  # then there is more to a row than its numbers
        if not isinstance(jax_executor, LeastSquaresExecutor) or self._shown.step < 0 or thinned:
            self.advance()
            return
        step, most = self._coming()
        stride = jax_executor.advance_many(algorithm.lr, self._clock, most)  # type: ignore[attr-defined]
        count, reason = self._verdict.judge_all(step, stride.loss, stride.norm, stride.seconds)
        rows = np.empty((count, len(self.record.columns)))
        rows[:, 0] = np.arange(step, step + count)
        rows[:, 1], rows[:, 2], rows[:, 5] = stride.loss[:count], stride.norm[:count], stride.seconds[:count]
        rows[:, 3] = self._grad_evals + np.arange(1, count + 1)
        rows[:, 4] = self._hvps
        rows[:, len(COUNTED) :] = algorithm.rates(self.problem, jax_executor.theta, jax_executor.state)
        self._grad_evals += count
        jax_executor.keep(stride, count)
        self.record.extend(rows)
        self._shown = Snapshot(step + count - 1, jax_executor.theta, float(stride.loss[count - 1]), jax_executor.state)
        best = self._verdict.best_step
        if best >= step:
            i = best - step
            self._best = Snapshot(best, stride.theta[i].copy(), float(stride.loss[i]), jax_executor.state)
        self._steps_owed = max(self._steps_owed - count, 0)
        if reason is not None:
            self._end(reason)

    def trained(self) -> float:
        """Seconds of training so far, without what `rested`; 0 before the first row."""
        if not len(self.record):
            return 0.0
        return (time.perf_counter() if self._left is None else self._left) - self._clock

    def state(self) -> dict[str, Any]:
        """All that the next step depends on beside the plan, and the results: what a file keeps."""
        evaluation = self._evaluation
        return {
            "theta": self.theta,
            "state": self._state,
            "look": None if evaluation is None else tuple(evaluation),
            "shown": tuple(self._shown),
            "best": tuple(self._best),
            "verdict": self._verdict.state(),
        }

    def restore(self, state: dict[str, Any], algorithm: Algorithm, record: Record) -> None:
        """Stand where another run stood, as its `state` tells, with the rates it had then."""
        self.algorithm, self.record = algorithm, record
        self._executor.restore(
            state["theta"], state["state"], None if state["look"] is None else StepEvaluation(*state["look"])
        )
        self._shown, self._best = Snapshot(*state["shown"]), Snapshot(*state["best"])
        self._verdict.restore(state["verdict"])
        if len(record):
            self._grad_evals, self._hvps = int(record.last("grad_evals")), int(record.last("hvps"))
            self._clock, self._left = -record.last("seconds"), 0.0  # the time until the next step is rest

    def rested(self, seconds: float) -> None:
        """Time that was not spent training (drawing, paused) is not counted as such."""
        if self._left is None:  # else the whole time until the next step is
            self._clock += seconds

    def tell(self) -> None:
        """Wake those who wait, to look again."""
        with self._changed:
            self._changed.notify_all()

    def _end(self, reason: str) -> None:
        self.keep_row()
        if reason == "diverged":
            names = " or ".join(
                n for n in self.algorithm.live_rates() if n.endswith("lr") and not n.startswith("hyper")
            )
            best = self._best
            kept = f"the parameters of step {best.step} are kept" if best.step >= 0 else "nothing to keep"
            self.note = (
                f"diverged at step {self._shown.step} (loss {self._shown.loss:.3g}): {kept};"
                f" a smaller {names} usually helps"
            )
            if best.step >= 0:
                self._shown = best
        self.stopped = reason
        self.tell()

    def fail(self, error: BaseException) -> None:
        """End because a user's function raised: the state is kept, the reason told in one line."""
        self.error = error
        self.note = f"failed at step {self._shown.step + 1}: {one_line(error)}"
        self._end("failed")

    def interrupted(self) -> None:
        """End because whoever drives was told to: as a stop between two steps."""
        if self.stopped is None:
            self._obey_one("stop", "interrupted")

    def request(self, kind: str, value: Any = None) -> None:
        """Queue ``pause``, ``resume``, ``step`` (n), ``stop`` or ``set`` ({name: value}); returns at once."""
        self._queue(kind, value)

    def _queue(self, kind: str, value: Any) -> int:
        """The number that ``_obeyed`` reaches once this has been done."""
        if kind == "set":
            value = self._checked(value)
        elif kind not in ("pause", "resume", "step", "stop"):
            raise unknown_name("request", kind, ("pause", "resume", "step", "stop", "set"))
        with self._changed:
            self._asked += 1
            self._requests.append((kind, value))
            ticket = self._asked
        self.wake.set()
        return ticket

    def _checked(self, changed: dict[str, Any]) -> dict[str, Any]:
        declared = {name: one for name, one in hyperparameters(self.algorithm).items() if one.live}
        for name in changed:
            if name not in declared:
                raise unknown_name("rate", name, declared)
        return {name: declared[name].check(value) for name, value in changed.items()}

    @property
    def pending(self) -> bool:
        """Whether something was asked for that has not been obeyed yet."""
        return bool(self._requests)

    def obey(self) -> None:
        """Do what was asked for since the last step; called by the driver between two steps."""
        if self._shown.step < 0:
            self.advance()  # events have a row to stand at, and a result has one
        while self._requests:
            kind, value = self._requests.popleft()
            if self.stopped is None:
                self._obey_one(kind, value)
            self._obeyed += 1
        self.tell()

    def _obey_one(self, kind: str, value: Any) -> None:
        if kind == "stop":
            self._write(kind, value)
            self._end(value or "user")
        elif kind == "set":
            self.algorithm = replace(self.algorithm, **value)
            self._executor.retune(self.algorithm, value)
            self._shown = self._shown._replace(theta=self.theta, state=self._state)  # same parameters, new rates
            self._write(kind, value)
        elif kind == "pause":
            if not self.paused:
                self.paused = True
                self._write(kind)
        elif kind == "step":
            self._steps_owed += int(value or 1)
            if not self.paused:
                self.paused = True
                self._write("pause")
            self._write(kind, int(value or 1))
        elif self.paused:
            self.paused, self._steps_owed = False, 0
            self._write(kind)

    def _write(self, kind: str, value: Any = None) -> None:
        self.keep_row()
        self.events.append(Event(self._shown.step, kind, value))

    @property
    def held(self) -> bool:
        """Whether it is paused with no step owed: the driver has nothing to do."""
        return self.paused and not self._steps_owed
