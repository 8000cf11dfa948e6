"""Callbacks of a training: work between two steps that `drivers` call and know nothing of.

Frames (`pacing`) and checkpoints (`persistence.checkpoint`) are registered with the loop of a run. The functions in
`ON_END` are called with every run that ends; the run memory registers one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

ON_END: list[Callable[[Any], None]] = []


class Callback:
    """Base of all callbacks: does nothing.

    Attributes
    ----------
    due : float
        Seconds of training (`TrainingLoop.seconds`) from which on `call` is to be called.
    """

    due = math.inf

    def call(self) -> None:
        """Do the work, and set ``due`` anew."""

    def requested(self) -> None:
        """Take notice of requests that were carried out."""

    def idle(self) -> None:
        """Take notice of a pause with no step requested."""

    def end(self) -> None:
        """Do the last work; the run has ended."""
