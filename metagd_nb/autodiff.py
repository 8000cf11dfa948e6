"""Problems whose derivatives come from tracing a user's own functions.

``LossProblem`` is a loss over named parameters, ``ModelProblem`` a model and a loss written for
one task, and ``OutputLoss`` a user's loss at the output of a built-in model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from autograd.tracer import getval

from .arguments import Binding, as_parameters, data_names, flat_gradient, namespace_of, reads_missing
from .diagnose import diagnosed, scalar
from .errors import MetagdError
from .follow import Followed, Snapshot, follow
from .layout import Layout
from .problem import Array
from .tasks import Batch
from .tracing import Traced


def pieces(theta: Array, layout: Layout) -> list[Any]:
    """(P,) → one array a parameter; a NumPy scalar for one without axes."""
    return [part[()] for part in layout.views(theta).values()]


def joined(parts: Sequence[Any], layout: Layout, dtype: np.dtype[Any]) -> Array:
    """The reverse of ``pieces``; zeros for None."""
    flat = np.zeros(layout.size, dtype)
    for part, where in zip(parts, layout.slices.values(), strict=True):
        if part is not None:
            flat[where] = np.reshape(part, -1)
    return flat


class LossProblem:
    """The user's scalar loss over named parameters: one task, no batch.

    Parameters
    ----------
    loss : callable
        Its arguments are the parameters. One with a default is data; any other is looked up in
        ``namespace``.
    params : mapping name → array
        Starting values; kept, not changed.
    gradient : callable, optional
        Used in place of automatic differentiation. Its arguments are bound by name; it gives an
        array, a tuple in the parameters' order, or a dict.
    namespace : mapping, optional
        Default: the globals of ``loss``.

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
        snapshot: Snapshot | None = None,
    ) -> None:
        arrays = as_parameters(params)
        self.layout, self.dtype = Layout.of(arrays), np.dtype(dtype)
        self.second_order = "autodiff"
        self._start = self.layout.flatten(arrays, self.dtype)
        self.namespace = namespace_of(loss) if namespace is None else namespace
        self.snapshot = snapshot or Snapshot()
        self._binding = self._bound(loss, "loss")
        self._traced, self._plain = _following(loss, self.snapshot)
        self.reads = self._traced.reads
        self.own: Followed | None = None
        if gradient is not None:
            self._gradient_binding = self._bound(gradient, "gradient")
            self.own = follow(gradient, traced=False, snapshot=self.snapshot)
        self._check_start()

    def _bound(self, function: Callable[..., Any], what: str) -> Binding:
        bound = Binding(function, list(self.layout.shapes), self.namespace, what, every=what == "loss")
        for name, value in bound.data.items():
            if isinstance(value, np.ndarray):
                bound.data[name] = self.snapshot.array(value, name)
        return bound

    @property
    def fingerprint(self) -> str:
        """Hash over code and data, the same in another process."""
        return self._plain.fingerprint + (self.own.fingerprint if self.own else "")

    def start(self, rng: np.random.Generator | None = None) -> Array:
        """The given starting values (P,); a copy."""
        return self._start.copy()

    def flat(self, phi: Any, tasks: int = 1) -> Array:
        """(1, P)"""
        return np.reshape(phi, (1, -1))

    def linearize(self, phi: Any, batch: Any = None) -> LossPoint:
        """Evaluate at ``phi``, (P,) or (1, P)."""
        theta = np.array(phi, self.dtype).reshape(-1)  # a copy: the trace outlives an update in place
        if self.own is None:
            traced = self.traced(theta)
            return LossPoint(self, theta, scalar(traced.value), joined(traced.grads, self.layout, self.dtype), traced)
        return LossPoint(self, theta, self.value(theta), self.own_gradient(theta), None)

    def value(self, theta: Array) -> Any:
        """The loss at (P,), without tracing."""
        return scalar(self._binding.call(self._plain.function, pieces(theta.copy(), self.layout)))

    def traced(self, theta: Array) -> Traced:
        """The loss at (P,) with its gradient by automatic differentiation."""
        try:
            return Traced(self._scalar_loss, pieces(theta, self.layout))
        except Exception as error:
            raise diagnosed(error, lambda: self.value(theta)) from None

    def _scalar_loss(self, *values: Any) -> Any:
        return _one(self._binding.call(self._traced.function, values))

    def own_gradient(self, theta: Array) -> Array:
        """(P,) of the user's own gradient.

        Raises
        ------
        MetagdError
            When it reads a name that does not exist, or gives something else than the parameters' shapes.
        """
        return flat_gradient(self.raw_gradient(theta), self.layout, self.dtype)

    def raw_gradient(self, theta: Array) -> Any:
        """What the user's gradient gives at (P,), as it comes."""
        assert self.own is not None
        try:
            return self._gradient_binding.call(self.own.function, pieces(theta.copy(), self.layout))
        except NameError as error:
            if error.name in self.own.missing:
                raise reads_missing("gradient", str(error.name), self.known_names) from None
            raise

    @property
    def known_names(self) -> list[str]:
        """The parameters and the data of the namespace."""
        return [*self.layout.shapes, *data_names(self.namespace)]

    def _check_start(self) -> None:
        with np.errstate(all="ignore"):
            if self.own is not None:
                value, grads = self.value(self._start), pieces(self._start, self.layout)
            else:
                traced = self.traced(self._start)
                value, grads = scalar(traced.value), traced.grads
        if not np.isfinite(value):
            raise MetagdError(f"loss is {value} at the starting values; it needs a finite number there")
        finite = np.isfinite(flat := joined(grads, self.layout, self.dtype))
        if not finite.all():
            where, bad = self.layout.where(int(np.argmin(finite))), flat[~finite][0]
            raise MetagdError(f"the derivative of loss in {where} is {bad} at the starting values; start elsewhere")
        if all(g is None for g in grads):
            names = " or ".join(self.layout.shapes)
            raise MetagdError(f"loss does not depend on {names} (comparisons, rounding and argmax have no derivative)")


