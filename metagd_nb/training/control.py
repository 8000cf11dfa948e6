"""Control of a run by the user: requests that have taken effect when they return, and waiting.

A request to a loop that a driver holds is carried out by the driver, between two steps; without a driver it is
carried out at once, in the calling thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from ..core.errors import MetagdError, unknown_name
from ..core.messages import logger
from .loop import TrainingLoop
from .settings import Settings
from .stopping import RULES

REOPENING = (*RULES.values(), "checkpoint", "checkpoint_every")  # settings that a run may continue with
POLL = 0.02  # seconds between two looks of a task that waits


class HasLoop(Protocol):
    """A run, as far as its control goes."""

    @property
    def loop(self) -> TrainingLoop:
        """Its training loop."""


R = TypeVar("R", bound=HasLoop)


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
            agree(loop)
            loop.handle_requests()


def agree(loop: TrainingLoop) -> None:
    """Exchange requests with the other processes of the run, where there are any and the place is one of theirs."""
    if loop.executor.ready:
        loop.requests.agree(loop.waiting > 0 or threading.current_thread() is threading.main_thread())


def step(loop: TrainingLoop, n: int) -> None:
    """Pause, and take ``n`` steps."""
    ask(loop, "step", n)
    if driven_elsewhere(loop):
        _wait_until(loop, lambda: not loop.steps_requested or not loop.running)
    with _by_hand(loop):
        while (not loop.running or driven_by_task(loop)) and loop.steps_requested and loop.stopped is None:
            loop.advance()


def wait(loop: TrainingLoop, result: str = "wait") -> None:
    """Wait until the run has ended or is paused; an interrupt meanwhile stops it and keeps its state.

    Parameters
    ----------
    loop : TrainingLoop
    result : str
        What is read then, for the message.

    Raises
    ------
    MetagdError
        Without threads, where nothing trains meanwhile.
    """
    if driven_by_task(loop) and loop.stopped is None and not loop.idle:
        step = max(loop.snapshot.step, 0)
        why = f"the run is at step {step}, and without threads it cannot go on while a cell waits"
        raise MetagdError(f"{why}; write `await run` first, read it in a later cell, or pause it", result)
    if not driven_elsewhere(loop):
        return
    loop.waiting += 1
    try:
        _wait_until(loop, lambda: not driven_elsewhere(loop) or (loop.idle and loop.requests.answered))
    finally:
        loop.waiting -= 1


async def wait_async(run: R) -> R:
    """Wait until a run has ended or is paused, while the event loop goes on."""
    import asyncio

    loop = run.loop
    while loop.running and not (loop.idle and loop.requests.answered):
        await asyncio.sleep(POLL)
    return run


def reopen(loop: TrainingLoop, rules: Mapping[str, Any]) -> None:
    """Let a run that has ended continue, under changed rules; a run from a file writes to no path that the file names.

    Raises
    ------
    MetagdError
        For an unknown rule, and where the rule that ended the run still holds.
    """
    settings = _changed_settings(loop, rules)
    loop.plan.check_available()
    loop.use(settings)
    saved = loop.saved or {"settings": {}}
    if isinstance(saved["settings"].get("checkpoint"), str) and not settings.checkpoint:
        logger.warning("metagd: no checkpoints are written; to write them again: resume(…, checkpoint=FILE)")
    _warn_of_ended_schedule(loop)
    if loop.stopped == "failed":
        loop.note = loop.error = None
    loop.clock.set(loop.record.last("seconds") if len(loop.record) else 0.0)
    loop.steps_requested, loop.paused, loop.stopped = 0, False, None
    loop.requests.clear()
    ending = {name: value for name, value in rules.items() if name in RULES.values()}
    loop.write_event("resume", ending or None)


def _warn_of_ended_schedule(loop: TrainingLoop) -> None:
    """Log one line if a schedule has come to its end, so that further steps change nothing."""
    options = loop.executor.options
    if options is None or options.schedule is None or loop.snapshot.step < 1:
        return
    if dict(zip(loop.algorithm.live_rates(), loop.rates(), strict=True))[options.rate] == 0:
        line = "metagd: %s has come to its end, and the rate is 0; run.set(%s=…) sets another"
        logger.warning(line, options.schedule.text, options.rate)


def _changed_settings(loop: TrainingLoop, rules: Mapping[str, Any]) -> Settings:
    """Return the settings of a run with changed rules, unless it cannot continue under them."""
    for name in rules:
        if name not in REOPENING:
            raise unknown_name("rule", name, REOPENING)
    settings, rule = replace(loop.settings, **rules), RULES.get(loop.stopped or "", "")
    if loop.stopped == "diverged":
        raise MetagdError("the run has ended (diverged); start a new one with a smaller rate", "resume")
    if loop.stopped == "no-descent":
        raise MetagdError("the run has ended (no-descent): no lower point can be found from here", "resume")
    if (rule and rule not in rules) or settings.steps <= loop.record.last_step:
        rule = rule or "steps"
        why = f"{rule}={getattr(loop.settings, rule):g}"
        raise MetagdError(f"the run has ended ({loop.stopped}), by {why}; to go on: resume({rule}=…)", "resume")
    return settings


def raise_failure(run: HasLoop) -> None:
    """Raise the error that ended a run, if one did: with the run as its ``run``.

    Parameters
    ----------
    run : Run
    """
    error = run.loop.error
    if error is not None:
        with suppress(AttributeError, TypeError):
            error.run = run  # type: ignore[attr-defined]
        raise error


@contextmanager
def blocking(run: HasLoop) -> Iterator[None]:
    """Give an error that ends the run meanwhile the run as its ``run``."""
    try:
        yield
    except Exception as error:
        if error is run.loop.error:
            raise_failure(run)
        raise


def request(run: HasLoop, kind: str, value: Any = None) -> None:
    """Make a request as `ask` does; an error that ends the run meanwhile has it as its ``run``."""
    with blocking(run):
        ask(run.loop, kind, value)


def driven_by_task(loop: TrainingLoop) -> bool:
    """True while a task of the event loop takes the steps, and is not the caller."""
    if loop.task is None:
        return False
    import asyncio

    try:
        return asyncio.current_task() is not loop.task
    except RuntimeError:  # called by no task at all
        return True


def driven_elsewhere(loop: TrainingLoop) -> bool:
    """True while another thread takes the steps."""
    return loop.running and loop.driver is not threading.current_thread()


@contextmanager
def _by_hand(loop: TrainingLoop) -> Iterator[None]:
    """Steps without a driver: no warnings of a diverging loss, and the time between two of them is not training.

    An error ends the run as in a driver, and goes on to the caller.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except Exception as error:
        if not loop.running:
            loop.fail(error)
        raise
    finally:
        if not loop.running:
            loop.clock.halt()


def _wait_until(loop: TrainingLoop, condition: Callable[[], bool]) -> None:
    try:
        loop.requests.wait_for(condition)
    except KeyboardInterrupt:
        loop.request("stop", "interrupted")
        loop.requests.wait_for(lambda: not loop.running)
