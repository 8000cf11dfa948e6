"""Millions of rows as the few hundred that a plot can show; each row is looked at once.

A curve is kept as at most ``capacity`` buckets of equal width. When they are full, neighbours merge
in pairs and the width doubles: the work for a new row, and the size of what is drawn, do not
depend on how many rows came before.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


class MinMaxBuckets:
    """Lowest, highest and mean value of each stretch of rows; values that are not finite are left out.

    Parameters
    ----------
    capacity : int
        Most buckets ever kept; even. About one a pixel column is plenty.
    """

    def __init__(self, capacity: int = 512) -> None:
        self.capacity = capacity
        self.width = 1  # rows a bucket
        self.rows = 0  # rows seen
        self._low, self._high = np.full(capacity, np.inf), np.full(capacity, -np.inf)
        self._low_at, self._high_at = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
        self._total, self._count = np.zeros(capacity), np.zeros(capacity, np.int64)

    def extend(self, values: Array) -> None:
        """Take in the next rows, ``values`` (n,)."""
        while self.rows + len(values) > self.capacity * self.width:
            self._merge()
        head = min(-self.rows % self.width, len(values))  # completes the bucket under way
        whole = (len(values) - head) // self.width * self.width
        self._fill(values[:head].reshape(1, -1))
        self._fill(values[head : head + whole].reshape(-1, self.width))
        self._fill(values[head + whole :].reshape(1, -1))

    def _fill(self, block: Array) -> None:
        """Put ``block`` (m, rows of one bucket) into the next m buckets."""
        m, width = block.shape
        if not block.size:
            return
        first = self.rows // self.width
        part = slice(first, first + m)
        at = self.rows + width * np.arange(m)
        pick = np.arange(m)
        finite = np.isfinite(block)
        low = np.where(finite, block, np.inf)
        i = low.argmin(axis=1)
        better = low[pick, i] < self._low[part]
        self._low[part][better], self._low_at[part][better] = low[pick, i][better], (at + i)[better]
        high = np.where(finite, block, -np.inf)
        i = high.argmax(axis=1)
        better = high[pick, i] > self._high[part]
        self._high[part][better], self._high_at[part][better] = high[pick, i][better], (at + i)[better]
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
        for kept, choice, empty in (
            (self._low_at, i, 0),
            (self._low, i, np.inf),
            (self._high_at, j, 0),
            (self._high, j, -np.inf),
        ):
            kept[:half], kept[half:] = kept.reshape(half, 2)[pick, choice], empty
        with np.errstate(over="ignore"):
            for summed in (self._total, self._count):
                summed[:half], summed[half:] = summed.reshape(half, 2).sum(axis=1), 0
        self.width *= 2

    @property
    def low(self) -> float:
        """The lowest finite value so far; inf while there is none."""
        return float(self._low.min())

    @property
    def high(self) -> float:
        """The highest finite value so far; −inf while there is none."""
        return float(self._high.max())

    def extremes(self) -> tuple[Array, Array]:
        """Row numbers and values (m,), m ≤ 2·capacity: every bucket's lowest and highest row, in their order.

        Each is a row of the record, so a line through them tells no lie and keeps every peak.
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
        """Row, mean, lowest and highest value (m,) of longer stretches of rows, most/2 < m ≤ ``most``.

        A stretch is a power of two of rows, so that what is drawn stays where it is as rows come; one that
        has only begun counts with the one before. The row is the middle one, of the last stretch the last.
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
