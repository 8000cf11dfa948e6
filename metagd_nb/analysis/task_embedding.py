"""Tasks as vectors: the displacement of a network's parameters by adaptation, and the curvature of the loss there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..problems.base import Array, Problem
from ..tasks import Batch, Tasks
from ..training.run import Run
from .fresh_tasks import draw_tasks, fresh_family, trained_method

__all__ = ["TaskMap", "task_map"]


class Embedding(NamedTuple):
    """Effect of adapting a network to T tasks, in S steps.

    Attributes
    ----------
    loss : array (T, S+1)
        Support loss before each step and after the last.
    displacement : array (T, P)
        Change of the parameters: minus the sum of the gradients, times the rate.
    curvature : array (T, P)
        Diagonal of the Hessian after the last step.
    """

    loss: Array
    displacement: Array
    curvature: Array


def embed(
    problem: Problem, theta: Array, support: Batch, steps: int = 10, rate: float = 0.05, probes: int = 8
) -> Embedding:
    """Embed tasks by the displacement of their parameters and the curvature, after Task2Vec.

    Task2Vec takes the diagonal of the Fisher matrix; here it is that of the Hessian, estimated from products with
    random signs z: E[z ⊙ Hz] = diag H.

    Parameters
    ----------
    problem : Problem
        The network that is adapted.
    theta : array (P,)
        Its parameters before adaptation.
    support : Batch
        Data of T tasks.
    steps : int
        Gradient steps of adaptation.
    rate : float
        Their learning rate.
    probes : int
        Random sign vectors, the same for all tasks; 0 takes P products and gives the exact diagonal.

    Returns
    -------
    Embedding

    References
    ----------
    A. Achille and others (2019), Task2Vec: task embedding for meta-learning. C. Bekas, E. Kokiopoulou and Y. Saad
    (2007), An estimator for the diagonal of a matrix.
    """
    phi, losses = theta, []
    for _ in range(steps):
        point = problem.linearize(phi, support)
        losses.append(point.loss)
        phi = point.step(rate)
    point = problem.linearize(phi, support)
    size = problem.layout.size
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (probes, size)) if probes else np.eye(size)
    curvature = sum(z * point.hvp(np.tile(z, (len(support), 1)).astype(theta.dtype)) for z in signs)
    displacement = problem.flat(phi, len(support)) - theta
    return Embedding(np.stack([*losses, point.loss], axis=1), displacement, np.asarray(curvature / (probes or 1)))


class TaskMap(NamedTuple):
    """Tasks as points in a plane.

    Attributes
    ----------
    points : array (T, 2)
    share : array (2,)
        Share of the variance explained by each principal component.
    kind : array (T,) or None
        Number of each task's kind, where the family knows it.
    kinds : tuple of str
        Names of the kinds.
    """

    points: Array
    share: Array
    kind: Array | None
    kinds: tuple[str, ...]


def task_map(run: Run, tasks: Tasks | None = None, n_tasks: int = 300, seed: int = 1) -> TaskMap:
    """Project task embeddings at the learned initialization to two principal components.

    A task is embedded by `embed` with three steps. Each part is scaled to the logarithm of its length, since a few
    steep tasks would fill the plane alone, and to total variance 1; the axes are the first two principal components.

    Parameters
    ----------
    run : Run
        Of a meta-learning method.
    tasks : Tasks, optional
        Default: the family that was learned from.
    n_tasks : int
        Tasks to draw.
    seed : int
        Seed of the tasks drawn.

    Returns
    -------
    TaskMap
    """
    algorithm, family = trained_method(run, "task_map"), fresh_family(run, tasks)
    support = draw_tasks(run, family, n_tasks, seed).support
    theta = run.loop.snapshot.theta[: run.plan.problem.layout.size]
    embedding = embed(run.plan.problem, theta, support, steps=3, rate=float(np.mean(algorithm.inner_lr)))
    blocks = [_compress(np.asarray(block, float)) for block in (embedding.displacement, embedding.curvature)]
    blocks = [(b - b.mean(axis=0)) / max(np.sqrt(b.var(axis=0).sum()), 1e-300) for b in blocks]
    u, s, _ = np.linalg.svd(np.concatenate(blocks, axis=1), full_matrices=False)
    share = s[:2] ** 2 / max(float((s**2).sum()), 1e-300)
    return TaskMap(u[:, :2] * s[:2], share, support.kind, family.kinds)


def _compress(block: Array) -> Array:
    """Rows (T, P) with their directions unchanged and their lengths replaced by log(1 + length/median length)."""
    length = np.linalg.norm(block, axis=1, keepdims=True)
    median = max(float(np.median(length)), 1e-300)
    return np.asarray(block * (np.log1p(length / median) / np.maximum(length, 1e-300)))
