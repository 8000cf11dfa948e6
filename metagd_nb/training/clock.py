"""Clock of a training: seconds spent on steps, without drawing, waiting and pauses."""

from __future__ import annotations

import time


class Clock:
    """Measures the seconds of training.

    Attributes
    ----------
    origin : float
        Moment (of ``time.perf_counter``) at which training would have begun had it never been interrupted.
    """

    def __init__(self) -> None:
        self.origin = 0.0
        self._halted: float | None = None  # moment at which a training that is stepped by hand was left

    def start(self) -> None:
        """Count from now on."""
        self.origin, self._halted = time.perf_counter(), None

    def seconds(self) -> float:
        """Seconds of training so far."""
        return (time.perf_counter() if self._halted is None else self._halted) - self.origin

    def exclude(self, seconds: float) -> None:
        """Leave out so many seconds; while the clock is halted all of them are left out anyway."""
        if self._halted is None:
            self.origin += seconds

    def halt(self) -> None:
        """Count no more until `go`."""
        if self._halted is None:
            self._halted = time.perf_counter()

    def go(self) -> None:
        """Count again after `halt`."""
        if self._halted is not None:
            self.origin += time.perf_counter() - self._halted
            self._halted = None

    def set(self, seconds: float) -> None:
        """Stand at ``seconds``, halted."""
        self.origin, self._halted = -seconds, 0.0
