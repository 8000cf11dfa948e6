"""Forecasts: what learned to learn against what needs no learning, scored horizon by horizon.

A forecasting method is a function ``method(history, horizon)`` → (horizon,): values of one series so far, and
the values it expects next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import MetagdError, shorten
from ..core.hyperparameters import check_float, check_int
from ..core.statistics import normal_half_width
from ..tasks import Tasks
from ..tasks.user_data.series import Series

__all__ = [
    "Forecaster",
    "Scores",
    "autoregression",
    "conformal",
    "drift",
    "exponential_smoothing",
    "forecasts",
    "in_context",
    "in_logs",
    "naive",
    "over_series",
    "seasonal_naive",
    "smape",
    "unit_of",
]

Array = np.ndarray
Method = Callable[[Array, int], Array]
Adapt = Callable[[Array, Array], Callable[[Array], Any]]

# ---- what needs no learning -----------------------------------------------------------------------------------------


def naive(history: Array, horizon: int) -> Array:
    """The last value, again and again."""
    return np.full(horizon, float(history[-1]))


def drift(history: Array, horizon: int) -> Array:
    """On along the line through the first and the last value."""
    step = (history[-1] - history[0]) / max(len(history) - 1, 1)
    return np.asarray(history[-1] + step * np.arange(1, horizon + 1))


def seasonal_naive(period: int) -> Method:
    """The value of one season ago."""
    period = check_int(period, "period", 1)

    def method(history: Array, horizon: int) -> Array:
        if len(history) < period:
            raise MetagdError(f"has {len(history)} values; a season has {period}", "history")
        return np.asarray(np.resize(np.asarray(history[-period:], float), horizon))

    return method


def autoregression(order: int, trend: bool = True) -> Method:
    """AR(order) by least squares on the one series, iterated; of least norm where there are fewer equations.

    ``trend`` adds a constant. On a series that follows such a law without noise the forecasts are exact.
    """
    order = check_int(order, "order", 1)

    def method(history: Array, horizon: int) -> Array:
        past = np.asarray(history, float)
        own = min(order, max((len(past) - 1) // 2, 1))  # a short series carries no long memory
        level, unit = past.mean(), past.std() or 1.0
        z = (past - level) / unit
        rows = np.lib.stride_tricks.sliding_window_view(z, own + 1)
        ones = np.full((len(rows), 1), float(trend))
        weights = np.linalg.lstsq(np.hstack([rows[:, :-1], ones]), rows[:, -1], rcond=1e-10)[0]
        made = list(z[-own:])
        for _ in range(horizon):
            made.append(float(np.dot(weights[:-1], made[-own:]) + weights[-1] * trend))
        return np.asarray(level + unit * np.array(made[own:]))

    return method


def in_logs(method: Method) -> Method:
    """A method at work on logarithms of values > 0."""
    return lambda history, horizon: np.asarray(np.exp(method(np.log(history), horizon)))


def exponential_smoothing(damped: bool = True) -> Method:
    """Holt's linear trend, damped (Gardner & McKenzie 1985), as statsmodels fits it."""
    try:
        from statsmodels.tsa.holtwinters import ExponentialSmoothing
    except ImportError:
        raise MetagdError("needs statsmodels: pip install 'metagd-nb[sequences]'", "exponential_smoothing") from None
    import warnings

    def method(history: Array, horizon: int) -> Array:
        past = np.asarray(history, float)
        unit = np.abs(past).max() or 1.0
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # that its optimizer stopped early is no news for a baseline
            model = ExponentialSmoothing(
                past / unit, trend="add", damped_trend=damped, initialization_method="estimated"
            )
            made = unit * np.asarray(model.fit().forecast(horizon))
        return made if np.isfinite(made).all() else naive(history, horizon)

    return method


