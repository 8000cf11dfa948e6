"""Self-contained copy of a user's function: the globals it reads are frozen, and NumPy in it can be traced.

The copy has the user's own code (and so the user's own lines in a traceback), on globals that are
rebuilt from what the code refers to. The user's namespace is never changed.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

import numpy as np

from ..autograd.numpy_shim import AUTOGRAD, ShimModule, Shims
from .fingerprint import (
    INSTALLED,
    PACKAGE,
    Parts,
    codes,
    digest_of,
    global_names,
    take_apart,
    written_by_user,
)
from .method_calls import METHODS, rewritten
from .snapshot import DataSnapshot

C = TypeVar("C", list[Any], tuple[Any, ...], dict[Any, Any])


@dataclass
class Closure:
    """Self-contained copy of a function.

    Attributes
    ----------
    function : callable
        The copy; called like the original.
    reads : tuple of str
        Global names that the function and the helpers it calls refer to, in the order met.
    missing : tuple of str
        Those of them that do not exist: a NameError when their line is reached.
    snapshot : DataSnapshot
        The data.
    """

    function: Callable[..., Any]
    reads: tuple[str, ...]
    missing: tuple[str, ...]
    snapshot: DataSnapshot
    _spaces: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    def supply(self, name: str, value: Any) -> None:
        """Give the copy a global that it lacks."""
        for space in self._spaces:
            space.setdefault(name, value)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash over the code and the data, the same in another process."""
        return digest_of(self.function)

    @functools.cached_property
    def parts(self) -> Parts:
        """``code`` of each function by name and each of the ``data`` that they read: hashes, to tell what differs."""
        found: Parts = {"code": {}, "data": {}}
        take_apart(getattr(self.function, "__name__", "function"), self.function, found)
        return found


def capture(
    function: Callable[..., Any],
    *,
    traced: bool = True,
    snapshot: DataSnapshot | None = None,
    shims: Shims = AUTOGRAD,
) -> Closure:
    """Copy ``function`` and every helper that it calls, with the data they read.

    Parameters
    ----------
    function : callable
        A function of the user, a method, or a ``functools.partial``.
    traced : bool
        True to replace NumPy and SciPy in it by ``shims``: autograd's versions, or those of another tracer.
    snapshot : DataSnapshot, optional
        Shared by functions that are to read the same copies.
    """
    capturer = _Capturer(shims if traced else None, snapshot or DataSnapshot())
    copy = capturer.value(function, getattr(function, "__name__", "function"), ())
    return Closure(
        copy, tuple(capturer.reads), tuple(capturer.missing), capturer.snapshot, tuple(capturer._globals.values())
    )


