"""Products with the weights of a layer, on buffers that are used again."""

from __future__ import annotations

import numpy as np

from .buffers import Array, BufferViews, Do


def times(do: Do, h: BufferViews, w: Array, out: BufferViews) -> None:
    """Write h (T, K, i) times w to ``out``; w is (i, o) shared by all tasks, for one large product, or (T, i, o)."""
    if w.ndim == 2:
        do(np.dot, h.flat, w, out.flat)
    elif w.shape[-2] == 1:  # a column times a row
        do(np.multiply, h.each, w, out.each)
    else:
        do(np.matmul, h.each, w, out.each)


def multiply_gram(do: Do, c: float, gram: Array, factor: Array, out: Array, extra: Array, add: bool) -> None:
    """Write c·gram·factor to ``out``, or add it."""
    if c != 1:
        scaled = np.empty_like(gram)
        do(np.multiply, c, gram, scaled)
        gram = scaled
    do(np.matmul, gram, factor, extra if add else out)
    if add:
        do(np.add, out, extra, out)
