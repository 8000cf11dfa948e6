"""Sinusoids: the tasks of Finn, Abbeel & Levine (2017), §5.1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core.errors import MetagdError, shorten
from ...core.hyperparameters import check_float
from ...core.provenance import records_call
from ..base import Batch, Example, Reference, TaskBatch, Tasks


def interval(bounds: Any, name: str) -> tuple[float, float]:
    """``bounds`` as two finite numbers, the second above the first."""
    try:
        low, high = (check_float(bound, name) for bound in bounds)
    except (TypeError, ValueError):
        low = high = 0.0
    if not low < high:
        raise MetagdError(f"{shorten(bounds)} is not a range; needs low < high", name)
    return low, high


class Sinusoid(Tasks):
    """y = A sin(x − φ) with an amplitude and a phase of its own for each task; see `sinusoid`."""

    name = "sinusoid"
    inputs = outputs = 1

    def __init__(
        self, amplitude: tuple[float, float], phase: tuple[float, float], x: tuple[float, float], noise: float
    ) -> None:
        self.amplitude, self.phase, self.x = (
            interval(amplitude, "amplitude"),
            interval(phase, "phase"),
            interval(x, "x"),
        )
        self.noise = check_float(noise, "noise", low=0)

    def __repr__(self) -> str:
        return f"sinusoid(amplitude={self.amplitude}, phase={self.phase}, x={self.x}, noise={self.noise})"

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        return self.draw(rng, batches, n, shots, queries, np.float64)

    def draw(
        self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int, dtype: np.typing.DTypeLike
    ) -> TaskBatch:
        tasks = batches * n
        amplitude = rng.uniform(*self.amplitude, (tasks, 1, 1)).astype(dtype, copy=False)
        phase = rng.uniform(*self.phase, (tasks, 1, 1)).astype(dtype, copy=False)
        x = rng.uniform(*self.x, (tasks, shots + queries, 1)).astype(dtype, copy=False)  # (T, K+Q, 1)
        y = np.subtract(x, phase)
        np.sin(y, out=y)  # what a step's tasks cost; a third of it in float32
        y *= amplitude
        if self.noise:
            y += self.noise * rng.standard_normal(y.shape)
        return TaskBatch(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))

    def references(self, inner_lr: Any, inner_steps: int, shots: int) -> list[Reference]:
        known = [
            Reference(self.zero_loss, "predicting 0"),
            Reference(self.best_single_loss, "best without adapting"),
        ]
        return [*known, Reference(self.noise**2, "noise (Bayes)")] if self.noise else known

    def _mean_square(self, phase_width: float) -> float:
        """E sin²(x − φ): x uniform in its range, φ uniform around the middle of its own, ``phase_width`` wide.

        It is (1 − E cos 2(x−φ))/2; the spread of a uniform variable of width w shrinks that cosine by sin(w)/w.
        """
        (x_low, x_high), (low, high) = self.x, self.phase
        shrink = np.sinc((x_high - x_low) / np.pi) * np.sinc(phase_width / np.pi)
        return float(1 - np.cos(x_low + x_high - low - high) * shrink) / 2

    @property
    def zero_loss(self) -> float:
        """Mean square of y: what predicting 0 costs. 4.251667 for the standard ranges."""
        (a, b), (low, high) = self.amplitude, self.phase
        return (a * a + a * b + b * b) / 3 * self._mean_square(high - low) + self.noise**2

    @property
    def best_single_loss(self) -> float:
        """Mean square error of the best function that does not adapt, E[y | x]. 3.005669 for the standard ranges."""
        low, high = self.phase
        peak = sum(self.amplitude) / 2 * np.sinc((high - low) / 2 / np.pi)  # E[y | x] is peak·sin(x − middle phase)
        return self.zero_loss - float(peak) ** 2 * self._mean_square(0)

    def best_single(self, x: np.ndarray) -> np.ndarray:
        """E[y | x] over the tasks: −1.623380 cos x for the standard ranges."""
        low, high = self.phase
        mean_sine = (np.cos(x - high) - np.cos(x - low)) / (high - low)
        return np.asarray(sum(self.amplitude) / 2 * mean_sine)

    def example(self, rng: np.random.Generator, shots: int) -> Example:
        amplitude, phase = rng.uniform(*self.amplitude), rng.uniform(*self.phase)
        amplitude = max(amplitude, sum(self.amplitude) / 2)  # a flat task shows nothing
        x = rng.uniform(*self.x, (1, shots, 1))
        y = amplitude * np.sin(x - phase) + self.noise * rng.standard_normal(x.shape)
        grid = np.linspace(*self.x, 201)
        return Example(Batch(x, y), grid, amplitude * np.sin(grid - phase), f"{amplitude:.1f}·sin(x − {phase:.1f})")


@records_call
def sinusoid(
    amplitude: tuple[float, float] = (0.1, 5.0),
    phase: tuple[float, float] = (0.0, math.pi),
    x: tuple[float, float] = (-5.0, 5.0),
    noise: float = 0.0,
) -> Sinusoid:
    """Tasks y = A sin(x − φ): amplitude, phase and inputs uniform in ranges.

    Parameters
    ----------
    amplitude, phase, x : (low, high)
        The defaults are those of Finn, Abbeel & Levine (2017), §5.1.
    noise : float
        Standard deviation of the noise on y.
    """
    return Sinusoid(amplitude, phase, x, noise)
