"""Display of a sweep under way: a heat map that is updated in place, or a line of progress in a terminal."""

from __future__ import annotations

import sys
import time

from ...analysis.sweep_result import Sweep
from ...plotting.figures import HEIGHT, bundle, crisp
from ...plotting.heat_map import heat_map
from ...training.pacing import render_lock
from ..display import UpdatedDisplay, shows_pictures

INTERVAL = 0.5  # seconds between pictures


class SweepDisplay:
    """Display of the results so far; the argument ``watch`` of `sweep`.

    Parameters
    ----------
    plot : bool
        False to display nothing.
    """

    def __init__(self, plot: bool) -> None:
        self._picture = UpdatedDisplay() if plot and shows_pictures() else None
        self._line = plot and not self._picture and sys.stderr.isatty()
        self._due = 0.0
        self._last: tuple[Sweep, int, int] | None = None

    def __call__(self, sweep: Sweep, done: int, total: int) -> None:
        """Show the results after ``done`` of ``total`` trials, unless the last picture is too recent."""
        self._last = sweep, done, total
        if time.monotonic() >= self._due or done == total:
            self._show(sweep, done, total)
            self._due = time.monotonic() + INTERVAL

    def _show(self, sweep: Sweep, done: int, total: int) -> None:
        if self._picture:
            with render_lock():
                figure = heat_map(sweep, done, total)
            self._picture.show(bundle(crisp(figure), HEIGHT, figure.alt))
        elif self._line:
            sys.stderr.write(f"\r\x1b[Kmetagd sweep: {done} of {total}")
            sys.stderr.flush()

    def close(self) -> None:
        """Show the last picture, or end the line in a terminal."""
        if self._line:
            sys.stderr.write("\n")
        elif self._last:
            self._show(*self._last)
