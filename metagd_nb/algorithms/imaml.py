"""iMAML: the implicit meta-gradient at the adapted parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..core.array_api import as_float, is_concrete, namespace, while_loop
from ..core.errors import MetagdError
from ..core.hyperparameters import hyperparameter
from ..problems.base import Point, Problem
from ..tasks import Batch, TaskBatch
from .base import MetaGradient
from .meta import Meta


@dataclass(frozen=True)
class IMAML(Meta):
    """Implicit MAML: adapt to the minimum of L(φ) + λ/2‖φ − θ‖², differentiated there.

    The meta-gradient u solves (I + H/λ) u = v, v being the query gradient at that minimum. Adaptation is gradient
    descent until the proximal gradient's norm is below ``inner_tol`` for every task, or ``inner_steps`` have been
    made. The linear system is solved by conjugate gradients, all tasks at a time.
    """

    source: ClassVar[str] = "Rajeswaran et al. 2019, §2.2 and eq. 4 (the inner problem)"
    refuses: ClassVar[bool] = True

    lam: float = hyperparameter(2.0, "strength λ of the pull towards θ", low=0, above=True, high=1e9, scale="log")
    inner_steps: int = hyperparameter(16, "adaptation steps at most", low=0, high=100_000)
    inner_tol: float = hyperparameter(
        1e-6, "adaptation ends when the proximal gradient is smaller", low=0, high=1, scale="log"
    )
    cg_steps: int = hyperparameter(10, "conjugate-gradient steps at most", low=1, high=10_000)
    cg_tol: float = hyperparameter(1e-10, "they end when the residual's share is smaller", low=0, high=1, scale="log")

    def path(self, problem: Problem, theta: np.ndarray, support: Batch, steps: int) -> Iterator[Any]:
        phi = namespace(theta).repeat(theta[None], len(support), axis=0)
        yield phi
        for _ in range(steps):
            phi, _ = self._nearer(problem, theta, support, phi)
            yield phi

    def _nearer(self, problem: Problem, theta: np.ndarray, support: Batch, phi: np.ndarray) -> tuple[np.ndarray, Any]:
        """Return φ after one more adaptation step, and True if the step was needed; otherwise φ is unchanged."""
        pulled = problem.linearize(phi, support).grad + self.lam * (phi - theta)
        far = (pulled * pulled).sum(axis=1).max() > self.inner_tol**2
        return phi - as_float(far) * self.rate(problem) * pulled, far

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        def nearer(state: tuple[Any, ...]) -> tuple[Any, ...]:
            phi, evaluated, _ = state
            phi, far = self._nearer(problem, theta, batch.support, phi)
            return phi, evaluated + 1, far

        start = next(self.path(problem, theta, batch.support, 0))
        phi, evaluated, _ = while_loop(lambda s: s[2] & (s[1] < self.inner_steps), nearer, (start, 0, True))
        query = problem.linearize(phi, batch.query)
        u, hvps = self._solve(problem.linearize(phi, batch.support), query.grad)
        return MetaGradient(query.loss, u.mean(axis=0), evaluated + 2, hvps)

    def _solve(self, point: Point, v: np.ndarray) -> tuple[np.ndarray, int]:
        """Return u (T, P) with (I + H/λ) u = v, and the number of Hessian·vector products."""
        point.grad  # noqa: B018 — the pass that hvp shares
        xp = namespace(v)
        start = (v * v).sum(axis=1)  # (T,)

        def closer(state: tuple[Any, ...]) -> tuple[Any, ...]:
            u, residual, direction, before, made = state
            applied = direction + point.hvp(direction) / self.lam
            curvature = self._positive(direction, (direction * applied).sum(axis=1), before)
            with np.errstate(invalid="ignore", divide="ignore"):
                length = xp.where(before > 0, before / curvature, 0)[:, None]
                u = u + length * direction
                residual = residual - length * applied
                size = (residual * residual).sum(axis=1)
                direction = residual + xp.where(before > 0, size / before, 0)[:, None] * direction
            return u, residual, direction, size, made + 1

        def going(state: tuple[Any, ...]) -> Any:
            *_, size, made = state
            return (made < self.cg_steps) & (size > self.cg_tol**2 * start).any()

        u, *_, made = while_loop(going, closer, (xp.zeros_like(v), v, v, start, 0))
        return u, made

    def _positive(self, direction: np.ndarray, curvature: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Return the curvature (T,); conjugate gradients need I + H/λ to be positive along every direction."""
        length = (direction * direction).sum(axis=1)
        concave = (curvature <= 0) & (size > 0)
        if not is_concrete(concave):
            nothing: np.ndarray = namespace(concave).where(concave, np.nan, curvature)
            return nothing
        if concave.any():
            lowest = float((self.lam * (curvature[concave] / length[concave] - 1)).min())
            raise MetagdError(
                f"{self.lam:g} is too weak: the loss curves down by {-lowest:.3g} along an adapted direction;"
                f" needs more than {-lowest:.3g}",
                "lam",
            )
        return curvature
