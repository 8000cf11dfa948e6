"""Reasons for a loss or derivative that is no finite number: log(0), a division by 0, the other branch of np.where."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from .errors import user_line
from .fingerprint import codes, global_names, written_by_user

_BRANCHES = {"where", "select", "piecewise"}
# message of NumPy → what happened
_HAPPENED = (
    (r"divide by zero encountered in (divide|true_divide|scalar divide|reciprocal)", "a division by 0"),
    (r"invalid value encountered in (divide|true_divide|scalar divide)", "0/0"),
    (r"divide by zero encountered in (\w+)", "np.{0}(0)"),
    (r"invalid value encountered in (log\w*|sqrt|arccosh)", "np.{0} of a negative number"),
    (r"invalid value encountered in (\w+)", "np.{0} of a number outside its domain"),
    (r"overflow encountered in (?:scalar )?(\w+)", "np.{0} overflows"),
)


def first_cause(function: Callable[[], Any]) -> str:
    """Return ``np.log(0) (line 3: …)`` for the first operation that gives no finite number; "" if there is none."""
    try:
        with np.errstate(divide="raise", invalid="raise", over="raise", under="ignore"):
            function()
    except FloatingPointError as error:
        line = user_line(error)[0]
        for pattern, happened in _HAPPENED:
            if match := re.search(pattern, str(error)):
                return happened.format(match[1]) + line
        return f"{error}{line}"
    except Exception:  # nothing to do with the numbers
        return ""
    return ""


def loss_is(value: float, function: Callable[[], Any]) -> str:
    """Message about a loss that is not finite at its start.

    Parameters
    ----------
    value : float
    function : callable
        Calls the loss without tracing.
    """
    cause = first_cause(function)
    return f"loss is {value} at the starting values{f': {cause}' if cause else ''}; it needs a finite number there"


def derivative_is(value: float, where: str, loss: Callable[..., Any], function: Callable[[], Any]) -> str:
    """Message about a derivative that is not finite at the start, where the loss is.

    Parameters
    ----------
    value : float
    where : str
        The coordinate, such as ``w[2]``.
    loss : callable
        As the user wrote it.
    function : callable
        Calls it without tracing.
    """
    said = f"the derivative of loss in {where} is {value} at the starting values"
    cause = first_cause(function)
    if chosen := _branching(loss, set()):
        what = cause or "a branch without a finite derivative"
        return (
            f"{said}: np.{chosen} computes every branch, and {what} spoils the derivative even where it is not chosen "
            f"(the np.{chosen} trap); give that branch safe numbers first, such as np.log(np.where(w > 1, w, 1.0))"
        )
    if cause:
        return f"{said}: {cause}; start elsewhere"
    return f"{said}; start elsewhere (np.sqrt and powers below 1 have no derivative at 0)"


def _branching(function: Any, met: set[int]) -> str:
    """Return the function that chooses between branches, np.where or another, in a function and its helpers."""
    function = getattr(function, "__func__", getattr(function, "func", function))
    if not isinstance(function, FunctionType) or id(function) in met:
        return ""
    if not written_by_user(function.__code__, function.__module__ or ""):
        return ""
    met.add(id(function))
    names = [name for code in codes(function.__code__) for name in code.co_names]
    if found := next((name for name in names if name in _BRANCHES), ""):
        return found
    cells = [cell.cell_contents for cell in function.__closure__ or () if cell != type(cell)()]
    helpers = [function.__globals__.get(name) for name in global_names(function.__code__)]
    return next((found for helper in (*cells, *helpers) if (found := _branching(helper, met))), "")
