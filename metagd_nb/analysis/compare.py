"""Comparison of methods, trained on the same seeds, with standard baselines."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core.errors import MetagdError, shorten
from ..core.hyperparameters import check_int
from ..core.messages import warn
from ..tasks import Tasks
from ..tasks.identity import held_out_or
from ..training.drivers import foreground
from ..training.evaluation_result import Evaluation
from ..training.headline import judged_by, judged_loss
from ..training.planning import configured, planned
from ..training.results import evaluated
from ..training.run import Run
from ..training.summary import named_settings
from ..training.tracebacks import shows_users_lines
from ..training.update_planning import without_update_options
from .comparison import Comparison
from .comparison_entry import Entry

BASELINES = {"meta": ("scratch", "pretrain"), "single": ("lbfgs",)}
SHARED = ("inner_lr", "inner_steps", "shots", "queries", "meta_batch_size")  # settings that a baseline shares
ENDED = ("steps", "loss-below", "grad-below", "patience", "diverged", "no-descent")  # would end so again
TrainAll = Callable[[Iterable[Run]], Iterable[Run]]


@shows_users_lines
def compare(
    runs: Sequence[Run] | Mapping[str, Run],
    seeds: int = 5,
    *,
    baselines: bool = True,
    tasks: Tasks | None = None,
    n_tasks: int = 600,
    metric: str = "loss",
    train: TrainAll | None = None,
) -> Comparison:
    """Train several methods on the seeds 0…``seeds``−1, and compare their scores.

    Parameters
    ----------
    runs : list of Run, or mapping name → Run
        Finished or not; a finished run is used as it is where its seed is among the seeds.
    seeds : int
        0 compares the runs as they are.
    baselines : bool
        True adds training from scratch and pretraining (for single-task methods: L-BFGS).
    tasks : Tasks, optional
        Tasks on which meta-learning methods are scored; by default the held-out tasks of the family they learned from,
        or where it holds none out the family itself. The result says if tasks were learned from.
    n_tasks : int
        Number of these tasks, at most; each group of a table is judged at most once a seed.
    metric : "loss" | "accuracy"
        Score of meta-learning methods. Single-task methods are compared by their last loss.
    train : function, optional
        Trains the runs that it gets and returns them in the same order; by default one after the other, here.

    Returns
    -------
    Comparison

    Raises
    ------
    MetagdError
        For an empty list, a value that is not a Run, and single-task together with meta-learning methods.
    """
    found = as_named(runs)
    first = next(iter(found.values()))
    _check_comparable(found)
    numbers = tuple(range(check_int(seeds, "seeds", 0)))
    extra = _baselines(found, first) if baselines and numbers else {}
    if numbers:
        numbers, trained = _trained(found | extra, numbers, train or _train_here)
    else:
        numbers, trained = (0,), {name: (run.wait(),) for name, run in found.items()}
    if first.loop.algorithm.setting == "single":
        losses = {name: np.array([judged_loss(run.loop) for run in each]) for name, each in trained.items()}
        entries = [Entry(name, each, losses[name], name in extra) for name, each in trained.items()]
        return Comparison(
            tuple(entries), numbers, judged_by(each[0].plan for each in trained.values()), False, first.plan.references
        )
    judged = {
        name: [
            evaluated(run, tasks, n_tasks=n_tasks, seed=1 + seed, metric=metric)
            for run, seed in zip(each, numbers, strict=True)
        ]
        for name, each in trained.items()
    }
    entries = [_entry(name, trained[name], each, tasks, name in extra) for name, each in judged.items()]
    heavy = [name for name, each in judged.items() if any(one.few_carry for one in each)]
    if heavy:
        warn(f"a few tasks carry the mean of {', '.join(heavy)}; the intervals may be far too short")
    return Comparison(tuple(entries), numbers, metric, metric == "accuracy")


def _entry(name: str, runs: tuple[Run, ...], each: list[Evaluation], tasks: Tasks | None, baseline: bool) -> Entry:
    """Scores of a method after the last adaptation step, with those of each task where seeds judge the same tasks."""
    scores = np.array([one.mean[-1] for one in each])
    trained = runs[0].plan.tasks
    family = held_out_or(trained) if tasks is None and trained is not None else tasks
    if not each[0].judged.fixed:
        return Entry(name, runs, scores, baseline, each[0].judged, family)
    numbers = np.unique(np.concatenate([_numbers(one) for one in each]))
    by_task = np.full((len(each), len(numbers)), np.nan)
    for row, one in zip(by_task, each, strict=True):
        row[np.searchsorted(numbers, _numbers(one))] = one.scores[-1]
    return Entry(name, runs, scores, baseline, each[0].judged, family, by_task, each[0].numbers is not None)


def _numbers(evaluation: Evaluation) -> np.ndarray:
    return np.arange(evaluation.n_tasks) if evaluation.numbers is None else evaluation.numbers


def _check_comparable(runs: Mapping[str, Run]) -> None:
    if len({run.loop.algorithm.setting for run in runs.values()}) != 1:
        raise MetagdError("learn one loss and many tasks; only methods of one kind can be compared", "runs")
    for run in runs.values():
        run.plan.problem.check_available()


def _train_here(runs: Iterable[Run]) -> Iterable[Run]:
    return map(foreground, runs)


def _trained(
    runs: Mapping[str, Run], seeds: tuple[int, ...], train: TrainAll
) -> tuple[tuple[int, ...], dict[str, tuple[Run, ...]]]:
    """Train each run on each seed, except those that have finished; after an interrupt the seeds that are complete."""
    wanted = {(name, seed): _seeded(run, seed) for seed in seeds for name, run in runs.items()}
    new = {key: run for key, run in wanted.items() if run.stopped is None}
    left = dict(new)
    try:
        for key, done in zip(new, train(list(new.values())), strict=True):
            if done.loop.error is not None:
                raise done.loop.error
            if done.stopped == "interrupted":
                raise KeyboardInterrupt
            wanted[key] = done
            del left[key]
    except KeyboardInterrupt:
        complete = tuple(seed for seed in seeds if not any((name, seed) in left for name in runs))
        if not complete:
            raise
        warn(f"interrupted: {len(complete)} of {len(seeds)} seeds are compared")
        seeds = complete
    return seeds, {name: tuple(wanted[name, seed] for seed in seeds) for name in runs}


def as_named(runs: Sequence[Run] | Mapping[str, Run]) -> dict[str, Run]:
    """Name the runs: by their methods, and within one method by the settings in which they differ.

    Parameters
    ----------
    runs : list of Run, or mapping name → Run

    Returns
    -------
    dict name → Run

    Raises
    ------
    MetagdError
        For an empty list, and a value that is not a Run.
    """
    if not isinstance(runs, (list, tuple, Mapping)):
        raise MetagdError(f"{shorten(runs)} is not a list of runs, such as [run, other], or a dict of them", "runs")
    items = list(runs.items() if isinstance(runs, Mapping) else enumerate(runs))
    for name, run in items:
        if not isinstance(run, Run):
            raise MetagdError(
                f"{shorten(run)} is not a run, such as mg.prepare(…) or mg.train(…) gives", f"runs[{name}]"
            )
    if not items:
        raise MetagdError("needs a run or more to compare", "runs")
    return dict(runs) if isinstance(runs, Mapping) else {_label(runs, i): run for i, run in enumerate(runs)}


def _label(runs: Sequence[Run], i: int) -> str:
    method = runs[i].plan.method
    same = [named_settings(run.plan) for run in runs if run.plan.method == method]
    if len(same) == 1:
        return method
    own = named_settings(runs[i].plan)
    names = [name for name in own if len({settings[name] for settings in same}) > 1]
    if len({tuple(settings[name] for name in names) for settings in same}) < len(same):
        return f"{method} {i + 1}"
    return f"{method} {', '.join(f'{name}={shorten(own[name])}' for name in names)}"


def _seeded(run: Run, seed: int) -> Run:
    """Return a new run that differs in the seed; the run itself if it has that seed and has finished."""
    if run.plan.settings.seed == seed and run.stopped in ENDED:
        return run
    plan = run.plan
    settings = replace(run.plan.settings, seed=seed, checkpoint=None)
    return Run(planned(plan.method, plan.algorithm, settings, plan.inputs._replace(check=False)))


def _baselines(given: Mapping[str, Run], first: Run) -> dict[str, Run]:
    """Build runs of the baselines on the data of the first run, with those of its settings that they share."""
    baselines: dict[str, Run] = {}
    methods = {run.plan.method for run in given.values()}
    shared = {n: getattr(first.plan.algorithm, n) for n in SHARED if hasattr(first.plan.algorithm, n)}
    for method in BASELINES[first.loop.algorithm.setting]:
        if method in methods or (method == "lbfgs" and importlib.util.find_spec("scipy") is None):
            continue
        algorithm, _ = configured(method, shared)
        settings, inputs = replace(first.plan.settings, checkpoint=None), first.plan.inputs._replace(check=False)
        if not algorithm.scheduled_rate:
            settings, inputs = without_update_options(settings, inputs)
        try:
            plan = planned(method, algorithm, settings, inputs)
        except MetagdError:
            continue  # this baseline cannot learn from such tasks
        baselines[method] = Run(plan)
    return baselines
