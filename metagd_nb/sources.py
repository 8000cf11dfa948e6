"""Which kind of problem stands for what a person handed over, on NumPy and on JAX."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .algorithms import Algorithm
from .builtin import LeastSquares, NetProblem, QuadraticProblem
from .errors import MetagdError
from .losses import LOSSES
from .models import Net
from .stops import Settings
from .tasks import Batch, Quadratics

SAVED = 1e-4  # seconds that JAX saves at each evaluation, at least, where it is the quicker of the two
COMPILING, COMPILING_STEP = 2.0, 0.3  # seconds, and for each step of an inner loop
SMALL = 40_000  # tasks times parameters: beyond it NumPy's closed forms are the quicker on one processor


def has_jax() -> bool:
    """Whether the extra is installed; without importing it."""
    return importlib.util.find_spec("jax") is not None


def settled(settings: Settings, algorithm: Algorithm, given_model: Any, given_loss: Any) -> Settings:
    """Settings with a backend that is there: ``auto`` is JAX where it is installed and pays off.

    That is where what it saves is more than twice what compiling takes. NumPy calls a user's function task by task,
    so there JAX saves for each task; with a built-in model only small arrays are quicker on JAX. The figures were
    measured (tests/bench/README.md). Several devices are a reason of their own.

    Raises
    ------
    MetagdError
        For JAX where it is not installed, and for devices on NumPy.
    """
    if settings.backend == "auto":
        pays = has_jax() and (settings.devices > 1 or _pays(settings, algorithm, given_model, given_loss))
        settings = replace(settings, backend="jax" if pays else "numpy")
    if settings.backend == "jax" and not has_jax():
        raise MetagdError("'jax' is not installed here; pip install 'metagd-nb[jax]'", "backend")
    if settings.backend == "numpy" and settings.devices > 1:
        raise MetagdError(f"{settings.devices} need the backend jax", "devices")
    return settings


def _pays(settings: Settings, algorithm: Algorithm, model: Any, loss: Any) -> bool:
    tasks = getattr(algorithm, "meta_batch_size", 1)
    inner = getattr(algorithm, "inner_steps", getattr(algorithm, "horizon", 0))
    traced = callable(loss) or (callable(model) and not isinstance(model, Net))
    if not traced and not (isinstance(model, Net) and model.plain and tasks * model.layout.size <= SMALL):
        return False
    saves = SAVED * (tasks if traced else 1) * (inner + 1) * settings.steps
    return algorithm.compiles and saves > 2 * (COMPILING + COMPILING_STEP * inner)


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
