"""Series as tasks: forecast what comes next in one series from windows of what came before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import MetagdError, nearest, shorten, unknown_name
from ...core.hyperparameters import check_int
from ...core.provenance import records_derivation
from ..base import Batch, TaskBatch, Tasks
from ..synthetic.series_generators import GENERATORS
from ..validation import labels, numbers_2d, refuse_unequal

Array = np.ndarray
Generator = Callable[[np.random.Generator, int, int], Array]


class Frame(NamedTuple):
    """One series as a forecaster sees it at the end of what is known: windows of the past, and the last one.

    Attributes
    ----------
    x, y : array (K, W), (K, H)
        Windows and what followed them, up to now.
    scale : float
        The unit of ``x`` and ``y``: the mean absolute step between the values in these windows.
    """

    x: Array
    y: Array
    scale: float


class Series(Tasks):
    """Each series is a task; see `series`."""

    name = "series"

    def __init__(
        self,
        values: Sequence[Array],
        names: Any,
        window: int,
        horizon: int,
        log: bool,
        make: Generator | None,
    ) -> None:
        self.window, self.horizon = check_int(window, "window", 1), check_int(horizon, "horizon", 1)
        self.inputs, self.outputs = self.window, self.horizon
        self.values, self.names, self.log, self._make = list(values), np.asarray(names), bool(log), make
        self._lengths = np.array([len(one) for one in values], int)
        if make is None:
            self.n_available = len(self.values)
            self._refuse_short()
            self._table = np.zeros((len(values), self._lengths.max()))  # (S, longest), never read past a series' end
            for row, one in zip(self._table, self.values, strict=True):
                row[: len(one)] = self.transformed(one)
        self.test_queries = 10

    def _refuse_short(self) -> None:
        least = self.window + 2 * self.horizon  # one window that teaches, one that asks
        few = np.flatnonzero(self._lengths < least)
        if len(few):
            first = f"{self.names[few[0]]} has {self._lengths[few[0]]}"
            raise MetagdError(
                f"of {self.window} and horizon {self.horizon} need {least} values a series;"
                f" {len(few)} have fewer ({first})",
                "window",
            )

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        if self._make is not None:
            return f"series({self.names[0]}, window={self.window}, horizon={self.horizon})"
        low, high = self._lengths.min(), self._lengths.max()
        return f"series({len(self)} of {low}–{high} values, window={self.window}, horizon={self.horizon})"

    def transformed(self, values: Array) -> Array:
        """Values as they are learned from: their logarithm with ``log``, else themselves."""
        if not self.log:
            return np.asarray(values, float)
        if np.min(values) <= 0:
            raise MetagdError("needs values > 0", "log")
        return np.asarray(np.log(values))

    def restored(self, values: Array) -> Array:
        """The inverse of `transformed`."""
        return np.asarray(np.exp(values)) if self.log else values

    @records_derivation
    def with_horizon(self, horizon: int) -> Series:
        """The same series with another number of values to forecast at once."""
        return Series(self.values, self.names, self.window, horizon, self.log, self._make)

    @records_derivation
    def without_last(self, values: int) -> Series:
        """The same series as they were this many values ago: nothing later can be learned from them."""
        self._only_given("without_last")
        values = check_int(values, "values", 1)
        return Series([one[:-values] for one in self.values], self.names, self.window, self.horizon, self.log, None)

    @records_derivation
    def chosen(self, which: Any) -> Series:
        """Some of the series, by their numbers."""
        self._only_given("chosen")
        which = np.arange(len(self))[which]
        return Series([self.values[i] for i in which], self.names[which], self.window, self.horizon, self.log, None)

    @records_derivation
    def split(self, fraction: float = 0.75, seed: int = 0) -> tuple[Series, Series]:
        """Two families with no series in common: one to learn from, one held out."""
        self._only_given("split")
        first = round(fraction * len(self))
        if not 0 < first < len(self):
            raise MetagdError(f"{fraction!r} of {len(self)} series leaves one side empty", "fraction")
        order = np.random.default_rng(seed).permutation(len(self))
        return self.chosen(np.sort(order[:first])), self.chosen(np.sort(order[first:]))

    def _only_given(self, what: str) -> None:
        if self._make is not None:
            raise MetagdError("is for series that are given; a generator makes new ones each time", what)

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        """Support windows end where the first query forecast begins; a series short of windows repeats those it has.

        In time: the windows that teach with what followed them, then the targets of the queries. Their inputs may
        hold values that were forecast before, as when forecasts are made again and again while time goes on.
        """
        tasks, overhead = batches * n, self.window + 2 * self.horizon - 2
        if self._make is not None:
            made = self._make(rng, tasks, shots + queries + overhead)
            values, lengths = self.transformed(made), np.full(tasks, made.shape[1])
        else:
            times = -(-n // len(self))  # no series twice in a batch while there are enough
            keys = rng.random((batches, times, len(self)))
            which = np.argsort(keys, axis=-1).reshape(batches, -1)[:, :n].reshape(-1)
            values, lengths = self._table[which], self._lengths[which]
        room = lengths - overhead  # windows that there are, 2 at least
        asked = np.clip(room - shots, 1, queries)
        taught = np.minimum(shots, room - asked)
        start = (rng.random(tasks) * (room - asked - taught + 1)).astype(int)
        support = start[:, None] + np.arange(shots) % taught[:, None]
        query = (start + taught + self.horizon - 1)[:, None] + np.arange(queries) % asked[:, None]
        parts = [self._windows(values, at) for at in (support, query)]
        end = start + taught + self.window + self.horizon - 1  # the first value that is not known yet
        scale = _step(values, start, end)[:, None, None]
        return TaskBatch(*(Batch(x / scale, y / scale) for x, y in parts))

    def _windows(self, values: Array, at: Array) -> tuple[Array, Array]:
        """Windows (T, K, W) from ``at`` (T, K) on, and what follows (T, K, H); relative to a window's last value."""
        steps = at[:, :, None] + np.arange(self.window + self.horizon)  # (T, K, W+H)
        cut = np.take_along_axis(values[:, None], steps, axis=2)
        cut = cut - cut[:, :, self.window - 1, None]
        return cut[:, :, : self.window], cut[:, :, self.window :]

    def frame(self, history: Array, shots: int) -> Frame:
        """The last ``shots`` windows of a history (n,) with what followed, in the units that training had.

        Raises
        ------
        MetagdError
            For a history that holds no window with its horizon.
        """
        known = self.transformed(numbers_2d(history, "history")[:, 0])
        room = len(known) - self.window - self.horizon + 1
        if room < 1:
            raise MetagdError(f"has {len(known)} values; needs {self.window + self.horizon}", "history")
        taught = min(shots, room)
        at = (room - taught + np.arange(shots) % taught)[None]
        x, y = self._windows(known[None], at)
        scale = _step(known[None], np.array([room - taught]), np.array([len(known)]))[0]
        return Frame(x[0] / scale, y[0] / scale, float(scale))


