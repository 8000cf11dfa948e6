"""Quadratic tasks: optimum and losses are known in closed form."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ...core import MetagdError, records_call
from ..base import Batch, Reference, TaskBatch, Tasks
from ..validation import as_floats


class Quadratics(Tasks):
    """Tasks L_i(θ) = ½(θ−c_i)ᵀA_i(θ−c_i); see `quadratics`. ``x`` of a batch is A (T, d, d), ``y`` is c (T, d)."""

    name = "quadratics"
    full_batch = True

    def __init__(self, a: np.typing.ArrayLike, c: np.typing.ArrayLike) -> None:
        a, c = as_floats(a, "a"), as_floats(c, "c")
        if c.ndim == 1:
            c = c[:, None]
        if c.ndim != 2 or len(c) == 0:
            raise MetagdError(f"has shape {c.shape}; needs (T, d), one minimum a task", "c")
        tasks, d = c.shape
        if a.shape == (tasks,):
            a = a[:, None, None] * np.eye(d)
        if a.shape != (tasks, d, d):
            raise MetagdError(f"has shape {a.shape}; needs ({tasks},) or ({tasks}, {d}, {d}) for these c", "a")
        if not (np.isfinite(a).all() and np.isfinite(c).all()):
            raise MetagdError("hold values that are not finite", "a, c")
        if not np.allclose(a, a.transpose(0, 2, 1)):
            raise MetagdError("is not symmetric; only (A + Aᵀ)/2 matters to the loss: pass that", "a")
        self.a, self.c = a.copy(), c.copy()
        self.inputs = self.outputs = d
        self.n_available = tasks

    def __repr__(self) -> str:
        return f"quadratics({len(self.c)} tasks, d={self.inputs})"

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        number = np.tile(np.arange(len(self.c)), batches)
        data = Batch(np.tile(self.a, (batches, 1, 1)), np.tile(self.c, (batches, 1)), number=number)
        return TaskBatch(data, data)

    def task_keys(self) -> list[set[Hashable]]:
        return [{("quadratic", a.tobytes(), c.tobytes())} for a, c in zip(self.a, self.c, strict=True)]

    def adapted(self, inner_lr: np.typing.ArrayLike, inner_steps: int) -> np.ndarray:
        """Return the curvature of each task before adaptation (T, d, d): W_i = (Rᵏ)ᵀA_iRᵏ with R = I − DA_i.

        Parameters
        ----------
        inner_lr : float or array (d,)
            Diagonal of D.
        inner_steps : int
            k.

        Returns
        -------
        array (T, d, d)
        """
        rate = np.broadcast_to(np.asarray(inner_lr, float), (self.inputs,))
        r = np.linalg.matrix_power(np.eye(self.inputs) - rate[:, None] * self.a, inner_steps)
        return np.asarray(r.transpose(0, 2, 1) @ self.a @ r)

    def optimum(self, inner_lr: np.typing.ArrayLike = 0.0, inner_steps: int = 0) -> tuple[np.ndarray, float]:
        """Return θ* (d,) = (ΣW)⁻¹ΣWc and the mean loss there after ``inner_steps`` steps; 0 steps: joint training.

        Parameters
        ----------
        inner_lr : float or array (d,)
        inner_steps : int

        Returns
        -------
        theta : array (d,)
        loss : float
        """
        w = self.adapted(inner_lr, inner_steps)
        theta = np.linalg.lstsq(w.sum(0), np.einsum("tij,tj->i", w, self.c), rcond=None)[0]
        off = theta - self.c  # (T, d)
        return theta, float(0.5 * np.einsum("ti,tij,tj->", off, w, off) / len(w))

    def references(self, inner_lr: np.typing.ArrayLike, inner_steps: int, shots: int) -> list[Reference]:
        adapted = Reference(self.optimum(inner_lr, inner_steps)[1], "optimum")
        return [Reference(self.optimum()[1], "best without adapting"), adapted] if inner_steps else [adapted]


@records_call
def quadratics(a: np.typing.ArrayLike, c: np.typing.ArrayLike) -> Quadratics:
    """Make tasks L_i(θ) = ½(θ−c_i)ᵀA_i(θ−c_i), all of them in every step.

    Parameters
    ----------
    a : array (T,) or (T, d, d)
        Curvature of each task: a number, or a symmetric matrix.
    c : array (T, d) or (T,)
        Minimum of each task.

    Returns
    -------
    Quadratics

    Raises
    ------
    MetagdError
        For shapes that do not fit, values that are not finite numbers, and matrices that are not symmetric.
    """
    return Quadratics(a, c)
