"""Functions of NumPy that autograd lacks or differentiates wrongly, written with those that it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import autograd.numpy as anp
import numpy as np
from autograd.tracer import isbox, trace_primitives_map
from numpy.typing import DTypeLike

Array = np.ndarray  # or a box of autograd, which behaves as one
Argument = Array | float | list[Any] | tuple[Any, ...]  # of a function of NumPy
Axis = int | tuple[int, int] | None
Order = float | Literal["fro", "nuc"] | None


def asarray(a: Argument, dtype: DTypeLike | None = None, copy: bool | None = None) -> Any:
    """Convert to an array, or keep what is traced; as ``np.asarray``."""
    if isbox(a):
        return a if dtype is None else a.astype(dtype)  # type: ignore[union-attr]  # a box is an array
    if isinstance(a, (list, tuple)):
        return anp.array(a) if dtype is None else anp.array(a, dtype)
    return np.array(a, dtype) if copy else np.asarray(a, dtype)


def _copy(a: Array, order: Literal["K", "A", "C", "F"] = "K") -> Array:
    return a if isbox(a) else np.copy(a, order)  # a traced array cannot be written to: no copy is needed


def _average(a: Array, axis: int | None = None, weights: Array | None = None) -> Any:
    if weights is None:
        return anp.mean(a, axis)
    a, weights = asarray(a), asarray(weights)
    if a.shape != weights.shape and weights.ndim == 1 and axis is not None:
        weights = anp.reshape(weights, [-1 if k == axis % a.ndim else 1 for k in range(a.ndim)])
    return anp.sum(a * weights, axis) / anp.sum(weights * anp.ones_like(a), axis)


def _median(a: Array, axis: int | None = None) -> Any:
    a = anp.ravel(a) if axis is None else anp.moveaxis(a, axis, 0)
    ordered, n = anp.sort(a, axis=0), a.shape[0]
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def _flip(a: Array, axis: int | tuple[int, ...] | None = None) -> Any:
    axes = range(a.ndim) if axis is None else np.atleast_1d(axis) % a.ndim
    return a[tuple(slice(None, None, -1) if k in axes else slice(None) for k in range(a.ndim))]


# Keeps the root of a sum of squares differentiable at zero, where weights often start: ‖w‖² then has the gradient 0
# and the Hessian 2 there, not nan. Its power −3/2 is still a finite double, and beside any other sum it vanishes.
_NEAR_ZERO = np.float64(1e-200)


def norm(x: Array, ord: Order = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """Compute a norm that has a gradient at zero; as ``np.linalg.norm``."""
    x = asarray(x)
    vector = x.ndim == 1 or isinstance(axis, int)
    if not isbox(x):
        return np.linalg.norm(x, ord, axis, keepdims)
    if ord in (None, "fro") or (ord == 2 and vector):
        return anp.sqrt(anp.sum(x * x, axis, keepdims=keepdims) + _NEAR_ZERO)
    if vector and ord in (1, np.inf):
        return (anp.sum if ord == 1 else anp.max)(anp.abs(x), axis, keepdims=keepdims)
    return anp.linalg.norm(x, ord, axis, keepdims=keepdims)


def _broadcast_to(a: Array, shape: tuple[int, ...]) -> Any:
    return a + np.zeros(shape) if isbox(a) else np.broadcast_to(a, shape)


def _polyval(p: Array, x: Array) -> Any:
    value = anp.zeros_like(x)
    for coefficient in p:
        value = value * x + coefficient
    return value


def _trapezoid(y: Array, x: Array | None = None, dx: float = 1.0) -> Any:
    return anp.sum((y[1:] + y[:-1]) / 2 * (dx if x is None else x[1:] - x[:-1]))


# autograd's own ``where`` gives Python lists when nothing in it is an array yet; this is its primitive, which does not.
_where = trace_primitives_map[np.where]

# Names that pasted losses use and autograd has no derivative of: written with those that it has.
WRITTEN: dict[str, Callable[..., Any]] = {
    "where": _where,
    "asarray": asarray,
    "asanyarray": asarray,
    "ascontiguousarray": asarray,
    "copy": _copy,
    "average": _average,
    "broadcast_to": _broadcast_to,
    "median": _median,
    "flip": _flip,
    "polyval": _polyval,
    "trapezoid": _trapezoid,
    "ptp": lambda a, axis=None: anp.max(a, axis) - anp.min(a, axis),
    "vdot": lambda a, b: anp.dot(anp.ravel(a), anp.ravel(b)),
    "positive": lambda a: 1.0 * a,
    "concat": anp.concatenate,
    "matrix_transpose": lambda a: anp.swapaxes(a, -1, -2),
    "take": lambda a, indices, axis=None: (
        anp.ravel(a)[indices] if axis is None else a[(slice(None),) * (axis % a.ndim) + (indices,)]
    ),
}
