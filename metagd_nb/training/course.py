"""Course of a run that has ended: one line where its result is not what it seems.

"All steps done" is also true of a run whose loss has grown a million-fold, or has not moved. The rules compare numbers
that are far apart, by factors that neither rounding nor sampling noise decides, and each names what was measured.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..algorithms import Meta
from .loop_state import LoopState

Array = np.ndarray
STRETCHES = 64  # into which the losses are divided
GROWN = 10.0  # times a loss as high is told
LOST = 0.1  # share of what was gained that a run which came back up has lost
STILL = 0.05  # share of the loss by which a run that hardly moved has changed it, at most
MANY = 50  # steps from which on a run is expected to move
AHEAD = (0.5, 0.1)  # shares of the loss by which longer steps along its gradient are expected to lower it


class Course(NamedTuple):
    """Losses of a run; means of at least 20 rows where they carry sampling noise.

    Attributes
    ----------
    first, last, lowest : float
    step : int
        Step of the lowest.
    """

    first: float
    last: float
    lowest: float
    step: int


def course_note(loop: LoopState) -> str | None:
    """Return one line on a run that has ended, if its loss grew, came back up, hardly moved, or grows by adapting.

    Runs that diverged or failed have lines of their own.

    Parameters
    ----------
    loop : LoopState

    Returns
    -------
    str or None
    """
    if loop.stopped in (None, "diverged", "failed") or not loop.plan.problem.available():
        return None
    with np.errstate(all="ignore"):
        found = _course(loop)
        names = [name for name in loop.algorithm.live_rates() if name.endswith("lr") and not name.startswith("hyper")]
        smaller = f"a smaller {' or '.join(names)} usually helps"
        if loop.plan.inputs.gradient is not None:
            smaller += ", or a correct gradient: %metagd check compares yours"
        worse = _worse_by_adapting(loop)
        if worse is not None or found is None:
            return worse
        return _grown(found, smaller) or _hardly_moved(loop, found)


def _course(loop: LoopState) -> Course | None:
    """Return the course of the losses; None for too few rows, and for losses below zero, which have no scale."""
    loss, steps = loop.record.since("loss", 0), loop.record.since("step", 0)
    rows = loop.stopping.window if loop.sampled else 1
    count = min(STRETCHES, len(loss) // rows)
    if count < 2 or not np.isfinite(loss).all() or loss.min() < 0:
        return None
    ends = np.linspace(0, len(loss), count + 1).astype(int)
    means = np.add.reduceat(loss / np.repeat(np.diff(ends), np.diff(ends)), ends[:-1])
    best = int(means.argmin())
    first, last = (means[0], means[-1]) if loop.sampled else (loss[0], loss[-1])
    return Course(float(first), float(last), float(means[best]), int(steps[ends[best + 1] - 1]))


def _grown(found: Course, smaller: str) -> str | None:
    """Describe a loss that ended far above its start, or far above where it was."""
    first, last, lowest, step = found
    if last > GROWN * first > 0:
        return f"the loss grew from {first:.3g} to {last:.3g}, {last / first:.3g} times as high: {smaller}"
    if last > GROWN * lowest and last - lowest > LOST * (first - lowest) > 0:
        return f"the loss was {lowest:.3g} near step {step} and rose to {last:.3g} again: {smaller}"
    return None


def _worse_by_adapting(loop: LoopState) -> str | None:
    """Describe inner steps after which the losses of most tasks are far higher than without a step."""
    algorithm, plan, step = loop.algorithm, loop.plan, loop.snapshot.step
    if not isinstance(algorithm, Meta) or algorithm.embeds or not algorithm.inner_steps or step < 0:
        return None
    batch = plan.batches(step)
    path = algorithm.path(plan.problem, loop.snapshot.theta, batch.support, algorithm.inner_steps)
    losses = [algorithm.loss(plan.problem, phi, batch.query) for phi in path]
    before, after = float(np.median(losses[0])), float(np.median(losses[-1]))
    if not before > 0 or after <= GROWN * before:
        return None
    what = f"{before:.3g} before adapting and {after:.3g} after it, in the median of the last tasks"
    return f"the inner steps explode (query loss {what}): a smaller inner_lr, or inputs and targets of size 1"


def _hardly_moved(loop: LoopState, found: Course) -> str | None:
    """Describe a loss that hardly changed although a longer step along the gradient lowers it."""
    first, last = found.first, found.last
    evaluation, step = loop.executor.evaluation, loop.snapshot.step
    if not 0 <= abs(first - last) < STILL * first or evaluation is None or step < MANY:
        return None
    plan, theta = loop.plan, loop.snapshot.theta
    grad = evaluation.grad
    square = float(grad @ grad)
    if not square > 0:
        return None
    batch = plan.batches(step)

    def loss(at: Array) -> float:
        return loop.algorithm.evaluate(plan.problem, at.astype(theta.dtype), evaluation.state, batch).loss

    now, changed = loss(theta), abs(first - last) / first
    ahead = min(loss(theta - share * now / square * grad) for share in AHEAD)
    if not 1 - ahead / now > max(STILL, GROWN * changed):
        return None
    return (
        f"hardly moved: {step} steps changed the loss by {100 * changed:.2g} %, one longer step along the gradient "
        f"would lower it by {100 * (1 - ahead / now):.2g} %; a larger rate, or inputs and targets of size 1"
    )
