"""Evaluation of learned parameters: adapt to many new tasks and score after every step."""

from __future__ import annotations

import time

import numpy as np

from ..algorithms import Meta
from ..algorithms.inner_loop import Parameters
from ..core.errors import MetagdError, shorten, unknown_name
from ..core.hyperparameters import check_int
from ..core.messages import warn
from ..problems.base import Problem
from ..problems.factory import check_shapes
from ..tasks import Batch, Quadratics, TaskBatch, Tasks
from ..tasks.identity import judged
from ..tasks.validation import check_distributions
from .costs import Costs, CountingProblem, Peak, in_fresh_thread
from .evaluation_result import Evaluation

CHUNK_BYTES = 64_000_000  # of adapted parameters and activations held at a time
CHUNK = 200  # tasks judged at a time: what an interrupt may lose


@np.errstate(all="ignore")  # a step too many may diverge: that is what the numbers then say
def evaluate(
    problem: Problem,
    algorithm: Meta,
    theta: np.ndarray,
    tasks: Tasks,
    shots: int,
    steps: int,
    n_tasks: int,
    seed: int,
    queries: int | None = None,
    metric: str = "loss",
    training: Costs | None = None,
    trained: Tasks | None = None,
) -> Evaluation:
    """Adapt ``theta`` (P,) to ``n_tasks`` tasks and score their query sets after each of 0…``steps`` steps.

    No task is judged twice, or the interval would be narrower than what is known: of a family that has fewer tasks
    (the groups of a table) all are judged, and ``Evaluation.n_tasks`` says how many.

    Parameters
    ----------
    metric : "loss" | "accuracy"
        ``accuracy`` compares the largest output with the largest target.
    training : Costs, optional
        What it cost to learn ``theta``, to stand beside the costs of adapting.
    trained : Tasks, optional
        Family that was learned from.

    Raises
    ------
    MetagdError
        For an unknown metric, or ``accuracy`` of a single output.
    """
    if metric not in ("loss", "accuracy"):
        raise unknown_name("metric", metric, ("loss", "accuracy"))
    check_tasks(problem, tasks, algorithm.embeds)
    shots, steps, seed = check_int(shots, "shots", 1), check_int(steps, "steps", 0), check_int(seed, "seed", 0)
    n_tasks, queries = check_int(n_tasks, "n_tasks", 1), None if queries is None else check_int(queries, "queries", 1)
    if metric == "accuracy" and (tasks.outputs < 2 or isinstance(tasks, Quadratics)):
        raise MetagdError("'accuracy' compares classes and needs two or more outputs", "metric")
    description = judged(tasks, trained, n_tasks)
    n_tasks = min(n_tasks, tasks.n_available or n_tasks)
    drawn = _new_tasks(tasks, n_tasks, shots, queries or tasks.test_queries, seed).cast(problem.dtype)
    scores, seconds = _scores(problem, algorithm, theta, drawn, steps, metric)
    drawn = drawn.tasks(slice(scores.shape[1]))
    counted = in_fresh_thread(lambda: _counted(problem, algorithm, theta, drawn.support[:1], steps))
    adaptation = tuple(cost._replace(seconds=s) for cost, s in zip(counted, seconds.tolist(), strict=True))
    numbers = drawn.support.number
    if numbers is not None:
        scores, numbers = scores[:, np.argsort(numbers, kind="stable")], np.sort(numbers)
    return Evaluation(scores, metric, description._replace(n_tasks=len(drawn)), adaptation, training, numbers)


def _scores(
    problem: Problem, algorithm: Meta, theta: np.ndarray, drawn: TaskBatch, steps: int, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Score T tasks after each of 0…``steps`` steps, (steps+1, T), and measure the mean seconds of a task so far.

    After an interrupt the scores are those of the tasks judged until then, with a warning; with none it is raised.
    """
    count = len(drawn)
    chunk = max(1, CHUNK_BYTES // (8 * (4 * problem.layout.size + drawn.query.x[0].size * 64)))
    scores, seconds = np.empty((steps + 1, count)), np.zeros(steps + 1)
    start = 0
    try:
        while start < count:
            part = slice(start, min(start + min(chunk, CHUNK), count))
            batch = drawn.tasks(part)
            path = algorithm.path(problem, theta, batch.support, steps)
            for step in range(steps + 1):
                begun = time.perf_counter()
                phi = next(path)
                seconds[step:] += time.perf_counter() - begun
                scores[step, part] = _score(problem, algorithm, phi, batch.query, metric)
            start = part.stop
    except KeyboardInterrupt:
        if not start:
            raise
        warn(f"interrupted: the evaluation is that of {start} of {count} tasks")
    return scores[:, :start], seconds / start


def _new_tasks(tasks: Tasks, n: int, shots: int, queries: int, seed: int) -> TaskBatch:
    """Draw tasks from a stream that training does not draw from."""
    drawn = tasks.sample(np.random.default_rng([seed, n, 0xE]), 1, n, shots, queries)
    if tasks.loss == "cross-entropy":
        check_distributions(drawn)
    return drawn


def _counted(problem: Problem, algorithm: Meta, theta: np.ndarray, support: Batch, steps: int) -> list[Costs]:
    """Measure the costs of adapting ``theta`` (M,) to one task, after each of 0…``steps`` steps, without seconds."""
    counting = CountingProblem(problem)
    with Peak() as peak:
        return [
            Costs(counting.grad_evals, counting.hvps, 0.0, peak.bytes())
            for _ in algorithm.path(counting, theta, support, steps)
        ]


def check_tasks(problem: Problem, tasks: Tasks, embeds: bool = False) -> None:
    """Refuse tasks that a problem cannot be evaluated on; a method that ``embeds`` takes any number of classes.

    Raises
    ------
    MetagdError
        Naming both.
    """
    if not isinstance(tasks, Tasks):
        raise MetagdError(f"{shorten(tasks)} is not a family such as sinusoid() or groups(x, y, group)", "tasks")
    if problem.predicts == isinstance(tasks, Quadratics) or (
        isinstance(tasks, Quadratics) and tasks.inputs != problem.layout.size
    ):
        raise MetagdError(f"{shorten(tasks)} is not of the kind that was learned from", "tasks")
    if problem.net is not None:
        check_shapes(problem.net, tasks.inputs, None if embeds else tasks.outputs, "the tasks")


def _score(problem: Problem, algorithm: Meta, phi: Parameters, query: Batch, metric: str) -> np.ndarray:
    """Score each task: (T,)."""
    if metric == "loss":
        return algorithm.loss(problem, phi, query)
    chosen = algorithm.predict(problem, phi, query.x).argmax(axis=-1)
    return np.asarray((chosen == query.y.argmax(axis=-1)).mean(axis=1))
