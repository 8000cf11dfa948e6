"""The user's own training methods on JAX: NumPy's functions in them become JAX's where they meet traced arrays."""

from __future__ import annotations

import functools
from types import FunctionType
from typing import Any, TypeVar

from ..capture.closure import capture
from ..capture.fingerprint import PACKAGE, digest_of, written_by_user
from ..capture.snapshot import DataSnapshot
from .numpy_shim import JAX

C = TypeVar("C", bound=type)


def traceable(kind: C) -> C:
    """Return a subclass of a user's class whose functions JAX can trace; the class itself if it is not the user's.

    A base class of the user's has one too, which comes before it in the order of resolution, so that ``super()`` finds
    traceable functions.

    Parameters
    ----------
    kind : type

    Returns
    -------
    type
    """
    return _traceable(kind, DataSnapshot())


def fingerprint(kind: type) -> str:
    """Return a hash over the user's own functions in a class and the data that they read; "" for other classes."""
    functions = [
        (name, digest_of(capture(function, traced=False).function))
        for cls in kind.__mro__
        for name, function in sorted(_functions(cls).items())
    ]
    return digest_of(functions) if functions else ""


def _traceable(kind: C, snapshot: DataSnapshot) -> C:
    own = {name: _exchanged(vars(kind)[name], snapshot) for name in _functions(kind)}
    bases = [base for base in (_traceable(base, snapshot) for base in kind.__bases__) if base not in kind.__bases__]
    if not own and not bases:
        return kind
    made: C = type(kind)(kind.__name__, (kind, *bases), {"__module__": kind.__module__, **own})
    return made


def _functions(kind: type) -> dict[str, FunctionType]:
    """Return the functions, by name, that the user wrote in the body of a class."""
    if kind.__module__.partition(".")[0] == PACKAGE:
        return {}
    found = {name: _inside(value) for name, value in vars(kind).items()}
    return {
        name: function
        for name, function in found.items()
        if function is not None and written_by_user(function.__code__, function.__module__ or "")
    }


def _inside(value: Any) -> FunctionType | None:
    """Return the function of a method or a property, or None."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    return value if isinstance(value, FunctionType) else None


def _exchanged(value: Any, snapshot: DataSnapshot) -> Any:
    """Return the same kind of method with a traceable function."""
    function = capture(_inside(value), snapshot=snapshot, shims=JAX).function  # type: ignore[arg-type]
    if isinstance(value, (staticmethod, classmethod, property)):
        return type(value)(function)
    if isinstance(value, functools.cached_property):
        made = functools.cached_property(function)
        made.__set_name__(None, value.attrname or function.__name__)  # type: ignore[arg-type]
        return made
    return function
