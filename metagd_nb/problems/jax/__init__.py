"""Problems whose derivatives JAX compiles; needs the ``jax`` extra.

Read `problems` first: each class is a problem of another package with its derivatives exchanged.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np


def precise(dtype: np.typing.DTypeLike) -> AbstractContextManager[Any]:
    """Set JAX to float64 or float32 within a block, in this thread only; the user's own setting is unchanged."""
    enable: Any = getattr(jax, "enable_x64", None)
    if enable is None:  # where JAX is older
        enable = importlib.import_module("jax.experimental").enable_x64
    context: AbstractContextManager[Any] = enable(np.dtype(dtype) == np.float64)
    return context
