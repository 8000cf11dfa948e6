"""A sweep as it goes on: the heat map and a bar of progress, in place; in a terminal a line."""

from __future__ import annotations

import sys
import time
from typing import Any

from IPython.display import display

from ...analysis.sweep_result import Sweep
from ...plotting.figures import HEIGHT, bundle, crisp
from ...plotting.heat_map import heat_map
from ...training.pacing import render_lock
from ..display import shows_pictures

RARER = 0.5  # seconds between pictures


class Watching:
    """Shows what is known so far; give it to `sweep` as ``watch``."""

    def __init__(self, plot: bool) -> None:
        self._pictures = plot and shows_pictures()
        self._line = plot and not self._pictures and sys.stderr.isatty()
        self._handle: Any = None
        self._due = 0.0
        self._last: tuple[Sweep, int, int] | None = None

    def __call__(self, found: Sweep, done: int, total: int) -> None:
        """One more trial is done."""
        self._last = found, done, total
        if time.monotonic() >= self._due or done == total:
            self._show(found, done, total)
            self._due = time.monotonic() + RARER

    def _show(self, found: Sweep, done: int, total: int) -> None:
        if self._pictures:
            with render_lock():
                figure = heat_map(found, done, total)
            data, metadata = bundle(crisp(figure), HEIGHT, figure.alt)
            if self._handle is None:
                self._handle = display(data, metadata=metadata, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            else:
                self._handle.update(data, metadata=metadata, raw=True)
        elif self._line:
            sys.stderr.write(f"\r\x1b[Kmetagd sweep: {done} of {total}")
            sys.stderr.flush()

    def close(self) -> None:
        """End the line of a terminal; show the last picture."""
        if self._line:
            sys.stderr.write("\n")
        if self._last is not None and self._pictures:
            self._show(*self._last)
