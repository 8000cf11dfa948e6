"""Roles of a loss's arguments: data or parameters, so that data are never trained without a word."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import MetagdError
from .row_order import Trial, as_array, rows
from .signature import namespace_of

_STEMS = ("x", "y", "X", "Y", "xs", "ys", "t", "data", "target", "targets", "label", "labels", "inputs", "outputs")
CONVENTIONAL = {stem + end for stem in (*_STEMS, "features") for end in ("", "_train")}


class Roles(NamedTuple):
    """Arguments of a loss by role, with their values.

    Attributes
    ----------
    params, data : dict name → value
    note : str or None
        One line about what was decided without being asked.
    """

    params: dict[str, Any]
    data: dict[str, Any]
    note: str | None = None


def _ways(data: Sequence[str], params: Sequence[str]) -> str:
    """Return what to type so that arguments are data, or so that others are parameters."""
    pairs = ", ".join(f'"{name}": {name}' for name in data)
    return (
        f"--data {','.join(data)}, or what is trained: --params {','.join(params)} "
        f"(from Python: data={{{pairs}}}, or data={{}} to train all of params)"
    )


def required(function: Callable[..., Any]) -> list[str]:
    """Return the arguments without a default, in order, without ``*args`` and ``**kwargs``.

    Raises
    ------
    MetagdError
        For a function whose signature cannot be read.
    """
    try:
        arguments = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise MetagdError(f"the arguments of {function!r} cannot be read; wrap it in a def") from None
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [a.name for a in arguments if a.default is a.empty and a.kind not in variable]


def settled(params: Mapping[str, Any], data: Mapping[str, Any]) -> Roles:
    """Return the roles that the user named, after a check of the parameters' types.

    Raises
    ------
    MetagdError
        For a boolean or text parameter, and for an argument in both roles.
    """
    for name in data:
        if name in params:
            raise MetagdError(f"{name} is named both as data and as a parameter", "data")
    _refuse_types(params)
    return Roles(dict(params), {name: _as_data(value) for name, value in data.items()}, _integers(params))


def assigned(
    loss: Callable[..., Any],
    values: Mapping[str, Any],
    named: Mapping[str, Any] | None = None,
    namespace: Mapping[str, Any] | None = None,
) -> Roles:
    """Decide which arguments of a loss are data and which are parameters.

    Parameters
    ----------
    loss : function
    values : mapping name → value
        Arguments that are to be trained, unless they are data.
    named : mapping name → value, optional
        Arguments that the user named as data.
    namespace : mapping, optional
        Values of the other arguments; by default the globals of ``loss``.

    Returns
    -------
    Roles

    Raises
    ------
    MetagdError
        One line for an argument that may be either, and for a parameter that is boolean or text.
    """
    space = namespace_of(loss) if namespace is None else namespace
    named = dict(named or {})
    elsewhere = {n: space[n] for n in required(loss) if n not in values and n not in named and n in space}
    conventional = [] if named else _conventional({**values, **elsewhere}, values)
    by_name = {n: values[n] for n in conventional if n in values}
    data = {n: _as_data(v) for n, v in (named | by_name).items()}
    params = {n: v for n, v in values.items() if n not in data}
    trial = Trial(loss, params, data, space)
    if doubtful := trial.doubtful(elsewhere):
        own = [] if not trial.known else [n for n in doubtful if n not in CONVENTIONAL]  # they may well be parameters
        trained = [n for n in params if n in own or n not in doubtful]
        raise MetagdError(
            f"{' and '.join(doubtful)} may be data or parameters (the loss is the same in any order of their rows); "
            f"name {_ways([*data, *doubtful], trained)}"
        )
    _refuse_types(params)
    chosen = f"data: {', '.join(by_name)}; trained: {', '.join(params)}" if by_name else None
    notes = [line for line in (chosen, _integers(params)) if line]
    return Roles(params, data, "\n".join(notes) or None)


def _conventional(values: Mapping[str, Any], candidates: Collection[str]) -> list[str]:
    """Return the arguments that conventional names mark as data: two or more of one length, and not all there are."""
    lengths: dict[int, list[str]] = {}
    for name, value in values.items():
        if name in CONVENTIONAL and (n := rows(value)) >= 2:
            lengths.setdefault(n, []).append(name)
    found = max(lengths.values(), key=len, default=[])
    return found if len(found) >= 2 and any(name not in found for name in candidates) else []


def _as_data(value: Any) -> Any:
    """Return a list or tuple of numbers as an array, as which a loss is written; anything else as it is."""
    return np.asarray(value) if isinstance(value, (list, tuple)) and rows(value) else value


def _kind(value: Any) -> str:
    """Return the letter of NumPy for the kind of numbers in a value; ``""`` for what is no array."""
    array = as_array(value)
    return "" if array is None else array.dtype.kind


def _refuse_types(params: Mapping[str, Any]) -> None:
    """Raise an error for a boolean or text parameter."""
    for name, value in params.items():
        if (kind := _kind(value)) in ("b", "U", "S"):
            what = "booleans" if kind == "b" else "str (text)" if isinstance(value, str) else "text"
            raise MetagdError(
                f"{name} must be made of real numbers, not {what}; if it is data: --data {name}", "params"
            )


def _integers(params: Mapping[str, Any]) -> str | None:
    """Return the line that names parameters which start at integers, if there are any."""
    names = [name for name, value in params.items() if _kind(value) in ("i", "u")]
    if not names:
        return None
    return f"{' and '.join(names)} start{'s' * (len(names) == 1)} at integers; trained as floats"
