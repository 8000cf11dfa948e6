"""A built-in net at a point: loss, gradient and Hessian·vector in closed form, on buffers that are used again.

A pass makes its NumPy calls through ``do``, which writes them down where all that they work on are buffers: the next
point on these buffers makes the same calls again (`buffers.Passes`). What does not go through ``do`` is done once.

The Hessian·vector product is Pearlmutter's R-operator (1994, *Fast exact multiplication by the Hessian*, §3):
one more forward and one more backward pass, on activations that the gradient left behind.

Notation: layer l has inputs h[l] (T, K, i+1) with a last column of ones, weights (…, i+1, o), outputs z[l] (T, K, o);
delta[l] is the loss's gradient in z[l]; slope[l] the activation's derivative there. Where the net has a norm, it stands
between z[l] and the activation, and its layer (`layers.BatchNorm`) says what becomes of them on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ...models.layers import BatchNorm, Pass
from ...models.losses import OutputLoss, mse
from ...models.net import Net
from ...tasks import Batch
from ..base import Problem
from ..capture.fingerprint import Parts, joined_parts
from .buffers import BufferViews, Do, ReplayCache, WorkspacePool, kept, numbers
from .layer_chain import ChainPoint
from .low_rank import LayerWeights, LowRank, OuterProduct, SharedWeights

Array = np.ndarray


class Workspace:
    """What a point leaves behind on its way, for T tasks of K points."""

    def __init__(self, net: Net, dtype: np.dtype[Any], tasks: int, points: int) -> None:
        def new(n: int) -> Array:
            return np.empty((tasks, points, n), dtype)

        ends = zip(net.sizes[:-1], net.ones, strict=True)
        self.h = [BufferViews(np.ones((tasks, points, i + one), dtype), one) for i, one in ends]
        self.delta = [BufferViews(new(o)) for o in net.sizes[1:]]
        self.slope = [new(o) for o in net.sizes[1:-1]]
        self.back = [BufferViews(new(o)) for o in net.sizes[1:-1]] if net.activation == "tanh" else None
        self.out = BufferViews(new(net.outputs))
        self._passes: dict[Hashable, ReplayCache] = {}

    def passes(self, key: Hashable) -> ReplayCache:
        """Those over these buffers at weights that are told by ``key``; None: at weights that are no buffers."""
        if key is None:
            return ReplayCache(repeats=False)
        return self._passes.get(key) or kept(self._passes, key, ReplayCache(repeats=True))


class Scratch:
    """Buffers of a moment: one memory for all layers and points, so that what is used next is still in the cache."""

    def __init__(self, net: Net, dtype: np.dtype[Any], tasks: int, points: int) -> None:
        z, extra = (np.empty(tasks * points * max(net.sizes), dtype) for _ in range(2))
        widths = [(tasks, points, o) for o in net.sizes[1:]]
        self.z = [BufferViews(z[: np.prod(w)].reshape(w)) for w in widths]
        self.extra = [BufferViews(extra[: np.prod(w)].reshape(w)) for w in widths]


class Second:
    """What one Hessian·vector leaves behind: R{h}, whose column of ones does not move, and R{delta}."""

    def __init__(self, net: Net, dtype: np.dtype[Any], tasks: int, points: int) -> None:
        ends = zip(net.sizes[:-1], net.ones, strict=True)
        self.h = [BufferViews(np.zeros((tasks, points, i + one), dtype), one) for i, one in ends]
        self.delta = [BufferViews(np.empty((tasks, points, o), dtype)) for o in net.sizes[1:]]
        self.number = next(numbers)


class Norms:
    """The norms of a net at a point, and the gradient in their parameters as it comes by."""

    def __init__(self, norms: list[BatchNorm], at: dict[str, Array]) -> None:
        self.norms, self.at = norms, at
        self.kept: list[Any] = []
        self.delta: dict[int, Array] = {}  # the loss's gradient in each norm's outputs
        self.grad: dict[str, Array] = {}

    def forward(self, layer: int, z: Array) -> Array:
        """(T, K, o) → (T, K, o)"""
        out, kept = self.norms[layer].forward(self.at, z)
        self.kept.append(kept)
        return out

    def back(self, layer: int, delta: Array) -> Array:
        """The gradient in a norm's outputs, pulled back to its inputs."""
        self.delta[layer] = delta.copy()
        return self.pulled(layer, delta, self.grad)

    def pulled(self, layer: int, delta: Array, into: dict[str, Array]) -> Array:
        """The same, and to its parameters, (T, o) each in ``into``."""
        norm = self.norms[layer]
        into.update((name, np.empty((len(delta), *shape), delta.dtype)) for name, shape in norm.shapes.items())
        return np.asarray(norm.back(self.at, self.kept[layer], delta, into, True))


