"""The table of activations: one row (value, slope, curvature) works in every network and on every backend."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray


class Activation(NamedTuple):
    """A function applied to each number of a hidden layer, with its first two derivatives.

    Attributes
    ----------
    value : callable
        ``value(xp, z)`` with ``xp`` numpy, autograd.numpy or jax.numpy; what traces it must find the right derivative.
    fill : callable
        ``fill(z, value, slope)`` writes f(z) and f'(z) into arrays of the shape of ``z``.
    curvature : callable or None
        ``curvature(z, value, slope, out)`` writes f''(z); None where it is zero.
    gain : float
        Variance of the starting weights times the number of a layer's inputs.
    """

    value: Callable[[ModuleType, Any], Any]
    fill: Callable[[Array, Array, Array], None]
    curvature: Callable[[Array, Array, Array, Array], None] | None = None
    gain: float = 1.0


def _relu(xp: ModuleType, z: Array) -> Any:
    return xp.where(z <= 0, 0, z)  # not maximum, whose derivative at 0 is ½ where it is traced


def _fill_relu(z: Array, value: Array, slope: Array) -> None:
    np.greater(z, 0, out=slope, casting="unsafe")  # as numbers: cheaper to multiply by than bools
    np.multiply(z, slope, out=value)


def _fill_tanh(z: Array, value: Array, slope: Array) -> None:
    np.tanh(z, out=value)
    np.multiply(value, value, out=slope)
    np.subtract(1, slope, out=slope)


def _tanh_curvature(z: Array, value: Array, slope: Array, out: Array) -> None:
    np.multiply(value, slope, out=out)
    np.multiply(out, -2, out=out)


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(_relu, _fill_relu, gain=2.0),
    "tanh": Activation(lambda xp, z: xp.tanh(z), _fill_tanh, _tanh_curvature),
}
