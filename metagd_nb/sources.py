"""Which kind of problem stands for what a person handed over, on NumPy and on JAX."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from .builtin import LeastSquares, NetProblem, QuadraticProblem
from .errors import MetagdError
from .losses import LOSSES
from .models import Net
from .stops import Settings
from .tasks import Batch, Quadratics


def need_jax() -> None:
    """Refuse, in one line, where JAX is not installed."""
    if importlib.util.find_spec("jax") is None:
        raise MetagdError("'jax' is not installed here; pip install 'metagd-nb[jax]'", "backend")


def net(model: Net, loss: Callable[..., Any] | str | None, settings: Settings) -> NetProblem:
    """A built-in model with a built-in loss or the user's own of its predictions."""
    if callable(loss):
        from .usermodel import OutputLoss

        inner: Any = OutputLoss(loss)
    else:
        inner = LOSSES[loss or "mse"]
    if settings.backend == "jax":
        from .onjax import JaxNet

        return JaxNet(model, loss, inner, settings.dtype)
    return NetProblem(model, inner, settings.dtype)


def quadratic(tasks: Quadratics, settings: Settings) -> QuadraticProblem:
    """The tasks of `quadratics`."""
    if settings.backend == "jax":
        from .onjax import JaxQuadratic

        return JaxQuadratic(tasks, settings.dtype)
    return QuadraticProblem(tasks, settings.dtype)


def squares(model: Net, batch: Batch, settings: Settings) -> LeastSquares:
    """A linear model on all rows of one table."""
    if settings.backend == "jax":
        from .onjax import JaxSquares

        return JaxSquares(model, batch, settings.dtype)
    return LeastSquares(model, batch, settings.dtype)


def loss(settings: Settings, *given: Any, **more: Any) -> Any:
    """A user's loss over named parameters; arguments as those of ``LossProblem``."""
    if settings.backend == "jax":
        from .onjax import JaxLoss as LossProblem
    else:
        from .autodiff import LossProblem  # type: ignore[assignment]
    return LossProblem(*given, dtype=settings.dtype, **more)


def model(settings: Settings, *given: Any) -> Any:
    """A user's own model; arguments as those of ``ModelProblem``."""
    if settings.backend == "jax":
        from .onjax import JaxModel as ModelProblem
    else:
        from .usermodel import ModelProblem  # type: ignore[assignment]
    return ModelProblem(*given, dtype=settings.dtype)
