"""Prototypical networks: a class is the mean of its examples, in a space that is learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ..core.array_api import is_concrete, namespace
from ..core.errors import MetagdError
from ..core.hyperparameters import hyperparameter
from ..problems.base import Problem
from ..tasks import Batch, TaskBatch, Tasks
from .base import MetaGradient
from .meta import Meta

Array = np.ndarray


class Prototypes(NamedTuple):
    """θ and the support set; before the first step (``adapted`` False) the prototypes are not computed."""

    theta: Array  # (P,)
    support: Batch
    adapted: bool


@dataclass(frozen=True)
class ProtoNet(Meta):
    """Prototypical networks: the class whose examples' mean is nearest, in a learned space.

    The space is that of the model's features, the input of its last layer; the last layer itself is not used. For a
    model that is a function its output is the space. An episode's support and query points pass through the model as
    one batch, and the loss, the cross-entropy of minus the squared Euclidean distances, is differentiated through the
    prototypes. Adapting is computing them: 0 steps guess, and more than one change nothing. The features of
    ``linear`` are its inputs: the nearest class mean, where nothing is learned. ``shots`` and ``queries`` count the
    points of a class.
    """

    source: ClassVar[str] = "Snell, Swersky & Zemel 2017, §2.2 and algorithm 1"
    embeds: ClassVar[bool] = True
    refuses: ClassVar[bool] = True

    inner_lr: float = dataclasses.field(default=0.0, init=False)  # no options: no gradient step adapts
    inner_steps: int = dataclasses.field(default=1, init=False)
    meta_batch_size: int = hyperparameter(1, "tasks in a meta-step", low=1, high=100_000)
    shots: int = hyperparameter(5, "support points a task, or a class where tasks are N-way", low=1, high=100_000)

    def init_parameters(self, problem: Problem, theta: Array, tasks: Tasks | None = None) -> Array:
        if tasks is not None and tasks.loss != "cross-entropy":
            raise MetagdError(f"{tasks!r} has no classes; protonet needs such as episodes(x, y, ways=5)", "tasks")
        return theta

    def path(self, problem: Problem, theta: Array, support: Batch, steps: int) -> Iterator[Prototypes]:
        for step in range(steps + 1):
            yield Prototypes(theta, support, step > 0)

    def predict(self, problem: Problem, phi: Prototypes, x: Array) -> Array:
        if not phi.adapted:
            return np.zeros((*x.shape[:2], phi.support.y.shape[-1]), x.dtype)
        embedded, examples = self._embed(problem, phi.theta, phi.support, x)
        return _similarity(_prototypes(embedded[:, :examples], phi.support.y)[0], embedded[:, examples:])

    def loss(self, problem: Problem, phi: Prototypes, batch: Batch) -> Array:
        return np.asarray(problem.loss.linearize(self.predict(problem, phi, batch.x), batch.y).loss)

    def _embed(self, problem: Problem, theta: Array, support: Batch, x: Array) -> tuple[Array, int]:
        """Support points and ``x`` as one batch in the learned space (T, S+K, H), and S."""
        return problem.embed(theta, np.concatenate([support.x, x], axis=1)).out, support.x.shape[1]

    def meta_gradient(self, problem: Problem, theta: Array, batch: TaskBatch) -> MetaGradient:
        support, query = batch
        examples = support.x.shape[1]
        xp = namespace(theta)
        episode = problem.embed(theta, xp.concatenate([support.x, query.x], axis=1))
        supports, queries = episode.out[:, :examples], episode.out[:, examples:]
        prototypes, weights = _prototypes(supports, support.y)
        out = problem.loss.linearize(_similarity(prototypes, queries), query.y)
        in_queries = 2 * (out.grad @ prototypes - queries * out.grad.sum(axis=2, keepdims=True))
        in_prototypes = 2 * (out.grad.swapaxes(1, 2) @ queries - prototypes * out.grad.sum(axis=1)[..., None])
        cotangent = xp.concatenate([weights @ in_prototypes, in_queries], axis=1)
        return MetaGradient(out.loss, episode.pull(cotangent)[0].mean(axis=0), 1)


def _prototypes(supports: Array, y: Array) -> tuple[Array, Array]:
    """Return the mean (T, C, H) of each class's examples (T, S, H) and the weight of each example in it (T, S, C)."""
    count = y.sum(axis=1, keepdims=True)
    if is_concrete(count) and (count == 0).any():
        raise MetagdError(
            "some task's support has no example of some class; protonet needs N-way tasks: episodes(x, y)", "tasks"
        )
    weights = y / count
    return weights.swapaxes(1, 2) @ supports, weights


def _similarity(prototypes: Array, queries: Array) -> Array:
    """Return minus the squared distance (T, K, C) of points (T, K, H) to prototypes (T, C, H)."""
    own = (queries * queries).sum(axis=2)[..., None] + (prototypes * prototypes).sum(axis=2)[:, None]
    close: Array = 2 * queries @ prototypes.swapaxes(1, 2) - own
    return close
