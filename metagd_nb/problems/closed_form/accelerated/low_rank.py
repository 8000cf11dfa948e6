"""Vectors (T, P) that are not formed: a gradient of K points is, in every layer, a sum of K outer products.

Layer l of a net has inputs h (T, K, i+1) and the loss's gradient δ (T, K, o) in its outputs; its weights' gradient is
hᵀδ, of rank K. Where K is small beside i and o, the pair says the same as the matrix (T, i+1, o) in less memory, and
x·(hᵀδ) = (x·hᵀ)·δ is less work. So φ after a few inner steps is θ and some pairs: x·θ is one large product for all
tasks at once. The mean over tasks of such a vector is one product too, over points and tasks together. The few
parameters that stand between the products, a norm's, are kept as they are.
"""

from __future__ import annotations

from collections.abc import Hashable
from types import EllipsisType, ModuleType
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, DTypeLike

from ....models.net import Net
from .buffers import BufferViews, Do, ReplayCache, numbers

Array = np.ndarray
Index = int | slice | EllipsisType | Array | tuple[int | slice | EllipsisType | Array, ...]


class OuterProduct:
    """rowsᵀ·cols in every layer, for each task.

    Parameters
    ----------
    rows, cols : list of sheets (T, K, i+1), (T, K, o), one a layer; None where the product is zero
    passes : Passes
        What made them. Its ``products`` are rows·rowsᵀ and cols·colsᵀ with other terms, (T, K, K), where they were
        needed on the way: none is made twice.
    held : object
        What owns the buffers, of these and of the terms in the products.
    between : dict name → array (T, o)
        The part of the norms' parameters; a name that is missing stands for zeros.
    buffers : hashable
        Tells these buffers from those of other terms of the same passes.
    """

    __slots__ = ("between", "cols", "held", "key", "passes", "rows")

    def __init__(
        self,
        rows: list[Any],
        cols: list[BufferViews],
        passes: ReplayCache,
        held: tuple[Hashable, ...],
        between: dict[str, Array],
        buffers: Hashable = None,
    ) -> None:
        self.rows, self.cols, self.passes, self.held, self.between = rows, cols, passes, held, between
        self.key = (passes.number, buffers) if passes.repeats else None


class LayerWeights:
    """A vector (P,) or (T, P) layer by layer: ``down`` (…, i+1, o), and ``up`` its transpose without the bias row.

    The first layer has no ``up``: nobody asks for the gradient in the inputs.
    """

    __slots__ = ("between", "down", "flat", "number", "up")

    def __init__(self, net: Net, flat: Array) -> None:
        self.flat, self.down, self.between = flat, net.matrices(flat), net.between(flat) if net.norms else {}
        self.number: int | None = None  # of buffers that are filled again
        ends = zip(self.down[1:], net.ones[1:], strict=True)
        self.up: list[Any] = [None, *((w[..., :-1, :] if ones else w).swapaxes(-1, -2) for w, ones in ends)]


class SharedWeights(LayerWeights):
    """Layers (P,) that all tasks share, in buffers: `put` fills them."""

    __slots__ = ("_turned",)

    def __init__(self, net: Net, dtype: np.dtype[Any]) -> None:
        super().__init__(net, np.empty(net.layout.size, dtype))
        self.number = next(numbers)
        self._turned = self.up[1:]
        self.up[1:] = [up.copy() for up in self._turned]  # used several times, faster so

    def put(self, flat: Array) -> SharedWeights:
        """These, with the values of ``flat`` (P,)."""
        np.copyto(self.flat, flat)
        for up, turned in zip(self.up[1:], self._turned, strict=True):
            np.copyto(up, turned)
        return self


