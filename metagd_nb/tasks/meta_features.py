"""Meta-features of a support set: the same few numbers for any task.

They are the moments of the targets, the errors of polynomial and kernel fits, also on points left out, and the sizes of
the fits' highest coefficients. A classifier of kinds takes these numbers and their products as inputs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.array_api import is_concrete, namespace
from . import Batch

DEGREES = 4  # polynomials of degree 0…3, without products of different inputs
WIDTHS = (0.35, 1.0)  # of the kernel, in standard deviations of an input
RIDGE, FLOOR = 0.02, 0.003  # of the fits; and the share of a typical variance below which residuals are rounded up
NAMES = (
    *("spread", "skewness", "kurtosis", "mean", "size of the mean"),
    *(f"{error} of degree {d}" for d in range(DEGREES) for error in ("left-out error", "error")),
    *(f"bend of degree {d}" for d in range(1, DEGREES)),
    *(f"left-out error of width {width}" for width in WIDTHS),
)


class Standardizer(NamedTuple):
    """Mean and standard deviation of inputs (D,) and targets (C,) over many tasks."""

    x_mean: np.ndarray
    x_scale: np.ndarray
    y_mean: np.ndarray
    y_scale: np.ndarray

    @classmethod
    def of(cls, batch: Batch) -> Standardizer:
        """Return mean and standard deviation of a batch."""
        x, y = batch.x.reshape(-1, batch.x.shape[-1]), batch.y.reshape(-1, batch.y.shape[-1])
        return cls(x.mean(0), _positive(x.std(0)), y.mean(0), _positive(y.std(0)))

    def apply(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Standardize inputs (T, K, D) and targets (T, K, C), in double precision unless they are traced."""
        x, y = (a.astype(float) if is_concrete(a) else a for a in (batch.x, batch.y))
        return (x - self.x_mean) / self.x_scale, (y - self.y_mean) / self.y_scale


def _positive(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0, scale, 1.0)


def support_meta_features(batch: Batch, scale: Standardizer) -> np.ndarray:
    """Compute meta-features (T, F) of support sets, averaged over outputs; ``NAMES`` lists them.

    Parameters
    ----------
    batch : Batch
        T support sets.
    scale : Standardizer

    Returns
    -------
    array (T, F)
    """
    x, y = scale.apply(batch)
    xp = namespace(x)
    features = _moments(y)
    terms = [xp.ones_like(x[..., :1]), x, x * x - 1, x**3 - 2 * x]
    curvatures = []
    for degree in range(DEGREES):
        basis = xp.concatenate(terms[: degree + 1], axis=-1)
        left_out, fitted, curvature = _ridge(basis, y, terms[degree].shape[-1])
        features += [xp.log(left_out + FLOOR), xp.log(fitted + FLOOR)]
        curvatures.append(xp.log(curvature + FLOOR**0.5))
    features += curvatures[1:]
    distance = ((x[:, :, None] - x[:, None]) ** 2).sum(-1)  # (T, K, K)
    features += [xp.log(_kernel(xp.exp(-0.5 * distance / width**2), y) + FLOOR) for width in WIDTHS]
    stacked: np.ndarray = xp.stack(features, axis=1)
    return stacked


def _moments(y: np.ndarray) -> list[np.ndarray]:
    """Return five moments (T,) of the targets."""
    xp = namespace(y)
    mean = y.mean(1)
    centred = y - mean[:, None]
    spread = xp.sqrt((centred**2).mean(1) + FLOOR)
    skewness, kurtosis = ((centred**power).mean(1) / spread**power for power in (3, 4))
    return [v.mean(1) for v in (xp.log(spread), skewness, kurtosis, mean, xp.abs(mean))]


def _ridge(basis: np.ndarray, y: np.ndarray, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit by ridge regression: mean squared error (T,) left-out and fitted, size of the last coefficients (T,)."""
    xp = namespace(y)
    gram = basis.swapaxes(1, 2) @ basis + RIDGE * xp.eye(basis.shape[-1])
    solve = xp.linalg.solve(gram, basis.swapaxes(1, 2))  # (T, M, K)
    leverage = xp.einsum("tkm,tmk->tk", basis, solve)
    coefficients = solve @ y
    residual = y - basis @ coefficients
    left_out = residual / xp.maximum(1 - leverage, 0.01)[..., None]
    size = xp.sqrt((coefficients[:, -last:] ** 2).sum(1).mean(-1))
    return (left_out**2).mean((1, 2)), (residual**2).mean((1, 2)), size


def _kernel(kernel: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean squared error (T,) of a kernel fit on points left out."""
    xp = namespace(y)
    inverse = xp.linalg.inv(kernel + 2.5 * RIDGE * xp.eye(kernel.shape[-1]))
    left_out = (inverse @ y) / xp.einsum("tkk->tk", inverse)[..., None]
    error: np.ndarray = (left_out**2).mean((1, 2))
    return error
