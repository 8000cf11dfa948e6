"""Time series of the user as a family of tasks: arrays, lists, tables and generators, checked and made a `Series`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...core.errors import MetagdError, shorten, unknown_name
from ..synthetic.series_generators import GENERATORS
from ..validation import labels, numbers_2d
from .series_tables import Gaps, Table, from_table, one_series, without_gaps
from .series_tasks import Generator, Series


def series(
    data: np.typing.ArrayLike | Table | Series | Callable[..., np.typing.ArrayLike],
    window: int = 8,
    horizon: int = 1,
    *,
    log: bool = False,
    value: str | None = None,
    group: str | None = None,
    time: str | None = None,
    gaps: Gaps | None = None,
    names: Sequence[str | float] | np.ndarray | None = None,
) -> Series:
    """Make a family of tasks from time series: forecast the next values from a window of values.

    Windows and targets are relative to the window's last value, in units of the mean absolute step of the support
    windows, which does not depend on the values to forecast.

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
        Values in a window, and values to forecast at once.
    log : bool
        True to work with logarithms: relative growth becomes a constant step.
    value, group, time : str
        Of a table: the columns of values, of the names of the series, and (unless rows are in order) of the time,
        as numbers, dates or periods. Of dates pandas infers the frequency.
    gaps : "split" | "interpolate", optional
        Missing rows and values: ``split`` cuts a series there, into several of its name; ``interpolate`` draws
        straight lines. By default they are refused, since what is left would be joined.
    names : array (S,), optional
        Names of the series, where no table has them.

    Returns
    -------
    Series

    Raises
    ------
    MetagdError
        For values that are not finite numbers, columns that do not exist, missing or repeated rows, dates as text,
        and if all series are too short; those that are too short are left out with a warning.
    """
    family = _build(data, window, horizon, log, (value, group, time), gaps, names)
    if isinstance(data, str) or family.values:  # a user's function cannot be stored in a file
        options = {"window": window, "horizon": horizon, "log": log}
        own = {} if isinstance(data, str) else {"names": family.names}
        family.provenance = {"name": "series", "args": [family.values or data], "kwargs": options | own}
    return family


def _build(
    data: Any,
    window: int,
    horizon: int,
    log: bool,
    columns: tuple[str | None, str | None, str | None],
    gaps: Gaps | None,
    names: Sequence[str | float] | np.ndarray | None,
) -> Series:
    if isinstance(data, Series):
        raise MetagdError("is a family already", "data")
    if isinstance(data, str):
        if data not in GENERATORS:
            raise unknown_name("generator", data, GENERATORS)
        return Series([], [data], window, horizon, log, GENERATORS[data])
    table = isinstance(data, Mapping) or hasattr(data, "columns")
    if callable(data) and not table:
        name = getattr(data, "__name__", "generator")
        return Series([], [name], window, horizon, log, checked_generator(data))
    values, labelled = from_table(data, *columns, gaps) if table else from_rows(data, gaps)
    if names is not None:
        given = labels(list(names), "names")
        if len(given) != len(values):
            raise MetagdError(f"has {len(given)} names for {len(values)} series", "names")
        labelled = given
    if not table:
        values, labelled = without_gaps(values, labelled, gaps)
    return Series(values, labelled, window, horizon, log, None)


def checked_generator(make: Callable[..., np.typing.ArrayLike]) -> Generator:
    """Wrap the user's generator so that results other than finite numbers (tasks, length) are refused.

    Parameters
    ----------
    make : function
        ``(rng, tasks, length)`` → (tasks, length); called once for a first check.

    Returns
    -------
    function
    """

    def checked(rng: np.random.Generator, tasks: int, length: int) -> np.ndarray:
        values = numbers_2d(make(rng, tasks, length), "generator")
        if values.shape != (tasks, length):
            raise MetagdError(f"gives shape {values.shape}; needs (tasks, length) = ({tasks}, {length})", "generator")
        return values

    checked(np.random.default_rng(0), 2, 5)
    return checked


def from_rows(data: Iterable[np.typing.ArrayLike], gaps: Gaps | None) -> tuple[list[np.ndarray], np.ndarray]:
    """Read series from the rows of an array, or from a list of arrays.

    Parameters
    ----------
    data : array (S, L) or list of arrays (n,)
    gaps : "split" | "interpolate", optional
        Given where values may be missing.

    Returns
    -------
    values : list of arrays (n,)
        With nan where a value is missing.
    names : array (S,)
        Their numbers.
    """
    try:
        rows = list(data)
    except TypeError:
        raise MetagdError(f"{shorten(data)} is no array, list, table, generator or name", "data") from None
    if not rows or np.ndim(rows[0]) == 0:
        raise MetagdError("must hold several series: an array (S, L), or a list of arrays", "data")
    return [one_series(row, f"data[{i}]", gaps) for i, row in enumerate(rows)], np.arange(len(rows))
