"""Sampling of tasks: batches as a function of seed and step, and random choices from a finite set.

The same seed and step give the same tasks, so a run can be replayed and resumed without the state of a generator.
"""

from __future__ import annotations

import numpy as np

from ..core.errors import MetagdError
from .base import TaskBatch, Tasks
from .validation import check_distributions

AHEAD = 100  # steps drawn at a time; drawing one step's tasks costs nearly as much as drawing a hundred's
AHEAD_BYTES = 4_000_000


class Sampler:
    """Batch of each step: ``sampler(t)`` holds ``n`` tasks, or all tasks of a family with ``full_batch``.

    Parameters
    ----------
    tasks : Tasks
    n, shots, queries : int
        Number of tasks in a batch, and of support and query points of a task.
    seed : int
    dtype : dtype
        Precision of the batches.
    distributions : bool
        True if the loss needs targets that are distributions over the classes; each draw is then checked.
    """

    def __init__(
        self,
        tasks: Tasks,
        n: int,
        shots: int,
        queries: int,
        seed: int,
        dtype: np.typing.DTypeLike,
        distributions: bool = False,
    ) -> None:
        self.distributions = distributions
        self.tasks, self.n, self.shots, self.queries, self.seed = tasks, n, shots, queries, seed
        self.dtype = np.dtype(dtype)
        size = 8 * n * tasks.ways * (shots + queries) * (tasks.inputs + tasks.outputs)
        self.ahead = 1 if tasks.full_batch else max(1, min(AHEAD, AHEAD_BYTES // size))
        self._chunk: tuple[int, TaskBatch] | None = None  # number and tasks, replaced together: threads may share them

    def __call__(self, step: int) -> TaskBatch:
        """Return the tasks of one step."""
        number, i = (0, 0) if self.tasks.full_batch else divmod(step, self.ahead)
        chunk = self._chunk
        if chunk is None or chunk[0] != number:
            rng = np.random.default_rng([self.seed, number])
            drawn = self.tasks.draw(rng, self.ahead, self.n, self.shots, self.queries, self.dtype)
            if self.distributions:
                check_distributions(drawn)
            chunk = self._chunk = number, drawn
        return chunk[1] if self.tasks.full_batch else chunk[1].tasks(slice(i * self.n, (i + 1) * self.n))


def split_numbers(n: int, fraction: float, seed: int, noun: str) -> tuple[np.ndarray, np.ndarray]:
    """Split the numbers 0…n−1 into two random parts.

    Parameters
    ----------
    n : int
    fraction : float
        Share of the first part.
    seed : int
    noun : str
        Name of the things that are numbered, for the message.

    Returns
    -------
    first, second : array of int

    Raises
    ------
    MetagdError
        For a fraction that leaves a part empty.
    """
    first = round(fraction * n)
    if not 0 < first < n:
        raise MetagdError(f"{fraction!r} of {n} {noun} leaves one side empty", "fraction")
    order = np.random.default_rng(seed).permutation(n)
    return order[:first], order[first:]


def draw_without_repeats(rng: np.random.Generator, size: int, batches: int, n: int) -> np.ndarray:
    """Draw batches of numbers below ``size``, without repeats in a batch where ``n`` ≤ ``size``.

    Parameters
    ----------
    rng : Generator
    size : int
    batches, n : int
        Number of batches, and of numbers in a batch.

    Returns
    -------
    array (batches·n,) of int
        With ``n`` > ``size`` every number is drawn about equally often.
    """
    keys = rng.random((batches, -(-n // size), size))
    return np.asarray(np.argsort(keys, axis=-1).reshape(batches, -1)[:, :n].reshape(-1))
