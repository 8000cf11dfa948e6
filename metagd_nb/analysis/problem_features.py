"""Features of an optimization problem, from a few evaluations at its start.

The memory of past runs compares problems by these features. Most of them have no units, so that a problem and the same
problem in other units have equal features; rates are remembered as multiples of 1/curvature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..problems.base import Array, Problem
from ..tasks import Batch, TaskBatch

LANCZOS = 8  # Hessian·vectors spent on the spectrum
TINY = 1e-300
FLOOR = 1e-12  # least loss ratio; a smaller one makes no difference


class ProblemFeatures(NamedTuple):
    """Features of a problem at its start; for tasks, medians or means over one batch, of the support loss.

    Attributes
    ----------
    size : int
        P.
    loss, grad_norm : float
        At the start, in the problem's units.
    top, bottom : float
        Largest and smallest positive Ritz value of the Hessian after a few Lanczos steps from the gradient
        (Golub & Van Loan 2013, §10.1): L from below, μ from above, of the part of space that the gradient reaches.
    along : float
        Curvature along the gradient, gᵀHg/gᵀg.
    noise : float
        Spread of the tasks' gradients, relative to the norm of their mean; 0 for a single task.
    one, two : float
        log₁₀ of the loss after one and two steps of size 1/top, relative to the loss at the start; the query loss
        for tasks.
    grad_evals, hvps : int
        Cost of the features.
    """

    size: int
    loss: float
    grad_norm: float
    top: float
    bottom: float
    along: float
    noise: float
    one: float
    two: float
    grad_evals: int
    hvps: int

    @property
    def condition(self) -> float:
        """top/bottom, at least 1."""
        return max(self.top / self.bottom, 1.0) if self.bottom > 0 else 1.0

    def place(self) -> Array:
        """Return coordinates without units; problems at distances well above 1 are unlike.

        Returns
        -------
        array (6,)
        """
        spread = np.log10(max(self.top, TINY) / max(abs(self.along), TINY))
        place = [
            np.log10(max(self.size, 1)) / 2,
            np.log10(self.condition),
            np.clip(spread, 0, 6),
            np.log1p(self.noise) / 2,
            np.clip(self.one, -6, 2),
            np.clip(self.two, -6, 2) / 2,
        ]
        return np.asarray(np.nan_to_num(np.array(place, float), nan=0.0, posinf=6.0, neginf=-6.0))


def spectrum(hvp: Callable[[Array], Array], start: Array, steps: int) -> tuple[Array, Array, Array]:
    """Estimate the ends of the Hessian's spectrum, by Lanczos with full reorthogonalization, for all tasks at once.

    A task whose Krylov space is exhausted continues with zero vectors; its remaining diagonal entries repeat the first
    one, which lies inside the spectrum and does not move its ends.

    Parameters
    ----------
    hvp : function
        Hessian·vector product, (T, P) → (T, P).
    start : array (T, P)
    steps : int
        Number of products.

    Returns
    -------
    top, bottom : array (T,)
        Largest and smallest positive Ritz value.
    along : array (T,)
        Rayleigh quotient of ``start``.
    """
    steps = min(steps, start.shape[1])
    basis, alpha, beta = [_unit(start)[0]], [], []
    for j in range(steps):
        w = np.asarray(hvp(basis[-1]), float)
        alpha.append((w * basis[-1]).sum(-1))
        if j + 1 == steps:
            break
        for _ in range(2):  # twice is enough (Kahan, in Parlett 1998)
            for q in basis:
                w = w - (w * q).sum(-1, keepdims=True) * q
        q, norm = _unit(w, np.abs(alpha[0]))
        basis.append(q)
        beta.append(norm)
    diagonal = np.stack(alpha, -1)  # (T, k)
    off = np.stack(beta, -1) if beta else np.zeros((len(start), 0))
    alive = np.concatenate([np.ones((len(start), 1), bool), np.cumprod(off > 0, -1).astype(bool)], -1)
    diagonal = np.where(alive, diagonal, diagonal[:, :1])
    tridiagonal = diagonal[:, :, None] * np.eye(steps)
    tridiagonal[:, 1:, :-1] += off[:, :, None] * np.eye(steps - 1)  # eigvalsh reads the lower triangle
    ritz = np.linalg.eigvalsh(tridiagonal)  # (T, k), ascending
    top = ritz[:, -1]
    positive = np.where(ritz > 1e-9 * np.abs(top)[:, None], ritz, np.inf)
    return top, np.minimum(positive.min(-1), np.maximum(top, 0)), diagonal[:, 0]


def _unit(v: Array, scale: Array | float = 0.0) -> tuple[Array, Array]:
    """Return v/‖v‖ and ‖v‖, both 0 where v is rounding error of values of size ``scale``."""
    norm = np.linalg.norm(v, axis=-1)
    norm = np.where(norm > 1e-10 * np.asarray(scale) + TINY, norm, 0.0)
    return v / np.where(norm > 0, norm, 1.0)[:, None], norm


def describe_problem(problem: Problem, batch: Batch | TaskBatch, theta: Array) -> ProblemFeatures:
    """Compute the features of a problem.

    Parameters
    ----------
    problem : Problem
    batch : Batch or TaskBatch
        Data of one step.
    theta : array (P,)
        Parameters at the start.

    Returns
    -------
    ProblemFeatures
    """
    tasks = isinstance(batch, TaskBatch)
    support, query = (batch.support, batch.query) if isinstance(batch, TaskBatch) else (batch, batch)
    with np.errstate(all="ignore"):
        phi = np.broadcast_to(theta, (len(support), len(theta))) if tasks else theta[None]
        point = problem.linearize(phi, support)
        grad = np.asarray(point.grad, float)
        loss, norm = np.asarray(point.loss, float), np.linalg.norm(grad, axis=-1)
        seed = np.where(norm[:, None] > 0, grad, 1.0)  # any direction at a stationary point
        top, bottom, along = spectrum(lambda v: point.hvp(v.astype(theta.dtype)), seed, LANCZOS)
        first, ones = problem.linearize(phi, query).loss if tasks else loss, []
        rate = np.where(top > 0, 1 / np.maximum(top, TINY), 1.0)[:, None]
        for _ in range(2):
            phi = phi - (rate * np.asarray(point.grad)).astype(theta.dtype)
            point = problem.linearize(phi, support)
            later = problem.linearize(phi, query).loss if tasks else point.loss
            ones.append(_ratio(later, first))
        mean = grad.mean(0)
        away = np.sqrt(((grad - mean) ** 2).sum(-1).mean()) / max(float(np.linalg.norm(mean)), TINY)
    count = len(grad)
    return ProblemFeatures(
        size=problem.layout.size,
        loss=float(np.mean(loss)),
        grad_norm=float(np.median(norm)),
        top=float(np.median(top)),
        bottom=float(np.median(bottom)),
        along=float(np.median(along)),
        noise=float(away) if count > 1 else 0.0,
        one=ones[0],
        two=ones[1],
        grad_evals=count * (6 if tasks else 3),
        hvps=count * min(LANCZOS, problem.layout.size),
    )


def _ratio(later: Array, first: Array) -> float:
    """log₁₀ of the mean loss relative to the first."""
    left = float(np.mean(later)) / max(float(np.mean(first)), TINY)
    return float(np.log10(max(left, FLOOR))) if np.isfinite(left) else 6.0
