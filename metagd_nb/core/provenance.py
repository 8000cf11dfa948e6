"""Record of how an object was made: the function and its arguments, so that a file can hold it and rebuild it.

Functions that make models and task families are decorated with `records_call`, methods that derive one object from
another with `records_derivation`. Arrays among the arguments are copied, so later changes reach neither the object
nor its record.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from .errors import MetagdError

P = ParamSpec("P")
T = TypeVar("T")
Functions = Mapping[str, Callable[..., Any]]


def records_call(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that its result has an attribute ``provenance``: name and arguments of the call."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> T:
        own, named = [_copied(a) for a in args], {name: _copied(a) for name, a in kwargs.items()}
        try:
            signature.bind(*own, **named)
        except TypeError as error:
            taken = ", ".join(signature.parameters)
            raise MetagdError(f"{error}; {function.__name__} takes ({taken})", function.__name__) from None
        made: Any = function(*own, **named)
        made.provenance = {"name": function.__name__, "args": own, "kwargs": named}
        return made  # type: ignore[no-any-return]

    return make


def records_derivation(method: Callable[P, T]) -> Callable[P, T]:
    """Decorate a method so that its result, or each of several, has a ``provenance`` with that of the original."""

    @functools.wraps(method)
    def make(*args: P.args, **kwargs: P.kwargs) -> T:
        result = method(*args, **kwargs)
        origin, *rest = args
        step = {"of": getattr(origin, "provenance", None), "name": method.__name__, "args": rest, "kwargs": kwargs}
        several: Any = result if isinstance(result, tuple) else (result,)
        for part, made in enumerate(several):
            made.provenance = {**step, "part": part if isinstance(result, tuple) else None} if step["of"] else None
        return result

    make.derives = True  # type: ignore[attr-defined]  # a file may name it
    return make


def _copied(value: T) -> Any:
    """Copy an array, with labels that are text as an array of text; convert a path to text."""
    import numpy as np  # deferred: the command line needs no arrays

    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not hasattr(value, "__array__") or not np.ndim(value):
        return value
    array = np.array(value)
    text = array.dtype.hasobject and all(isinstance(item, str) for item in array.ravel())
    return np.array(array.tolist()) if text else array


def rebuild(provenance: Mapping[str, Any], functions: Functions) -> Any:
    """Make an object again from its provenance, calling only functions of a table.

    Parameters
    ----------
    provenance : dict
        Attribute of the object; objects among its arguments are replaced by dicts, as `strip` does.
    functions : dict name → function

    Returns
    -------
    object

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        For a provenance that fits no function of the table.
    """

    def argument(value: T) -> Any:
        return rebuild(value["recipe"], functions) if isinstance(value, dict) and "recipe" in value else value

    args = [argument(value) for value in provenance["args"]]
    kwargs = {name: argument(value) for name, value in provenance["kwargs"].items()}
    if "of" not in provenance:
        return functions[provenance["name"]](*args, **kwargs)
    method = getattr(type(origin := rebuild(provenance["of"], functions)), provenance["name"])
    if not getattr(method, "derives", False):
        raise ValueError(provenance["name"])
    result = method(origin, *args, **kwargs)
    return result if provenance["part"] is None else result[provenance["part"]]


def strip(value: Any) -> Any:
    """Replace each object that has a provenance by ``{"recipe": …}``, inside lists, tuples and dicts too.

    Parameters
    ----------
    value : object, or list, tuple or dict of such

    Returns
    -------
    object
    """
    if getattr(value, "provenance", None) is not None:
        return {"recipe": strip(value.provenance)}  # the key in files
    if type(value) in (list, tuple):
        return type(value)(strip(item) for item in value)
    return {key: strip(item) for key, item in value.items()} if type(value) is dict else value
