"""Summary of a run in a few fixed lines."""

from __future__ import annotations

from ..core.hyperparameters import hyperparameters
from .loop import TrainingLoop
from .stopping import REASONS


def summary(loop: TrainingLoop) -> str:
    """Method, settings, why it stopped, steps, first and last loss: the same at each run, without times.

    Parameters
    ----------
    loop : TrainingLoop

    Returns
    -------
    str
    """
    note, title = f"\n{loop.note}" if loop.note else "", f"metagd {loop.plan.method}"
    if not len(loop.record):
        state = f"{REASONS[loop.stopped]}, without a step" if loop.stopped else "not started"
        return f"{title}: {state}{note}"
    own = loop.plan.algorithm
    settings = ", ".join(f"{name}={_value(getattr(own, name))}" for name in hyperparameters(own))
    state = REASONS[loop.stopped] if loop.stopped else "paused" if loop.paused else "running"
    first, last = float(loop.record.since("loss", 0)[0]), loop.record.last_step
    steps = f"{state} after {last} step{'s' * (last != 1)}"
    return f"{title}: {settings}\n{steps}\nloss {first:.6g} → {loop.snapshot.loss:.6g}{note}"


def _value(value: float | str | tuple[float, ...]) -> str:
    """A setting in words; of many rates only the number and the ends."""
    if isinstance(value, tuple) and len(value) > 4:
        return f"{len(value)} rates from {min(value):.4g} to {max(value):.4g}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
