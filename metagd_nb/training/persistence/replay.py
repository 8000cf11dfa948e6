"""Keeping a run, taking the same run once more, and going on with one that had ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ...core.errors import MetagdError, unknown_name
from ...problems.capture.fingerprint import Parts
from ..executors.base import Plan, Snapshot
from ..loop import TrainingLoop
from . import format as store

RULES = {  # why a run ended → the setting that says so
    "steps": "steps",
    "loss-below": "loss_below",
    "grad-below": "grad_below",
    "patience": "patience",
    "seconds": "seconds",
}


class Kept(TrainingLoop):
    """A stepper that can be written to a file, replayed and reopened."""

    @cached_property
    def origin(self) -> dict[str, Any]:
        """What it was made from, as far as a file can hold it."""
        return self.kept["origin"] if self.kept is not None else store.origin(self.plan, self.beginning())

    @cached_property
    def prints(self) -> Parts:
        """Hashes of the code and the data it was made from, by name."""
        return self.kept["prints"] if self.kept is not None else store.prints(self.plan)

    def named(self, shown: Snapshot) -> dict[str, np.ndarray]:
        """Name → array (a copy), of a snapshot."""
        flat = self.algorithm.result(self.problem, shown.theta, shown.state)
        return {name: view.copy() for name, view in self.problem.layout.views(flat).items()}

    def write(self, path: Any, data: bool = True) -> None:
        """Write it to a file as it is now; for whoever drives the run, between two steps."""
        store.write(path, store.contents(self, data))

    @property
    def reached(self) -> int:
        """The step of the last row; −1 before the first."""
        if self._pending is not None:
            return int(self._pending[0])
        return int(self.record.last("step")) if len(self.record) else -1

    @property
    def rows(self) -> np.ndarray:
        """The record (n, columns) with the last row, be it kept or not."""
        rows = self.record.rows
        return rows if self._pending is None else np.vstack([rows, self._pending])

    def plan_again(self, session: dict[str, Any]) -> Plan:
        """The plan, with what the session brings, and without the rules that end it: its record says where it ended.

        Of a run from a file it says what to expect of a replay.
        """
        plan = self.plan.again(**session) if session and self.plan.again else self.plan
        plan.problem.check_available()
        if self.kept is not None:
            print(*expected(self.kept, plan), sep="\n")
        none: dict[str, Any] = dict.fromkeys(RULES.values())
        rules = {**none, "steps": max(self.reached, 0), "checkpoint": None}
        return plan._replace(settings=replace(self.settings, **rules))

    def replay_into(self, again: TrainingLoop, seen: Callable[[Snapshot], None] | None = None) -> None:
        """Take ``again`` as far as this run went, with its changes of rates, and leave it in the same state.

        ``seen`` is shown every step on the way.
        """
        changes = deque(self.events)
        with np.errstate(all="ignore"):
            while True:
                while changes and changes[0].step <= again.shown.step:
                    again.stopped, event = None, changes.popleft()
                    again.keep_row()
                    if event.kind == "set":
                        again.request("set", event.value)
                        again.obey()
                if again.shown.step >= self.reached or again.stopped not in (None, "steps"):
                    break
                again.advance()
                if seen is not None:
                    seen(again.shown)
        again.stopped, again.paused, again.cell = self.stopped, self.paused, self.cell
        again.settings = again._verdict.settings = self.settings
        again.plan = again.plan._replace(settings=self.settings)
        again.events, again.note = list(self.events), self.note
        if self.kept is not None:
            print(f"metagd: replayed {self.iteration} steps: {apart(self, again)}")

    def reopen(self, changed: dict[str, Any]) -> None:
        """Make a run that has ended one that goes on, under rules that have ``changed``."""
        for name in changed:
            if name not in RULES.values():
                raise unknown_name("rule", name, list(RULES.values()))
        settings, rule = replace(self.settings, **changed), RULES.get(self.stopped or "", "")
        if self.stopped == "diverged":
            raise MetagdError("the run has ended (diverged); start a new one with a smaller rate", "resume")
        if (rule and rule not in changed) or settings.steps <= self.reached:
            rule = rule or "steps"
            why = f"{rule}={getattr(self.settings, rule):g}"
            raise MetagdError(f"the run has ended ({self.stopped}), by {why}; to go on: resume({rule}=…)", "resume")
        self.plan.problem.check_available()
        self.settings = self._verdict.settings = settings
        self.plan = self.plan._replace(settings=settings)
        if self.stopped == "failed":
            self.note = self.error = None
        self._clock, self._left = -self.record.last("seconds") if len(self.record) else 0.0, 0.0
        self._steps_owed, self.paused, self.stopped = 0, False, None
        self._requests.clear()
        self._write("resume", changed or None)


def expected(kept: dict[str, Any], plan: Plan) -> list[str]:
    """How equal a replay of a kept run can be, here and now; a line each."""
    elsewhere = store.differences(kept["environment"], store.environment())
    differ = store.changed(kept["prints"], store.prints(plan))
    if any(line.startswith("python ") for line in elsewhere):  # its compiled code differs by itself
        differ = [name for name in differ if not name.startswith("code ")]
    if elsewhere:
        lines = [f"metagd: not to the bit but to 1e-9 relative, because of {', '.join(elsewhere)}"]
    else:
        lines = ["metagd: to the bit: the machine, the versions and the BLAS threads are the same"]
    return [*lines, f"metagd: not what was saved: {', '.join(differ)}"] if differ else lines


def apart(one: TrainingLoop, other: TrainingLoop) -> str:
    """How far two runs are from each other, in words: over all columns but the clock, and the parameters."""
    pairs = [(one.record.since(c, 0), other.record.since(c, 0)) for c in one.record if c != "seconds"]
    pairs.append((one.shown.theta, other.shown.theta))
    if any(a.shape != b.shape for a, b in pairs):
        return f"{len(one.record)} and {len(other.record)} rows"
    if all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
        return "equal to the bit"
    with np.errstate(all="ignore"):
        worst = max(float(np.nanmax(np.abs(a - b) / np.maximum(np.abs(a), np.abs(b)), initial=0.0)) for a, b in pairs)
    return f"up to {worst:.2g} apart, relative"
