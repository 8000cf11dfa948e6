"""Hashes of a function's code and of the data that it reads, the same in another process."""

from __future__ import annotations

import contextlib
import dis
import functools
import hashlib
import site
import sysconfig
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

LIMIT = 64 * 2**20  # bytes of arrays that are copied; larger ones are referenced and their contents hashed
PACKAGE = __name__.partition(".")[0]
Parts = dict[str, dict[str, str]]  # "code" and "data": name → hash
NAMED = (FunctionType, BuiltinFunctionType, type, ModuleType, np.ufunc)  # known by their names, as nobody edits them


def _installed() -> tuple[str, ...]:
    paths = [sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple({*paths, *site.getsitepackages(), site.getusersitepackages()})


INSTALLED = _installed()


def written_by_user(code: CodeType, module: str = "") -> bool:
    """Return True for code of the user or of the kit's beginner functions, False for an installed library."""
    if module.partition(".")[0] == PACKAGE:
        return True
    return not code.co_filename.startswith((*INSTALLED, "<frozen"))


def codes(code: CodeType) -> Iterator[CodeType]:
    """The code object and those nested in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


@functools.lru_cache(256)
def global_names(code: CodeType) -> tuple[str, ...]:
    """Names that the code reads from its globals, nested functions included, in order."""
    names: dict[str, None] = {}
    for part in codes(code):
        for step in dis.get_instructions(part):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names[step.argval] = None
    return tuple(names)


def take_apart(name: str, value: Any, found: Parts) -> None:
    """Add the functions behind ``value`` to ``found["code"]``, and the data that they read to ``found["data"]``."""
    from ..autograd.numpy_shim import ShimModule  # imports autograd: only with a function of the user

    if isinstance(value, FunctionType) and written_by_user(value.__code__, value.__module__ or ""):
        if name not in found["code"]:
            _take_apart_function(name, value, found)
    elif isinstance(value, ShimModule):  # a helper in the user's own file: only what the code takes from it
        for inside, part in list(vars(value).items()):
            if not inside.startswith("__"):
                take_apart(f"{name}.{inside}", part, found)
    elif isinstance(value, functools.partial):
        take_apart(name, value.func, found)
        found["data"][f"{name}'s arguments"] = digest_of((value.args, value.keywords))
    elif isinstance(value, MethodType):
        take_apart(name, value.__func__, found)
        found["data"][f"{name}'s object"] = digest_of(value)
    elif not isinstance(value, NAMED):
        found["data"][name] = digest_of(value)


def _take_apart_function(name: str, function: FunctionType, found: Parts) -> None:
    found["code"][name] = digest_of(function.__code__)
    defaults = (function.__defaults__, function.__kwdefaults__)
    if defaults != (None, None):
        found["data"][f"{name}'s defaults"] = digest_of(defaults)
    for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not yet assigned
            take_apart(free, cell.cell_contents, found)
    for read in global_names(function.__code__):
        if read in function.__globals__:
            take_apart(read, function.__globals__[read], found)


def joined_parts(several: Iterable[Parts]) -> Parts:
    """The ``parts`` of several functions as one."""
    whole: Parts = {"code": {}, "data": {}}
    for parts in several:
        for kind, named in parts.items():
            whole[kind] |= named
    return whole


def digest_of(value: Any) -> str:
    """Hash of what a value is — code, data, or both — free of addresses: the same in another process."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in _describe(value, {}):
        hasher.update(part)
    return hasher.hexdigest()


def array_digest(array: np.ndarray) -> str:
    """Hash of dtype, shape and contents."""
    hasher = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    if array.dtype.hasobject:
        hasher.update(repr(array.tolist()).encode())
    else:
        hasher.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()


def _describe(value: Any, met: dict[int, Any]) -> Iterator[bytes]:
    """Bytes that say what a value is, free of addresses, file names and line numbers."""
    if isinstance(value, (bool, int, float, complex, str, bytes, type(None), np.generic)):
        yield f"{type(value).__name__}:{value!r};".encode()
        return
    if isinstance(value, np.ndarray):
        yield array_digest(value).encode()
        return
    if id(value) in met:
        yield b"again;"
        return
    met[id(value)] = value  # held, so that no other object gets its id
    yield f"{type(value).__qualname__}:".encode()
    if isinstance(value, FunctionType) and written_by_user(value.__code__, value.__module__ or ""):
        yield from _describe_function(value, met)
    elif isinstance(value, CodeType):
        yield from _describe_code(value, met)
    elif isinstance(value, functools.partial):
        yield from _describe((value.func, value.args, value.keywords), met)
    elif isinstance(value, MethodType):
        yield from _describe((value.__func__, getattr(value.__self__, "__dict__", ())), met)
    elif isinstance(value, NAMED):
        yield getattr(value, "__name__", "").encode()
    else:
        yield from _describe_items(value, met)


def _describe_items(value: Any, met: dict[int, Any]) -> Iterator[bytes]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _describe(item, met)
    elif isinstance(value, (set, frozenset)):
        yield repr(sorted(map(repr, value))).encode()
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{key!r}=".encode()
            yield from _describe(item, met)
    elif hasattr(value, "__array__"):
        yield array_digest(np.asarray(value)).encode()


def _describe_function(function: FunctionType, met: dict[int, Any]) -> Iterator[bytes]:
    yield from _describe_code(function.__code__, met)
    yield from _describe(function.__defaults__, met)
    yield from _describe(function.__kwdefaults__, met)
    for cell in function.__closure__ or ():
        try:
            yield from _describe(cell.cell_contents, met)
        except ValueError:
            yield b"empty;"
    for name in global_names(function.__code__):
        if name in function.__globals__:
            yield f"{name}=".encode()
            yield from _describe(function.__globals__[name], met)


def _describe_code(code: CodeType, met: dict[int, Any]) -> Iterator[bytes]:
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_argcount, code.co_flags)).encode()
    yield code.co_code
    for constant in code.co_consts:
        yield from _describe(constant, met)
