"""Source (a) of a problem: built-in models with closed-form gradient and R-operator.

The Hessian·vector product is Pearlmutter's R-operator (1994, *Fast exact multiplication by the Hessian*, §3):
one more forward and one more backward pass, on activations that the gradient left behind.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .chain import ChainPoint
from .errors import MetagdError
from .layers import Pass
from .layout import Layout
from .losses import OutputLoss, mse
from .models import Net
from .tasks import Batch, Quadratics

Array = np.ndarray


def _times(h: Array, w: Array) -> Array:
    """h (T, K, i) times w: (i, o) shared by all tasks — one large product — or (T, i, o)."""
    if w.ndim == 2:
        return np.asarray((h.reshape(-1, h.shape[-1]) @ w).reshape(*h.shape[:-1], w.shape[-1]))
    return np.asarray(np.matmul(h, w))


def _across(h: Array) -> Array:
    return h.swapaxes(-1, -2)


class NetPoint:
    """A net at φ on a batch; the forward pass is shared by loss, gradient and every ``hvp``.

    Notation: layer l has inputs h[l] (T, K, i+1) with a last column of ones, weights w[l] (…, i+1, o),
    outputs z[l]; delta[l] is the loss's gradient in z[l]; slope[l] the activation's derivative there.
    """

    def __init__(self, problem: NetProblem, phi: Array, batch: Batch) -> None:
        net = problem.net
        self.problem, self.phi, self.tasks = problem, phi, len(batch)
        self.w = net.matrices(phi)
        self.h = [batch.with_ones if net.bias else batch.x]
        self.slope: list[Array] = []
        for w in self.w[:-1]:
            z = _times(self.h[-1], w)
            h = np.empty((*z.shape[:-1], z.shape[-1] + net.bias), z.dtype)
            inner = h[..., : z.shape[-1]]
            if net.bias:
                h[..., -1] = 1
            if net.activation == "relu":
                np.maximum(z, 0, out=inner)
                self.slope.append(np.sign(inner))
            else:
                np.tanh(z, out=inner)
                self.slope.append(1 - inner * inner)
            self.h.append(h)
        self.out = problem.loss.linearize(_times(self.h[-1], self.w[-1]), batch.y)
        self.loss = self.out.loss
        self.delta: list[Array] = []
        self.back: list[Array] = []  # the loss's gradient in each hidden activation, before the slope
        self._grad: Array | None = None

    def _inner(self, w: Array) -> Array:
        """A layer's weights without the bias row."""
        return w[..., :-1, :] if self.problem.net.bias else w

    @property
    def grad(self) -> Array:
        """(T, P)"""
        if self._grad is None:
            self._grad = np.empty((self.tasks, self.problem.layout.size), self.phi.dtype)
            rows = self.problem.net.matrices(self._grad)
            delta = self.out.grad
            self.delta = [delta]
            for layer in range(len(self.w) - 1, -1, -1):
                np.matmul(_across(self.h[layer]), delta, out=rows[layer])
                if layer:
                    back = _times(delta, _across(self._inner(self.w[layer])))
                    delta = back * self.slope[layer - 1]
                    self.back.insert(0, back)
                    self.delta.insert(0, delta)
        return self._grad

    def hvp(self, v: Array) -> Array:
        """(T, P) → (T, P)"""
        net = self.problem.net
        self.grad  # noqa: B018 — leaves the deltas that the second pass needs
        direction = net.matrices(v)
        moved: list[Array] = []  # R{h[l]} without the column of ones, which never moves; l ≥ 1
        slopes: list[Array | None] = []  # R{slope[l]}, None where the slope is flat
        for layer, (w, dw) in enumerate(zip(self.w, direction, strict=True)):
            dz = _times(self.h[layer], dw)
            if layer:
                dz += _times(moved[-1], self._inner(w))
            if layer < len(self.w) - 1:
                dh = dz * self.slope[layer]
                bends = net.activation == "tanh"
                slopes.append(-2 * self.h[layer + 1][..., : dh.shape[-1]] * dh if bends else None)
                moved.append(dh)
        product = np.empty((self.tasks, self.problem.layout.size), self.phi.dtype)
        rows = net.matrices(product)
        d_delta = self.out.hvp(dz)
        for layer in range(len(self.w) - 1, -1, -1):
            np.matmul(_across(self.h[layer]), d_delta, out=rows[layer])
            if layer:
                self._inner(rows[layer])[...] += _across(moved[layer - 1]) @ self.delta[layer]
                d_back = _times(d_delta, _across(self._inner(self.w[layer])))
                d_back += _times(self.delta[layer], _across(self._inner(direction[layer])))
                d_delta = d_back * self.slope[layer - 1]
                bend = slopes[layer - 1]
                if bend is not None:
                    d_delta += self.back[layer - 1] * bend
        return product

    def step(self, rate: Any) -> Array:
        """φ − rate·grad (T, P)"""
        return np.asarray(self.phi - rate * self.grad)


