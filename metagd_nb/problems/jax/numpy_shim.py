"""Shims: modules that stand for NumPy and SciPy in a function that JAX traces.

A function of NumPy that is given nothing traced stays NumPy's own, so what does not depend on the parameters is
computed once, by NumPy's rules; given a traced array, JAX's function of the same name takes its place.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ...core.errors import MetagdError
from ..autograd.distributions import Tracer
from ..autograd.numpy_functions import Argument, Axis, Order
from ..autograd.numpy_shim import SCIPY, RandomShim, ShimModule, Shims, where_called

P = ParamSpec("P")
R = TypeVar("R")


def holds_traced(items: Iterable[Any]) -> bool:
    """Return True if a traced array is among the items, or in a list or tuple among them."""
    return any(
        isinstance(item, jax.core.Tracer) or (type(item) in (list, tuple) and holds_traced(item)) for item in items
    )


# Functions that take a list of arrays as such; others are given one array made of it, as NumPy does.
_OF_SEVERAL = {
    *("array", "asarray", "asanyarray", "stack", "concatenate", "concat", "hstack", "vstack", "dstack", "block"),
    *("column_stack", "where", "select", "piecewise", "choose", "meshgrid", "einsum", "multi_dot", "broadcast_arrays"),
}


def either(name: str, plain: Callable[..., R], traced: Callable[..., R]) -> Callable[..., R]:
    """NumPy's function where nothing is traced, JAX's where something is."""

    @functools.wraps(plain, updated=())
    def called(*args: Argument, **kwargs: Argument) -> R:
        if not (holds_traced(args) or holds_traced(kwargs.values())):
            return plain(*args, **kwargs)
        if name not in _OF_SEVERAL:
            return traced(
                *(jnp.array(a) if isinstance(a, (list, tuple)) and holds_traced(a) else a for a in args), **kwargs
            )
        return traced(*args, **kwargs)

    return called


# As for autograd (see `numpy_functions`): keeps the root of a sum of squares differentiable at zero.
def _norm(x: jax.Array, ord: Order = None, axis: Axis = None, keepdims: bool = False) -> jax.Array:
    x = jnp.asarray(x)
    if ord in (None, "fro") or (ord == 2 and (x.ndim == 1 or isinstance(axis, int))):
        near_zero = 1e-200 if x.dtype == np.float64 else 1e-37
        return jnp.sqrt(jnp.sum(x * x, axis, keepdims=keepdims) + near_zero)
    norm: jax.Array = jnp.linalg.norm(x, ord, axis, keepdims)
    return norm


def _guard(function: Callable[P, R], label: str) -> Callable[P, R]:
    """``function`` of SciPy that JAX has not: refused by name where it is given something traced."""

    @functools.wraps(function, updated=())
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if holds_traced(args) or holds_traced(kwargs.values()):
            raise MetagdError(f"{label} ({where_called()}) is not known to JAX; write it with NumPy, or use {PLAIN}")
        return function(*args, **kwargs)

    return guarded


PLAIN = "--backend numpy"


def _exchange(real: ModuleType, traced: ModuleType) -> ShimModule:
    double = ShimModule(real)
    for name in dir(real):
        value, other = getattr(real, name), getattr(traced, name, None)
        if not name.startswith("_") and callable(value) and callable(other) and not isinstance(value, type):
            double.__dict__[name] = either(name, value, other)
    return double


@functools.cache
def _numpy() -> ShimModule:
    double = _exchange(np, jnp)
    double.__dict__["linalg"] = _exchange(np.linalg, jnp.linalg)
    double.__dict__["linalg"].__dict__["norm"] = either("norm", np.linalg.norm, _norm)
    double.__dict__["fft"] = _exchange(np.fft, jnp.fft)
    double.__dict__["random"] = RandomShim(np.random)
    return double


@functools.cache
def _scipy(name: str) -> ShimModule:
    real = importlib.import_module(name)
    if name == "scipy":
        double = ShimModule(real)
        double.__dict__.update({part: _scipy(f"scipy.{part}") for part in SCIPY})
        return double
    try:
        double = _exchange(real, importlib.import_module(f"jax.{name}"))
    except ImportError:
        double = ShimModule(real)
    for key in dir(real):
        value = getattr(real, key)
        lacking = not key.startswith("_") and key not in double.__dict__
        if lacking and isinstance(value, (FunctionType, BuiltinFunctionType, np.ufunc)):
            double.__dict__[key] = _guard(value, f"{name}.{key}")
    if name == "scipy.stats":
        double.__dict__.update(Tracer(f"jax.{name}", holds_traced, jnp.log, _guard).distributions(real))
    return double


def _dot(a: Any, *args: Any, **kwargs: Any) -> Any:
    traced = isinstance(a, (np.ndarray, jax.Array)) and holds_traced((a, *args))
    return jnp.dot(a, *args, **kwargs) if traced else a.dot(*args, **kwargs)


def _copy(a: Any, *args: Any, **kwargs: Any) -> Any:
    return a if isinstance(a, jax.core.Tracer) else a.copy(*args, **kwargs)


JAX = Shims(_numpy, _scipy, {"dot": _dot, "copy": _copy})
