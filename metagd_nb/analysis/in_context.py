"""In-context learning by one layer of linear attention: a predictor that adapts without taking gradient steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.hyperparameters import check_float, check_int
from ..tasks import Tasks

__all__ = ["in_context"]

Array = np.ndarray


class InContext(NamedTuple):
    """Linear predictor ŷ = xᵀ Γ (1/k) Σ x_i y_i over a context of k examples, as one layer of linear attention gives.

    For x, w ~ N(0, I_d) the best Γ is k/(k+d+1)·I, one step of gradient descent at the best rate, and its squared
    error is (d+1)/(k+d+1) of d.

    Attributes
    ----------
    gamma : array (D, D)
    bias : bool
        True if a one is appended to every x.
    """

    gamma: Array
    bias: bool

    def moment(self, x: Array, y: Array) -> Array:
        """(1/k) Σ x_i y_i (T, D, C) of contexts ``x`` (T, K, D), ``y`` (T, K, C)."""
        return np.asarray(self.with_bias(x).swapaxes(1, 2) @ y / x.shape[1])

    def with_bias(self, x: Array) -> Array:
        """Inputs (T, K, D), with a column of ones where the predictor has a bias."""
        return np.concatenate([x, np.ones_like(x[..., :1])], axis=-1) if self.bias else x

    def predict(self, x: Array, y: Array, x_new: Array) -> Array:
        """Predictions (T, N, C) at ``x_new`` (T, N, D) from contexts ``x`` (T, K, D), ``y`` (T, K, C)."""
        return np.asarray(self.with_bias(x_new) @ self.gamma @ self.moment(x, y))

    def adapt(self, x: Array, y: Array) -> Callable[[ArrayLike], Array]:
        """Predictor ``f(x_new)``, (N, D) → (N, C), from the context ``x`` (K, D), ``y`` (K, C)."""
        return lambda x_new: self.predict(x[None], y[None], np.asarray(x_new)[None])[0]


def in_context(
    tasks: Tasks, shots: int = 10, n_tasks: int = 2000, bias: bool = False, ridge: float = 1e-6, seed: int = 2
) -> InContext:
    """Fit the `InContext` predictor of least squared error on a family's tasks, by least squares in Γ.

    Parameters
    ----------
    tasks : Tasks
        The family to fit.
    shots, n_tasks : int
        Examples in a context; tasks to draw (at most as many as the family has).
    bias : bool
        True appends a one to every x.
    ridge : float
        Weight of ‖Γ‖² against the mean squared error.
    seed : int
        Seed of the tasks drawn.

    Returns
    -------
    InContext
    """
    shots, n_tasks = check_int(shots, "shots", 1), check_int(n_tasks, "n_tasks", 1)
    ridge, seed = check_float(ridge, "ridge", low=0), check_int(seed, "seed", 0)
    n_tasks = min(n_tasks, tasks.n_available or n_tasks)
    rng = np.random.default_rng([seed, 0x1C])
    size = tasks.inputs + bias
    gram, moment = ridge * np.eye(size * size), np.zeros(size * size)
    empty = InContext(np.zeros((size, size)), bias)
    repeats = 20 if tasks.n_available else 1  # a small family is drawn from again, with other examples
    for _ in range(repeats):
        support, query = tasks.sample(rng, 1, n_tasks, shots, 5)
        context = empty.moment(support.x, support.y)
        features = np.einsum("tqa,tbc->tqcab", empty.with_bias(query.x), context).reshape(-1, size * size)
        gram += features.T @ features / (len(features) * repeats)
        moment += features.T @ query.y.reshape(-1) / (len(features) * repeats)
    gamma = np.linalg.lstsq(gram, moment, rcond=1e-12)[0]  # an input that is always 0 has no weight
    return InContext(gamma.reshape(size, size), bias)
