"""Frames of the live plot: often at the start of a training, later for no more than a fixed share of the time."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import ClassVar, Protocol

from ..core.errors import one_line
from .callbacks import Callback
from .loop import TrainingLoop

SHARE = 0.035  # of the time, for drawing; runs that train at once share it
ALLOWANCE = 0.5  # seconds of drawing beyond that: half of them at once,
SOON = 3.0  # and the rest little by little, most of it within so many seconds of training
FASTEST = 1 / 12  # seconds between frames; more is not seen
FIRST = 0.04  # seconds of training before the first frame, which then shows a curve and not a dot
ANSWER = 0.02  # seconds between frames that answer requests: a program that asks without end must leave time to train
RARER = 2.0  # times the usual distance of frames: the longest, after some that cost more
LONGEST = 0.2  # seconds for which a run waits while another draws; a display may hang

_canvas = threading.Lock()  # held while a frame is drawn


class Frame(Protocol):
    """Display of a run: called between steps, in the thread that trains."""

    def frame(self, final: bool = False) -> None:
        """Show the run as it is now."""


@contextlib.contextmanager
def render_lock() -> Iterator[None]:
    """Hold back the runs that train in other threads.

    Threads take turns of 5 ms, and drawing loses its turn at every array that NumPy works on: beside one other run a
    frame of 15 ms would take 50.
    """
    held = _canvas.acquire(timeout=LONGEST)
    try:
        yield
    finally:
        if held:
            _canvas.release()


def yield_to_renderer(loop: TrainingLoop) -> None:
    """Wait between two steps while another run draws; this is no time of training."""
    if _canvas.locked():
        start = time.perf_counter()
        if _canvas.acquire(timeout=LONGEST):
            _canvas.release()
        loop.clock.exclude(time.perf_counter() - start)


class FrameScheduler(Callback):
    """Decides when a frame is due, from the costs of the frames so far.

    After t seconds of training, drawing may have taken SHARE·t + ALLOWANCE·(1 − ½exp(−t/SOON)): much at the start,
    little by little no more than its share. The first frame, which finds fonts and lays out, is free.
    """

    _others: ClassVar[set[FrameScheduler]] = set()  # those whose runs train and are shown, this one included

    def __init__(self, loop: TrainingLoop, frame: Frame) -> None:
        self.loop, self._frame = loop, frame
        self._began = self._last = loop.seconds()
        self._drawn = 0.0
        self._frames = 0
        self._costs: deque[float] = deque(maxlen=8)
        self._broken = False
        self.due = self._began + FIRST

    def requested(self) -> None:
        """Show the effect of a request as soon as possible."""
        self.due = min(self.due, self._last + ANSWER if self._frames else 0.0)

    def call(self) -> None:
        """Show the run now, and schedule the next frame."""
        self._draw(final=False)

    idle = call

    def end(self) -> None:
        """Show the run for the last time."""
        self._draw(final=True)

    def _draw(self, final: bool) -> None:
        if self._broken:
            return
        loop, requested = self.loop, time.perf_counter()
        with render_lock():
            start = time.perf_counter()
            try:
                self._frame.frame(final)
            except Exception as error:  # a broken plot must not cost the training
                loop.note = f"the plot stopped ({one_line(error)}); training went on"
                self._broken = True
            cost = time.perf_counter() - start
        loop.clock.exclude(time.perf_counter() - requested)
        self._last = loop.seconds()
        self._frames += 1
        if not loop.idle:  # during a pause nothing waits for the drawing
            self._schedule(cost)
        if final or self._broken:
            self._others.discard(self)
            self.due = math.inf
        else:
            self._others.add(self)

    def _schedule(self, cost: float) -> None:
        """Set ``due``, after a frame that took so many seconds."""
        if self._frames > 1:
            self._costs.append(cost)
            self._drawn += cost
        training = sum(not other.loop.idle for other in tuple(self._others))
        share = SHARE / max(training, 1)
        t = self._last - self._began
        left = ALLOWANCE / 2 * math.exp(-t / SOON)
        typical = sum(self._costs) / max(len(self._costs), 1)
        excess = self._drawn + typical - (share * t + ALLOWANCE - left)
        usual = typical / share
        wait = excess / (share + left / SOON)
        if wait > RARER * usual:
            self._drawn -= (wait - RARER * usual) * (share + left / SOON)
            wait = RARER * usual
        self.due = self._last + max(FASTEST, wait)
