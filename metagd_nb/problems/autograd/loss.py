"""A user's own loss over named parameters, its derivatives traced: one task; a batch replaces data arguments.

Models and losses that are written for one task of many are in `model`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import MetagdError
from ...core.parameters import ParameterLayout
from ..base import Array, Data, Problem
from ..capture.broadcasts import refuse_squares, watched
from ..capture.closure import Closure, capture, capture_both
from ..capture.errors import explain_tracing_failure, scalar
from ..capture.fingerprint import Parts, digest_of, joined_parts
from ..capture.not_finite import derivative_is, loss_is
from ..capture.signature import Binding, as_parameters, data_names, flat_gradient, namespace_of, reads_missing
from ..capture.snapshot import DataSnapshot
from .tape import Traced, checked_scalar


class LossProblem(Problem):
    """The user's scalar loss over named parameters: one task; a batch has other values of its data arguments.

    Parameters
    ----------
    loss : callable
        Its arguments are the parameters. One with a default is a constant; any other is in ``data`` or
        ``namespace``.
    params : mapping name → array
        Starting values; kept, not changed.
    gradient : callable, optional
        Used in place of automatic differentiation. Its arguments are bound by name; it gives an
        array, a tuple in the parameters' order, or a dict.
    namespace : mapping, optional
        Default: the globals of ``loss``.
    data : mapping, optional
        Arguments that are data, by name.

    Attributes
    ----------
    second_order : "autodiff" | "differences"
        Where a Hessian·vector comes from. Differences of the user's gradient take over when its
        loss cannot be traced.
    reads : tuple of str
        Global names that the loss and its helpers refer to.

    Raises
    ------
    MetagdError
        When the loss at the start is no finite number, cannot be differentiated, or depends on no parameter.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        params: Mapping[str, Any],
        gradient: Callable[..., Any] | None = None,
        *,
        dtype: np.typing.DTypeLike = np.float64,
        namespace: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        snapshot: DataSnapshot | None = None,
    ) -> None:
        arrays = as_parameters(params)
        self.layout, self.dtype = ParameterLayout.of(arrays), np.dtype(dtype)
        self.second_order = "autodiff"
        self._start = self.layout.flatten(arrays, self.dtype)
        self.namespace = namespace_of(loss) if namespace is None else namespace
        self.data = dict(data or {})
        self.snapshot = snapshot or DataSnapshot()
        self._binding = self._bound(loss, "loss")
        refuse_squares(loss, self.snapshot, self._call_watched)
        self._traced, self._plain = capture_both(loss, self.snapshot)
        self.reads = self._traced.reads
        self.own: Closure | None = None
        if gradient is not None:
            self._gradient_binding = self._bound(gradient, "gradient")
            self.own = capture(gradient, traced=False, snapshot=self.snapshot)
        self._check_start()

    def _bound(self, function: Callable[..., Any], what: str) -> Binding:
        bound = Binding(function, list(self.layout.shapes), self.namespace, what, what == "loss", self.data)
        for name, value in bound.data.items():
            if isinstance(value, np.ndarray):
                bound.data[name] = self.snapshot.array(value, name)
        return bound

    def _call_watched(self, loss: Callable[..., Any]) -> None:
        binding = copy.copy(self._binding)
        binding.data = {name: watched(value) for name, value in binding.data.items()}
        binding.call(loss, [watched(part) for part in self.layout.pieces(self._start.copy())])

    @property
    def fingerprint(self) -> str:
        """Hash over code and data, the same in another process."""
        return self._plain.fingerprint + (self.own.fingerprint if self.own else "")

    @property
    def parts(self) -> Parts:
        """Hashes of each function and of each of the data that it reads, by name."""
        given = {"code": {}, "data": {name: digest_of(value) for name, value in self.user_data().items()}}
        return joined_parts([given, self._plain.parts, *([self.own.parts] if self.own else [])])

    def user_functions(self) -> dict[str, Callable[..., Any]]:
        """Return copies of the loss and, where there is one, of the gradient."""
        return {"loss": self._plain.function} | ({"gradient": self.own.function} if self.own else {})

    def user_data(self) -> dict[str, Any]:
        """Return arguments of both that are no parameters, by name."""
        return self._binding.data | (self._gradient_binding.data if self.own else {})

    def start(self, rng: np.random.Generator | None = None) -> Array:
        """The given starting values (P,); a copy."""
        return self._start.copy()

    def flat(self, phi: ArrayLike, tasks: int = 1) -> Array:
        """Return ``phi`` as an array (1, P)."""
        return np.reshape(phi, (1, -1))

    def at(self, batch: Mapping[str, Any]) -> LossProblem:
        """Return the same loss of other data: the arguments in the batch, by name."""
        other = copy.copy(self)
        other._binding = self._binding.at(batch)
        if self.own is not None:
            other._gradient_binding = self._gradient_binding.at(batch)
        return other

    def linearize(self, phi: ArrayLike, batch: Data = None) -> LossPoint:
        """Evaluate at ``phi``, (P,) or (1, P), on the data arguments in ``batch``."""
        if isinstance(batch, Mapping):
            return self.at(batch).linearize(phi)
        theta = np.array(phi, self.dtype).reshape(-1)  # a copy: the trace outlives an update in place
        if self.own is None:
            traced = self.traced(theta)
            return LossPoint(self, theta, scalar(traced.value), self.layout.join(traced.grads, self.dtype), traced)
        return LossPoint(self, theta, self.value(theta), self.own_gradient(theta), None)

    def value(self, theta: Array) -> Any:
        """The loss at (P,), without tracing."""
        return scalar(self._binding.call(self._plain.function, self.layout.pieces(theta.copy())))

    def value_at(self, theta: Array, batch: Data) -> float:
        """Evaluate the loss at (P,), without tracing."""
        return float(self.value(theta))

    def traced(self, theta: Array) -> Traced:
        """The loss at (P,) with its gradient by automatic differentiation."""
        try:
            return Traced(self._scalar_loss, self.layout.pieces(theta))
        except Exception as error:
            raise explain_tracing_failure(error, lambda: self.value(theta)) from None

    def _scalar_loss(self, *values: Array) -> Any:
        return checked_scalar(self._binding.call(self._traced.function, values))

    def own_gradient(self, theta: Array) -> Array:
        """Evaluate the user's own gradient (P,).

        Raises
        ------
        MetagdError
            When it reads a name that does not exist, or gives something else than the parameters' shapes.
        """
        return flat_gradient(self.raw_gradient(theta), self.layout, self.dtype)

    def raw_gradient(self, theta: Array) -> Any:
        """Call the user's gradient at (P,); return its unchecked result."""
        assert self.own is not None
        try:
            return self._gradient_binding.call(self.own.function, self.layout.pieces(theta.copy()))
        except NameError as error:
            if error.name in self.own.missing:
                raise reads_missing("gradient", str(error.name), self.known_names) from None
            raise

    @property
    def known_names(self) -> list[str]:
        """The parameters and the data of the namespace."""
        return [*self.layout.shapes, *self.data, *data_names(self.namespace)]

    def _check_start(self) -> None:
        with np.errstate(all="ignore"):
            if self.own is not None:
                value, grads = self.value(self._start), self.layout.pieces(self._start)
            else:
                traced = self.traced(self._start)
                value, grads = scalar(traced.value), traced.grads
        if not np.isfinite(value):
            raise MetagdError(loss_is(value, lambda: self.value(self._start)))
        finite = np.isfinite(flat := self.layout.join(grads, self.dtype))
        if not finite.all():
            where, bad = self.layout.where(int(np.argmin(finite))), flat[~finite][0]
            raise MetagdError(derivative_is(bad, where, self._plain.function, lambda: self.value(self._start)))
        if all(g is None for g in grads):
            names = " or ".join(self.layout.shapes)
            raise MetagdError(f"loss does not depend on {names} (comparisons, rounding and argmax have no derivative)")


