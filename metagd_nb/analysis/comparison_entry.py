"""One method of a comparison: its runs and scores, its curves, and the two sources of the interval of its mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..algorithms import Meta
from ..core.errors import MetagdError, unknown_name
from ..core.statistics import Array, half_width
from ..tasks import Tasks
from ..tasks.identity import Judged
from ..training.run import Run

AXES = {"steps": "step", "evaluations": "grad_evals", "seconds": "seconds"}  # axis of a curve → column of the record
POINTS = 64  # of a curve


class Curves(NamedTuple):
    """Loss over an axis.

    Attributes
    ----------
    x, median, low, high : array (n,)
        Points of the axis; median and quartiles over seeds.
    """

    x: Array
    median: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Entry:
    """One method of a comparison: its runs, one for each seed, and their scores.

    Attributes
    ----------
    name : str
    runs : tuple of Run
    scores : array (seeds,)
    baseline : bool
    judged : Judged or None
        Tasks that were judged; None for single-task methods.
    tasks : Tasks or None
        Their family.
    by_task : array (seeds, tasks) or None
        Score of each task where the family has a finite number; nan where a seed has not judged it.
    aligned : bool
        True if a column of ``by_task`` is one task.
    """

    name: str
    runs: tuple[Run, ...]
    scores: Array
    baseline: bool = False
    judged: Judged | None = None
    tasks: Tasks | None = None
    by_task: Array | None = None
    aligned: bool = True

    @property
    def sources(self) -> tuple[float, float]:
        """Half-widths of the 95 % interval of the mean score over seeds and over tasks."""
        return half_widths(self.scores, self.by_task, self.aligned)

    def curves(self, x: str = "steps") -> Curves:
        """Loss over ``steps``, ``evaluations`` or ``seconds``, over the range that every seed has covered.

        Parameters
        ----------
        x : "steps" | "evaluations" | "seconds"

        Returns
        -------
        Curves
            Of sampled runs, means over intervals between grid points; of others, the loss at the grid points.
        """
        if x not in AXES:
            raise unknown_name("axis", x, AXES)
        columns = [(run.record.since(AXES[x], 0), run.record.since("loss", 0)) for run in self.runs]
        points, averaged = self._resolution()
        grid = np.linspace(max(at[0] for at, _ in columns), min(at[-1] for at, _ in columns), points + 1)
        losses = [_means(at, loss, grid) if averaged else np.interp(grid, at, loss) for at, loss in columns]
        with np.errstate(all="ignore"):
            low, median, high = np.quantile(np.stack(losses), (0.25, 0.5, 0.75), axis=0)
        return Curves((grid[:-1] + grid[1:]) / 2 if averaged else grid, median, low, high)

    def _resolution(self) -> tuple[int, bool]:
        """Number of intervals of a curve; True where the loss is noisy and is averaged over each interval."""
        if not any(run.loop.sampled for run in self.runs):
            return POINTS, False
        rows = min(len(run.record) for run in self.runs)
        return min(POINTS, max(2, rows // 8)), rows >= 16


def half_widths(scores: Array, by_task: Array | None, aligned: bool) -> tuple[float, float]:
    """Half-widths of the 95 % interval of a mean, over seeds and over tasks.

    Parameters
    ----------
    scores : array (S,)
        Mean of each seed.
    by_task : array (S, T) or None
        Scores of the tasks; nan where a seed has not judged one. None where every seed has tasks of its own.
    aligned : bool
        True if a column is one task.

    Returns
    -------
    over_seeds, over_tasks : float
        nan where there are fewer than two.
    """
    over_seeds = half_width(scores)
    if by_task is None:
        return over_seeds, math.nan
    if not aligned:  # which tasks are the same is not known: the spread within a seed
        return over_seeds, float(np.mean([half_width(row) for row in by_task]))
    judged = ~np.isnan(by_task)
    return over_seeds, half_width(np.where(judged, by_task, 0).sum(axis=0) / judged.sum(axis=0))


def combined_half_width(over_seeds: float, over_tasks: float, fixed: bool) -> float:
    """Combine the half-widths over both sources where the tasks are fixed; else return that over seeds."""
    return math.hypot(over_seeds, over_tasks) if fixed else over_seeds


def judged_alike(one: Entry, other: Entry) -> bool:
    """Return True if both were judged on the same tasks, and both or neither had learned from them."""
    if one.judged != other.judged:
        return False
    families = [entry.tasks for entry in (one, other) if entry.tasks is not None]
    if len(families) < 2 or families[0] is families[1]:
        return True
    own = one.runs[0].plan.algorithm
    shots = own.shots if isinstance(own, Meta) else 1
    try:
        drawn = [family.sample(np.random.default_rng(0), 1, 4, shots, 1).query for family in families]
    except MetagdError:
        return False
    return np.array_equal(drawn[0].x, drawn[1].x) and np.array_equal(drawn[0].y, drawn[1].y)


def _means(at: Array, loss: Array, grid: Array) -> Array:
    """Means (n,) of a noisy loss between n+1 grid points; where no row lies between two, the loss is interpolated."""
    edges = np.searchsorted(at, grid)
    edges[-1] = np.searchsorted(at, grid[-1], side="right")
    total = np.concatenate([[0.0], np.cumsum(loss)])
    count = np.diff(edges)
    with np.errstate(all="ignore"):
        mean = np.diff(total[edges]) / count
    return np.where(count > 0, mean, np.interp((grid[:-1] + grid[1:]) / 2, at, loss))
