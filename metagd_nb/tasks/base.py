"""Family of tasks: draws batches of small data sets, each with a support and a query set."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import MetagdError
from .batch import Batch, TaskBatch

__all__ = ["Batch", "Example", "Reference", "TaskBatch", "Tasks"]


class Reference(NamedTuple):
    """Known value of the loss, drawn as a line with a label."""

    value: float
    label: str


class Example(NamedTuple):
    """Task on one-dimensional inputs, to be drawn."""

    support: Batch  # (1, K, 1), (1, K, 1)
    x: np.ndarray  # (N,) inputs at which curves are drawn
    truth: np.ndarray | None  # (N,) the true curve, when it is known
    label: str


_RENAMED = {"full": "full_batch", "there_are": "n_available"}  # attributes of `Tasks`, old name → new


class Tasks:
    """Family of tasks; a subclass defines `sample`.

    Attributes
    ----------
    name : str
        Name in cells and tables.
    inputs, outputs : int
        Numbers of inputs D and outputs C.
    full_batch : bool
        True if every batch holds all tasks with all their data, so that losses carry no sampling noise.
    n_available : int or None
        Number of different tasks; None if it is unlimited.
    test_queries : int
        Query points of a task in an evaluation.
    loss : "mse" | "cross-entropy"
        Loss that is used by default.
    classes : array (C,), optional
        Labels of the outputs, where every task has the same classes.
    ways : int
        Number of classes of a task that have ``shots`` and ``queries`` points each; 1 if those count the whole task.
    kinds : tuple of str
        Names of the kinds of task, where there are several.
    provenance : dict or None
        Call that made the family, where it can be stored in a file.
    """

    name: str = "tasks"
    inputs: int
    outputs: int
    full_batch: bool = False
    n_available: int | None = None
    test_queries: int = 100
    provenance: dict[str, Any] | None = None
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

    @property
    def test(self) -> Tasks | None:
        """Family of the tasks that are held out, where there are some; `evaluate` and `compare` judge on it."""
        return None

    def task_keys(self) -> list[set[Hashable]]:
        """Return what identifies each task (of episodes: each class): two with a key in common are the same one.

        Returns
        -------
        list of sets
            Empty where every draw is a new task.
        """
        return []

    def n_shared(self, other: Tasks) -> int:
        """Count the tasks (of episodes: the classes) that are in another family too.

        Parameters
        ----------
        other : Tasks

        Returns
        -------
        int
        """
        if other is self:
            return self.n_available or len(self.task_keys())
        known: set[Hashable] = set().union(*other.task_keys())
        return sum(not known.isdisjoint(keys) for keys in self.task_keys())

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        """Draw batches of tasks; many at a time cost little more than one.

        Parameters
        ----------
        rng : Generator
        batches, n : int
            Number of batches, and of tasks in each.
        shots, queries : int
            Number of support and query points of each task, or with ``ways`` > 1 of each of its classes.

        Returns
        -------
        TaskBatch
            batches·n tasks, batch after batch.

        Raises
        ------
        TypeError
            For a family that does not define how it draws.
        """
        raise TypeError(f"{type(self).__name__} cannot draw tasks: it needs a method sample")

    def draw(
        self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int, dtype: np.typing.DTypeLike
    ) -> TaskBatch:
        """Draw as `sample` does, in a precision; a family may compute in that precision, which is faster.

        Parameters
        ----------
        rng, batches, n, shots, queries
            As in `sample`.
        dtype : dtype

        Returns
        -------
        TaskBatch
        """
        return self.sample(rng, batches, n, shots, queries).cast(dtype)

    @property
    def divisible(self) -> bool:
        """True if `subset` can pick some of the tasks."""
        return type(self).subset is not Tasks.subset

    def subset(self, which: Sequence[int] | slice | np.ndarray) -> Tasks:
        """Return the family of some of the tasks.

        Parameters
        ----------
        which : sequence of int, slice or array
            Numbers of the tasks, below ``n_available``.

        Returns
        -------
        Tasks

        Raises
        ------
        MetagdError
            For a family whose tasks cannot be told apart.
        """
        raise MetagdError(f"{self!r} cannot be divided", "tasks")

    def references(self, inner_lr: np.typing.ArrayLike, inner_steps: int, shots: int) -> list[Reference]:
        """Return known values of the mean query ``loss`` of a learner.

        Parameters
        ----------
        inner_lr : float or array (P,)
        inner_steps, shots : int
            Settings of the learner.

        Returns
        -------
        list of Reference
        """
        return []

    def example(self, rng: np.random.Generator, shots: int) -> Example | None:
        """Draw one task for a picture.

        Parameters
        ----------
        rng : Generator
        shots : int
            Number of support points.

        Returns
        -------
        Example or None
            None if inputs are not one-dimensional.
        """
        return None


def _renamed(old: str) -> str:
    """Return the new name of an attribute of `Tasks`, with a warning."""
    warnings.warn(f"Tasks.{old} is now called {_RENAMED[old]}", DeprecationWarning, stacklevel=3)
    return _RENAMED[old]
