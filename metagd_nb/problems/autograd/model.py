"""A user's own model, or a user's loss at the output of a built-in model, both written for one task and traced.

``ModelProblem`` is a model and a loss, ``UserOutputLoss`` a loss alone; each is called task by task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import autograd.numpy
import numpy as np
from autograd.tracer import getval
from numpy.typing import ArrayLike

from ...core.parameters import ParameterLayout
from ...models.losses import LOSSES, OutputLoss, as_function
from ...tasks import Batch
from ..base import Array, Problem
from ..capture.closure import Closure, capture_both
from ..capture.errors import explain_tracing_failure, scalar
from ..capture.fingerprint import Parts, joined_parts
from ..capture.signature import as_parameters
from ..capture.snapshot import DataSnapshot
from .tape import Traced, checked_scalar


class UserOutputLoss(OutputLoss):
    """A user's ``loss(prediction, target)``, written for one task, at the output of a model of the kit.

    Called task by task: the one loop over tasks that there is.
    """

    def __init__(self, loss: Callable[..., Any], *, snapshot: DataSnapshot | None = None) -> None:
        self.snapshot = snapshot or DataSnapshot()
        self._traced, self._plain = capture_both(loss, self.snapshot)
        self.reads, self.function = self._traced.reads, self._plain.function
        self.fingerprint, self.parts = self._plain.fingerprint, self._plain.parts

    def linearize(self, prediction: Array, target: Array) -> UserOutputPoint:
        """Evaluate at predictions (T, K, C).

        Raises
        ------
        MetagdError
            When the loss gives no single number or cannot be traced; an error inside it is raised as it is.
        """
        traces = [self._trace(p, y) for p, y in zip(prediction, target, strict=True)]
        return UserOutputPoint(traces, prediction)

    def value(self, prediction: Array, target: Array) -> Array:
        """Loss (T,) alone."""
        pairs = zip(prediction, target, strict=True)
        return np.array([scalar(self._plain.function(p.copy(), y)) for p, y in pairs], prediction.dtype)

    def _trace(self, prediction: Array, target: Array) -> Traced:
        try:
            return Traced(lambda p: checked_scalar(self._traced.function(p, target)), [prediction.copy()])
        except Exception as error:
            raise explain_tracing_failure(
                error, lambda: scalar(self._plain.function(prediction.copy(), target))
            ) from None


class UserOutputPoint:
    """A loss of the output at one prediction a task: loss (T,) and its derivatives in the prediction."""

    __slots__ = ("_traces", "grad", "loss")

    def __init__(self, traces: Sequence[Traced], prediction: Array) -> None:
        self._traces = traces
        self.loss = np.array([scalar(t.value) for t in traces], prediction.dtype)
        self.grad = _stacked([t.grads[0] for t in traces], prediction)

    def hvp(self, v: Array) -> Array:
        """Multiply by the Hessian in the predictions: (T, K, C) → (T, K, C)."""
        return _stacked([t.hvp([u])[0] for t, u in zip(self._traces, v, strict=True)], v)


def _stacked(rows: Sequence[Any], like: Array) -> Array:
    stacked = np.zeros_like(like)
    for into, row in zip(stacked, rows, strict=True):
        if row is not None:
            into[...] = row
    return stacked


class ModelProblem(Problem):
    """Meta-learning on a user's ``model(params, x)`` and ``loss(prediction, target)``, both written for one task.

    Parameters
    ----------
    model : callable
        Of a dict of arrays and x (K, D); gives a prediction (K, C). One of shape (K,) is taken as (K, 1).
    loss : callable, name or None
        A scalar of prediction and target, or a name from ``LOSSES``; None for ``mse``.
    params : mapping name → array
        Starting values.
    """

    predicts = True

    def __init__(
        self,
        model: Callable[..., Any],
        loss: Callable[..., Any] | str | None,
        params: Mapping[str, Any],
        *,
        dtype: np.typing.DTypeLike = np.float64,
        snapshot: DataSnapshot | None = None,
    ) -> None:
        arrays = as_parameters(params)
        self.layout, self.dtype = ParameterLayout.of(arrays), np.dtype(dtype)
        self._start = self.layout.flatten(arrays, self.dtype)
        self.snapshot = snapshot or DataSnapshot()
        self._model, self._plain_model = capture_both(model, self.snapshot)
        self._loss, self._plain_loss = capture_both(as_function(loss), self.snapshot)
        self.reads = tuple(dict.fromkeys(self._model.reads + self._loss.reads))
        self._given_loss = loss

    @cached_property
    def loss(self) -> OutputLoss:  # type: ignore[override]  # made when first asked for
        """The loss alone, of predictions (T, K, C)."""
        return self._output_loss()

    def _output_loss(self) -> OutputLoss:
        given = self._given_loss
        return UserOutputLoss(given, snapshot=self.snapshot) if callable(given) else LOSSES[given or "mse"]

    @property
    def fingerprint(self) -> str:
        """Hash over code and data, the same in another process."""
        return self._plain_model.fingerprint + self._plain_loss.fingerprint

    @property
    def parts(self) -> Parts:
        """Hashes of each function and of each of the data that it reads, by name."""
        return joined_parts([self._plain_model.parts, self._plain_loss.parts])

    def user_functions(self) -> dict[str, Callable[..., Any]]:
        """Return copies of the model and the loss."""
        return {"loss": self._plain_loss.function, "model": self._plain_model.function}

    def start(self, rng: np.random.Generator | None = None) -> Array:
        """The given starting values (P,); a copy."""
        return self._start.copy()

    def linearize(self, phi: ArrayLike, batch: Batch) -> ModelPoint:
        """Evaluate at ``phi``, (P,) or (T, P)."""
        thetas = np.array(self.flat(phi, len(batch)), self.dtype)
        return ModelPoint(self, thetas, [self._trace(*task) for task in zip(thetas, batch.x, batch.y, strict=True)])

    def predict(self, phi: ArrayLike, x: Array) -> Array:
        """Predictions (T, K, C) for x (T, K, D) at ``phi``, (P,) or (T, P)."""
        thetas = np.array(self.flat(phi, len(x)), self.dtype)
        named = [dict(zip(self.layout.shapes, self.layout.pieces(t), strict=True)) for t in thetas]
        made = [self._plain_model.function(params, k) for params, k in zip(named, x, strict=True)]
        return np.array([_column(p, len(k)) for p, k in zip(made, x, strict=True)])

    def embed(self, theta: Array, x: Array) -> Embedding:
        """Predictions (T, K, H), taken for features: to be pulled back."""
        return Embedding(self, theta, x)

    def pulled(self, theta: Array, x: Array, cotangent: Array) -> Array:
        """A gradient in one task's predictions (K, H), pulled back to θ (P,)."""

        def along(model: Closure, parts: Sequence[Any]) -> Any:
            made = model.function(dict(zip(self.layout.shapes, parts, strict=True)), x)
            return autograd.numpy.sum(_column(made, len(x)) * cotangent)

        parts = self.layout.pieces(theta)
        try:
            traced = Traced(lambda *given: along(self._model, given), parts)
        except Exception as error:
            raise explain_tracing_failure(error, lambda: along(self._plain_model, parts), "the model") from None
        return self.layout.join(traced.grads, self.dtype)

    def _trace(self, theta: Array, x: Array, y: Array) -> Traced:
        def value(model: Closure, loss: Closure, parts: Sequence[Any]) -> Any:
            prediction = model.function(dict(zip(self.layout.shapes, parts, strict=True)), x)
            return checked_scalar(loss.function(_column(prediction, len(x)), y))

        try:
            return Traced(lambda *parts: value(self._model, self._loss, parts), self.layout.pieces(theta))
        except Exception as error:
            plain = self.layout.pieces(theta.copy())
            raise explain_tracing_failure(
                error, lambda: value(self._plain_model, self._plain_loss, plain), "the model"
            ) from None