def _step(values: Array, start: Array, end: Array) -> Array:
    """Mean absolute step (T,) of values (T, L) between ``start`` and ``end``; 1 where they stand still."""
    place = np.arange(values.shape[1] - 1)
    inside = (place >= start[:, None]) & (place < end[:, None] - 1)
    mean = (np.abs(np.diff(values, axis=1)) * inside).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
    return np.where(mean > 0, mean, 1.0)


def series(
    data: Any,
    window: int = 8,
    horizon: int = 1,
    *,
    log: bool = False,
    value: str | None = None,
    group: str | None = None,
    time: str | None = None,
    names: Any = None,
) -> Series:
    """Series as tasks: from a window of values forecast what comes next.

    A window and what followed are told relative to the window's last value, in units of the mean absolute step of the
    windows that teach: never of what is to be forecast.

    >>> series("ar2", window=4)
    series(ar2, window=4, horizon=1)
    >>> series({"firm": list("aaaaaabbbbbb"), "sales": range(12)}, 2, value="sales", group="firm")
    series(2 of 6–6 values, window=2, horizon=1)

    Parameters
    ----------
    data : array (S, L), list of arrays, table, str or function
        Series as rows, or of unlike length in a list; a tidy table (a dict of columns, a pandas frame) with a row for
        each value; the name of a generator — damped, modulated, ar2, logistic, walk — or a function
        ``(rng, tasks, length)`` → (tasks, length).
    window, horizon : int
        Values that are seen, and values that are forecast at once.
    log : bool
        Whether to work with logarithms: growth by a share becomes growth by a step.
    value, group, time : str
        Of a table: the columns of values, of the names of the series, and (unless rows are in order) of the time.

    names : array (S,), optional
        What the series are called, where no table says it.

    Raises
    ------
    MetagdError
        For values that are not finite numbers, columns that do not exist, and series too short.
    """
    made = _made(data, window, horizon, log, value, group, time, names)
    if isinstance(data, str) or made.values:  # what a file can hold; a person's function it cannot
        kept = {"window": window, "horizon": horizon, "log": log}
        own = {} if isinstance(data, str) else {"names": made.names}
        made.recipe = {"name": "series", "args": [made.values or data], "kwargs": kept | own}
    return made


