"""Checkpoints: a long run is written to its file now and then, so that a crash costs only the time since."""

from __future__ import annotations

import time

from ...core.errors import MetagdError
from ..callbacks import Callback
from ..loop import TrainingLoop
from ..pacing import SHARE
from .contents import Source, source, write_run


class Checkpointer(Callback):
    """Writes the run to ``settings.checkpoint``, for no more than a fixed share of the time."""

    def __init__(self, loop: TrainingLoop) -> None:
        self.loop = loop
        self._source: Source | None = None
        self.due = loop.seconds() + loop.settings.checkpoint_every

    def call(self) -> None:
        """Write it now, and schedule the next checkpoint; a full disk must not cost the training."""
        loop, start = self.loop, time.perf_counter()
        assert loop.settings.checkpoint is not None
        self._source = self._source or source(loop)
        try:
            write_run(loop, loop.settings.checkpoint, found=self._source)
        except MetagdError as error:
            loop.note = f"no checkpoint: {error}; training goes on"
        took = time.perf_counter() - start
        loop.clock.exclude(took)
        self.due = loop.seconds() + max(loop.settings.checkpoint_every, took / SHARE)

    end = call
