"""Source text of the user's functions, and the places from which other values can be imported."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import numpy as np

from ...core.errors import MetagdError, shorten
from ...problems.capture.fingerprint import PACKAGE, written_by_user


def belongs_to_user(function: FunctionType) -> bool:
    """Return True for a function of the user, not of a library or of the kit."""
    module = function.__module__ or ""
    return written_by_user(function.__code__, module) and module.partition(".")[0] != PACKAGE


def is_own(kind: type) -> bool:
    """Return True for a class of the user, not of the kit."""
    return kind.__module__.partition(".")[0] != PACKAGE


def missing_method(name: str) -> str:
    """Return the words for a method of the user's own whose class is not here: what to do first."""
    known = shorten(name)
    return f"{known}, a method of your own that is not here; define its class, then metagd_nb.ALGORITHMS[{known}] = …"


def importable(value: Any) -> tuple[str, str] | None:
    """Return module and name from which a value can be imported, or None."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if isinstance(value, np.ufunc):
        module, name = "numpy", value.__name__
    if not module or not name or module == "__main__":
        return None
    for place in (module.partition(".")[0], module):
        there = getattr(importlib.import_module(place), name, None)
        if there is value or getattr(there, "__code__", 0) is getattr(value, "__code__", 1):
            return place, name
    return None


def source(function: FunctionType, name: str) -> tuple[str, list[str]]:
    """Return the text of a function, defined as ``name``, and the names that its defaults and decorators read."""
    try:
        text = textwrap.dedent(inspect.getsource(function.__code__))
    except (OSError, TypeError):
        raise MetagdError(f"the text of {name} is not known; a script needs it", "script") from None
    if function.__name__ == "<lambda>":
        return f"{name} = {_lambda(text, function, name)}", []
    tree = ast.parse(text).body[0]
    assert isinstance(tree, ast.FunctionDef)
    return text.rstrip() + "\n", list(_names([*tree.decorator_list, *tree.args.defaults, *tree.args.kw_defaults]))


def _names(nodes: list[Any]) -> Iterator[str]:
    for node in nodes:
        if node is not None:
            yield from (n.id for n in ast.walk(node) if isinstance(n, ast.Name))


def _lambda(text: str, function: FunctionType, name: str) -> str:
    """Find the one lambda in these lines that compiles to the code of the function."""
    try:
        there = [node for node in ast.walk(ast.parse(text.strip())) if isinstance(node, ast.Lambda)]
    except SyntaxError:  # the lines are the middle of a call
        there = []
    codes = {ast.unparse(node): eval(compile(ast.unparse(node), "", "eval")).__code__.co_code for node in there}
    same = [written for written, code in codes.items() if code == function.__code__.co_code]
    if len(same) != 1:
        raise MetagdError(f"{name} is a lambda whose text cannot be told apart; write it with def", "script")
    return same[0]
