"""Downsampling of a long record to a few hundred points, reading each row once.

A curve is stored as at most ``capacity`` buckets of equal width. When they are full, neighbors merge in pairs and the
width doubles, so that neither the work for a new row nor the number of points depends on the length of the record.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


class MinMaxBuckets:
    """Lowest, highest and mean value of buckets of rows; values that are not finite are left out.

    Parameters
    ----------
    capacity : int
        Greatest number of buckets, even; one for each column of pixels is enough.
    """

    def __init__(self, capacity: int = 512) -> None:
        self.capacity = capacity
        self.width = 1  # rows a bucket
        self.rows = 0  # rows seen
        self._low, self._high = np.full(capacity, np.inf), np.full(capacity, -np.inf)
        self._low_at, self._high_at = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
        self._total, self._count = np.zeros(capacity), np.zeros(capacity, np.int64)

    def extend(self, values: Array) -> None:
        """Add the next rows, ``values`` (n,)."""
        while self.rows + len(values) > self.capacity * self.width:
            self._merge()
        head = min(-self.rows % self.width, len(values))  # completes the bucket under way
        whole = (len(values) - head) // self.width * self.width
        self._fill(values[:head].reshape(1, -1))
        self._fill(values[head : head + whole].reshape(-1, self.width))
        self._fill(values[head + whole :].reshape(1, -1))

    def _fill(self, block: Array) -> None:
        """Add ``block`` (m, rows of one bucket) to the next m buckets."""
        m, width = block.shape
        if not block.size:
            return
        first = self.rows // self.width
        part = slice(first, first + m)
        at = self.rows + width * np.arange(m)
        pick = np.arange(m)
        finite = np.isfinite(block)
        for sign, extreme, place in ((1, self._low, self._low_at), (-1, self._high, self._high_at)):
            values = np.where(finite, block, sign * np.inf)
            i = (sign * values).argmin(axis=1)
            better = sign * values[pick, i] < sign * extreme[part]
            extreme[part][better], place[part][better] = values[pick, i][better], (at + i)[better]
        with np.errstate(over="ignore"):  # a diverging run may sum to inf; its mean is then not drawn
            self._total[part] += np.where(finite, block, 0.0).sum(axis=1)
        self._count[part] += finite.sum(axis=1)
        self.rows += block.size

    def _merge(self) -> None:
        """Join neighbours in pairs: half the buckets, twice the width."""
        half = self.capacity // 2
        pick = np.arange(half)
        i = self._low.reshape(half, 2).argmin(axis=1)
        j = self._high.reshape(half, 2).argmax(axis=1)
        for column, choice, empty in (
            (self._low_at, i, 0),
            (self._low, i, np.inf),
            (self._high_at, j, 0),
            (self._high, j, -np.inf),
        ):
            column[:half], column[half:] = column.reshape(half, 2)[pick, choice], empty
        with np.errstate(over="ignore"):
            for column in (self._total, self._count):
                column[:half], column[half:] = column.reshape(half, 2).sum(axis=1), 0
        self.width *= 2

    @property
    def low(self) -> float:
        """Lowest finite value so far; inf if there is none."""
        return float(self._low.min())

    @property
    def high(self) -> float:
        """Highest finite value so far; −inf if there is none."""
        return float(self._high.max())

    def extremes(self) -> tuple[Array, Array]:
        """Return row numbers and values (m,), m ≤ 2·capacity: the lowest and highest row of every bucket, in order.

        All points are rows of the record, and a line through them has every peak.
        """
        used = self._count > 0
        rows = np.stack((self._low_at[used], self._high_at[used]), axis=1)
        values = np.stack((self._low[used], self._high[used]), axis=1)
        swap = rows[:, 0] > rows[:, 1]
        rows[swap], values[swap] = rows[swap, ::-1], values[swap, ::-1]
        keep = np.ones(rows.shape, bool)
        keep[:, 1] = rows[:, 0] != rows[:, 1]
        return rows[keep], values[keep]

    def stretches(self, most: int) -> tuple[Array, Array, Array, Array]:
        """Return row, mean, lowest and highest value (m,) of longer stretches of rows, most/2 < m ≤ ``most``.

        The length of a stretch is a power of two, so that points stay in place as rows are added; a last stretch that
        has just begun is joined to the one before. The row is the middle one, or the last one of the last stretch.
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
        low = np.minimum.reduceat(self._low[:used], starts)
        high = np.maximum.reduceat(self._high[:used], starts)
        seen = (count > 0) & np.isfinite(mean)
        return middle[seen], mean[seen], low[seen], high[seen]
