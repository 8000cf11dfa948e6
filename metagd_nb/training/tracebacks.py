"""Tracebacks of blocking calls: a notebook shows the lines of the user, and none of this package."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..core.errors import MetagdError
from ..problems.capture.errors import entries, is_users, trimmed

P = ParamSpec("P")
T = TypeVar("T")


def shows_users_lines(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a blocking call: interrupted, or failed in a function of the user, it shows no line of this package.

    Errors of the package itself are shown in full.
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except MetagdError:
            raise
        except BaseException as error:
            _mark(error)
            raise

    return called


def _mark(error: BaseException) -> None:
    """Have IPython show only the user's lines of an interrupt, or of an error that is the user's own."""
    own = isinstance(error, KeyboardInterrupt) or any(map(is_users, entries(error)))
    if own and not hasattr(error, "_render_traceback_"):
        error._render_traceback_ = functools.partial(_lines, error)  # type: ignore[attr-defined]


def _lines(error: BaseException) -> list[str]:
    """Lines that IPython shows instead of the whole traceback."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if isinstance(error, KeyboardInterrupt) or shell is None:
        return [type(error).__name__]
    whole = error.__traceback__
    short = trimmed(error)
    lines: list[str] = shell.InteractiveTB.structured_traceback(type(short), short, short.__traceback__, tb_offset=0)
    error.__traceback__ = whole
    return lines
