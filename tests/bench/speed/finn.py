"""The setting of Finn et al. (2017), §5.1, for those who import nothing of the kit."""

from __future__ import annotations

import numpy as np

TASKS, SHOTS, QUERIES, HIDDEN, ALPHA, BETA = 25, 10, 10, 40, 0.01, 1e-3
Array = np.ndarray


def numpy_sample(rng: np.random.Generator) -> tuple[Array, ...]:
    """sx, sy, qx, qy (T, K, 1) in float32."""
    amplitude, phase = rng.uniform(0.1, 5, (TASKS, 1, 1)), rng.uniform(0, np.pi, (TASKS, 1, 1))
    x = rng.uniform(-5, 5, (TASKS, SHOTS + QUERIES, 1))
    y = amplitude * np.sin(x - phase)
    x, y = x.astype(np.float32), y.astype(np.float32)
    return x[:, :SHOTS], y[:, :SHOTS], x[:, SHOTS:], y[:, SHOTS:]
