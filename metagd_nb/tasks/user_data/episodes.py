"""Episodes: every task has classes of its own, and a few examples of each (N-way K-shot)."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Sequence
from typing import Self

import numpy as np

from ...core import MetagdError, check_int, records_call, records_derivation
from ..base import Batch, Reference, TaskBatch, Tasks
from ..identity import name_keys, rows_key
from ..validation import labels, numbers_2d, refuse_unequal


def distinct(rng: np.random.Generator, bound: int, rows: int, k: int) -> np.ndarray:
    """Draw k different whole numbers below ``bound`` in each row, (rows, k), all choices equally likely.

    Parameters
    ----------
    rng : Generator
    bound, rows, k : int

    Returns
    -------
    array (rows, k) of int
    """
    if k * k > bound:  # few to choose from: shuffle them
        return np.argsort(rng.random((rows, bound)), axis=1)[:, :k]
    chosen = rng.integers(bound, size=(rows, k))
    while True:  # many: draw again the rows in which two are the same, at most about half
        ordered = np.sort(chosen, axis=1)
        again = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if not len(again):
            return chosen
        chosen[again] = rng.integers(bound, size=(len(again), k))


class Episodes(Tasks):
    """N-way K-shot tasks from labelled rows; see `episodes`.

    Parameters
    ----------
    x : array (n, D)
    number : array (n,)
        Number of the class of each row, 0…N−1; every class has a row.
    ways : int
        Classes of a task.
    names, parents : sequences (N,), optional
        Name of each class, and what it belongs to (a letter's script); `split` separates parents.
    name : str
        Name of the family.
    """

    loss = "cross-entropy"
    test_queries = 15  # a class

    def __init__(
        self,
        x: np.ndarray,
        number: np.ndarray,
        ways: int,
        names: Sequence[str] | np.ndarray | None = None,
        parents: Sequence[str] | np.ndarray | None = None,
        name: str = "episodes",
    ) -> None:
        self.name, self.inputs = name, x.shape[1]
        self.ways = self.outputs = check_int(ways, "ways", 2)
        every = np.arange(number.max() + 1)
        self._set_rows(x, number)
        self.names = every.astype(str) if names is None else np.asarray(names)
        self.parents = every if parents is None else np.asarray(parents)
        if self.ways > self.n_classes:
            raise MetagdError(f"{ways} needs as many classes; there are {self.n_classes}", "ways")

    def _set_rows(self, x: np.ndarray, number: np.ndarray) -> None:
        self.x, self.number, self.sizes = x, number, np.bincount(number)
        self._rows, self._first = np.argsort(number, kind="stable"), np.cumsum(self.sizes) - self.sizes

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.sizes)

    def __repr__(self) -> str:
        return f"{self.name}({self.ways} ways of {self.n_classes} classes, D={self.inputs})"

    @records_derivation
    def split(self, fraction: float = 0.75, seed: int = 0) -> tuple[Self, Self]:
        """Split into two families with no parent, hence no class, in common: one to learn from, one held out.

        Parameters
        ----------
        fraction : float
            Share of the parents (of the classes, if no parents are known) in the first.
        seed : int

        Returns
        -------
        first, second : Episodes

        Raises
        ------
        MetagdError
            For a fraction that leaves a side with too few classes.
        """
        kinds = np.unique(self.parents)
        order, first = np.random.default_rng(seed).permutation(len(kinds)), round(fraction * len(kinds))
        sides = [np.flatnonzero(np.isin(self.parents, kinds[part])) for part in (order[:first], order[first:])]
        if min(map(len, sides)) < self.ways:
            raise MetagdError(
                f"{fraction!r} of {len(self.sizes)} classes leaves a side with fewer than {self.ways}", "fraction"
            )
        return self._of(sides[0]), self._of(sides[1])

    def _of(self, classes: np.ndarray) -> Self:
        """Return the same family on some of the classes."""
        part, rows = copy.copy(self), np.isin(self.number, classes)
        part._set_rows(self.x[rows], np.unique(self.number[rows], return_inverse=True)[1])
        part.names, part.parents = (labels[np.sort(classes)] for labels in (self.names, self.parents))
        return part

    def task_keys(self) -> list[set[Hashable]]:
        rows = np.split(self._rows, self._first[1:])
        names = zip(rows, name_keys(self.names), strict=True)
        return [{("rows", rows_key(self.x[mine]))} | name for mine, name in names]

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        """Draw ``shots`` and ``queries`` points of each class, class by class; support and query share no row.

        Classes that are too small for so many queries repeat them.
        """
        least = int(self.sizes.min())
        if least <= shots:
            raise MetagdError(f"{shots} a class needs classes of at least {shots + 1} rows; one has {least}", "shots")
        tasks, ways, k = batches * n, self.ways, min(shots + queries, least)
        classes = distinct(rng, self.n_classes, tasks, ways)  # (T, C)
        row = self._pick(rng, classes, k)  # (T, C, k)
        query = row[..., shots + np.arange(queries) % (k - shots)]
        return TaskBatch(self._batch(classes, row[..., :shots]), self._batch(classes, query))

    def _pick(self, rng: np.random.Generator, classes: np.ndarray, k: int) -> np.ndarray:
        """Draw k different rows of each class, (T, C, k)."""
        flat = (classes % len(self.sizes)).ravel()
        row = np.empty((len(flat), k), int)
        for size in np.unique(self.sizes[flat]):  # classes of one size at a time
            members = self.sizes[flat] == size
            row[members] = distinct(rng, int(size), int(members.sum()), k)
        return np.asarray(self._rows[self._first[flat][:, None] + row]).reshape(*classes.shape, k)

    def _batch(self, classes: np.ndarray, row: np.ndarray) -> Batch:
        tasks, ways, k = row.shape
        y = np.repeat(np.eye(ways), k, axis=0)  # (C·k, C)
        return Batch(self._inputs(classes, row).reshape(tasks, ways * k, -1), np.repeat(y[None], tasks, axis=0))

    def _inputs(self, classes: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Return the inputs (T, C, k, D) of the rows (T, C, k)."""
        return np.asarray(self.x[row])

    def references(self, inner_lr: np.typing.ArrayLike, inner_steps: int, shots: int) -> list[Reference]:
        return [Reference(math.log(self.ways), "guessing")]


@records_call
def episodes(x: np.typing.ArrayLike, y: np.typing.ArrayLike, ways: int = 5) -> Episodes:
    """Make N-way K-shot tasks from your own labelled data: each has a few classes and a few rows of each.

    ``shots`` and ``queries`` count the points of a class. The order of the classes differs between tasks.

    Parameters
    ----------
    x : array (n,) or (n, D)
        Inputs, finite numbers.
    y : array (n,)
        Class of each row: text or numbers.
    ways : int
        Classes of a task.

    Returns
    -------
    Episodes

    Raises
    ------
    MetagdError
        For lengths that differ, values that are not numbers or not finite, and fewer classes than ways.
    """
    inputs, given = numbers_2d(x, "x"), labels(y, "y")
    refuse_unequal("rows", x=inputs, y=given)
    return Episodes(inputs, np.unique(given, return_inverse=True)[1], ways)
