"""Choice of the backend of a run: NumPy, or JAX where it is installed and pays off."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..algorithms import Algorithm
from ..core.errors import MetagdError
from ..models.net import Net
from .settings import Settings

Given = Net | Callable[..., Any] | str | None  # as the user gave it
SAVED = 1e-4  # seconds that JAX saves at each evaluation, at least, where it is the quicker of the two
COMPILING, COMPILING_STEP = 2.0, 0.3  # seconds, and for each step of an inner loop
SMALL = 40_000  # tasks times parameters: beyond it NumPy's closed forms are the quicker on one processor


def has_jax() -> bool:
    """Return True if JAX is installed, without importing it."""
    return importlib.util.find_spec("jax") is not None


def resolve_backend(settings: Settings, algorithm: Algorithm, given_model: Given, given_loss: Given) -> Settings:
    """Return settings with an available backend: ``auto`` becomes JAX where it is installed and saves time.

    JAX must save more than twice the time of compiling. NumPy calls a user's function task by task, so JAX saves time
    for each task; with a built-in model only small arrays are quicker on JAX. The figures were measured
    (tests/bench/README.md). Several devices always need JAX.

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


def _pays(settings: Settings, algorithm: Algorithm, model: Given, loss: Given) -> bool:
    tasks = getattr(algorithm, "meta_batch_size", 1)
    inner = getattr(algorithm, "inner_steps", getattr(algorithm, "horizon", 0))
    traced = callable(loss) or (callable(model) and not isinstance(model, Net))
    if not traced and not (
        isinstance(model, Net) and model.closed_form() == "plain" and tasks * model.layout.size <= SMALL
    ):
        return False
    saves = SAVED * (tasks if traced else 1) * (inner + 1) * settings.steps
    return algorithm.compiles and saves > 2 * (COMPILING + COMPILING_STEP * inner)
