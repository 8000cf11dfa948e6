"""Array operations shared by NumPy and traced JAX arrays, beyond operators and array methods.

Nothing here imports JAX: a caller that holds one of its arrays has imported it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

_PLAIN = (np.ndarray, np.generic, float, int)


def namespace(x: np.typing.ArrayLike) -> ModuleType:
    """Return the module whose functions take ``x``: NumPy, ``jax.numpy``, or the one that a factored array names."""
    if isinstance(x, _PLAIN):
        return np
    if hasattr(x, "__array_namespace__"):
        return x.__array_namespace__()  # type: ignore[no-any-return]
    import jax.numpy  # traced, by a JAX that has the array API's name for arrays only

    return jax.numpy


def is_concrete(x: np.typing.ArrayLike) -> bool:
    """Return True if the values of ``x`` can be read; those of a traced array cannot."""
    return isinstance(x, _PLAIN)


def as_float(x: np.typing.ArrayLike) -> Any:
    """Convert ``x`` () to a Python float; a traced array is returned as it is."""
    return float(x) if isinstance(x, _PLAIN) else x


def while_loop(condition: Callable[[Any], Any], body: Callable[[Any], Any], state: tuple[Any, ...]) -> Any:
    """Repeat ``state = body(state)`` while ``condition(state)``; one compiled loop if the first array is traced.

    Parameters
    ----------
    condition, body : function
        Of the state.
    state : tuple of arrays

    Returns
    -------
    tuple of arrays
    """
    if namespace(state[0]) is not np:
        from jax import lax

        return lax.while_loop(condition, body, state)
    while condition(state):
        state = body(state)
    return state


def vjp(function: Callable[..., Any], *primals: np.typing.ArrayLike) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """Evaluate a function of traced arrays; return its value and its vector-Jacobian product.

    Parameters
    ----------
    function : function
    *primals : traced arrays
        Arguments of ``function``.

    Returns
    -------
    value : arrays
    pull : function
        Adjoints of ``value`` → adjoints of ``primals``.
    """
    import jax

    result: tuple[Any, Callable[[Any], tuple[Any, ...]]] = jax.vjp(function, *primals)
    return result


def segment_sum(index: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """Sum the ``weights`` (n,) that have the same ``index`` (n,): (size,), NumPy or traced.

    Parameters
    ----------
    index : array (n,) of int
    weights : array (n,)
    size : int
        Length of the result.

    Returns
    -------
    array (size,)
    """
    if namespace(weights) is np:
        return np.bincount(index, weights=weights, minlength=size).astype(weights.dtype)
    zeros = namespace(weights).zeros(size, weights.dtype)
    return zeros.at[index].add(weights)  # type: ignore[no-any-return]


def one_hot(numbers: np.ndarray, classes: int, dtype: np.typing.DTypeLike = float) -> np.ndarray:
    """Encode numbers of classes (…,) as (…, C) of zeros and ones.

    Parameters
    ----------
    numbers : array (…,) of int
    classes : int
        Number of classes C.
    dtype : dtype

    Returns
    -------
    array (…, C)
    """
    return np.asarray(numbers[..., None] == np.arange(classes)).astype(dtype)
