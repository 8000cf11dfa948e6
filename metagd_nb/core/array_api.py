"""Array operations shared by NumPy and traced JAX arrays, beyond operators and array methods.

Nothing here imports JAX: a caller that holds one of its arrays has imported it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_PLAIN = (np.ndarray, np.generic, float, int)


def namespace(x: Any) -> Any:
    """The module whose functions take ``x``: ``numpy``, or ``jax.numpy`` for an array of JAX's."""
    if isinstance(x, _PLAIN):
        return np
    if hasattr(x, "__array_namespace__"):
        return x.__array_namespace__()
    import jax.numpy  # traced, by a JAX that has the array API's name for arrays only

    return jax.numpy


def is_concrete(x: Any) -> bool:
    """Whether the value may be asked for; that of a traced array may not."""
    return isinstance(x, _PLAIN)


def as_float(x: Any) -> Any:
    """``x`` as a Python float; as it is where it is traced."""
    return float(x) if isinstance(x, _PLAIN) else x


def while_loop(going: Callable[[Any], Any], step: Callable[[Any], Any], state: tuple[Any, ...]) -> Any:
    """``while going(state): state = step(state)``, one compiled loop where the state's first array is traced."""
    if namespace(state[0]) is not np:
        from jax import lax

        return lax.while_loop(going, step, state)
    while going(state):
        state = step(state)
    return state


def vjp(function: Callable[..., Any], *given: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """What ``function`` gives of arrays that JAX traces, and its pull-back: adjoints of what it gave → of ``given``."""
    import jax

    found: tuple[Any, Callable[[Any], tuple[Any, ...]]] = jax.vjp(function, *given)
    return found


def segment_sum(index: np.ndarray, weights: Any, size: int) -> Any:
    """(size,): the sum of those ``weights`` whose entry of ``index`` names a place."""
    if namespace(weights) is np:
        return np.bincount(index, weights=weights, minlength=size).astype(weights.dtype)
    return namespace(weights).zeros(size, weights.dtype).at[index].add(weights)


def one_hot(numbers: np.ndarray, classes: int, dtype: np.typing.DTypeLike = float) -> np.ndarray:
    """Numbers of classes (…,) as (…, C) of zeros and ones."""
    return np.asarray(numbers[..., None] == np.arange(classes)).astype(dtype)
