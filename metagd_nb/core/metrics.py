"""Scores of predictions, by name: a new metric is a function and a row in ``METRICS``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .errors import MetagdError, unknown_name

Array = np.ndarray
TINY = np.finfo(float).tiny


def accuracy(truth: Array, proba: Array) -> float:
    """Share of rows whose most probable class is the true one; truth (n, C) one-hot, probabilities (n, C)."""
    return float((proba.argmax(axis=1) == truth.argmax(axis=1)).mean())


def log_loss(truth: Array, proba: Array) -> float:
    """Mean of −Σ_c y_c log p_c, with probabilities of 0 replaced by the smallest number."""
    return float(-(truth * np.log(np.maximum(proba, TINY))).sum(axis=1).mean())


def brier(truth: Array, proba: Array) -> float:
    """Mean of Σ_c (p_c − y_c)² (Brier 1950); for two classes twice the form with one probability."""
    return float(np.square(proba - truth).sum(axis=1).mean())


def mse(truth: Array, prediction: Array) -> float:
    """Mean squared error over rows and outputs."""
    return float(np.square(prediction - truth).mean())


def mae(truth: Array, prediction: Array) -> float:
    """Mean absolute error over rows and outputs."""
    return float(np.abs(prediction - truth).mean())


def r2(truth: Array, prediction: Array) -> float:
    """Coefficient of determination, the mean over outputs; nan for targets that are constant or a single row."""
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.square(prediction - truth).sum(axis=0) / spread
    return float(np.where(spread > 0, 1 - share, np.nan).mean())


class Metric(NamedTuple):
    """One metric.

    Attributes
    ----------
    function : function
        (truth, prediction) → float, both (n, C); of classes one-hot and probabilities.
    classes : bool
        True for classes, False for numbers.
    higher : bool
        True if higher is better.
    """

    function: Callable[[Array, Array], float]
    classes: bool
    higher: bool


METRICS = {
    "accuracy": Metric(accuracy, True, True),
    "log-loss": Metric(log_loss, True, False),
    "brier": Metric(brier, True, False),
    "mse": Metric(mse, False, False),
    "mae": Metric(mae, False, False),
    "r2": Metric(r2, False, True),
}


def metric_of(name: str | None, classes: bool) -> Metric:
    """Return a metric by name; without one accuracy for classes and r2 for numbers.

    Raises
    ------
    MetagdError
        For an unknown name, and for a metric of classes where there are numbers, or the other way round.
    """
    if name is None:
        name = "accuracy" if classes else "r2"
    if name not in METRICS:
        raise unknown_name("metric", str(name), METRICS)
    if METRICS[name].classes != classes:
        alike = ", ".join(other for other, one in METRICS.items() if one.classes == classes)
        kind = "classes" if classes else "numbers"
        raise MetagdError(f"{name!r} is not for {kind}; metrics for {kind}: {alike}", "metric")
    return METRICS[name]
