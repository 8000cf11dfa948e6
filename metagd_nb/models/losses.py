"""Losses of predictions: value, gradient and Hessian·vector in closed form, and a function of one task for tracing.

``LOSSES`` is the table: a new loss is a class with both and a row there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..core.array_api import one_hot
from ..core.errors import MetagdError

Array = np.ndarray


class OutputPoint(Protocol):
    """A loss of predictions, evaluated: value, gradient and Hessian·vector in the predictions."""

    @property
    def loss(self) -> Array:
        """Loss of each task, (T,)."""

    @property
    def grad(self) -> Array:
        """Gradient of each task, (T, K, C)."""

    def hvp(self, v: Array) -> Array:
        """Multiply by the Hessian in the predictions: (T, K, C) → (T, K, C)."""


_NOTHING_READ: dict[str, dict[str, str]] = {"code": {}, "data": {}}


class OutputLoss:
    """A loss of predictions (T, K, C) and targets (T, K, C), one value a task.

    Attributes
    ----------
    function : callable or None
        The user's function, where it is one.
    fingerprint : str
        Hash over its code and data.
    parts : dict
        Hashes of the functions and data behind it, by name.
    of_one_task : callable
        The same of one task, (K, C) and (K, C) to a number, for a model whose derivatives are traced.
    """

    function: Callable[..., Any] | None = None
    fingerprint: str = ""
    parts: dict[str, dict[str, str]] = _NOTHING_READ
    of_one_task: Callable[..., Any]

    def linearize(self, prediction: Array, target: Array) -> OutputPoint:
        """Evaluate, per task."""
        raise NotImplementedError


def _same_shape(prediction: Array, target: Array) -> None:
    if np.shape(prediction) != target.shape:
        raise MetagdError(f"gives shape {np.shape(prediction)} for targets of shape {target.shape}", "model")


def mean_square(prediction: Array, target: Array) -> Any:
    """Compute `mse` of one task, (K, C) and (K, C)."""
    _same_shape(prediction, target)
    return np.mean((prediction - target) ** 2)


def mean_cross_entropy(prediction: Array, target: Array) -> Any:
    """Compute `cross-entropy` of one task, (K, C) and (K, C)."""
    _same_shape(prediction, target)
    highest = np.max(prediction, axis=-1, keepdims=True)
    total = np.log(np.sum(np.exp(prediction - highest), axis=-1))
    return np.mean(total - np.sum(target * (prediction - highest), axis=-1))


class MseLoss(OutputLoss):
    """Mean over K and C of the squared error; no ½."""

    of_one_task = staticmethod(mean_square)

    class Point:
        """Value and derivatives in the prediction."""

        def __init__(self, prediction: Array, target: Array) -> None:
            self.error = prediction - target
            self.scale = 2.0 / self.error[0].size

        @property
        def loss(self) -> Array:
            """Loss of each task, (T,); computed on demand, since adaptation does not need it."""
            flat = self.error.reshape(len(self.error), -1)
            return np.asarray(np.einsum("ti,ti->t", flat, flat) / flat.shape[1])

        @property
        def grad(self) -> Array:
            """Gradient of each task, (T, K, C)."""
            return np.asarray(self.scale * self.error)

        def hvp(self, v: Array) -> Array:
            """The Hessian is a multiple of the identity."""
            return np.asarray(self.scale * v)

    def linearize(self, prediction: Array, target: Array) -> Point:
        """Evaluate, per task."""
        return self.Point(prediction, target)


class CrossEntropy(OutputLoss):
    """Mean over K of −Σ_c y_c log q_c with q = softmax of the prediction (Goodfellow et al. 2016, §6.2.2.3).

    Targets are distributions over the classes (T, K, C), one-hot as a rule, or the numbers of the classes (T, K).
    """

    of_one_task = staticmethod(mean_cross_entropy)

    class Point:
        """Value and derivatives in the prediction.

        Arrays here begin with the classes, (C, T, K): sums over few classes are then sums of long rows.
        """

        def __init__(self, prediction: Array, target: Array) -> None:
            _, self.points, classes = prediction.shape
            if target.ndim == 2:
                target = one_hot(target, classes, prediction.dtype)
            wanted = target.transpose(2, 0, 1)
            off = prediction.transpose(2, 0, 1).copy()
            off -= np.maximum.reduce(off, axis=0)  # exp never overflows
            self.q = np.exp(off)
            total = np.add.reduce(self.q, axis=0)  # (T, K)
            self.q /= total
            each = np.log(total)
            each -= np.add.reduce(np.multiply(wanted, off, out=off), axis=0)
            self.loss = np.add.reduce(each, axis=1) / self.points
            grad = np.subtract(self.q, wanted, out=off)
            grad /= self.points
            self.grad = grad.transpose(1, 2, 0)

        def hvp(self, v: Array) -> Array:
            """Multiply by the Hessian (diag q − q qᵀ)/K of each point."""
            product = self.q * v.transpose(2, 0, 1)
            product -= self.q * np.add.reduce(product, axis=0)
            product /= self.points
            return np.asarray(product.transpose(1, 2, 0))

    def linearize(self, prediction: Array, target: Array) -> Point:
        """Evaluate, per task."""
        return self.Point(prediction, target)


mse, cross_entropy = MseLoss(), CrossEntropy()
LOSSES: dict[str, OutputLoss] = {"mse": mse, "cross-entropy": cross_entropy}


def as_function(loss: Callable[..., Any] | str | None) -> Callable[..., Any]:
    """Return the loss of one task: the function itself, or that of a row of `LOSSES`; None stands for `mse`."""
    return loss if callable(loss) else LOSSES[loss or "mse"].of_one_task
