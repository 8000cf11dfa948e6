"""Result of a sweep: scores of many settings, each on several seeds."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core.errors import MetagdError
from ..core.statistics import half_width
from ..core.tables import html_table, text_table
from ..tasks.identity import Judged, remarks

if TYPE_CHECKING:
    import pandas

Setting = tuple[Any, ...]  # values, in the order of the names that are swept


class Trial(NamedTuple):
    """One setting on one seed."""

    values: Setting
    seed: int
    steps: int


class Outcome(NamedTuple):
    """Result of a trial."""

    score: float  # inf where the run diverged
    stopped: str
    steps: int
    grad_evals: int
    seconds: float
    few_carry: bool = False  # True if a few tasks carry the score


@dataclass(frozen=True)
class Sweep:
    """Outcomes of a sweep; a table in a notebook, a heat map by `plot`, a data frame by `frame`.

    Attributes
    ----------
    method : str
    names : tuple of str
        The settings that were swept.
    axes : dict name → list
        Their values.
    outcomes : dict of Trial → Outcome
    what : str
        Description of the scores; lower is better.
    complete : bool
        True if all trials were made.
    judged : Judged or None
        Tasks that were judged; None for single-task methods.
    """

    method: str
    names: tuple[str, ...]
    axes: dict[str, list[Any]]
    outcomes: dict[Trial, Outcome]
    what: str
    complete: bool = True
    judged: Judged | None = None

    def ranked(self) -> list[tuple[Setting, int, float, float]]:
        """Rank the settings: those with most steps first, and among these the best first.

        Returns
        -------
        list of (values, steps, mean score, half-width of its 95 % interval)
        """
        found = []
        for (values, steps), outcomes in self._by_setting().items():
            scores = np.array([outcome.score for outcome in outcomes])
            with np.errstate(invalid="ignore"):
                found.append((values, steps, float(scores.mean()), half_width(scores)))
        return sorted(found, key=lambda one: (-one[1], one[2]))

    def _by_setting(self) -> dict[tuple[Setting, int], list[Outcome]]:
        """Outcomes of each setting after the most steps that it was given."""
        most: dict[Setting, int] = {}
        for trial in self.outcomes:
            most[trial.values] = max(most.get(trial.values, 0), trial.steps)
        found: dict[tuple[Setting, int], list[Outcome]] = {item: [] for item in most.items()}
        for trial, outcome in self.outcomes.items():
            if trial.steps == most[trial.values]:
                found[trial.values, trial.steps].append(outcome)
        return found

    @property
    def best(self) -> dict[str, Any]:
        """Setting with the lowest mean score among those with the most steps, by name."""
        ranked = self.ranked()
        if not ranked:
            raise MetagdError("nothing was tried", "sweep")
        return dict(zip(self.names, ranked[0][0], strict=True))

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len({trial.seed for trial in self.outcomes})

    def rows(self) -> list[tuple[str, ...]]:
        """Return the rows of the table, head first.

        Returns
        -------
        list of tuple of str
        """
        lines: list[tuple[str, ...]] = [(*self.names, self.what, "steps", "diverged")]
        outcomes = self._by_setting()
        for values, steps, mean, half in self.ranked():
            diverged = sum(outcome.stopped == "diverged" for outcome in outcomes[values, steps])
            taken = [outcome.steps for outcome in outcomes[values, steps] if outcome.stopped == "steps"]
            steps = max(taken, default=steps)  # where epochs set them
            score = f"{mean:.4g}" if math.isnan(half) else f"{mean:.4g} ± {half:.2g}"
            words = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
            lines.append((*words, score, str(steps), f"{diverged} of {self.seeds}"))
        return lines

    @property
    def caption(self) -> str:
        """Number of seeds and meaning of the intervals."""
        interrupted = "" if self.complete else "; interrupted: not all were tried"
        plural = "s" * (self.seeds != 1)
        tasks = remarks([self.judged], "seeds alone")
        return f"{self.method}, {self.seeds} seed{plural}; mean ± half-width of the 95 % interval{tasks}{interrupted}"

    def __repr__(self) -> str:
        return "\n".join([*text_table(self.rows()), self.caption])

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": html_table(self.rows(), self.caption)}

    def frame(self) -> pandas.DataFrame | dict[str, list[Any]]:
        """Return the trials as a table.

        Returns
        -------
        pandas.DataFrame, or dict of columns where pandas is not installed
        """
        rows = [(*trial.values, trial.seed, *outcome) for trial, outcome in self.outcomes.items()]
        names = (*self.names, "seed", *Outcome._fields)
        columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
        if importlib.util.find_spec("pandas") is None:
            return columns
        import pandas

        return pandas.DataFrame(columns)

    def plot(self) -> Any:
        """Draw the scores: a heat map over the first two settings, or a curve with intervals over a single one."""
        from ..plotting.heat_map import heat_map

        return heat_map(self)
