"""Record how an object was made: the function and its arguments, so that a file can hold it and rebuild it.

Functions that make models and task families are decorated with `records_call`, methods that derive one object from
another with `records_derivation`. Arrays among the arguments are copied, so later changes reach neither the object
nor its recipe.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
T = TypeVar("T")


def records_call(function: Callable[P, T]) -> Callable[P, T]:
    """A function of the kit whose results remember, in ``recipe``, how it was called."""

    @functools.wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> T:
        own, named = [_own(a) for a in args], {name: _own(a) for name, a in kwargs.items()}
        thing: Any = function(*own, **named)
        thing.recipe = {"name": function.__name__, "args": own, "kwargs": named}
        return thing  # type: ignore[no-any-return]

    return make


def records_derivation(method: Callable[P, T]) -> Callable[P, T]:
    """A method whose result, or each of several, remembers the thing that it came from, and how."""

    @functools.wraps(method)
    def make(*args: P.args, **kwargs: P.kwargs) -> T:
        found = method(*args, **kwargs)
        origin, *rest = args
        step = {"of": getattr(origin, "recipe", None), "name": method.__name__, "args": rest, "kwargs": kwargs}
        several: Any = found if isinstance(found, tuple) else (found,)
        for part, thing in enumerate(several):
            thing.recipe = {**step, "part": part if isinstance(found, tuple) else None} if step["of"] else None
        return found

    make.derives = True  # type: ignore[attr-defined]  # a file may name it
    return make


def _own(value: Any) -> Any:
    """A copy of what looks like an array, and a path as text; labels that came as objects become text, if all are."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not hasattr(value, "__array__") or not np.ndim(value):
        return value
    array = np.array(value)
    if array.dtype.hasobject and all(isinstance(item, str) for item in array.ravel()):
        return np.array(array.tolist())
    return array


def rebuild(recipe: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    """The thing that a recipe makes, with functions from a table and nothing else.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        For a recipe that fits no function of the table.
    """
    args, kwargs = [_made(a, functions) for a in recipe["args"]], recipe["kwargs"]
    named = {name: _made(a, functions) for name, a in kwargs.items()}
    if "of" not in recipe:
        return functions[recipe["name"]](*args, **named)
    method = getattr(type(origin := rebuild(recipe["of"], functions)), recipe["name"])
    if not getattr(method, "derives", False):
        raise ValueError(recipe["name"])
    found = method(origin, *args, **named)
    return found if recipe["part"] is None else found[recipe["part"]]


def _made(argument: Any, functions: Mapping[str, Callable[..., Any]]) -> Any:
    """An argument that is itself such a thing stands in a recipe as ``{"recipe": its own}``."""
    return rebuild(argument["recipe"], functions) if isinstance(argument, dict) and "recipe" in argument else argument


def strip(value: Any) -> Any:
    """A recipe without the things themselves: where an argument has a recipe, that stands in its place."""
    if getattr(value, "recipe", None) is not None:
        return {"recipe": strip(value.recipe)}
    if type(value) in (list, tuple):
        return type(value)(strip(item) for item in value)
    return {key: strip(item) for key, item in value.items()} if type(value) is dict else value
