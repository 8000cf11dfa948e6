"""Series as the user gives them: arrays, lists, tables and generators, checked and brought to one form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import MetagdError, nearest, shorten
from ..validation import labels, numbers_2d, refuse_unequal

Array = np.ndarray
Generator = Callable[[np.random.Generator, int, int], Array]


class DataFrame(Protocol):
    """A data frame, such as that of pandas."""

    @property
    def columns(self) -> Iterable[object]:
        """Names of the columns."""

    def __getitem__(self, name: str, /) -> Iterable[object]: ...


Table = Mapping[str, Iterable[object]] | DataFrame


def checked_generator(make: Callable[..., ArrayLike]) -> Generator:
    """Wrap the user's generator so that results other than finite numbers (tasks, length) are refused.

    Parameters
    ----------
    make : function
        ``(rng, tasks, length)`` → (tasks, length); called once for a first check.

    Returns
    -------
    function
    """

    def checked(rng: np.random.Generator, tasks: int, length: int) -> Array:
        values = numbers_2d(make(rng, tasks, length), "generator")
        if values.shape != (tasks, length):
            raise MetagdError(f"gives shape {values.shape}; needs (tasks, length) = ({tasks}, {length})", "generator")
        return values

    checked(np.random.default_rng(0), 2, 5)
    return checked


def from_rows(data: Iterable[ArrayLike]) -> tuple[list[Array], Array]:
    """Read series from the rows of an array, or from a list of arrays.

    Parameters
    ----------
    data : array (S, L) or list of arrays (n,)

    Returns
    -------
    values : list of arrays (n,)
    names : array (S,)
        Their numbers.
    """
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


def from_table(table: Table, value: str | None, group: str | None, time: str | None) -> tuple[list[Array], Array]:
    """Read series from a table with a row for each value.

    Parameters
    ----------
    table : mapping of columns, or data frame
    value, group, time : str
        Columns of values, of the names of the series, and (unless rows are in order) of the time.

    Returns
    -------
    values : list of arrays (n,)
    names : array (S,)
    """
    columns = [str(name) for name in (table if isinstance(table, Mapping) else table.columns)]
    value, group = _column(columns, "value", value), _column(columns, "group", group)
    y, names = numbers_2d(np.asarray(list(table[value])), value), labels(list(table[group]), group)
    refuse_unequal("rows", **{value: y, group: names})
    order = np.arange(len(y))
    if time is not None:
        order = np.argsort(labels(list(table[_column(columns, "time", time)]), time), kind="stable")
    unique = np.unique(names)
    return [y[order][names[order] == name, 0] for name in unique], unique


def _column(columns: list[str], option: str, name: str | None) -> str:
    """Return the name of a column after checking that the table has it."""
    if name is None:
        raise MetagdError(f"must name a column of the table: {', '.join(columns)}", option)
    if name not in columns:
        hint = nearest(name, columns) or "; there are " + ", ".join(columns)
        raise MetagdError(f"{name!r} is no column{hint}", option)
    return name
