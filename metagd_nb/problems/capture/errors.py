"""Explanation of a failed differentiation in one line that names the construct and the user's own line."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np

from ...core.errors import MetagdError
from .fingerprint import written_by_user

_PACKAGE = __name__.partition(".")[0]


def is_users(traceback: TracebackType) -> bool:
    """Return True if a traceback entry lies in the user's own code."""
    frame = traceback.tb_frame
    return frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE and written_by_user(frame.f_code)


def entries(error: BaseException) -> list[TracebackType]:
    """List the entries of an error's traceback, the innermost last."""
    found, entry = [], error.__traceback__
    while entry is not None:
        found.append(entry)
        entry = entry.tb_next
    return found


def trimmed(error: BaseException) -> BaseException:
    """The same error, with only the user's own lines left in its traceback."""
    trimmed_traceback: TracebackType | None = None
    for entry in reversed(entries(error)):
        if is_users(entry):
            trimmed_traceback = TracebackType(trimmed_traceback, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    error.__context__ = None
    return error.with_traceback(trimmed_traceback) if trimmed_traceback is not None else error


def explain_tracing_failure(
    error: Exception,
    plain: Callable[[], Any],
    what: str = "loss",
    explained: Callable[[Exception, str], str] | None = None,
) -> BaseException:
    """The error to raise when tracing failed with ``error``.

    The function is called once more without tracing: what fails then too is the user's own
    mistake, and comes back as it is; what does not is a construct that cannot be traced, which
    ``explained`` puts into words (default: those for autograd).
    """
    if isinstance(error, MetagdError):
        return error
    try:
        with np.errstate(all="ignore"):
            plain()
    except Exception as own:
        return trimmed(own)
    return MetagdError((explained or _explained)(error, what))


def user_line(error: BaseException) -> tuple[str, str]:
    """``line 3: `float(w)` `` and its text, of the innermost line of the user's."""
    found = next(filter(is_users, reversed(entries(error))), None)
    if found is None:
        return "", ""
    text = linecache.getline(found.tb_frame.f_code.co_filename, found.tb_lineno).strip()
    return f" (line {found.tb_lineno}{f': {text}' if text else ''})", text


def assigns(text: str) -> bool:
    """Return True if a line assigns to an element, as in ``out[i] = …``."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    return any(isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store) for n in ast.walk(tree))


def _library(error: BaseException) -> str:
    """The library function, called from the user's line, that the error came out of; NumPy and autograd are none."""
    name = ""
    for entry in entries(error):
        module = entry.tb_frame.f_globals.get("__name__", "")
        if is_users(entry):
            name = ""
        elif name in ("", "a library's wrapper") and module.partition(".")[0] not in ("numpy", "autograd", _PACKAGE):
            called = entry.tb_frame.f_code.co_name
            name = "a library's wrapper" if called == "wrapper" else f"{module.partition('.')[0]}'s {called}"
    return name


def raised(error: Exception) -> str:
    """``gradient raises ValueError (line 3: …): …``"""
    return f"gradient raises {type(error).__name__}{user_line(error)[0]}: {error}"


_OWN = "or give a `gradient` of your own"


_FOLLOW, _LACKS = "automatic differentiation cannot follow", "automatic differentiation has no derivative of"
# pattern in the message of autograd, and our line: {0} is the match, {line} the line of the user
_BY_MESSAGE = (
    (
        r"VJP of (\w+) wrt",
        f"automatic differentiation has no derivative of {{0}}{{line}}; write it with other functions, {_OWN}",
    ),
    (r"__array_ufunc__\(<ufunc '(\w+)'>", f"{_FOLLOW} {{0}}{{line}}; write it with NumPy, {_OWN}"),
)
_CONSTRUCTS = (
    (r"has no attribute '(\w+)'", ".{0}"),
    (r"(int\(\) argument|as an integer)", "int(…)"),
    (r"(__format__)", "formatting a number as text"),
    (r"(float\(\) argument|real number|array element)", "float(…)"),
)


def _instead_of_assigning(message: str, text: str) -> str:
    """Return what to write where a line assigns into an array; "" if it does not."""
    if "__array_ufunc__" in message and "out=(" in message:
        return "a = a + b instead of a += b"
    if "item assignment" in message or ("array element" in message and assigns(text)):
        return "np.where, np.concatenate or np.array([...])"
    return ""


def _explained(error: Exception, what: str) -> str:
    """Describe the construct that autograd could not follow, and the remedy."""
    line, text = user_line(error)
    message = str(error)
    if library := _library(error):
        return f"{_FOLLOW} {library}{line}; write it with NumPy, {_OWN}"
    if instead := _instead_of_assigning(message, text):
        return (
            f"{what} assigns into an array in place{line}; automatic differentiation cannot follow that: use {instead}"
        )
    for pattern, explanation in _BY_MESSAGE:
        if match := re.search(pattern, message):
            return explanation.format(match[1], line=line)
    if match := re.search(r"\bmath\.(\w+)", text):
        return f"math.{match[1]} in {what}{line} cannot be followed by automatic differentiation; use np.{match[1]}"
    for pattern, construct in _CONSTRUCTS:
        if match := re.search(pattern, message):
            named = f"{construct.format(match[1])} in {what}{line}"
            return f"{named} cannot be followed by automatic differentiation; leave it out, {_OWN}"
    return f"{_FOLLOW} {what}{line}: {' '.join(message.split())}; write it with other functions, {_OWN}"


def scalar(value: Any, what: str = "loss") -> Any:
    """The one number that a loss gave; arrays of one entry count.

    Raises
    ------
    MetagdError
        For anything else, saying what came instead.
    """
    if value is None:
        raise MetagdError(f"{what} returns nothing; it needs a `return` with one number")
    if isinstance(value, (tuple, list, dict, set, str, bytes)):
        raise MetagdError(f"{what} returns a {type(value).__name__}; it needs one number")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise MetagdError(f"{what} returns a {type(value).__name__} of {array.dtype}; it needs one real number")
    if array.size != 1:
        raise MetagdError(f"{what} returns an array of shape {array.shape}; it needs one number: np.mean or np.sum?")
    return array.reshape(())[()]
