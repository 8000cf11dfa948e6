"""Forecasting methods: a model that adapts to a few examples, and baselines that need no learning over tasks.

A forecasting method is a function ``method(history, horizon)`` → (horizon,): from the values (n,) of one series so far
it gives the next ``horizon`` values.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.errors import MetagdError
from ..core.hyperparameters import check_int
from ..tasks.user_data.series_tasks import Series
from .bayesian_last_layer import Prediction

__all__ = ["Forecaster", "autoregression", "drift", "exponential_smoothing", "in_logs", "naive", "seasonal_naive"]

Array = np.ndarray
Method = Callable[[Array, int], Array]
Adapt = Callable[[Array, Array], Callable[[Array], Array | Prediction]]


@dataclass(frozen=True)
class Forecaster:
    """Forecasting method built from a model that adapts to a few examples.

    A family whose horizon is as long as the one asked for gives all values at once. With a shorter one the forecast is
    recursive: its own values become part of the next window.

    Attributes
    ----------
    adapt : function
        ``adapt(x, y)`` → ``f(x_new)``: `Run.adapt`, `InContext.adapt`, or the `adapt` of a Bayesian last layer.
    family : Series
        The family that was learned from; it gives the window, the horizon and the units.
    shots : int
        Windows of the history to adapt to.
    """

    adapt: Adapt
    family: Series
    shots: int = 10

    def __call__(self, history: Array, horizon: int) -> Array:
        """Forecast (horizon,) from the history (n,)."""
        x, y, scale = self.family.frame(history, self.shots)
        predict = self.adapt(x, y)
        window = self.family.window
        values = list(self.family.transform(np.asarray(history, float)[-window:]))
        while len(values) < window + horizon:
            last = np.array(values[-window:])
            out = predict((last - last[-1])[None] / scale)
            values.extend(last[-1] + scale * np.asarray(out if isinstance(out, np.ndarray) else out.mean)[0])
        return self.family.inverse_transform(np.array(values[window:][:horizon]))


def naive(history: Array, horizon: int) -> Array:
    """Repeat the last value.

    Parameters
    ----------
    history : array (n,)
    horizon : int
        Values to forecast.

    Returns
    -------
    array (horizon,)
    """
    return np.full(horizon, float(history[-1]))


def drift(history: Array, horizon: int) -> Array:
    """Extend the straight line through the first and the last value.

    Parameters
    ----------
    history : array (n,)
    horizon : int
        Values to forecast.

    Returns
    -------
    array (horizon,)
    """
    step = (history[-1] - history[0]) / max(len(history) - 1, 1)
    return np.asarray(history[-1] + step * np.arange(1, horizon + 1))


def seasonal_naive(period: int) -> Method:
    """Repeat the values of the last season.

    Parameters
    ----------
    period : int
        Values in a season.

    Returns
    -------
    function
        ``method(history, horizon)``.

    Raises
    ------
    MetagdError
        By the method, for a history shorter than a season.
    """
    period = check_int(period, "period", 1)

    def method(history: Array, horizon: int) -> Array:
        if len(history) < period:
            raise MetagdError(f"has {len(history)} values; a season has {period}", "history")
        return np.asarray(np.resize(np.asarray(history[-period:], float), horizon))

    return method


def autoregression(order: int, trend: bool = True) -> Method:
    """AR(order), fitted by least squares to the one series and iterated.

    The solution of least norm is taken where there are fewer equations than weights. On a noise-free series that
    follows such a recurrence the forecasts are exact.

    Parameters
    ----------
    order : int
        Past values that a forecast depends on; a short series uses fewer.
    trend : bool
        True adds a constant to the recurrence.

    Returns
    -------
    function
        ``method(history, horizon)``.
    """
    order = check_int(order, "order", 1)

    def method(history: Array, horizon: int) -> Array:
        past = np.asarray(history, float)
        lags = min(order, max((len(past) - 1) // 2, 1))
        level, unit = past.mean(), past.std() or 1.0
        z = (past - level) / unit
        rows = np.lib.stride_tricks.sliding_window_view(z, lags + 1)
        ones = np.full((len(rows), 1), float(trend))
        weights = np.linalg.lstsq(np.hstack([rows[:, :-1], ones]), rows[:, -1], rcond=1e-10)[0]
        values = list(z[-lags:])
        for _ in range(horizon):
            values.append(float(np.dot(weights[:-1], values[-lags:]) + weights[-1] * trend))
        return np.asarray(level + unit * np.array(values[lags:]))

    return method


def in_logs(method: Method) -> Method:
    """Apply a forecasting method to the logarithms of a positive series.

    Parameters
    ----------
    method : function
        ``method(history, horizon)``.

    Returns
    -------
    function
        ``method(history, horizon)`` for values > 0.
    """
    return lambda history, horizon: np.asarray(np.exp(method(np.log(history), horizon)))


def exponential_smoothing(damped: bool = True) -> Method:
    """Holt's linear trend method, fitted by statsmodels.

    Parameters
    ----------
    damped : bool
        True damps the trend (Gardner & McKenzie 1985).

    Returns
    -------
    function
        ``method(history, horizon)``; it repeats the last value where the fit gives no finite forecast.

    Raises
    ------
    MetagdError
        When statsmodels is not installed.
    """
    try:
        from statsmodels.tsa.holtwinters import ExponentialSmoothing
    except ImportError:
        raise MetagdError("needs statsmodels: pip install 'metagd-nb[sequences]'", "exponential_smoothing") from None

    def method(history: Array, horizon: int) -> Array:
        past = np.asarray(history, float)
        unit = np.abs(past).max() or 1.0
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # an optimizer that stopped early is good enough for a baseline
            model = ExponentialSmoothing(
                past / unit, trend="add", damped_trend=damped, initialization_method="estimated"
            )
            forecast = unit * np.asarray(model.fit().forecast(horizon))
        return forecast if np.isfinite(forecast).all() else naive(history, horizon)

    return method
