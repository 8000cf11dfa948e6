"""Drivers of a training loop: in the calling thread, in a background thread, or as an asyncio task."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import Generator
from typing import Protocol, TypeVar

import numpy as np

from ..core.errors import one_line
from .callbacks import ON_END, Callback
from .control import wait
from .loop import TrainingLoop
from .pacing import Frame, FrameScheduler, yield_to_renderer

SLICE = 0.02  # seconds after which an asyncio task lets others in
TURN = 0.001  # seconds of a thread's turn: with Python's 5 ms an import beside a run would take minutes


class Driven(Protocol):
    """A run, as far as a driver knows it."""

    @property
    def loop(self) -> TrainingLoop:
        """Its training loop."""


R = TypeVar("R", bound=Driven)
_turns_lock = threading.Lock()
_turns: list[float] = []  # the switch interval that each run in training found


@contextlib.contextmanager
def _short_turns() -> Generator[None]:
    """Have Python's threads take turns of `TURN` at most. That costs nothing while nobody else wants one."""
    with _turns_lock:
        _turns.append(sys.getswitchinterval())
        sys.setswitchinterval(min(_turns[-1], TURN))
    try:
        yield
    finally:
        with _turns_lock:
            found = _turns.pop()  # at last the first one's, which is the user's
            if not _turns:
                sys.setswitchinterval(found)


def _steps(run: Driven, frame: Frame | None) -> Generator[bool]:
    """Train to the end; yield True when there is nothing to do until a request, else False now and then."""
    loop = run.loop
    callbacks = loop.callbacks = _callbacks(run, frame)
    with np.errstate(all="ignore"), _short_turns():  # a diverging run is reported in words, once
        try:
            if not len(loop.record):
                loop.advance()
            yield from _rounds(loop, callbacks)
        except (KeyboardInterrupt, GeneratorExit):  # the latter when an event loop drops its task
            loop.interrupt()
        except BaseException as error:  # a SystemExit in the loss ends the run, not the thread
            loop.fail(error)
        for callback in callbacks:
            callback.end()


def _rounds(loop: TrainingLoop, callbacks: list[Callback]) -> Generator[bool]:
    """Take steps, carry out requests and call the callbacks that are due, until the loop stops; yields as `_steps`."""
    breath, due = SLICE, _due(callbacks)
    while loop.stopped is None:
        if loop.requests.pending:
            loop.handle_requests()
            for callback in callbacks:
                callback.requested()
            due = _due(callbacks)
            continue
        if loop.idle:
            for callback in callbacks:
                callback.idle()
            due = _due(callbacks)
            loop.requests.notify()  # for threads that wait for the steps they requested
            pause = time.perf_counter()
            yield loop.idle and loop.stopped is None  # unless more was requested while it was drawn
            loop.clock.exclude(time.perf_counter() - pause)
            continue
        seconds = loop.clock.seconds()
        if seconds >= due and loop.executor.ready:
            due = _call_due(callbacks, seconds)
        if seconds >= breath:
            yield False
            breath = seconds + SLICE
        yield_to_renderer(loop)
        loop.advance_many()


def _call_due(callbacks: list[Callback], seconds: float) -> float:
    """Call the callbacks that are due; return when the next one is."""
    for callback in callbacks:
        if seconds >= callback.due:
            callback.call()
    return _due(callbacks)


def _due(callbacks: list[Callback]) -> float:
    """Seconds of training at which the next of the callbacks is due."""
    return min(callback.due for callback in callbacks)


def _callbacks(run: Driven, frame: Frame | None) -> list[Callback]:
    """Callbacks of a run, in the order of their last call: the last frame shows the notes of the others."""
    found: list[Callback] = [_EndFunctions(run)]
    if run.loop.settings.checkpoint:
        from .persistence.checkpoint import Checkpointer

        found.append(Checkpointer(run.loop))
    if frame is not None:
        found.append(FrameScheduler(run.loop, frame))
    return found


class _EndFunctions(Callback):
    """Calls the functions in `ON_END`; one that fails leaves a note, and the result stands."""

    def __init__(self, run: Driven) -> None:
        self.run = run

    def end(self) -> None:
        for function in ON_END:
            try:
                function(self.run)
            except Exception as error:
                self.run.loop.add_note(one_line(error))


def drive(run: R, frame: Frame | None = None) -> R:
    """Train in the calling thread until the run ends.

    Parameters
    ----------
    run : Run
    frame : Frame, optional
        Display that shows the run between steps.

    Returns
    -------
    Run
        The same.
    """
    loop = run.loop
    loop.driver = threading.current_thread()
    try:
        with contextlib.closing(_steps(run, frame)) as steps:
            for resting in steps:
                if resting:
                    loop.requests.wake.clear()
                    if not loop.requests.pending:
                        loop.requests.wake.wait()
    finally:
        loop.driver = None
        loop.requests.notify()
    return run


async def drive_async(run: R, frame: Frame | None = None) -> R:
    """Train inside an event loop, for kernels without threads (Pyodide); as `drive`."""
    import asyncio

    loop = run.loop
    loop.driver = threading.current_thread()
    try:
        with contextlib.closing(_steps(run, frame)) as steps:
            for resting in steps:
                await asyncio.sleep(0.02 if resting else 0)
    finally:
        loop.driver = None
        loop.requests.notify()
    return run


def background(run: R, frame: Frame | None = None) -> R:
    """Train in a daemon thread; where threads cannot start, as a task of the running event loop. As `drive`."""
    loop = run.loop
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(drive, run, frame), name="metagd", daemon=True)
    loop.driver = thread  # before it starts, so that the run is never found without a driver
    try:
        thread.start()
    except RuntimeError:
        import asyncio

        loop.task = asyncio.ensure_future(drive_async(run, frame))
    return run


def foreground(run: R, frame: Frame | None = None) -> R:
    """Train to the end; an interrupt stops the run and keeps its state. As `drive`.

    The training has a thread of its own here too: an interrupt then reaches the thread that waits, never the middle
    of a step.
    """
    if sys.platform == "emscripten":
        return drive(run, frame)
    background(run, frame)
    wait(run.loop)
    return run
