"""Names in the code of a script: checked, so that no text of a file is ever code."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping

from ...core.errors import MetagdError, shorten


def plain(name: str) -> str:
    """A name for a docstring: letters, digits, spaces and dashes."""
    return re.sub(r"[^\w .-]", "?", name)


def is_name(text: object) -> bool:
    """Return True for a text that code can hold as a name."""
    return isinstance(text, str) and text.isidentifier() and not keyword.iskeyword(text)


def identifier(name: str, what: str) -> str:
    """``name``, if code can hold it as a name; all that a script writes outside quotes passes here.

    Raises
    ------
    MetagdError
        For any other text.
    """
    if not is_name(name):
        raise MetagdError(f"{shorten(name)} cannot be a name in a script", what)
    return name


def keywords(arguments: Mapping[str, str]) -> list[str]:
    """Arguments of a call by name; names that code cannot hold stand in a dict."""
    held = {n: text for n, text in arguments.items() if is_name(n)}
    rest = ", ".join(f"{n!r}: {text}" for n, text in arguments.items() if n not in held)
    return [f"{n}={text}" for n, text in held.items()] + ([f"**{{{rest}}}"] if rest else [])
