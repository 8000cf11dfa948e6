"""Warm starts: parameters of remembered runs, tried as the start of a new one."""

from __future__ import annotations

import math

import numpy as np

from ..algorithms import Meta
from ..training.run import Run
from .problem_features import ProblemFeatures
from .run_memory import RunMemory, layout_of

Array = np.ndarray
WARM = 3  # remembered parameter vectors that are tried, those of the most similar problems
BETTER = 0.95  # of the loss at the method's own start: a warm start must be below it


def warm_start(
    memory: RunMemory | None, run: Run, features: ProblemFeatures, theta: Array
) -> tuple[tuple[int, Array] | None, int]:
    """Choose remembered parameters as a start, if their loss on this problem is clearly below that of its own start.

    Parameters
    ----------
    memory : RunMemory or None
    run : Run
    features : ProblemFeatures
        Of the run's problem.
    theta : array (P,)
        The method's own start.

    Returns
    -------
    chosen : (run number, parameters (P,)) or None
    cost : int
        Gradient evaluations spent.
    """
    if memory is None:
        return None, 0
    here, layout = features.place(), layout_of(run.plan.problem)
    fits = [(past.id, past.theta, past.features) for past in memory.past() if past.layout == layout]
    fits.sort(key=lambda one: float(np.linalg.norm(one[2].place() - here)))
    stored = [(number, flat) for number, flat, _ in fits if flat is not None][:WARM]
    if not stored:
        return None, 0
    loss, cost = _start_loss(run, theta)
    best, least = None, BETTER * loss
    for number, flat in stored:
        loss, spent = _start_loss(run, flat.astype(run.plan.problem.dtype))
        cost += spent
        if loss < least:
            least, best = loss, (number, flat)
    return best, cost


def _start_loss(run: Run, theta: Array) -> tuple[float, int]:
    """Loss of a run that starts at ``theta`` (P,), on one batch, and the gradient evaluations it costs."""
    algorithm, batch = run.loop.algorithm, run.plan.batches(0)
    with np.errstate(all="ignore"):
        if isinstance(algorithm, Meta):
            start = algorithm.init_parameters(run.plan.problem, theta, run.plan.tasks)
            phi = algorithm.adapt(run.plan.problem, start, batch.support)
            loss = float(np.mean(run.plan.problem.linearize(phi, batch.query).loss))
            cost = len(batch) * (algorithm.inner_steps + 1)
        else:
            loss, cost = float(run.plan.problem.linearize(theta, batch).loss[0]), 1
    return (loss if math.isfinite(loss) else math.inf), cost
