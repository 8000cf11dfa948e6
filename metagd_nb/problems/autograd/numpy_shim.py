"""What a traced function sees in place of NumPy and SciPy.

While a user's function is differentiated, its names bound to the numpy module (or to functions of
it) stand for autograd's versions. A stand-in has every name of the original; only what autograd
can differentiate is exchanged, and what makes a loss another function at each call is refused.
"""

from __future__ import annotations

import functools
import importlib
import random
import sys
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, FrameType, FunctionType, ModuleType
from typing import Any, Literal, ParamSpec, TypeVar

import autograd.numpy as anp
import numpy as np
from autograd.tracer import isbox, trace_primitives_map
from numpy.typing import ArrayLike, DTypeLike

from ...core.errors import MetagdError

SCIPY = ("special", "linalg", "signal", "integrate", "stats")  # autograd.scipy has counterparts of some of their names


Array = np.ndarray  # or a box of autograd, which behaves as one
Argument = Array | float | list[Any] | tuple[Any, ...]  # of a function of NumPy
Axis = int | tuple[int, int] | None
Order = float | Literal["fro", "nuc"] | None
P = ParamSpec("P")
R = TypeVar("R")


class ShimModule(ModuleType):
    """A module that takes another's place; a name that it does not exchange is the other's own."""

    def __init__(self, real: ModuleType) -> None:
        super().__init__(real.__name__, real.__doc__)
        self.__dict__["__real__"] = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["__real__"], name)

    def __dir__(self) -> list[str]:
        return dir(self.__dict__["__real__"])


def where_called() -> str:
    """``line 3``, of the innermost code outside the kit."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return f"line {frame.f_lineno}" if frame is not None else "a line"


def refusing(label: str) -> Any:
    """A random source that says, when it is drawn from, why a loss must not do so."""

    def refuse(*args: ArrayLike, **kwargs: ArrayLike) -> Any:
        raise MetagdError(
            f"{label} inside the loss ({where_called()}) makes it another function at each call; "
            "draw the numbers once, in a line above the function"
        )

    return refuse


class RandomStandIn(ShimModule):
    """``np.random`` or ``random``: only a source with its own fixed seed may be made."""

    def __getattr__(self, name: str) -> Any:
        real = self.__dict__["__real__"]
        value = getattr(real, name)
        label = f"{self.__name__}.{name}".replace("numpy.", "np.")
        if name in ("default_rng", "RandomState", "Random"):
            refused = refusing(f"{label}() without a seed")
            return lambda *seed, **kwargs: value(*seed, **kwargs) if seed or kwargs else refused()
        return refusing(label) if callable(value) and not isinstance(value, type) else value


class RandomSource:
    """A generator made outside the loss: drawing from it inside is refused."""

    def __getattr__(self, name: str) -> Any:
        return refusing(f"a random generator's .{name}()")


def _asarray(a: Argument, dtype: DTypeLike | None = None, copy: bool | None = None) -> Any:
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
    a, weights = _asarray(a), _asarray(weights)
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


def _norm(x: Array, ord: Order = None, axis: Axis = None, keepdims: bool = False) -> Any:
    x = _asarray(x)
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
_WRITTEN: dict[str, Callable[..., Any]] = {
    "where": _where,
    "asarray": _asarray,
    "asanyarray": _asarray,
    "ascontiguousarray": _asarray,
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


def _holds_traced(items: Iterable[Any]) -> bool:
    return any(isbox(item) or (type(item) in (list, tuple) and _holds_traced(item)) for item in items)


def _of_lists(function: Callable[..., R]) -> Callable[..., R]:
    """``np.dot(x, [a, b])``: autograd sees a traced number only where it is an argument, not inside a list."""

    @functools.wraps(function, updated=())
    def called(*args: Argument, **kwargs: Argument) -> R:
        for arg in args:
            if isinstance(arg, (list, tuple)) and _holds_traced(arg):
                args = tuple(_asarray(a) if isinstance(a, (list, tuple)) and _holds_traced(a) else a for a in args)
                break
        return function(*args, **kwargs)

    return called


_REDUCTIONS = ("dot", "outer", "inner", "kron", "tensordot", "sum", "prod", "max", "min", "cumsum", "square")


def _guard(function: Callable[P, R], label: str) -> Callable[P, R]:
    """``function`` of SciPy, which refuses by name what it would fail on without sense."""

    @functools.wraps(function, updated=())
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if any(isbox(a) for a in (*args, *kwargs.values())):
            raise MetagdError(
                f"{label} ({where_called()}) has no automatic derivative; "
                "write it with NumPy, or give a `gradient` of your own"
            )
        return function(*args, **kwargs)

    return guarded


def _exchange(real: ModuleType, traced: ModuleType) -> ShimModule:
    double = ShimModule(real)
    for name, value in vars(traced).items():
        if not name.startswith("_") and hasattr(real, name) and callable(value) and not isinstance(value, type):
            double.__dict__[name] = value
    return double


@functools.cache
def numpy_shim() -> ShimModule:
    """numpy, with autograd's functions."""
    double = _exchange(np, anp)
    for name, function in list(vars(double).items()):
        if name in _REDUCTIONS or (isinstance(getattr(np, name, None), np.ufunc) and function is not vars(np)[name]):
            double.__dict__[name] = _of_lists(function)
    double.__dict__.update(_WRITTEN)
    double.__dict__["linalg"] = _exchange(np.linalg, anp.linalg)
    double.__dict__["linalg"].__dict__["norm"] = _norm
    double.__dict__["fft"] = _exchange(np.fft, anp.fft)
    double.__dict__["random"] = RandomStandIn(np.random)
    return double


