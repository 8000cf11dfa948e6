"""Learned inner rates: which parameters and steps share one rate."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..core.array_api import namespace, segment_sum
from ..core.parameters import ParameterLayout

SHARING = ("no", "run", "layer", "parameter", "step", "step-layer")


@lru_cache(maxsize=16)
def groups(layout: ParameterLayout, sharing: str, steps: int) -> np.ndarray:
    """Return the index of the rate that each step and parameter uses: (S, P) of integers, S = 1 if all steps share.

    ``layer`` is one rate for each named slice (Antoniou et al. 2019, LSLR).
    """
    if sharing == "parameter":
        return np.arange(layout.size)[None]
    slices = np.empty(layout.size, int)
    for i, part in enumerate(layout.slices.values()):
        slices[part] = i if "layer" in sharing else 0
    rows = max(steps, 1) if "step" in sharing else 1
    return np.asarray(slices + (slices.max() + 1) * np.arange(rows)[:, None])


def n_rates(layout: ParameterLayout, sharing: str, steps: int) -> int:
    """Return the number R of learned rates."""
    return int(groups(layout, sharing, steps).max()) + 1


def shared_start(layout: ParameterLayout, sharing: str, steps: int, rate: np.ndarray) -> np.ndarray:
    """Return initial rates (R,): each is the mean of the rates set (P,) over the parameters that share it."""
    index = groups(layout, sharing, steps)
    each = np.broadcast_to(rate, index.shape)
    return np.bincount(index.ravel(), weights=each.ravel()) / np.bincount(index.ravel())


def spread(layout: ParameterLayout, sharing: str, trained: int, learned: np.ndarray, steps: int) -> list[np.ndarray]:
    """Return the rates (P,) of each of ``steps`` steps from the learned rates (R,).

    Steps beyond the ``trained`` ones use the rates of the last.
    """
    rates = learned[groups(layout, sharing, trained)]  # (S, P)
    return [rates[min(j, len(rates) - 1)] for j in range(steps)]


def gather(layout: ParameterLayout, sharing: str, steps: int, per_step: list[np.ndarray]) -> np.ndarray:
    """Return the gradient (R,) in the learned rates: the sum of the gradients (P,) of each step that use a rate."""
    index, size = groups(layout, sharing, steps), n_rates(layout, sharing, steps)
    if not per_step:
        return np.zeros(size)
    full = namespace(per_step[0]).stack(per_step)  # (k, P)
    if len(index) == 1:
        full = full.sum(axis=0, keepdims=True)
    shared: np.ndarray = segment_sum(index.ravel(), full.ravel(), size)
    return shared
