"""The first four functions: linear regression, its loss, its gradient, and descending it.

Chapter 1 explains these very lines. ``x`` is (n, d), ``w`` (d,), ``y`` (n,).
"""

from __future__ import annotations

import numpy as np


def linear_regression_model(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Predict by a linear model: x·w.

    Parameters
    ----------
    x : array (n, d)
    w : array (d,)

    Returns
    -------
    array (n,)
    """
    return np.asarray(x) @ w


def mse_loss(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Mean of the squared errors; no ½.

    Parameters
    ----------
    y_true, y_pred : array (n,)

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For unlike shapes, such as (n,) and (n, 1).
    """
    if np.shape(y_true) != np.shape(y_pred) and np.shape(y_true) and np.shape(y_pred):
        raise ValueError(f"y_true has shape {np.shape(y_true)} and y_pred {np.shape(y_pred)}; mse_loss needs one shape")
    return np.mean((y_pred - y_true) ** 2)


def gradient(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Gradient of ``mse_loss(y, linear_regression_model(x, w))`` in w: 2 xᵀ(x·w − y)/n.

    Parameters
    ----------
    x : array (n, d)
    y : array (n,)
    w : array (d,)

    Returns
    -------
    array (d,)
    """
    return 2 * np.transpose(x) @ (linear_regression_model(x, w) - y) / len(x)


def meta_gradient_descent(
    x: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    learning_rate: float,
    iterations: int,
    loss_below: float | None = None,
) -> np.ndarray:
    """Descend the loss by gradient steps: w ← w − η∇L(w).

    Parameters
    ----------
    x : array (n, d)
    y : array (n,)
    w : array (d,)
        Start.
    learning_rate : float
        η.
    iterations : int
        Number of steps.
    loss_below : float, optional
        The descent ends earlier when the loss is below this value.

    Returns
    -------
    array (d,)
        The last w; the one passed in is left as it is.
    """
    w = np.array(w, dtype=float)
    for _ in range(iterations):
        if loss_below is not None and mse_loss(y, linear_regression_model(x, w)) < loss_below:
            break
        w = w - learning_rate * gradient(x, y, w)
    return w
