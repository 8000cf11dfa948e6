"""How often a run is shown: at once and smoothly at the start, later for no more than its share of the time."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import ClassVar, Protocol

from ..core.errors import MetagdError, one_line
from .run import Run

SHARE = 0.035  # of the time, for drawing; runs that train at once share it
ALLOWANCE = 0.5  # seconds of drawing beyond that: half of them at once,
SOON = 3.0  # and the rest little by little, most of it within so many seconds of training
FASTEST = 1 / 12  # seconds between frames; more is not seen
FIRST = 0.04  # seconds of training before the first frame, which then shows a curve and not a dot
ANSWER = 0.02  # seconds between frames that answer a person: a program that asks without end must leave time to train
RARER = 2.0  # times the usual distance of frames: the longest, after some that cost more
ASIDE = 0.2  # seconds for which a run stands aside while another draws; a display may hang

_canvas = threading.Lock()  # held by whoever draws


class Frame(Protocol):
    """What shows a run: called between steps, in the thread that trains."""

    def frame(self, final: bool = False) -> None:
        """Show the run as it is now."""


@contextlib.contextmanager
def render_lock() -> Iterator[None]:
    """While this lasts, runs that train in other threads stand aside.

    Threads take turns of 5 ms, and whoever draws loses its turn again and again, at every array that NumPy works on:
    beside one other run a frame of 15 ms would take 50.
    """
    held = _canvas.acquire(timeout=ASIDE)
    try:
        yield
    finally:
        if held:
            _canvas.release()


def yield_to_renderer(run: Run) -> None:
    """Between two steps: if somebody draws, wait until that is done. It is no time of training."""
    if _canvas.locked():
        start = time.perf_counter()
        if _canvas.acquire(timeout=ASIDE):
            _canvas.release()
        run.rested(time.perf_counter() - start)


class FrameScheduler:
    """Decides when a frame is due, from what frames have cost so far.

    After t seconds of training, drawing may have taken SHARE·t + ALLOWANCE·(1 − ½exp(−t/SOON)): much at the start,
    little by little no more than its share. The first frame, which finds fonts and lays out, is free.

    Attributes
    ----------
    due : float
        Seconds of training (`TrainingLoop.trained`) at which the next frame is to be drawn.
    """

    _others: ClassVar[set[FrameScheduler]] = set()  # those whose runs train and are shown, this one included

    def __init__(self, run: Run, frame: Frame | None) -> None:
        self.run, self._frame = run, frame
        self._began = run.trained()
        self._drawn = 0.0
        self._frames = 0
        self._costs: deque[float] = deque(maxlen=8)
        self.due = self._began + FIRST if frame is not None else math.inf

    def answer(self) -> None:
        """Show as soon as possible what a person did."""
        self.due = min(self.due, self._last + ANSWER if self._frames else 0.0)

    def draw(self, final: bool = False) -> None:
        """Show the run now, and schedule the next frame."""
        if self._frame is None:
            return
        asked = time.perf_counter()
        with render_lock():
            start = time.perf_counter()
            try:
                self._frame.frame(final)
            except Exception as error:  # a broken plot must not cost the training
                self.run.note = f"the plot stopped ({one_line(error)}); training went on"
                self._frame = None
            cost = time.perf_counter() - start
        self.run.rested(time.perf_counter() - asked)
        self._last = self.run.trained()
        self._frames += 1
        if not self.run.held:  # while it is held nobody waits for the drawing
            self._schedule(cost)
        if final or self._frame is None:
            self._others.discard(self)
            self.due = math.inf
        else:
            self._others.add(self)

    def _schedule(self, cost: float) -> None:
        """Set ``due``, after a frame that took so many seconds."""
        if self._frames > 1:
            self._costs.append(cost)
            self._drawn += cost
        training = sum(not other.run.held for other in tuple(self._others))
        share = SHARE / max(training, 1)
        t = self._last - self._began
        left = ALLOWANCE / 2 * math.exp(-t / SOON)
        typical = sum(self._costs) / max(len(self._costs), 1)
        owed = self._drawn + typical - (share * t + ALLOWANCE - left)
        usual = typical / share
        wait = owed / (share + left / SOON)
        if wait > RARER * usual:
            self._drawn -= (wait - RARER * usual) * (share + left / SOON)  # forgiven
            wait = RARER * usual
        self.due = self._last + max(FASTEST, wait)


class Checkpointer:
    """Writes a long run to its checkpoint file now and then: what a crash costs is the time since."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.due = run.trained() + run.settings.checkpoint_every if run.settings.checkpoint else float("inf")

    def keep(self) -> None:
        """Write it now, where it has a file, and schedule the next; a full disk must not cost the training."""
        if not self.run.settings.checkpoint:
            return
        start = time.perf_counter()
        try:
            self.run.write(self.run.settings.checkpoint)
        except MetagdError as error:
            self.run.note = f"no checkpoint: {error}; training goes on"
        took = time.perf_counter() - start
        self.run.rested(took)
        self.due = self.run.trained() + max(self.run.settings.checkpoint_every, took / SHARE)  # no more than its share