def _column(prediction: Array, points: int) -> Any:
    """Reshape (K,) to (K, 1): its difference from a target (K, 1) would be a (K, K) by broadcasting."""
    return prediction[:, None] if np.shape(getval(prediction)) == (points,) else prediction


class Embedding:
    """Predictions of a user's model for x (T, K, D) at θ (P,): ``out`` (T, K, H), with their pull-back."""

    def __init__(self, problem: ModelProblem, theta: Array, x: Array) -> None:
        self._problem, self._theta, self._x = problem, theta, x
        self.out = problem.predict(theta, x)

    def pull(self, cotangent: Array) -> tuple[Array, None]:
        """A gradient in ``out``, pulled back to θ: (T, P), one a task."""
        pairs = zip(self._x, cotangent, strict=True)
        return np.array([self._problem.pulled(self._theta, x, c) for x, c in pairs]), None


class ModelPoint:
    """A user's model and loss at one φ a task; see `base.Point`."""

    __slots__ = ("_problem", "_thetas", "_traces", "grad", "loss")

    def __init__(self, problem: ModelProblem, thetas: Array, traces: Sequence[Traced]) -> None:
        self._problem, self._thetas, self._traces = problem, thetas, traces
        self.loss = np.array([scalar(t.value) for t in traces], problem.dtype)
        self.grad = self._rows([t.grads for t in traces])

    def _rows(self, parts: Sequence[Sequence[Any]]) -> Array:
        return np.array([self._problem.layout.join(p, self._problem.dtype) for p in parts])

    def hvp(self, v: Array) -> Array:
        """Multiply the Hessian of each task by its vector: (T, P) → (T, P)."""
        vectors = np.asarray(v, self._problem.dtype)
        parts = [t.hvp(self._problem.layout.pieces(u)) for t, u in zip(self._traces, vectors, strict=True)]
        return self._rows(parts)

    def step(self, rate: float | Array) -> Array:
        """Return φ − rate·grad (T, P)."""
        moved: Array = self._thetas - rate * self.grad
        return moved