class LossPoint:
    """A user's loss at one θ; see ``problem.Point``, with one task."""

    __slots__ = ("_problem", "_theta", "_traced", "grad", "loss")

    def __init__(self, problem: LossProblem, theta: Array, loss: Any, grad: Array, traced: Traced | None) -> None:
        self._problem, self._theta, self._traced = problem, theta, traced
        self.loss = np.array([loss], problem.dtype)
        self.grad = grad[None]

    def hvp(self, v: Array) -> Array:
        """(1, P) → (1, P)"""
        problem = self._problem
        flat = np.asarray(v, problem.dtype).reshape(-1)
        if problem.second_order == "autodiff":
            try:
                if self._traced is None:
                    self._traced = problem.traced(self._theta)
                parts = self._traced.hvp(pieces(flat, problem.layout))
                return joined(parts, problem.layout, problem.dtype)[None]
            except MetagdError:
                if problem.own is None:
                    raise
                problem.second_order = "differences"
        return gradient_difference(problem.own_gradient, self._theta, flat)[None]

    def step(self, rate: Any) -> Array:
        """(1, P)"""
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


def _one(value: Any) -> Any:
    """What a loss gave, traced or not, once it is seen to be one number."""
    scalar(getval(value))
    return value


def _following(function: Callable[..., Any], snapshot: Snapshot) -> tuple[Followed, Followed]:
    """A function for tracing, and the same for a plain call."""
    return follow(function, snapshot=snapshot), follow(function, traced=False, snapshot=snapshot)


class OutputLoss:
    """A user's ``loss(prediction, target)``, written for one task, at the output of a model of the kit.

    Called task by task: the one loop over tasks that there is.
    """

    def __init__(self, loss: Callable[..., Any], *, snapshot: Snapshot | None = None) -> None:
        self.snapshot = snapshot or Snapshot()
        self._traced, self._plain = _following(loss, self.snapshot)
        self.reads, self.fingerprint = self._traced.reads, self._plain.fingerprint

    def linearize(self, prediction: Array, target: Array) -> OutputPoint:
        """Evaluate at predictions (T, K, C).

        Raises
        ------
        MetagdError
            When the loss gives no single number or cannot be traced; an error inside it is raised as it is.
        """
        traces = [self._trace(p, y) for p, y in zip(prediction, target, strict=True)]
        return OutputPoint(traces, prediction)

    def value(self, prediction: Array, target: Array) -> Array:
        """Loss (T,) alone."""
        pairs = zip(prediction, target, strict=True)
        return np.array([scalar(self._plain.function(p.copy(), y)) for p, y in pairs], prediction.dtype)

    def _trace(self, prediction: Array, target: Array) -> Traced:
        try:
            return Traced(lambda p: _one(self._traced.function(p, target)), [prediction.copy()])
        except Exception as error:
            raise diagnosed(error, lambda: scalar(self._plain.function(prediction.copy(), target))) from None


class OutputPoint:
    """A loss of the output at one prediction a task: loss (T,) and its derivatives in the prediction."""

    __slots__ = ("_traces", "grad", "loss")

    def __init__(self, traces: Sequence[Traced], prediction: Array) -> None:
        self._traces = traces
        self.loss = np.array([scalar(t.value) for t in traces], prediction.dtype)
        self.grad = _stacked([t.grads[0] for t in traces], prediction)

    def hvp(self, v: Array) -> Array:
        """(T, K, C) → (T, K, C)"""
        return _stacked([t.hvp([u])[0] for t, u in zip(self._traces, v, strict=True)], v)


