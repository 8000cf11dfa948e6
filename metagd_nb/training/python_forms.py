"""Settings that have a form of their own in Python, beside the text of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..algorithms.schedules import ALLOWED, FUNCTION
from ..core.bounds import as_text
from ..core.errors import MetagdError, shorten


def text_options(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return settings as they are typed in a cell, and the inputs of a run that were given in their place.

    Parameters
    ----------
    given : mapping name → value
        With ``validation`` a share or rows, ``schedule`` a text or a function, ``bounds`` a text or a mapping, and
        ``positive`` a text or a list of names, as far as they are given.

    Returns
    -------
    options : dict
        With text, numbers and None only for these settings.
    inputs : dict
        Rows under ``validation``, a function under ``schedule``.

    Raises
    ------
    MetagdError
        For a schedule that is neither.
    """
    options, inputs = dict(given), dict[str, Any]()
    if isinstance(options.get("validation"), (tuple, list, Mapping)):
        inputs["validation"] = options.pop("validation")
    schedule = options.get("schedule", "constant")
    if callable(schedule):
        inputs["schedule"], options["schedule"] = schedule, FUNCTION
    elif not isinstance(schedule, str) or schedule == FUNCTION:
        raise MetagdError(f"{shorten(schedule)} is not a schedule; {ALLOWED}", "schedule")
    if isinstance(options.get("bounds"), Mapping):
        options["bounds"] = as_text(options["bounds"])
    if isinstance(options.get("positive"), (list, tuple)):
        options["positive"] = ",".join(options["positive"])
    return options, inputs
