"""Buffers of a pass through a net, and what its norms add to the pass."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from ....models.activations import ACTIVATIONS
from ....models.layers import Cache, Layer, Tangents
from ....models.net import Net
from .buffers import BufferViews, ReplayCache, cached, numbers

Array = np.ndarray


class Workspace:
    """Buffers of the forward and backward pass at a point, for T tasks of K points."""

    def __init__(self, net: Net, dtype: np.dtype[Any], tasks: int, points: int) -> None:
        def new(n: int) -> Array:
            return np.empty((tasks, points, n), dtype)

        ends = zip(net.sizes[:-1], net.ones, strict=True)
        self.h = [BufferViews(np.ones((tasks, points, i + one), dtype), one) for i, one in ends]
        self.delta = [BufferViews(new(o)) for o in net.sizes[1:]]
        self.slope = [new(o) for o in net.sizes[1:-1]]
        curved = ACTIVATIONS[net.activation].curvature is not None
        self.z = [BufferViews(new(o)) for o in net.sizes[1:-1]] if curved else None
        self.back = [BufferViews(new(o)) for o in net.sizes[1:-1]] if curved else None
        self.out = BufferViews(new(net.outputs))
        self._passes: dict[Hashable, ReplayCache] = {}

    def passes(self, key: Hashable) -> ReplayCache:
        """Return the cache of these buffers at the weights that ``key`` identifies (None: weights outside buffers)."""
        if key is None:
            return ReplayCache(repeats=False)
        return self._passes.get(key) or cached(self._passes, key, ReplayCache(repeats=True))


class Scratch:
    """Buffers of a moment: one memory for all layers and points, so that what is used next is still in the cache."""

    def __init__(self, net: Net, dtype: np.dtype[Any], tasks: int, points: int) -> None:
        z, extra = (np.empty(tasks * points * max(net.sizes), dtype) for _ in range(2))
        widths = [(tasks, points, o) for o in net.sizes[1:]]
        self.z = [BufferViews(z[: np.prod(w)].reshape(w)) for w in widths]
        self.extra = [BufferViews(extra[: np.prod(w)].reshape(w)) for w in widths]


class Second:
    """Buffers of one Hessian·vector: R{h}, whose column of ones does not move, and R{delta}."""

    def __init__(self, net: Net, dtype: np.dtype[Any], tasks: int, points: int) -> None:
        ends = zip(net.sizes[:-1], net.ones, strict=True)
        self.h = [BufferViews(np.zeros((tasks, points, i + one), dtype), one) for i, one in ends]
        self.delta = [BufferViews(np.empty((tasks, points, o), dtype)) for o in net.sizes[1:]]
        curved = ACTIVATIONS[net.activation].curvature is not None
        self.z = [BufferViews(np.empty_like(d.each)) for d in self.delta[:-1]] if curved else None  # R{z}
        self.number = next(numbers)


class Norms:
    """The norms of a net at a point, and the gradient in their parameters as it comes by."""

    def __init__(self, norms: list[Layer], at: dict[str, Array]) -> None:
        self.norms, self.at = norms, at
        self.caches: list[Cache] = []
        self.delta: dict[int, Array] = {}  # the loss's gradient in each norm's outputs
        self.grad: dict[str, Array] = {}

    def forward(self, layer: int, z: Array) -> Array:
        """Normalize the outputs of a layer: (T, K, o) → (T, K, o)."""
        out, cache = self.norms[layer].forward(self.at, z)
        self.caches.append(cache)
        return out

    def backward(self, layer: int, delta: Array) -> Array:
        """The gradient in a norm's outputs, pulled back to its inputs."""
        self.delta[layer] = delta.copy()
        return self.pulled(layer, delta, self.grad)

    def pulled(self, layer: int, delta: Array, into: dict[str, Array]) -> Array:
        """The same, and to its parameters, (T, o) each in ``into``."""
        norm = self.norms[layer]
        into.update((name, np.empty((len(delta), *shape), delta.dtype)) for name, shape in norm.shapes.items())
        return np.asarray(norm.backward(self.at, self.caches[layer], delta, into, True))


class NormJvp:
    """Derivatives of the norms along a direction, for one Hessian·vector."""

    def __init__(self, norms: Norms, along: dict[str, Array]) -> None:
        self.norms, self.along = norms, along
        self.tangents: list[Tangents] = []
        self.product: dict[str, Array] = {}

    def jvp(self, layer: int, dz: Array) -> Array:
        """R{z} to R{the norm's outputs}."""
        norms = self.norms
        out, tangents = norms.norms[layer].jvp(norms.at, norms.caches[layer], self.along, dz)
        self.tangents.append(tangents)
        return np.asarray(out)

    def backward(self, layer: int, d_delta: Array) -> Array:
        """R{the gradient in a norm's outputs} to R{that in its inputs}."""
        norms, norm, into = self.norms, self.norms.norms[layer], self.product
        pulled = norms.pulled(layer, d_delta, into)
        change = norm.backward_jvp(
            norms.at, norms.caches[layer], self.tangents[layer], norms.delta[layer], self.along, into, True
        )
        return np.asarray(pulled + change)