@functools.cache
def scipy_shim(name: str) -> ShimModule:
    """``scipy`` or a module of it: autograd.scipy's functions, and a guard around each that it has not."""
    real = importlib.import_module(name)
    double = ShimModule(real)
    if name == "scipy":
        for part in SCIPY:
            double.__dict__[part] = scipy_shim(f"scipy.{part}")
        return double
    try:
        traced = vars(importlib.import_module(f"autograd.{name}"))
    except ImportError:
        traced = {}
    for key in dir(real):
        value = getattr(real, key)
        if key.startswith("_") or isinstance(value, (type, ModuleType)):
            continue
        if key in traced and (isinstance(traced[key], ModuleType) or callable(traced[key])):
            double.__dict__[key] = traced[key]
        elif isinstance(value, (FunctionType, BuiltinFunctionType, np.ufunc)):
            double.__dict__[key] = _guard(value, f"{name}.{key}")
    return double


class Shims:
    """What stands for NumPy, SciPy and Python's random numbers while a function of the user is traced.

    Parameters
    ----------
    numpy : function
        Gives the double of ``numpy``.
    scipy : function
        The same for ``scipy`` or a module of it, by its full name.
    methods : mapping name → function
        ``a.name(…)`` as a function, for methods that lose the trace on a plain array or that a traced one lacks.
    """

    def __init__(
        self,
        numpy: Callable[[], ShimModule],
        scipy: Callable[[str], ShimModule],
        methods: Mapping[str, Callable[..., Any]],
    ) -> None:
        self.numpy, self.scipy, self.methods = numpy, scipy, methods
        self._found: dict[str, dict[int, Any]] = {}

    def module(self, module: ModuleType) -> ModuleType | None:
        """The double of a module; None where it needs none."""
        name = module.__name__
        if isinstance(module, ShimModule):
            return module
        if module is random:
            return RandomStandIn(module)
        if name in ("numpy", "numpy.linalg", "numpy.fft", "numpy.random"):
            double = self.numpy()
            return double if name == "numpy" else double.__dict__[name.rpartition(".")[2]]
        if name == "scipy" or (name.startswith("scipy.") and name.count(".") == 1):
            return self.scipy(name)
        return None

    def function(self, value: Any) -> Any:
        """What stands for a function taken from NumPy or SciPy (``from numpy import dot``); None where nothing does."""
        if isinstance(value, (np.random.Generator, np.random.RandomState, random.Random)):
            return RandomSource()
        if isinstance(value, type) or not callable(value):
            return None
        bound = getattr(value, "__self__", None)
        if isinstance(bound, (np.random.Generator, np.random.RandomState, random.Random)):
            return refusing(f"a random generator's .{value.__name__}()")
        if (found := self._by_identity("numpy").get(id(value))) is not None:
            return found
        for name in SCIPY:
            if f"scipy.{name}" in sys.modules and (found := self._by_identity(f"scipy.{name}").get(id(value))):
                return found
        return None

    def _by_identity(self, root: str) -> dict[int, Any]:
        """id of a function of NumPy or of a loaded module of SciPy → what stands for it."""
        if root not in self._found:
            found: dict[int, Any] = {}
            doubles = [self.numpy(), self.numpy().linalg, self.numpy().fft] if root == "numpy" else [self.scipy(root)]
            for double in doubles:
                for name, value in vars(double).items():
                    original = getattr(double.__real__, name, None)
                    if not name.startswith("__") and not isinstance(original, ModuleType):
                        found[id(original)] = value  # scipy.stats.norm is an object there and a module here
            self._found[root] = found
        return self._found[root]


def _dot_method(a: Any, *args: Any, **kwargs: Any) -> Any:
    plain = isinstance(a, np.ndarray) or isbox(a)
    return anp.dot(a, *args, **kwargs) if plain else a.dot(*args, **kwargs)


def _copy_method(a: Any, *args: Any, **kwargs: Any) -> Any:
    return a if isbox(a) else a.copy(*args, **kwargs)


AUTOGRAD = Shims(numpy_shim, scipy_shim, {"dot": _dot_method, "copy": _copy_method})
