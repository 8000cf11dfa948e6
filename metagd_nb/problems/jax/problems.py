"""Source (c) of a problem: loss, gradient and Hessian·vector by JAX, from the loss of one task.

Each class here is one of the other sources with its derivatives exchanged, so starting values, predictions and
refusals are the same. ``linearize`` takes NumPy's arrays, and gives them: what it computes is compiled at the first
call of each shape. Inside a compiled step it takes and gives traced ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ...core.array_api import is_concrete
from ...models.losses import OutputLoss, as_function
from ...models.net import Net
from ...tasks import Quadratics
from ..autograd.loss import LossProblem
from ..autograd.model import ModelProblem
from ..base import Data, NormalEquations
from ..capture.closure import Closure, capture
from ..capture.snapshot import DataSnapshot
from ..closed_form.least_squares import LeastSquares
from ..closed_form.net import NetProblem
from ..closed_form.quadratic import QuadraticProblem
from . import precise
from .base import NO_DATA, Array, Arrays, Either, HostPoint, OnJax, joined
from .numpy_shim import JAX
from .outputs import OutputLossOnJax, one_number


def on_jax(function: Callable[..., Any], snapshot: DataSnapshot | None = None) -> Closure:
    """A closed copy of a function, in which NumPy's functions of traced arrays are JAX's."""
    return capture(function, shims=JAX, snapshot=snapshot)


class JaxNet(OnJax, NetProblem):
    """A built-in model, and a loss of its predictions written for one task or a name from ``LOSSES``."""

    def __init__(self, net: Net, loss: Callable[..., Any] | str | None, inner: OutputLoss, dtype: DTypeLike) -> None:
        super().__init__(net, inner, dtype)
        self._name = None if callable(loss) else loss or "mse"
        self._loss = on_jax(as_function(loss)).function
        self._inner, self.loss = inner, OutputLossOnJax(inner, lambda p, y: one_number(self._loss(p, y), self.dtype))

    @property
    def key(self) -> Any:
        """Nets of one shape with a built-in loss share their programs."""
        if type(self.net) is not Net or self.net.closed_form() != "plain" or self._name is None:
            return self
        return self.net.sizes, self.net.activation, self.net.bias, self._name, self.dtype.str

    def task_loss(self, params: Arrays, x: Either, y: Either) -> Any:
        out = self.net.forward(jnp, params, x)  # type: ignore[arg-type]  # traced, and used as an array
        return one_number(self._loss(out, y), self.dtype)

    def task_features(self, params: Arrays, x: Either) -> Any:
        for layer in self.net.layers[:-1]:
            x = layer.apply(jnp, params, x)  # type: ignore[arg-type]  # traced, and used as an array
        return x

    def embed(self, theta: Either, x: Either) -> Any:
        if is_concrete(theta):
            return NetProblem.embed(self, np.asarray(theta), np.asarray(x))
        return OnJax.embed(self, theta, x)

    def plain(self, x: Array, y: Array) -> Any:
        theta = self.net.start(np.random.default_rng(0)).astype(self.dtype)
        self._inner.linearize(self.net.predict(theta, x[None]), y[None])


class JaxQuadratic(OnJax, QuadraticProblem):
    """½(φ−c)ᵀA(φ−c)."""

    def __init__(self, tasks: Quadratics, dtype: DTypeLike) -> None:
        super().__init__(tasks, dtype)

    @property
    def key(self) -> Any:
        return "quadratic", self.layout.size, self.dtype.str

    def task_loss(self, params: Arrays, x: Either, y: Either) -> Any:
        off = params["theta"] - y
        return 0.5 * off @ (x @ off)


class JaxSquares(OnJax, LeastSquares):
    """Full-batch linear regression from XᵀX and Xᵀy."""

    def task_loss(self, params: Arrays, x: Either, y: Either) -> Any:
        off = joined(params.values()) - self.anchor
        product = (self.hessian @ off.reshape(-1, self.width)).ravel()
        return self.anchor_loss + 0.5 * off @ product + off @ self.slack

    def flat(self, phi: ArrayLike, tasks: int = 1) -> Any:
        return phi.reshape(1, -1) if isinstance(phi, np.ndarray) else jnp.reshape(jnp.asarray(phi), (1, -1))

    def normal_equations(self) -> NormalEquations | None:
        return None  # the arithmetic is JAX's


class _Traced:
    """A value and its gradient by JAX, in the words of ``tracing.Traced``."""

    def __init__(self, value: jax.Array, grads: list[jax.Array]) -> None:
        self.value, self.grads = value, grads


class JaxLoss(OnJax, LossProblem):
    """A user's loss over named parameters; with their own gradient where there is one, JAX giving its derivative."""

    def __init__(
        self,
        loss: Callable[..., Any],
        params: Mapping[str, Any],
        gradient: Callable[..., Any] | None = None,
        *,
        dtype: DTypeLike = np.float64,
        namespace: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        snapshot: DataSnapshot | None = None,
    ) -> None:
        self._given = loss  # before the start is checked, which takes a derivative
        super().__init__(loss, params, gradient, dtype=dtype, namespace=namespace, data=data, snapshot=snapshot)

    @cached_property
    def _on_jax(self) -> Closure:
        return on_jax(self._given, snapshot=self.snapshot)

    def arrays(self, batch: Data) -> tuple[Any, Any]:
        if not isinstance(batch, Mapping):
            return NO_DATA
        return {name: value[None] for name, value in batch.items()}, NO_DATA[1]

    def task_loss(self, params: Arrays, x: Mapping[str, Either] | Either, y: Either) -> Any:
        binding = self._binding.at(x) if isinstance(x, Mapping) else self._binding
        return one_number(binding.call(self._on_jax.function, list(params.values())), self.dtype)

    def plain(self, x: Array, y: Array) -> Any:
        return self.value(self._start)

    def traced(self, theta: Array) -> Any:
        """The loss at (P,) with its gradient by JAX; None for a parameter of which it is seen not to depend."""
        self.check(None)
        point = HostPoint(self, theta, *NO_DATA)
        parts: list[Any] = list(self.layout.pieces(point.grad[0]))
        if not point.grad.any() and not self._depends():
            parts = [None] * len(parts)
        return _Traced(point.loss[0], parts)

    def _depends(self) -> bool:
        """Return True if the gradient depends on the parameters."""
        with precise(self.dtype):
            jaxpr = jax.make_jaxpr(lambda theta: self.task_gradient(theta, *NO_DATA)[1])(self._start).jaxpr
        needed = {id(v) for v in jaxpr.outvars}
        for equation in reversed(jaxpr.eqns):
            if any(id(v) in needed for v in equation.outvars):
                needed.update(id(v) for v in equation.invars)
        return id(jaxpr.invars[0]) in needed