class LossPoint:
    """A user's loss at one θ; see `base.Point`, with one task."""

    __slots__ = ("_problem", "_theta", "_traced", "grad", "loss")

    def __init__(self, problem: LossProblem, theta: Array, loss: float, grad: Array, traced: Traced | None) -> None:
        self._problem, self._theta, self._traced = problem, theta, traced
        self.loss = np.array([loss], problem.dtype)
        self.grad = grad[None]

    def hvp(self, v: Array) -> Array:
        """Multiply the Hessian of each task by its vector: (1, P) → (1, P)."""
        problem = self._problem
        flat = np.asarray(v, problem.dtype).reshape(-1)
        if problem.second_order == "autodiff":
            try:
                if self._traced is None:
                    self._traced = problem.traced(self._theta)
                parts = self._traced.hvp(problem.layout.pieces(flat))
                return problem.layout.join(parts, problem.dtype)[None]
            except MetagdError:
                if problem.own is None:
                    raise
                problem.second_order = "differences"
        return gradient_difference(problem.own_gradient, self._theta, flat)[None]

    def step(self, rate: float | Array) -> Array:
        """Return φ − rate·grad (1, P)."""
        moved: Array = self._theta - rate * self.grad
        return moved


def gradient_difference(gradient: Callable[[Array], Array], theta: Array, v: Array) -> Array:
    """Hessian·vector (P,) by central differences of a gradient, a step of ∛ε along ``v``."""
    size = float(np.linalg.norm(v))
    if size == 0:
        return np.zeros_like(v)
    step = np.cbrt(np.finfo(theta.dtype).eps) * max(1.0, float(np.linalg.norm(theta))) / size
    difference: Array = (gradient(theta + step * v) - gradient(theta - step * v)) / (2 * step)
    return difference.astype(theta.dtype)
