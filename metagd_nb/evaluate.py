"""How good is a starting point? Adapt it to many new tasks and judge it after every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .algorithms import Meta
from .builtin import NetProblem, QuadraticProblem, match
from .errors import MetagdError, short, unknown
from .hyper import whole
from .tasks import Batch, Quadratics, Tasks

CHUNK_BYTES = 64_000_000  # of adapted parameters and activations held at a time


@dataclass(frozen=True)
class Evaluation:
    """Scores over many tasks, indexed by the number of adaptation steps 0…steps.

    Attributes
    ----------
    mean : array (steps+1,)
    interval : array (steps+1,)
        Half-width of the 95 % interval of the mean: 1.96·s/√n_tasks.
    metric : str
    n_tasks : int
        How many were judged: a family of so many groups has no more than these.
    """

    mean: np.ndarray
    interval: np.ndarray
    metric: str
    n_tasks: int

    def __repr__(self) -> str:
        steps = ", ".join(f"{m:.4g} ± {h:.2g}" for m, h in zip(self.mean, self.interval, strict=True))
        return f"{self.metric} after 0…{len(self.mean) - 1} steps on {self.n_tasks} tasks: {steps}"


def evaluate(
    problem: Any,
    algorithm: Meta,
    theta: np.ndarray,
    tasks: Tasks,
    shots: int,
    steps: int,
    n_tasks: int,
    seed: int,
    queries: int | None = None,
    metric: str = "loss",
) -> Evaluation:
    """Adapt ``theta`` (P,) to ``n_tasks`` tasks and score their query sets after each of 0…``steps`` steps.

    No task is judged twice, or the interval would be narrower than what is known: of a family that has fewer tasks
    (the groups of a table) all are judged, and ``Evaluation.n_tasks`` says how many.

    Parameters
    ----------
    metric : "loss" | "accuracy"
        ``accuracy`` compares the largest output with the largest target.

    Raises
    ------
    MetagdError
        For an unknown metric, or ``accuracy`` of a single output.
    """
    if metric not in ("loss", "accuracy"):
        raise unknown("metric", metric, ("loss", "accuracy"))
    fit(problem, tasks)
    shots, steps, seed = whole(shots, "shots", 1), whole(steps, "steps", 0), whole(seed, "seed", 0)
    n_tasks, queries = whole(n_tasks, "n_tasks", 1), None if queries is None else whole(queries, "queries", 1)
    if metric == "accuracy" and (tasks.outputs < 2 or isinstance(tasks, Quadratics)):
        raise MetagdError("'accuracy' compares classes and needs two or more outputs", "metric")
    n_tasks = min(n_tasks, tasks.there_are or n_tasks)
    rng = np.random.default_rng([seed, n_tasks, 0xE])  # no stream that training draws from
    drawn = tasks.sample(rng, 1, n_tasks, shots, queries or tasks.test_queries).cast(problem.dtype)
    count = len(drawn)
    chunk = max(1, CHUNK_BYTES // (8 * (4 * problem.layout.size + drawn.query.x[0].size * 64)))
    scores = np.empty((steps + 1, count))
    for start in range(0, count, chunk):
        part = slice(start, min(start + chunk, count))
        batch = drawn.tasks(part)
        for step, phi in enumerate(algorithm.path(problem, theta, batch.support, steps)):
            scores[step, part] = _score(problem, phi, batch.query, metric)
    spread = scores.std(axis=1, ddof=1) if count > 1 else np.full(steps + 1, np.nan)
    return Evaluation(scores.mean(axis=1), 1.96 * spread / np.sqrt(count), metric, count)


def fit(problem: Any, tasks: Any) -> None:
    """Refuse tasks that a problem cannot be evaluated on.

    Raises
    ------
    MetagdError
        Naming both.
    """
    if not isinstance(tasks, Tasks):
        raise MetagdError(f"{short(tasks)} is not a family such as sinusoid() or groups(x, y, group)", "tasks")
    if isinstance(problem, QuadraticProblem) != isinstance(tasks, Quadratics) or (
        isinstance(tasks, Quadratics) and tasks.inputs != problem.layout.size
    ):
        raise MetagdError(f"{tasks!r} is not of the kind that was learned from", "tasks")
    if isinstance(problem, NetProblem):
        match(problem.net, tasks.inputs, tasks.outputs, "the tasks")


def _score(problem: Any, phi: Any, query: Batch, metric: str) -> np.ndarray:
    """(T,)"""
    if metric == "loss":
        return np.asarray(problem.linearize(phi, query).loss)
    chosen = problem.predict(phi, query.x).argmax(axis=-1)
    return np.asarray((chosen == query.y.argmax(axis=-1)).mean(axis=1))
