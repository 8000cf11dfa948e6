"""Distributions of scipy.stats in a traced function: with keywords, with ``loc`` and ``scale``, and frozen."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

# distribution → names of its arguments before loc and scale
CONTINUOUS = {"norm": (), "t": ("df",), "gamma": ("a",), "beta": ("a", "b"), "chi2": ("df",)}
DISCRETE = {"poisson": ("mu",)}
VECTOR = {"multivariate_normal": ("mean", "cov"), "dirichlet": ("alpha",)}
SHAPES: dict[str, tuple[str, ...]] = {**CONTINUOUS, **DISCRETE, **VECTOR}


class Tracer:
    """A tracer as far as distributions need it.

    Parameters
    ----------
    package : str
        Module whose parts are the distributions, such as ``autograd.scipy.stats``.
    holds_traced : function
        Returns True if something traced is among its items.
    log : function
    refuse : function
        Wraps a function of SciPy, by label, that the tracer does not know.
    """

    def __init__(
        self,
        package: str,
        holds_traced: Callable[[Iterable[Any]], bool],
        log: Callable[[Any], Any],
        refuse: Callable[[Callable[..., Any], str], Callable[..., Any]],
    ) -> None:
        self.package, self.holds_traced, self.log, self.refuse = package, holds_traced, log, refuse

    def distributions(self, real: Any) -> dict[str, Distribution]:
        """Return the distributions of scipy.stats that the tracer knows, by name."""
        return {name: Distribution(name, getattr(real, name), self) for name in SHAPES}


class Distribution:
    """A distribution of scipy.stats whose functions may be given traced numbers.

    Parameters
    ----------
    name : str
        A key of ``SHAPES``.
    real : object
        The distribution of SciPy.
    tracer : Tracer
    """

    def __init__(self, name: str, real: Any, tracer: Tracer) -> None:
        self._name, self._real, self._tracer = name, real, tracer
        self._traced = importlib.import_module(f"{tracer.package}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Frozen:
        """Fix the parameters, as ``norm(loc, scale)`` does."""
        return Frozen(self, args, kwargs)

    def __getattr__(self, function: str) -> Any:
        real = getattr(self._real, function)
        if not callable(real):
            return real
        traced = getattr(self._traced, function, None)
        if traced is None:
            return self._tracer.refuse(real, f"scipy.stats.{self._name}.{function}")

        def called(*args: Any, **kwargs: Any) -> Any:
            if not self._tracer.holds_traced([*args, *kwargs.values()]):
                return real(*args, **kwargs)
            return self._value(function, traced, args, kwargs)

        return called

    def _value(self, function: str, traced: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Evaluate at x with location and scale taken out, of which the tracer's own functions know less."""
        shapes = SHAPES[self._name]
        place = () if self._name in VECTOR else ("loc",) if self._name in DISCRETE else ("loc", "scale")
        first = "k" if self._name in DISCRETE else "x"
        names = (first, *shapes, *place)
        given = dict(zip(names, args, strict=False)) | kwargs
        for name in given:
            if name not in names:
                raise TypeError(f"{self._name}.{function}() got an unexpected argument {name!r}")
        x = given[first]
        x = np.asarray(x) if isinstance(x, (list, tuple)) and not self._tracer.holds_traced(x) else x
        if "loc" in given:
            x = x - given["loc"]
        if "scale" in given:
            x = x / given["scale"]
        value = traced(x, *[given[name] for name in shapes if name in given])
        if "scale" in given and function in ("pdf", "logpdf"):
            return value / given["scale"] if function == "pdf" else value - self._tracer.log(given["scale"])
        return value


class Frozen:
    """A distribution with its parameters, which is asked for values at x alone."""

    def __init__(self, of: Distribution, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._of, self._args, self._kwargs = of, args, kwargs

    def __getattr__(self, function: str) -> Any:
        called = getattr(self._of, function)

        def at(*x: Any, **kwargs: Any) -> Any:
            return called(*x, *self._args, **self._kwargs, **kwargs)

        return at


def thawed(value: Any, known: Callable[[str], Any]) -> Frozen | None:
    """Return the double of a frozen distribution of SciPy, made outside the traced function; None for anything else."""
    if not type(value).__name__.endswith("_frozen") or not type(value).__module__.startswith("scipy.stats"):
        return None
    of = getattr(getattr(value, "dist", None), "name", "")
    return Frozen(known(of), value.args, value.kwds) if of in {**CONTINUOUS, **DISCRETE} else None
