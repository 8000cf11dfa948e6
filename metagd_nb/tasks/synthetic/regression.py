"""Isotropic linear regression: the loss after one adaptation step is known in closed form."""

from __future__ import annotations

import numpy as np

from ...core import MetagdError, check_float, check_int, records_call
from ..base import Batch, Example, Reference, TaskBatch, Tasks
from ..validation import numbers_2d


class Regression(Tasks):
    """Tasks y = x·w + noise with x ~ N(0, I) and w ~ N(w0, spread²·I); see `regression`."""

    name = "regression"
    outputs = 1

    def __init__(self, d: int, w0: float | np.ndarray, spread: float, noise: float) -> None:
        self.inputs = check_int(d, "d", low=1)
        self.spread, self.noise = check_float(spread, "spread", low=0), check_float(noise, "noise", low=0)
        mean = numbers_2d(np.atleast_1d(w0), "w0")[:, 0]
        if np.shape(w0) not in ((), (self.inputs,)):
            raise MetagdError(f"has shape {np.shape(w0)}; needs a number or shape ({d},)", "w0")
        self.w0 = np.broadcast_to(mean, (self.inputs,))

    def __repr__(self) -> str:
        return f"regression({self.inputs}, spread={self.spread}, noise={self.noise})"

    def _draw(self, rng: np.random.Generator, tasks: int, points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw weights (T, D, 1), inputs (T, K, D) and targets (T, K, 1)."""
        w = self.w0[:, None] + self.spread * rng.standard_normal((tasks, self.inputs, 1))
        x = rng.standard_normal((tasks, points, self.inputs))
        return w, x, x @ w + self.noise * rng.standard_normal((tasks, points, 1))

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        _, x, y = self._draw(rng, batches * n, shots + queries)
        return TaskBatch(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))

    def one_step_loss(self, inner_lr: float, shots: int) -> float:
        """Return the mean query ``mse`` after one step from w0 on ``shots`` points, in closed form.

        With a = 2·inner_lr (``mse`` has no ½), s² = spread², σ = noise, d inputs and n shots it is
        ((1−a)² + a²(d+1)/n)·d·s² + a²σ²d/n + σ².

        Parameters
        ----------
        inner_lr : float
        shots : int

        Returns
        -------
        float
        """
        a, d, n, variance = 2 * inner_lr, self.inputs, shots, self.noise**2
        return ((1 - a) ** 2 + a * a * (d + 1) / n) * d * self.spread**2 + a * a * variance * d / n + variance

    def best_inner_lr(self, shots: int) -> float:
        """Return the rate that minimizes `one_step_loss`."""
        d, n = self.inputs, shots
        return 0.5 / (1 + (d + 1) / n + self.noise**2 / (n * self.spread**2))

    def references(self, inner_lr: np.typing.ArrayLike, inner_steps: int, shots: int) -> list[Reference]:
        known = [Reference(self.inputs * self.spread**2 + self.noise**2, "best without adapting")]
        if self.spread and inner_steps == 1:
            known.append(Reference(self.one_step_loss(self.best_inner_lr(shots), shots), "best single step"))
        return [*known, Reference(self.noise**2, "noise (Bayes, many points)")] if self.noise else known

    def example(self, rng: np.random.Generator, shots: int) -> Example | None:
        if self.inputs != 1:
            return None
        w, x, y = self._draw(rng, 1, shots)
        grid = np.linspace(-3, 3, 61)
        return Example(Batch(x, y), grid, grid * w[0, 0, 0], f"{w[0, 0, 0]:.1f}·x".replace("-", "−"))


@records_call
def regression(d: int, w0: float | np.ndarray = 0, spread: float = 1, noise: float = 0) -> Regression:
    """Make linear tasks y = x·w + noise, x ~ N(0, I_d), w ~ N(w0, spread²·I_d).

    Parameters
    ----------
    d : int
        Number of inputs.
    w0 : float or array (d,)
        Mean of the tasks' weights.
    spread, noise : float
        Standard deviations of the weights and of the noise on y.

    Returns
    -------
    Regression
    """
    return Regression(d, w0, spread, noise)