class _Capturer:
    """Traversal of a function and its data, with a memo (as in `copy.deepcopy`) for cycles and shared objects."""

    def __init__(self, shims: Shims | None, snapshot: DataSnapshot) -> None:
        self.shims = shims
        self.snapshot = snapshot
        self.reads: dict[str, None] = {}
        self.missing: dict[str, None] = {}
        self._memo: dict[int, tuple[Any, Any]] = {}  # id → (original, copy)
        self._globals: dict[int, dict[str, Any]] = {}

    def value(self, value: Any, name: str, attributes: tuple[str, ...]) -> Any:
        """Return the replacement of ``value``; ``attributes`` are the names that the code takes from objects."""
        if isinstance(value, np.ndarray):
            return self.snapshot.array(value, name)
        if isinstance(value, ModuleType):
            return self._module(value, attributes)
        if id(value) in self._memo:
            return self._memo[id(value)][1]
        copy = self._new(value, name, attributes)
        self._memo[id(value)] = (value, copy)
        return copy

    def _new(self, value: Any, name: str, attributes: tuple[str, ...]) -> Any:
        if isinstance(value, FunctionType) and written_by_user(value.__code__, value.__module__ or ""):
            return self._function(value)
        if type(value) in (list, tuple, dict):
            return self._container(value, name, attributes)
        if isinstance(value, functools.partial):
            return self._partial(value, name, attributes)
        if isinstance(value, MethodType) and isinstance(value.__func__, FunctionType):
            return MethodType(self.value(value.__func__, name, attributes), value.__self__)
        if isinstance(value, functools._lru_cache_wrapper):  # a cache keyed by traced values would keep their trace
            return self.value(value.__wrapped__, name, attributes)
        shim = self.shims.function(value) if self.shims else None
        return value if shim is None else shim

    def _partial(self, value: functools.partial[Any], name: str, attributes: tuple[str, ...]) -> functools.partial[Any]:
        args = [self.value(a, name, attributes) for a in value.args]
        kwargs = {key: self.value(a, name, attributes) for key, a in value.keywords.items()}
        return functools.partial(self.value(value.func, name, attributes), *args, **kwargs)

    def _container(self, value: C, name: str, attributes: tuple[str, ...]) -> Any:
        """Copy the container if any item is copied; otherwise return it (a list that a loss logs to)."""
        self._memo[id(value)] = (value, value)  # one that holds itself
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        copies = {key: self.value(item, f"{name}[{key!r}]", attributes) for key, item in pairs}
        items = value if isinstance(value, dict) else dict(enumerate(value))
        if all(copies[key] is items[key] for key in copies):
            return value
        return copies if isinstance(value, dict) else type(value)(copies.values())

    def _function(self, function: FunctionType) -> FunctionType:
        code = rewritten(function) if self.shims else function.__code__
        space = self._new_globals(function)
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        closure = tuple(self._new_cell(cells[name]) for name in code.co_freevars)
        copy = FunctionType(code, space, function.__name__, None, closure)
        self._memo[id(function)] = (function, copy)  # before its parts: it may call itself
        attributes = tuple(dict.fromkeys(name for part in codes(code) for name in part.co_names))
        for name, cell in cells.items():
            self._fill_cell(cell, name, attributes)
        own = functools.partial(self.value, attributes=attributes)
        if function.__defaults__:
            copy.__defaults__ = tuple(own(d, f"{function.__name__}'s default") for d in function.__defaults__)
        if function.__kwdefaults__:
            copy.__kwdefaults__ = {key: own(d, key) for key, d in function.__kwdefaults__.items()}
        copy.__qualname__, copy.__module__, copy.__doc__ = function.__qualname__, function.__module__, function.__doc__
        copy.__dict__.update(function.__dict__)
        for name in global_names(code):
            self._bind(name, function.__globals__, space, attributes)
        return copy

    def _new_globals(self, function: FunctionType) -> dict[str, Any]:
        """Return the rebuilt globals, shared by all functions that share the original ones."""
        key = id(function.__globals__)
        if key not in self._globals:
            own = dict(vars(builtins))
            if self.shims:
                own["__import__"] = functools.partial(_traced_import, self.shims)
            space = {"__builtins__": own, "__name__": function.__globals__.get("__name__", "__main__")}
            space.update({METHODS[name]: self.shims.methods[name] for name in METHODS} if self.shims else {})
            self._globals[key] = space
        return self._globals[key]

    def _bind(self, name: str, original: dict[str, Any], space: dict[str, Any], attributes: tuple[str, ...]) -> None:
        if name in METHODS.values():
            return
        if name in original:
            self.reads[name] = None
            bound = self.value(original[name], name, attributes)
            space[name] = bound
        elif not hasattr(builtins, name):
            self.reads[name] = self.missing[name] = None

    def _new_cell(self, cell: CellType) -> CellType:
        if id(cell) not in self._memo:
            self._memo[id(cell)] = (cell, CellType())
        made: CellType = self._memo[id(cell)][1]
        return made

    def _fill_cell(self, cell: CellType, name: str, attributes: tuple[str, ...]) -> None:
        made = self._new_cell(cell)
        try:
            contents = cell.cell_contents
        except ValueError:  # not yet assigned
            return
        try:
            _ = made.cell_contents
        except ValueError:
            made.cell_contents = self.value(contents, name, attributes)

    def _module(self, module: ModuleType, attributes: tuple[str, ...]) -> Any:
        if self.shims and (shim := self.shims.module(module)) is not None:
            return shim
        path = getattr(module, "__file__", None) or ""
        of_kit = module.__name__.partition(".")[0] == PACKAGE
        if not of_kit and (not path.endswith(".py") or path.startswith(INSTALLED)):
            return module
        replacement = self._memo.setdefault(id(module), (module, ShimModule(module)))[1]
        for name in attributes:  # a helper in the user's own file: only what the code may take from it
            if name not in replacement.__dict__ and hasattr(module, name):
                replacement.__dict__[name] = None
                replacement.__dict__[name] = self.value(getattr(module, name), name, attributes)
        return replacement


def capture_both(function: Callable[..., Any], snapshot: DataSnapshot) -> tuple[Closure, Closure]:
    """Capture a function for tracing, and again for a plain call."""
    return capture(function, snapshot=snapshot), capture(function, traced=False, snapshot=snapshot)


def _traced_import(shims: Shims, name: str, *args: Any) -> Any:
    """``import numpy as np`` inside a function gives the shim too."""
    module = builtins.__import__(name, *args)
    return shims.module(module) or module
