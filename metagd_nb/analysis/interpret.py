"""What was learned, and what an adapted prediction rests on: numbers that a person can look at.

Each function takes a run of a meta-learning method. `charts` draws what they give.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..algorithms import Meta
from ..core.errors import MetagdError
from ..core.hyperparameters import check_int
from ..core.statistics import Calibration, measure_calibration, normal_half_width
from ..models.logistic import softmax
from ..models.net import Net
from ..problems.closed_form.mlp import NetProblem
from ..tasks import Batch, Tasks
from ..tasks.validation import numbers_2d
from .recognition import embed

__all__ = [
    "InitialFunction",
    "Movement",
    "TaskMap",
    "calibration",
    "cka",
    "influence",
    "initial_function",
    "layer_rates",
    "movement",
    "task_map",
]

Array = np.ndarray


class Movement(NamedTuple):
    """How far adaptation moves each part of a model.

    Attributes
    ----------
    names : tuple of str
        The named slices of the parameters.
    moved : array (S,)
        ‖φ − θ‖/‖θ‖ of each, the mean over tasks; ‖φ − θ‖ itself where θ is zero.
    interval : array (S,)
        Half-width of its 95 % interval.
    layers : tuple of str
        The hidden layers, first to last, and the output.
    same : array (L,)
        How alike a layer's activations on the query points are before and after: `cka`, the mean over tasks. Empty for
        models whose layers cannot be looked into.
    """

    names: tuple[str, ...]
    moved: Array
    interval: Array
    layers: tuple[str, ...]
    same: Array


def _meta(run: Any, what: str, wait: bool = True) -> Meta:
    if not isinstance(run.algorithm, Meta):
        raise MetagdError(f"{run.method} learns one task; {what} is asked of a meta-learning method", "run")
    if wait:
        run.wait()
    return run.algorithm


def _drawn(run: Any, tasks: Tasks | None, n_tasks: int, seed: int) -> tuple[Batch, Batch]:
    family = run.plan.tasks if tasks is None else tasks
    rng = np.random.default_rng([check_int(seed, "seed", 0), 0xF])  # no stream that training draws from
    count = min(check_int(n_tasks, "n_tasks", 2), family.n_available or n_tasks)
    batch = family.sample(rng, 1, count, run.algorithm.shots, family.test_queries).cast(run.problem.dtype)
    return batch.support, batch.query


def movement(
    run: Any, tasks: Tasks | None = None, n_tasks: int = 200, steps: int | None = None, seed: int = 1
) -> Movement:
    """Which parameters move when a learner adapts, and which layers come to see something else.

    ANIL's question (Raghu et al. 2020, §3): is the start good for rapid learning, or are its features used again?

    Parameters
    ----------
    run : Run
    tasks : Tasks, optional
        Default: the family that was learned from.
    n_tasks, steps, seed : int
        How many new tasks; adaptation steps (default those of training).
    """
    algorithm, problem = _meta(run, "movement"), run.problem
    support, query = _drawn(run, tasks, n_tasks, seed)
    theta = run.shown.theta
    path = list(algorithm.path(problem, theta, support, algorithm.inner_steps if steps is None else steps))
    if algorithm.embeds:
        raise MetagdError(f"{run.method} does not adapt by moving parameters", "run")
    before, after = (np.asarray(problem.flat(phi, len(support)), float) for phi in (path[0], path[-1]))
    moved, half = [], []
    for part in problem.layout.slices.values():
        size = np.linalg.norm(before[:, part], axis=1)
        each = np.linalg.norm((after - before)[:, part], axis=1) / np.where(size > 0, size, 1.0)
        moved.append(each.mean())
        half.append(normal_half_width(each))
    layers, same = _alike(problem, before, after, query.x)
    return Movement(tuple(problem.layout.slices), np.array(moved), np.array(half), layers, same)


def _alike(problem: Any, before: Array, after: Array, x: Array) -> tuple[tuple[str, ...], Array]:
    """Linear CKA of each layer's activations at two sets of parameters (T, P), the mean over tasks."""
    net = getattr(problem, "net", None)
    if not isinstance(net, Net) or not net.plain:
        return (), np.array([])
    pairs = zip(net.activations(before, x), net.activations(after, x), strict=True)
    same = np.array([float(np.nanmean(cka(one, other))) for one, other in pairs])
    return (*(f"hidden {i}" for i in range(1, len(same))), "output"), same


def cka(one: Array, other: Array) -> Array:
    """Linear centred kernel alignment (T,) of activations (T, K, H) and (T, K, G): 1 for the same up to turning and
    scale, 0 for nothing in common (Kornblith et al. 2019, eq. 4); nan where one of them does not vary."""
    a, b = (h - h.mean(axis=1, keepdims=True) for h in (one, other))
    cross, own, its = (np.square(u.swapaxes(1, 2) @ v).sum(axis=(1, 2)) for u, v in ((b, a), (a, a), (b, b)))
    with np.errstate(all="ignore"):
        return np.asarray(cross / np.sqrt(own * its))


