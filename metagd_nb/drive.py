"""Drivers of a run: one loop, in the calling thread, in a thread of its own, or as an asyncio task.

The loop draws between steps, and sees to it that drawing takes no more than its share of the time.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import threading
import time
from collections.abc import Generator
from typing import Protocol

import numpy as np

from .errors import MetagdError, told
from .run import MEMORY, Run

SHARE = 0.045  # of the time, for drawing
ALLOWANCE = 0.3  # seconds of drawing that are free, so that a run moves at once
FASTEST = 1 / 12  # seconds between frames; more is not seen
SLICE = 0.02  # seconds after which an asyncio task lets others in


class Frame(Protocol):
    """What shows a run: called between steps, in the thread that trains."""

    def frame(self, final: bool = False) -> None:
        """Show the run as it is now."""


class Pacer:
    """Decides when a frame is due, from what frames have cost so far."""

    def __init__(self, run: Run, frame: Frame | None) -> None:
        self.run, self._frame = run, frame
        self._began = time.perf_counter()
        self._drawn = 0.0
        self._frames = 0
        self.due = self._began

    def draw(self, final: bool = False) -> None:
        """Show the run now, and schedule the next frame."""
        if self._frame is None:
            self.due = float("inf")
            return
        start = time.perf_counter()
        try:
            self._frame.frame(final)
        except Exception as error:  # a broken plot must not cost the training
            self.run.note = f"the plot stopped ({told(error)}); training went on"
            self._frame = None
        now = time.perf_counter()
        self.run.rested(now - start)
        self._drawn += now - start
        self._frames += 1
        expected = self._drawn / self._frames
        earned = self._began + (self._drawn + expected - ALLOWANCE) / SHARE
        self.due = max(now + FASTEST, earned)


def _loop(run: Run, frame: Frame | None) -> Generator[bool]:
    """Train to the end; yields True when there is nothing to do until ``run.wake``, else now and then False."""
    pacer = Pacer(run, frame)
    clock = time.perf_counter
    with np.errstate(all="ignore"):  # a diverging run is told of in words, once
        try:
            if not len(run.record):
                run.advance()
            pacer.draw()
            breath = clock() + SLICE
            while run.stopped is None:
                if run.pending:
                    run.obey()
                    pacer.due = 0.0  # what a person did is shown at once
                    continue
                if run.held:
                    pacer.draw()
                    run.obey()  # tells those who wait for the steps they asked for
                    rest = clock()
                    yield run.held and run.stopped is None  # unless it was asked for more while it was drawn
                    run.rested(clock() - rest)
                    continue
                run.advance()
                now = clock()
                if now >= pacer.due and run.at_hand:
                    pacer.draw()
                if now >= breath:
                    yield False
                    breath = clock() + SLICE
        except (KeyboardInterrupt, GeneratorExit):  # the latter when an event loop drops its task
            run.interrupted()
        except BaseException as error:  # a SystemExit in the loss ends the run, not the thread
            run.fail(error)
        _remember(run)
    pacer.draw(final=True)


def _remember(run: Run) -> None:
    """Tell the memory of past runs, where one is on."""
    if MEMORY not in os.environ and f"{__package__}.memory" not in sys.modules:
        return  # nobody has asked for one, and some Pythons come without sqlite3
    try:
        from .memory import keep

        keep(run)
    except Exception as error:  # what cannot be remembered is still a result
        told = str(error) if isinstance(error, MetagdError) else f"{type(error).__name__}: {error}"
        run.note = "\n".join(filter(None, [run.note, f"not remembered: {told}"]))


def drive(run: Run, frame: Frame | None = None) -> Run:
    """Train in the calling thread until the run ends."""
    run.driver = threading.current_thread()
    try:
        with contextlib.closing(_loop(run, frame)) as loop:
            for resting in loop:
                if resting:
                    run.wake.clear()
                    if not run.pending:
                        run.wake.wait()
    finally:
        run.driver = None
        run.tell()
    return run


async def drive_async(run: Run, frame: Frame | None = None) -> Run:
    """Train inside an event loop, for kernels without threads (Pyodide)."""
    import asyncio

    run.driver = threading.current_thread()
    try:
        with contextlib.closing(_loop(run, frame)) as loop:
            for resting in loop:
                await asyncio.sleep(0.02 if resting else 0)
    finally:
        run.driver = None
        run.tell()
    return run


def background(run: Run, frame: Frame | None = None) -> Run:
    """Train in a daemon thread of its own; where threads cannot start, as a task of the running event loop."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(drive, run, frame), name="metagd", daemon=True)
    run.driver = thread  # before it starts, so that nobody finds the run idle
    try:
        thread.start()
    except RuntimeError:
        import asyncio

        run.keep = asyncio.ensure_future(drive_async(run, frame))
    return run


def foreground(run: Run, frame: Frame | None = None) -> Run:
    """Train to the end; an interrupt stops the run and keeps its state.

    The training has a thread of its own here too: an interrupt then reaches the one that waits, never the middle
    of a step.
    """
    if sys.platform == "emscripten":
        return drive(run, frame)
    return background(run, frame).wait()
