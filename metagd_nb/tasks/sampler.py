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
        size = 8 * n * (shots + queries) * (tasks.inputs + tasks.outputs)
        self.ahead = 1 if tasks.full else max(1, min(AHEAD, AHEAD_BYTES // size))
        self._chunk, self._drawn = -1, None  # type: tuple[int, TaskBatch | None]

    def __call__(self, step: int) -> TaskBatch:
        """The tasks of one step."""
        chunk, i = (0, 0) if self.tasks.full else divmod(step, self.ahead)
        if chunk != self._chunk or self._drawn is None:
            rng = np.random.default_rng([self.seed, chunk])
            self._drawn = self.tasks.sample(rng, self.ahead, self.n, self.shots, self.queries).cast(self.dtype)
            self._chunk = chunk
        return self._drawn if self.tasks.full else self._drawn.tasks(slice(i * self.n, (i + 1) * self.n))
