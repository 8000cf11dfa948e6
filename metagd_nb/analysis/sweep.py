"""Many settings tried: each on several seeds, in processes of this machine or on a cluster, through joblib.

``with joblib.parallel_config(backend="dask"): sweep(…)`` is all that a cluster takes. There is no scheduler here: who
runs what, and what is run again when a worker dies, is joblib's and Dask's to see to.
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import MetagdError, shorten, unknown_name
from ..core.hyperparameters import check_int
from ..core.statistics import half_width
from ..core.tables import html_table, text_table
from ..training.drivers import drive
from ..training.prepare import Inputs, configured, planned
from ..training.run import Run
from .compare import score

SEARCHES = ("grid", "halving")
SHARE = 3  # of the settings in a rung, one in so many goes on, with so many times the steps
SCORED = 200  # tasks that a meta-learner is judged on


class Trial(NamedTuple):
    """One setting on one seed."""

    values: tuple[Any, ...]  # in the order of the names that are swept
    seed: int
    steps: int


class Outcome(NamedTuple):
    """What came of a trial."""

    score: float  # inf where it diverged
    stopped: str
    steps: int
    grad_evals: int
    seconds: float


Watch = Callable[["Sweep", int, int], None]  # the results so far, trials done, trials in all


@dataclass(frozen=True)
class Sweep:
    """What a sweep found: one outcome a trial; a table in a notebook, a heat map by `plot`, a frame by `frame`.

    Attributes
    ----------
    names : tuple of str
        The settings that were swept.
    axes : dict name → list
        Their values.
    outcomes : dict of Trial → Outcome
    what : str
        What the scores are; lower is better.
    complete : bool
        Whether all trials were made.
    """

    method: str
    names: tuple[str, ...]
    axes: dict[str, list[Any]]
    outcomes: dict[Trial, Outcome]
    what: str
    complete: bool = True

    def settings(self) -> list[tuple[tuple[Any, ...], int]]:
        """Each setting that was tried, with the most steps that it was given."""
        most: dict[tuple[Any, ...], int] = {}
        for trial in self.outcomes:
            most[trial.values] = max(most.get(trial.values, 0), trial.steps)
        return list(most.items())

    def scores(self, values: tuple[Any, ...], steps: int) -> np.ndarray:
        """Scores (seeds,) of a setting after so many steps."""
        return np.array([o.score for t, o in self.outcomes.items() if (t.values, t.steps) == (values, steps)])

    def ranked(self) -> list[tuple[tuple[Any, ...], int, float, float]]:
        """Setting, steps, mean score and half its interval: what went furthest first, of those the best first."""
        found = []
        for values, steps in self.settings():
            with np.errstate(invalid="ignore"):
                own = self.scores(values, steps)
                found.append((values, steps, float(own.mean()), half_width(own)))
        return sorted(found, key=lambda one: (-one[1], one[2]))

    @property
    def best(self) -> dict[str, Any]:
        """The setting with the lowest mean score among those that went furthest."""
        ranked = self.ranked()
        if not ranked:
            raise MetagdError("nothing was tried", "sweep")
        return dict(zip(self.names, ranked[0][0], strict=True))

    def rows(self) -> list[tuple[str, ...]]:
        """The table in words, its head first."""
        seeds = len({trial.seed for trial in self.outcomes})
        lines: list[tuple[str, ...]] = [(*self.names, self.what, "steps", "diverged")]
        for values, steps, mean, half in self.ranked():
            ended = [o.stopped for t, o in self.outcomes.items() if (t.values, t.steps) == (values, steps)]
            told = f"{mean:.4g}" if math.isnan(half) else f"{mean:.4g} ± {half:.2g}"
            lines.append((*map(_word, values), told, str(steps), f"{ended.count('diverged')} of {seeds}"))
        return lines

    @property
    def caption(self) -> str:
        """How many seeds, and what the intervals are."""
        seeds = len({trial.seed for trial in self.outcomes})
        whole_told = "" if self.complete else "; interrupted: not all were tried"
        return f"{self.method}, {seeds} seed{'s' * (seeds != 1)}; mean ± half-width of the 95 % interval{whole_told}"

    def __repr__(self) -> str:
        return "\n".join([*text_table(self.rows()), self.caption])

    def _repr_mimebundle_(self, **chosen: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": html_table(self.rows(), self.caption)}

    def frame(self) -> Any:
        """Every trial as a row of a pandas DataFrame; where pandas is not installed, a dict of columns."""
        columns: dict[str, list[Any]] = {
            name: [t.values[i] for t in self.outcomes] for i, name in enumerate(self.names)
        }
        columns["seed"] = [trial.seed for trial in self.outcomes]
        for name in Outcome._fields:
            columns[name] = [getattr(outcome, name) for outcome in self.outcomes.values()]
        if importlib.util.find_spec("pandas") is None:
            return columns
        import pandas

        return pandas.DataFrame(columns)

    def plot(self) -> Any:
        """The scores as a heat map over the first two settings, or over one as a curve with its intervals."""
        from ..plotting.heat_map import heat_map

        return heat_map(self)


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def sweep(
    method: str,
    over: Mapping[str, Sequence[Any]],
    *,
    seeds: int = 1,
    search: str = "grid",
    jobs: int | None = None,
    n_tasks: int = SCORED,
    watch: Watch | None = None,
    **given: Any,
) -> Sweep:
    """Train with every combination of some settings, on the seeds 0…``seeds``−1 each.

    Parameters
    ----------
    method : str
    over : mapping setting → values
        ``{"inner_lr": [0.001, 0.01, 0.1]}``.
    seeds : int
    search : "grid" | "halving"
        ``halving`` (Jamieson & Talwalkar 2016) gives all a share of the steps, and three times as many to
        the better third, until the last have all of them; each time trained from the start.
    jobs : int, optional
        Processes; by default one a processor where joblib is installed, or what ``joblib.parallel_config`` says.
    n_tasks : int
        How many fresh tasks a meta-learner is judged on; others by their last loss.
    watch : function, optional
        Called with the results so far after each trial.
    **given
        As for `train`.
    """
    names, axes = tuple(over), {name: list(values) for name, values in over.items()}
    _check(method, axes, search)
    numbers = range(check_int(seeds, "seeds", 1))
    fields = {name: given.pop(name) for name in list(given) if name in Inputs._fields}
    things, options = _light(Inputs(**fields)), {k: v for k, v in given.items() if k != "checkpoint"}
    combined = list(itertools.product(*axes.values()))
    algorithm, settings = configured(method, {**options, **dict(zip(names, combined[0], strict=True))})
    planned(method, algorithm, settings, things)  # what does not fit is refused here, not in a worker
    for values in combined:
        configured(method, {**options, **dict(zip(names, values, strict=True))})
    what = "last loss" if algorithm.setting != "meta" else f"loss on {n_tasks} new tasks"
    found = Sweep(method, names, axes, {}, what)
    rungs = _rungs(len(combined), settings.steps) if search == "halving" else [(len(combined), settings.steps)]
    total, left = sum(n for n, _ in rungs) * len(numbers), combined
    work = _Work(method, names, options, things._replace(check=False), n_tasks)
    try:
        for n, steps in rungs:
            left = left if n == len(combined) else [one[0] for one in found.ranked()[:n]]
            for trial, outcome in _done(work, [Trial(v, s, steps) for v in left for s in numbers], jobs):
                found.outcomes[trial] = outcome
                if watch is not None:
                    watch(found, len(found.outcomes), total)
    except KeyboardInterrupt:
        return Sweep(method, names, axes, found.outcomes, what, complete=False)
    return found


def _check(method: str, axes: dict[str, list[Any]], search: str) -> None:
    if search not in SEARCHES:
        raise unknown_name("search", search, SEARCHES)
    if not axes:
        raise MetagdError("needs a setting and its values, such as {'lr': [0.01, 0.1]}", "over")
    for name, values in axes.items():
        if not values or len(set(map(str, values))) < len(values):
            raise MetagdError(f"{shorten(values)} is not allowed; needs values, each of them once", name)
        if name in ("seed", "steps", "checkpoint"):
            raise MetagdError("cannot be swept", name)


def _rungs(n: int, steps: int) -> list[tuple[int, int]]:
    """How many settings are tried with how many steps, rung by rung; the last has all the steps."""
    sizes = [n]
    while sizes[-1] > 1:
        sizes.append(math.ceil(sizes[-1] / SHARE))
    sizes = sizes[: max(1, int(math.log(max(steps, 1), SHARE)) + 1)]  # no rung without a step
    return [(size, max(1, steps // SHARE ** (len(sizes) - 1 - i))) for i, size in enumerate(sizes)]


def _light(given: Inputs) -> Inputs:
    """Without all of a person's namespace: only what the loss and the gradient take from it goes to a worker."""
    if given.namespace is None:
        return given
    asked: set[str] = set()
    for function in (given.loss, given.gradient):
        if callable(function):
            asked |= set(inspect.signature(function).parameters)
    return given._replace(namespace={name: given.namespace[name] for name in asked if name in given.namespace})


