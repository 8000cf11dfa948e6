"""Families of curves: one formula, its numbers drawn anew for each task."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.errors import MetagdError, shorten
from ...core.hyperparameters import check_float
from ...core.provenance import records_call
from ..base import Batch, Example, Reference, TaskBatch, Tasks
from .sinusoid import interval

Range = tuple[float, float]


class Curves(Tasks):
    """y = function(x, a, b, …) with numbers of its own for each task; see `curves`."""

    inputs = outputs = 1

    def __init__(
        self, function: Callable[..., Any], ranges: Mapping[str, Any], x: Range, noise: float, name: str = "curves"
    ) -> None:
        if not callable(function):
            raise MetagdError(f"{shorten(function)} is not a function of x and the numbers drawn", "function")
        self.function, self.name = function, name
        self.ranges = {one: interval(bounds, one) for one, bounds in ranges.items()}
        self.x, self.noise = interval(x, "x"), check_float(noise, "noise", low=0)
        self._try()

    def _try(self) -> None:
        """Refuse at once a function that does not take these names or does not keep the shape of x."""
        try:
            inspect.signature(self.function).bind(0, **self.ranges)
        except TypeError as error:
            given = ", ".join(self.ranges) or "no numbers"
            raise MetagdError(f"cannot be called with x and {given}: {error}", "function") from None
        except ValueError:  # a function of C, such as a ufunc, tells no signature
            pass
        x, y = self._draw(np.random.default_rng(0), 2, 3)
        if np.shape(y) != x.shape or not np.isfinite(y).all():
            raise MetagdError("must give a finite number for each x, the whole array at once", "function")

    def __repr__(self) -> str:
        told = "".join(f", {name}={bounds}" for name, bounds in self.ranges.items())
        return f"curves({self.name}{told}, x={self.x}, noise={self.noise})"

    def _numbers(self, rng: np.random.Generator, tasks: int) -> dict[str, np.ndarray]:
        """Name → (T, 1, 1)"""
        return {name: rng.uniform(*bounds, (tasks, 1, 1)) for name, bounds in self.ranges.items()}

    def _draw(self, rng: np.random.Generator, tasks: int, points: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = self._numbers(rng, tasks)
        x = rng.uniform(*self.x, (tasks, points, 1))
        y = np.asarray(self.function(x, **drawn), float)
        return x, y + self.noise * rng.standard_normal(y.shape) if self.noise else y

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        x, y = self._draw(rng, batches * n, shots + queries)
        return TaskBatch(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))

    def references(self, inner_lr: Any, inner_steps: int, shots: int) -> list[Reference]:
        return [Reference(self.noise**2, "noise (Bayes)")] if self.noise else []

    def example(self, rng: np.random.Generator, shots: int) -> Example:
        drawn = self._numbers(rng, 1)
        x = rng.uniform(*self.x, (1, shots, 1))
        y = np.asarray(self.function(x, **drawn), float) + self.noise * rng.standard_normal(x.shape)
        grid = np.linspace(*self.x, 201)
        truth = np.asarray(self.function(grid[None, :, None], **drawn), float).ravel()
        told = ", ".join(f"{name} {value[0, 0, 0]:.1f}" for name, value in drawn.items()).replace("-", "−")
        return Example(Batch(x, y), grid, truth, f"{self.name}: {told}" if told else self.name)


@records_call
def curves(function: Callable[..., Any], x: Range = (-5.0, 5.0), noise: float = 0.0, **ranges: Range) -> Curves:
    """Tasks y = f(x; a, b, …): your formula, its numbers drawn anew for each task.

    >>> curves(lambda x, a, b: a * np.exp(-b * x), a=(1, 2), b=(0.1, 0.5), x=(0, 5))
    curves(<lambda>, a=(1.0, 2.0), b=(0.1, 0.5), x=(0.0, 5.0), noise=0.0)

    Parameters
    ----------
    function : callable
        Called with x (T, K, 1) and each number (T, 1, 1); gives y (T, K, 1).
    x : (low, high)
        Inputs are uniform between them.
    noise : float
        Standard deviation of the noise on y.
    **ranges : (low, high)
        One for each number that the function takes by name; drawn uniformly.

    Raises
    ------
    MetagdError
        For a function that does not take these names, or does not give a finite y for each x.
    """
    return Curves(function, ranges, x, noise, getattr(function, "__name__", "curves"))
