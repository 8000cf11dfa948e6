"""Built-in models: linear and multilayer perceptron, over one flat parameter vector.

A layer's weights (i, o) and its bias (o,) lie next to each other in the flat vector, so they are also
one (i+1, o) matrix whose last row is the bias: inputs with a last column of ones meet it in one product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .errors import MetagdError, unknown
from .layout import Layout

ACTIVATIONS = ("relu", "tanh")


class Net:
    """Layers of weights with an activation between them; a linear model when there is one layer.

    Attributes
    ----------
    sizes : tuple of int
        Width of the input, of every hidden layer and of the output.
    layout : Layout
        ``W0`` (i, o), ``b0`` (o,), ``W1`` … in the order of the flat vector.
    """

    def __init__(self, sizes: Sequence[int], activation: str, bias: bool, init_scale: float | None) -> None:
        if len(sizes) < 2 or any(
            isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1 for size in sizes
        ):
            raise MetagdError(f"{tuple(sizes)} is not allowed; needs two or more whole numbers ≥ 1", "sizes")
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        if init_scale is not None and not (
            isinstance(init_scale, (int, float, np.floating)) and 0 <= init_scale < np.inf
        ):
            raise MetagdError(f"{init_scale!r} is not allowed; needs a number ≥ 0", "init_scale")
        self.sizes = tuple(int(size) for size in sizes)
        self.activation, self.bias, self.init_scale = activation, bias, init_scale
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (i, o) in enumerate(pairwise(self.sizes)):
            shapes[f"W{layer}"] = (i, o)
            if bias:
                shapes[f"b{layer}"] = (o,)
        self.layout = Layout(shapes)

    @property
    def inputs(self) -> int:
        """D."""
        return self.sizes[0]

    @property
    def outputs(self) -> int:
        """C."""
        return self.sizes[-1]

    def __repr__(self) -> str:
        if len(self.sizes) == 2:
            return f"linear({self.inputs}, outputs={self.outputs}, bias={self.bias})"
        return f"mlp({', '.join(map(str, self.sizes))}, activation={self.activation!r})"

    def start(self, rng: np.random.Generator) -> np.ndarray:
        """Starting parameters (P,): zero biases; weights as `mlp` says; a linear model starts at zero."""
        theta = np.zeros(self.layout.size)
        if len(self.sizes) == 2 and self.init_scale is None:
            return theta
        for name, view in self.layout.views(theta).items():
            if name.startswith("W"):
                gain = 2.0 if self.activation == "relu" else 1.0
                scale = np.sqrt(gain / view.shape[0]) if self.init_scale is None else self.init_scale
                view[...] = scale * _truncated_normal(rng, view.shape)
        return theta

    def matrices(self, theta: np.ndarray) -> list[np.ndarray]:
        """Each layer's weights with the bias as last row: views (..., i+1, o) of ``theta`` (..., P)."""
        found, start = [], 0
        for i, o in pairwise(self.sizes):
            rows = i + self.bias
            found.append(theta[..., start : start + rows * o].reshape((*theta.shape[:-1], rows, o)))
            start += rows * o
        return found

    def activate(self, z: np.ndarray) -> np.ndarray:
        """The hidden layers' activation."""
        return np.asarray(np.maximum(z, 0) if self.activation == "relu" else np.tanh(z))

    def features(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """What the last layer sees: (..., K, H) for inputs ``x`` (..., K, D)."""
        h = x
        for w in self.matrices(theta)[:-1]:
            h = self.activate(self._layer(h, w))
        return h

    def predict(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Outputs (..., K, C) for inputs ``x`` (..., K, D); ``theta`` (P,), or (T, P) with ``x`` (T, K, D)."""
        return self._layer(self.features(theta, x), self.matrices(theta)[-1])

    def forward(self, xp: Any, params: Mapping[str, Any], x: Any) -> Any:
        """Outputs (K, C) of one task's inputs (K, D): a pure function, for whatever traces or compiles it.

        Parameters
        ----------
        xp : module
            ``numpy``, ``autograd.numpy`` or ``jax.numpy``.
        params : mapping name → array
            As `layout` names them.
        """
        h = x
        for layer in range(len(self.sizes) - 1):
            if layer and self.activation == "relu":
                h = xp.where(h <= 0, 0, h)  # not maximum, whose derivative at 0 is ½ where it is traced
            elif layer:
                h = xp.tanh(h)
            h = h @ params[f"W{layer}"]
            if self.bias:
                h = h + params[f"b{layer}"]
        return h

    def _layer(self, h: np.ndarray, w: np.ndarray) -> np.ndarray:
        return np.asarray(h @ w[..., :-1, :] + w[..., -1:, :] if self.bias else h @ w)


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal, drawn again beyond two standard deviations (as TensorFlow's, which Finn et al. used)."""
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return values


def linear(d: int, outputs: int = 1, bias: bool = True) -> Net:
    """Linear regression x·W + b from ``d`` inputs; starts at zero.

    Parameters
    ----------
    d, outputs : int
        Number of inputs and outputs.
    bias : bool
        Whether there is a b.
    """
    return Net((d, outputs), "relu", bias, None)


def mlp(*sizes: int, activation: str = "relu", init_scale: float | None = None) -> Net:
    """Multilayer perceptron: ``mlp(1, 40, 40, 1)`` has two hidden layers of 40.

    Parameters
    ----------
    *sizes : int
        Width of the input, of every hidden layer, and of the output.
    activation : "relu" | "tanh"
        ReLU'(0) is 0.
    init_scale : float, optional
        Standard deviation of the starting weights, before truncation at two of them. By default
        √(2/i) for ReLU (He et al. 2015, eq. 10) and √(1/i) for tanh, i being a layer's inputs.
        Finn et al. (2017) used 0.01 for their sinusoids.
    """
    return Net(sizes, activation, True, init_scale)


MODELS: dict[str, Callable[..., Net]] = {"linear": linear, "mlp": mlp}
