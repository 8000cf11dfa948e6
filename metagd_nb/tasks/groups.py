"""The user's own data: every group — a patient, a clinic, a sensor — is a task."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import MetagdError
from .base import Batch, Example, TaskBatch, Tasks


def numbers_2d(values: Any, name: str) -> np.ndarray:
    """``values`` as finite floats (n, D); a vector (n,) becomes one column.

    Raises
    ------
    MetagdError
        Naming the array and what was wrong with it.
    """
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex")
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise MetagdError("holds values that are not numbers", name) from None
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.size == 0:
        raise MetagdError(f"has shape {np.shape(values)}; needs (n,) or (n, D) with n ≥ 1", name)
    bad = ~np.isfinite(array)
    if bad.any():
        row = int(np.argmax(bad.any(axis=1)))
        raise MetagdError(
            f"holds {int(bad.sum())} values that are not finite (first in row {row}); drop or fill them", name
        )
    return array


def _labels(group: Any) -> np.ndarray:
    """``group`` as an array (n,) of labels that can be told apart and sorted.

    Raises
    ------
    MetagdError
        Naming what was wrong with it.
    """
    try:
        labels = np.asarray(group)
    except ValueError:
        raise MetagdError("holds lists of unlike length; needs (n,), one label a row", "group") from None
    if labels.ndim != 1:
        raise MetagdError(f"has shape {labels.shape}; needs (n,), one label a row", "group")
    missing = labels != labels  # nan alone differs from itself
    if np.any(missing):
        raise MetagdError(
            f"has {np.sum(missing)} missing labels (first in row {np.argmax(missing)}); drop those rows", "group"
        )
    try:
        np.sort(labels)
    except TypeError:
        raise MetagdError("holds labels that cannot be sorted; needs all of one kind, none missing", "group") from None
    return labels


class Groups(Tasks):
    """Rows of a table, grouped into tasks; see `groups`."""

    name = "groups"

    def __init__(self, x: np.ndarray, y: np.ndarray, group: np.ndarray) -> None:
        self.x, self.y = numbers_2d(x, "x"), numbers_2d(y, "y")
        self.group = _labels(group)
        if not len(self.x) == len(self.y) == len(self.group):
            lengths = f"{len(self.x)}, {len(self.y)} and {len(self.group)}"
            raise MetagdError(f"have {lengths} rows; need the same number", "x, y, group")
        self.inputs, self.outputs = self.x.shape[1], self.y.shape[1]
        self.labels, member = np.unique(self.group, return_inverse=True)
        self.sizes = np.bincount(member)
        order = np.argsort(member, kind="stable")
        # (G, largest group): the rows of each group, padded with its first row, never read past its size
        self._rows = np.zeros((len(self.labels), self.sizes.max()), int)
        inside = np.arange(self.sizes.max()) < self.sizes[:, None]
        self._rows[inside] = order
        self._inside = inside
        self.test_queries = int(self.sizes.max())

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"groups({len(self)} groups of {self.sizes.min()}–{self.sizes.max()} rows, D={self.inputs})"

    def split(self, fraction: float = 0.75, seed: int = 0) -> tuple[Groups, Groups]:
        """Two families with no group in common: one to learn from, one held out.

        Parameters
        ----------
        fraction : float
            Share of the groups in the first, 0 < fraction < 1.
        """
        first = round(fraction * len(self))
        if not 0 < first < len(self):
            raise MetagdError(f"{fraction!r} of {len(self)} groups leaves one side empty", "fraction")
        chosen = np.random.default_rng(seed).permutation(len(self))
        sides = [np.isin(self.group, self.labels[part]) for part in (chosen[:first], chosen[first:])]
        return Groups(*(a[sides[0]] for a in self._table)), Groups(*(a[sides[1]] for a in self._table))

    @property
    def _table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.x, self.y, self.group

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        """Support and query share no row. A group short of query rows repeats those it has."""
        short = self.sizes <= shots
        if short.any():
            names = ", ".join(str(label) for label in self.labels[short][:3])
            raise MetagdError(
                f"{shots} needs groups of at least {shots + 1} rows; {int(short.sum())} have fewer ({names} …)", "shots"
            )
        # Without replacement within a batch while there are groups enough, else every group about equally often
        times = -(-n // len(self))
        keys = rng.random((batches, times, len(self)))
        chosen = np.argsort(keys, axis=-1).reshape(batches, -1)[:, :n].reshape(-1)  # (T,)
        shuffle = np.where(self._inside[chosen], rng.random((len(chosen), self._rows.shape[1])), np.inf)
        rows = np.take_along_axis(self._rows[chosen], np.argsort(shuffle, axis=1), axis=1)  # a group's rows, shuffled
        rest = self.sizes[chosen, None] - shots
        query = np.take_along_axis(rows, shots + np.arange(queries) % rest, axis=1)
        support = rows[:, :shots]
        return TaskBatch(Batch(self.x[support], self.y[support]), Batch(self.x[query], self.y[query]))

    def example(self, rng: np.random.Generator, shots: int) -> Example | None:
        if self.inputs != 1 or self.outputs != 1:
            return None
        g = int(rng.integers(len(self)))
        rows = self._rows[g, : self.sizes[g]]
        chosen = rng.permutation(rows)[:shots]
        grid = np.linspace(self.x.min(), self.x.max(), 201)
        return Example(Batch(self.x[None, chosen], self.y[None, chosen]), grid, None, f"group {self.labels[g]}")


def groups(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> Groups:
    """Your own data as a family of tasks: the rows of one group are one task.

    Parameters
    ----------
    x : array (n,) or (n, D)
        Inputs, finite numbers.
    y : array (n,) or (n, C)
        Targets, finite numbers.
    group : array (n,)
        The label of the group each row belongs to.

    Raises
    ------
    MetagdError
        For lengths that differ, values that are not numbers or not finite.
    """
    return Groups(x, y, group)
