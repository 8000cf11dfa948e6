"""A scalar function traced at a point with HIPS autograd: value, gradient, Hessian·vector.

The gradient is traced once; a Hessian times a vector is the pull-back of that vector through the
traced gradient, and the same trace serves every vector.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import autograd.numpy  # its derivatives are registered by the import
import autograd.tracer
from autograd.core import VJPNode, add_outgrads, vspace
from autograd.tracer import getval, isbox, new_box
from autograd.util import toposort
from numpy.typing import ArrayLike

from ..capture.errors import scalar


class _TraceStack(threading.local):
    """autograd's counter of nested traces, one for each thread.

    autograd numbers a trace by a counter of the whole process. When two threads trace at once
    (two runs, or a run and the reader's own cell) an inner trace can get a lower number than the
    outer one, and a Hessian·vector is then wrong without a word. Nesting is a matter of one
    thread, so the counter is too.
    """

    top = -1

    @contextmanager
    def new_trace(self) -> Iterator[int]:
        self.top += 1
        try:
            yield self.top
        finally:
            self.top -= 1


if not isinstance(autograd.tracer.trace_stack, threading.local):
    autograd.tracer.trace_stack = _TraceStack()  # read by autograd.tracer.trace at each call


def backward(ends: Sequence[Any], seeds: Sequence[Any], roots: Sequence[Any]) -> list[Any]:
    """Cotangents at the roots for ``seeds`` at the nodes ``ends``; None at a root that none depends on."""
    end = VJPNode.new_root()
    end.parents = [node for node in ends if node is not None]
    live = tuple(seed for node, seed in zip(ends, seeds, strict=True) if node is not None)
    end.vjp = lambda g: live
    outgrads: dict[Any, Any] = {end: (None, False)}
    at_roots = dict.fromkeys(roots)
    for node in toposort(end):
        outgrad = outgrads.pop(node)[0]
        if node in at_roots:
            at_roots[node] = outgrad
        for parent, ingrad in zip(node.parents, node.vjp(outgrad), strict=True):
            outgrads[parent] = add_outgrads(outgrads.get(parent), ingrad)
    return [at_roots[root] for root in roots]


def _traced_gradient(function: Callable[..., Any], values: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Value of a scalar function of several arrays and its gradient with respect to each, both themselves traceable."""
    roots = [VJPNode.new_root() for _ in values]
    with autograd.tracer.trace_stack.new_trace() as trace:
        value = function(*[new_box(v, trace, root) for v, root in zip(values, roots, strict=True)])
        if not (isbox(value) and value._trace == trace):
            return value, [None] * len(values)
        value, node = value._value, value._node
    return value, backward([node], [vspace(value).ones()], roots)


class Traced:
    """A scalar function of several arrays at a point: value, gradient, Hessian·vector.

    Parameters
    ----------
    function : callable
        Of as many arrays as there are ``values``.
    values : sequence of array
        The point.

    Attributes
    ----------
    value : the function's value there, as it came
    grads : list of array or None
        One for each array; None where the function does not depend on it.
    """

    __slots__ = ("_ends", "_function", "_roots", "_values", "grads", "value")

    def __init__(self, function: Callable[..., Any], values: Sequence[Any]) -> None:
        self._function, self._values = function, values
        self._ends: list[Any] | None = None
        self._roots: list[Any] = []
        self.value, self.grads = _traced_gradient(function, values)

    def hvp(self, vectors: Sequence[Any]) -> list[Any]:
        """Hessian times a vector, both in pieces like the values; None for a piece that is zero."""
        if self._ends is None:
            self._trace_gradient()
        assert self._ends is not None
        return backward(self._ends, vectors, self._roots)

    def _trace_gradient(self) -> None:
        self._roots = [VJPNode.new_root() for _ in self._values]
        with autograd.tracer.trace_stack.new_trace() as trace:
            boxes = [new_box(v, trace, root) for v, root in zip(self._values, self._roots, strict=True)]
            _, grads = _traced_gradient(self._function, boxes)
            self._ends = [g._node if isbox(g) and g._trace == trace else None for g in grads]


def checked_scalar(value: ArrayLike) -> Any:
    """Return what a loss gave, traced or not, after a check that it is one number."""
    scalar(getval(value))
    return value
