"""Scores of forecasting methods: forecasts of the last values of many series, their errors and prediction intervals.

The methods are in `forecasting_methods`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import MetagdError, shorten
from ..core.hyperparameters import check_float, check_int
from ..core.statistics import half_width
from ..tasks.user_data.series_tasks import Series
from .forecasting_methods import Array, Method

__all__ = ["Scores", "conformal", "forecasts", "over_series", "smape", "unit_of"]


def unit_of(history: Array, period: int = 1) -> float:
    """Mean absolute error of the (seasonal) naive forecast within a history, the unit of the MASE.

    Parameters
    ----------
    history : array (n,)
    period : int
        Values in a season.

    Returns
    -------
    float
        1 for a constant history.

    References
    ----------
    R. J. Hyndman and A. B. Koehler (2006), Another look at measures of forecast accuracy.
    """
    past = np.asarray(history, float)
    steps = np.abs(past[period:] - past[:-period])
    return float(steps.mean()) if len(steps) and steps.mean() > 0 else 1.0


def smape(actual: Array, forecast: Array) -> Array:
    """Symmetric percentage error 200·|a − f|/(|a| + |f|); 0 where both are 0.

    Parameters
    ----------
    actual, forecast : array
        Of one shape.

    Returns
    -------
    array
        Of that shape.
    """
    size = np.abs(actual) + np.abs(forecast)
    return np.asarray(200 * np.abs(actual - forecast) / np.where(size > 0, size, 1))


def conformal(errors: Array, level: float = 0.9) -> Array:
    """Half-widths of conformal prediction intervals, from the errors on other series.

    The ⌈(S+1)·level⌉-th smallest |error|. The coverage holds for any distribution of the errors, if the series are
    exchangeable.

    Parameters
    ----------
    errors : array (S, H)
        Errors of S series, H values ahead, each in its series' unit.
    level : float
        Coverage, 0 < level < 1.

    Returns
    -------
    array (H,)
        Infinite where S is too small for this level.

    Raises
    ------
    MetagdError
        For a level that is not > 0 and < 1.

    References
    ----------
    V. Vovk, A. Gammerman and G. Shafer (2005), Algorithmic learning in a random world.
    """
    level = check_float(level, "level", low=0)
    if not 0 < level < 1:
        raise MetagdError(f"{level:g} is not allowed; needs a number > 0 and < 1", "level")
    rank = int(np.ceil((len(errors) + 1) * level))
    if rank > len(errors):
        return np.full(errors.shape[1], np.inf)
    return np.asarray(np.sort(np.abs(errors), axis=0)[rank - 1])


@dataclass(frozen=True)
class Scores:
    """Forecasts of S series, H values ahead, and their errors.

    Attributes
    ----------
    forecast, actual : array (S, H)
    unit : array (S,)
        The mean absolute (seasonal) step of each history.
    half : array (S, H)
        Half-widths of the prediction intervals; nan without calibration.
    """

    forecast: Array
    actual: Array
    unit: Array
    half: Array

    @property
    def errors(self) -> Array:
        """(S, H), in units of each series."""
        return np.asarray((self.actual - self.forecast) / self.unit[:, None])

    @property
    def mase(self) -> Array:
        """Absolute errors (S, H), in units of each series."""
        return np.asarray(np.abs(self.errors))

    @property
    def smape(self) -> Array:
        """Symmetric percentage errors (S, H)."""
        return smape(self.actual, self.forecast)

    @property
    def covered(self) -> Array:
        """(S, H) of bool: True where the value lay in its interval."""
        return np.asarray(np.abs(self.actual - self.forecast) <= self.half)

    def __repr__(self) -> str:
        s, h = self.forecast.shape
        means = (("MASE", over_series(self.mase)), ("sMAPE", over_series(self.smape)))
        words = ", ".join(f"{name} {mean:.3f} ± {half:.2g}" for name, (mean, half) in means)
        coverage = "" if np.isnan(self.half).any() else f", {self.covered.mean():.0%} in their intervals"
        return f"{s} series, {h} ahead: {words}{coverage}"

    def joined(self, other: Scores) -> Scores:
        """Join the scores of two sets of series.

        Parameters
        ----------
        other : Scores

        Returns
        -------
        Scores
        """
        parts = (np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True))
        return Scores(*parts)


def over_series(score: Array) -> tuple[float, float]:
    """Mean of a score over series, and the half-width of its 95 % interval.

    Parameters
    ----------
    score : array (S, H)
        Series count as independent; the horizons of one series do not.

    Returns
    -------
    mean, half_width : float
    """
    each = np.asarray(score, float).mean(axis=1)
    return float(each.mean()), half_width(each)


def forecasts(
    method: Method,
    series: Series | Sequence[Array],
    horizon: int,
    period: int = 1,
    calibrate: Series | Sequence[Array] | None = None,
    level: float = 0.9,
) -> Scores:
    """Forecast the last ``horizon`` values of every series from the values before them, and score the forecasts.

    Parameters
    ----------
    method : function
        ``method(history, horizon)`` → (horizon,).
    series : Series or list of arrays (n,)
        The series to forecast.
    horizon : int
        Values to forecast.
    period : int
        Values in a season, for the unit of the MASE.
    calibrate : Series or list of arrays, optional
        Other series, whose errors give the prediction intervals. With series that the method has learned from the
        intervals are too narrow.
    level : float
        Share of the values that the intervals should contain.

    Returns
    -------
    Scores

    Raises
    ------
    MetagdError
        For a series that is too short, or a method that does not give ``horizon`` finite values.
    """
    horizon, period = check_int(horizon, "horizon", 1), check_int(period, "period", 1)
    forecast, actual, unit = [], [], []
    for values in series.values if isinstance(series, Series) else series:
        if len(values) <= horizon + period:
            raise MetagdError(f"of {len(values)} values has no history before its last {horizon}", "series")
        history = np.asarray(values[:-horizon], float)
        found = np.asarray(method(history, horizon), float)
        if found.shape != (horizon,) or not np.isfinite(found).all():
            raise MetagdError(f"gives {shorten(found)}; needs {horizon} finite values", "method")
        forecast.append(found)
        actual.append(values[-horizon:])
        unit.append(unit_of(history, period))
    half = np.full((len(forecast), horizon), np.nan)
    if calibrate is not None:
        known = forecasts(method, calibrate, horizon, period)
        half = conformal(known.errors, level) * np.array(unit)[:, None]
    return Scores(np.array(forecast), np.array(actual, float), np.array(unit), half)
