"""Encoding of one table: what its rows and targets were, so that predictions take and give the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import MetagdError
from ..validation import as_floats, numbers_2d

Array = np.ndarray


class Encoding(NamedTuple):
    """Inputs and targets of one table.

    Attributes
    ----------
    inputs : int
        Number of columns D of x.
    columns : tuple of str or None
        Their names, where x was a data frame.
    classes : array (C,) or None
        Labels of the outputs, where y was classes.
    flat : bool
        True if y was (n,).
    """

    inputs: int
    columns: tuple[str, ...] | None = None
    classes: Array | None = None
    flat: bool = True

    def rows(self, x: ArrayLike) -> tuple[Array, bool]:
        """Return x as rows (n, D), and True if it was a single row without an axis for rows.

        Parameters
        ----------
        x : array (n, D), or (n,) where D is 1; a row (D,); a number where D is 1; or a data frame

        Raises
        ------
        MetagdError
            For another number of columns, and for columns of a data frame with other names or in another order.
        """
        names = column_names(x)
        if names is not None and self.columns is not None:
            self._check_names(names)
        dims = np.ndim(x) if names is None else 2
        single = dims == 0 or (dims == 1 and self.inputs > 1)
        array = numbers_2d(np.reshape(as_floats(x, "x"), (1, -1)) if single else x, "x")
        if array.shape[1] != self.inputs:
            found = f"{array.shape[1]} column{'s' * (array.shape[1] != 1)}"
            raise MetagdError(f"has {found}; was trained on {self.inputs}{self._named()}", "x")
        return array, single

    def _named(self) -> str:
        return "" if self.columns is None else f" ({', '.join(self.columns[:8])}{', …' * (len(self.columns) > 8)})"

    def _check_names(self, names: Sequence[str]) -> None:
        known = self.columns or ()
        missing = [name for name in known if name not in names]
        extra = [name for name in names if name not in known]
        if missing or extra:
            parts = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(extra)} too"] * bool(extra)
            raise MetagdError(f"{' and '.join(parts)}; was trained on {', '.join(known)}", "x")
        if tuple(names) != known:
            raise MetagdError(f"has the columns in another order; write x[{list(known)!r}]", "x")

    def decoded(self, outputs: Array, single: bool) -> Array:
        """Return outputs (n, C) in the form of y: labels or numbers (n,), or (n, C); a single row without an axis."""
        if self.classes is not None:
            found = self.classes[outputs.argmax(axis=1)]
        else:
            found = outputs[:, 0] if self.flat else outputs
        return np.asarray(found[0] if single else found)


def column_names(x: object) -> tuple[str, ...] | None:
    """Return the names of a data frame's columns; None for anything else."""
    columns = getattr(x, "columns", None)
    return None if columns is None or np.ndim(columns) != 1 else tuple(map(str, columns))


def numeric_columns(x: object) -> tuple[str, ...] | None:
    """Return the names of a data frame's columns, None for anything else.

    Raises
    ------
    MetagdError
        Naming a column that is not made of finite numbers.
    """
    names = column_names(x)
    if names is None:
        return None
    for i, name in enumerate(names):
        column = np.asarray(x.iloc[:, i])  # type: ignore[attr-defined]  # a data frame
        try:
            bad = ~np.isfinite(np.asarray(column, float))
        except (TypeError, ValueError):
            raise MetagdError(f"column {name} holds {column.dtype} values, which are not numbers", "x") from None
        if bad.any():
            raise MetagdError(f"column {name} has {int(bad.sum())} missing or infinite values; drop or fill them", "x")
    return names
