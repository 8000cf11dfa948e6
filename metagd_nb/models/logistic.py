"""A small classifier: multinomial logistic regression, and the temperature that makes its probabilities honest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.array_api import namespace

Array = np.ndarray
CLIP = 4.0  # standard deviations: a task unlike all others must not shout the rest down


def softmax(logits: Array) -> Array:
    """Probabilities (T, G) of logits (T, G)."""
    e = namespace(logits).exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = e / e.sum(axis=1, keepdims=True)
    return shares


def log_loss(logits: Array, kind: Array) -> float:
    """Mean of −log of the probability of what it was, ``kind`` (T,)."""
    top = logits.max(axis=1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float((log_sum - logits[np.arange(len(kind)), kind]).mean())


def objective(weights: Array, x: Array, kind: Array, decay: float) -> tuple[float, Array]:
    """Log-loss + decay/2·‖W‖² at ``weights`` (E, G), and its gradient (E, G)."""
    logits = x @ weights
    off = softmax(logits)
    off[np.arange(len(kind)), kind] -= 1
    return log_loss(logits, kind) + decay / 2 * float((weights**2).sum()), x.T @ off / len(x) + decay * weights


def fit_logistic(x: Array, kind: Array, kinds: int, decay: float = 1e-3, steps: int = 200, tol: float = 1e-3) -> Array:
    """Weights (E, G) of the regularised maximum-likelihood classifier.

    Nesterov's accelerated gradient under the bound of Böhning (1992), H ⪯ ½ XᵀX/n for every W: in that
    metric a step of length one can never overshoot. Momentum begins anew where it points uphill.

    Parameters
    ----------
    x : array (n, E)
    kind : array (n,) of whole numbers below ``kinds``
    decay : float
        Weight of the squared weights; > 0 makes the minimum unique.
    tol : float
        Ends when no entry of the gradient is larger.
    """
    bound = x.T @ x / (2 * len(x)) + decay * np.eye(x.shape[1])
    inverse = np.linalg.inv(bound)
    at = ahead = np.zeros((x.shape[1], kinds))
    momentum = 1.0
    for _ in range(steps):
        grad = objective(ahead, x, kind, decay)[1]
        if np.abs(grad).max() < tol:
            return ahead
        new = ahead - inverse @ grad
        if (grad * (new - at)).sum() > 0:
            momentum = 1.0
        further = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, at, momentum = new + (momentum - 1) / further * (new - at), new, further
    return at


def temperature(logits: Array, kind: Array) -> float:
    """The t > 0 for which softmax(logits/t) has the least log-loss on held-out tasks (Guo et al. 2017, §4.2).

    The log-loss is convex in 1/t: a golden-section search over t between 1/20 and 20.
    """
    golden = (np.sqrt(5) - 1) / 2
    low, high = -np.log(20), np.log(20)
    for _ in range(60):
        one, other = high - golden * (high - low), low + golden * (high - low)
        if log_loss(logits / np.exp(one), kind) < log_loss(logits / np.exp(other), kind):
            high = other
        else:
            low = one
    return float(np.exp((low + high) / 2))


def expansion(features: int) -> int:
    """E for F features."""
    return 1 + features + features * (features + 1) // 2


class Classifier(NamedTuple):
    """Logistic regression on a one, the features in standard deviations (none beyond ``CLIP``), and their products.

    Attributes
    ----------
    mean, scale : array (F,)
        Of the features.
    weights : array (E, G)
        Divided by the temperature already.
    """

    mean: Array
    scale: Array
    weights: Array

    @classmethod
    def learned(cls, seen: Array, seen_kind: Array, held: Array, held_kind: Array, kinds: int) -> Classifier:
        """Fit to features (n, F) and kinds (n,) of training tasks; the temperature is fitted to held-out tasks."""
        unfit = cls(seen.mean(0), seen.std(0) + 1e-9, np.zeros((expansion(seen.shape[1]), kinds)))
        weights = fit_logistic(unfit.read(seen), seen_kind, kinds)
        return unfit._replace(weights=weights / temperature(unfit.read(held) @ weights, held_kind))

    def read(self, features: Array) -> Array:
        """Expand features (T, F) to the classifier's inputs (T, E)."""
        xp = namespace(features)
        own = xp.clip((features - self.mean) / self.scale, -CLIP, CLIP)
        i, j = np.triu_indices(own.shape[1])
        read: Array = xp.concatenate([xp.ones((len(own), 1)), own, own[:, i] * own[:, j]], axis=1)
        return read

    def probabilities(self, features: Array) -> Array:
        """Predict the probabilities (T, G) of the kinds from features (T, F)."""
        return softmax(self.read(features) @ self.weights)
