"""Tables of the user whose rows belong to groups: every group, such as a patient or a clinic, is a task."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from ...core import MetagdError, check_float, records_call, records_derivation
from ..base import Batch, Example, Reference, TaskBatch, Tasks
from ..identity import name_keys, rows_key
from ..sampler import draw_without_repeats, split_numbers
from ..validation import labels, numbers_2d, refuse_unequal, targets


class Groups(Tasks):
    """Rows of a table, grouped into tasks; see `groups`."""

    def __init__(
        self,
        x: np.typing.ArrayLike,
        y: np.typing.ArrayLike,
        group: np.typing.ArrayLike,
        loss: str | None = None,
        classes: np.ndarray | None = None,
        name: str = "groups",
    ) -> None:
        self.name, self.x = name, numbers_2d(x, "x")
        self.y, self.loss, self.classes = targets(y, "y", loss, classes)
        self.group = labels(group, "group")
        refuse_unequal("rows", x=self.x, y=self.y, group=self.group)
        self.inputs, self.outputs = self.x.shape[1], self.y.shape[1]
        self.labels, member = np.unique(self.group, return_inverse=True)
        self.sizes = np.bincount(member)
        # (G, largest group): the rows of each group, never read past its size
        self._inside = np.arange(self.sizes.max()) < self.sizes[:, None]
        self._rows = np.zeros_like(self._inside, int)
        self._rows[self._inside] = np.argsort(member, kind="stable")
        self._names = dict(zip(self.labels.tolist(), name_keys(self.labels), strict=True))
        self._held_out: Groups | None = None
        self.n_available = len(self.labels)
        self.test_queries = int(self.sizes.max())

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {self.outputs} classes"
        rows = f"{self.sizes.min()}–{self.sizes.max()} rows"
        held_out = "" if self._held_out is None else f"; {len(self._held_out)} held out"
        return f"{self.name}({len(self)} groups of {rows}, D={self.inputs}{classes}{held_out})"

    @property
    def test(self) -> Groups | None:
        """Family of the groups that are held out, with ``groups(…, test=)``."""
        return None if self._held_out is None else self.held_out()

    @records_derivation
    def held_out(self) -> Groups | None:
        """Return `test`; a method, because files name methods only."""
        return self._held_out

    def task_keys(self) -> list[set[Hashable]]:
        keys: list[set[Hashable]] = []
        for label, rows, size in zip(self.labels.tolist(), self._rows, self.sizes, strict=True):
            mine = np.concatenate([self.x[rows[:size]], self.y[rows[:size]]], axis=1)
            own = self._names[label] or {(str(label), row.tobytes()) for row in mine}  # a number alone says nothing
            keys.append({("rows", rows_key(mine)), *own})
        return keys

    @records_derivation
    def split(self, fraction: float = 0.75, seed: int = 0) -> tuple[Groups, Groups]:
        """Split into two families with no group in common: one to learn from, one held out.

        Parameters
        ----------
        fraction : float
            Share of the groups in the first, 0 < fraction < 1.
        seed : int

        Returns
        -------
        first, second : Groups

        Raises
        ------
        MetagdError
            For a fraction that leaves one side empty.
        """
        first, second = split_numbers(len(self), fraction, seed, "groups")
        return self._part(first), self._part(second)

    @records_derivation
    def subset(self, which: Sequence[int] | slice | np.ndarray) -> Groups:
        """Return some of the groups.

        Parameters
        ----------
        which : sequence of int, slice or array
            Their numbers, in the order of ``labels``.

        Returns
        -------
        Groups
        """
        return self._part(np.arange(len(self))[which])

    def rows(self, rng: np.random.Generator, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rows of every group.

        Parameters
        ----------
        rng : Generator
        most : int
            Rows of a group at most, chosen at random from larger groups.

        Returns
        -------
        x : array (G, K, D)
        y : array (G, K, C)
        inside : array (G, K) of bool
            False for rows that only fill up groups with fewer than K.
        """
        width = min(most, self._inside.shape[1])
        keys = np.where(self._inside, rng.random(self._inside.shape), np.inf)
        rows = np.take_along_axis(self._rows, np.argsort(keys, axis=1)[:, :width], axis=1)
        return self.x[rows], self.y[rows], self._inside[:, :width]

    def holding_out(self, share: float) -> Groups:
        """Return the family without a share of the groups, which are its `test`.

        Parameters
        ----------
        share : float

        Returns
        -------
        Groups

        Raises
        ------
        MetagdError
            For a share that leaves one side empty.
        """
        count = round(share * len(self))
        if not 0 < count < len(self):
            raise MetagdError(f"{share!r} of {len(self)} groups leaves one side empty", "test")
        family, test = self.split(1 - count / len(self))
        family._held_out = test
        return family

    def _part(self, numbers: np.ndarray) -> Groups:
        rows = np.isin(self.group, self.labels[numbers])
        part = Groups(self.x[rows], self.y[rows], self.group[rows], self.loss, name=self.name)
        part.classes = self.classes  # including those without a row in this part
        part._names = self._names
        return part

    def references(self, inner_lr: np.typing.ArrayLike, inner_steps: int, shots: int) -> list[Reference]:
        if self.classes is None:
            return []
        share = np.array([self.y[rows[:size]].mean(axis=0) for rows, size in zip(self._rows, self.sizes, strict=True)])
        share = share.mean(axis=0)  # (C,) of a row that is drawn: all groups are equally frequent
        entropy = -float(np.sum(share * np.log(np.where(share > 0, share, 1))))
        return [Reference(entropy, "best that ignores x")]

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        """Draw groups; support and query share no row. A group with few query rows repeats them."""
        short = self.sizes <= shots
        if short.any():
            names = ", ".join(str(label) for label in self.labels[short][:3])
            raise MetagdError(
                f"{shots} needs groups of at least {shots + 1} rows; {int(short.sum())} have fewer ({names} …)", "shots"
            )
        chosen = draw_without_repeats(rng, len(self), batches, n)  # (T,)
        shuffle = np.where(self._inside[chosen], rng.random((len(chosen), self.sizes.max())), np.inf)
        rows = np.take_along_axis(self._rows[chosen], np.argsort(shuffle, axis=1), axis=1)  # a group's rows, shuffled
        rest = self.sizes[chosen, None] - shots
        query = np.take_along_axis(rows, shots + np.arange(queries) % rest, axis=1)
        support = rows[:, :shots]
        return TaskBatch(*(Batch(self.x[mine], self.y[mine], number=chosen) for mine in (support, query)))

    def example(self, rng: np.random.Generator, shots: int) -> Example | None:
        if self.inputs != 1 or self.outputs != 1:
            return None
        g = int(rng.integers(len(self)))
        rows = self._rows[g, : self.sizes[g]]
        chosen = rng.permutation(rows)[:shots]
        grid = np.linspace(self.x.min(), self.x.max(), 201)
        return Example(Batch(self.x[None, chosen], self.y[None, chosen]), grid, None, f"group {self.labels[g]}")


