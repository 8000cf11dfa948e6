"""Base of the problems whose derivatives JAX computes, and their points: all of it follows from the loss of one task.

``linearize`` takes and returns arrays of NumPy: what it computes is compiled at the first call of each shape. Inside a
compiled step it takes and returns traced arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ...core.array_api import is_concrete
from ...tasks import Batch
from ..base import Data, Problem
from . import precise
from .outputs import HostEmbedding, TracedEmbedding
from .refuse import refused

Array = np.ndarray
Either = np.ndarray | jax.Array  # of NumPy, or traced
Arrays = dict[str, jax.Array]  # parameters of one task by name, traced

jax.tree_util.register_pytree_node(
    Batch, lambda batch: ((batch.x, batch.y, batch.kind), None), lambda _, parts: Batch(*parts)
)


class OnJax(Problem):
    """Base class: everything follows from ``task_loss``."""

    what = "loss"

    def task_loss(self, params: Arrays, x: Either, y: Either) -> Any:
        """The loss of one task, a number; x and y are empty where the loss brings its own data."""
        raise TypeError(f"{type(self).__name__} needs a method task_loss")

    def plain(self, x: Array, y: Array) -> Any:
        """Call the user's part of ``task_loss`` without JAX, so that an error of theirs shows unchanged."""

    def task_features(self, params: Arrays, x: Either) -> Any:
        """Compute the features (K, H) of one task's x (K, D), which `protonet` compares."""
        raise TypeError(f"{type(self).__name__} needs a method task_features")

    def task_gradient(self, theta: jax.Array, x: Either, y: Either) -> tuple[Any, Any]:
        """The loss of one task at θ (P,), and its gradient (P,)."""

        def of_parts(parts: list[Any]) -> Any:  # a dict would come back in another order
            return self.task_loss(dict(zip(self.layout.shapes, parts, strict=True)), x, y)

        # with respect to the parts: the derivative of taking a vector apart is a sum of padded vectors
        loss, grads = jax.value_and_grad(of_parts)(list(self.layout.views(theta).values()))
        return loss, joined(grads)

    def arrays(self, batch: Data) -> tuple[Any, Any]:
        """Return x and y of ``task_loss`` with a first axis over tasks."""
        return (batch.x, batch.y) if isinstance(batch, Batch) else NO_DATA

    def linearize(self, phi: ArrayLike, batch: Data = None) -> Any:
        """Evaluate at ``phi`` (P,) shared by all tasks, or (T, P)."""
        x, y = self.arrays(batch)
        if is_concrete(phi):
            return HostPoint(self, np.asarray(phi, self.dtype), x, y)
        return TracedPoint(self, jnp.asarray(phi), x, y)

    def flat(self, phi: ArrayLike, tasks: int = 1) -> Any:
        """Return ``phi`` as an array (T, P)."""
        if is_concrete(phi):
            return np.broadcast_to(phi, (tasks, self.layout.size))
        return jnp.broadcast_to(jnp.asarray(phi), (tasks, self.layout.size))

    @cached_property
    def evaluated(self) -> Any:
        """Compiled: φ, x, y → loss (T,), gradient (T, P)."""
        return jax.jit(lambda phi, x, y: (lambda point: (point.loss, point.grad))(TracedPoint(self, phi, x, y)))

    @cached_property
    def compiled_hvp(self) -> Any:
        """Compiled: φ, x, y, v → Hessian·v (T, P)."""
        return jax.jit(lambda phi, x, y, v: TracedPoint(self, phi, x, y).hvp(v))

    def embed(self, theta: Either, x: Either) -> Any:
        """Compute the features ``out`` (T, K, H) of x (T, K, D) at θ (P,), with their pull-back."""
        if is_concrete(theta):
            return HostEmbedding(self, np.asarray(theta), np.asarray(x))
        return TracedEmbedding(self, jnp.asarray(theta), jnp.asarray(x))

    def check(self, batch: Data, embeds: bool = False) -> None:
        """Refuse in one line what JAX cannot follow; ``embeds``: of the features alone."""
        x, y = jax.tree.map(lambda a: a[0], self.arrays(batch))

        def requested(theta: jax.Array, x: Either, y: Either) -> Any:
            if embeds:
                return self.task_features(self.layout.views(theta), x)
            return self.task_gradient(theta, x, y)

        with precise(self.dtype):
            try:
                jax.eval_shape(requested, np.zeros(self.layout.size, self.dtype), x, y)
            except Exception as error:
                raise refused(error, lambda: self.plain(x, y), self.what) from None


NO_DATA = (np.zeros((1, 0)), np.zeros((1, 0)))


class TracedPoint:
    """A problem at φ inside a compiled step; see `base.Point`."""

    def __init__(self, problem: OnJax, phi: jax.Array, x: Either, y: Either) -> None:
        self.phi, self._dtype = phi, problem.dtype

        def one(phi: jax.Array, x: Either, y: Either) -> Any:
            (loss, grad), jvp = jax.linearize(lambda p: problem.task_gradient(p, x, y), phi)
            return loss, grad, jvp

        self.loss, self.grad, self._jvp = jax.vmap(one, in_axes=(0 if phi.ndim == 2 else None, 0, 0))(phi, x, y)

    def hvp(self, v: jax.Array) -> jax.Array:
        """Multiply the Hessian of each task by its vector: (T, P) → (T, P), sharing the forward pass."""
        product: jax.Array = jax.vmap(lambda jvp, u: jvp(u)[1])(self._jvp, v.astype(self._dtype))
        return product

    def step(self, rate: ArrayLike) -> jax.Array:
        """φ − rate·grad (T, P)"""
        moved: jax.Array = self.phi - rate * self.grad
        return moved


class HostPoint:
    """The same at NumPy's arrays, for whoever takes one step at a time."""

    def __init__(self, problem: OnJax, phi: Array, x: Array, y: Array) -> None:
        self._problem, self._at, self.phi = problem, (phi, x, y), phi
        with precise(problem.dtype):
            self.loss, self.grad = (np.asarray(part) for part in problem.evaluated(phi, x, y))

    def hvp(self, v: Array) -> Array:
        """Multiply the Hessian of each task by its vector: (T, P) → (T, P)."""
        with precise(self._problem.dtype):
            return np.asarray(self._problem.compiled_hvp(*self._at, np.asarray(v, self._problem.dtype)))

    def step(self, rate: ArrayLike) -> Array:
        """φ − rate·grad (T, P)"""
        return np.asarray(self.phi - rate * self.grad)


def joined(parts: Iterable[Any]) -> Any:
    """Join parameters into (P,)."""
    return jnp.concatenate([jnp.ravel(part) for part in parts])
