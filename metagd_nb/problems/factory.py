"""Build the `Problem` for the user's model, loss and data, on NumPy or on JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..models.losses import LOSSES
from ..models.net import Net
from ..tasks import Batch, Quadratics
from .closed_form.builtin import LeastSquares, NetProblem, QuadraticProblem


def net(model: Net, loss: Callable[..., Any] | str | None, backend: str, dtype: str) -> NetProblem:
    """A built-in model with a built-in loss or the user's own of its predictions."""
    if callable(loss):
        from .autograd.model import UserOutputLoss

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


def loss(backend: str, dtype: str, *given: Any, **more: Any) -> Any:
    """A user's loss over named parameters; arguments as those of ``LossProblem``."""
    if backend == "jax":
        from .jax.problems import JaxLoss as LossProblem
    else:
        from .autograd.loss import LossProblem  # type: ignore[assignment]
    return LossProblem(*given, dtype=dtype, **more)


def model(backend: str, dtype: str, *given: Any) -> Any:
    """A user's own model; arguments as those of ``ModelProblem``."""
    if backend == "jax":
        from .jax.problems import JaxModel as ModelProblem
    else:
        from .autograd.model import ModelProblem  # type: ignore[assignment]
    return ModelProblem(*given, dtype=dtype)
