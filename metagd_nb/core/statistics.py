"""Statistics of scores: confidence intervals of means and shares, and the calibration of probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
BINS = 10  # of a reliability diagram
Z = 1.959963984540054  # 97.5 % point of the normal distribution
# 97.5 % points of Student's t for 1…30 degrees of freedom
T = (12.70620474, 4.30265273, 3.182446305, 2.776445105, 2.570581836, 2.446911851, 2.364624252, 2.306004135,
     2.262157163, 2.228138852, 2.20098516, 2.17881283, 2.160368656, 2.144786688, 2.131449546, 2.119905299,
     2.109815578, 2.10092204, 2.093024054, 2.085963447, 2.079613845, 2.073873068, 2.06865761, 2.063898562,
     2.059538553, 2.055529439, 2.051830516, 2.048407142, 2.045229642, 2.042272456)  # fmt: skip


def half_width(values: Array) -> float:
    """Half-width of the 95 % interval of a mean, by Student's t.

    Parameters
    ----------
    values : array (n,)
        Independent values.

    Returns
    -------
    float
        nan for fewer than two values.
    """
    n = len(values)
    return t_point(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan


def t_point(freedom: int) -> float:
    """97.5 % point of Student's t distribution.

    Parameters
    ----------
    freedom : int
        Degrees of freedom ν ≥ 1; beyond 30 an expansion in 1/ν is used, accurate to 3e-8.

    Returns
    -------
    float
    """
    if freedom <= len(T):
        return T[freedom - 1]
    z, v = Z, freedom
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / v**k for k, term in enumerate(terms, 1))


def wilson_interval(share: Array, count: Array) -> tuple[Array, Array]:
    """95 % interval of shares (Wilson 1927); it has a positive width at 0 and 1 too.

    Parameters
    ----------
    share : array (B,)
        Observed shares, 0 to 1.
    count : array (B,)
        Number of observations behind each share.

    Returns
    -------
    low, high : array (B,)

    References
    ----------
    E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22, 209-212.
    """
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return np.minimum(middle - half, share), np.maximum(middle + half, share)  # rounding must not pass the share


@dataclass(frozen=True)
class Calibration:
    """Agreement of predicted probabilities with outcomes.

    Attributes
    ----------
    log_loss : float
        Mean of −log of the probability of the true class.
    brier : float
        Mean of Σ_c (p_c − y_c)² (Brier 1950), 0 to 2.
    ece : float
        Expected calibration error: |confidence − accuracy| in each bin, weighted by the bin's share (Naeini et al.
        2015). With few predictions it is above 0 for perfectly calibrated probabilities too.
    confidence, right, count : array (B,)
        For each bin of the largest probability: its mean, the share of correct predictions, and the number of
        predictions; the first two are nan in empty bins.
    """

    log_loss: float
    brier: float
    ece: float
    confidence: Array
    right: Array
    count: Array


def measure_calibration(probabilities: Array, kind: Array) -> Calibration:
    """Compare predicted probabilities with outcomes.

    Parameters
    ----------
    probabilities : array (n, C)
        Each row sums to 1.
    kind : array (n,) of int
        Number of the true class, 0…C−1.

    Returns
    -------
    Calibration
    """
    top, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == kind
    bins = np.minimum((top * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        confidence, right = (np.bincount(bins, weights=w, minlength=BINS) / count for w in (top, hit))
    full = count > 0
    ece = float((np.abs(confidence - right)[full] * count[full]).sum() / len(kind))
    truth = np.eye(probabilities.shape[1])[kind]
    brier = float(((probabilities - truth) ** 2).sum(axis=1).mean())
    log_loss = -float(np.log(np.maximum(probabilities[truth > 0], 1e-300)).mean())
    return Calibration(log_loss, brier, ece, confidence, right, count)
