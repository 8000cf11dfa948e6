"""What a support set tells at a glance: meta-features, the same few numbers for any task.

They ask how the targets are spread, how well ever richer curves fit them — judged on points left out — and how
strongly each curve bends. A classifier of kinds reads these numbers and their products.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .tasks import Batch

Array = np.ndarray
DEGREES = 4  # polynomials of degree 0…3, without products of different inputs
WIDTHS = (0.35, 1.0)  # of the kernel, in standard deviations of an input
RIDGE, FLOOR = 0.02, 0.003  # of the fits; and the share of a typical variance below which a residual says no more
NAMES = (
    *("spread", "skewness", "kurtosis", "mean", "size of the mean"),
    *(f"{what} of degree {d}" for d in range(DEGREES) for what in ("left-out error", "error")),
    *(f"bend of degree {d}" for d in range(1, DEGREES)),
    *(f"left-out error of width {width}" for width in WIDTHS),
)


class Scale(NamedTuple):
    """Mean and standard deviation of inputs (D,) and targets (C,) over many tasks."""

    x_mean: Array
    x_scale: Array
    y_mean: Array
    y_scale: Array

    @classmethod
    def of(cls, batch: Batch) -> Scale:
        """Those of a batch of tasks."""
        x, y = batch.x.reshape(-1, batch.x.shape[-1]), batch.y.reshape(-1, batch.y.shape[-1])
        return cls(x.mean(0), _positive(x.std(0)), y.mean(0), _positive(y.std(0)))

    def apply(self, batch: Batch) -> tuple[Array, Array]:
        """Inputs (T, K, D) and targets (T, K, C) in these units, in double precision."""
        x, y = batch.x.astype(float), batch.y.astype(float)
        return (x - self.x_mean) / self.x_scale, (y - self.y_mean) / self.y_scale


def _positive(scale: Array) -> Array:
    return np.where(scale > 0, scale, 1.0)


def describe(batch: Batch, scale: Scale) -> Array:
    """Meta-features (T, F) of support sets, named in ``NAMES``; several outputs are averaged."""
    x, y = scale.apply(batch)
    found = _moments(y)
    terms = [np.ones_like(x[..., :1]), x, x * x - 1, x**3 - 2 * x]
    bends = []
    for degree in range(DEGREES):
        basis = np.concatenate(terms[: degree + 1], axis=-1)
        left_out, fitted, bend = _ridge(basis, y, terms[degree].shape[-1])
        found += [np.log(left_out + FLOOR), np.log(fitted + FLOOR)]
        bends.append(np.log(bend + np.sqrt(FLOOR)))
    found += bends[1:]
    distance = ((x[:, :, None] - x[:, None]) ** 2).sum(-1)  # (T, K, K)
    found += [np.log(_kernel(np.exp(-0.5 * distance / width**2), y) + FLOOR) for width in WIDTHS]
    return np.stack(found, axis=1)


def _moments(y: Array) -> list[Array]:
    """Five of (T,)."""
    mean = y.mean(1)
    centred = y - mean[:, None]
    spread = np.sqrt((centred**2).mean(1) + FLOOR)
    skewness, kurtosis = ((centred**power).mean(1) / spread**power for power in (3, 4))
    return [v.mean(1) for v in (np.log(spread), skewness, kurtosis, mean, np.abs(mean))]


def _ridge(basis: Array, y: Array, last: int) -> tuple[Array, Array, Array]:
    """Mean squared error (T,) on points left out and on points fitted; size of the last coefficients (T,)."""
    gram = basis.swapaxes(1, 2) @ basis + RIDGE * np.eye(basis.shape[-1])
    solve = np.linalg.solve(gram, basis.swapaxes(1, 2))  # (T, M, K)
    leverage = np.einsum("tkm,tmk->tk", basis, solve)
    coefficients = solve @ y
    residual = y - basis @ coefficients
    left_out = residual / np.maximum(1 - leverage, 0.01)[..., None]
    size = np.sqrt((coefficients[:, -last:] ** 2).sum(1).mean(-1))
    return (left_out**2).mean((1, 2)), (residual**2).mean((1, 2)), size


def _kernel(kernel: Array, y: Array) -> Array:
    """Mean squared error (T,) of a kernel fit on points left out."""
    inverse = np.linalg.inv(kernel + 2.5 * RIDGE * np.eye(kernel.shape[-1]))
    left_out = (inverse @ y) / np.einsum("tkk->tk", inverse)[..., None]
    return np.asarray((left_out**2).mean((1, 2)))
