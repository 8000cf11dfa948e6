"""Outer optimizers as pure pairs: ``init(theta) → state`` and ``update(grad, state, lr) → (step, state)``.

The new parameters are ``theta − step``. State is a plain tuple and is never changed in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..core.array_api import namespace

State = tuple[Any, ...]


class Optimizer(NamedTuple):
    """One optimizer: how it starts and how it turns a gradient (P,) into a step (P,)."""

    init: Callable[[np.ndarray], State]
    update: Callable[[np.ndarray, State, float], tuple[np.ndarray, State]]


def sgd() -> Optimizer:
    """θ ← θ − η g."""
    return Optimizer(lambda theta: (), lambda grad, state, lr: (lr * grad, state))


def momentum(mass: float = 0.9) -> Optimizer:
    """Heavy ball (Polyak 1964): m ← βm + g, θ ← θ − ηm."""

    def update(grad: np.ndarray, state: State, lr: float) -> tuple[np.ndarray, State]:
        m = mass * state[0] + grad
        return lr * m, (m,)

    return Optimizer(lambda theta: (np.zeros_like(theta),), update)


def nesterov(mass: float = 0.9) -> Optimizer:
    """Nesterov's momentum as Sutskever et al. 2013 write it: m ← βm + g, θ ← θ − η(g + βm)."""

    def update(grad: np.ndarray, state: State, lr: float) -> tuple[np.ndarray, State]:
        m = mass * state[0] + grad
        return lr * (grad + mass * m), (m,)

    return Optimizer(lambda theta: (np.zeros_like(theta),), update)


def rmsprop(decay: float = 0.99, eps: float = 1e-8) -> Optimizer:
    """RMSprop (Tieleman & Hinton 2012): v ← ρv + (1 − ρ)g², θ ← θ − ηg/(√v + ε), without a bias correction."""

    def update(grad: np.ndarray, state: State, lr: float) -> tuple[np.ndarray, State]:
        v = decay * state[0] + (1 - decay) * (grad * grad)
        return lr * grad / (namespace(v).sqrt(v) + eps), (v,)

    return Optimizer(lambda theta: (np.zeros_like(theta),), update)


def adam(beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """Adam (Kingma & Ba 2015, algorithm 1), with the bias corrections folded into the rate as its §2 proposes.

    ``eps`` is scaled along, so that the path is that of algorithm 1 and not of its shortcut.
    """

    def update(grad: np.ndarray, state: State, lr: float) -> tuple[np.ndarray, State]:
        m, v, c, d = state
        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * (grad * grad)
        c = beta1 * c + (1 - beta1)  # 1 − β₁ᵗ: what m would be of a gradient of ones
        d = beta2 * d + (1 - beta2)
        root = d**0.5
        return (lr * root / c) * m / (namespace(v).sqrt(v) + eps * root), (m, v, c, d)

    return Optimizer(lambda theta: (np.zeros_like(theta), np.zeros_like(theta), 0.0, 0.0), update)


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adam": adam,
}
