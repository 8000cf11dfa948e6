"""Layers with closed-form derivatives: forward pass, backpropagation, and the directional derivatives of both.

A layer maps h (T, N, i) to (T, N, o), N being the points of a task (and the pixels of each, where inputs are
images). It gives four things, and a chain of layers then has a loss's gradient and Hessian·vector (Pearlmutter 1994):

- ``forward``: the outputs, and the arrays that the other three need;
- ``backward``: vector-Jacobian product: the gradient in the outputs pulled back to inputs and parameters;
- ``jvp``: Jacobian-vector product: the tangent of the outputs along tangents of parameters and inputs;
- ``backward_jvp``: the tangent of ``backward`` along the same tangents, for a fixed gradient in the outputs.

``apply`` is the forward pass of one task (N, i) → (N, o) as a pure function, for whatever traces or compiles it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from .activations import ACTIVATIONS

Array = np.ndarray
Named = Mapping[str, Array]
Cache = tuple[Array, ...]  # what `forward` leaves for the other passes
Tangents = tuple[Array, ...] | None  # saved by `jvp` for `backward_jvp`; None for fixed inputs
EPS = 1e-3  # added to the variance, as in Finn et al.'s code (TensorFlow's default then)


def times(h: Array, w: Array) -> Array:
    """Multiply h (T, N, i) by w: (i, o) shared by all tasks, as one large product, or (T, i, o)."""
    if w.ndim == 2:
        return np.asarray((h.reshape(-1, h.shape[-1]) @ w).reshape(*h.shape[:-1], w.shape[-1]))
    return np.asarray(np.matmul(h, w))


def across(h: Array) -> Array:
    """Exchange the last two axes."""
    return h.swapaxes(-1, -2)


def row(b: Array) -> Array:
    """Shape b, (o,) shared by all tasks or (T, o), for addition to (T, N, o)."""
    return b if b.ndim == 1 else b[:, None]


class Layer:
    """Identity, and base class of the layers; ``shapes`` names the parameters."""

    shapes: dict[str, tuple[int, ...]]

    def __init__(self) -> None:
        self.shapes = {}

    def start(self, views: Named) -> None:
        """Fill in starting values that are neither zero nor random."""

    def apply(self, xp: ModuleType, params: Mapping[str, Any], h: Array) -> Any:
        """Compute the outputs (N, o) of one task from its inputs (N, i)."""
        return h

    def forward(self, w: Named, h: Array) -> tuple[Array, Cache]:
        """Compute the outputs (T, N, o), and the arrays that the other passes need."""
        return h, ()

    def backward(self, w: Named, cache: Cache, delta: Array, into: Named, further: bool) -> Array | None:
        """Pull ``delta`` (T, N, o) back: to the parameters in ``into``, and to the inputs if it goes ``further``."""
        return delta

    def jvp(self, w: Named, cache: Cache, dw: Named, dh: Array | None) -> tuple[Array | None, Tangents]:
        """Compute the tangent of the outputs along ``dw`` and ``dh`` (None: fixed inputs), and `Tangents`."""
        return dh, None

    def backward_jvp(
        self, w: Named, cache: Cache, tangents: Tangents, delta: Array, dw: Named, into: Named, further: bool
    ) -> Array | None:
        """Add the tangent of `backward` to ``into``, at fixed ``delta``; return that at the inputs, None for zero."""
        return None


class Dense(Layer):
    """h·W + b."""

    def __init__(self, number: int, inputs: int, outputs: int, bias: bool) -> None:
        self.weight, self.shift = f"W{number}", f"b{number}" if bias else ""
        self.shapes = {self.weight: (inputs, outputs)} | ({self.shift: (outputs,)} if bias else {})

    def apply(self, xp: ModuleType, params: Mapping[str, Any], h: Array) -> Any:
        out = h @ params[self.weight]
        return out + params[self.shift] if self.shift else out

    def forward(self, w: Named, h: Array) -> tuple[Array, Cache]:
        out = times(h, w[self.weight])
        if self.shift:
            out += row(w[self.shift])
        return out, (h,)

    def backward(self, w: Named, cache: Cache, delta: Array, into: Named, further: bool) -> Array | None:
        np.matmul(across(cache[0]), delta, out=into[self.weight])
        if self.shift:
            np.sum(delta, axis=1, out=into[self.shift])
        return times(delta, across(w[self.weight])) if further else None

    def jvp(self, w: Named, cache: Cache, dw: Named, dh: Array | None) -> tuple[Array | None, Tangents]:
        out = times(cache[0], dw[self.weight])
        if dh is not None:
            out += times(dh, w[self.weight])
        if self.shift:
            out += row(dw[self.shift])
        return out, None if dh is None else (dh,)

    def backward_jvp(
        self, w: Named, cache: Cache, tangents: Tangents, delta: Array, dw: Named, into: Named, further: bool
    ) -> Array | None:
        if tangents is not None:
            into[self.weight][...] += across(tangents[0]) @ delta
        return times(delta, across(dw[self.weight])) if further else None


class ActivationLayer(Layer):
    """A row of `ACTIVATIONS`, applied to each number."""

    def __init__(self, name: str) -> None:
        self.function, self.shapes = ACTIVATIONS[name], {}

    def apply(self, xp: ModuleType, params: Mapping[str, Any], h: Array) -> Any:
        return self.function.value(xp, h)

    def forward(self, w: Named, h: Array) -> tuple[Array, Cache]:
        out, slope = np.empty_like(h), np.empty_like(h)
        self.function.fill(h, out, slope)
        return out, (h, out, slope)

    def backward(self, w: Named, cache: Cache, delta: Array, into: Named, further: bool) -> Array | None:
        return np.asarray(delta * cache[2])

    def jvp(self, w: Named, cache: Cache, dw: Named, dh: Array | None) -> tuple[Array | None, Tangents]:
        return (None, None) if dh is None else (dh * cache[2], (dh,))

    def backward_jvp(
        self, w: Named, cache: Cache, tangents: Tangents, delta: Array, dw: Named, into: Named, further: bool
    ) -> Array | None:
        if self.function.curvature is None or tangents is None:
            return None
        curved = np.empty_like(delta)
        z, value, slope = cache
        self.function.curvature(z, value, slope, curved)
        return np.asarray(curved * tangents[0] * delta)


class BatchNorm(Layer):
    """gain·(h − mean)/√(variance + ε) + shift, mean and variance over the points of the very batch (N).

    Ioffe & Szegedy 2015, algorithm 1. There are no running statistics: a prediction depends on the points that are
    predicted with it (transductive, as in Finn et al. 2017).
    """

    def __init__(self, number: int, width: int) -> None:
        self.gain, self.shift = f"gain{number}", f"shift{number}"
        self.shapes = {self.gain: (width,), self.shift: (width,)}

    def start(self, views: Named) -> None:
        views[self.gain][...] = 1

    def apply(self, xp: ModuleType, params: Mapping[str, Any], h: Array) -> Any:
        off = h - xp.mean(h, axis=0)
        return off / xp.sqrt(xp.mean(off * off, axis=0) + EPS) * params[self.gain] + params[self.shift]

    def forward(self, w: Named, h: Array) -> tuple[Array, Cache]:
        off = h - h.mean(axis=1, keepdims=True)
        scale = 1 / np.sqrt((off * off).mean(axis=1, keepdims=True) + EPS)  # (T, 1, o)
        off *= scale
        return off * row(w[self.gain]) + row(w[self.shift]), (off, scale)

    @staticmethod
    def _unmean(u: Array, z: Array) -> Array:
        """u without its mean and its part along z: the slope of the normalisation is symmetric, but for its scale."""
        return np.asarray(u - u.mean(axis=1, keepdims=True) - z * (u * z).mean(axis=1, keepdims=True))

    def backward(self, w: Named, cache: Cache, delta: Array, into: Named, further: bool) -> Array | None:
        z, scale = cache
        np.sum(delta * z, axis=1, out=into[self.gain])
        np.sum(delta, axis=1, out=into[self.shift])
        return np.asarray(scale * self._unmean(delta * row(w[self.gain]), z))

    def jvp(self, w: Named, cache: Cache, dw: Named, dh: Array | None) -> tuple[Array | None, Tangents]:
        z, scale = cache
        out = z * row(dw[self.gain]) + row(dw[self.shift])
        if dh is None:
            return out, None
        dz = scale * self._unmean(dh, z)
        return out + dz * row(w[self.gain]), (dz, -scale * (dh * z).mean(axis=1, keepdims=True))

    def backward_jvp(
        self, w: Named, cache: Cache, tangents: Tangents, delta: Array, dw: Named, into: Named, further: bool
    ) -> Array | None:
        z, scale = cache
        change = scale * self._unmean(delta * row(dw[self.gain]), z)
        if tangents is None:
            return np.asarray(change)
        dz, stretch = tangents  # stretch: relative tangent of the scale
        into[self.gain][...] += np.sum(delta * dz, axis=1)
        u = delta * row(w[self.gain])
        turned = dz * (u * z).mean(axis=1, keepdims=True) + z * (u * dz).mean(axis=1, keepdims=True)
        return np.asarray(change + scale * (stretch * self._unmean(u, z) - turned))


class Context(Layer):
    """The inputs with a vector that is the same at every point appended (as in Zintgraf et al. 2019)."""

    def __init__(self, size: int) -> None:
        self.shapes = {"context": (size,)}
        self.size = size

    def apply(self, xp: ModuleType, params: Mapping[str, Any], h: Array) -> Any:
        return xp.concatenate([h, xp.zeros_like(h[:, :1]) + params["context"]], axis=1)

    def _appended(self, h: Array, context: Array) -> Array:
        return np.concatenate([h, np.broadcast_to(row(context), (*h.shape[:-1], self.size))], axis=-1)

    def forward(self, w: Named, h: Array) -> tuple[Array, Cache]:
        return self._appended(h, w["context"]), (h,)

    def backward(self, w: Named, cache: Cache, delta: Array, into: Named, further: bool) -> Array | None:
        np.sum(delta[..., -self.size :], axis=1, out=into["context"])
        return delta[..., : -self.size]

    def jvp(self, w: Named, cache: Cache, dw: Named, dh: Array | None) -> tuple[Array | None, Tangents]:
        return self._appended(np.zeros_like(cache[0]) if dh is None else dh, dw["context"]), None


NORMS: dict[str, Callable[[int, int], Layer]] = {"batch": BatchNorm}  # of the layer's number and width; a row is enough