class Bend:
    """How all that moves along a direction: what one Hessian·vector needs of the norms."""

    def __init__(self, norms: Norms, along: dict[str, Array]) -> None:
        self.norms, self.along = norms, along
        self.moved: list[Any] = []
        self.product: dict[str, Array] = {}

    def push(self, layer: int, dz: Array) -> Array:
        """R{z} to R{the norm's outputs}."""
        norms = self.norms
        out, moved = norms.norms[layer].push(norms.at, norms.kept[layer], self.along, dz)
        self.moved.append(moved)
        return np.asarray(out)

    def back(self, layer: int, d_delta: Array) -> Array:
        """R{the gradient in a norm's outputs} to R{that in its inputs}."""
        norms, norm, into = self.norms, self.norms.norms[layer], self.product
        pulled = norms.pulled(layer, d_delta, into)
        bent = norm.bend(norms.at, norms.kept[layer], self.moved[layer], norms.delta[layer], self.along, into, True)
        return np.asarray(pulled + bent)


def _times(do: Do, h: BufferViews, w: Array, out: BufferViews) -> None:
    """h (T, K, i) times w: (i, o) shared by all tasks — one large product — or (T, i, o)."""
    if w.ndim == 2:
        do(np.dot, h.flat, w, out.flat)
    elif w.shape[-2] == 1:  # a column times a row
        do(np.multiply, h.each, w, out.each)
    else:
        do(np.matmul, h.each, w, out.each)


def _product(do: Do, c: float, gram: Array, factor: Array, out: Array, extra: Array, add: bool) -> None:
    """out (+)= c·gram·factor"""
    if c != 1:
        scaled = np.empty_like(gram)
        do(np.multiply, c, gram, scaled)
        gram = scaled
    do(np.matmul, gram, factor, extra if add else out)
    if add:
        do(np.add, out, extra, out)


def _positive(z: Array, out: Array) -> None:
    """Whether z > 0, as numbers: cheaper to multiply by than bools."""
    np.greater(z, 0, out=out, casting="unsafe")