class _Work(NamedTuple):
    """What a worker needs beside the trial itself."""

    method: str
    names: tuple[str, ...]
    options: dict[str, Any]
    given: Inputs
    n_tasks: int

    def __call__(self, trial: Trial) -> tuple[Trial, Outcome]:
        """Train and judge; a run that diverges scores inf."""
        values = dict(zip(self.names, trial.values, strict=True))
        options = {**self.options, **values, "seed": trial.seed, "steps": trial.steps}
        run = drive(Run(planned(self.method, *configured(self.method, options), self.given)))
        if run.stopped == "interrupted":
            raise KeyboardInterrupt
        if run.error is not None:
            raise run.error
        lost = run.stopped == "diverged"
        judged = math.inf if lost else score(run, trial.seed, None, self.n_tasks, "loss")
        last = [run.record.last(column) for column in ("step", "grad_evals", "seconds")]
        return trial, Outcome(judged, str(run.stopped), int(last[0]), int(last[1]), last[2])


def _made(work: _Work, trial: Trial) -> tuple[Trial, Outcome]:
    """What a worker calls: a function, since Dask looks jobs up by it."""
    return work(trial)


def _done(work: _Work, trials: list[Trial], jobs: int | None) -> Iterator[tuple[Trial, Outcome]]:
    """The trials with their outcomes, as they come in."""
    if jobs == 1 or len(trials) == 1 or importlib.util.find_spec("joblib") is None:
        if jobs not in (None, 1) and len(trials) > 1:
            raise MetagdError('joblib is not installed; pip install "metagd-nb[cluster]"', "jobs")
        yield from (work(trial) for trial in trials)
        return
    import joblib

    backend, active = joblib.parallel.get_active_backend()
    if jobs is None and active in (None, 1) and type(backend).__name__ == "LokyBackend":
        jobs = -1  # nobody has said otherwise
    tasks: Iterable[Any] = (joblib.delayed(_made)(work, trial) for trial in trials)
    yield from joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="all")(tasks)


def values(text: str, name: str, parse: Callable[[str], Any]) -> list[Any] | None:
    """The values that ``sweep:0.1,0.2`` or ``log:1e-4:1:9`` stand for; None for any other text.

    Raises
    ------
    MetagdError
        For one that is not understood.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("sweep", "log"):
        return None
    if kind == "sweep":
        return [parse(part.strip()) for part in rest.split(",")]
    try:
        low, high, n = (float(part) for part in rest.split(":"))
        if not (0 < low < high < math.inf and n >= 2 and n == int(n)):
            raise ValueError
    except ValueError:
        raise MetagdError(f"{text} is not allowed; needs log:LOW:HIGH:N with 0 < LOW < HIGH and N ≥ 2", name) from None
    return [parse(repr(float(f"{value:.6g}"))) for value in np.geomspace(low, high, int(n))]
