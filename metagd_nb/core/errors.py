"""Exception of the kit: a single line that names the mistake and the allowed values."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable


class MetagdError(ValueError):
    """Mistake in the user's input, described in one line.

    Parameters
    ----------
    what : str
        The mistake and the allowed values.
    option : str, optional
        The setting or array at fault, in Python spelling (``inner_lr``). The cell
        shows it in the spelling of its options (``--inner-lr``).
    """

    def __init__(self, what: str, option: str | None = None) -> None:
        super().__init__(f"{option}: {what}" if option else what)
        self.what = what
        self.option = option

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows instead of a traceback."""
        return [f"metagd: {self}"]


def shorten(value: object) -> str:
    """Return the ``repr`` of a value in at most 60 characters, on one line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # a whole number of thousands of digits
        return f"this {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…"


def one_line(error: BaseException) -> str:
    """Return type and message of any exception on one line, ``ValueError: message``, at most 240 characters of it."""
    try:
        message = textwrap.shorten(str(error), 240, placeholder=" …")
    except Exception:  # its own __str__ is broken
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``; did you mean 'maml'?`` for a misspelt name, and ``""`` if no allowed name is close.

    Parameters
    ----------
    name : str
    allowed : iterable of str

    Returns
    -------
    str
    """
    match = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> MetagdError:
    """Return the error for a name that is not in a table.

    Parameters
    ----------
    kind : str
        Noun for the message, such as ``loss``.
    name : str
    allowed : iterable of str

    Returns
    -------
    MetagdError
    """
    names = list(allowed)
    hint = nearest(name, names) or f"; allowed: {', '.join(names)}"
    return MetagdError(f"unknown {kind} {name!r}{hint}")