class JaxModel(OnJax, ModelProblem):
    """A user's own model and loss, both written for one task."""

    what = "the model"

    def __init__(
        self,
        model: Callable[..., Any],
        loss: Callable[..., Any] | str | None,
        params: Mapping[str, Any],
        *,
        dtype: DTypeLike = np.float64,
        snapshot: DataSnapshot | None = None,
    ) -> None:
        super().__init__(model, loss, params, dtype=dtype, snapshot=snapshot)
        self._jax_model = on_jax(model, snapshot=self.snapshot)
        self._jax_loss = on_jax(as_function(loss), snapshot=self.snapshot)

    def _output_loss(self) -> Any:
        def one(prediction: jax.Array, target: jax.Array) -> Any:
            return one_number(self._jax_loss.function(prediction, target), self.dtype)

        return OutputLossOnJax(super()._output_loss(), one)

    def task_features(self, params: Arrays, x: Either) -> Any:
        return self._predicted(params, x)

    def task_loss(self, params: Arrays, x: Either, y: Either) -> Any:
        return one_number(self._jax_loss.function(self._predicted(params, x), y), self.dtype)

    def _predicted(self, params: Arrays, x: Either) -> Any:
        prediction = self._jax_model.function(params, x)
        return prediction[:, None] if jnp.shape(prediction) == (len(x),) else prediction

    def plain(self, x: Array, y: Array) -> Any:
        params = dict(zip(self.layout.shapes, self.layout.pieces(self._start.copy()), strict=True))
        prediction = self._plain_model.function(params, x)
        return self._plain_loss.function(prediction[:, None] if np.shape(prediction) == (len(x),) else prediction, y)

    @cached_property
    def _compiled(self) -> Any:
        return jax.jit(jax.vmap(lambda theta, x: self._predicted(self.layout.views(theta), x)))

    def predict(self, phi: ArrayLike, x: Array) -> Array:
        """Predictions (T, K, C)."""
        with precise(self.dtype):
            return np.asarray(self._compiled(np.asarray(self.flat(phi, len(x)), self.dtype), x))