# ---- what has learned to learn --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecaster:
    """A forecasting method from something that adapts to a few examples.

    With the family's horizon as long as asked for it forecasts directly, all values at once; else recursively: its
    own forecasts become part of the window.

    Attributes
    ----------
    adapt : function
        ``adapt(x, y)`` → ``f(x_new)``: `Run.adapt`, `InContext.adapt`, or the `adapt` of a Bayesian last layer.
    family : Series
        What it was learned from: window, horizon, units.
    shots : int
        Windows of the history that it adapts to.
    """

    adapt: Adapt
    family: Series
    shots: int = 10

    def __call__(self, history: Array, horizon: int) -> Array:
        x, y, scale = self.family.frame(history, self.shots)
        predict = self.adapt(x, y)
        made = list(self.family.transformed(np.asarray(history, float)[-self.family.window :]))
        for _ in range(-(-horizon // self.family.horizon)):
            window = np.array(made[-self.family.window :])
            out = predict((window - window[-1])[None] / scale)
            made.extend(window[-1] + scale * np.asarray(out if isinstance(out, np.ndarray) else out.mean)[0])
        return self.family.restored(np.array(made[self.family.window :][:horizon]))


class InContext(NamedTuple):
    """A linear predictor that never takes a step: ŷ = xᵀ Γ (1/k) Σ x_i y_i, what one layer of linear attention can do.

    For x, w ~ N(0, I_d) the best Γ is k/(k+d+1)·I — one step of gradient descent, at the best rate — and its squared
    error is (d+1)/(k+d+1) of d.

    Attributes
    ----------
    gamma : array (D, D)
    bias : bool
        Whether a one was added to every x.
    """

    gamma: Array
    bias: bool

    def _with_one(self, x: Array) -> Array:
        return np.concatenate([x, np.ones_like(x[..., :1])], axis=-1) if self.bias else x

    def predict(self, x: Array, y: Array, x_new: Array) -> Array:
        """(T, N, C) from contexts ``x`` (T, K, D), ``y`` (T, K, C) and questions ``x_new`` (T, N, D)."""
        moment = self._with_one(x).swapaxes(1, 2) @ y / x.shape[1]  # (T, D, C)
        return np.asarray(self._with_one(x_new) @ self.gamma @ moment)

    def adapt(self, x: Array, y: Array) -> Callable[[Array], Array]:
        """A predictor from the context ``x`` (K, D), ``y`` (K, C)."""
        return lambda x_new: self.predict(x[None], y[None], np.asarray(x_new)[None])[0]


def in_context(
    tasks: Tasks, shots: int = 10, n_tasks: int = 2000, bias: bool = False, ridge: float = 1e-6, seed: int = 2
) -> InContext:
    """The `InContext` predictor of least squared error on a family's tasks, by least squares in Γ.

    Parameters
    ----------
    ridge : float
        Weight of ‖Γ‖² against the mean squared error.
    """
    shots, n_tasks, ridge = (
        check_int(shots, "shots", 1),
        check_int(n_tasks, "n_tasks", 1),
        check_float(ridge, "ridge", low=0),
    )
    n_tasks = min(n_tasks, tasks.n_available or n_tasks)
    rng = np.random.default_rng([check_int(seed, "seed", 0), 0x1C])
    size = tasks.inputs + bias
    gram, moment = ridge * np.eye(size * size), np.zeros(size * size)
    empty = InContext(np.zeros((size, size)), bias)
    drawn = [tasks.sample(rng, 1, n_tasks, shots, 5) for _ in range(20 if tasks.n_available else 1)]
    for support, query in drawn:
        seen = empty._with_one(support.x).swapaxes(1, 2) @ support.y / shots  # (T, D, C)
        asked = empty._with_one(query.x)
        features = np.einsum("tqa,tbc->tqcab", asked, seen).reshape(-1, size * size)
        gram += features.T @ features / (len(features) * len(drawn))
        moment += features.T @ query.y.reshape(-1) / (len(features) * len(drawn))
    gamma = np.linalg.lstsq(gram, moment, rcond=1e-12)[0]  # an input that is always 0 has no weight
    return InContext(gamma.reshape(size, size), bias)


# ---- scores ---------------------------------------------------------------------------------------------------------


def unit_of(history: Array, period: int = 1) -> float:
    """The mean absolute error of the (seasonal) naive forecast within a history; 1 for a constant one.

    The scale of the MASE (Hyndman & Koehler 2006), of what was known only.
    """
    steps = np.abs(np.asarray(history, float)[period:] - np.asarray(history, float)[:-period])
    return float(steps.mean()) if len(steps) and steps.mean() > 0 else 1.0


def smape(actual: Array, forecast: Array) -> Array:
    """200·|a − f|/(|a| + |f|), as in the competitions; 0 where both are 0."""
    size = np.abs(actual) + np.abs(forecast)
    return np.asarray(200 * np.abs(actual - forecast) / np.where(size > 0, size, 1))


def conformal(errors: Array, level: float = 0.9) -> Array:
    """Half-widths (H,) from errors (S, H) of other series, in their units: a new one's lies within, with this chance.

    The ⌈(S+1)·level⌉-th smallest |error|; it holds whatever the law of the errors, for series that could be exchanged
    (Vovk, Gammerman & Shafer 2005). Infinite where S is too small to tell.
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
    """Forecasts of S series, H values ahead, and what they were worth.

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
        """(S, H)"""
        return np.asarray(np.abs(self.errors))

    @property
    def smape(self) -> Array:
        """(S, H), per cent."""
        return smape(self.actual, self.forecast)

    @property
    def covered(self) -> Array:
        """(S, H) of bool: whether the value lay in its interval."""
        return np.asarray(np.abs(self.actual - self.forecast) <= self.half)

    def __repr__(self) -> str:
        s, h = self.forecast.shape
        told = ", ".join(f"{name} {m:.3f} ± {half:.2g}" for name, (m, half) in
                         (("MASE", over_series(self.mase)), ("sMAPE", over_series(self.smape))))  # fmt: skip
        coverage = "" if np.isnan(self.half).any() else f", {self.covered.mean():.0%} in their intervals"
        return f"{s} series, {h} ahead: {told}{coverage}"

    def joined(self, other: Scores) -> Scores:
        """The scores of both sets of series."""
        parts = (np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True))
        return Scores(*parts)


def over_series(score: Array) -> tuple[float, float]:
    """Mean of a score (S, H), and half its 95 % interval: series are independent, a series' horizons are not."""
    each = np.asarray(score, float).mean(axis=1)
    return float(each.mean()), normal_half_width(each)


def forecasts(
    method: Method,
    series: Series | Sequence[Array],
    horizon: int,
    period: int = 1,
    calibrate: Series | Sequence[Array] | None = None,
    level: float = 0.9,
) -> Scores:
    """Hide the last ``horizon`` values of every series, forecast them, and compare.

    Parameters
    ----------
    method : function
        ``method(history, horizon)`` → (horizon,).
    period : int
        Of the season, for the unit of the MASE.
    calibrate : series, optional
        Other series from whose errors the intervals are taken; not those that the method has learned from, or they
        come out too narrow.
    level : float
        Share of the values that the intervals should hold.

    Raises
    ------
    MetagdError
        For a series too short, and for a method that does not give ``horizon`` finite values.
    """
    horizon, period = check_int(horizon, "horizon", 1), check_int(period, "period", 1)
    made, actual, unit = [], [], []
    for values in series.values if isinstance(series, Series) else series:
        if len(values) <= horizon + period:
            raise MetagdError(f"of {len(values)} values has no history before its last {horizon}", "series")
        history = np.asarray(values[:-horizon], float)
        found = np.asarray(method(history, horizon), float)
        if found.shape != (horizon,) or not np.isfinite(found).all():
            raise MetagdError(f"gives {shorten(found)}; needs {horizon} finite values", "method")
        made.append(found)
        actual.append(values[-horizon:])
        unit.append(unit_of(history, period))
    half = np.full((len(made), horizon), np.nan)
    if calibrate is not None:
        known = forecasts(method, calibrate, horizon, period)
        half = conformal(known.errors, level) * np.array(unit)[:, None]
    return Scores(np.array(made), np.array(actual, float), np.array(unit), half)
