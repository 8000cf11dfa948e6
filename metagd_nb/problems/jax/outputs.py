"""Features and losses of predictions by JAX, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ...core.array_api import is_concrete
from ...models.losses import OutputLoss
from ..capture.errors import scalar
from . import precise
from .refuse import refused

if TYPE_CHECKING:
    from .base import OnJax

Array = np.ndarray


class TracedEmbedding:
    """Features inside a compiled step."""

    def __init__(self, problem: OnJax, theta: jax.Array, x: jax.Array) -> None:
        def one(theta: jax.Array, x: jax.Array) -> Any:
            return jax.vjp(lambda t: problem.task_features(problem.layout.views(t), x), theta)

        self.out, self._pull = jax.vmap(one, in_axes=(None, 0))(theta, x)

    def pull(self, cotangent: jax.Array) -> tuple[jax.Array]:
        """Pull a gradient in ``out`` back to θ: (T, P), one a task."""
        found: tuple[jax.Array] = jax.vmap(lambda pull, c: pull(c))(self._pull, cotangent)
        return found


class HostEmbedding:
    """Features at arrays of NumPy."""

    def __init__(self, problem: OnJax, theta: Array, x: Array) -> None:
        self._dtype = problem.dtype
        with precise(self._dtype):
            self._traced = TracedEmbedding(problem, jnp.asarray(theta), jnp.asarray(x))
            self.out = np.asarray(self._traced.out)

    def pull(self, cotangent: Array) -> tuple[Array]:
        """Pull a gradient in ``out`` (T, K, H) back to θ: (T, P), one a task."""
        with precise(self._dtype):
            return (np.asarray(self._traced.pull(jnp.asarray(cotangent))[0]),)


class OutputLossOnJax(OutputLoss):
    """Loss of predictions (T, K, C), computed by NumPy for its arrays and by JAX for traced ones."""

    def __init__(self, plain: OutputLoss, one: Callable[[jax.Array, jax.Array], jax.Array]) -> None:
        self.plain, self._one = plain, one
        self.function, self.fingerprint, self.parts = plain.function, plain.fingerprint, plain.parts

    def linearize(self, prediction: Array | jax.Array, target: Array | jax.Array) -> Any:
        """Evaluate for each task."""
        if is_concrete(prediction):
            return self.plain.linearize(np.asarray(prediction), np.asarray(target))
        try:
            return _OutputPoint(*jax.vmap(jax.value_and_grad(self._one))(prediction, target))
        except Exception as error:
            zeros = (np.zeros(a.shape, a.dtype) for a in (prediction, target))
            raise refused(error, lambda: self.plain.linearize(*zeros), "loss") from None


class _OutputPoint(NamedTuple):
    loss: jax.Array  # (T,)
    grad: jax.Array  # (T, K, C)


def one_number(value: ArrayLike, dtype: np.dtype[Any]) -> jax.Array:
    """Return the result of a loss as a number (), after a check that it is one."""
    if isinstance(value, jax.Array):
        scalar(np.broadcast_to(np.zeros((), value.dtype), value.shape))
        return value.reshape(()).astype(dtype)
    return jnp.asarray(scalar(value), dtype)
