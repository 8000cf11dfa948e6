"""Past problems that resemble a new one, each with its best run: the evidence on which advice is based."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..training.run import Run
from .problem_features import ProblemFeatures
from .run_memory import Past, RunMemory, choices_of

TUNED = ("lr", "momentum", "inner_lr", "meta_lr")
DISTANCE = 1.0  # of `ProblemFeatures.place`: scale of the similarity
LEAST = 0.05  # similarity below which a problem is not used
LATE = 0.1  # share of the evaluations after which a run is scored


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
