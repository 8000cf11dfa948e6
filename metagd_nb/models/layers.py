"""Layers with closed-form derivatives, chained: forward, pull-back, and the R-operator that bends both.

A layer maps h (T, N, i) to (T, N, o), N being the points of a task (and the pixels of each, where inputs are
images). It gives four things, and a chain of layers then has a loss's gradient and Hessian·vector (Pearlmutter 1994):

- ``forward``: the outputs, and what the other three need of them;
- ``back``: the gradient in the outputs, pulled back to the inputs and the parameters;
- ``push``: how the outputs move when parameters and inputs do;
- ``bend``: how ``back`` moves when parameters and inputs do and the gradient in the outputs does not.

``apply`` is the forward pass of one task (N, i) → (N, o) as a pure function, for whatever traces or compiles it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.parameters import ParameterLayout
from .activations import ACTIVATIONS

Array = np.ndarray
Named = Mapping[str, Array]
EPS = 1e-3  # added to the variance, as in Finn et al.'s code (TensorFlow's default then)


def times(h: Array, w: Array) -> Array:
    """h (T, N, i) times w: (i, o) shared by all tasks — one large product — or (T, i, o)."""
    if w.ndim == 2:
        return np.asarray((h.reshape(-1, h.shape[-1]) @ w).reshape(*h.shape[:-1], w.shape[-1]))
    return np.asarray(np.matmul(h, w))


def across(h: Array) -> Array:
    """The last two axes exchanged."""
    return h.swapaxes(-1, -2)


def row(b: Array) -> Array:
    """b (o,) shared by all tasks or (T, o), to be added to (T, N, o)."""
    return b if b.ndim == 1 else b[:, None]


class Layer:
    """The identity; what other layers start from. ``shapes`` names its parameters."""

    shapes: dict[str, tuple[int, ...]]

    def __init__(self) -> None:
        self.shapes = {}

    def start(self, views: Named) -> None:
        """Fill in starting values that are not zero and not drawn."""

    def apply(self, xp: Any, params: Mapping[str, Any], h: Any) -> Any:
        """(N, i) → (N, o), one task."""
        return h

    def forward(self, w: Named, h: Array) -> tuple[Array, Any]:
        """Outputs (T, N, o), and what is kept for the other passes."""
        return h, None

    def back(self, w: Named, kept: Any, delta: Array, into: Named, further: bool) -> Array | None:
        """``delta`` (T, N, o) pulled back to the inputs, where it goes ``further``; to the parameters in ``into``."""
        return delta

    def push(self, w: Named, kept: Any, dw: Named, dh: Array | None) -> tuple[Array | None, Any]:
        """How the outputs move along ``dw`` and ``dh`` (None: inputs that stand still), and what `bend` needs of it."""
        return dh, None

    def bend(
        self, w: Named, kept: Any, moved: Any, delta: Array, dw: Named, into: Named, further: bool
    ) -> Array | None:
        """What `back` gains by the move, ``delta`` standing still; added to ``into``. None where it is nothing."""
        return None


class Dense(Layer):
    """h·W + b."""

    def __init__(self, number: int, inputs: int, outputs: int, bias: bool) -> None:
        self.weight, self.shift = f"W{number}", f"b{number}" if bias else ""
        self.shapes = {self.weight: (inputs, outputs)} | ({self.shift: (outputs,)} if bias else {})

    def apply(self, xp: Any, params: Mapping[str, Any], h: Any) -> Any:
        out = h @ params[self.weight]
        return out + params[self.shift] if self.shift else out

    def forward(self, w: Named, h: Array) -> tuple[Array, Any]:
        out = times(h, w[self.weight])
        if self.shift:
            out += row(w[self.shift])
        return out, h

    def back(self, w: Named, kept: Any, delta: Array, into: Named, further: bool) -> Array | None:
        np.matmul(across(kept), delta, out=into[self.weight])
        if self.shift:
            np.sum(delta, axis=1, out=into[self.shift])
        return times(delta, across(w[self.weight])) if further else None

    def push(self, w: Named, kept: Any, dw: Named, dh: Array | None) -> tuple[Array | None, Any]:
        out = times(kept, dw[self.weight])
        if dh is not None:
            out += times(dh, w[self.weight])
        if self.shift:
            out += row(dw[self.shift])
        return out, dh

    def bend(
        self, w: Named, kept: Any, moved: Any, delta: Array, dw: Named, into: Named, further: bool
    ) -> Array | None:
        if moved is not None:
            into[self.weight][...] += across(moved) @ delta
        return times(delta, across(dw[self.weight])) if further else None


class ActivationLayer(Layer):
    """A row of `ACTIVATIONS`, applied to each number."""

    def __init__(self, name: str) -> None:
        self.function, self.shapes = ACTIVATIONS[name], {}

    def apply(self, xp: Any, params: Mapping[str, Any], h: Any) -> Any:
        return self.function.value(xp, h)

    def forward(self, w: Named, h: Array) -> tuple[Array, Any]:
        out, slope = np.empty_like(h), np.empty_like(h)
        self.function.fill(h, out, slope)
        return out, (h, out, slope)

    def back(self, w: Named, kept: Any, delta: Array, into: Named, further: bool) -> Array | None:
        return np.asarray(delta * kept[2])

    def push(self, w: Named, kept: Any, dw: Named, dh: Array | None) -> tuple[Array | None, Any]:
        return None if dh is None else dh * kept[2], dh

    def bend(
        self, w: Named, kept: Any, moved: Any, delta: Array, dw: Named, into: Named, further: bool
    ) -> Array | None:
        if self.function.curvature is None or moved is None:
            return None
        curved = np.empty_like(delta)
        z, value, slope = kept
        self.function.curvature(z, value, slope, curved)
        return np.asarray(curved * moved * delta)


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

    def apply(self, xp: Any, params: Mapping[str, Any], h: Any) -> Any:
        off = h - xp.mean(h, axis=0)
        return off / xp.sqrt(xp.mean(off * off, axis=0) + EPS) * params[self.gain] + params[self.shift]

    def forward(self, w: Named, h: Array) -> tuple[Array, Any]:
        off = h - h.mean(axis=1, keepdims=True)
        scale = 1 / np.sqrt((off * off).mean(axis=1, keepdims=True) + EPS)  # (T, 1, o)
        off *= scale
        return off * row(w[self.gain]) + row(w[self.shift]), (off, scale)

    @staticmethod
    def _unmean(u: Array, z: Array) -> Array:
        """u without its mean and its part along z: the slope of the normalisation is symmetric, but for its scale."""
        return np.asarray(u - u.mean(axis=1, keepdims=True) - z * (u * z).mean(axis=1, keepdims=True))

    def back(self, w: Named, kept: Any, delta: Array, into: Named, further: bool) -> Array | None:
        z, scale = kept
        np.sum(delta * z, axis=1, out=into[self.gain])
        np.sum(delta, axis=1, out=into[self.shift])
        return np.asarray(scale * self._unmean(delta * row(w[self.gain]), z))

    def push(self, w: Named, kept: Any, dw: Named, dh: Array | None) -> tuple[Array | None, Any]:
        z, scale = kept
        out = z * row(dw[self.gain]) + row(dw[self.shift])
        if dh is None:
            return out, None
        dz = scale * self._unmean(dh, z)
        return out + dz * row(w[self.gain]), (dz, -scale * (dh * z).mean(axis=1, keepdims=True))

    def bend(
        self, w: Named, kept: Any, moved: Any, delta: Array, dw: Named, into: Named, further: bool
    ) -> Array | None:
        z, scale = kept
        bent = scale * self._unmean(delta * row(dw[self.gain]), z)
        if moved is None:
            return np.asarray(bent)
        dz, stretch = moved  # stretch: the scale's move, as a share of the scale
        into[self.gain][...] += np.sum(delta * dz, axis=1)
        u = delta * row(w[self.gain])
        turned = dz * (u * z).mean(axis=1, keepdims=True) + z * (u * dz).mean(axis=1, keepdims=True)
        return np.asarray(bent + scale * (stretch * self._unmean(u, z) - turned))


class Context(Layer):
    """The inputs with a vector that is the same at every point appended (as in Zintgraf et al. 2019)."""

    def __init__(self, size: int) -> None:
        self.shapes = {"context": (size,)}
        self.size = size

    def apply(self, xp: Any, params: Mapping[str, Any], h: Any) -> Any:
        return xp.concatenate([h, xp.zeros_like(h[:, :1]) + params["context"]], axis=1)

    def _appended(self, h: Array, context: Array) -> Array:
        return np.concatenate([h, np.broadcast_to(row(context), (*h.shape[:-1], self.size))], axis=-1)

    def forward(self, w: Named, h: Array) -> tuple[Array, Any]:
        return self._appended(h, w["context"]), h

    def back(self, w: Named, kept: Any, delta: Array, into: Named, further: bool) -> Array | None:
        np.sum(delta[..., -self.size :], axis=1, out=into["context"])
        return delta[..., : -self.size]

    def push(self, w: Named, kept: Any, dw: Named, dh: Array | None) -> tuple[Array | None, Any]:
        return self._appended(np.zeros_like(kept) if dh is None else dh, dw["context"]), None


class Pass:
    """Layers run forward at θ (P,) or (T, P) on x (T, K, D); ``out`` (T, K, o) can be pulled back any number of times.

    Parameters
    ----------
    layout : Layout
        Of θ; parameters that these layers do not have get zeros.
    """

    def __init__(self, layers: Sequence[Layer], layout: ParameterLayout, theta: Array, x: Array) -> None:
        self.layers, self.layout, self.theta, self.tasks = layers, layout, theta, len(x)
        self.first = next((i for i, layer in enumerate(layers) if layer.shapes), len(layers))  # that has parameters
        self.w = layout.views(theta)
        self.kept: list[Any] = []
        h = x
        for layer in layers:
            h, kept = layer.forward(self.w, h)
            self.kept.append(kept)
        self.out = h

    def _empty(self) -> Array:
        """(T, P) to be filled by layers; zeros where they do not have all the parameters."""
        all_here = sum(len(layer.shapes) for layer in self.layers) == len(self.layout.shapes)
        return (np.empty if all_here else np.zeros)((self.tasks, self.layout.size), self.theta.dtype)

    def pull(self, cotangent: Array, to_x: bool = False) -> tuple[Array, Array | None, list[Array]]:
        """A gradient in ``out`` (T, K, o): pulled back to θ (T, P), to x if wanted, and to each layer's outputs."""
        grad = self._empty()
        into = self.layout.views(grad)
        delta: Any = cotangent
        deltas, last = [cotangent] * len(self.layers), 0 if to_x else self.first
        for i in range(len(self.layers) - 1, last - 1, -1):
            deltas[i] = delta
            delta = self.layers[i].back(self.w, self.kept[i], delta, into, to_x or i > last)
        return grad, delta if to_x else None, deltas

    def push(self, v: Array) -> tuple[Array, list[Any]]:
        """How ``out`` moves when θ moves along v (T, P), and what `bend` needs of it."""
        dw, dh = self.layout.views(v), None
        moved = []
        for layer, kept in zip(self.layers, self.kept, strict=True):
            dh, move = layer.push(self.w, kept, dw, dh)
            moved.append(move)
        return np.zeros_like(self.out) if dh is None else dh, moved

    def bend(self, v: Array, moved: list[Any], deltas: list[Array], cotangent: Array) -> Array:
        """How the gradient of `pull` (T, P) moves along v, when that in ``out`` moves by ``cotangent``."""
        product = self._empty()
        dw, into = self.layout.views(v), self.layout.views(product)
        d_delta: Any = cotangent
        for i in range(len(self.layers) - 1, self.first - 1, -1):
            layer, further = self.layers[i], i > self.first
            moves = layer.back(self.w, self.kept[i], d_delta, into, further)
            bent = layer.bend(self.w, self.kept[i], moved[i], deltas[i], dw, into, further)
            if further:
                d_delta = moves if bent is None else moves + bent
        return product
