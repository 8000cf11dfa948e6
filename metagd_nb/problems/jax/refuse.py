"""Explanation of a failed tracing by JAX in one line that names the construct and the user's own line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax

from ..capture.errors import assigns, explain_tracing_failure, user_line
from .numpy_shim import PLAIN


def refused(error: Exception, plain: Callable[[], Any], what: str) -> BaseException:
    """The error to raise when tracing failed with ``error``.

    The function is called once more without tracing, by ``plain``: what fails then too is the user's own mistake.
    """
    return explain_tracing_failure(error, plain, what, _explained)


def _explained(error: Exception, what: str) -> str:
    line, text = user_line(error)
    message = " ".join(str(error).split("\n")[0].split())
    if "immutable" in str(error) or "item assignment" in message or assigns(text) or "__array_ufunc__" in message:
        return f"{what} assigns into an array in place{line}; JAX cannot follow that: use np.where, or {PLAIN}"
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return f"JAX cannot follow a choice by a value that is being learned{line}; use np.where, or {PLAIN}"
    if match := re.search(r"\bmath\.(\w+)", text):
        return f"JAX cannot follow math.{match[1]} in {what}{line}; use np.{match[1]}, or {PLAIN}"
    if match := re.search(r"has no attribute '(\w+)'", message):
        return f"JAX cannot follow .{match[1]} in {what}{line}; leave it out, or use {PLAIN}"
    if isinstance(error, jax.errors.ConcretizationTypeError | jax.errors.TracerIntegerConversionError):
        return f"JAX cannot make a plain number of one that is being learned{line}; leave that out, or use {PLAIN}"
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return f"JAX cannot follow what {what} calls{line}; write it with NumPy, or use {PLAIN}"
    return f"JAX cannot follow {what}{line}: {message}; write it otherwise, or use {PLAIN}"
