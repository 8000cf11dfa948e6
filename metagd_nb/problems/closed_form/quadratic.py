"""Tasks of `quadratics` in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...core.parameters import ParameterLayout
from ...tasks import Batch, Quadratics
from ..base import Array, Problem


class QuadraticPoint:
    """½(φ−c)ᵀA(φ−c), per task."""

    def __init__(self, phi: Array, batch: Batch) -> None:
        self.phi, self.a = phi, batch.x
        off = phi - batch.y  # (T, d)
        self.grad = (self.a @ off[..., None])[..., 0]
        self.loss = 0.5 * np.einsum("td,td->t", off, self.grad)

    def hvp(self, v: Array) -> Array:
        """Multiply the Hessian of each task by its vector: (T, d) → (T, d)."""
        return np.asarray((self.a @ v[..., None])[..., 0])

    def step(self, rate: float | Array) -> Array:
        """φ − rate·grad (T, d)"""
        return np.asarray(self.phi - rate * self.grad)


class QuadraticProblem(Problem):
    """The tasks of `quadratics`; starts at zero."""

    def __init__(self, tasks: Quadratics, dtype: np.typing.DTypeLike = np.float64) -> None:
        self.layout, self.dtype = ParameterLayout({"theta": (tasks.inputs,)}), np.dtype(dtype)

    def start(self, rng: np.random.Generator) -> Array:
        """Zeros (d,)."""
        return np.zeros(self.layout.size, self.dtype)

    def linearize(self, phi: ArrayLike, batch: Batch) -> QuadraticPoint:
        """Evaluate at ``phi`` (d,) or (T, d)."""
        return QuadraticPoint(np.asarray(phi), batch)
