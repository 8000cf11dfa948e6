"""Downsampling of a long record to a few hundred points, reading each row once.

A curve is stored as at most ``capacity`` buckets of equal width. When they are full, neighbors merge in pairs and the
width doubles, so that neither the work for a new row nor the number of points depends on the length of the record.
"""

from __future__ import annotations

import numpy as np


class MinMaxBuckets:
    """Lowest, highest and mean value of buckets of rows; values that are not finite are left out.

    Parameters
    ----------
    capacity : int
        Greatest number of buckets, even; one for each column of pixels is enough.
    """

    def __init__(self, capacity: int = 512) -> None:
        self.capacity = capacity
        self.width = 1  # rows of a bucket
        self.rows = 0  # rows read
        self._minima = np.full((2, capacity), np.inf)  # of the values, and of the negated values
        self._rows = np.zeros((2, capacity), np.int64)  # of the minima
        self._total, self._count = np.zeros(capacity), np.zeros(capacity, np.int64)

    def extend(self, values: np.ndarray) -> None:
        """Add the next rows, ``values`` (n,)."""
        while self.rows + len(values) > self.capacity * self.width:
            self._merge()
        head = min(-self.rows % self.width, len(values))  # completes the bucket under way
        whole = (len(values) - head) // self.width * self.width
        self._fill(values[:head].reshape(1, -1))
        self._fill(values[head : head + whole].reshape(-1, self.width))
        self._fill(values[head + whole :].reshape(1, -1))

    def _fill(self, block: np.ndarray) -> None:
        """Add ``block`` (m, rows of one bucket) to the next m buckets."""
        m, width = block.shape
        if not block.size:
            return
        first = self.rows // self.width
        part = slice(first, first + m)
        finite = np.isfinite(block)
        values = np.where(finite, (block, -block), np.inf)  # (2, m, width)
        i = values.argmin(axis=2)
        lowest = np.take_along_axis(values, i[..., None], axis=2)[..., 0]
        better = lowest < self._minima[:, part]
        self._minima[:, part][better] = lowest[better]
        self._rows[:, part][better] = (self.rows + width * np.arange(m) + i)[better]
        with np.errstate(over="ignore"):  # a diverging run may sum to inf; its mean is then not drawn
            self._total[part] += np.where(finite, block, 0.0).sum(axis=1)
        self._count[part] += finite.sum(axis=1)
        self.rows += block.size

    def _merge(self) -> None:
        """Join neighbors in pairs: half the buckets, twice the width."""
        half = self.capacity // 2
        i = self._minima.reshape(2, half, 2).argmin(axis=2)[..., None]
        for column, empty in ((self._rows, 0), (self._minima, np.inf)):
            column[:, :half] = np.take_along_axis(column.reshape(2, half, 2), i, axis=2)[..., 0]
            column[:, half:] = empty
        with np.errstate(over="ignore"):
            for sums in (self._total, self._count):
                sums[:half], sums[half:] = sums.reshape(half, 2).sum(axis=1), 0
        self.width *= 2

    @property
    def low(self) -> float:
        """Lowest finite value so far; inf if there is none."""
        return float(self._minima[0].min())

    @property
    def high(self) -> float:
        """Highest finite value so far; −inf if there is none."""
        return -float(self._minima[1].min())

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return row numbers and values (m,), m ≤ 2·capacity: the lowest and highest row of every bucket, in order.

        All points are rows of the record, and a line through them has every peak.

        Returns
        -------
        rows : array (m,) of int
        values : array (m,)
        """
        used = self._count > 0
        rows, values = self._rows[:, used].T, (self._minima[:, used] * [[1], [-1]]).T
        order = rows.argsort(axis=1)
        rows, values = (np.take_along_axis(column, order, axis=1) for column in (rows, values))
        keep = np.ones(rows.shape, bool)
        keep[:, 1] = rows[:, 0] != rows[:, 1]
        return rows[keep], values[keep]

    def stretches(self, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return row, mean, lowest and highest value (m,) of longer stretches of rows, most/2 < m ≤ ``most``.

        The length of a stretch is a power of two, so that points stay in place as rows are added; a last stretch that
        has just begun is joined to the one before. The row is the middle one, or the last one of the last stretch.

        Parameters
        ----------
        most : int
            Greatest number of stretches.

        Returns
        -------
        rows, means, lows, highs : arrays (m,)
        """
        used = -(-self.rows // self.width)
        group = 1
        while used > most * group:
            group *= 2
        starts = np.arange(0, used, group)
        if len(starts) > 1 and 4 * (self.rows - starts[-1] * self.width) < group * self.width:
            starts = starts[:-1]
        if not used:
            return (np.empty(0),) * 4
        count = np.add.reduceat(self._count[:used], starts)
        middle = (starts + group / 2) * self.width - 0.5
        middle[-1] = self.rows - 1
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            mean = np.add.reduceat(self._total[:used], starts) / count
        low = np.minimum.reduceat(self._minima[0, :used], starts)
        high = -np.minimum.reduceat(self._minima[1, :used], starts)
        finite = (count > 0) & np.isfinite(mean)
        return middle[finite], mean[finite], low[finite], high[finite]
