"""Result of comparing several methods on the same seeds: scores, differences, a table and the curves of a figure.

The difference of two methods is the mean over seeds of the difference on one seed, where both see the same tasks and
start from the same numbers; its interval is that of Student's t with 95 %. Where every seed judges the same few tasks,
such as the hospitals of a table, more seeds tell nothing about other hospitals: the interval then has two sources,
seeds and tasks. Its half-width is √(h_seeds² + h_tasks²), with h = t·s/√n of the means of each seed and of each task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import unknown_name
from ..core.tables import html_table, text_table
from ..tasks import Reference
from ..tasks.identity import remarks
from .comparison_entry import AXES, Entry, combined_half_width, half_widths, judged_alike


class Difference(NamedTuple):
    """Difference of two methods' scores.

    Attributes
    ----------
    mean, interval : float
        Mean over seeds, and half-width of its 95 % interval.
    verdict : "better" | "worse" | "no significant difference" | "not comparable"
    over_seeds, over_tasks : float
        Half-widths over seeds alone and over tasks alone; nan for ``over_tasks`` where every seed has tasks of its own.
    """

    mean: float
    interval: float
    verdict: str
    over_seeds: float = math.nan
    over_tasks: float = math.nan


@dataclass(frozen=True)
class Comparison:
    """Scores of several methods on the same seeds; a table in a notebook, and a figure by `plot`.

    Attributes
    ----------
    entries : tuple of Entry
        The given methods, then the baselines.
    seeds : tuple of int
    what : str
        Description of the scores; `heading` adds the tasks.
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
            Score of ``one`` minus that of ``other``; "better" or "worse" only if the interval excludes zero;
            "not comparable" if they were judged on different tasks, or if only one had learned from them.
        """
        a, b = self[one], self[other]
        paired = a.scores - b.scores
        mean = float(paired.mean())
        if not judged_alike(a, b):
            return Difference(mean, math.nan, "not comparable")
        fixed = a.by_task is not None and b.by_task is not None
        by_task = a.by_task - b.by_task if a.by_task is not None and b.by_task is not None else None
        sources = half_widths(paired, by_task, a.aligned and b.aligned)
        half = combined_half_width(*sources, fixed)
        if not abs(mean) > half:  # also for nan, the half-width of a single seed
            return Difference(mean, half, "no significant difference", *sources)
        return Difference(mean, half, "better" if (mean > 0) == self.higher else "worse", *sources)

    @property
    def heading(self) -> str:
        """Description of the scores, with the tasks that were judged where all methods were judged on the same."""
        judged = {entry.judged for entry in self.entries}
        tasks = next(iter(judged)) if len(judged) == 1 else None
        return f"{self.what} on {tasks}" if tasks else self.what

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
        head = ("", self.heading, *(f"against {name}" for name in against), "steps", "gradient evaluations", "seconds")
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
        score = _number(float(entry.scores.mean()), *entry.sources, entry.by_task is not None)
        if entry.judged and self.heading == self.what:
            score += f" on {entry.judged}"
        differences = [self._difference_text(entry.name, other) for other in against]
        return name, score, *differences, f"{step:,.0f}", f"{evaluations:,.0f}", f"{seconds:.2g}"

    def _difference_text(self, one: str, other: str) -> str:
        if one == other:
            return "–"
        found = self.difference(one, other)
        sources = (found.over_seeds, found.over_tasks)
        text = _number(found.mean, *sources, not math.isnan(found.over_tasks))
        return f"{'+' if found.mean > 0 else ''}{text}: {found.verdict}"

    @property
    def caption(self) -> str:
        """Number of seeds and meaning of the intervals."""
        n = len(self.seeds)
        text = f"{n} seed{'s' * (n != 1)}; mean ± half-width of the 95 % interval, differences paired by seed"
        return text + remarks((entry.judged for entry in self.entries), "both, seeds and tasks, as in brackets")

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


def _number(value: float, over_seeds: float, over_tasks: float, fixed: bool) -> str:
    """A mean with its interval in words, and where the tasks are fixed with both sources of the interval."""
    half = combined_half_width(over_seeds, over_tasks, fixed)
    text = f"{value:.4g}" if math.isnan(half) else f"{value:.4g} ± {half:.2g}"
    known = {"seeds": over_seeds, "tasks": over_tasks} if fixed else {}
    parts = [f"{source} {half:.2g}" for source, half in known.items() if not math.isnan(half)]
    return f"{text} ({', '.join(parts)})" if parts else text