class InitialFunction(NamedTuple):
    """What is predicted before anything is known of a task, and after.

    Attributes
    ----------
    x : array (N,)
    start : array (T, N)
        Before adaptation; the same for all tasks, unless the method begins each where its support set tells it to.
    adapted : array (T, N)
    support : Batch
        The tasks' points, (T, K, 1) both.
    """

    x: Array
    start: Array
    adapted: Array
    support: Batch


def initial_function(
    run: Any, tasks: Tasks | None = None, n_tasks: int = 3, steps: int | None = None, seed: int = 1
) -> InitialFunction:
    """The function that was learned to begin with, and what some new tasks make of it.

    Parameters
    ----------
    run : Run
        Of one input and one output.
    tasks : Tasks, optional
        Default: the family that was learned from.
    n_tasks, steps, seed : int
        How many new tasks; adaptation steps (default those of training).
    """
    algorithm, problem = _meta(run, "initial_function"), run.problem
    support, query = _drawn(run, tasks, max(n_tasks, 2), seed)
    if (support.x.shape[-1], support.y.shape[-1]) != (1, 1) or algorithm.embeds:
        raise MetagdError("initial_function draws a curve: it needs one input and one output", "run")
    support = support[: check_int(n_tasks, "n_tasks", 1)]
    low, high = min(support.x.min(), query.x.min()), max(support.x.max(), query.x.max())
    x = np.linspace(low, high, 201).astype(problem.dtype)
    path = algorithm.path(problem, run.shown.theta, support, algorithm.inner_steps if steps is None else steps)
    new = np.tile(x[None, :, None], (len(support), 1, 1))
    every = [np.asarray(algorithm.predict(problem, phi, new))[..., 0] for phi in path]
    first, last = (np.broadcast_to(found, new.shape[:2]) for found in (every[0], every[-1]))
    return InitialFunction(x, first, last, support)


def calibration(
    run: Any, tasks: Tasks | None = None, n_tasks: int = 200, steps: int | None = None, seed: int = 1
) -> Calibration:
    """Whether a classifier that adapts is as often right as it is sure.

    Parameters
    ----------
    run : Run
        Of classes.
    tasks : Tasks, optional
        Default: the family that was learned from; give one that was held out.
    n_tasks, steps, seed : int
        How many new tasks; adaptation steps (default those of training).
    """
    algorithm, problem = _meta(run, "calibration"), run.problem
    support, query = _drawn(run, tasks, n_tasks, seed)
    if getattr(run.plan.tasks, "loss", "") != "cross-entropy":
        raise MetagdError("calibration is of probabilities: it needs tasks about classes", "run")
    phi = algorithm.adapt(problem, run.shown.theta, support, steps)
    logits = np.asarray(algorithm.predict(problem, phi, query.x), float)
    classes = logits.shape[-1]
    return measure_calibration(softmax(logits.reshape(-1, classes)), query.y.reshape(-1, classes).argmax(axis=-1))


def layer_rates(run: Any, wait: bool = True) -> dict[str, tuple[float, float, float, float]]:
    """The learned inner rates of each named slice: mean, least, greatest, and the share that is negative.

    Parameters
    ----------
    run : Run
    wait : bool
        False reads the rates of a run that goes on as they are now.

    Raises
    ------
    MetagdError
        Where no rates were learned.
    """
    algorithm, problem = _meta(run, "layer_rates", wait), run.problem
    theta = run.shown.theta  # once: of a run that goes on it is another one soon
    if "inner_lr" not in algorithm.learned(problem, theta):
        raise MetagdError("no inner rates were learned; use --learn-rates, or meta-sgd", "run")
    _, rates = algorithm.start(problem, theta, max(algorithm.inner_steps, 1))
    every = np.stack([np.broadcast_to(rate, (problem.layout.size,)) for rate in rates])  # (S, P)
    return {
        name: (
            float(every[:, part].mean()),
            float(every[:, part].min()),
            float(every[:, part].max()),
            float((every[:, part] < 0).mean()),
        )
        for name, part in problem.layout.slices.items()
    }