@records_call
def groups(
    x: np.typing.ArrayLike,
    y: np.typing.ArrayLike,
    group: np.typing.ArrayLike,
    loss: str | None = None,
    *,
    test: float = 0.0,
) -> Groups:
    """Make a family of tasks from your own data: the rows of one group are one task.

    With ``test`` a share of the groups is held out: training does not see them, and ``evaluate``, ``compare`` and
    ``sweep`` judge on them. They are the family's attribute ``test``.

    Parameters
    ----------
    x : array (n,) or (n, D)
        Inputs, finite numbers.
    y : array (n,) or (n, C)
        Targets, finite numbers; or class labels (n,), and then one output a class, in the order of the sorted labels.
    group : array (n,)
        Label of the group of each row.
    loss : "mse" | "cross-entropy", optional
        Loss to learn with. By default ``y`` of text are class labels and numbers are quantities;
        ``cross-entropy`` makes whole numbers class labels too.
    test : float
        Share of the groups that is held out, 0 ≤ test < 1.

    Returns
    -------
    Groups

    Raises
    ------
    MetagdError
        For lengths that differ, values that are not numbers or not finite, and a share that leaves one side empty.
    """
    family, share = Groups(x, y, group, loss), check_float(test, "test", low=0)
    if not share:
        return family
    return family.holding_out(share)
