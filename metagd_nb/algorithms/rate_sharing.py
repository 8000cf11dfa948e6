"""Inner rates that are learned along with θ: which coordinates and steps share one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..core.array_api import namespace, segment_sum
from ..core.parameters import ParameterLayout

SHARING = ("no", "run", "layer", "parameter", "step", "step-layer")


@lru_cache(maxsize=16)
def groups(layout: ParameterLayout, sharing: str, steps: int) -> np.ndarray:
    """Index of the rate that each step and coordinate uses: (S, P) of whole numbers, S = 1 where steps share.

    ``layer`` is one rate for each named slice, as in Antoniou et al. 2019 (LSLR).
    """
    if sharing == "parameter":
        return np.arange(layout.size)[None]
    slices = np.empty(layout.size, int)
    for i, part in enumerate(layout.slices.values()):
        slices[part] = i if "layer" in sharing else 0
    rows = max(steps, 1) if "step" in sharing else 1
    return np.asarray(slices + (slices.max() + 1) * np.arange(rows)[:, None])


def shared_start(layout: ParameterLayout, sharing: str, steps: int, rate: np.ndarray) -> np.ndarray:
    """Starting rates (R,): the mean, over those who share it, of the rate (P,) that was set."""
    index = groups(layout, sharing, steps)
    everywhere = np.broadcast_to(rate, index.shape)
    count = np.bincount(index.ravel())
    return np.bincount(index.ravel(), weights=everywhere.ravel()) / count


def spread(layout: ParameterLayout, sharing: str, made: int, learned: np.ndarray, steps: int) -> list[np.ndarray]:
    """The rates (P,) of each of ``steps`` steps, from the shared ones (R,) of ``made``; later steps use the last."""
    rates = learned[groups(layout, sharing, made)]  # (S, P)
    return [rates[min(j, len(rates) - 1)] for j in range(steps)]


def gather(layout: ParameterLayout, sharing: str, steps: int, per_step: list[np.ndarray]) -> np.ndarray:
    """Gradient (R,) in the shared rates from that in each step's rates (P,): those who share a rate add up."""
    index = groups(layout, sharing, steps)
    if not per_step:
        return np.zeros(int(index.max()) + 1)  # no step, no gradient
    full = namespace(per_step[0]).stack(per_step)  # (k, P)
    if len(index) == 1:
        full = full.sum(axis=0, keepdims=True)
    shared: np.ndarray = segment_sum(index.ravel(), full.ravel(), int(index.max()) + 1)
    return shared