class LowRank(NDArrayOperatorsMixin):
    """layers + Σ c·term; an array (T, P) to whoever looks at coordinates.

    A number times it, and sums of two, stay factored. All else forms the array.

    Parameters
    ----------
    net : Net
    terms : tuple of (float, Term)
    layers : Layers, optional
        What is not factored, shared by the tasks (P,) or one a task (T, P).
    """

    ndim = 2

    def __init__(
        self, net: Net, terms: tuple[tuple[float, OuterProduct], ...], layers: LayerWeights | None = None
    ) -> None:
        self.net, self.terms, self.layers = net, terms, layers

    @property
    def rank(self) -> int:
        """Outer products a task and layer."""
        return sum(t.cols[0].each.shape[1] for _, t in self.terms)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (T, P)."""
        return len(self.terms[0][1].cols[0].each), self.net.layout.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the coordinates."""
        return self.terms[0][1].cols[0].each.dtype

    @property
    def key(self) -> Hashable:
        """Tells the buffers and factors that this is made of from all others; None where it is not made of buffers."""
        at = None if self.layers is None else self.layers.number
        keys = tuple([(c, t.key) for c, t in self.terms])
        bare = (self.layers is not None and at is None) or any(key is None for _, key in keys)
        return None if bare else (at, keys)

    def __len__(self) -> int:
        return self.shape[0]

    def between(self) -> dict[str, Array]:
        """The norms' parameters by name, (o,) or (T, o); all of them, unless they are parts of one direction."""
        found = {} if self.layers is None else dict(self.layers.between)
        for c, t in self.terms:
            for name, part in t.between.items():
                part = part if c == 1 else c * part
                found[name] = found[name] + part if name in found else part
        return found

    def dense(self) -> Array:
        """The array (T, P)."""
        out = np.empty(self.shape, self.dtype)
        for layer, total in enumerate(self.net.matrices(out)):
            begun = False
            for c, t in self.terms:
                if t.rows[layer] is not None:
                    rows, cols = t.rows[layer].across, t.cols[layer].each
                    product = np.matmul(rows, cols if c == 1 else c * cols, out=None if begun else total)
                    if begun:
                        total += product
                    begun = True
            if not begun:
                total[...] = 0
        if self.layers is not None:
            out += self.layers.flat
        for name, part in self.between().items():
            out[:, self.net.layout.slices[name]] = part
        return out

    def mean(self, axis: int | None = None, dtype: DTypeLike | None = None, out: None = None) -> Array:
        """Mean over tasks (P,) for axis 0, computed from the factors; for another axis that of the array."""
        if axis != 0 or dtype is not None:
            return np.asarray(self.dense().mean(axis, dtype))
        key = self.key
        total = self.terms[0][1].passes.run(None if key is None else ("mean", key), self._mean)
        if key is not None:
            total = total.copy()  # the buffer is filled again
        if self.layers is not None:
            total += self.layers.flat if self.layers.flat.ndim == 1 else self.layers.flat.mean(axis=0)
        for name, part in self.between().items():
            total[self.net.layout.slices[name]] = part if part.ndim == 1 else part.mean(axis=0)
        return np.asarray(total)

    def _mean(self, do: Do) -> Array:
        """Mean over tasks (P,) of the products alone."""
        out = np.empty(self.net.layout.size, self.dtype)
        for layer, total in enumerate(self.net.matrices(out)):
            begun = False
            for c, t in self.terms:
                if t.rows[layer] is not None:
                    product = np.empty_like(total) if begun else total
                    do(np.dot, t.rows[layer].flat.T, t.cols[layer].flat, product)
                    if c != 1:
                        do(np.multiply, c, product, product)
                    if begun:
                        do(np.add, total, product, total)
                    begun = True
            if not begun:
                do(total.fill, 0)
        do(np.divide, out, len(self), out)
        return out

    def __mul__(self, c: float | Array) -> Any:
        if np.ndim(c) or self.layers is not None:
            return self.dense() * c
        return LowRank(self.net, tuple((float(c) * k, t) for k, t in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Any:
        return -1.0 * self

    def __add__(self, other: ArrayLike | LowRank) -> Any:
        if isinstance(other, LowRank) and self.layers is None and other.layers is None:
            return LowRank(self.net, self.terms + other.terms)
        return self.dense() + np.asarray(other)

    __radd__ = __add__

    def __sub__(self, other: Array | LowRank) -> Any:
        return self + -other

    def __rsub__(self, other: Array | LowRank) -> Any:
        return -self + other

    def copy(self) -> Array:
        """The array (T, P)."""
        return self.dense()

    def __getitem__(self, which: Index) -> Any:
        return self.dense()[which]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return self.dense() if dtype is None else self.dense().astype(dtype, copy=False)

    def __array_namespace__(self, api_version: str | None = None) -> ModuleType:
        return np

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *given: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*(np.asarray(g) if isinstance(g, LowRank) else g for g in given), **options)
