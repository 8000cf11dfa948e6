"""The one exception of the kit: a single line that names what was wrong and what is allowed."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable
from typing import Any


class MetagdError(ValueError):
    """A mistake in what was asked for, told in one line.

    Parameters
    ----------
    what : str
        What was wrong and what is allowed.
    option : str, optional
        The setting or array at fault, in Python spelling (``inner_lr``). The cell
        shows it as the reader typed it (``--inner-lr``).
    """

    def __init__(self, what: str, option: str | None = None) -> None:
        super().__init__(f"{option}: {what}" if option else what)
        self.what = what
        self.option = option

    def _render_traceback_(self) -> list[str]:
        """IPython shows these lines in place of a traceback."""
        return [f"metagd: {self}"]


def shorten(value: Any) -> str:
    """A value's ``repr`` as it fits into a line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # a whole number of thousands of digits
        return f"this {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…"


def one_line(error: BaseException) -> str:
    """``ValueError: what it says``, on one line and not without end, whatever it is."""
    try:
        said = " ".join(str(error).split())
    except Exception:  # its own __str__ is broken
        said = ""
    said = textwrap.shorten(said, 240, placeholder=" …") if len(said) > 240 else said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def nearest(name: str, allowed: Iterable[str]) -> str:
    """``; did you mean 'maml'?`` for a misspelt name, or nothing when no allowed name is close."""
    match = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> MetagdError:
    """The error for a name that is not in a table."""
    names = list(allowed)
    hint = nearest(name, names) or f"; allowed: {', '.join(names)}"
    return MetagdError(f"unknown {kind} {name!r}{hint}")
