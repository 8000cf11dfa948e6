"""Memory that is used again: fresh pages from the system cost more than the arithmetic done in them."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np

Array = np.ndarray
Made = TypeVar("Made")
Do = Callable[..., None]  # do(function, *arguments) makes that call

numbers = itertools.count()  # of buffers and of what was prepared on them: none is given twice


class BufferViews:
    """One buffer (T, K, n) in each shape that a product asks for: views that are made once.

    Parameters
    ----------
    each : array (T, K, n)
    ones : bool
        Whether the last column meets a bias.
    """

    __slots__ = ("across", "each", "flat", "inner")

    def __init__(self, each: Array, ones: bool = False) -> None:
        self.each = each
        self.flat = each.reshape(-1, each.shape[-1])  # (T·K, n)
        self.across = each.swapaxes(1, 2)  # (T, n, K)
        self.inner = each[..., :-1] if ones else each


class WorkspacePool(threading.local):
    """Workspaces by what they were made from, each used again once nobody holds it any more.

    Every thread has its own, so two runs on one problem, or a reader beside a run, never share one. Whoever holds
    the workspace keeps it from being used again; arrays out of it must not be handed on without it.
    """

    KINDS = 24  # of workspaces that are kept; the one made first is forgotten

    def __init__(self) -> None:
        self._workspaces: dict[Any, list[Any]] = {}

    def take(self, make: Callable[..., Made], *key: Any) -> Made:
        """A ``make(*key)`` that nobody else holds."""
        same = self._workspaces.get((make, key))
        if same is None:
            while len(self._workspaces) >= self.KINDS:
                del self._workspaces[next(iter(self._workspaces))]
            same = self._workspaces[make, key] = []
        for item in same:
            if _references(item) <= _ALONE:
                return item  # type: ignore[no-any-return]
        item = make(*key)
        same.append(item)
        return item

    def __reduce__(self) -> Any:  # a copy of a problem starts with none
        return type(self), ()


def _references(item: Any) -> int:
    return sys.getrefcount(item) if hasattr(sys, "getrefcount") else sys.maxsize  # unknown: held


def _count_alone(same: list[Any]) -> int:
    for item in same:
        return _references(item)
    return 0


_ALONE = _count_alone([object()])  # what the loop in ``take`` sees of an item that nobody else holds


def at_once(function: Callable[..., Any], *given: Any) -> None:
    """The call, and no more."""
    function(*given)


class RecordedCalls:
    """Calls on buffers that stay, written down as they are made, so that they can be made `again`.

    Around the NumPy calls of a small meta-step, finding out which they are takes a quarter of the time.
    """

    __slots__ = ("left", "made")

    def __init__(self) -> None:
        self.made: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.left: Any = None  # what is found in the buffers afterwards

    def __call__(self, function: Callable[..., Any], *given: Any) -> None:
        function(*given)
        self.made.append((function, given))

    def again(self) -> Any:
        """The same calls on what the buffers hold now."""
        for function, given in self.made:
            function(*given)
        return self.left


class ReplayCache:
    """Passes over the same buffers, each a list of calls once it has been made, and products that they leave behind.

    Parameters
    ----------
    repeats : bool
        Whether buffers are all that the passes work on; else every call is found out each time.
    """

    MOST = 8  # of a kind; all are forgotten beyond, as where a rate moves with each step

    __slots__ = ("_prepared", "number", "products", "repeats")

    def __init__(self, repeats: bool) -> None:
        self.repeats, self.number = repeats, next(numbers)
        self.products: dict[Any, Array] = {}
        self._prepared: dict[Hashable, RecordedCalls] = {}

    def run(self, key: Hashable, make: Callable[[Do], Any]) -> Any:
        """``make(do)``, or the calls that it made when it was last asked for by this ``key``; None: always the former.

        The key has to name every buffer and number that the calls depend on.
        """
        if key is None or not self.repeats:
            return make(at_once)
        calls = self._prepared.get(key)
        if calls is not None:
            return calls.again()
        calls = RecordedCalls()
        calls.left = make(calls)
        cached(self._prepared, key, calls)  # when it is whole: an interrupt leaves none half written
        return calls.left


def cached(where: dict[Hashable, Made], key: Hashable, made: Made) -> Made:
    """Store ``made`` under ``key`` in a small cache; return it."""
    if len(where) >= ReplayCache.MOST:
        where.clear()
    where[key] = made
    return made
