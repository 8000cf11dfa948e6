"""A problem evaluated at a point gives three things — loss, gradient, Hessian·vector — and no
method of the kit may ask for more (the word ``linearize`` is JAX's).

Tasks are the leading axis of every array: T tasks, K points a task, D inputs, C outputs,
P parameters.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..core.parameters import ParameterLayout

Array = np.ndarray


class Point(Protocol):
    """A problem at φ: what is true there, per task."""

    @property
    def loss(self) -> Array:
        """(T,)"""

    @property
    def grad(self) -> Array:
        """(T, P), gradient of each task's own loss."""

    def hvp(self, v: Array) -> Array:
        """(T, P) → (T, P): each task's Hessian times its own vector, reusing the forward pass."""

    def step(self, rate: Any) -> Any:
        """φ − rate·grad as an opaque value that ``linearize`` accepts again.

        ``rate`` is a scalar or (P,); zeros leave a coordinate as it is.
        """


class Problem(Protocol):
    """Something to learn: it can be started, and it can be evaluated at a point."""

    layout: ParameterLayout
    dtype: np.dtype[Any]

    def start(self, rng: np.random.Generator) -> Array:
        """Starting parameters (P,)."""

    def linearize(self, phi: Any, batch: Any) -> Point:
        """Evaluate at ``phi``: (P,) shared by all tasks, (T, P) one a task, or what ``step`` gave."""

    def flat(self, phi: Any, tasks: int) -> Array:
        """The parameters (T, P) that ``phi`` stands for."""
