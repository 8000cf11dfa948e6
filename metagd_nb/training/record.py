"""Record of a run, row by row: append-only columns in one growing NumPy buffer.

A record knows no plot, and a plot knows no loop. One thread appends; any thread may read at any
time without a lock: a row is written whole before it is counted, and an outgrown buffer is
replaced, never overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..core.errors import MetagdError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

COUNTED = ("step", "loss", "grad_norm", "grad_evals", "hvps", "seconds")  # the columns of every run
WHOLE = frozenset({"step", "grad_evals", "hvps", "epoch"})  # columns that count


LARGE = 1 << 20  # bytes


def _room(rows: int, columns: int) -> np.ndarray:
    """Return an array (rows, columns) to be filled.

    A large one comes from the system itself: pages that are not written to take no memory, and an outgrown buffer goes
    back, where the C library would keep it.
    """
    size = 8 * rows * columns
    if size >= LARGE:
        try:
            import mmap

            return np.frombuffer(mmap.mmap(-1, size)).reshape(rows, columns)
        except (ImportError, OSError, ValueError):  # as in a browser
            pass
    return np.empty((rows, columns))


if TYPE_CHECKING:
    ColumnMapping = Mapping[str, np.ndarray]
else:

    class ColumnMapping(Mapping, dict):
        """Mapping that is also a dict, since `pandas.DataFrame` takes no other mapping; the dict itself is empty."""


class Record(ColumnMapping):
    """Columns of numbers that only ever grow: a mapping of column → array.

    Its length is the number of rows, as of a data frame.

    Parameters
    ----------
    columns : sequence of str
        Names, fixed for good. 8 bytes a value: eight columns make the 64 bytes a row that the
        kit allows itself.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._index = {name: i for i, name in enumerate(self.columns)}
        self._rows = np.empty((256, len(self.columns)))
        self._n = 0
        self._latest: tuple[float, ...] | None = None  # the last row, where it is not recorded

    def append(self, row: tuple[float, ...], recorded: bool = True) -> None:
        """Add one row; values in the order of ``columns``. One that is not ``recorded`` waits for `keep_latest`."""
        if not recorded:
            self._latest = row
            return
        self._latest = None
        if self._n == len(self._rows):
            self._grow(1)
        self._rows[self._n] = row
        self._n += 1

    def keep_latest(self) -> None:
        """Record the last row, where it was not."""
        if self._latest is not None:
            self.append(self._latest)

    @property
    def last_step(self) -> int:
        """The step of the last row, recorded or not; −1 before the first."""
        if self._latest is not None:
            return int(self._latest[0])
        return int(self.last("step")) if self._n else -1

    def all_rows(self) -> np.ndarray:
        """The rows (n, columns) with the last one, recorded or not."""
        return self.rows if self._latest is None else np.vstack([self.rows, self._latest])

    def extend(self, rows: np.ndarray) -> None:
        """Add ``rows`` (n, columns)."""
        end = self._n + len(rows)
        if end > len(self._rows):
            self._grow(len(rows))
        self._rows[self._n : end] = rows
        self._n = end

    def _grow(self, more: int) -> None:
        grown = _room(max(256, self._n + max(self._n // 2, more)), len(self.columns))
        grown[: self._n] = self._rows[: self._n]
        self._rows = grown

    @classmethod
    def of(cls, columns: Sequence[str], rows: np.ndarray) -> Record:
        """A record that holds ``rows`` (n, columns) already, and grows from there."""
        made = cls(columns)
        made._rows, made._n = rows.reshape(-1, len(made.columns)), len(rows)
        return made

    @property
    def rows(self) -> np.ndarray:
        """All rows (n, columns) as float64, without copying."""
        view = self._rows[: self._n]
        view.flags.writeable = False
        return view

    def __len__(self) -> int:
        return self._n

    __eq__, __ne__ = object.__eq__, object.__ne__  # a record is itself; its columns are compared one by one
    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Callable[..., Record], tuple[tuple[str, ...], np.ndarray]]:
        return Record.of, (self.columns, self.rows.copy())

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a record is written by its run only; dict(run.record) is a copy to change")

    __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refuse

    def __contains__(self, column: object) -> bool:
        return column in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __getitem__(self, column: str) -> np.ndarray:
        """The column as an array (n,), whole numbers where it counts; a copy."""
        values = self.since(column, 0)
        return values.astype(np.int64) if column in WHOLE else values.copy()

    def get(self, column: str, default: Any = None) -> Any:
        """Return a column as an array (n,), or ``default`` where there is none of this name."""
        if column not in self:
            return default
        return self[column]

    def to_pandas(self) -> pd.DataFrame:
        """Return the record as a data frame, one row a step.

        Returns
        -------
        pandas.DataFrame
        """
        try:
            import pandas as pd
        except ImportError:
            raise MetagdError("needs pandas: pip install pandas", "to_pandas") from None
        return pd.DataFrame(dict(self))

    def since(self, column: str, start: int) -> np.ndarray:
        """Rows ``start``… of a column as float64, without copying: what a live plot reads each frame."""
        if column not in self._index:
            raise unknown_name("column", column, self.columns)
        n = self._n
        view = self._rows[start:n, self._index[column]]
        view.flags.writeable = False
        return view

    def last(self, column: str) -> float:
        """The newest value of a column; nan while there is none."""
        values = self.since(column, 0)
        return float(values[-1]) if len(values) else float("nan")

    def __repr__(self) -> str:
        return f"Record({self._n} rows: {', '.join(self.columns)})"
