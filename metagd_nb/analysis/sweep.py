"""Hyperparameter search by grid or successive halving, on several seeds, in local processes or on a cluster (joblib).

``with joblib.parallel_config(backend="dask"): sweep(…)`` runs the trials on a cluster. Scheduling, and repeating the
work of a worker that died, is left to joblib and Dask.
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pickle import PicklingError
from typing import Any, NamedTuple

from ..algorithms import ALGORITHMS, Algorithm
from ..core.environment import can_start_threads
from ..core.errors import MetagdError, one_line, shorten, unknown_name
from ..core.hyperparameters import check_int, hyperparameters
from ..core.messages import warn
from ..tasks.identity import held_out_or, judged
from ..training.drivers import drive
from ..training.headline import judged_by, judged_loss
from ..training.plan import Inputs
from ..training.planning import configured, planned
from ..training.python_forms import text_options
from ..training.results import evaluated
from ..training.run import Run
from ..training.settings import Settings
from ..training.tracebacks import shows_users_lines
from .sweep_result import Outcome, Setting, Sweep, Trial
from .sweep_values import MOST, check_size, listed

SEARCHES = ("grid", "halving")
REDUCTION_FACTOR = 3  # η of successive halving: the best 1/η of the settings get η times the steps
N_SCORING_TASKS = 200  # default number of tasks on which a meta-learner is scored

Watch = Callable[[Sweep, int, int], None]  # the results so far, trials done, trials in all


@shows_users_lines
def sweep(
    method: str,
    over: Mapping[str, Sequence[Any]] | None = None,
    *,
    seeds: int = 1,
    search: str = "grid",
    jobs: int | None = None,
    n_tasks: int = N_SCORING_TASKS,
    watch: Watch | None = None,
    **given: Any,
) -> Sweep:
    """Train with every combination of some settings, each on the seeds 0…``seeds``−1.

    Parameters
    ----------
    method : str
        A name from ``ALGORITHMS``.
    over : mapping setting → values
        ``{"inner_lr": [0.001, 0.01, 0.1]}``.
    seeds : int
        Number of seeds.
    search : "grid" | "halving"
        ``grid`` gives every setting all the steps. ``halving`` gives all settings a share of the steps, then three
        times as many steps to the best third, and so on; each time trained from the start.
    jobs : int, optional
        Number of processes; by default one for each processor where joblib is installed, or what
        ``joblib.parallel_config`` says. Without threads (Pyodide) always one.
    n_tasks : int
        Tasks on which a meta-learning method is scored, at most: the held-out tasks of the family, or where it holds
        none out the family itself. The best score is lower than it is on yet other tasks, since it was chosen by
        these. Single-task methods are scored by their last loss.
    watch : function, optional
        Called with the results so far, the trials done and the trials in all, after each trial.
    **given
        The problem and further settings, as for `train`.

    Returns
    -------
    Sweep

    Raises
    ------
    MetagdError
        For settings that cannot be swept, and whatever `train` refuses.

    References
    ----------
    K. Jamieson and A. Talwalkar (2016), Non-stochastic best arm identification and hyperparameter optimization.
    """
    axes = _axes(over, given)
    names, numbers = tuple(axes), range(check_int(seeds, "seeds", 1, MOST))
    check_size([len(values) for values in axes.values()], len(numbers))
    _check(axes, search, given)
    inputs, options = _separated(given)
    combined = list(itertools.product(*axes.values()))
    work = _Work(method, ALGORITHMS.get(method, Algorithm), names, options, inputs._replace(check=False), n_tasks)
    checked = [work.configured(values) for values in combined]  # refused here, not in a worker
    algorithm, settings = checked[0]
    plan = planned(method, algorithm, settings, inputs)
    tasks = plan.tasks
    on = None if tasks is None else judged(held_out_or(tasks), tasks, n_tasks)
    found = Sweep(method, names, axes, {}, judged_by([plan]) if on is None else f"loss on {on}", judged=on)
    rungs = _rungs(len(combined), settings.steps) if search == "halving" else [(len(combined), settings.steps)]
    total = sum(n for n, _ in rungs) * len(numbers)
    try:
        for trial, outcome in _rung_outcomes(found, combined, rungs, numbers, work, jobs):
            found.outcomes[trial] = outcome
            if watch is not None:
                watch(found, len(found.outcomes), total)
    except KeyboardInterrupt:
        found = replace(found, complete=False)
    heavy = sum(outcome.few_carry for outcome in found.outcomes.values())
    if heavy:
        warn(
            f"a few tasks carry the mean of {heavy} of {len(found.outcomes)} trials; their order may be that of chance"
        )
    return found


def _separated(given: Mapping[str, Any]) -> tuple[Inputs, dict[str, Any]]:
    """Return the inputs and the settings that all trials share."""
    options, instead = text_options(given)
    own = set(Inputs._fields) - set(hyperparameters(Settings))  # a text or number of these names is a setting
    inputs = Inputs(**{name: options.pop(name) for name in list(options) if name in own}, **instead)
    options.pop("checkpoint", None)
    return _picklable(inputs), options


def _rung_outcomes(
    found: Sweep, combined: list[Setting], rungs: list[tuple[int, int]], seeds: range, work: _Work, jobs: int | None
) -> Iterator[tuple[Trial, Outcome]]:
    """Yield the outcomes of each rung: the first has all settings, each later one the best of the rung before."""
    for n, steps in rungs:
        survivors = combined if n == len(combined) else [one[0] for one in found.ranked()[:n]]
        yield from _outcomes(work, [Trial(values, seed, steps) for values in survivors for seed in seeds], jobs)


def _axes(over: Mapping[str, Sequence[Any]] | None, given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return each setting with the list of its values."""
    if not isinstance(over, Mapping) or not over:
        example = {name: value for name, value in given.items() if isinstance(value, list)} or {"lr": [0.01, 0.1]}
        raise MetagdError(f"needs a setting and its values, such as {shorten(example)}", "over")
    for name, values in over.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise MetagdError(f"{shorten(values)} is not a list of values, such as [0.01, 0.1]", name)
    return {name: listed(values, name) for name, values in over.items()}


