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
from .control import agree, raise_failure, wait
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
            with _together(loop):
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
        if (seconds := loop.clock.seconds()) >= breath:
            breath = seconds + SLICE
            yield False
            if loop.stopped is not None:  # by others, meanwhile; a step follows otherwise, however long they took
                break  # type: ignore[unreachable]
        if loop.executor.processes is not None:  # once before each step, on each process
            agree(loop)
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
        if seconds >= due and loop.executor.ready:
            due = _call_due(callbacks, seconds)
            if loop.idle or loop.stopped is not None:  # by one of them
                continue  # type: ignore[unreachable]
        yield_to_renderer(loop)
        loop.advance_many()


@contextlib.contextmanager
def _together(loop: TrainingLoop) -> Generator[None]:
    """Hold several processes together: one plan, and an error of one is told to the others."""
    processes = loop.executor.processes
    if processes is None:
        yield
        return
    from .executors.processes import agree_on_run

    error: BaseException | None = None
    processes.begin()
    try:
        agree_on_run(processes, loop)
        yield
    except BaseException as one:
        error = one
        raise
    finally:
        processes.end(error)


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
    watchers = run.loop.plan.watchers
    found: list[Callback] = [] if watchers is None else [watchers.of(run)]
    found.append(_EndFunctions(run))
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
    """
    loop = run.loop
    loop.driver = threading.current_thread()
    try:
        with contextlib.closing(_steps(run, frame)) as steps:
            for resting in steps:
                if resting:
                    loop.requests.rest()
    finally:
        loop.driver = None
        loop.requests.notify()
    return run


async def drive_async(run: R, frame: Frame | None = None) -> R:
    """Train inside an event loop, for kernels without threads (Pyodide); as `drive`."""
    import asyncio

    loop = run.loop
    loop.driver, loop.task = threading.current_thread(), asyncio.current_task()
    try:
        with contextlib.closing(_steps(run, frame)) as steps:
            for resting in steps:
                await asyncio.sleep(0.02 if resting else 0)
    finally:
        loop.driver = loop.task = None
        loop.requests.notify()
    return run


def background(run: R, frame: Frame | None = None) -> R:
    """Train in a daemon thread; without threads as a task of the running event loop, or else here. As `drive`."""
    if _start_thread(run, frame):
        return run
    import asyncio

    try:
        run.loop.task = asyncio.get_running_loop().create_task(drive_async(run, frame))
    except RuntimeError:  # no event loop either
        return drive(run, frame)
    return run


def _start_thread(run: Driven, frame: Frame | None) -> bool:
    """Start a thread that trains; return False where threads cannot start."""
    loop = run.loop
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(drive, run, frame), name="metagd", daemon=True)
    loop.driver = thread  # before it starts, so that the run is never found without a driver
    try:
        thread.start()
    except RuntimeError:
        loop.driver = threading.current_thread()  # which takes the steps then
        return False
    return True


def foreground(run: R, frame: Frame | None = None) -> R:
    """Train to the end; an interrupt stops the run and keeps its state. As `drive`, but a failure is raised.

    The training has a thread of its own here too: an interrupt then reaches the thread that waits, never the middle
    of a step.

    Raises
    ------
    BaseException
        Whatever the user's function raised under way, with the run as its ``run``.
    """
    if _start_thread(run, frame):
        wait(run.loop)
    else:
        drive(run, frame)
    raise_failure(run)
    return run
