"""Times of the rows of series: their order, and how many steps of a frequency lie between them."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ...core.errors import MetagdError, shorten
from ..validation import as_floats

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray
Stamps: TypeAlias = "pd.DatetimeIndex"
WINDOWS = (24, 12, 6, 3)  # rows in which a frequency is looked for where a series misses some
MANY = 200  # at most so many series, and windows of one series, tell the frequency
LIMIT = 10_000_000  # steps from the first to the last row
TOLERANCE = 0.05  # of a step, for times that are rounded numbers
IN_ORDER = "or sort the table and leave out time= to take its rows as successive"


def row_steps(times: Array, label: Array, name: str) -> tuple[Array, Array]:
    """Sort the rows of a table by series and time, and count the steps between neighbours.

    Parameters
    ----------
    times : array (n,)
        Numbers, dates, periods or durations.
    label : array (n,)
        Names of the series.
    name : str
        Column of the times, for messages.

    Returns
    -------
    order : array (n,) of int
        Rows, series by series.
    steps : array (n,) of int
        Steps since the row before; 1 where a series begins.

    Raises
    ------
    MetagdError
        For dates as text, for two rows of one series at one time, and for times without a frequency.
    """
    _refuse_text(times, name)
    member, rank = (np.unique(one, return_inverse=True)[1].reshape(-1) for one in (label, times))
    order = np.lexsort((rank, member))
    first = np.r_[True, np.diff(member[order]) > 0]
    repeated = np.flatnonzero(~first & (np.diff(rank[order], prepend=-1) == 0))
    if len(repeated):
        row = order[repeated[0]]
        where = f"{label[row]} at {as_text(times[row])}"
        raise MetagdError(
            f"{len(repeated)} rows repeat the series and time of another, as {where}; keep one each", name
        )
    ticks, whose = times[order], label[order]
    if ticks.dtype.kind == "M" or isinstance(ticks[0], datetime.date):
        return order, np.where(first, 1, np.diff(_on_grids(ticks, first, whose, name), prepend=0))
    return order, _steps_of_numbers(_numbers(ticks, name), first, whose, name)


def as_text(time: object) -> str:
    """Return a time for a message, without a time of day that is midnight."""
    return re.sub(r"[ T]00:00:00(\.0+)?$", "", str(time))


def _refuse_text(times: Array, name: str) -> None:
    """Refuse text, which sorts 10/2020 before 2/2020, and whole numbers that spell dates."""
    column = f"table[{name!r}]"
    if any(isinstance(one, str) for one in times.flat[:1000]):
        kind, call = "dates", f"pd.to_datetime({column})"
        try:
            times.astype(float)
            kind, call = "numbers", f"{column}.astype(float)"
        except (TypeError, ValueError):
            pass
        raise MetagdError(f"holds {kind} as text ({shorten(str(times[0]))}); convert them: {column} = {call}", name)
    if times.dtype.kind in "iu":
        for form, low, high, unit in (("%Y%m%d", 18000101, 22001231, 100), ("%Y%m", 180001, 220012, 1)):
            months, days = times // unit % 100, times % 100
            if not ((times >= low) & (times <= high) & (months >= 1) & (months <= 12)).all():
                continue
            if len(np.unique(times)) > 1 and (unit == 1 or ((days >= 1) & (days <= 31)).all()):
                call = f"pd.to_datetime({column}, format={form!r})"
                raise MetagdError(f"holds dates as numbers ({times[0]}); convert them: {column} = {call}", name)


def _numbers(times: Array, name: str) -> Array:
    """Return times as whole numbers where they are, else as finite floats; a period is its number."""
    if times.dtype == object and type(times[0]).__name__ == "Period":
        return np.array([one.ordinal for one in times])
    if times.dtype == object and isinstance(times[0], datetime.timedelta):
        times = times.astype("m8[us]")
    if times.dtype.kind in "ium":
        return times.astype(np.int64)
    numbers = as_floats(times, name)
    if not np.isfinite(numbers).all():
        raise MetagdError("holds times that are not finite", name)
    return numbers


def _steps_of_numbers(times: Array, first: Array, label: Array, name: str) -> Array:
    """Return the steps (n,) between times, in units of the smallest one."""
    differences = np.diff(times, prepend=0).astype(float)
    inside = differences[~first]
    if not len(inside):
        return np.ones(len(times), int)
    ratio = differences / inside[inside <= 1.1 * inside.min()].mean()
    steps = np.where(first, 1, np.rint(ratio))
    uneven = ~first & (np.abs(ratio - steps) > TOLERANCE)
    if uneven.any():
        row = int(np.argmax(uneven))
        raise _irregular(label[row], f"{inside.min():.6g} and {differences[row]:.6g}", name)
    return steps.astype(int)


def _irregular(series: object, steps: str, name: str) -> MetagdError:
    """Return the error for times without a frequency."""
    return MetagdError(f"has no regular frequency in series {series} (steps of {steps}); resample it, {IN_ORDER}", name)


def _on_grids(dates: Array, first: Array, label: Array, name: str) -> Array:
    """Return the position (n,) of each date on the regular dates of its series.

    The frequency is the one of most series; a series that does not fit it has its own.
    """
    try:
        import pandas as pd
    except ImportError:
        raise MetagdError("dates need pandas: pip install 'metagd-nb[sequences]'", name) from None
    stamps = pd.DatetimeIndex(dates)
    day = stamps[0].day
    if 1 < day <= 28 and (stamps.day == day).all():  # pandas names monthly dates only at the ends of a month
        stamps = stamps - pd.Timedelta(days=day - 1)
    parts = np.split(np.arange(len(stamps)), np.flatnonzero(first)[1:])
    common = _common_frequency(stamps, parts)
    positions = _positions(stamps, common) if common else np.full(len(stamps), -1)
    for rows in parts:
        if (positions[rows] >= 0).all():
            continue
        own = _frequency(stamps[rows])
        if own is None and len(rows) > 2:
            steps = np.unique(np.diff(stamps[rows]))
            raise _irregular(label[rows[0]], f"{pd.Timedelta(steps[0])} and {pd.Timedelta(steps[-1])}", name)
        positions[rows] = np.arange(len(rows)) if own is None else _positions(stamps[rows], own)
    return positions


def _common_frequency(stamps: Stamps, parts: Sequence[Array]) -> str | None:
    """Return the frequency of most series, each of which is the rows ``parts[i]``."""
    found = (_frequency(stamps[rows]) for rows in parts[:: len(parts) // MANY + 1])
    counts = Counter(one for one in found if one is not None)
    return counts.most_common(1)[0][0] if counts else None


def _frequency(stamps: Stamps) -> str | None:
    """Infer the frequency of sorted dates of which some may be missing; None where there is none."""
    import pandas as pd

    tried = set[str]()
    for size in (len(stamps), *WINDOWS):
        starts = range(0, len(stamps) - size + 1, max(1, size // 2))
        for start in starts[:: len(starts) // MANY + 1]:
            frequency = str(pd.infer_freq(stamps[start : start + size]) or "") if size > 2 else ""
            if frequency and frequency not in tried and (_positions(stamps, frequency) >= 0).all():
                return frequency
            tried.add(frequency)
    return None


def _positions(stamps: Stamps, frequency: str) -> Array:
    """Return the positions (n,) of dates among the regular ones from the first to the last; −1 for dates between."""
    import pandas as pd

    start, end = stamps.min(), stamps.max()
    begin = pd.date_range(start, periods=2, freq=frequency)
    if (end - start) / (begin[1] - begin[0]) > LIMIT:
        return np.full(len(stamps), -1)
    return np.array(pd.date_range(start, end, freq=frequency).get_indexer(stamps))
