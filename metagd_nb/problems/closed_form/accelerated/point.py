"""A built-in net at a point: loss, gradient and Hessian·vector in closed form, on buffers that are used again.

A pass makes its NumPy calls through ``do``, which records calls that use nothing but buffers: the next point on these
buffers repeats them (`buffers.ReplayCache`). The Hessian·vector product is Pearlmutter's R-operator (1994, *Fast exact
multiplication by the Hessian*, §3): one more forward and one more backward pass, on the activations of the gradient.

Notation: layer l has inputs h[l] (T, K, i+1) with a last column of ones, weights (…, i+1, o), outputs z[l] (T, K, o);
delta[l] is the loss's gradient in z[l]; slope[l] the activation's derivative there. A norm (a row of `layers.NORMS`)
stands between z[l] and the activation.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ....models.activations import ACTIVATIONS
from ....models.losses import OutputLoss
from ....models.net import Net
from ....tasks import Batch
from .buffers import Array, BufferViews, Do, WorkspacePool
from .low_rank import LayerWeights, LowRank, OuterProduct, SharedWeights
from .products import multiply_gram, times
from .workspaces import NormJvp, Norms, Scratch, Second, Workspace


class NetPoint:
    """A net at φ on a batch; the forward pass is shared by loss, gradient and every ``hvp``."""

    def __init__(self, source: Accelerator, phi: Array | LowRank, batch: Batch) -> None:
        net, x = source.net, batch.x
        self.source, self.net, self.phi = source, net, phi
        self.at = phi if isinstance(phi, LowRank) else LowRank(net, (), self._layers(phi))
        self._key = net, phi.dtype, *x.shape[:2]
        self.ws = source.pool.take(Workspace, *self._key)
        self._activation = ACTIVATIONS[net.activation]
        self._norms = Norms(net.norms, self.at.between()) if net.norms else None
        self.passes = self.ws.passes(self.at.key if self._norms is None else None)
        np.copyto(self.ws.h[0].inner, x)
        self.passes.run("forward", self._forward)
        self.out = source.loss.linearize(self.ws.out.each, batch.y)
        self._went_back = False

    def _layers(self, phi: Array) -> LayerWeights:
        if phi.ndim == 1:
            return self.source.pool.take(SharedWeights, self.net, phi.dtype).put(phi)
        return LayerWeights(self.net, phi)

    @property
    def loss(self) -> Array:
        """Loss of each task, (T,)."""
        return self.out.loss

    # ---- products with φ and with directions ----------------------------------------------------------------------

    def _gram(self, do: Do, mine: BufferViews, other: BufferViews, term: OuterProduct, keep: bool) -> Array:
        """mine·otherᵀ (T, K, K') of every task."""
        made = term.passes.products.get((other, mine))
        if made is not None:
            return made.swapaxes(1, 2)
        gram = np.empty((*mine.each.shape[:2], other.each.shape[1]), mine.each.dtype)
        do(np.matmul, mine.each, other.across, gram)
        if keep:
            self.passes.products[mine, other] = gram
        return gram

    def _through(
        self, do: Do, h: BufferViews, m: LowRank, layer: int, out: BufferViews, extra: BufferViews, add: bool = False
    ) -> None:
        """out (+)= h·M, for the layer M of φ or of a direction."""
        if m.layers is not None:
            times(do, h, m.layers.down[layer], extra if add else out)
            if add:
                do(np.add, out.each, extra.each, out.each)
            add = True
        for c, term in m.terms:
            rows = term.rows[layer]
            if rows is not None:
                gram = self._gram(do, h, rows, term, m is self.at)
                multiply_gram(do, c, gram, term.cols[layer].each, out.each, extra.each, add)
                add = True

    def _back(
        self,
        do: Do,
        delta: BufferViews,
        m: LowRank,
        layer: int,
        out: BufferViews,
        extra: BufferViews,
        add: bool = False,
    ) -> None:
        """out (+)= delta·Mᵀ, without the bias row."""
        if m.layers is not None:
            times(do, delta, m.layers.up[layer], extra if add else out)
            if add:
                do(np.add, out.each, extra.each, out.each)
            add = True
        for c, term in m.terms:
            rows = term.rows[layer]
            if rows is not None:
                gram = self._gram(do, delta, term.cols[layer], term, m is self.at)
                multiply_gram(do, c, gram, rows.inner, out.each, extra.each, add)
                add = True

    # ---- passes ---------------------------------------------------------------------------------------------------

    def _scratch(self) -> tuple[list[BufferViews], list[BufferViews]]:
        scratch = self.source.pool.take(Scratch, *self._key)
        return scratch.z, scratch.extra

    def _forward(self, do: Do) -> None:
        ws, at, (z, extra) = self.ws, self.at, self._scratch()
        for layer, slope in enumerate(ws.slope):
            out, inner = z[layer] if ws.z is None else ws.z[layer], ws.h[layer + 1].inner
            self._through(do, ws.h[layer], at, layer, out, extra[layer])
            before = out.each if self._norms is None else self._norms.forward(layer, out.each)
            if self._norms is not None and ws.z is not None:
                np.copyto(out.each, before)
            do(self._activation.fill, before, inner, slope)
        self._through(do, ws.h[-1], at, len(ws.slope), ws.out, extra[-1])

    def _backward(self) -> None:
        """Leaves the deltas, once."""
        if not self._went_back:
            np.copyto(self.ws.delta[-1].each, self.out.grad)
            self.passes.run("back", self._pull)
            self._went_back = True

    def _pull(self, do: Do) -> None:
        ws, (z, extra) = self.ws, self._scratch()
        for layer in range(len(ws.slope) - 1, -1, -1):
            back, delta = z[layer] if ws.back is None else ws.back[layer], ws.delta[layer].each
            self._back(do, ws.delta[layer + 1], self.at, layer + 1, back, extra[layer])
            do(np.multiply, back.each, ws.slope[layer], delta)
            if self._norms is not None:
                delta[...] = self._norms.backward(layer, delta)

    @property
    def _term(self) -> OuterProduct:
        self._backward()
        between = {} if self._norms is None else self._norms.grad
        return OuterProduct(self.ws.h, self.ws.delta, self.passes, (self.ws, self.at.terms), between)

    @property
    def grad(self) -> Any:
        """Gradient of each task, (T, P)."""
        grad = LowRank(self.net, ((1.0, self._term),))
        return grad if self._pairs_pay else grad.dense()

    @property
    def _pairs_pay(self) -> bool:
        """True if a gradient of so few points, at weights that the tasks share, is less work as outer products."""
        shared = self.at.layers is not None and self.at.layers.flat.ndim == 1
        return shared and self._key[2] > 1 and self._key[3] <= self.source.narrow

    def hvp(self, v: Array | LowRank) -> Any:
        """Multiply the Hessian of each task by its vector: (T, P) → (T, P)."""
        self._backward()
        c = 1.0
        if not (isinstance(v, LowRank) and v.rank <= self.source.narrow and len(v.terms) <= self.source.pairs):
            v = LowRank(self.net, (), LayerWeights(self.net, np.asarray(v)))
        elif len(v.terms) == 1 and v.layers is None:  # the product is linear in v: its factor can wait
            c, v = v.terms[0][0], LowRank(self.net, ((1.0, v.terms[0][1]),))
        second = self.source.pool.take(Second, *self._key)
        norm_jvp = None if self._norms is None else NormJvp(self._norms, v.between())
        along = v.key
        key = None if along is None else ("hvp", second.number, along)
        pushed = self.passes.run(key and (*key, "push"), partial(self._push, v, second, norm_jvp))
        np.copyto(second.delta[-1].each, self.out.hvp(pushed))
        self.passes.run(key, partial(self._back_jvp, v, second, norm_jvp))
        return self._product(second, c, v.layers is None, {} if norm_jvp is None else norm_jvp.product)

    def _push(self, v: LowRank, second: Second, norm_jvp: NormJvp | None, do: Do) -> Array:
        """Leaves R{h}; R{outputs} (T, K, C)."""
        ws, (z, extra) = self.ws, self._scratch()
        for layer, h in enumerate(ws.h):
            out = second.z[layer] if second.z is not None and layer < len(ws.slope) else z[layer]
            if layer:
                self._through(do, second.h[layer], self.at, layer, out, extra[layer])
            self._through(do, h, v, layer, out, extra[layer], add=layer > 0)
            if layer < len(ws.slope):
                dz = out.each if norm_jvp is None else norm_jvp.jvp(layer, out.each)
                if norm_jvp is not None and second.z is not None:
                    np.copyto(out.each, dz)
                do(np.multiply, dz, ws.slope[layer], second.h[layer + 1].inner)
        return z[-1].each

    def _back_jvp(self, v: LowRank, second: Second, norm_jvp: NormJvp | None, do: Do) -> None:
        """Leaves R{delta}, from that of the outputs."""
        ws, (z, extra) = self.ws, self._scratch()
        for layer in range(len(ws.slope) - 1, -1, -1):
            back, d_delta = z[layer], second.delta[layer].each
            self._back(do, second.delta[layer + 1], self.at, layer + 1, back, extra[layer])
            self._back(do, ws.delta[layer + 1], v, layer + 1, back, extra[layer], add=True)
            do(np.multiply, back.each, ws.slope[layer], d_delta)
            if self._activation.curvature is not None:
                assert ws.z is not None
                assert ws.back is not None
                assert second.z is not None
                curved = extra[layer].each
                do(self._activation.curvature, ws.z[layer].each, ws.h[layer + 1].inner, ws.slope[layer], curved)
                do(np.multiply, curved, second.z[layer].each, curved)
                do(np.multiply, curved, ws.back[layer].each, curved)
                do(np.add, d_delta, curved, d_delta)
            if norm_jvp is not None:
                d_delta[...] = norm_jvp.backward(layer, d_delta)

    def _product(self, second: Second, c: float, factored: bool, between: dict[str, Array]) -> Any:
        """c·(hᵀR{delta} + R{h}ᵀdelta)"""
        ws, held = self.ws, (self.ws, second, self.at.terms)
        turned = OuterProduct(ws.h, second.delta, self.passes, held, between, second.number)
        moved = OuterProduct([None, *second.h[1:]], ws.delta, self.passes, held, {}, (second.number, "moved"))
        product = LowRank(self.net, ((c, turned), (c, moved)))
        return product if factored else product.dense()

    def step(self, rate: float | Array) -> Any:
        """φ − rate·grad (T, P)"""
        if np.ndim(rate) == 0 and self._pairs_pay and len(self.at.terms) < self.source.pairs:
            return LowRank(self.net, (*self.at.terms, (-float(rate), self._term)), self.at.layers)
        moved = rate * np.asarray(self.grad)
        return np.subtract(np.asarray(self.phi), moved, out=moved)


class Accelerator:
    """Points of an mlp on buffers that are used again; see `NetProblem`.

    Attributes
    ----------
    narrow : int
        Number of points up to which inputs and deltas are less work than their product, the matrix.
    pairs : int
        Number of low-rank terms up to which φ or a direction is kept as such: each meets each other term, while a
        matrix does not grow with the steps.
    """

    def __init__(self, net: Net, loss: OutputLoss) -> None:
        self.net, self.loss, self.pool = net, loss, WorkspacePool()
        shapes = [(i + net.bias, o) for i, o in pairwise(net.sizes)]
        self.narrow = 2 * sum(i * o for i, o in shapes) // sum(i + o for i, o in shapes)
        self.pairs = 1

    def linearize(self, phi: ArrayLike, batch: Batch) -> NetPoint:
        """Evaluate at ``phi``: (P,), (T, P), or the result of ``step``."""
        return NetPoint(self, phi if isinstance(phi, LowRank) else np.asarray(phi), batch)