def _check(axes: dict[str, list[Any]], search: str, given: Mapping[str, Any]) -> None:
    if search not in SEARCHES:
        raise unknown_name("search", search, SEARCHES)
    if search == "halving" and ("epochs" in axes or given.get("epochs") is not None):
        raise MetagdError("halving gives each trial a share of the steps; give steps", "epochs")
    for name, values in axes.items():
        if not values or len(set(map(str, values))) < len(values):
            raise MetagdError(f"{shorten(values)} is not allowed; needs values, each of them once", name)
        if name in ("seed", "steps", "checkpoint"):
            raise MetagdError("cannot be swept", name)


def _rungs(n: int, steps: int) -> list[tuple[int, int]]:
    """Number of settings and of steps of each rung of successive halving; the last rung has all the steps."""
    sizes = [n]
    while sizes[-1] > 1:
        sizes.append(math.ceil(sizes[-1] / REDUCTION_FACTOR))
    sizes = sizes[: max(1, int(math.log(max(steps, 1), REDUCTION_FACTOR)) + 1)]  # no rung without a step
    return [(size, max(1, steps // REDUCTION_FACTOR ** (len(sizes) - 1 - i))) for i, size in enumerate(sizes)]


def _picklable(inputs: Inputs) -> Inputs:
    """Reduce the user's namespace to the arguments of the loss and the gradient: the rest may not go to a worker."""
    if inputs.namespace is None:
        return inputs
    functions = [function for function in (inputs.loss, inputs.gradient) if callable(function)]
    names = {name for function in functions for name in inspect.signature(function).parameters}
    return inputs._replace(namespace={name: inputs.namespace[name] for name in names if name in inputs.namespace})


class _Work(NamedTuple):
    """Settings and inputs that all trials share, as sent to a worker."""

    method: str
    kind: type[Algorithm]  # of the method: a worker does not know the user's own
    names: tuple[str, ...]
    options: dict[str, Any]
    inputs: Inputs
    n_tasks: int

    def configured(self, values: Setting, **options: int) -> tuple[Algorithm, Settings]:
        """Return the method and the settings of a trial; where epochs are given, they set its steps."""
        given = {**self.options, **dict(zip(self.names, values, strict=True))}
        if given.get("epochs") is not None:
            options.pop("steps", None)
        return configured(self.method, {**given, **options})

    def __call__(self, trial: Trial) -> tuple[Trial, Outcome]:
        """Train and score; a run that diverges scores inf."""
        ALGORITHMS[self.method] = self.kind
        algorithm, settings = self.configured(trial.values, seed=trial.seed, steps=trial.steps)
        run = drive(Run(planned(self.method, algorithm, settings, self.inputs)))
        if run.stopped == "interrupted":
            raise KeyboardInterrupt
        if run.loop.error is not None:
            raise run.loop.error
        value, few_carry = math.inf, False
        if run.stopped != "diverged":
            value, few_carry = self._score(run, trial.seed)
        step, evaluations, seconds = (run.record.last(column) for column in ("step", "grad_evals", "seconds"))
        return trial, Outcome(value, str(run.stopped), int(step), int(evaluations), seconds, few_carry)

    def _score(self, run: Run, seed: int) -> tuple[float, bool]:
        """Return the score of a run, and True if a few tasks carry it."""
        if run.plan.tasks is None:
            return judged_loss(run.loop), False
        evaluation = evaluated(run, n_tasks=self.n_tasks, seed=1 + seed)
        return float(evaluation.mean[-1]), evaluation.few_carry is not None


def _run_trial(work: _Work, trial: Trial) -> tuple[Trial, Outcome]:
    """Run a trial in a worker: a function, since Dask identifies jobs by it."""
    return work(trial)


def _outcomes(work: _Work, trials: list[Trial], jobs: int | None) -> Iterator[tuple[Trial, Outcome]]:
    """Run the trials and yield each with its outcome, in order of completion."""
    has_joblib = importlib.util.find_spec("joblib") is not None
    if jobs == 1 or len(trials) == 1 or not has_joblib or not can_start_threads():
        if jobs not in (None, 1) and len(trials) > 1 and not has_joblib:
            raise MetagdError('joblib is not installed; pip install "metagd-nb[cluster]"', "jobs")
        yield from (work(trial) for trial in trials)
        return
    import joblib

    backend, active = joblib.parallel.get_active_backend()
    if jobs is None and active in (None, 1) and type(backend).__name__ == "LokyBackend":
        jobs = -1  # neither the caller nor joblib's configuration sets a number
    tasks: Iterable[Any] = (joblib.delayed(_run_trial)(work, trial) for trial in trials)
    try:
        yield from joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="all")(tasks)
    except PicklingError as error:
        why = one_line(error.__cause__ or error)
        raise MetagdError(f"a process cannot be given what a trial needs ({why}); use jobs=1", "jobs") from None