class NetProblem:
    """A built-in net and a loss of its predictions, on whatever batch it is given."""

    def __init__(self, net: Net, loss: OutputLoss = mse, dtype: np.typing.DTypeLike = np.float64) -> None:
        self.net, self.loss, self.dtype = net, loss, np.dtype(dtype)
        self.layout = net.layout

    def start(self, rng: np.random.Generator) -> Array:
        """Starting parameters (P,)."""
        return self.net.start(rng).astype(self.dtype)

    def linearize(self, phi: Array, batch: Batch) -> NetPoint | ChainPoint:
        """Evaluate at ``phi`` (P,) or (T, P)."""
        return NetPoint(self, phi, batch) if self.net.plain else ChainPoint(self.net, self.loss, phi, batch)

    def flat(self, phi: Array, tasks: int) -> Array:
        """(T, P)"""
        return np.broadcast_to(phi, (tasks, self.layout.size))

    def predict(self, phi: Array, x: Array) -> Array:
        """Outputs (T, K, C)."""
        return self.net.predict(phi, x)

    def embed(self, theta: Array, x: Array) -> Pass:
        """What the last layer sees of x (T, K, D), to be pulled back."""
        return self.net.embed(theta, x)


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
        self.layout, self.dtype = Layout({"theta": (tasks.inputs,)}), np.dtype(dtype)

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


class GramPoint:
    """Least squares at θ (P,), from XᵀX and Xᵀy alone."""

    __slots__ = ("_gram", "grad", "loss", "phi")

    def __init__(self, problem: LeastSquares, phi: Array) -> None:
        self.phi, self._gram = phi, problem.gram
        flat = phi.reshape(-1, problem.width)
        half = problem.gram @ flat - problem.moment
        self.grad = (2.0 * half).reshape(1, -1)
        # measured from (nearly) the minimum, where yᵀy − … would cancel to noise
        off = flat - problem.anchor
        self.loss = np.array([problem.anchor_loss + off.ravel() @ (half + problem.slack).ravel()])

    def hvp(self, v: Array) -> Array:
        """(1, P) → (1, P)"""
        return np.asarray(2.0 * (self._gram @ v.reshape(len(self._gram), -1)).reshape(1, -1))

    def step(self, rate: Any) -> Array:
        """θ − rate·grad (1, P)"""
        return np.asarray(self.phi - rate * self.grad)


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
        scale = 1.0 / n
        size = np.sqrt(gram.diagonal())  # of a column: how unlike they are must not decide what is solved for
        size = np.where(size > 0, size, 1.0)[:, None]
        best, _, rank, _ = np.linalg.lstsq(gram / (size * size.T), moment / size, rcond=ALIKE)
        best /= size
        residual = x @ best[:d] + (best[d] if net.bias else 0.0) - y
        self.anchor_loss = self.best_loss = float(np.mean(residual * residual))
        if rank < rows:  # columns (nearly) alike: XᵀX cannot tell what is best, X can
            ones = np.concatenate([x, np.ones((n, 1))], axis=1) if net.bias else x
            residual = ones @ (np.linalg.lstsq(ones / size.T, y, rcond=None)[0] / size) - y
            self.best_loss = min(self.best_loss, float(np.mean(residual * residual)))
        slack = gram @ best - moment  # zero but for rounding where ``best`` is the best
        scale /= self.width  # the mean runs over outputs too
        kept = (gram * scale, moment * scale, best, slack * scale)
        self.gram, self.moment, self.anchor, self.slack = (a.astype(self.dtype) for a in kept)

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


def match(net: Net, inputs: int, outputs: int | None, whose: str) -> None:
    """Refuse a net whose ends do not fit the data; ``outputs`` None: only its inputs matter.

    Raises
    ------
    MetagdError
        Naming both sizes.
    """
    if net.inputs != inputs:
        raise MetagdError(f"{net!r} takes {net.inputs} inputs, {whose} have {inputs}", "model")
    if outputs is not None and net.outputs != outputs:
        raise MetagdError(f"{net!r} gives {net.outputs} outputs, {whose} have {outputs} targets", "model")
