"""Values of a sweep: read from the text of an option, and limited in number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core.errors import MetagdError

MOST = 100_000  # points of a sweep: settings times seeds


def listed(values: Iterable[Any], name: str) -> list[Any]:
    """Return the values of a setting; refuse them as soon as there are too many."""
    found = list(itertools.islice(values, MOST + 1))
    if len(found) > MOST:
        raise _too_many(name)
    return found


def _too_many(name: str) -> MetagdError:
    return MetagdError(f"has more than {MOST:,} values; a sweep has at most {MOST:,} points", name)


def check_size(lengths: Sequence[int], seeds: int) -> None:
    """Refuse a sweep that has too many points before any of them is made."""
    points = math.prod(lengths) * seeds
    if points > MOST:
        sides = " × ".join(f"{n:,}" for n in lengths) + (f" on {seeds:,} seeds" if seeds > 1 else "")
        raise MetagdError(f"{sides} are {points:,} points; a sweep has at most {MOST:,}", "over")


def parse_values(text: str, name: str, parse: Callable[[str], Any]) -> list[Any] | None:
    """Parse the values of an option's text ``sweep:0.1,0.2`` or ``log:1e-4:1:9``.

    Parameters
    ----------
    text : str
        ``sweep:`` and comma-separated values, or ``log:LOW:HIGH:N`` for N values evenly spaced on a log axis.
    name : str
        The option, for the message.
    parse : function
        Parses a single value.

    Returns
    -------
    list of values, or None for any other text

    Raises
    ------
    MetagdError
        For a ``log:`` text of another form.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("sweep", "log"):
        return None
    if kind == "sweep":
        return [parse(part.strip()) for part in rest.split(",")]
    try:
        low, high, n = (float(part) for part in rest.split(":"))
        if MOST < n < math.inf:
            raise _too_many(name)
        if not (0 < low < high < math.inf and n >= 2 and n == int(n)):
            raise ValueError
    except MetagdError:
        raise
    except ValueError:
        raise MetagdError(
            f"{text[:60]} is not allowed; needs log:LOW:HIGH:N with 0 < LOW < HIGH and N ≥ 2", name
        ) from None
    return [parse(repr(float(f"{value:.6g}"))) for value in np.geomspace(low, high, int(n))]
