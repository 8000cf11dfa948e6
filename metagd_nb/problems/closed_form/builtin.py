"""Source (a) of a problem: built-in models in closed form. Nets have a module of their own; the rest stands here."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.errors import MetagdError
from ...core.parameters import ParameterLayout
from ...models.net import Net
from ...tasks import Batch, Quadratics
from .mlp import NetProblem

__all__ = ["LeastSquares", "NetProblem", "QuadraticProblem", "match"]

Array = np.ndarray


class QuadraticPoint:
    """½(φ−c)ᵀA(φ−c), per task."""

    def __init__(self, phi: Array, batch: Batch) -> None:
        self.phi, self.a = phi, batch.x
        off = phi - batch.y  # (T, d)
        self.grad = (self.a @ off[..., None])[..., 0]
        self.loss = 0.5 * np.einsum("td,td->t", off, self.grad)

    def hvp(self, v: Array) -> Array:
        """(T, d) → (T, d)"""
        return np.asarray((self.a @ v[..., None])[..., 0])

    def step(self, rate: Any) -> Array:
        """φ − rate·grad (T, d)"""
        return np.asarray(self.phi - rate * self.grad)


class QuadraticProblem:
    """The tasks of `quadratics`; starts at zero."""

    def __init__(self, tasks: Quadratics, dtype: np.typing.DTypeLike = np.float64) -> None:
        self.layout, self.dtype = ParameterLayout({"theta": (tasks.inputs,)}), np.dtype(dtype)

    def start(self, rng: np.random.Generator) -> Array:
        """Zeros (d,)."""
        return np.zeros(self.layout.size, self.dtype)

    def linearize(self, phi: Array, batch: Batch) -> QuadraticPoint:
        """Evaluate at ``phi`` (d,) or (T, d)."""
        return QuadraticPoint(phi, batch)

    def flat(self, phi: Array, tasks: int) -> Array:
        """(T, d)"""
        return np.broadcast_to(phi, (tasks, self.layout.size))


ALIKE = 1e-9  # share of the largest eigenvalue of XᵀX, columns scaled alike, that is taken for rounding
UNLIKE = 1e-6  # smallest square of a pivot at which nobody need ask


class GramPoint:
    """Least squares at θ (P,), from XᵀX and Xᵀy alone."""

    __slots__ = ("grad", "loss", "phi", "problem")

    def __init__(self, problem: LeastSquares, phi: Array) -> None:
        self.phi, self.problem = phi, problem
        # measured from (nearly) the minimum, where yᵀy − … would cancel to noise
        off = phi.reshape(-1) - problem.anchor
        bent = problem.bend(off)
        self.grad = (bent + problem.slack).reshape(1, -1)
        self.loss = np.array([problem.anchor_loss + 0.5 * off.dot(bent) + off.dot(problem.slack)])

    def hvp(self, v: Array) -> Array:
        """(1, P) → (1, P)"""
        return self.problem.bend(v.reshape(-1)).reshape(1, -1)

    def step(self, rate: Any) -> Array:
        """θ − rate·grad (1, P)"""
        return np.asarray(self.phi - rate * self.grad)


def _sizes(gram: Array) -> Array:
    """(P, 1), the lengths of the columns of X: how unlike they are must not decide what is solved for."""
    size = np.sqrt(gram.diagonal())
    return np.where(size > 0, size, 1.0)[:, None]


class LeastSquares:
    """Full-batch linear regression with a mean-square loss: XᵀX and Xᵀy are computed once, in float64.

    Every step then costs P² instead of n·P, on the same path as the naive loop.

    Parameters
    ----------
    net : Net
        A linear model.
    batch : Batch
        One task with all the rows: x (1, n, D), y (1, n, C).
    """

    def __init__(self, net: Net, batch: Batch, dtype: np.typing.DTypeLike = np.float64) -> None:
        self.net, self.layout, self.dtype = net, net.layout, np.dtype(dtype)
        x, y = batch.x[0], batch.y[0]
        n, self.width = len(x), y.shape[1]
        d = x.shape[1]
        rows = d + net.bias
        gram, moment = np.empty((rows, rows)), np.empty((rows, self.width))
        gram[:d, :d], moment[:d] = x.T @ x, x.T @ y
        if net.bias:
            gram[:d, d] = gram[d, :d] = x.sum(0)
            gram[d, d], moment[d] = n, y.sum(0)
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

    def bend(self, v: Array) -> Array:
        """Hessian times v (P,)."""
        if self.width == 1:
            return np.asarray(self.hessian.dot(v))
        return np.asarray(self.hessian.dot(v.reshape(-1, self.width)).ravel())

    @staticmethod
    def _best(gram: Array, moment: Array) -> tuple[Array, int]:
        """What solves gram·θ = moment, and the rank; the shortest such where columns are (nearly) alike."""
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

    def linearize(self, phi: Array, batch: Any = None) -> GramPoint:
        """Evaluate at ``phi`` (P,) or (1, P)."""
        return GramPoint(self, phi)

    def flat(self, phi: Array, tasks: int) -> Array:
        """(1, P)"""
        return phi.reshape(1, -1)

    def predict(self, phi: Array, x: Array) -> Array:
        """Outputs (…, K, C)."""
        return self.net.predict(phi, x)


def match(net: Net, inputs: int, outputs: int | None, whose: str, what: str = "targets") -> None:
    """Refuse a net whose ends do not fit the data; ``outputs`` None: only its inputs matter.

    Raises
    ------
    MetagdError
        Naming both sizes.
    """
    if net.inputs != inputs:
        raise MetagdError(f"{net!r} takes {net.inputs} inputs, {whose} have {inputs}", "model")
    if outputs is not None and net.outputs != outputs:
        raise MetagdError(f"{net!r} gives {net.outputs} outputs, {whose} have {outputs} {what}", "model")
