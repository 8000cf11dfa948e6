"""Gaussian prior of the weights of a linear model, shared by many tasks, and each task's posterior."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray
FLOOR = 1e-9  # least noise variance, as a share of the targets' mean square


class Belief(NamedTuple):
    """Gaussian distribution of the last layer's weights, one for each output.

    Attributes
    ----------
    mean : array (…, C, H)
    covariance : array (…, C, H, H)
    noise : array (C,)
        Variance of the noise.
    """

    mean: Array
    covariance: Array
    noise: Array


def condition(prior: Belief, h: Array, y: Array) -> tuple[Belief, Array]:
    """Posterior of each task's weights, and log evidence of its targets.

    G = h S hᵀ + σ²I is the covariance of the targets. The gain S hᵀG⁻¹ needs no inverse of an H×H matrix, so features
    that are always zero, or more features than points, are allowed.

    Parameters
    ----------
    prior : Belief
    h : array (T, K, H)
        Features.
    y : array (T, K, C)
        Targets.

    Returns
    -------
    posterior : Belief
        Of T tasks.
    evidence : array (T, C)
        Log evidence.
    """
    mean, cov, noise = prior
    h = h[:, None]  # (T, 1, K, H)
    off = np.swapaxes(y, 1, 2)[..., None] - h @ mean[..., None]  # (T, C, K, 1)
    spread = h @ cov  # (T, C, K, H)
    gram = spread @ np.swapaxes(h, -1, -2) + noise[:, None, None] * np.eye(h.shape[-2])
    solved = np.linalg.solve(gram, np.concatenate([spread, off], axis=-1))  # G⁻¹(h S), G⁻¹(y − h m)
    gain, pulled = np.swapaxes(solved[..., :-1], -1, -2), solved[..., -1:]
    posterior = Belief(mean + (gain @ off)[..., 0], cov - gain @ spread, noise)
    logdet = 2 * np.log(np.diagonal(np.linalg.cholesky(gram), axis1=-2, axis2=-1)).sum(axis=-1)
    squares = (off * pulled).sum(axis=(-1, -2))
    return posterior, -0.5 * (squares + logdet + h.shape[-2] * np.log(2 * np.pi))


def fit_prior(h: Array, y: Array, iterations: int = 100, tol: float = 1e-6) -> tuple[Belief, Array]:
    """Fit the prior of largest evidence, by expectation maximization; the evidence never falls.

    Parameters
    ----------
    h : array (T, K, H)
        Features.
    y : array (T, K, C)
        Targets.
    iterations : int
        Largest number of iterations.
    tol : float
        The fit ends when the log evidence of a target changes by less.

    Returns
    -------
    prior : Belief
    evidence : array (iterations,)
        Log evidence of all targets.

    References
    ----------
    A. P. Dempster, N. M. Laird and D. B. Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.
    """
    points, width = h.shape[0] * h.shape[1], h.shape[-1]
    flat_h, flat_y = h.reshape(points, width), y.reshape(points, -1)
    mean = np.linalg.lstsq(flat_h, flat_y, rcond=None)[0].T  # (C, H): all tasks pooled
    square = np.maximum(((flat_y - flat_h @ mean.T) ** 2).mean(axis=0), FLOOR)  # (C,)
    size = max(float((flat_h**2).sum(axis=1).mean()), FLOOR)
    floor = FLOOR * np.maximum((flat_y**2).mean(axis=0), FLOOR)
    belief = Belief(mean, square[:, None, None] / size * np.eye(width), np.maximum(0.1 * square, floor))
    evidence: list[float] = []
    for _ in range(iterations):
        posterior, found = condition(belief, h, y)
        evidence.append(float(found.sum()))
        if len(evidence) > 1 and evidence[-1] - evidence[-2] < tol * y.size:
            break
        belief = _maximize(posterior, h, y, floor)
    return belief, np.array(evidence)


def _maximize(posterior: Belief, h: Array, y: Array, floor: Array) -> Belief:
    """Maximization step: moments of the tasks' weights and of the residuals."""
    mean = posterior.mean.mean(axis=0)  # (C, H)
    off = posterior.mean - mean
    cov = posterior.covariance.mean(axis=0) + np.einsum("tch,tcg->chg", off, off) / len(off)
    left = y - h @ np.swapaxes(posterior.mean, 1, 2)  # (T, K, C)
    unsure = np.einsum("thg,tchg->c", np.swapaxes(h, 1, 2) @ h, posterior.covariance)
    noise = ((left**2).sum(axis=(0, 1)) + unsure) / (h.shape[0] * h.shape[1])
    return Belief(mean, cov, np.maximum(noise, floor))
