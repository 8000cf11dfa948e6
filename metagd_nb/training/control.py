"""Control of a run by the user: requests that have taken effect when they return, and waiting.

A request to a loop that a driver holds is carried out by the driver, between two steps; without a driver it is
carried out at once, in the calling thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..core.errors import MetagdError
from .loop import TrainingLoop


def ask(loop: TrainingLoop, kind: str, value: Any = None) -> None:
    """Make a request, and return once it has been carried out.

    Raises
    ------
    MetagdError
        For a run that has ended, unless it is asked to stop.
    """
    if loop.stopped is not None:
        if kind == "stop":
            return
        raise MetagdError(f"the run has ended ({loop.stopped}); start a new one, or resume this one", kind)
    number = loop.request(kind, value)
    if driven_elsewhere(loop):
        _wait_until(loop, lambda: loop.requests.done(number) or not loop.running)
    else:
        with _by_hand(loop):
            loop.handle_requests()


def step(loop: TrainingLoop, n: int) -> None:
    """Pause, and take ``n`` steps."""
    ask(loop, "step", n)
    if driven_elsewhere(loop):
        _wait_until(loop, lambda: not loop.steps_requested or not loop.running)
    with _by_hand(loop):
        while not loop.running and loop.steps_requested and loop.stopped is None:
            loop.advance()


def wait(loop: TrainingLoop) -> None:
    """Wait until the run has ended or is paused; an interrupt meanwhile stops it and keeps its state."""
    if not driven_elsewhere(loop):
        return
    loop.waiting += 1
    try:
        _wait_until(loop, lambda: not driven_elsewhere(loop) or (loop.idle and not loop.requests.pending))
    finally:
        loop.waiting -= 1


def driven_elsewhere(loop: TrainingLoop) -> bool:
    """True while another thread takes the steps."""
    return loop.running and loop.driver is not threading.current_thread()


@contextmanager
def _by_hand(loop: TrainingLoop) -> Iterator[None]:
    """Steps without a driver: no warnings of a diverging loss, and the time between two of them is not training."""
    with np.errstate(all="ignore"):
        yield
    if not loop.running:
        loop.clock.halt()


def _wait_until(loop: TrainingLoop, condition: Callable[[], bool]) -> None:
    try:
        loop.requests.wait_for(condition)
    except KeyboardInterrupt:
        loop.request("stop", "interrupted")
        loop.requests.wait_for(lambda: not loop.running)
