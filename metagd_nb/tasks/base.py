"""What a family of tasks is: something that deals out small data sets, support and query."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np


class Batch:
    """The data of T tasks: inputs ``x`` (T, K, D) and targets ``y`` (T, K, C).

    ``kind`` (T,) is the number of each task's kind, where tasks are of several kinds and it is known.
    """

    __slots__ = ("_with_ones", "kind", "x", "y")

    def __init__(self, x: np.ndarray, y: np.ndarray, kind: np.ndarray | None = None) -> None:
        self.x, self.y, self.kind = x, y, kind
        self._with_ones: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, tasks: slice) -> Batch:
        return Batch(self.x[tasks], self.y[tasks], None if self.kind is None else self.kind[tasks])

    def cast(self, dtype: np.typing.DTypeLike) -> Batch:
        """The same data in another precision; itself when it has it already."""
        if self.x.dtype == dtype and self.y.dtype == dtype:
            return self
        return Batch(self.x.astype(dtype), self.y.astype(dtype), self.kind)

    @property
    def with_ones(self) -> np.ndarray:
        """Inputs (T, K, D+1) with a last column of ones, which meets the bias row of a layer; made once."""
        if self._with_ones is None:
            self._with_ones = np.concatenate([self.x, np.ones_like(self.x[..., :1])], axis=-1)
        return self._with_ones


class TaskBatch(NamedTuple):
    """T tasks: what each may learn from, and what it is judged on."""

    support: Batch
    query: Batch

    def __len__(self) -> int:  # tasks, not fields
        return len(self.support)

    def tasks(self, chosen: slice) -> TaskBatch:
        """Some of the tasks."""
        return TaskBatch(self.support[chosen], self.query[chosen])

    def cast(self, dtype: np.typing.DTypeLike) -> TaskBatch:
        """The same data in another precision."""
        return TaskBatch(self.support.cast(dtype), self.query.cast(dtype))


class Reference(NamedTuple):
    """A known value of the loss, to be drawn as a line and labelled for what it is."""

    value: float
    label: str


class Example(NamedTuple):
    """One task on one-dimensional inputs, to be looked at."""

    support: Batch  # (1, K, 1), (1, K, 1)
    x: np.ndarray  # (N,) where curves are drawn
    truth: np.ndarray | None  # (N,) the true curve, when it is known
    label: str


_RENAMED = {"full": "full_batch", "there_are": "n_available"}  # attributes of `Tasks`, old name → new


class Tasks:
    """A family of tasks.

    Attributes
    ----------
    name : str
        As the cell and the tables call it.
    inputs, outputs : int
        D and C.
    full_batch : bool
        Whether every batch holds all tasks with all their data, so that losses carry no sampling noise.
    n_available : int or None
        How many different tasks there are; None where there is no end of them.
    test_queries : int
        Query points a task when a learner is evaluated.
    loss : "mse" | "cross-entropy"
        What these tasks are learned with where a person names no other.
    classes : array (C,), optional
        Labels of the outputs, where every task has the same classes.
    ways : int
        Classes a task that each have ``shots`` and ``queries`` points of their own; 1 where a task as a whole has.
    kinds : tuple of str
        The names of the kinds of task, where there are several.
    """

    name: str = "tasks"
    inputs: int
    outputs: int
    full_batch: bool = False
    n_available: int | None = None
    test_queries: int = 100
    recipe: Any = None  # how it was made, where a function of the kit made it
    loss: str = "mse"
    classes: np.ndarray | None = None
    ways: int = 1
    kinds: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        for old in _RENAMED.keys() & vars(cls).keys():
            setattr(cls, _renamed(old), vars(cls)[old])

    def __getattr__(self, name: str) -> Any:
        if name in _RENAMED:
            return getattr(self, _renamed(name))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        """``batches`` batches of ``n`` tasks each, laid one after the other on the task axis.

        Drawing many batches at a time is what makes sampling cheap.
        """
        raise TypeError(f"{type(self).__name__} deals no tasks: it needs a method sample")

    def draw(
        self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int, dtype: np.typing.DTypeLike
    ) -> TaskBatch:
        """As `sample`, in a precision: the same numbers drawn; a family may already compute in it, which is faster."""
        return self.sample(rng, batches, n, shots, queries).cast(dtype)

    def references(self, inner_lr: Any, inner_steps: int, shots: int) -> list[Reference]:
        """Known values of the mean query loss (that of ``loss``), for a learner with these settings."""
        return []

    def example(self, rng: np.random.Generator, shots: int) -> Example | None:
        """One task to look at; None where inputs are not one-dimensional."""
        return None


def _renamed(old: str) -> str:
    """Return the new name of an attribute of `Tasks`, with a warning."""
    warnings.warn(f"Tasks.{old} is now called {_RENAMED[old]}", DeprecationWarning, stacklevel=3)
    return _RENAMED[old]
