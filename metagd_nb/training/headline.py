"""Headline of a run: the losses that stand for it in its summary and over its plot."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .loop_state import LoopState
from .plan import Plan
from .stopping import WINDOW


class Headline(NamedTuple):
    """First and last loss of a run; means of the first and last rows where losses carry sampling noise.

    Attributes
    ----------
    first, last : float
        nan before the first row.
    rows : int
        Number of rows of the last mean; 0 for losses of one row each.
    noun : str
        What the rows are: ``an epoch`` or ``steps``.
    """

    first: float
    last: float
    rows: int = 0
    noun: str = "an epoch"

    @property
    def means(self) -> str:
        """Words that say of how many rows the losses are means; ``""`` for losses of one row each."""
        if not self.rows:
            return ""
        return f" (means of {self.rows} steps)" if self.noun == "steps" else f" (means of an epoch, {self.rows:,} rows)"

    @property
    def mean(self) -> str:
        """Words of the last mean alone; ``""`` for a loss of one row."""
        if not self.rows:
            return ""
        return f" (mean of {self.rows} steps)" if self.noun == "steps" else " (mean of an epoch)"


def headline(loop: LoopState) -> Headline:
    """Return the first and the last loss of a run.

    With mini-batches they are means over the first and the last epoch, as many rows as an epoch has steps; a run that
    has not come so far has a mean over all. Of meta-learning on sampled tasks they are means over 20 rows, or over
    half the rows of a run with fewer than 40.

    Parameters
    ----------
    loop : LoopState

    Returns
    -------
    Headline
    """
    losses, epochs = loop.record.since("loss", 0), loop.plan.epochs
    if not len(losses):
        return Headline(math.nan, math.nan)
    if loop.sampled and epochs is None and loop.stopped != "diverged":
        return _of_sampled(loop, losses)
    if epochs is None or not loop.stopping.recent.count:
        return Headline(float(losses[0]), loop.snapshot.loss)
    recent = loop.stopping.recent
    first = losses[: int(loop.record.since("step", 0).searchsorted(epochs.length))]
    return Headline(float(first.mean()), recent.mean, recent.count)


def _of_sampled(loop: LoopState, losses: np.ndarray) -> Headline:
    """Return means over 20 steps, or half of the steps of a short run."""
    recent, steps = loop.stopping.recent, loop.record.since("step", 0)
    rows = loop.record.last_step + 1
    if rows >= 2 * WINDOW and recent.count == WINDOW:
        return Headline(float(losses[: int(steps.searchsorted(WINDOW))].mean()), recent.mean, WINDOW, "steps")
    half = len(losses) // 2
    if half < 2 or loop.settings.record_every > 1:
        return Headline(float(losses[0]), loop.snapshot.loss)
    return Headline(float(losses[:half].mean()), float(losses[-half:].mean()), half, "steps")


def judged_loss(loop: LoopState) -> float:
    """Return the loss by which runs of one task are compared: of their results, or with mini-batches of an epoch."""
    return loop.result.loss if loop.plan.epochs is None else headline(loop).last


def judged_by(plans: Iterable[Plan]) -> str:
    """Return the name of the losses that `judged_loss` gives for runs of these plans."""
    batched = any(plan.epochs is not None for plan in plans)
    return "last loss (with batches the mean of an epoch)" if batched else "last loss"
