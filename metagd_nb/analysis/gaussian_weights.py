"""Gaussian prior of the weights of a linear model, shared by many tasks, and each task's posterior."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray
FLOOR = 1e-9  # least noise variance, as a share of the targets' mean square
TINY = 1e-14  # least eigenvalue of a covariance, as a share of its largest
FARTHEST = 64.0  # extrapolation at most, in steps


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


class PriorFit(NamedTuple):
    """Result of `fit_prior`.

    Attributes
    ----------
    prior : Belief
    evidence : array (iterations,)
        Log evidence of all targets, plus the log density of the covariance where there are ``pseudo_tasks``.
    converged : bool
        False if the evidence of a target still changed by ``tol`` or more.
    """

    prior: Belief
    evidence: Array
    converged: bool


def fit_prior(
    h: Array,
    y: Array,
    iterations: int = 100,
    tol: float = 1e-6,
    inside: Array | None = None,
    pseudo_tasks: float = 0.0,
) -> PriorFit:
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
    inside : array (T, K) of bool, optional
        False for rows that only fill up tasks with fewer points; h and y are 0 there, which leaves a posterior as
        it is.
    pseudo_tasks : float
        Weight of an isotropic covariance, in tasks (an inverse Wishart density). Few tasks alone would leave most
        directions of the weights without variance.

    Returns
    -------
    PriorFit

    References
    ----------
    A. P. Dempster, N. M. Laird and D. B. Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.
    R. Varadhan and C. Roland (2008), Simple and globally convergent methods for accelerating the convergence of any EM
    algorithm (scheme S3, with a return to the plain step where the evidence would fall).
    """
    inside = np.ones(h.shape[:2], bool) if inside is None else inside
    width, (flat_h, flat_y) = h.shape[-1], (h[inside], y[inside])
    mean = np.linalg.lstsq(flat_h, flat_y, rcond=None)[0].T  # (C, H): all tasks pooled
    square = np.maximum(((flat_y - flat_h @ mean.T) ** 2).mean(axis=0), FLOOR)  # (C,)
    size = max(float((flat_h**2).sum(axis=1).mean()), FLOOR)
    floor = FLOOR * np.maximum((flat_y**2).mean(axis=0), FLOOR)
    isotropic = square[:, None, None] / size * np.eye(width)  # (C, H, H)
    data = _Data(h, y, inside, pseudo_tasks, isotropic, floor)
    belief = Belief(mean, isotropic, np.maximum(0.1 * square, floor))
    evidence: list[float] = []
    cycle = [belief]
    fallback: Belief | None = None  # the plain step, where an extrapolated one is tried
    for _ in range(iterations):
        value, following = _improve(data, belief)
        if fallback is not None and not value >= evidence[-1]:  # extrapolated too far
            cycle = [fallback]
            belief, fallback = fallback, None
            continue
        evidence.append(value)
        if fallback is None and len(evidence) > 1 and evidence[-1] - evidence[-2] < tol * flat_y.size:
            return PriorFit(belief, np.array(evidence), True)
        cycle.append(following)
        belief, fallback = following, None
        if len(cycle) == 3:
            belief, fallback = _extrapolate(cycle, floor), following
            cycle = [belief]
    return PriorFit(belief if fallback is None else fallback, np.array(evidence), False)


class _Data(NamedTuple):
    """Arguments of `fit_prior`, and what is computed from them once."""

    h: Array
    y: Array
    inside: Array
    pseudo_tasks: float
    isotropic: Array  # (C, H, H) covariance of the pseudo-tasks
    floor: Array  # (C,) least variance of the noise


def _improve(data: _Data, belief: Belief) -> tuple[float, Belief]:
    """Return the log evidence of a prior, and the prior after one step of expectation maximization."""
    h, y, inside, pseudo_tasks, isotropic, floor = data
    posterior, found = condition(belief, h, y)
    filled = 0.5 * (~inside).sum() * np.log(2 * np.pi * belief.noise).sum()  # from the rows that only fill up
    density = pseudo_tasks * _log_density(belief.covariance, isotropic) if pseudo_tasks else 0.0
    mean = posterior.mean.mean(axis=0)  # (C, H)
    off = posterior.mean - mean
    squares = posterior.covariance.sum(axis=0) + np.einsum("tch,tcg->chg", off, off)
    left = y - h @ np.swapaxes(posterior.mean, 1, 2)  # (T, K, C)
    unsure = np.einsum("thg,tchg->c", np.swapaxes(h, 1, 2) @ h, posterior.covariance)
    noise = ((left**2).sum(axis=(0, 1)) + unsure) / inside.sum()
    covariance = (squares + pseudo_tasks * isotropic) / (len(h) + pseudo_tasks)
    return float(found.sum() + filled + density), Belief(mean, covariance, np.maximum(noise, floor))


def _extrapolate(cycle: list[Belief], floor: Array) -> Belief:
    """Go on along two steps of expectation maximization; variances as logarithms, so that they stay positive."""
    parts = zip(*((mean, _log(cov), np.log(noise)) for mean, cov, noise in cycle), strict=True)
    ahead = []
    for a, b, c in parts:
        step, turn = b - a, c - 2 * b + a
        bending = float((turn**2).sum())
        reach = (
            np.clip(np.sqrt(float((step**2).sum()) / bending), 1, FARTHEST) if bending > 0 else 1.0
        )  # 1 gives ``third``
        ahead.append(a + 2 * reach * step + reach**2 * turn)
    values, vectors = np.linalg.eigh(ahead[1])
    covariance = (vectors * np.exp(values)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    return Belief(ahead[0], covariance, np.maximum(np.exp(ahead[2]), floor))


def _log(covariance: Array) -> Array:
    """Logarithm of symmetric matrices (C, H, H); eigenvalues are at least a tiny share of the largest."""
    values, vectors = np.linalg.eigh(covariance)
    least = TINY * values.max(axis=1, keepdims=True)
    return np.asarray((vectors * np.log(np.maximum(values, least))[:, None, :]) @ np.swapaxes(vectors, 1, 2))


def _log_density(covariance: Array, center: Array) -> float:
    """Log density of covariances (C, H, H) under one pseudo-task with covariance ``center``, up to a constant."""
    _, logdet = np.linalg.slogdet(covariance)
    return float(-0.5 * (logdet + np.trace(np.linalg.solve(covariance, center), axis1=-2, axis2=-1)).sum())
