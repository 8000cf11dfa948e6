"""What a run of a meta-learning method has learned, and what adaptation changes.

Each function takes a run and returns numbers that `metagd_nb.charts` can draw.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.errors import MetagdError
from ..core.hyperparameters import check_int
from ..core.statistics import Calibration, measure_calibration, normal_half_width
from ..models.logistic import softmax
from ..problems.base import Problem
from ..tasks import Batch, Tasks
from ..training.run import Run
from .fresh_tasks import draw_tasks, family_of, trained_method

__all__ = ["InitialFunction", "Movement", "calibration", "cka", "initial_function", "layer_rates", "movement"]

Array = np.ndarray


class Movement(NamedTuple):
    """Distance that adaptation moves each part of a model.

    Attributes
    ----------
    names : tuple of str
        The named slices of the parameters.
    moved : array (S,)
        ‖φ − θ‖/‖θ‖ of each slice, the mean over tasks; ‖φ − θ‖ where θ is zero.
    interval : array (S,)
        Half-width of its 95 % interval.
    layers : tuple of str
        The hidden layers, first to last, and the output.
    same : array (L,)
        Similarity (`cka`) of a layer's activations on the query points before and after adaptation, the mean over
        tasks. Empty for models whose activations are not available.
    """

    names: tuple[str, ...]
    moved: Array
    interval: Array
    layers: tuple[str, ...]
    same: Array


def movement(
    run: Run, tasks: Tasks | None = None, n_tasks: int = 200, steps: int | None = None, seed: int = 1
) -> Movement:
    """Measure which parameters move during adaptation, and which layers' activations change.

    This separates rapid learning from feature reuse, as in Raghu et al. (2020), "Rapid learning or feature reuse?",
    section 3.

    Parameters
    ----------
    run : Run
        Of a meta-learning method that moves parameters.
    tasks : Tasks, optional
        Default: the family that was learned from.
    n_tasks : int
        New tasks to adapt to.
    steps : int, optional
        Adaptation steps; by default those of training.
    seed : int
        Seed of the tasks drawn.

    Returns
    -------
    Movement

    Raises
    ------
    MetagdError
        For a method that does not move parameters.
    """
    algorithm, problem = trained_method(run, "movement"), run.plan.problem
    if algorithm.embeds:
        raise MetagdError(f"{run.plan.method} does not adapt by moving parameters", "run")
    support, query = draw_tasks(run, family_of(run, tasks), n_tasks, seed)
    path = list(
        algorithm.path(problem, run.loop.snapshot.theta, support, algorithm.inner_steps if steps is None else steps)
    )
    before, after = (np.asarray(problem.flat(phi, len(support)), float) for phi in (path[0], path[-1]))
    moved, half = [], []
    for part in problem.layout.slices.values():
        size = np.linalg.norm(before[:, part], axis=1)
        each = np.linalg.norm((after - before)[:, part], axis=1) / np.where(size > 0, size, 1.0)
        moved.append(each.mean())
        half.append(normal_half_width(each))
    layers, same = _similarity(problem, before, after, query.x)
    return Movement(tuple(problem.layout.slices), np.array(moved), np.array(half), layers, same)


def _similarity(problem: Problem, before: Array, after: Array, x: Array) -> tuple[tuple[str, ...], Array]:
    """Names of the layers, and linear CKA of their activations at two sets of parameters (T, P), mean over tasks."""
    net = problem.net
    if net is None or net.closed_form() != "plain":
        return (), np.array([])
    pairs = zip(net.activations(before, x), net.activations(after, x), strict=True)
    same = np.array([float(np.nanmean(cka(one, other))) for one, other in pairs])
    return (*(f"hidden {i}" for i in range(1, len(same))), "output"), same


def cka(one: Array, other: Array) -> Array:
    """Linear centered kernel alignment of two sets of activations.

    Parameters
    ----------
    one, other : array (T, K, H), array (T, K, G)
        Activations on the same K points of each task.

    Returns
    -------
    array (T,)
        1 for activations equal up to rotation and scale, 0 for unrelated ones; nan where one does not vary.

    References
    ----------
    S. Kornblith and others (2019), Similarity of neural network representations revisited, equation 4.
    """
    a, b = (h - h.mean(axis=1, keepdims=True) for h in (one, other))
    cross, own, its = (np.square(u.swapaxes(1, 2) @ v).sum(axis=(1, 2)) for u, v in ((b, a), (a, a), (b, b)))
    with np.errstate(all="ignore"):
        return np.asarray(cross / np.sqrt(own * its))


class InitialFunction(NamedTuple):
    """Predictions before and after adaptation, on a grid.

    Attributes
    ----------
    x : array (N,)
    start : array (T, N)
        Before adaptation; the same for all tasks, unless the method chooses an initialization from the support set.
    adapted : array (T, N)
    support : Batch
        The tasks' points, (T, K, 1) both.
    """

    x: Array
    start: Array
    adapted: Array
    support: Batch


def initial_function(
    run: Run, tasks: Tasks | None = None, n_tasks: int = 3, steps: int | None = None, seed: int = 1
) -> InitialFunction:
    """Evaluate the function of the learned initialization, and of its adaptations to new tasks.

    Parameters
    ----------
    run : Run
        Of one input and one output.
    tasks : Tasks, optional
        Default: the family that was learned from.
    n_tasks : int
        New tasks to adapt to.
    steps : int, optional
        Adaptation steps; by default those of training.
    seed : int
        Seed of the tasks drawn.

    Returns
    -------
    InitialFunction

    Raises
    ------
    MetagdError
        For more than one input or output.
    """
    algorithm, problem = trained_method(run, "initial_function"), run.plan.problem
    support, query = draw_tasks(run, family_of(run, tasks), max(n_tasks, 2), seed)
    if (support.x.shape[-1], support.y.shape[-1]) != (1, 1) or algorithm.embeds:
        raise MetagdError("initial_function draws a curve: it needs one input and one output", "run")
    support = support[: check_int(n_tasks, "n_tasks", 1)]
    low, high = min(support.x.min(), query.x.min()), max(support.x.max(), query.x.max())
    x = np.linspace(low, high, 201).astype(problem.dtype)
    path = algorithm.path(problem, run.loop.snapshot.theta, support, algorithm.inner_steps if steps is None else steps)
    new = np.tile(x[None, :, None], (len(support), 1, 1))
    every = [np.asarray(algorithm.predict(problem, phi, new))[..., 0] for phi in path]
    first, last = (np.broadcast_to(found, new.shape[:2]) for found in (every[0], every[-1]))
    return InitialFunction(x, first, last, support)


def calibration(
    run: Run, tasks: Tasks | None = None, n_tasks: int = 200, steps: int | None = None, seed: int = 1
) -> Calibration:
    """Calibration of an adapted classifier's probabilities on the query points of new tasks.

    Parameters
    ----------
    run : Run
        Of tasks about classes.
    tasks : Tasks, optional
        Default: the family that was learned from; give one that was held out.
    n_tasks : int
        New tasks to adapt to.
    steps : int, optional
        Adaptation steps; by default those of training.
    seed : int
        Seed of the tasks drawn.

    Returns
    -------
    Calibration

    Raises
    ------
    MetagdError
        For tasks that are not about classes.
    """
    algorithm, problem = trained_method(run, "calibration"), run.plan.problem
    if family_of(run, None).loss != "cross-entropy":
        raise MetagdError("calibration is of probabilities: it needs tasks about classes", "run")
    support, query = draw_tasks(run, family_of(run, tasks), n_tasks, seed)
    phi = algorithm.adapt(problem, run.loop.snapshot.theta, support, steps)
    logits = np.asarray(algorithm.predict(problem, phi, query.x), float)
    classes = logits.shape[-1]
    return measure_calibration(softmax(logits.reshape(-1, classes)), query.y.reshape(-1, classes).argmax(axis=-1))


def layer_rates(run: Run, wait: bool = True) -> dict[str, tuple[float, float, float, float]]:
    """Summarize the learned inner rates of each named slice of the parameters.

    Parameters
    ----------
    run : Run
        Of a method that learns its inner rates.
    wait : bool
        False reads the present rates of a run in training.

    Returns
    -------
    dict name → (mean, least, greatest, share that is negative)

    Raises
    ------
    MetagdError
        Where no rates were learned.
    """
    algorithm, problem = trained_method(run, "layer_rates", wait), run.plan.problem
    theta = run.loop.snapshot.theta  # read once: training may replace it at any moment
    if "inner_lr" not in algorithm.learned(problem, theta):
        raise MetagdError("no inner rates were learned; use --learn-rates, or meta-sgd", "run")
    _, rates = algorithm.start(problem, theta, max(algorithm.inner_steps, 1))
    every = np.stack([np.broadcast_to(rate, (problem.layout.size,)) for rate in rates])  # (S, P)
    parts = {name: every[:, part] for name, part in problem.layout.slices.items()}
    return {
        name: (float(part.mean()), float(part.min()), float(part.max()), float((part < 0).mean()))
        for name, part in parts.items()
    }
