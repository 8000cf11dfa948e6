"""Reading of results: waits until the run has ended or is paused."""

from __future__ import annotations

from ..core.messages import logger
from . import control
from .loop import TrainingLoop


def settled(run: control.HasLoop, result: str) -> TrainingLoop:
    """Return the loop of a run that has ended or is paused; ``result`` names what is read from it."""
    control.wait(run.loop, result)
    if run.loop.running and run.loop.paused:
        logger.warning("metagd: paused at step %d; %s as of now", max(run.loop.snapshot.step, 0), result)
    return run.loop
