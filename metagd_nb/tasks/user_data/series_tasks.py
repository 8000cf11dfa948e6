"""Time series as tasks: forecasts of the next values of one series from windows of its past."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from ...core import MetagdError, check_int, records_derivation
from ..base import Batch, TaskBatch, Tasks
from ..sampler import draw_without_repeats, split_numbers
from ..validation import numbers_2d
from .series_tables import without_short

Generator = Callable[[np.random.Generator, int, int], np.ndarray]


class Frame(NamedTuple):
    """Support set of one series at the end of its history.

    Attributes
    ----------
    x, y : array (K, W), array (K, H)
        Windows of the history, and the values that followed them.
    scale : float
        Unit of ``x`` and ``y``: the mean absolute step between the values of these windows.
    """

    x: np.ndarray
    y: np.ndarray
    scale: float


class Series(Tasks):
    """Time series as tasks, one task a series; see `series`.

    Parameters
    ----------
    values : list of arrays (n,)
        The series; empty where a generator makes them.
    names : array (S,)
    window, horizon : int
        Past values of a window, and values to forecast.
    log : bool
        True to work with logarithms.
    make : function or None
        Generator ``(rng, tasks, length)`` → (tasks, length).
    """

    name = "series"

    def __init__(
        self,
        values: Sequence[np.ndarray],
        names: np.typing.ArrayLike,
        window: int,
        horizon: int,
        log: bool,
        make: Generator | None,
    ) -> None:
        self.window, self.horizon = check_int(window, "window", 1), check_int(horizon, "horizon", 1)
        self.inputs, self.outputs = self.window, self.horizon
        self.log, self._make = bool(log), make
        self.values, self.names = list(values), np.asarray(names)
        if make is None:
            self.values, self.names = without_short(self.values, self.names, self.window, self.horizon)
            self.n_available = len(self.values)
            longest = max(map(len, self.values))
            self._table = np.zeros((len(self.values), longest))  # (S, longest), never read past a series' end
            for row, one in zip(self._table, self.values, strict=True):
                row[: len(one)] = self.transform(one)
        self._lengths = np.array([len(one) for one in self.values], int)
        self.test_queries = 10

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        if self._make is not None:
            return f"series({self.names[0]}, window={self.window}, horizon={self.horizon})"
        low, high = self._lengths.min(), self._lengths.max()
        return f"series({len(self)} of {low}–{high} values, window={self.window}, horizon={self.horizon})"

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return the values that are learned from: logarithms with ``log``, else the values themselves."""
        if not self.log:
            return np.asarray(values, float)
        if np.min(values) <= 0:
            raise MetagdError("needs values > 0", "log")
        return np.asarray(np.log(values))

    def inverse_transform(self, values: np.ndarray) -> np.ndarray:
        """Invert `transform`."""
        return np.asarray(np.exp(values)) if self.log else values

    @records_derivation
    def with_horizon(self, horizon: int) -> Series:
        """Return the same series with another number of values to forecast at once.

        Parameters
        ----------
        horizon : int

        Returns
        -------
        Series
        """
        return Series(self.values, self.names, self.window, horizon, self.log, self._make)

    @records_derivation
    def without_last(self, values: int) -> Series:
        """Return the series without their last ``values`` values, so that nothing later can be learned from them.

        Parameters
        ----------
        values : int

        Returns
        -------
        Series

        Raises
        ------
        MetagdError
            If a generator makes the series.
        """
        self._refuse_generator("without_last")
        values = check_int(values, "values", 1)
        return Series([one[:-values] for one in self.values], self.names, self.window, self.horizon, self.log, None)

    @records_derivation
    def subset(self, which: Sequence[int] | slice | np.ndarray) -> Series:
        """Return some of the series, by their numbers or a slice.

        Parameters
        ----------
        which : sequence of int, or slice

        Returns
        -------
        Series

        Raises
        ------
        MetagdError
            If a generator makes the series.
        """
        self._refuse_generator("subset")
        numbers = np.arange(len(self))[which]
        return Series([self.values[i] for i in numbers], self.names[numbers], self.window, self.horizon, self.log, None)

    chosen = subset  # its name in files of version 0.1

    @records_derivation
    def split(self, fraction: float = 0.75, seed: int = 0) -> tuple[Series, Series]:
        """Split into two families with no series in common: one to learn from, one held out.

        Parameters
        ----------
        fraction : float
            Share of the series in the first, 0 < fraction < 1.
        seed : int

        Returns
        -------
        first, second : Series
        """
        self._refuse_generator("split")
        _, starts, pieces = np.unique(self.names, return_index=True, return_inverse=True)
        order = np.argsort(starts)  # names by their first series: pieces of one series stay together
        parts = split_numbers(len(order), fraction, seed, "series")
        first, second = (np.flatnonzero(np.isin(pieces, order[numbers])) for numbers in parts)
        return self.subset(first), self.subset(second)

    def _refuse_generator(self, what: str) -> None:
        if self._make is not None:
            raise MetagdError("is for series that are given; a generator makes new ones each time", what)

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        """Draw windows; the support windows end where the first query forecast begins.

        In time: the support windows with their targets, then the targets of the query windows. The query windows may
        contain targets of earlier ones, as in forecasts that are repeated while time goes on. A series with few
        windows repeats those it has.
        """
        tasks, overhead = batches * n, self.window + 2 * self.horizon - 2
        if self._make is not None:
            values = self.transform(self._make(rng, tasks, shots + queries + overhead))
            lengths, which = np.full(tasks, values.shape[1]), None
        else:
            which = draw_without_repeats(rng, len(self), batches, n)
            values, lengths = self._table[which], self._lengths[which]
        room = lengths - overhead  # number of windows, 2 at least
        n_query = np.clip(room - shots, 1, queries)
        n_support = np.minimum(shots, room - n_query)
        start = (rng.random(tasks) * (room - n_query - n_support + 1)).astype(int)
        support = start[:, None] + np.arange(shots) % n_support[:, None]
        query = (start + n_support + self.horizon - 1)[:, None] + np.arange(queries) % n_query[:, None]
        end = start + n_support + self.window + self.horizon - 1  # the first value that is not known yet
        scale = _step(values, start, end)[:, None, None]
        parts = (self._windows(values, at) for at in (support, query))
        return TaskBatch(*(Batch(x / scale, y / scale, number=which) for x, y in parts))

    def task_keys(self) -> list[set[Hashable]]:
        starts = [(str(name), one[:4].tobytes()) for name, one in zip(self.names, self.values, strict=False)]
        return [{("values", one.tobytes()), start} for one, start in zip(self.values, starts, strict=True)]

    def _windows(self, values: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows (T, K, W) from ``at`` (T, K) on, and their targets (T, K, H), relative to a window's last value."""
        steps = at[:, :, None] + np.arange(self.window + self.horizon)  # (T, K, W+H)
        cut = np.take_along_axis(values[:, None], steps, axis=2)
        cut = cut - cut[:, :, self.window - 1, None]
        return cut[:, :, : self.window], cut[:, :, self.window :]

    def frame(self, history: np.typing.ArrayLike, shots: int) -> Frame:
        """Build the support set of a series whose history is known, in the units of training.

        Parameters
        ----------
        history : array (n,)
        shots : int
            Windows, the last ones; repeated where there are fewer.

        Returns
        -------
        Frame

        Raises
        ------
        MetagdError
            For a history shorter than a window with its targets.
        """
        known = self.transform(numbers_2d(history, "history")[:, 0])
        room = len(known) - self.window - self.horizon + 1
        if room < 1:
            raise MetagdError(f"has {len(known)} values; needs {self.window + self.horizon}", "history")
        count = min(shots, room)
        at = (room - count + np.arange(shots) % count)[None]
        x, y = self._windows(known[None], at)
        scale = _step(known[None], np.array([room - count]), np.array([len(known)]))[0]
        return Frame(x[0] / scale, y[0] / scale, float(scale))


def _step(values: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Mean absolute step (T,) of values (T, L) between ``start`` and ``end``; 1 for constant values."""
    place = np.arange(values.shape[1] - 1)
    inside = (place >= start[:, None]) & (place < end[:, None] - 1)
    mean = (np.abs(np.diff(values, axis=1)) * inside).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
    return np.where(mean > 0, mean, 1.0)
