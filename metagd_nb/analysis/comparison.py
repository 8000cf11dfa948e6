"""Result of comparing several methods on the same seeds: scores, differences, a table and the curves of a figure.

The difference of two methods is the mean over seeds of the difference on one seed, where both see the same tasks and
start from the same numbers; its interval is that of Student's t with 95 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import unknown_name
from ..core.statistics import Array, half_width
from ..core.tables import html_table, text_table
from ..tasks import Reference
from ..training.run import Run

AXES = {"steps": "step", "evaluations": "grad_evals", "seconds": "seconds"}  # axis of a curve → column of the record
POINTS = 64  # of a curve


class Difference(NamedTuple):
    """Difference of two methods' scores.

    Attributes
    ----------
    mean, interval : float
        Mean over seeds, and half-width of its 95 % interval.
    verdict : "better" | "worse" | "no significant difference"
    """

    mean: float
    interval: float
    verdict: str


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
    """One method of a comparison: its runs, one for each seed, and their scores."""

    name: str
    runs: tuple[Run, ...]
    scores: Array  # (seeds,)
    baseline: bool = False

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


def _means(at: Array, loss: Array, grid: Array) -> Array:
    """Means (n,) of a noisy loss between n+1 grid points; where no row lies between two, the loss is interpolated."""
    edges = np.searchsorted(at, grid)
    edges[-1] = np.searchsorted(at, grid[-1], side="right")
    total = np.concatenate([[0.0], np.cumsum(loss)])
    count = np.diff(edges)
    with np.errstate(all="ignore"):
        mean = np.diff(total[edges]) / count
    return np.where(count > 0, mean, np.interp((grid[:-1] + grid[1:]) / 2, at, loss))


@dataclass(frozen=True)
class Comparison:
    """Scores of several methods on the same seeds; a table in a notebook, and a figure by `plot`.

    Attributes
    ----------
    entries : tuple of Entry
        The given methods, then the baselines.
    seeds : tuple of int
    what : str
        Description of the scores.
    higher : bool
        True if a higher score is better.
    references : tuple of Reference
        Known values of the score.
    """

    entries: tuple[Entry, ...]
    seeds: tuple[int, ...]
    what: str
    higher: bool = False
    references: tuple[Reference, ...] = field(default=(), repr=False)

    def __getitem__(self, name: str) -> Entry:
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise unknown_name("method", name, [entry.name for entry in self.entries])

    def difference(self, one: str, other: str) -> Difference:
        """Compare two methods, paired by seed.

        Parameters
        ----------
        one, other : str
            Names of entries.

        Returns
        -------
        Difference
            Score of ``one`` minus that of ``other``; "better" or "worse" only if the interval excludes zero.
        """
        paired = self[one].scores - self[other].scores
        mean, half = float(paired.mean()), half_width(paired)
        if not abs(mean) > half:  # also for nan, the half-width of a single seed
            return Difference(mean, half, "no significant difference")
        return Difference(mean, half, "better" if (mean > 0) == self.higher else "worse")

    def rows(self, measured: bool = True) -> list[tuple[str, ...]]:
        """Return the rows of the table, head first.

        Parameters
        ----------
        measured : bool
            True adds the seconds, which differ from run to run.

        Returns
        -------
        list of tuple of str
        """
        baselines = [entry for entry in self.entries if entry.baseline]
        best = sorted(baselines, key=lambda entry: float(entry.scores.mean()), reverse=self.higher)[:1]
        against = list(dict.fromkeys(entry.name for entry in (self.entries[0], *best)))
        head = ("", self.what, *(f"against {name}" for name in against), "steps", "gradient evaluations", "seconds")
        lines: list[tuple[str, ...]] = [head, *(self._row(entry, against) for entry in self.entries)]
        lines += [(reference.label, f"{reference.value:.4g}", *[""] * (len(head) - 2)) for reference in self.references]
        return lines if measured else [line[:-1] for line in lines]

    def _row(self, entry: Entry, against: list[str]) -> tuple[str, ...]:
        step, evaluations, seconds = (
            float(np.mean([run.record.last(column) for run in entry.runs])) for column in AXES.values()
        )
        diverged = sum(run.stopped == "diverged" for run in entry.runs)
        name = entry.name + (" (baseline)" if entry.baseline else "")
        name += f", {diverged} of {len(entry.runs)} diverged" if diverged else ""
        score = _number(entry.scores.mean(), half_width(entry.scores))
        differences = [self._difference_text(entry.name, other) for other in against]
        return name, score, *differences, f"{step:,.0f}", f"{evaluations:,.0f}", f"{seconds:.2g}"

    def _difference_text(self, one: str, other: str) -> str:
        if one == other:
            return "–"
        found = self.difference(one, other)
        return f"{'+' if found.mean > 0 else ''}{_number(found.mean, found.interval)}: {found.verdict}"

    @property
    def caption(self) -> str:
        """Number of seeds and meaning of the intervals."""
        n = len(self.seeds)
        return f"{n} seed{'s' * (n != 1)}; mean ± half-width of the 95 % interval, differences paired by seed"

    def __repr__(self) -> str:
        return "\n".join([*text_table(self.rows(measured=False)), self.caption])

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        """Return text and an HTML table without the measured columns, so that a test of a notebook can compare it."""
        return {"text/plain": repr(self), "text/html": html_table(self.rows(measured=False), self.caption)}

    def plot(self, x: str = "steps") -> Any:
        """Draw the losses: medians over seeds, with bands of quartiles.

        Parameters
        ----------
        x : "steps" | "evaluations" | "seconds"

        Returns
        -------
        RunFigure
        """
        from ..plotting.comparison import comparison_figure

        return comparison_figure(self, x)


def _number(value: float, half: float) -> str:
    return f"{value:.4g}" if math.isnan(half) else f"{value:.4g} ± {half:.2g}"
