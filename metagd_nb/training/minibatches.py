"""Mini-batches of a single task: rows of a table, or of the data arguments of a loss, in an order drawn for each epoch.

A batch is a function of the seed and the step alone, so that a run can be replayed, resumed and branched exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core.errors import MetagdError
from ..problems.capture.roles import required
from ..problems.capture.row_order import rows
from ..problems.capture.signature import namespace_of
from ..problems.capture.snapshot import DataSnapshot
from ..tasks import Batch
from .settings import Settings
from .validation import EVERY

Array = np.ndarray
STREAM = 0xE0  # of the random numbers that order the rows


class Epochs:
    """Division of rows into epochs, and of an epoch into batches: each epoch takes every row once.

    The last batch of an epoch is smaller where the size of a batch does not divide the number of rows; no row is left
    out and none is repeated, on NumPy and on JAX.

    Parameters
    ----------
    n : int
        Number of rows.
    size : int
        Rows of a batch.
    seed : int

    Attributes
    ----------
    length : int
        Number of steps in an epoch.
    """

    def __init__(self, n: int, size: int, seed: int) -> None:
        self.n, self.size, self.seed = n, size, seed
        self.length = -(-n // size)
        self._order: tuple[int, Array] | None = None  # epoch and its order, replaced together: threads may share them

    def rows(self, step: int) -> Array:
        """Return the numbers of the rows in the batch of a step."""
        epoch, i = divmod(step, self.length)
        order = self._order
        if order is None or order[0] != epoch:
            shuffled = np.random.default_rng([self.seed, epoch, STREAM]).permutation(self.n)
            order = self._order = epoch, shuffled
        return order[1][i * self.size : (i + 1) * self.size]


class RowBatches:
    """Batch of each step from the rows of one table.

    Parameters
    ----------
    table : Batch
        One task: x (1, n, D), y (1, n, C).
    epochs : Epochs
    dtype : dtype
        Precision of the batches; converted batch by batch.
    """

    def __init__(self, table: Batch, epochs: Epochs, dtype: np.typing.DTypeLike) -> None:
        self.x, self.y, self.epochs, self.dtype = table.x[0], table.y[0], epochs, dtype

    def __call__(self, step: int) -> Batch:
        """Return the rows of one step: x (1, K, D), y (1, K, C)."""
        rows = self.epochs.rows(step)
        return Batch(self.x.take(rows, axis=0)[None], self.y.take(rows, axis=0)[None]).cast(self.dtype)


class ArgumentBatches:
    """Batch of each step from the data arguments of a loss: name → value with the rows of the step.

    Parameters
    ----------
    data : mapping name → value
        Data arguments of the loss; those without ``epochs.n`` rows are in no batch. A DataFrame or Series is cut with
        ``.iloc``, so that the loss is called with the type that was given.
    epochs : Epochs
    """

    def __init__(self, data: Mapping[str, Any], epochs: Epochs) -> None:
        self.epochs = epochs
        self.data = {name: value for name, value in data.items() if rows(value) == epochs.n}

    def __call__(self, step: int) -> dict[str, Any]:
        """Return the arguments of one step."""
        chosen = self.epochs.rows(step)
        return {name: picked(value, chosen) for name, value in self.data.items()}


def epochs_of(settings: Settings, n: int) -> Epochs | None:
    """Return the division of ``n`` rows into batches; None for a run that takes all rows in every step.

    Raises
    ------
    MetagdError
        For a batch of more rows than there are.
    """
    size = settings.batch_size
    if size is None:
        return None
    if size > n:
        raise MetagdError(f"{size} is more than the {n} rows to train on", "batch_size")
    return Epochs(n, size, settings.seed)


def every_of(epochs: Epochs | None) -> int:
    """Return the number of steps from one evaluation on held-out rows, or of metrics, to the next."""
    return EVERY if epochs is None else epochs.length


def common_rows(data: Mapping[str, Any]) -> int:
    """Return the number of rows of the data arguments of a loss; 0 if none has rows.

    Raises
    ------
    MetagdError
        For arguments of unlike first lengths, naming them.
    """
    lengths = {name: n for name, value in data.items() if (n := rows(value)) >= 2}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise MetagdError(f"have unlike numbers of rows ({counts}); pass what has none as a global", "data")
    return next(iter(lengths.values()), 0)


def picked(value: Any, chosen: Array) -> Any:
    """Return the chosen rows of a table, an array or a list."""
    return value.iloc[chosen] if hasattr(value, "iloc") else np.asarray(value).take(chosen, axis=0)


def taken(data: Mapping[str, Any], n: int, chosen: Array) -> dict[str, Any]:
    """Return data arguments with the chosen of their ``n`` rows; those without rows as they are."""
    return {name: picked(value, chosen) if rows(value) == n else value for name, value in data.items()}


def looked_up(
    loss: Callable[..., Any], params: Mapping[str, Any], namespace: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the arguments of a loss that are neither parameters nor constants, with their values in the namespace."""
    space = namespace_of(loss) if namespace is None else namespace
    return {name: space[name] for name in required(loss) if name not in params and name in space}


def snapshots(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of arrays and tables, so that what a later cell writes into them does not reach a run."""
    known = DataSnapshot()
    return {
        name: known.array(value, name)
        if isinstance(value, np.ndarray)
        else value.copy()
        if hasattr(value, "iloc")
        else value
        for name, value in data.items()
    }
