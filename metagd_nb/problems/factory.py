"""Build the `Problem` for the user's model, loss and data, on NumPy or on JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import MetagdError
from ..models.losses import LOSSES
from ..models.net import Net
from ..tasks import Batch, Quadratics
from .base import Problem
from .capture.signature import check_called_with
from .closed_form.least_squares import LeastSquares
from .closed_form.net import NetProblem
from .closed_form.quadratic import QuadraticProblem

if TYPE_CHECKING:
    from .autograd.loss import LossProblem


def net(model: Net, loss: Callable[..., Any] | str | None, backend: str, dtype: str) -> NetProblem:
    """A built-in model with a built-in loss or the user's own of its predictions."""
    if callable(loss):
        from .autograd.model import UserOutputLoss

        _check_loss(loss)
        inner: Any = UserOutputLoss(loss)
    else:
        inner = LOSSES[loss or "mse"]
    if backend == "jax":
        from .jax.problems import JaxNet

        return JaxNet(model, loss, inner, dtype)
    return NetProblem(model, inner, dtype)


def quadratic(tasks: Quadratics, backend: str, dtype: str) -> QuadraticProblem:
    """The tasks of `quadratics`."""
    if backend == "jax":
        from .jax.problems import JaxQuadratic

        return JaxQuadratic(tasks, dtype)
    return QuadraticProblem(tasks, dtype)


def squares(model: Net, batch: Batch, backend: str, dtype: str) -> LeastSquares:
    """A linear model on all rows of one table."""
    if backend == "jax":
        from .jax.problems import JaxSquares

        return JaxSquares(model, batch, dtype)
    return LeastSquares(model, batch, dtype)


def loss(
    backend: str,
    dtype: str,
    function: Callable[..., Any],
    params: Mapping[str, Any],
    gradient: Callable[..., Any] | None = None,
    namespace: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> LossProblem:
    """A user's loss over named parameters; arguments as those of ``LossProblem``."""
    if backend == "jax":
        from .jax.problems import JaxLoss as Chosen
    else:
        from .autograd.loss import LossProblem as Chosen  # type: ignore[assignment]
    return Chosen(function, params, gradient, dtype=dtype, namespace=namespace, data=data)


def model(
    backend: str,
    dtype: str,
    function: Callable[..., Any],
    loss: Callable[..., Any] | str | None,
    params: Mapping[str, Any],
) -> Problem:
    """A user's own model; arguments as those of ``ModelProblem``."""
    check_called_with(function, "model", ("params", "x"))
    if callable(loss):
        _check_loss(loss)
    if backend == "jax":
        from .jax.problems import JaxModel as ModelProblem
    else:
        from .autograd.model import ModelProblem  # type: ignore[assignment]
    return ModelProblem(function, loss, params, dtype=dtype)


def _check_loss(loss: Callable[..., Any]) -> None:
    """Refuse a loss of other arguments than these two, or one that makes (K, K) of predictions and targets (K, 1)."""
    from .capture.broadcasts import refuse_squares, watched
    from .capture.snapshot import DataSnapshot

    check_called_with(loss, "loss", ("prediction", "target"))
    made_up = np.random.default_rng(0).random((2, 7, 1))
    refuse_squares(loss, DataSnapshot(), lambda copy: copy(*map(watched, made_up)))


def check_shapes(net: Net, inputs: int, outputs: int | None, whose: str, what: str = "targets") -> None:
    """Check that a net has the inputs and outputs of the data.

    Parameters
    ----------
    net : Net
    inputs : int
    outputs : int or None
        None if only the inputs matter.
    whose, what : str
        Words for the data and for their outputs.

    Raises
    ------
    MetagdError
        For other numbers, naming both.
    """
    if net.inputs != inputs:
        raise MetagdError(f"{net!r} takes {net.inputs} inputs, {whose} have {inputs}", "model")
    if outputs is not None and net.outputs != outputs:
        raise MetagdError(f"{net!r} gives {net.outputs} outputs, {whose} have {outputs} {what}", "model")
