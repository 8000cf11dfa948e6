"""Families of curves: one formula, whose numbers are drawn for each task."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ...core import MetagdError, check_float, records_call, shorten
from ..base import Batch, Example, Reference, TaskBatch, Tasks

Array = NDArray[np.float64]
Range = tuple[float, float]


def interval(bounds: Range, name: str) -> Range:
    """Check two finite numbers, the second greater than the first.

    Raises
    ------
    MetagdError
        Naming the argument ``name``.
    """
    try:
        low, high = (check_float(bound, name) for bound in bounds)
    except (TypeError, ValueError):
        low = high = 0.0
    if not low < high:
        raise MetagdError(f"{shorten(bounds)} is not a range; needs low < high", name)
    return low, high


class Curves(Tasks):
    """Tasks y = function(x, a, b, …) + noise, with numbers a, b, … of their own; see `curves`."""

    inputs = outputs = 1

    def __init__(
        self,
        function: Callable[..., ArrayLike],
        ranges: Mapping[str, Range],
        x: Range,
        noise: float,
        name: str = "curves",
    ) -> None:
        if not callable(function):
            raise MetagdError(f"{shorten(function)} is not a function of x and the numbers drawn", "function")
        self.function, self.name = function, name
        self.ranges = {number: interval(bounds, number) for number, bounds in ranges.items()}
        self.x, self.noise = interval(x, "x"), check_float(noise, "noise", low=0)
        self._check_function()

    def _check_function(self) -> None:
        """Refuse a function that does not take these names or does not keep the shape of x."""
        try:
            inspect.signature(self.function).bind(0, **self.ranges)
        except TypeError as error:
            given = ", ".join(self.ranges) or "no numbers"
            raise MetagdError(f"cannot be called with x and {given}: {error}", "function") from None
        except ValueError:  # a function written in C, such as a ufunc, has no signature
            pass
        x, y = self._draw(np.random.default_rng(0), 2, 3)
        if np.shape(y) != x.shape or not np.isfinite(y).all():
            raise MetagdError("must give a finite number for each x, the whole array at once", "function")

    def __repr__(self) -> str:
        numbers = "".join(f", {name}={bounds}" for name, bounds in self.ranges.items())
        return f"curves({self.name}{numbers}, x={self.x}, noise={self.noise})"

    def _numbers(self, rng: np.random.Generator, tasks: int) -> dict[str, Array]:
        """Draw the numbers (T, 1, 1) of each task, by name."""
        return {name: rng.uniform(*bounds, (tasks, 1, 1)) for name, bounds in self.ranges.items()}

    def _draw(
        self, rng: np.random.Generator, tasks: int, points: int, dtype: DTypeLike = np.float64
    ) -> tuple[Array, Array]:
        """Draw inputs and targets (T, K, 1), computed in a precision."""
        numbers = {name: drawn.astype(dtype, copy=False) for name, drawn in self._numbers(rng, tasks).items()}
        x = rng.uniform(*self.x, (tasks, points, 1)).astype(dtype, copy=False)
        y = np.asarray(self.function(x, **numbers), dtype)
        return x, (y + self.noise * rng.standard_normal(y.shape)).astype(dtype) if self.noise else y

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        x, y = self._draw(rng, batches * n, shots + queries)
        return TaskBatch(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))

    def references(self, inner_lr: ArrayLike, inner_steps: int, shots: int) -> list[Reference]:
        return [Reference(self.noise**2, "noise (Bayes)")] if self.noise else []

    def example(self, rng: np.random.Generator, shots: int) -> Example:
        drawn = self._numbers(rng, 1)
        numbers = ", ".join(f"{name} {value[0, 0, 0]:.1f}" for name, value in drawn.items()).replace("-", "−")
        return self._example(rng, shots, drawn, f"{self.name}: {numbers}" if numbers else self.name)

    def _example(self, rng: np.random.Generator, shots: int, numbers: Mapping[str, Array], label: str) -> Example:
        """Draw the points of the task with these numbers (1, 1, 1)."""
        x, grid = rng.uniform(*self.x, (1, shots, 1)), np.linspace(*self.x, 201)
        y = np.asarray(self.function(x, **numbers), float) + self.noise * rng.standard_normal(x.shape)
        truth = np.asarray(self.function(grid[None, :, None], **numbers), float).ravel()
        return Example(Batch(x, y), grid, truth, label)


@records_call
def curves(function: Callable[..., ArrayLike], x: Range = (-5.0, 5.0), noise: float = 0.0, **ranges: Range) -> Curves:
    """Make tasks y = f(x; a, b, …) from your own formula, whose numbers are drawn for each task.

    >>> curves(lambda x, a, b: a * np.exp(-b * x), a=(1, 2), b=(0.1, 0.5), x=(0, 5))
    curves(<lambda>, a=(1.0, 2.0), b=(0.1, 0.5), x=(0.0, 5.0), noise=0.0)

    Parameters
    ----------
    function : callable
        Called with x (T, K, 1) and each number (T, 1, 1); returns y (T, K, 1).
    x : (low, high)
        Inputs are uniform between them.
    noise : float
        Standard deviation of the noise on y.
    **ranges : (low, high)
        One for each number that the function takes by name; the number is uniform between them.

    Returns
    -------
    Curves

    Raises
    ------
    MetagdError
        For a function that does not take these names, or does not give a finite y for each x.
    """
    return Curves(function, ranges, x, noise, getattr(function, "__name__", "curves"))
