"""Sinusoids: the tasks of Finn, Abbeel & Levine (2017), §5.1."""

from __future__ import annotations

import math

import numpy as np

from ...core.provenance import records_call
from ..base import Batch, Example, Reference, TaskBatch
from .curves import Array, Curves, Range


def _sine(x: Array, amplitude: Array, phase: Array) -> Array:
    return amplitude * np.sin(x - phase)


class Sinusoid(Curves):
    """Tasks y = A sin(x − φ) with an amplitude and a phase of their own; see `sinusoid`."""

    def __init__(self, amplitude: Range, phase: Range, x: Range, noise: float) -> None:
        super().__init__(_sine, {"amplitude": amplitude, "phase": phase}, x, noise, "sinusoid")
        self.amplitude, self.phase = self.ranges.values()

    def __repr__(self) -> str:
        return f"sinusoid(amplitude={self.amplitude}, phase={self.phase}, x={self.x}, noise={self.noise})"

    def draw(
        self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int, dtype: np.typing.DTypeLike
    ) -> TaskBatch:
        x, y = self._draw(rng, batches * n, shots + queries, dtype)  # in float32 a sine costs a third
        return TaskBatch(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))

    def references(self, inner_lr: np.typing.ArrayLike, inner_steps: int, shots: int) -> list[Reference]:
        single = Reference(self.best_single_loss, "best without adapting")
        return [Reference(self.zero_loss, "predicting 0"), single, *super().references(inner_lr, inner_steps, shots)]

    def _mean_square(self, phase_width: float) -> float:
        """Return E sin²(x − φ) for x uniform in its range and φ uniform around the middle of its own.

        It is (1 − E cos 2(x−φ))/2; the spread of a uniform variable of width w shrinks that cosine by sin(w)/w.

        Parameters
        ----------
        phase_width : float
            Width of the range of φ.
        """
        (x_low, x_high), (low, high) = self.x, self.phase
        shrink = np.sinc((x_high - x_low) / np.pi) * np.sinc(phase_width / np.pi)
        return float(1 - np.cos(x_low + x_high - low - high) * shrink) / 2

    @property
    def zero_loss(self) -> float:
        """Mean square of y, the loss of predicting 0: 4.251667 for the standard ranges."""
        (a, b), (low, high) = self.amplitude, self.phase
        return (a * a + a * b + b * b) / 3 * self._mean_square(high - low) + self.noise**2

    @property
    def best_single_loss(self) -> float:
        """Mean square error of E[y | x], the best function without adaptation: 3.005669 for the standard ranges."""
        low, high = self.phase
        peak = sum(self.amplitude) / 2 * np.sinc((high - low) / 2 / np.pi)  # E[y | x] is peak·sin(x − middle phase)
        return self.zero_loss - float(peak) ** 2 * self._mean_square(0)

    def best_single(self, x: Array) -> Array:
        """Return E[y | x] over the tasks: −1.623380 cos x for the standard ranges.

        Parameters
        ----------
        x : array

        Returns
        -------
        array
            Of the shape of ``x``.
        """
        low, high = self.phase
        mean_sine = (np.cos(x - high) - np.cos(x - low)) / (high - low)
        return np.asarray(sum(self.amplitude) / 2 * mean_sine)

    def example(self, rng: np.random.Generator, shots: int) -> Example:
        drawn = self._numbers(rng, 1)
        drawn["amplitude"] = drawn["amplitude"].clip(min=sum(self.amplitude) / 2)  # a flat task shows nothing
        amplitude, phase = (value.item() for value in drawn.values())
        return self._example(rng, shots, drawn, f"{amplitude:.1f}·sin(x − {phase:.1f})")


@records_call
def sinusoid(
    amplitude: Range = (0.1, 5.0), phase: Range = (0.0, math.pi), x: Range = (-5.0, 5.0), noise: float = 0.0
) -> Sinusoid:
    """Make tasks y = A sin(x − φ): amplitude, phase and inputs uniform in ranges.

    Parameters
    ----------
    amplitude, phase, x : (low, high)
        The defaults are those of Finn, Abbeel & Levine (2017), §5.1.
    noise : float
        Standard deviation of the noise on y.

    Returns
    -------
    Sinusoid
    """
    return Sinusoid(amplitude, phase, x, noise)