def influence(run: Any, x: Any, y: Any, x_new: Any, steps: int | None = None) -> Array:
    """How an adapted prediction would change if a support point counted for more.

    Support point k enters the support loss with weight 1 + ε; what is given is d f(x_new)/dε at ε = 0, exactly, through
    all adaptation steps: u ← u − α(H u + g_k), with H the support loss's Hessian and g_k the point's own share of its
    gradient (the tangent of descent; Koh & Liang 2017 take its limit at a minimum). Minus it is about what leaving the
    point out would do.

    Parameters
    ----------
    run : Run
        Of a method that adapts by gradient steps, on a built-in model without batch norm.
    x, y : arrays (K,) or (K, D), (K,) or (K, C)
        The support set; for classes y is one-hot.
    x_new : array (N,) or (N, D)
    steps : int, optional
        Adaptation steps (default those of training).

    Returns
    -------
    array (K, N), or (K, N, C) where there are several outputs.
    """
    algorithm, problem = _meta(run, "influence"), run.problem
    if not isinstance(problem, NetProblem) or not problem.net.plain or type(algorithm).path is not Meta.path:
        raise MetagdError("influence follows gradient steps of linear(…) and mlp(…) without batch norm", "run")
    inputs, targets, new = (
        numbers_2d(a, name).astype(problem.dtype) for a, name in ((x, "x"), (y, "y"), (x_new, "x_new"))
    )
    if len(inputs) != len(targets):
        raise MetagdError(f"have {len(inputs)} and {len(targets)} points; need the same number", "x, y")
    count = len(inputs)
    support, each = Batch(inputs[None], targets[None]), Batch(inputs[:, None], targets[:, None])
    steps = algorithm.inner_steps if steps is None else check_int(steps, "steps", 0)
    phi, rates = algorithm.start(problem, run.shown.theta, steps)
    u = np.zeros((count, problem.layout.size), problem.dtype)  # dφ/dε, one row for each support point
    for rate in rates:
        flat = np.array(problem.flat(phi, 1))
        everyone = problem.linearize(np.repeat(flat, count, axis=0), _repeated(support, count))
        own = np.asarray(problem.linearize(np.repeat(flat, count, axis=0), each).grad) / count
        u = u - rate * (np.asarray(everyone.hvp(u)) + own)
        phi = problem.linearize(phi, support).step(rate)
    end = np.repeat(np.array(problem.flat(phi, 1)), len(new), axis=0)
    slopes = []
    for output in range(problem.net.outputs):
        cotangent = np.zeros((len(new), 1, problem.net.outputs), problem.dtype)
        cotangent[..., output] = 1
        slopes.append(u @ problem.net.vjp(end, new[:, None], cotangent)[0].T)  # (K, N)
    return np.asarray(slopes[0] if len(slopes) == 1 else np.stack(slopes, axis=-1))


def _repeated(batch: Batch, count: int) -> Batch:
    return Batch(np.repeat(batch.x, count, axis=0), np.repeat(batch.y, count, axis=0))


class TaskMap(NamedTuple):
    """Tasks as points in a plane.

    Attributes
    ----------
    points : array (T, 2)
    share : array (2,)
        Of the variance of the embeddings that each direction holds.
    kind : array (T,) or None
        Which kind each task is, where the family knows.
    kinds : tuple of str
    """

    points: Array
    share: Array
    kind: Array | None
    kinds: tuple[str, ...]


def task_map(run: Any, tasks: Tasks | None = None, n_tasks: int = 300, seed: int = 1) -> TaskMap:
    """Tasks in two dimensions: what their gradients and curvatures at the learned start say of them.

    The embedding of a task is where a few gradient steps lead and the Hessian's diagonal there (`recognition.embed`),
    each part shortened to the logarithm of its length, for a few steep tasks would fill the plane alone, and scaled to
    variance 1 in all; the plane is that of the two main directions.
    """
    _meta(run, "task_map")
    family = run.plan.tasks if tasks is None else tasks
    support, _ = _drawn(run, tasks, n_tasks, seed)
    theta = run.shown.theta[: run.problem.layout.size]
    rate = float(np.mean(run.algorithm.inner_lr))
    found = embed(run.problem, theta, support, steps=3, rate=rate)
    blocks = [_compressed(np.asarray(block, float)) for block in (found.moved, found.curvature)]
    blocks = [(b - b.mean(axis=0)) / max(np.sqrt(b.var(axis=0).sum()), 1e-300) for b in blocks]
    u, s, _ = np.linalg.svd(np.concatenate(blocks, axis=1), full_matrices=False)
    share = s[:2] ** 2 / max(float((s**2).sum()), 1e-300)
    return TaskMap(u[:, :2] * s[:2], share, support.kind, tuple(getattr(family, "kinds", ())))


def _compressed(block: Array) -> Array:
    """Rows (T, P) in their own directions, as long as log(1 + length/median length)."""
    length = np.linalg.norm(block, axis=1, keepdims=True)
    middle = max(float(np.median(length)), 1e-300)
    return np.asarray(block * (np.log1p(length / middle) / np.maximum(length, 1e-300)))
