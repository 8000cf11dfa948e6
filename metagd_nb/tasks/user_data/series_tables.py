"""Tables with a row for each value of several series, and series cut or filled where values are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

from ...core.errors import MetagdError, nearest, unknown_name
from ...core.messages import warn
from ..validation import as_floats, labels, refuse_unequal
from .series_times import LIMIT, as_text, row_steps

Array = np.ndarray
Gaps = Literal["split", "interpolate"]
GAPS = ("split", "interpolate")
ADVICE = "gaps='split' cuts the series there, gaps='interpolate' fills them"


class DataFrame(Protocol):
    """Data frame, such as that of pandas."""

    @property
    def columns(self) -> Iterable[object]:
        """Names of the columns."""

    def __getitem__(self, name: str, /) -> Iterable[str | float]: ...


Table = Mapping[str, Iterable[str | float]] | DataFrame


def from_table(
    table: Table, value: str | None, group: str | None, time: str | None, gaps: Gaps | None
) -> tuple[list[Array], Array]:
    """Read series from a table with a row for each value.

    Parameters
    ----------
    table : mapping of columns, or data frame
    value, group, time : str
        Columns of values, of the names of the series, and (unless rows are in order) of the time.
    gaps : "split" | "interpolate", optional
        Treatment of missing rows and values; by default they are refused.

    Returns
    -------
    values : list of arrays (n,)
    names : array (S,)
    """
    columns = [str(name) for name in (table if isinstance(table, Mapping) else table.columns)]
    value, group = _column(columns, "value", value), _column(columns, "group", group)
    y, label = one_series(_array(table[value]), value, gaps), labels(_array(table[group]), group)
    refuse_unequal("rows", **{value: y, group: label})
    names, member = np.unique(label, return_inverse=True)
    order, steps = np.argsort(member, kind="stable"), np.ones(len(y), int)
    if time is not None:
        times = labels(_array(table[_column(columns, "time", time)]), time)
        refuse_unequal("rows", **{value: y, time: times})
        order, steps = row_steps(times, label, time)
        if gaps is None:
            _refuse_missing_rows(order, steps, times, label, time)
    values = []
    for rows in np.split(np.arange(len(y)), np.flatnonzero(np.diff(member[order])) + 1):
        at = np.cumsum(steps[rows]) - steps[rows[0]]
        if at[-1] > LIMIT:
            raise MetagdError(f"series {label[order[rows[0]]]} spans {at[-1]} steps; needs {LIMIT} or fewer", time)
        values.append(np.full(at[-1] + 1, np.nan))
        values[-1][at] = y[order[rows]]
    return without_gaps(values, names, gaps)


def without_gaps(values: Sequence[Array], names: Array, gaps: Gaps | None) -> tuple[list[Array], Array]:
    """Cut series where values are missing, or fill them; missing values at the ends are left out.

    Parameters
    ----------
    values : list of arrays (n,)
        With nan where a value is missing.
    names : array (S,)
    gaps : "split" | "interpolate", optional
        ``split`` makes several series of one, all with its name; ``interpolate`` draws straight lines.

    Returns
    -------
    values : list of arrays (n,)
    names : array (pieces,)
    """
    if gaps is None:
        return list(values), names
    pieces, owners = list[Array](), list[int]()
    for i, one in enumerate(values):
        known = np.flatnonzero(~np.isnan(one))
        if not len(known):
            continue
        if gaps == "split":
            found = [one[run] for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)]
        else:
            found = [np.interp(np.arange(known[0], known[-1] + 1), known, one[known])]
        pieces += found
        owners += [i] * len(found)
    return pieces, names[owners]


def without_short(values: list[Array], names: Array, window: int, horizon: int) -> tuple[list[Array], Array]:
    """Leave out, with a warning, the series that are too short for a support and a query window.

    Parameters
    ----------
    values : list of arrays (n,)
    names : array (S,)
    window, horizon : int

    Returns
    -------
    values : list of arrays (n,)
    names : array

    Raises
    ------
    MetagdError
        If all are too short.
    """
    least = window + 2 * horizon
    (short,) = np.nonzero([len(one) < least for one in values])
    if len(values) and not len(short):
        return values, names
    needs = f"of {window} and horizon {horizon} need {least} values a series; {len(short)} have fewer"
    if len(short):
        needs += f" ({names[short[0]]} has {len(values[short[0]])})"
    if len(short) == len(values):
        raise MetagdError(needs, "window")
    warn(f"window {needs}, left out; {len(values) - len(short)} are used")
    enough = np.setdiff1d(np.arange(len(values)), short)
    return [values[i] for i in enough], names[enough]


def one_series(values: np.typing.ArrayLike, name: str, gaps: Gaps | None) -> Array:
    """Convert to numbers (n,), with nan where a value is missing if ``gaps`` are allowed.

    Parameters
    ----------
    values : array (n,) or (n, 1)
    name : str
        Name in messages.
    gaps : "split" | "interpolate", optional

    Returns
    -------
    array (n,)

    Raises
    ------
    MetagdError
        Naming the array and the mistake.
    """
    if gaps is not None and gaps not in GAPS:
        raise unknown_name("gaps", gaps, GAPS)
    array = as_floats(values, name)
    if array.size == 0 or array.size != len(array):
        raise MetagdError(f"has shape {np.shape(values)}; a series is one row of numbers", name)
    array = array.reshape(-1)
    bad = np.isinf(array) if gaps else ~np.isfinite(array)
    if bad.any():
        advice = f"; {ADVICE}" if np.isnan(array).any() and not gaps else ""
        count, first = int(bad.sum()), int(np.argmax(bad))
        raise MetagdError(f"holds {count} values that are not finite (first in row {first}){advice}", name)
    return array


def _refuse_missing_rows(order: Array, steps: Array, times: Array, label: Array, time: str) -> None:
    """Raise a MetagdError that names the first missing rows."""
    (missing,) = np.nonzero(steps > 1)
    if len(missing):
        first, series = missing[0], len(np.unique(label[order[missing]]))
        before, after = order[first - 1], order[first]
        where = f"{steps[first] - 1} of {label[after]} between {as_text(times[before])} and {as_text(times[after])}"
        raise MetagdError(f"rows are missing in {series} series ({where}); {ADVICE}", time)


def _array(column: Iterable[str | float]) -> Array:
    """Convert a column of a table to an array; pandas' missing numbers become nan."""
    array = np.asarray(column if hasattr(column, "__array__") else list(column))
    if array.dtype == object:  # as nullable columns of pandas are
        missing = [one is None or type(one).__name__ == "NAType" for one in array.flat]
        if any(missing):
            array = np.where(np.reshape(missing, array.shape), np.nan, array)
    return array


def _column(columns: list[str], option: str, name: str | None) -> str:
    """Return the name of a column after checking that the table has it."""
    if name is None:
        raise MetagdError(f"must name a column of the table: {', '.join(columns)}", option)
    if name not in columns:
        hint = nearest(name, columns) or "; there are " + ", ".join(columns)
        raise MetagdError(f"{name!r} is no column{hint}", option)
    return name
