"""Headline of a run: the losses that stand for it in its summary and over its plot."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from .loop_state import LoopState
from .plan import Plan


class Headline(NamedTuple):
    """First and last loss of a run; with mini-batches the means over the first and the last epoch.

    Attributes
    ----------
    first, last : float
        nan before the first row.
    rows : int
        Number of rows of the last mean; 0 for losses of one row each.
    """

    first: float
    last: float
    rows: int = 0

    @property
    def means(self) -> str:
        """Words that say of how many rows the losses are means; ``""`` for losses of one row each."""
        return f" (means of an epoch, {self.rows:,} rows)" if self.rows else ""


def headline(loop: LoopState) -> Headline:
    """Return the first and the last loss of a run.

    The last epoch is the last as many rows as an epoch has steps; a run that has not come so far has a mean over all.

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
    if epochs is None or not loop.stopping.recent.count:
        return Headline(float(losses[0]), loop.snapshot.loss)
    recent = loop.stopping.recent
    first = losses[: int(loop.record.since("step", 0).searchsorted(epochs.length))]
    return Headline(float(first.mean()), recent.mean, recent.count)


def judged_loss(loop: LoopState) -> float:
    """Return the loss by which runs of one task are compared: of their results, or with mini-batches of an epoch."""
    return loop.result.loss if loop.plan.epochs is None else headline(loop).last


def judged_by(plans: Iterable[Plan]) -> str:
    """Return the name of the losses that `judged_loss` gives for runs of these plans."""
    batched = any(plan.epochs is not None for plan in plans)
    return "last loss (with batches the mean of an epoch)" if batched else "last loss"
