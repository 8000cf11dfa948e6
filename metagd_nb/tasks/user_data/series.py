"""The function `series`: time series of the user as a family of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import MetagdError, unknown_name
from ..synthetic.series_generators import GENERATORS
from ..validation import labels
from .series_input import Table, checked_generator, from_rows, from_table
from .series_tasks import Series


def series(
    data: ArrayLike | Table | Series | Callable[..., ArrayLike],
    window: int = 8,
    horizon: int = 1,
    *,
    log: bool = False,
    value: str | None = None,
    group: str | None = None,
    time: str | None = None,
    names: Sequence[Any] | np.ndarray | None = None,
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
        Of a table: the columns of values, of the names of the series, and (unless rows are in order) of the time.
    names : array (S,), optional
        Names of the series, where no table has them.

    Returns
    -------
    Series

    Raises
    ------
    MetagdError
        For values that are not finite numbers, columns that do not exist, and series too short.
    """
    family = _build(data, window, horizon, log, (value, group, time), names)
    if isinstance(data, str) or family.values:  # a user's function cannot be stored in a file
        options = {"window": window, "horizon": horizon, "log": log}
        own = {} if isinstance(data, str) else {"names": family.names}
        family.recipe = {"name": "series", "args": [family.values or data], "kwargs": options | own}
    return family


def _build(
    data: Any, window: int, horizon: int, log: bool, columns: tuple[str | None, str | None, str | None], names: Any
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
    values, found = from_table(data, *columns) if table else from_rows(data)
    if names is not None:
        found = labels(list(names), "names")
        if len(found) != len(values):
            raise MetagdError(f"has {len(found)} names for {len(values)} series", "names")
    return Series(values, found, window, horizon, log, None)