class NetPoint:
    """A net at φ on a batch; the forward pass is shared by loss, gradient and every ``hvp``."""

    def __init__(self, problem: NetProblem, phi: Any, batch: Batch) -> None:
        net, x = problem.net, batch.x
        self.problem, self.net, self.phi = problem, net, phi
        self.at = phi if isinstance(phi, LowRank) else LowRank(net, (), self._layers(phi))
        self._key = net, phi.dtype, *x.shape[:2]
        self.ws = problem.pool.take(Workspace, *self._key)
        self._norms = Norms(net.norms, self.at.between()) if net.norms else None
        self.passes = self.ws.passes(self.at.key if self._norms is None else None)
        np.copyto(self.ws.h[0].inner, x)
        self.passes.run("forward", self._forward)
        self.out = problem.loss.linearize(self.ws.out.each, batch.y)
        self._went_back = False

    def _layers(self, phi: Array) -> LayerWeights:
        if phi.ndim == 1:
            return self.problem.pool.take(SharedWeights, self.net, phi.dtype).put(phi)
        return LayerWeights(self.net, phi)

    @property
    def loss(self) -> Array:
        """(T,)"""
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
            _times(do, h, m.layers.down[layer], extra if add else out)
            if add:
                do(np.add, out.each, extra.each, out.each)
            add = True
        for c, term in m.terms:
            rows = term.rows[layer]
            if rows is not None:
                gram = self._gram(do, h, rows, term, m is self.at)
                _product(do, c, gram, term.cols[layer].each, out.each, extra.each, add)
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
            _times(do, delta, m.layers.up[layer], extra if add else out)
            if add:
                do(np.add, out.each, extra.each, out.each)
            add = True
        for c, term in m.terms:
            rows = term.rows[layer]
            if rows is not None:
                gram = self._gram(do, delta, term.cols[layer], term, m is self.at)
                _product(do, c, gram, rows.inner, out.each, extra.each, add)
                add = True

    # ---- passes ---------------------------------------------------------------------------------------------------

    def _scratch(self) -> tuple[list[BufferViews], list[BufferViews]]:
        scratch = self.problem.pool.take(Scratch, *self._key)
        return scratch.z, scratch.extra

    def _forward(self, do: Do) -> None:
        ws, at, (z, extra) = self.ws, self.at, self._scratch()
        for layer, slope in enumerate(ws.slope):
            out, inner = z[layer], ws.h[layer + 1].inner
            self._through(do, ws.h[layer], at, layer, out, extra[layer])
            before = out.each if self._norms is None else self._norms.forward(layer, out.each)
            if self.net.activation == "relu":
                do(_positive, before, slope)
                do(np.multiply, before, slope, inner)
            else:
                do(np.tanh, before, inner)
                do(np.multiply, inner, inner, slope)
                do(np.subtract, 1, slope, slope)
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
                delta[...] = self._norms.back(layer, delta)

    @property
    def _term(self) -> OuterProduct:
        self._backward()
        between = {} if self._norms is None else self._norms.grad
        return OuterProduct(self.ws.h, self.ws.delta, self.passes, (self.ws, self.at.terms), between)

    @property
    def grad(self) -> Any:
        """(T, P)"""
        grad = LowRank(self.net, ((1.0, self._term),))
        return grad if self._pairs_pay else grad.dense()

    @property
    def _pairs_pay(self) -> bool:
        """Whether a gradient of so few points, at weights that the tasks share, is less work as outer products."""
        shared = self.at.layers is not None and self.at.layers.flat.ndim == 1
        return shared and self._key[2] > 1 and self._key[3] <= self.problem.narrow

    def hvp(self, v: Any) -> Any:
        """(T, P) → (T, P)"""
        self._backward()
        c = 1.0
        if not (isinstance(v, LowRank) and v.rank <= self.problem.narrow and len(v.terms) <= self.problem.pairs):
            v = LowRank(self.net, (), LayerWeights(self.net, np.asarray(v)))
        elif len(v.terms) == 1 and v.layers is None:  # the product is linear in v: its factor can wait
            c, v = v.terms[0][0], LowRank(self.net, ((1.0, v.terms[0][1]),))
        second = self.problem.pool.take(Second, *self._key)
        bend = None if self._norms is None else Bend(self._norms, v.between())
        along = v.key
        key = None if along is None else ("hvp", second.number, along)
        pushed = self.passes.run(key and (*key, "push"), partial(self._push, v, second, bend))
        np.copyto(second.delta[-1].each, self.out.hvp(pushed))
        self.passes.run(key, partial(self._bend, v, second, bend))
        return self._product(second, c, v.layers is None, {} if bend is None else bend.product)

    def _push(self, v: LowRank, second: Second, bend: Bend | None, do: Do) -> Array:
        """Leaves R{h}; R{outputs} (T, K, C)."""
        ws, (z, extra) = self.ws, self._scratch()
        for layer, h in enumerate(ws.h):
            if layer:
                self._through(do, second.h[layer], self.at, layer, z[layer], extra[layer])
            self._through(do, h, v, layer, z[layer], extra[layer], add=layer > 0)
            if layer < len(ws.slope):
                dz = z[layer].each if bend is None else bend.push(layer, z[layer].each)
                do(np.multiply, dz, ws.slope[layer], second.h[layer + 1].inner)
        return z[-1].each

    def _bend(self, v: LowRank, second: Second, bend: Bend | None, do: Do) -> None:
        """Leaves R{delta}, from that of the outputs."""
        ws, (z, extra) = self.ws, self._scratch()
        for layer in range(len(ws.slope) - 1, -1, -1):
            back, d_delta = z[layer], second.delta[layer].each
            self._back(do, second.delta[layer + 1], self.at, layer + 1, back, extra[layer])
            self._back(do, ws.delta[layer + 1], v, layer + 1, back, extra[layer], add=True)
            do(np.multiply, back.each, ws.slope[layer], d_delta)
            if ws.back is not None:  # tanh'' = −2 tanh tanh'; R{h} has the slope in it
                curved = extra[layer].each
                do(np.multiply, ws.h[layer + 1].inner, second.h[layer + 1].inner, curved)
                do(np.multiply, curved, ws.back[layer].each, curved)
                do(np.multiply, curved, 2, curved)
                do(np.subtract, d_delta, curved, d_delta)
            if bend is not None:
                d_delta[...] = bend.back(layer, d_delta)

    def _product(self, second: Second, c: float, factored: bool, between: dict[str, Array]) -> Any:
        """c·(hᵀR{delta} + R{h}ᵀdelta)"""
        ws, held = self.ws, (self.ws, second, self.at.terms)
        turned = OuterProduct(ws.h, second.delta, self.passes, held, between, second.number)
        moved = OuterProduct([None, *second.h[1:]], ws.delta, self.passes, held, {}, (second.number, "moved"))
        product = LowRank(self.net, ((c, turned), (c, moved)))
        return product if factored else product.dense()

    def step(self, rate: Any) -> Any:
        """φ − rate·grad (T, P)"""
        if np.ndim(rate) == 0 and self._pairs_pay and len(self.at.terms) < self.problem.pairs:
            return LowRank(self.net, (*self.at.terms, (-float(rate), self._term)), self.at.layers)
        moved = rate * np.asarray(self.grad)
        return np.subtract(np.asarray(self.phi), moved, out=moved)


