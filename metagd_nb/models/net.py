"""Built-in models: linear and multilayer perceptron, over one flat parameter vector.

A layer's weights (i, o) and its bias (o,) lie next to each other in the flat vector, so they are also
one (i+1, o) matrix whose last row is the bias: inputs with a last column of ones meet it in one product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from types import ModuleType
from typing import Any, Literal

import numpy as np

from ..core.errors import MetagdError, shorten, unknown_name
from ..core.hyperparameters import check_float, check_int
from ..core.parameters import ParameterLayout
from .activations import ACTIVATIONS
from .forward_pass import Pass
from .layers import NORMS, ActivationLayer, Context, Dense, Layer

DEEPEST = 1000  # layers of a net
LARGEST = 10**9  # parameters of a net: 8 GB


def _checked_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    if len(sizes) > DEEPEST + 1:
        raise MetagdError(f"{len(sizes) - 1:,} layers are not allowed; a net has at most {DEEPEST:,}", "sizes")
    whole = all(isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size >= 1 for size in sizes)
    if len(sizes) < 2 or not whole:
        raise MetagdError(f"{shorten(tuple(sizes))} is not allowed; needs two or more whole numbers ≥ 1", "sizes")
    return tuple(int(size) for size in sizes)


class Net:
    """Layers of weights with an activation between them; a linear model when there is one layer.

    Attributes
    ----------
    sizes : tuple of int
        Width of the input, of every hidden layer and of the output.
    layout : Layout
        ``W0`` (i, o), ``b0`` (o,), ``W1`` … in the order of the flat vector. With a norm, hidden layers have
        ``gain0`` (o,) and ``shift0`` (o,) in place of the bias; with a context, ``context`` comes first.
    layers : list of Layer
        The same net as a chain.
    ones : tuple of bool
        Of each layer of weights, whether a bias follows them.
    norms : list of Layer
        A row of ``NORMS`` in each hidden layer, or none at all.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str,
        bias: bool,
        init_scale: float | None,
        norm: str | None = None,
        context: int = 0,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise unknown_name("activation", activation, ACTIVATIONS)
        if norm is not None and norm not in NORMS:
            raise unknown_name("norm", norm, NORMS)
        self.sizes = _checked_sizes(sizes)
        self.activation, self.bias = activation, bias
        self.init_scale = None if init_scale is None else check_float(init_scale, "init_scale", 0)
        self.norm, self.context = norm, check_int(context, "context", 0)
        self.provenance: dict[str, Any] | None = None  # call that made it
        self.norms: list[Layer] = []
        self.layers = self._chain()
        self.ones = tuple(bool(layer.shift) for layer in self.layers if isinstance(layer, Dense))
        self.layout = ParameterLayout({name: shape for layer in self.layers for name, shape in layer.shapes.items()})
        if self.layout.size > LARGEST:
            raise MetagdError(
                f"{self.layout.size:,} parameters are not allowed; a net has at most {LARGEST:,}", "sizes"
            )

    def _chain(self) -> list[Layer]:
        layers: list[Layer] = [Context(self.context)] if self.context else []
        for number, (i, o) in enumerate(pairwise((self.sizes[0] + self.context, *self.sizes[1:]))):
            hidden = number < len(self.sizes) - 2
            layers.append(Dense(number, i, o, self.bias and not (hidden and self.norm)))
            if hidden:
                layers += self._norm_and_activation(number, o)
        return layers

    def _norm_and_activation(self, number: int, width: int) -> list[Layer]:
        norm = [NORMS[self.norm](number, width)] if self.norm else []
        self.norms += norm
        return [*norm, ActivationLayer(self.activation)]

    def closed_form(self) -> Literal["plain", "normalized", "layers"]:
        """Return the form of the net's derivatives.

        Returns
        -------
        "plain" : weights, biases and activations and nothing else
        "normalized" : the same with a norm before every activation
        "layers" : anything else, one layer after the other
        """
        return "layers" if self.context else "normalized" if self.norm else "plain"

    @property
    def inputs(self) -> int:
        """D."""
        return self.sizes[0]

    @property
    def outputs(self) -> int:
        """C."""
        return self.sizes[-1]

    def __repr__(self) -> str:
        if len(self.sizes) == 2 and self.closed_form() == "plain":
            return f"linear({self.inputs}, outputs={self.outputs}, bias={self.bias})"
        options = f", norm={self.norm!r}" if self.norm else ""
        options += f", context={self.context}" if self.context else ""
        return f"mlp({', '.join(map(str, self.sizes))}, activation={self.activation!r}{options})"

    def start(self, rng: np.random.Generator) -> np.ndarray:
        """Starting parameters (P,): zero biases; weights as `mlp` says; a linear model starts at zero."""
        theta = np.zeros(self.layout.size)
        if len(self.sizes) == 2 and self.init_scale is None:
            return theta
        views = self.layout.views(theta)
        for layer in self.layers:
            layer.start(views)
        for name, view in views.items():
            if name.startswith("W"):
                gain = ACTIVATIONS[self.activation].gain
                scale = np.sqrt(gain / np.prod(view.shape[:-1])) if self.init_scale is None else self.init_scale
                view[...] = scale * _truncated_normal(rng, view.shape)
        return theta

    def matrices(self, theta: np.ndarray) -> list[np.ndarray]:
        """Each layer's weights with the bias as last row: views (..., i+1, o) of ``theta`` (..., P)."""
        lead = theta.shape[:-1]
        return [theta[..., part].reshape((*lead, *shape)) for part, shape in self._places]

    @cached_property
    def _places(self) -> list[tuple[slice, tuple[int, int]]]:
        """Slice of each layer's matrix in the flat vector, and its shape."""
        found = []
        for number, (i, o, one) in enumerate(zip(self.sizes, self.sizes[1:], self.ones, strict=False)):
            start = self.layout.slices[f"W{number}"].start
            found.append((slice(start, start + (i + one) * o), (i + one, o)))
        return found

    def between(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """The norms' parameters by name: views (..., o) of ``theta`` (..., P)."""
        names = [name for norm in self.norms for name in norm.shapes]
        return {name: theta[..., self.layout.slices[name]] for name in names}

    def activate(self, z: np.ndarray) -> np.ndarray:
        """The hidden layers' activation."""
        return np.asarray(ACTIVATIONS[self.activation].value(np, z))

    def features(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Compute the inputs of the last layer: (..., K, H) for ``x`` (..., K, D)."""
        if self.closed_form() != "plain":
            return self._through(self.layers[:-1], theta, x)
        h = x
        for w in self.matrices(theta)[:-1]:
            h = self.activate(self._layer(h, w))
        return h

    def activations(self, theta: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
        """Compute the outputs of each layer of a plain net: (..., K, H) of every hidden layer, then (..., K, C)."""
        found, h = [], x
        *hidden, last = self.matrices(theta)
        for w in hidden:
            h = self.activate(self._layer(h, w))
            found.append(h)
        return [*found, self._layer(h, last)]

    def predict(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Outputs (..., K, C) for inputs ``x`` (..., K, D); ``theta`` (P,), or (T, P) with ``x`` (T, K, D)."""
        if self.closed_form() != "plain":
            return self._through(self.layers, theta, x)
        return self._layer(self.features(theta, x), self.matrices(theta)[-1])

    def forward(self, xp: ModuleType, params: Mapping[str, Any], x: np.ndarray) -> Any:
        """Outputs (K, C) of one task's inputs (K, D): a pure function, for whatever traces or compiles it.

        Parameters
        ----------
        xp : module
            ``numpy``, ``autograd.numpy`` or ``jax.numpy``.
        params : mapping name → array
            As `layout` names them.
        """
        h = x
        for layer in self.layers:
            h = layer.apply(xp, params, h)
        return h

    def embed(self, theta: np.ndarray, x: np.ndarray) -> Pass:
        """The features of x (T, K, D) at θ (P,) or (T, P), as ``out`` (T, K, H) of a pass that can be pulled back."""
        return Pass(self.layers[:-1], self.layout, theta, x)

    def vjp(self, theta: np.ndarray, x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A gradient in the predictions (T, K, C), pulled back to θ (T, P), one a task, and to x (T, K, D)."""
        in_theta, in_x, _ = Pass(self.layers, self.layout, theta, x).pull(cotangent, to_x=True)
        assert in_x is not None
        return in_theta, in_x

    def _through(self, layers: Sequence[Layer], theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        return Pass(layers, self.layout, theta, x).out if x.ndim == 3 else self._through(layers, theta, x[None])[0]

    def _layer(self, h: np.ndarray, w: np.ndarray) -> np.ndarray:
        return np.asarray(h @ w[..., :-1, :] + w[..., -1:, :] if self.bias else h @ w)


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal, drawn again beyond two standard deviations (as TensorFlow's, which Finn et al. used)."""
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return values
