"""What a model gives, by JAX: features that are pulled back, and losses of predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...core.array_api import is_concrete
from ...models.losses import OutputLoss
from ..capture.errors import scalar
from .precision import precise
from .refuse import refused

Array = np.ndarray


class TracedEmbedding:
    """Features inside a compiled step."""

    def __init__(self, problem: Any, theta: Any, x: Any) -> None:
        def one(theta: Any, x: Any) -> Any:
            return jax.vjp(lambda t: problem.task_features(problem.layout.views(t), x), theta)

        self.out, self._pull = jax.vmap(one, in_axes=(None, 0))(theta, x)

    def pull(self, cotangent: Any) -> tuple[Any]:
        """A gradient in ``out``, pulled back to θ: (T, P), one a task."""
        found: tuple[Any] = jax.vmap(lambda pull, c: pull(c))(self._pull, cotangent)
        return found


class HostEmbedding:
    """The same at NumPy's arrays."""

    def __init__(self, problem: Any, theta: Array, x: Array) -> None:
        self._dtype = problem.dtype
        with precise(self._dtype):
            self._traced = TracedEmbedding(problem, jnp.asarray(theta), jnp.asarray(x))
            self.out = np.asarray(self._traced.out)

    def pull(self, cotangent: Array) -> tuple[Array]:
        """(T, P)"""
        with precise(self._dtype):
            return (np.asarray(self._traced.pull(jnp.asarray(cotangent))[0]),)


class OutputLossOnJax(OutputLoss):
    """A loss of predictions (T, K, C): NumPy's where they are known, JAX's where they are traced."""

    def __init__(self, plain: Any, one: Callable[[Any, Any], Any]) -> None:
        self.plain, self._one = plain, one
        self.function, self.fingerprint, self.parts = plain.function, plain.fingerprint, plain.parts

    def linearize(self, prediction: Any, target: Any) -> Any:
        """Evaluate, per task."""
        if is_concrete(prediction):
            return self.plain.linearize(prediction, target)
        try:
            return _OutputPoint(*jax.vmap(jax.value_and_grad(self._one))(prediction, target))
        except Exception as error:
            zeros = (np.zeros(a.shape, a.dtype) for a in (prediction, target))
            raise refused(error, lambda: self.plain.linearize(*zeros), "loss") from None


class _OutputPoint(NamedTuple):
    loss: Any  # (T,)
    grad: Any  # (T, K, C)


def one_number(value: Any, dtype: np.dtype[Any]) -> Any:
    """What a loss gave, once it is seen to be one number."""
    if isinstance(value, jax.Array):
        scalar(np.broadcast_to(np.zeros((), value.dtype), value.shape))
        return value.reshape(()).astype(dtype)
    return jnp.asarray(scalar(value), dtype)
