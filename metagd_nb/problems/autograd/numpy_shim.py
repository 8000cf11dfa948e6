"""Shims: modules that stand for NumPy and SciPy in a traced function.

While a user's function is differentiated, its names bound to the numpy module (or to functions of
it) stand for autograd's versions. A shim has every name of the original; only what autograd
can differentiate is exchanged, and what makes a loss another function at each call is refused.
"""

from __future__ import annotations

import functools
import importlib
import random
import sys
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, FrameType, FunctionType, ModuleType
from typing import Any, ParamSpec, TypeVar

import autograd.numpy as anp
import numpy as np
from autograd.tracer import isbox
from numpy.typing import ArrayLike

from ...core.errors import MetagdError
from .distributions import Tracer, thawed
from .numpy_functions import WRITTEN, Argument, asarray, norm

SCIPY = ("special", "linalg", "signal", "integrate", "stats")  # autograd.scipy has counterparts of some of their names


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


class RandomShim(ShimModule):
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


def _holds_traced(items: Iterable[Any]) -> bool:
    return any(isbox(item) or (type(item) in (list, tuple) and _holds_traced(item)) for item in items)


def _of_lists(function: Callable[..., R]) -> Callable[..., R]:
    """``np.dot(x, [a, b])``: autograd sees a traced number only where it is an argument, not inside a list."""

    @functools.wraps(function, updated=())
    def called(*args: Argument, **kwargs: Argument) -> R:
        for arg in args:
            if isinstance(arg, (list, tuple)) and _holds_traced(arg):
                args = tuple(asarray(a) if isinstance(a, (list, tuple)) and _holds_traced(a) else a for a in args)
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
    double.__dict__.update(WRITTEN)
    double.__dict__["linalg"] = _exchange(np.linalg, anp.linalg)
    double.__dict__["linalg"].__dict__["norm"] = norm
    double.__dict__["fft"] = _exchange(np.fft, anp.fft)
    double.__dict__["random"] = RandomShim(np.random)
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
    if name == "scipy.stats":
        double.__dict__.update(Tracer(f"autograd.{name}", _holds_traced, anp.log, _guard).distributions(real))
    return double


class Shims:
    """Replacements of NumPy, SciPy and Python's random numbers in a traced function of the user.

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
            return RandomShim(module)
        if name in ("numpy", "numpy.linalg", "numpy.fft", "numpy.random"):
            double = self.numpy()
            return double if name == "numpy" else double.__dict__[name.rpartition(".")[2]]
        if name == "scipy" or (name.startswith("scipy.") and name.count(".") == 1):
            return self.scipy(name)
        return None

    def function(self, value: Any) -> Any:
        """Return the replacement of a function imported from NumPy or SciPy (``from numpy import dot``), or None."""
        if isinstance(value, (np.random.Generator, np.random.RandomState, random.Random)):
            return RandomSource()
        if (frozen := thawed(value, lambda name: getattr(self.scipy("scipy.stats"), name))) is not None:
            return frozen
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
            shims = [self.numpy(), self.numpy().linalg, self.numpy().fft] if root == "numpy" else [self.scipy(root)]
            for double in shims:
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