class NetProblem(Problem):
    """A built-in net and a loss of its predictions."""

    predicts = True

    def __init__(self, net: Net, loss: OutputLoss = mse, dtype: np.typing.DTypeLike = np.float64) -> None:
        self.net: Net = net
        self.loss, self.dtype = loss, np.dtype(dtype)
        self.layout = net.layout
        self.pool = WorkspacePool()
        shapes = [(i + net.bias, o) for i, o in pairwise(net.sizes)]
        # points up to which inputs and deltas are less work than their product, the matrix
        self.narrow = 2 * sum(i * o for i, o in shapes) // sum(i + o for i, o in shapes)
        # terms up to which φ or a direction is kept so: each meets each, and a matrix does not grow with the steps
        self.pairs = 1

    def start(self, rng: np.random.Generator) -> Array:
        """Starting parameters (P,)."""
        return self.net.start(rng).astype(self.dtype)

    def linearize(self, phi: Any, batch: Batch) -> NetPoint | ChainPoint:
        """Evaluate at ``phi``: (P,), (T, P), or what ``step`` gave."""
        return NetPoint(self, phi, batch) if self.net.alternates else ChainPoint(self.net, self.loss, phi, batch)

    def predict(self, phi: Any, x: Array) -> Array:
        """Outputs (T, K, C)."""
        return self.net.predict(np.asarray(phi), x)

    def embed(self, theta: Array, x: Array) -> Pass:
        """Compute the inputs of the last layer (T, K, H) for ``x`` (T, K, D)."""
        return self.net.embed(theta, x)

    @property
    def fingerprint(self) -> str:
        """Hash over the loss's code and data; empty for a built-in loss."""
        return self.loss.fingerprint

    @property
    def parts(self) -> Parts:
        """Hashes of the functions of the loss and of the data that they read, by name."""
        return joined_parts([self.loss.parts])

    def user_functions(self) -> dict[str, Callable[..., Any]]:
        """Return a copy of the user's loss."""
        return {} if self.loss.function is None else {"loss": self.loss.function}