def _made(data: Any, window: int, horizon: int, log: bool, *of_table: Any) -> Series:
    *columns, names = of_table
    if isinstance(data, str):
        if data not in GENERATORS:
            raise unknown_name("generator", data, GENERATORS)
        return Series([], [data], window, horizon, log, GENERATORS[data])
    if isinstance(data, Series):
        raise MetagdError("is a family already", "data")
    table = isinstance(data, Mapping) or hasattr(data, "columns")
    if callable(data) and not table:
        return Series([], [getattr(data, "__name__", "generator")], window, horizon, log, _checked(data))
    values, found = _tidy(data, *columns) if table else _listed(data)
    if names is not None:
        found = labels(list(names), "names")
        if len(found) != len(values):
            raise MetagdError(f"has {len(found)} names for {len(values)} series", "names")
    return Series(values, found, window, horizon, log, None)


def _checked(make: Callable[..., Any]) -> Generator:
    """A person's generator, its series refused where they are not (tasks, length) of finite numbers."""

    def made(rng: np.random.Generator, tasks: int, length: int) -> Array:
        found = numbers_2d(make(rng, tasks, length), "generator")
        if found.shape != (tasks, length):
            raise MetagdError(f"gives shape {found.shape}; needs (tasks, length) = ({tasks}, {length})", "generator")
        return found

    made(np.random.default_rng(0), 2, 5)
    return made


def _listed(data: Any) -> tuple[list[Array], Array]:
    try:
        rows = list(data)
    except TypeError:
        raise MetagdError(f"{shorten(data)} is no array, list, table, generator or name", "data") from None
    if not rows or np.ndim(rows[0]) == 0:
        raise MetagdError("must hold several series: an array (S, L), or a list of arrays", "data")
    found = [numbers_2d(row, f"data[{i}]") for i, row in enumerate(rows)]
    for i, one in enumerate(found):
        if one.shape[1] != 1:
            raise MetagdError(f"has shape {np.shape(rows[i])}; a series is one row of numbers", f"data[{i}]")
    return [one[:, 0] for one in found], np.arange(len(found))


def _tidy(table: Any, value: str | None, group: str | None, time: str | None) -> tuple[list[Array], Array]:
    """Series and their names from a table with a row for each value."""
    columns = [str(name) for name in (table.columns if hasattr(table, "columns") else table)]
    for what, name in (("value", value), ("group", group), ("time", time)):
        if name is None and what != "time":
            raise MetagdError(f"must name a column of the table: {', '.join(columns)}", what)
        if name is not None and name not in columns:
            raise MetagdError(
                f"{name!r} is no column{nearest(name, columns) or '; there are ' + ', '.join(columns)}", what
            )
    y, names = numbers_2d(np.asarray(list(table[value])), str(value)), labels(list(table[group]), str(group))
    refuse_unequal("rows", **{str(value): y, str(group): names})
    order = np.arange(len(y)) if time is None else np.argsort(labels(list(table[time]), str(time)), kind="stable")
    unique = np.unique(names)
    return [y[order][names[order] == name, 0] for name in unique], unique
