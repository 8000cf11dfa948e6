"""Summary of a run in a few fixed lines."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import printable
from .course import course_note
from .headline import headline
from .loop import TrainingLoop
from .plan import Plan
from .settings import options_of
from .stopping import REASONS

UPDATE = ("schedule", "clip", "weight_decay", "bounds", "positive")  # settings of the update, named if they are given
MOST = 8  # parameters named in a summary


def summary(loop: TrainingLoop) -> str:
    """Method, settings, why it stopped, steps, first and last loss: the same at each run, without times.

    Parameters
    ----------
    loop : TrainingLoop

    Returns
    -------
    str
    """
    remarks, title = note(loop), f"metagd {loop.plan.method}"
    remarks = f"\n{remarks}" if remarks else ""
    if not len(loop.record):
        state = f"{REASONS[loop.stopped]}, without a step" if loop.stopped else "not started"
        return f"{title}: {state}{remarks}"
    state = REASONS[loop.stopped] if loop.stopped else "paused" if loop.paused else "running"
    losses, last = headline(loop), loop.record.last_step
    steps = f"{state} after {last} step{'s' * (last != 1)}{_epochs(loop)}"
    lines = f"{title}: {_settings(loop)}\n{_trained(loop)}{steps}"
    return f"{lines}\nloss {losses.first:.6g} → {losses.last:.6g}{losses.means}{_validated(loop)}{remarks}"


def _changed(loop: TrainingLoop, name: str) -> str:
    """The value to which the user set a rate during training, and the step; ``""`` for one that stayed."""
    steps = [event.step for event in loop.events if event.kind == "set" and name in event.value]
    return f" → {_value(getattr(loop.algorithm, name))} (step {steps[-1]})" if steps else ""


def named_settings(plan: Plan) -> dict[str, Any]:
    """Return the settings of the method and those of the update, by name.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    dict name → value
    """
    own, shared = options_of(type(plan.algorithm))
    settings = {name: getattr(plan.algorithm, name) for name in own}
    return settings | {name: getattr(plan.settings, name) for name in UPDATE if name in shared}


def _settings(loop: TrainingLoop) -> str:
    """The settings in words: all of the method, and those of the update that are not at their defaults."""
    own, shared = options_of(type(loop.plan.algorithm))
    named = named_settings(loop.plan).items()
    given = [(name, value) for name, value in named if name in own or value != shared[name].default]
    return ", ".join(f"{name}={_value(value)}{_changed(loop, name)}" for name, value in given)


def note(loop: TrainingLoop) -> str | None:
    """Notes on a run, one a line: those written during training, and after its end those on its result.

    Parameters
    ----------
    loop : TrainingLoop

    Returns
    -------
    str or None
        None if there is nothing to say.
    """
    lines = [loop.note]
    if loop.stopped == "patience":
        lines.append(_end_by_patience(loop))
    if loop.stopped is not None and len(loop.record):
        lines += [loop.algorithm.remark(loop.snapshot.state), course_note(loop)]
    return printable("\n".join(filter(None, lines))) or None


def _end_by_patience(loop: TrainingLoop) -> str:
    """Parameters that a run holds which ended for want of progress, in words."""
    best, what = loop.stopping, f"mean of {loop.stopping.window} losses" if loop.sampled else "loss"
    held = loop.result
    which = "the best" if held is loop.best and held is not loop.snapshot else "the last"
    line = f"the parameters are those of {which} step, {held.step} (loss {held.loss:.6g})"
    what = "validation loss" if loop.stopping.validated else what
    return f"{line}; the lowest {what} was {best.best:.6g}, at step {best.best_step}"


def _epochs(loop: TrainingLoop) -> str:
    """Number of epochs of the steps, and their size; ``""`` without mini-batches."""
    epochs = loop.plan.epochs
    if epochs is None:
        return ""
    passed = round(loop.record.last_step / epochs.length, 1)
    return f", {passed:g} epoch{'s' * (passed != 1)} of {epochs.n} rows in batches of {epochs.size}"


def _validated(loop: TrainingLoop) -> str:
    """The line on the losses on held-out rows, and on which parameters the run holds; ``""`` if there is none."""
    lines = ""
    if loop.plan.validation is not None:
        values = loop.record.since("validation", 0)
        values = values[np.isfinite(values)]
        if len(values):
            lowest = f"lowest {loop.stopping.best:.6g} at step {loop.stopping.best_step}"
            lines = f"\nvalidation loss {values[0]:.6g} → {values[-1]:.6g} ({lowest})"
    if loop.settings.keep == "best" and loop.stopped != "patience":  # which has a line of its own
        lines += f"\nkept: the parameters of step {loop.result.step} (loss {loop.result.loss:.6g})"
    return lines


def _trained(loop: TrainingLoop) -> str:
    """The line of a single-task run that names its trained parameters with their shapes; ``""`` for other methods."""
    if loop.plan.algorithm.setting == "meta":
        return ""
    shapes = loop.plan.problem.layout.shapes
    named = ", ".join(f"{printable(name)} {shape}" for name, shape in list(shapes.items())[:MOST])
    rest = f" … {len(shapes)} arrays, {loop.plan.problem.layout.size:,} numbers" if len(shapes) > MOST else ""
    return f"trained: {named}{rest}\n"


def _value(value: float | str | tuple[float, ...]) -> str:
    """A setting in words; of many rates only the number and the ends."""
    if isinstance(value, tuple) and len(value) > 4:
        return f"{len(value)} rates from {min(value):.4g} to {max(value):.4g}"
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))
