"""Drivers of a run: one loop, in the calling thread, in a thread of its own, or as an asyncio task.

The loop draws between steps, when its `FrameScheduler` says so.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import Callable, Generator

import numpy as np

from ..core.errors import one_line
from .pacing import Checkpointer, Frame, FrameScheduler, yield_to_renderer
from .run import Run

SLICE = 0.02  # seconds after which an asyncio task lets others in
TURN = 0.001  # and a thread, where another waits: Python's own 5 ms would make an import beside a run take minutes

ON_END: list[Callable[[Run], None]] = []  # called once with each run that has ended

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
            found = _turns.pop()  # at last the first one's, which is the person's
            if not _turns:
                sys.setswitchinterval(found)


def _loop(run: Run, frame: Frame | None) -> Generator[bool]:
    """Train to the end; yields True when there is nothing to do until ``run.wake``, else now and then False."""
    pacer, keeper = FrameScheduler(run, frame), Checkpointer(run)
    with np.errstate(all="ignore"), _short_turns():  # a diverging run is told of in words, once
        try:
            if not len(run.record):
                run.advance()
            breath = SLICE
            while run.stopped is None:
                if run.pending:
                    run.obey()
                    pacer.answer()
                    continue
                if run.held:
                    pacer.draw()
                    run.obey()  # tells those who wait for the steps they asked for
                    rest = time.perf_counter()
                    yield run.held and run.stopped is None  # unless it was asked for more while it was drawn
                    run.rested(time.perf_counter() - rest)
                    continue
                trained = run.trained()
                if trained >= pacer.due and run.at_hand:
                    pacer.draw()
                if trained >= keeper.due and run.at_hand:
                    keeper.keep()
                if trained >= breath:
                    yield False
                    breath = trained + SLICE
                yield_to_renderer(run)
                run.advance_many()
        except (KeyboardInterrupt, GeneratorExit):  # the latter when an event loop drops its task
            run.interrupted()
        except BaseException as error:  # a SystemExit in the loss ends the run, not the thread
            run.fail(error)
        _call_on_end(run)
        keeper.keep()
    pacer.draw(final=True)


def _call_on_end(run: Run) -> None:
    """Call the functions registered in `ON_END`; one that fails leaves a note, and the result stands."""
    for call in ON_END:
        try:
            call(run)
        except Exception as error:
            run.note = "\n".join(filter(None, [run.note, one_line(error)]))


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
