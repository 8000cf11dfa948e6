"""Real series that come with this package or with matplotlib: nothing is downloaded."""

from __future__ import annotations

import csv
import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..user_data.series import series
from ..user_data.series_tasks import Series


def m1_yearly(window: int = 3, horizon: int = 1) -> Series:
    """Load the 181 yearly series of the M1 competition, with 15 to 58 values each, as logarithms.

    The series grow by shares, hence the logarithms. The competition asks for forecasts of the last six values.
    ``m1_yearly.txt``, beside the data file, states the origin and the licence.

    Parameters
    ----------
    window : int
        Past values from which a forecast is made.
    horizon : int
        Values to forecast.

    Returns
    -------
    Series
        One task a series.

    References
    ----------
    S. Makridakis and others (1982), The accuracy of extrapolation (time series) methods: results of a forecasting
    competition, Journal of Forecasting 1(2), 111-153.
    """
    with gzip.open(Path(__file__).with_name("m1_yearly.csv.gz"), "rt", encoding="ascii", newline="") as lines:
        rows = list(csv.reader(lines))
    return series([np.array(row[1:], float) for row in rows], window, horizon, log=True, names=[row[0] for row in rows])


def stocks(window: int = 12, horizon: int = 1) -> Series:
    """Load the monthly prices of ten American stocks and indices since 1990, from matplotlib's data, as logarithms.

    Parameters
    ----------
    window : int
        Past values from which a forecast is made.
    horizon : int
        Values to forecast.

    Returns
    -------
    Series
        One task a series.
    """
    spec = find_spec("matplotlib")  # not imported: it would take longer than the rest
    assert spec is not None
    assert spec.origin is not None
    with (Path(spec.origin).parent / "mpl-data/sample_data/Stocks.csv").open(encoding="utf-8") as lines:
        rows = list(csv.reader(line for line in lines if not line.startswith("#")))
    names = rows[0][1:]
    columns = [[float(row[i]) for row in rows[1:] if row[i]] for i in range(1, len(rows[0]))]
    return series([np.array(column) for column in columns], window, horizon, log=True, names=names)
