"""Batches of tasks: arrays of points with a first axis over tasks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Batch:
    """Data of T tasks.

    Attributes
    ----------
    x : array (T, K, D)
        Inputs.
    y : array (T, K, C)
        Targets.
    kind : array (T,) of int, optional
        Number of each task's kind, where there are several kinds and they are known.
    number : array (T,) of int, optional
        Number of each task in its family, where the family has a finite number of tasks.
    """

    __slots__ = ("kind", "number", "x", "y")

    def __init__(
        self, x: np.ndarray, y: np.ndarray, kind: np.ndarray | None = None, number: np.ndarray | None = None
    ) -> None:
        self.x, self.y, self.kind, self.number = x, y, kind, number

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, tasks: slice) -> Batch:
        kind, number = (None if values is None else values[tasks] for values in (self.kind, self.number))
        return Batch(self.x[tasks], self.y[tasks], kind, number)

    def cast(self, dtype: np.typing.DTypeLike) -> Batch:
        """Convert to another precision; returns itself if it has that precision."""
        if self.x.dtype == dtype and self.y.dtype == dtype:
            return self
        return Batch(self.x.astype(dtype), self.y.astype(dtype), self.kind, self.number)


class TaskBatch(NamedTuple):
    """T tasks: the support set that each learns from, and the query set that it is evaluated on."""

    support: Batch
    query: Batch

    def __len__(self) -> int:  # tasks, not fields
        return len(self.support)

    def tasks(self, chosen: slice) -> TaskBatch:
        """Return some of the tasks."""
        return TaskBatch(self.support[chosen], self.query[chosen])

    def cast(self, dtype: np.typing.DTypeLike) -> TaskBatch:
        """Convert to another precision."""
        return TaskBatch(self.support.cast(dtype), self.query.cast(dtype))
