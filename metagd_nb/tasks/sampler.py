"""Batches as a pure function of the step: the same seed and step give the same tasks, always.

That is what lets a run be replayed, resumed and changed under way without any generator's state being kept.
"""

from __future__ import annotations

import numpy as np

from .base import TaskBatch, Tasks

AHEAD = 100  # steps drawn at a time; drawing one step's tasks costs nearly as much as drawing a hundred's
AHEAD_BYTES = 4_000_000


class Sampler:
    """The batch of each step: ``sampler(t)`` holds ``n`` tasks, or all of them where the family is full.

    Parameters
    ----------
    tasks : Tasks
    n, shots, queries : int
        Tasks a batch, support and query points a task.
    seed : int
    dtype : dtype
        Precision of the arrays dealt.
    """

    def __init__(self, tasks: Tasks, n: int, shots: int, queries: int, seed: int, dtype: np.typing.DTypeLike) -> None:
        self.tasks, self.n, self.shots, self.queries, self.seed = tasks, n, shots, queries, seed
        self.dtype = np.dtype(dtype)
        size = 8 * n * tasks.ways * (shots + queries) * (tasks.inputs + tasks.outputs)
        self.ahead = 1 if tasks.full_batch else max(1, min(AHEAD, AHEAD_BYTES // size))
        self._held: tuple[int, TaskBatch] | None = None  # a chunk and its tasks, replaced as one: threads may share it

    def __call__(self, step: int) -> TaskBatch:
        """The tasks of one step."""
        chunk, i = (0, 0) if self.tasks.full_batch else divmod(step, self.ahead)
        held = self._held
        if held is None or held[0] != chunk:
            rng = np.random.default_rng([self.seed, chunk])
            drawn = self.tasks.draw(rng, self.ahead, self.n, self.shots, self.queries, self.dtype)
            held = self._held = chunk, drawn
        return held[1] if self.tasks.full_batch else held[1].tasks(slice(i * self.n, (i + 1) * self.n))
