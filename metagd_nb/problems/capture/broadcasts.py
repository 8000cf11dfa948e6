"""Refusal of a column (n, 1) that meets a vector (n,) in a loss: NumPy makes (n, n) of them without a word."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...core.errors import MetagdError
from ..autograd.numpy_shim import ShimModule, Shims
from .closure import capture
from .errors import entries, user_line
from .snapshot import DataSnapshot

Array = np.ndarray
_PRODUCTS = (np.matmul, np.dot, np.einsum, np.tensordot, np.inner)  # their columns are results, made on purpose by none


class _Mismatch(Exception):
    """Two shapes that broadcast to a square."""


class Watched(np.ndarray):
    """An array that knows whether the loss itself made it a column, as ``[:, None]`` does.

    Attributes
    ----------
    made : bool
    """

    made = False

    def __array_finalize__(self, parent: Array | None) -> None:
        """Take over the mark of the array that this one is a view or a copy of."""
        self.made = getattr(parent, "made", False) or (
            _is_column(self) and isinstance(parent, Watched) and not _is_column(parent)
        )

    def __getitem__(self, key: Any) -> Any:
        """Select; a column that is cut out of a matrix is none that the loss made, one by None is."""
        part = super().__getitem__(key)
        if isinstance(part, Watched):
            keys = key if isinstance(key, tuple) else (key,)
            part.made = self.made or any(k is None for k in keys)
        return part

    def dot(self, *args: Any, **kwargs: Any) -> Any:
        """Multiply matrices."""
        return np.dot(self, *args, **kwargs)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Apply a function to each entry, unless a column meets a vector of its length."""
        if method == "__call__" and ufunc.nin == 2 and ufunc is not np.matmul:
            _refuse_square(*inputs)
        if "out" in kwargs:
            kwargs["out"] = tuple(_plain(a) for a in kwargs["out"])
        result = getattr(ufunc, method)(*map(_plain, inputs), **kwargs)
        return _marked(result, ufunc, inputs)

    def __array_function__(self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        """Call any other function of NumPy."""
        result = super().__array_function__(func, types, args, kwargs)
        return _marked(result, func, [*_arrays(args), *_arrays(tuple(kwargs.values()))])


def _is_column(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.ndim == 2 and array.shape[1] == 1 and len(array) > 1


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Watched) else value


def _arrays(items: Any) -> Iterator[Array]:
    for item in items:
        if isinstance(item, np.ndarray):
            yield item
        elif isinstance(item, (list, tuple)):
            yield from _arrays(item)


def _refuse_square(a: Any, b: Any) -> None:
    for column, vector in ((a, b), (b, a)):
        if _is_column(column) and np.shape(vector) == (len(column),) and not getattr(column, "made", True):
            raise _Mismatch(np.shape(a), np.shape(b), len(column))


def _marked(result: Any, function: Any, inputs: Any) -> Any:
    """Return a result watched, and marked where the function, or an input before it, made it a column."""
    if not isinstance(result, np.ndarray) or not result.ndim:
        return result
    watched = result.view(Watched)
    columns = [a for a in inputs if _is_column(a)]
    made = any(getattr(a, "made", True) for a in columns) if columns else True
    watched.made = _is_column(watched) and made and function not in _PRODUCTS
    return watched


def watched(value: Any) -> Any:
    """Return an array with axes as a view that is watched; anything else as it is."""
    return value.view(Watched) if type(value) is np.ndarray and value.ndim and value.dtype.kind in "fiub" else value


class _Watching(DataSnapshot):
    """A snapshot whose arrays are watched."""

    def __init__(self, snapshot: DataSnapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def array(self, value: Array, name: str) -> Array:
        """The copy of the other snapshot, watched."""
        found: Array = watched(self.snapshot.array(value, name))
        return found


def _keeping(function: Callable[..., Any]) -> Callable[..., Any]:
    """``np.asarray`` and the like, which would forget the mark of an array."""

    @functools.wraps(function, updated=())
    def called(a: Any, *args: Any, **kwargs: Any) -> Any:
        result = function(a, *args, **kwargs)
        if isinstance(a, Watched) and isinstance(result, np.ndarray) and result.ndim:
            kept = result.view(Watched)
            kept.made = a.made or (_is_column(kept) and not _is_column(a))
            return kept
        return result

    return called


@functools.cache
def _numpy() -> ShimModule:
    double = ShimModule(np)
    for name in ("asarray", "array", "ascontiguousarray", "copy"):
        double.__dict__[name] = _keeping(getattr(np, name))
    for name in ("linalg", "fft", "random"):
        double.__dict__[name] = ShimModule(getattr(np, name))
    return double


@functools.cache
def _scipy(name: str) -> ShimModule:
    return ShimModule(importlib.import_module(name))


_METHODS: dict[str, Callable[..., Any]] = {
    "dot": lambda a, *args, **kwargs: a.dot(*args, **kwargs),
    "copy": lambda a, *args, **kwargs: a.copy(*args, **kwargs),
}
WATCHING = Shims(_numpy, _scipy, _METHODS)


def refuse_squares(
    function: Callable[..., Any], snapshot: DataSnapshot, call: Callable[[Callable[..., Any]], Any], what: str = "loss"
) -> None:
    """Call a function of the user once, and refuse a column (n, 1) that meets (n,) in it.

    Parameters
    ----------
    function : callable
    snapshot : DataSnapshot
        Of the data that it reads.
    call : callable
        Calls a copy of the function with `watched` arguments.
    what : str
        Name of the function in the message.

    Raises
    ------
    MetagdError
        One line that names both shapes, and the line.
    """
    copy = capture(function, shims=WATCHING, snapshot=_Watching(snapshot)).function
    try:
        with np.errstate(all="ignore"):
            call(copy)
    except _Mismatch as error:
        first, second, n = error.args
        raise MetagdError(
            f"{first} meets {second} in {what}{user_line(error)[0]} and gives {(n, n)}; "
            "make both alike: a[:, 0] of the column, or b[:, None] of the vector"
        ) from None
    except Exception as error:
        if entries(error)[-1].tb_frame.f_code.co_name == "mse_loss":
            raise MetagdError(f"{error}{user_line(error)[0]}") from None
        # any other is said by the call that counts
