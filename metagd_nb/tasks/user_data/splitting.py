"""Random choices of tasks from a finite set: splits, and batches without repeats."""

from __future__ import annotations

import numpy as np

from ...core.errors import MetagdError

Array = np.ndarray


def split_numbers(n: int, fraction: float, seed: int, noun: str) -> tuple[Array, Array]:
    """Split the numbers 0…n−1 into two random parts.

    Parameters
    ----------
    n : int
    fraction : float
        Share of the first part.
    seed : int
    noun : str
        Name of the things that are numbered, for the message.

    Returns
    -------
    first, second : array of int

    Raises
    ------
    MetagdError
        For a fraction that leaves a part empty.
    """
    first = round(fraction * n)
    if not 0 < first < n:
        raise MetagdError(f"{fraction!r} of {n} {noun} leaves one side empty", "fraction")
    order = np.random.default_rng(seed).permutation(n)
    return order[:first], order[first:]


def draw_without_repeats(rng: np.random.Generator, size: int, batches: int, n: int) -> Array:
    """Draw batches of numbers below ``size``, without repeats in a batch where ``n`` ≤ ``size``.

    Parameters
    ----------
    rng : Generator
    size : int
    batches, n : int
        Number of batches, and of numbers in a batch.

    Returns
    -------
    array (batches·n,) of int
        With ``n`` > ``size`` every number is drawn about equally often.
    """
    keys = rng.random((batches, -(-n // size), size))
    return np.asarray(np.argsort(keys, axis=-1).reshape(batches, -1)[:, :n].reshape(-1))
