"""Forward pass of a chain of layers, with backpropagation and the directional derivatives of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.parameters import ParameterLayout
from .layers import Array, Cache, Layer, Named, Tangents


class Pass:
    """Forward pass of layers at θ (P,) or (T, P) on x (T, K, D); ``out`` (T, K, o) can be pulled back several times.

    Parameters
    ----------
    layout : Layout
        Of θ; parameters that these layers do not have get zeros.
    """

    def __init__(self, layers: Sequence[Layer], layout: ParameterLayout, theta: Array, x: Array) -> None:
        self.layers, self.layout, self.theta, self.tasks = layers, layout, theta, len(x)
        self.first = next((i for i, layer in enumerate(layers) if layer.shapes), len(layers))  # that has parameters
        self.w = layout.views(theta)
        self.caches: list[Cache] = []
        h = x
        for layer in layers:
            h, cache = layer.forward(self.w, h)
            self.caches.append(cache)
        self.out = h

    def _empty(self) -> Array:
        """Allocate (T, P) for layers to fill; zeros if they do not have all the parameters."""
        all_here = sum(len(layer.shapes) for layer in self.layers) == len(self.layout.shapes)
        return (np.empty if all_here else np.zeros)((self.tasks, self.layout.size), self.theta.dtype)

    def pull(self, cotangent: Array, to_x: bool = False) -> tuple[Array, Array | None, list[Array]]:
        """Pull a gradient in ``out`` (T, K, o) back to θ (T, P), to x if wanted, and to the outputs of each layer."""
        grad = self._empty()
        into = self.layout.views(grad)
        delta: Any = cotangent
        deltas, last = [cotangent] * len(self.layers), 0 if to_x else self.first
        for i in range(len(self.layers) - 1, last - 1, -1):
            deltas[i] = delta
            delta = self.layers[i].backward(self.w, self.caches[i], delta, into, to_x or i > last)
        return grad, delta if to_x else None, deltas

    def jvp(self, v: Array) -> tuple[Array, list[Tangents]]:
        """Compute the tangent of ``out`` along v (T, P), and what `backward_jvp` needs."""
        dw: Named = self.layout.views(v)
        dh: Array | None = None
        tangents = []
        for layer, cache in zip(self.layers, self.caches, strict=True):
            dh, saved = layer.jvp(self.w, cache, dw, dh)
            tangents.append(saved)
        return np.zeros_like(self.out) if dh is None else dh, tangents

    def backward_jvp(self, v: Array, tangents: list[Tangents], deltas: list[Array], cotangent: Array) -> Array:
        """Compute the tangent of `pull`'s gradient (T, P) along v; ``cotangent`` is that of the gradient in ``out``."""
        product = self._empty()
        dw, into = self.layout.views(v), self.layout.views(product)
        d_delta: Any = cotangent
        for i in range(len(self.layers) - 1, self.first - 1, -1):
            layer, further = self.layers[i], i > self.first
            moves = layer.backward(self.w, self.caches[i], d_delta, into, further)
            change = layer.backward_jvp(self.w, self.caches[i], tangents[i], deltas[i], dw, into, further)
            if further:
                d_delta = moves if change is None else moves + change
        return product
