"""Schedules: the factor by which a learning rate is multiplied at each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import MetagdError, nearest, shorten

NAMES = ("constant", "cosine", "step", "warmup")
FORMS = ("constant", "cosine", "step:N:F", "warmup:N", "warmup:N,cosine", "a function of the step")
ALLOWED = f"allowed: {' | '.join(FORMS)}"
FUNCTION = "function"  # text of a schedule that is a function of the user's; no schedule is written like that
Factor = Callable[[int], float]


class Schedule(NamedTuple):
    """Factor of a learning rate by step, and the text that names it.

    Attributes
    ----------
    text : str
        As in a cell, with the number of steps written out, so that a run that goes on keeps its schedule; "function"
        for a function of the user's.
    factor : function
        step → factor; step t is the update from row t to row t + 1.
    """

    text: str
    factor: Factor

    def at(self, step: int) -> float:
        """Return the factor of the update that leaves row ``step``.

        Raises
        ------
        MetagdError
            For what is not a finite number ≥ 0.
        """
        value = self.factor(step)
        factor = _number(value)
        if not 0 <= factor < math.inf:
            raise MetagdError(f"gave {shorten(value)} at step {step}; needs a number ≥ 0", "schedule")
        return factor

    @property
    def reaches_zero(self) -> bool:
        """True for a warm-up, which begins at 0, and a cosine, which ends there."""
        return "warmup" in self.text or "cosine" in self.text

    def check_available(self) -> None:
        """Raise a MetagdError for the schedule of a run from a file, if it is a function that was not given again."""
        if self.factor is not_given:
            not_given(0)


def not_given(step: int) -> float:
    """Stand for the user's function in a run from a file, which does not hold it."""
    raise MetagdError(
        "is a function, which the file does not hold; give it from here: metagd_nb.load(…, schedule=f)", "schedule"
    )


def _number(value: ArrayLike) -> float:
    """Return a factor as a float; nan for what is no number."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or np.ndim(value):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError, OverflowError):
        return math.nan


def parse_schedule(text: str, steps: int) -> Schedule:
    """Read a schedule as it is written in a cell.

    Parameters
    ----------
    text : str
        ``constant``; ``cosine`` or ``cosine:N``, half a cosine from 1 to 0 over all steps or over N; ``step:N:F``,
        multiplied by F every N steps; ``warmup:N``, from 0 to 1 over the first N steps, then constant; two of them, a
        warm-up first, as ``warmup:100,cosine``.
    steps : int
        Number of steps of the run.

    Returns
    -------
    Schedule

    Raises
    ------
    MetagdError
        For another text.
    """
    parts = [part.strip() for part in text.split(",")]
    warm = 0
    if parts[0].split(":")[0] == "warmup":
        warm = _whole(_pieces(parts[0], 1)[0], text)
        parts = parts[1:] or ["constant"]
    if len(parts) != 1 or parts[0].split(":")[0] == "warmup":
        raise MetagdError(f"{shorten(text)} is not a schedule; {ALLOWED}", "schedule")
    named, after = _after_warmup(parts[0], text, max(steps - warm, 1))
    if not warm:
        return Schedule(named, after)
    return Schedule(f"warmup:{warm},{named}", lambda step: step / warm if step < warm else after(step - warm))


def _after_warmup(part: str, text: str, steps: int) -> tuple[str, Factor]:
    """Return the text and the factor of a schedule without warm-up."""
    name = part.split(":")[0]
    if name == "constant":
        _pieces(part, 0)
        return name, lambda step: 1.0
    if name == "cosine":
        length = steps if part == name else _whole(_pieces(part, 1)[0], text)
        return f"cosine:{length}", lambda step: 0.5 * (1 + math.cos(math.pi * min(step, length) / length))
    if name == "step":
        every, share = _pieces(part, 2)
        length, factor = _whole(every, text), _share(share, text)
        return f"step:{length}:{factor!r}", lambda step: factor ** (step // length)
    raise MetagdError(f"{shorten(text)} is not a schedule{nearest(name, NAMES)}; {ALLOWED}", "schedule")


def _pieces(part: str, count: int) -> list[str]:
    """Return the numbers after the name of a schedule, as text."""
    pieces = part.split(":")[1:]
    if len(pieces) != count:
        raise MetagdError(f"{shorten(part)} has {len(pieces)} numbers; {ALLOWED}", "schedule")
    return pieces


def _whole(piece: str, text: str) -> int:
    try:
        value = int(piece)
    except ValueError:
        value = 0
    if not 0 < value <= 1_000_000_000:
        raise MetagdError(f"{shorten(text)} needs a whole number ≥ 1, not {shorten(piece)}", "schedule")
    return value


def _share(piece: str, text: str) -> float:
    try:
        value = float(piece)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise MetagdError(f"{shorten(text)} needs a factor ≥ 0, not {shorten(piece)}", "schedule")
    return value
