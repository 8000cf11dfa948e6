"""Precision of JAX within a block of code, in its thread only."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np


def precise(dtype: np.typing.DTypeLike) -> AbstractContextManager[Any]:
    """JAX in float64, or in float32, whatever the user has set: that is not changed, nor seen from another thread."""
    enable: Any = getattr(jax, "enable_x64", None)
    if enable is None:  # where JAX is older
        enable = importlib.import_module("jax.experimental").enable_x64
    context: AbstractContextManager[Any] = enable(np.dtype(dtype) == np.float64)
    return context
