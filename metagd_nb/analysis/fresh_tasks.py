"""A trained meta-learning run and tasks that it has not seen, for the functions that interpret a run."""

from __future__ import annotations

import numpy as np

from ..algorithms import Meta
from ..core.errors import MetagdError
from ..core.hyperparameters import check_int
from ..tasks import TaskBatch, Tasks
from ..tasks.identity import held_out_or
from ..training.run import Run


def trained_method(run: Run, caller: str, wait: bool = True) -> Meta:
    """Return the method of a meta-learning run, after waiting for the run to end.

    Parameters
    ----------
    run : Run
    caller : str
        Name of the calling function, for the message.
    wait : bool
        False does not wait.

    Returns
    -------
    Meta

    Raises
    ------
    MetagdError
        For a run of a single-task method.
    """
    if not isinstance(run.loop.algorithm, Meta):
        raise MetagdError(f"{caller} needs a meta-learning method; this run used {run.plan.method}", "run")
    if wait:
        run.wait()
    return run.loop.algorithm


def family_of(run: Run, tasks: Tasks | None) -> Tasks:
    """Return ``tasks``, or the family that the run has learned from where that is None."""
    family = run.plan.tasks if tasks is None else tasks
    if family is None:
        raise MetagdError(f"is missing; {run.plan.method} was trained on one task only", "tasks")
    return family


def fresh_family(run: Run, tasks: Tasks | None) -> Tasks:
    """Return ``tasks``; where that is None the held-out tasks of the family learned from, or that family itself."""
    return held_out_or(family_of(run, None)) if tasks is None else tasks


def draw_tasks(run: Run, family: Tasks, n_tasks: int, seed: int) -> TaskBatch:
    """Draw tasks from a generator that training does not use, in the precision of the run.

    Parameters
    ----------
    run : Run
        Of a meta-learning method; its ``shots`` are the support points of a task.
    family : Tasks
    n_tasks : int
        At least 2; at most as many as the family has are drawn.
    seed : int

    Returns
    -------
    TaskBatch
    """
    rng = np.random.default_rng([check_int(seed, "seed", 0), 0xF])
    count = min(check_int(n_tasks, "n_tasks", 2), family.n_available or n_tasks)
    shots = run.loop.algorithm.shots if isinstance(run.loop.algorithm, Meta) else 1
    return family.sample(rng, 1, count, shots, family.test_queries).cast(run.plan.problem.dtype)
