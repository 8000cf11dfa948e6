"""Full-batch linear regression in closed form, from XᵀX and Xᵀy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import MetagdError
from ...models.losses import mse
from ...models.net import Net
from ...tasks import Batch
from ..base import Array, NormalEquations, Problem

ALIKE = 1e-9  # share of the largest eigenvalue of XᵀX, columns scaled alike, that is taken for rounding
UNLIKE = 1e-6  # smallest square of a pivot at which nobody need ask


class GramPoint:
    """Least squares at θ (P,), from XᵀX and Xᵀy alone."""

    __slots__ = ("grad", "loss", "phi", "problem")

    def __init__(self, problem: LeastSquares, phi: Array) -> None:
        self.phi, self.problem = phi, problem
        # measured from (nearly) the minimum, where yᵀy − … would cancel to noise
        off = phi.reshape(-1) - problem.anchor
        product = problem.hessian_product(off)
        self.grad = (product + problem.slack).reshape(1, -1)
        self.loss = np.array([problem.anchor_loss + 0.5 * off.dot(product) + off.dot(problem.slack)])

    def hvp(self, v: Array) -> Array:
        """Multiply the Hessian of each task by its vector: (1, P) → (1, P)."""
        return self.problem.hessian_product(v.reshape(-1)).reshape(1, -1)

    def step(self, rate: float | Array) -> Array:
        """θ − rate·grad (1, P)"""
        return np.asarray(self.phi - rate * self.grad)


def _sizes(gram: Array) -> Array:
    """Return the lengths of the columns of X, (P, 1); dividing by them makes the rank independent of their scales."""
    size = np.sqrt(gram.diagonal())
    return np.where(size > 0, size, 1.0)[:, None]


class LeastSquares(Problem):
    """Full-batch linear regression with a mean-square loss: XᵀX and Xᵀy are computed once, in float64.

    Every step then costs P² instead of n·P, on the same path as the naive loop.

    Parameters
    ----------
    net : Net
        A linear model.
    batch : Batch
        One task with all the rows: x (1, n, D), y (1, n, C).
    """

    predicts = True
    loss = mse

    def __init__(self, net: Net, batch: Batch, dtype: np.typing.DTypeLike = np.float64) -> None:
        self.net: Net = net
        self.layout, self.dtype = net.layout, np.dtype(dtype)
        x, y = batch.x[0], batch.y[0]
        n, self.width = len(x), y.shape[1]
        d = x.shape[1]
        rows = d + net.bias
        gram, moment = np.empty((rows, rows)), np.empty((rows, self.width))
        with np.errstate(all="ignore"):
            gram[:d, :d], moment[:d] = x.T @ x, x.T @ y
            if net.bias:
                gram[:d, d] = gram[d, :d] = x.sum(0)
                gram[d, d], moment[d] = n, y.sum(0)
        for name, sums in (("x", gram), ("y", moment)):
            if not np.isfinite(sums).all():  # with which LAPACK may go on for ever
                raise MetagdError("holds values so large that sums of their products overflow; scale them", name)
        best, rank = self._best(gram, moment)
        best = best.astype(self.dtype).astype(float)  # the point itself from which a step measures
        residual = x @ best[:d] + (best[d] if net.bias else 0.0) - y
        self.anchor_loss = self.best_loss = float(np.mean(residual * residual))
        if rank < rows:  # columns (nearly) alike: XᵀX cannot tell what is best, X can
            ones = np.concatenate([x, np.ones((n, 1))], axis=1) if net.bias else x
            size = _sizes(gram)
            residual = ones @ (np.linalg.lstsq(ones / size.T, y, rcond=None)[0] / size) - y
            self.best_loss = min(self.best_loss, float(np.mean(residual * residual)))
        scale = 2.0 / (n * self.width)  # the mean runs over outputs too
        slope = scale * (gram @ best - moment)  # zero but for rounding where ``best`` is the best
        self.hessian = (scale * gram).astype(self.dtype)  # of each output: they do not share a weight
        self.anchor, self.slack = (a.astype(self.dtype).ravel() for a in (best, slope))

    def hessian_product(self, v: Array) -> Array:
        """Hessian times v (P,)."""
        if self.width == 1:
            return np.asarray(self.hessian.dot(v))
        return np.asarray(self.hessian.dot(v.reshape(-1, self.width)).ravel())

    @staticmethod
    def _best(gram: Array, moment: Array) -> tuple[Array, int]:
        """Solve gram·θ = moment; return the solution, the shortest one for (nearly) dependent columns, and the rank."""
        size = _sizes(gram)
        gram, moment = gram / (size * size.T), moment / size
        try:
            sure = np.linalg.cholesky(gram).diagonal().min() ** 2 > UNLIKE
        except np.linalg.LinAlgError:
            sure = False
        if sure:
            return np.linalg.solve(gram, moment) / size, len(gram)
        best, _, rank, _ = np.linalg.lstsq(gram, moment, rcond=ALIKE)
        return best / size, int(rank)

    def start(self, rng: np.random.Generator) -> Array:
        """Starting parameters (P,)."""
        return self.net.start(rng).astype(self.dtype)

    def linearize(self, phi: ArrayLike, batch: Batch | None = None) -> GramPoint:
        """Evaluate at ``phi`` (P,) or (1, P)."""
        return GramPoint(self, np.asarray(phi))

    def flat(self, phi: ArrayLike, tasks: int) -> Array:
        """Return ``phi`` as an array (1, P)."""
        return np.reshape(phi, (1, -1))

    def predict(self, phi: ArrayLike, x: Array) -> Array:
        """Predict outputs (…, K, C)."""
        return self.net.predict(np.asarray(phi), x)

    def normal_equations(self) -> NormalEquations | None:
        """Return the quadratic form."""
        return NormalEquations(self.hessian, self.anchor, self.slack, self.anchor_loss, self.width)
