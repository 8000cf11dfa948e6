"""Interpretation of a run of a meta-learning method: its initialization and its adaptation to new tasks.

Each function takes a run and returns numbers that `metagd_nb.charts` draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..algorithms import Meta
from ..algorithms.inner_loop import Parameters
from ..core.errors import MetagdError
from ..core.hyperparameters import check_int
from ..core.statistics import Calibration, half_width, measure_calibration
from ..models.logistic import softmax
from ..problems.base import Array, Problem
from ..tasks import Batch, Tasks
from ..training.run import Run
from .fresh_tasks import draw_tasks, fresh_family, trained_method

__all__ = ["InitialFunction", "Movement", "calibration", "cka", "initial_function", "movement"]


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
    support, query = draw_tasks(run, fresh_family(run, tasks), n_tasks, seed)
    ends = _ends(run, algorithm, support, steps)
    before, after = (np.asarray(problem.flat(phi, len(support)), float) for phi in ends)
    moved, half = [], []
    for part in problem.layout.slices.values():
        size = np.linalg.norm(before[:, part], axis=1)
        each = np.linalg.norm((after - before)[:, part], axis=1) / np.where(size > 0, size, 1.0)
        moved.append(each.mean())
        half.append(half_width(each))
    layers, same = _similarity(problem, before, after, query.x)
    return Movement(tuple(problem.layout.slices), np.array(moved), np.array(half), layers, same)


def _ends(run: Run, algorithm: Meta, support: Batch, steps: int | None) -> tuple[Parameters, Parameters]:
    """Parameters before and after the adaptation to support sets."""
    steps = algorithm.inner_steps if steps is None else steps
    path = list(algorithm.path(run.plan.problem, run.loop.snapshot.theta, support, steps))
    return path[0], path[-1]


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
    support, query = draw_tasks(run, fresh_family(run, tasks), max(n_tasks, 2), seed)
    if (support.x.shape[-1], support.y.shape[-1]) != (1, 1) or algorithm.embeds:
        raise MetagdError("initial_function draws a curve: it needs one input and one output", "run")
    support = support[: check_int(n_tasks, "n_tasks", 1)]
    low, high = min(support.x.min(), query.x.min()), max(support.x.max(), query.x.max())
    x = np.linspace(low, high, 201).astype(problem.dtype)
    new = np.tile(x[None, :, None], (len(support), 1, 1))
    predictions = (algorithm.predict(problem, phi, new)[..., 0] for phi in _ends(run, algorithm, support, steps))
    first, last = (np.broadcast_to(prediction, new.shape[:2]) for prediction in predictions)
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
    if fresh_family(run, None).loss != "cross-entropy":
        raise MetagdError("calibration is of probabilities: it needs tasks about classes", "run")
    support, query = draw_tasks(run, fresh_family(run, tasks), n_tasks, seed)
    phi = algorithm.adapt(problem, run.loop.snapshot.theta, support, steps)
    logits = np.asarray(algorithm.predict(problem, phi, query.x), float)
    classes = logits.shape[-1]
    return measure_calibration(softmax(logits.reshape(-1, classes)), query.y.reshape(-1, classes).argmax(axis=-1))
