"""Quadratics: tasks whose every answer is known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.errors import MetagdError
from ...core.provenance import records_call
from ..base import Batch, Reference, TaskBatch, Tasks


class Quadratics(Tasks):
    """L_i(θ) = ½(θ−c_i)ᵀA_i(θ−c_i); see `quadratics`. A batch's ``x`` is A (T, d, d) and its ``y`` c (T, d)."""

    name = "quadratics"
    full_batch = True

    def __init__(self, a: np.ndarray, c: np.ndarray) -> None:
        try:
            if np.iscomplexobj(a) or np.iscomplexobj(c):
                raise TypeError("complex")
            a, c = np.array(a, float), np.array(c, float)
        except (TypeError, ValueError):
            raise MetagdError("needs arrays of numbers", "a, c") from None
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
        self.a, self.c = a, c
        self.inputs = self.outputs = d
        self.n_available = tasks

    def __repr__(self) -> str:
        return f"quadratics({len(self.c)} tasks, d={self.inputs})"

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        data = Batch(np.tile(self.a, (batches, 1, 1)), np.tile(self.c, (batches, 1)))
        return TaskBatch(data, data)

    def adapted(self, inner_lr: float | np.ndarray, inner_steps: int) -> np.ndarray:
        """W_i = (Rᵏ)ᵀA_iRᵏ (T, d, d), R = I − DA_i: the curvature of each task as seen from before adapting."""
        rate = np.broadcast_to(np.asarray(inner_lr, float), (self.inputs,))
        r = np.linalg.matrix_power(np.eye(self.inputs) - rate[:, None] * self.a, inner_steps)
        return np.asarray(r.transpose(0, 2, 1) @ self.a @ r)

    def optimum(self, inner_lr: float | np.ndarray = 0.0, inner_steps: int = 0) -> tuple[np.ndarray, float]:
        """θ* (d,) = (ΣW)⁻¹ΣWc and the mean loss there after ``inner_steps`` steps; no steps: joint training."""
        w = self.adapted(inner_lr, inner_steps)
        theta = np.linalg.lstsq(w.sum(0), np.einsum("tij,tj->i", w, self.c), rcond=None)[0]
        off = theta - self.c  # (T, d)
        return theta, float(0.5 * np.einsum("ti,tij,tj->", off, w, off) / len(w))

    def references(self, inner_lr: Any, inner_steps: int, shots: int) -> list[Reference]:
        adapted = Reference(self.optimum(inner_lr, inner_steps)[1], "optimum")
        return [Reference(self.optimum()[1], "best without adapting"), adapted] if inner_steps else [adapted]


@records_call
def quadratics(a: np.ndarray, c: np.ndarray) -> Quadratics:
    """Tasks L_i(θ) = ½(θ−c_i)ᵀA_i(θ−c_i), all of them in every step.

    Parameters
    ----------
    a : array (T,) or (T, d, d)
        Curvature of each task: a number, or a symmetric matrix.
    c : array (T, d) or (T,)
        Minimum of each task.
    """
    return Quadratics(a, c)
