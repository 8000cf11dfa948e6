"""Generators of series: each draws values (tasks, length), with numbers of its own for every series."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def damped(rng: np.random.Generator, tasks: int, length: int) -> np.ndarray:
    """Draw damped oscillations a·exp(−t/τ)·sin(2πt/p + φ), p from 5 to 20 steps, τ from 10 to 60."""
    a, phase, period, tau = _numbers(rng, tasks, (0.5, 2.0), (0.0, 2 * np.pi), (5.0, 20.0), (10.0, 60.0))
    t = np.arange(length)
    return np.asarray(a * np.exp(-t / tau) * np.sin(2 * np.pi * t / period + phase))


def modulated(rng: np.random.Generator, tasks: int, length: int) -> np.ndarray:
    """Draw modulated oscillations (1 + m·sin(2πt/q))·sin(2πt/p + φ), q from 3 to 8 times p."""
    m, phase, period, slower = _numbers(rng, tasks, (0.2, 0.9), (0.0, 2 * np.pi), (5.0, 12.0), (3.0, 8.0))
    t = np.arange(length)
    return np.asarray((1 + m * np.sin(2 * np.pi * t / (slower * period))) * np.sin(2 * np.pi * t / period + phase))


def ar2(rng: np.random.Generator, tasks: int, length: int) -> np.ndarray:
    """Draw y_t = 2r·cos(ω)·y_{t−1} − r²·y_{t−2} + noise: roots r·exp(±iω), r from .6 to .98, ω from .1π to .6π."""
    r, angle = _numbers(rng, tasks, (0.6, 0.98), (0.1 * np.pi, 0.6 * np.pi))
    burn = 100  # steps until the start is forgotten: .98¹⁰⁰ = .13, and its own sign is random
    noise = rng.standard_normal((burn + length, tasks))
    one, two, y = (2 * r * np.cos(angle))[:, 0], (r * r)[:, 0], np.zeros((burn + length, tasks))
    for t in range(2, burn + length):
        y[t] = one * y[t - 1] - two * y[t - 2] + noise[t]
    return y[burn:].T.copy()


def logistic(rng: np.random.Generator, tasks: int, length: int) -> np.ndarray:
    """Draw logistic maps y_t = r·y_{t−1}(1 − y_{t−1}), r from 3.6 to 4."""
    (r,) = _numbers(rng, tasks, (3.6, 4.0))
    y = np.empty((tasks, length))
    now = rng.uniform(0.1, 0.9, tasks)
    for t in range(length):
        y[:, t] = now
        now = r[:, 0] * now * (1 - now)
    return y


def walk(rng: np.random.Generator, tasks: int, length: int) -> np.ndarray:
    """Draw random walks with drift: steps N(μ, 1), μ ~ N(0, 0.5²)."""
    drift = 0.5 * rng.standard_normal((tasks, 1))
    return np.asarray(np.cumsum(drift + rng.standard_normal((tasks, length)), axis=1))


def _numbers(rng: np.random.Generator, tasks: int, *ranges: tuple[float, float]) -> list[np.ndarray]:
    """Draw uniform numbers (T, 1) for each range."""
    return [rng.uniform(low, high, (tasks, 1)) for low, high in ranges]


GENERATORS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "damped": damped,
    "modulated": modulated,
    "ar2": ar2,
    "logistic": logistic,
    "walk": walk,
}
