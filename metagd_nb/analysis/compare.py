"""Methods side by side: every one on the same seeds, differences taken seed by seed, the old ways beside the new.

The difference of two methods is the mean over seeds of the difference on one seed, where both see the same tasks and
start from the same numbers; its interval is Student's t with 95 %. "better" is said only where it excludes zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ..algorithms import Meta
from ..core.errors import MetagdError, shorten, unknown_name
from ..core.hyperparameters import check_int, hyperparameters
from ..core.statistics import half_width
from ..core.tables import html_table, text_table
from ..tasks import Tasks
from ..training.drivers import foreground
from ..training.persistence.replay import refuse_absent
from ..training.prepare import configured, planned
from ..training.run import Run

Array = np.ndarray
AXES = {"steps": "step", "evaluations": "grad_evals", "seconds": "seconds"}  # what a curve can be drawn over
POINTS = 64  # of a curve
BASELINES = {"meta": ("scratch", "pretrain"), "single": ("lbfgs",)}
SHARED = ("inner_lr", "inner_steps", "shots", "queries", "meta_batch_size")  # what a baseline takes over


class Difference(NamedTuple):
    """How much one method's score is above another's: mean over seeds, and half the 95 % interval."""

    mean: float
    interval: float
    verdict: str  # "better", "worse", or "not told apart"


class Curves(NamedTuple):
    """A loss over some axis: the median over seeds, and the quartiles."""

    x: Array  # (n,)
    median: Array  # (n,)
    low: Array  # (n,)
    high: Array  # (n,)


@dataclass(frozen=True)
class Entry:
    """One method of a comparison: its runs, one a seed, and what each scored."""

    name: str
    runs: tuple[Run, ...]
    scores: Array  # (seeds,)
    baseline: bool = False

    def curves(self, x: str = "steps") -> Curves:
        """The loss over ``steps``, ``evaluations`` or ``seconds``, as far as every seed has gone."""
        if x not in AXES:
            raise unknown_name("axis", x, AXES)
        columns = [(run.record.since(AXES[x], 0), run.record.since("loss", 0)) for run in self.runs]
        end = min(float(at[-1]) for at, _ in columns)
        begin = max(float(at[0]) for at, _ in columns)
        noisy = any(run.sampled for run in self.runs)
        shortest = min(len(at) for at, _ in columns)
        points = min(POINTS, max(2, shortest // 8)) if noisy else POINTS
        grid = np.linspace(begin, end, points + 1)
        make = _means if noisy and shortest >= 16 else _between
        drawn = [make(at, loss, grid) for at, loss in columns]
        with np.errstate(all="ignore"):
            low, median, high = np.quantile(np.stack([y for _, y in drawn]), (0.25, 0.5, 0.75), axis=0)
        return Curves(drawn[0][0], median, low, high)


def _between(at: Array, loss: Array, grid: Array) -> tuple[Array, Array]:
    """The loss at the places of the grid."""
    return grid, np.interp(grid, at, loss)


def _means(at: Array, loss: Array, grid: Array) -> tuple[Array, Array]:
    """Means of a noisy loss between the places of the grid; where no row fell, the loss between its neighbours."""
    middle = (grid[:-1] + grid[1:]) / 2
    edges = np.searchsorted(at, grid)
    edges[-1] = np.searchsorted(at, grid[-1], side="right")
    total = np.concatenate([[0.0], np.cumsum(loss)])
    count = np.diff(edges)
    with np.errstate(all="ignore"):
        mean = (total[edges[1:]] - total[edges[:-1]]) / count
    return middle, np.where(count > 0, mean, np.interp(middle, at, loss))


@dataclass(frozen=True)
class Comparison:
    """Scores of several methods on the same seeds; a table in a notebook, and a figure by `plot`.

    Attributes
    ----------
    entries : tuple of Entry
        The methods as they were given, then the baselines.
    seeds : tuple of int
    what : str
        What the scores are.
    higher : bool
        Whether a higher score is better.
    """

    entries: tuple[Entry, ...]
    seeds: tuple[int, ...]
    what: str
    higher: bool = False
    references: tuple[Any, ...] = field(default=(), repr=False)

    def __getitem__(self, name: str) -> Entry:
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise unknown_name("method", name, [entry.name for entry in self.entries])

    def difference(self, one: str, other: str) -> Difference:
        """How ``one`` compares with ``other``, paired by seed."""
        off = self[one].scores - self[other].scores
        mean, half = float(off.mean()), half_width(off)
        if not abs(mean) > half:  # nan too: with one seed nothing is told apart
            return Difference(mean, half, "not told apart")
        return Difference(mean, half, "better" if (mean > 0) == self.higher else "worse")

    def rows(self, measured: bool = True) -> list[tuple[str, ...]]:
        """The table in words, its head first; ``measured`` adds the seconds."""
        first = self.entries[0].name
        best = self._best_baseline()
        against = [name for name in dict.fromkeys([first, best]) if name is not None]
        head = ("", self.what, *(f"against {name}" for name in against), "steps", "gradient evaluations", "seconds")
        lines: list[tuple[str, ...]] = [head]
        for entry in self.entries:
            lasts = [float(np.mean([r.record.last(c) for r in entry.runs])) for c in ("step", "grad_evals", "seconds")]
            told = [self._told(entry.name, name) for name in against]
            diverged = sum(run.stopped == "diverged" for run in entry.runs)
            name = entry.name + (" (baseline)" if entry.baseline else "")
            name += f", {diverged} of {len(entry.runs)} diverged" if diverged else ""
            costs = (f"{lasts[0]:,.0f}", f"{lasts[1]:,.0f}", f"{lasts[2]:.2g}")
            lines.append((name, _number(entry.scores.mean(), half_width(entry.scores)), *told, *costs))
        lines += [(reference.label, f"{reference.value:.4g}", *[""] * (len(head) - 2)) for reference in self.references]
        return lines if measured else [line[:-1] for line in lines]

    def _best_baseline(self) -> str | None:
        known = [entry for entry in self.entries if entry.baseline]
        sign = -1 if self.higher else 1
        return min(known, key=lambda entry: sign * float(entry.scores.mean())).name if known else None

    def _told(self, one: str, other: str) -> str:
        if one == other:
            return "–"
        found = self.difference(one, other)
        return f"{'+' if found.mean > 0 else ''}{_number(found.mean, found.interval)}: {found.verdict}"

    @property
    def caption(self) -> str:
        """What the intervals are."""
        n = len(self.seeds)
        return f"{n} seed{'s' * (n != 1)}; mean ± half-width of the 95 % interval, differences paired by seed"

    def __repr__(self) -> str:
        return "\n".join([*text_table(self.rows(measured=False)), self.caption])

    def _repr_mimebundle_(self, **chosen: Any) -> dict[str, str]:
        """A table of what is the same at each run, so that a check of the notebook can compare it."""
        return {"text/plain": repr(self), "text/html": html_table(self.rows(measured=False), self.caption)}

    def plot(self, x: str = "steps") -> Any:
        """The losses over ``steps``, ``evaluations`` or ``seconds``: medians over the seeds, and bands of quartiles."""
        from ..plotting.comparison import comparison_figure

        return comparison_figure(self, x)


def _number(value: float, half: float) -> str:
    return f"{value:.4g}" if math.isnan(half) else f"{value:.4g} ± {half:.2g}"


def compare(
    runs: Sequence[Run] | Mapping[str, Run],
    seeds: int = 5,
    *,
    baselines: bool = True,
    tasks: Tasks | None = None,
    n_tasks: int = 600,
    metric: str = "loss",
    train: Callable[[Iterable[Run]], Iterable[Run]] | None = None,
) -> Comparison:
    """Train what several runs are made of on the seeds 0…``seeds``−1, and compare.

    Parameters
    ----------
    runs : list of Run, or mapping name → Run
        Finished or not; a finished one is taken as it is where its seed is among the seeds.
    seeds : int
        0 compares the runs as they are.
    baselines : bool
        Whether training from scratch and pretraining (for one loss: L-BFGS) are compared too.
    tasks : Tasks, optional
        Meta-learning methods: what they are judged on, by default fresh tasks of the family they learned from.
    n_tasks : int
        How many of them.
    metric : "loss" | "accuracy"
        Of meta-learning methods. Others are compared by their last loss.
    train : function, optional
        What trains the runs, given in any order; by default here, one after the other.

    Returns
    -------
    Comparison
    """
    found = as_named(runs)
    numbers = tuple(range(check_int(seeds, "seeds", 0)))
    settings = {run.algorithm.setting for run in found.values()}
    if len(settings) != 1:
        raise MetagdError("learn one loss and many tasks; only methods of one kind can be compared", "runs")
    meta = settings == {"meta"}
    for run in found.values():
        refuse_absent(run.plan)
    first = next(iter(found.values()))
    extra = _baselines(found, first) if baselines and numbers else {}
    if numbers:
        wanted = {(name, seed): _seeded(run, seed) for name, run in (found | extra).items() for seed in numbers}
        new = [run for run in wanted.values() if run.stopped is None]
        _trained(new, wanted, train)
    else:
        numbers = (0,)
        wanted = {(name, 0): run.wait() for name, run in found.items()}
    entries = []
    for name in found | extra:
        own = tuple(wanted[name, seed] for seed in numbers)
        scores = [score(run, seed, tasks, n_tasks, metric) for run, seed in zip(own, numbers, strict=True)]
        entries.append(Entry(name, own, np.array(scores), name in extra))
    shown = () if meta else first.references
    what = f"{metric} on {n_tasks} new tasks" if meta else "last loss"
    return Comparison(tuple(entries), numbers, what, meta and metric == "accuracy", shown)


def _trained(new: list[Run], wanted: dict[tuple[str, int], Run], train: Any) -> None:
    """Train the runs that are not finished; what comes back takes their place."""
    if train is None:
        for run in new:
            _raised(foreground(run))
        return
    place = {id(run): key for key, run in wanted.items()}
    for run, done in zip(new, train(new), strict=True):
        wanted[place[id(run)]] = _raised(done)


def _raised(run: Run) -> Run:
    if run.error is not None:
        raise run.error
    if run.stopped == "interrupted":
        raise KeyboardInterrupt
    return run


def as_named(runs: Sequence[Run] | Mapping[str, Run]) -> dict[str, Run]:
    """The runs by name; those of one method are told apart by the settings in which they differ."""
    if isinstance(runs, Mapping):
        found = dict(runs)
    else:
        of: dict[str, list[Run]] = {}
        for run in runs:
            of.setdefault(getattr(run, "method", "?"), []).append(run)
        found = {_told_apart(run, of[run.method], i): run for i, run in enumerate(runs) if isinstance(run, Run)}
        if len(found) < len(runs):
            found |= {f"{i}": run for i, run in enumerate(runs) if not isinstance(run, Run)}
    for name, run in found.items():
        if not isinstance(run, Run):
            raise MetagdError(
                f"{shorten(run)} is not a run, such as mg.prepare(…) or mg.train(…) gives", f"runs[{name}]"
            )
    if not found:
        raise MetagdError("needs a run or more to compare", "runs")
    return found


def _told_apart(run: Run, same: list[Run], i: int) -> str:
    if len(same) == 1:
        return run.method
    kept = [run.plan.algorithm for run in same]
    differ = [name for name in hyperparameters(run.algorithm) if len({getattr(a, name) for a in kept}) > 1]
    told = ", ".join(f"{name}={shorten(getattr(run.plan.algorithm, name))}" for name in differ)
    own = [tuple(getattr(a, name) for name in differ) for a in kept]
    return f"{run.method} {told}" if len(set(own)) == len(same) else f"{run.method} {i + 1}"


def _seeded(run: Run, seed: int) -> Run:
    """The same run with another seed, not started; itself where it has that seed and has ended by itself."""
    if run.settings.seed == seed and run.stopped in ("steps", "loss-below", "grad-below", "patience", "diverged"):
        return run
    plan = run.plan
    settings = replace(run.settings, seed=seed, checkpoint=None)
    return Run(planned(plan.method, plan.algorithm, settings, plan.given._replace(check=False)))


def _baselines(as_named: Mapping[str, Run], first: Run) -> dict[str, Run]:
    """The traditional methods on what the first run learns from, with its settings where they have them."""
    found: dict[str, Run] = {}
    methods = {run.method for run in as_named.values()}
    for method in BASELINES[first.algorithm.setting]:
        if method in methods or not _can(method):
            continue
        shared = {n: getattr(first.plan.algorithm, n) for n in SHARED if hasattr(first.plan.algorithm, n)}
        algorithm, _ = configured(method, shared)
        settings = replace(first.settings, checkpoint=None)
        try:
            plan = planned(method, algorithm, settings, first.plan.given._replace(check=False))
        except MetagdError:
            continue  # this baseline cannot learn from such tasks
        found[method] = Run(plan)
    return found


def _can(method: str) -> bool:
    """Whether what a baseline needs is installed."""
    import importlib.util

    return method != "lbfgs" or importlib.util.find_spec("scipy") is not None


def score(run: Run, seed: int, tasks: Tasks | None, n_tasks: int, metric: str) -> float:
    """The last loss; of a meta-learner, how it does on fresh tasks after adaptation, the same for all at one seed."""
    if not isinstance(run.algorithm, Meta):
        return run.loss
    return float(run.evaluate(tasks, n_tasks=n_tasks, seed=1 + seed, metric=metric).mean[-1])
