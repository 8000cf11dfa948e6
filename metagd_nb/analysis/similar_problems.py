"""Past problems that resemble a new one: the best run on each, as evidence for advice, and warm starts from them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..algorithms import Meta
from ..training.run import Run
from .past_run import Past
from .problem_features import ProblemFeatures
from .run_memory import RunMemory, choices_of, layout_of

TUNED = ("lr", "momentum", "inner_lr", "meta_lr")
DISTANCE = 1.0  # of `ProblemFeatures.place`: scale of the similarity
LEAST = 0.05  # similarity below which a problem is not used
LATE = 0.1  # share of the evaluations after which a run is scored
WARM = 3  # number of remembered parameter vectors that are tried, those of the most similar problems
BETTER = 0.95  # a warm start needs a loss below this share of the loss at the method's own start


class Similar(NamedTuple):
    """A past problem that resembles the present one."""

    weight: float
    best: Past


def similar_problems(memory: RunMemory | None, run: Run, features: ProblemFeatures) -> list[Similar]:
    """Find past problems with similar features, on which the run's method was used with the same choices.

    Parameters
    ----------
    memory : RunMemory or None
    run : Run
    features : ProblemFeatures
        Of the run's problem.

    Returns
    -------
    list of Similar
        The most similar first, each with the run that went best on it.
    """
    if memory is None:
        return []
    problems: dict[str, list[Past]] = {}
    for past in memory.past(run.plan.method, choices_of(run.loop.algorithm)):
        problems.setdefault(past.problem, []).append(past)
    here, found = features.place(), []
    for runs in problems.values():
        distance = (runs[0].features.place() - here) / DISTANCE
        similarity = math.exp(-0.5 * float(distance @ distance))
        settings = len({tuple(past.settings.get(name, 0.0) for name in TUNED) for past in runs})
        best = min(runs, key=lambda past: score_curve(past, runs))
        if similarity >= LEAST and math.isfinite(score_curve(best, runs)):
            found.append(Similar(similarity * settings / (settings + 1), best))  # the best of one setting says little
    return sorted(found, key=lambda one: -one.weight)


def score_curve(past: Past, among: list[Past]) -> float:
    """Mean log-loss of a run over log-spaced evaluations, relative to its start; lower is better.

    Parameters
    ----------
    past : Past
    among : list of Past
        All runs on the same problem. The evaluations are the last nine tenths of those that the longest run spent,
        since the end of a run counts more than its first steps.

    Returns
    -------
    float
        A run that ended early keeps its last loss; a run that diverged scores inf.
    """
    if past.stopped == "diverged":
        return math.inf
    spent, loss = past.curve[:, 0], past.curve[:, 1]
    most = max(other.curve[-1, 0] for other in among)
    grid = np.geomspace(max(spent[0], LATE * most, 1.0), max(most, 2.0), 50)
    left = np.maximum(loss / max(abs(loss[0]), 1e-300), 1e-12)
    return float(np.interp(np.log(grid), np.log(np.maximum(spent, 1.0)), np.log(left)).mean())


def converged_step(past: Past) -> float:
    """Step at which a run had made 99 % of its decrease, on a log scale."""
    spent, loss = past.curve.T
    left = np.log(np.maximum(loss, 1e-300))
    row = int(np.argmax(left <= left[0] + 0.99 * (left.min() - left[0])))
    return float(spent[row] / max(spent[0], 1.0))  # the first row holds the evaluations of one step


def warm_start(
    memory: RunMemory | None, run: Run, features: ProblemFeatures
) -> tuple[tuple[int, np.ndarray] | None, int]:
    """Choose remembered parameters as a start, if their loss on this problem is clearly below that of its own start.

    Parameters
    ----------
    memory : RunMemory or None
    run : Run
    features : ProblemFeatures
        Of the run's problem.

    Returns
    -------
    chosen : (run number, parameters (P,)) or None
    cost : int
        Gradient evaluations spent.
    """
    if memory is None:
        return None, 0
    here, layout = features.place(), layout_of(run.plan.problem)
    fits = [past for past in memory.past() if past.layout == layout]
    fits = [past for past in fits if past.theta is not None and past.theta.shape == run.plan.start.shape]
    fits.sort(key=lambda past: float(np.linalg.norm(past.features.place() - here)))
    if not fits:
        return None, 0
    loss, cost = _start_loss(run, run.plan.start)
    best, least = None, BETTER * loss
    for past in fits[:WARM]:
        flat = np.asarray(past.theta)
        loss, spent = _start_loss(run, flat.astype(run.plan.problem.dtype))
        cost += spent
        if loss < least:
            least, best = loss, (past.id, flat)
    return best, cost


def _start_loss(run: Run, theta: np.ndarray) -> tuple[float, int]:
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
