"""Repeat a run from its plan and events."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...core.environment import differences, environment
from ...core.errors import printable
from ...core.messages import logger
from ..executors.base import Snapshot
from ..loop import TrainingLoop
from ..plan import Plan
from ..requests import validate
from ..stopping import RULES
from .contents import changed, fingerprints

EQUAL = "equal to the bit"


def replay_plan(loop: TrainingLoop, session: Mapping[str, Any]) -> Plan:
    """The plan for a replay of a run: without the rules that end it, since the record says where it ended.

    Of a run from a file it logs how equal the replay can be.

    Parameters
    ----------
    loop : TrainingLoop
        Of the run that is repeated.
    session : dict
        Inputs that the session brings, by name.
    """
    plan = loop.plan.again(**session) if session and loop.plan.again else loop.plan
    plan.check_available()
    if loop.saved is not None:
        possible, *different = expected(loop.saved, plan)
        logger.info(possible)
        for line in different:
            logger.warning(line)
    none: dict[str, Any] = dict.fromkeys(RULES.values())
    rules = {**none, "steps": max(loop.record.last_step, 0), "checkpoint": None}
    return plan._replace(settings=replace(loop.settings, **rules))


def replay_into(loop: TrainingLoop, again: TrainingLoop, seen: Callable[[Snapshot], None] | None = None) -> None:
    """Take ``again`` as far as ``loop`` went, with its changes of rates, and leave it in the same state.

    ``seen`` is called with the snapshot of every step on the way.
    """
    changes, last = deque(loop.events), loop.record.last_step
    with np.errstate(all="ignore"):
        while True:
            while changes and changes[0].step <= again.snapshot.step:
                again.stopped, event = None, changes.popleft()
                again.record.keep_latest()
                if event.kind == "set":
                    again.handle("set", validate(again.algorithm, "set", event.value))
            if again.snapshot.step >= last or again.stopped not in (None, "steps", "no-descent"):
                break
            again.advance()
            if seen is not None:
                seen(again.snapshot)
    again.stopped, again.paused, again.cell = loop.stopped, loop.paused, loop.cell
    again.use(loop.settings)
    again.events, again.note = list(loop.events), loop.note
    if loop.saved is not None:
        distance = apart(loop, again)
        level = logging.INFO if distance == EQUAL else logging.WARNING
        logger.log(level, "metagd: replayed %d steps: %s", max(loop.snapshot.step, 0), distance)


def expected(saved: Mapping[str, Any], plan: Plan) -> list[str]:
    """Lines that say how equal a replay of a saved run can be, here and now."""
    elsewhere = differences(saved["environment"], environment())
    differ = changed(saved["prints"], fingerprints(plan))
    if any(line.startswith("python ") for line in elsewhere):  # its compiled code differs by itself
        differ = [name for name in differ if not name.startswith("code ")]
    elsewhere, differ = [printable(text) for text in elsewhere], [printable(text) for text in differ]
    if elsewhere:
        lines = [f"metagd: not to the bit but to 1e-9 relative, because of {', '.join(elsewhere)}"]
    else:
        lines = ["metagd: to the bit: the machine, the versions and the BLAS threads are the same"]
    return [*lines, f"metagd: not what was saved: {', '.join(differ)}"] if differ else lines


def apart(one: TrainingLoop, other: TrainingLoop) -> str:
    """Distance of two runs in words: over all columns but the clock, and the parameters."""
    metrics = {} if other.plan.metrics is None else other.plan.metrics.functions
    absent = {"seconds", *(name for name, function in metrics.items() if function is None)}
    pairs = [(one.record.since(c, 0), other.record.since(c, 0)) for c in one.record if c not in absent]
    pairs.append((one.snapshot.theta, other.snapshot.theta))
    if any(a.shape != b.shape for a, b in pairs):
        return f"{len(one.record)} and {len(other.record)} rows"
    if all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
        return EQUAL
    with np.errstate(all="ignore"):
        worst = max(float(np.nanmax(np.abs(a - b) / np.maximum(np.abs(a), np.abs(b)), initial=0.0)) for a, b in pairs)
    return f"up to {worst:.2g} apart, relative"