def _stacked(rows: Sequence[Any], like: Array) -> Array:
    stacked = np.zeros_like(like)
    for into, row in zip(stacked, rows, strict=True):
        if row is not None:
            into[...] = row
    return stacked


class ModelProblem:
    """Meta-learning on a user's ``model(params, x)`` and ``loss(prediction, target)``, both written for one task.

    Parameters
    ----------
    model : callable
        Of a dict of arrays and x (K, D); gives a prediction (K, C). One of shape (K,) is taken as (K, 1).
    loss : callable or None
        A scalar of prediction and target; None for the mean square.
    params : mapping name → array
        Starting values.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        loss: Callable[..., Any] | None,
        params: Mapping[str, Any],
        *,
        dtype: np.typing.DTypeLike = np.float64,
        snapshot: Snapshot | None = None,
    ) -> None:
        arrays = as_parameters(params)
        self.layout, self.dtype = Layout.of(arrays), np.dtype(dtype)
        self._start = self.layout.flatten(arrays, self.dtype)
        self.snapshot = snapshot or Snapshot()
        self._model, self._plain_model = _following(model, self.snapshot)
        self._loss, self._plain_loss = _following(loss or _mean_square, self.snapshot)
        self.reads = tuple(dict.fromkeys(self._model.reads + self._loss.reads))

    @property
    def fingerprint(self) -> str:
        """Hash over code and data, the same in another process."""
        return self._plain_model.fingerprint + self._plain_loss.fingerprint

    def start(self, rng: np.random.Generator | None = None) -> Array:
        """The given starting values (P,); a copy."""
        return self._start.copy()

    def flat(self, phi: Any, tasks: int) -> Array:
        """(T, P)"""
        return np.broadcast_to(phi, (tasks, self.layout.size))

    def linearize(self, phi: Any, batch: Batch) -> ModelPoint:
        """Evaluate at ``phi``, (P,) or (T, P)."""
        thetas = np.array(self.flat(phi, len(batch)), self.dtype)
        return ModelPoint(self, thetas, [self._trace(*task) for task in zip(thetas, batch.x, batch.y, strict=True)])

    def predict(self, phi: Any, x: Array) -> Array:
        """Predictions (T, K, C) for x (T, K, D) at ``phi``, (P,) or (T, P)."""
        thetas = np.array(self.flat(phi, len(x)), self.dtype)
        named = [dict(zip(self.layout.shapes, pieces(t, self.layout), strict=True)) for t in thetas]
        made = [self._plain_model.function(params, k) for params, k in zip(named, x, strict=True)]
        return np.array([_column(p, len(k)) for p, k in zip(made, x, strict=True)])

    def _trace(self, theta: Array, x: Array, y: Array) -> Traced:
        def value(model: Followed, loss: Followed, parts: Sequence[Any]) -> Any:
            prediction = model.function(dict(zip(self.layout.shapes, parts, strict=True)), x)
            return _one(loss.function(_column(prediction, len(x)), y))

        try:
            return Traced(lambda *parts: value(self._model, self._loss, parts), pieces(theta, self.layout))
        except Exception as error:
            plain = pieces(theta.copy(), self.layout)
            raise diagnosed(error, lambda: value(self._plain_model, self._plain_loss, plain), "the model") from None


def _column(prediction: Any, points: int) -> Any:
    """(K,) → (K, 1): without it, the difference from a target (K, 1) is a (K, K) that nobody meant."""
    return prediction[:, None] if np.shape(getval(prediction)) == (points,) else prediction


def _mean_square(prediction: Any, target: Any) -> Any:
    if np.shape(getval(prediction)) != target.shape:
        raise MetagdError(f"gives shape {np.shape(getval(prediction))} for targets of shape {target.shape}", "model")
    return np.mean((prediction - target) ** 2)


class ModelPoint:
    """A user's model and loss at one φ a task; see ``problem.Point``."""

    __slots__ = ("_problem", "_thetas", "_traces", "grad", "loss")

    def __init__(self, problem: ModelProblem, thetas: Array, traces: Sequence[Traced]) -> None:
        self._problem, self._thetas, self._traces = problem, thetas, traces
        self.loss = np.array([scalar(t.value) for t in traces], problem.dtype)
        self.grad = self._rows([t.grads for t in traces])

    def _rows(self, parts: Sequence[Sequence[Any]]) -> Array:
        return np.array([joined(p, self._problem.layout, self._problem.dtype) for p in parts])

    def hvp(self, v: Array) -> Array:
        """(T, P) → (T, P)"""
        vectors = np.asarray(v, self._problem.dtype)
        parts = [t.hvp(pieces(u, self._problem.layout)) for t, u in zip(self._traces, vectors, strict=True)]
        return self._rows(parts)

    def step(self, rate: Any) -> Array:
        """(T, P)"""
        moved: Array = self._thetas - rate * self.grad
        return moved
