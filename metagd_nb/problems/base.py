"""The `Problem` protocol: a problem evaluated at a point gives loss, gradient and Hessian·vector.

No method of the kit asks for more (the word ``linearize`` is JAX's). Tasks are the leading axis of every array:
T tasks, K points a task, D inputs, C outputs, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ..core.bounds import Bounds
from ..core.errors import MetagdError
from ..core.parameters import ParameterLayout
from ..models.losses import OutputLoss
from ..models.net import Net
from ..tasks import Batch
from .capture.fingerprint import Parts, joined_parts

Array = np.ndarray
Data = (
    Batch | Mapping[str, Any] | None
)  # of a step: tasks, data arguments of a loss by name, or None if it brings its own


class Point(Protocol):
    """A problem evaluated at φ; one value a task."""

    @property
    def loss(self) -> Array:
        """Loss of each task, (T,)."""

    @property
    def grad(self) -> Array:
        """Gradient of each task's own loss, (T, P)."""

    def hvp(self, v: Array) -> Array:
        """Multiply each task's Hessian by its own vector, reusing the forward pass: (T, P) → (T, P)."""

    def step(self, rate: float | Array) -> Any:
        """Return φ − rate·grad as an opaque value that ``linearize`` accepts again.

        ``rate`` is a scalar or (P,); zeros leave a coordinate as it is.
        """


class Embedding(Protocol):
    """Features of points at θ, whose gradients can be pulled back to θ."""

    @property
    def out(self) -> Array:
        """Features, (T, K, H)."""

    def pull(self, cotangent: Array) -> tuple[Any, ...]:
        """Pull a gradient in ``out`` (T, K, H) back; the first entry is that in θ, (T, P), one a task."""


class NormalEquations(NamedTuple):
    """Least squares as a quadratic around a point near its minimum; outputs do not share weights."""

    hessian: Array  # (D, D), of each output
    anchor: Array  # (P,), the point from which distances are measured
    slack: Array  # (P,), the gradient at the anchor
    anchor_loss: float
    width: int  # number of outputs


class Problem:
    """Something to learn; the base class declares all that other packages may ask of it.

    A problem implements `start`, `linearize` and `flat`; the defaults of the rest describe a loss without inputs.

    Attributes
    ----------
    layout : ParameterLayout
    dtype : numpy.dtype
    net : Net or None
        The built-in model that is learned, where there is one.
    predicts : bool
        True if it maps inputs to outputs: `predict` and `embed` work.
    loss : OutputLoss
        Loss of predictions, if the problem ``predicts``.
    bounds : Bounds or None
        Box in which the parameters stay; None where they are free.
    missing : sequence of str
        Arguments that a loaded file does not hold; empty for every problem that can be evaluated.
    """

    layout: ParameterLayout
    dtype: np.dtype[Any]
    net: Net | None = None
    predicts: bool = False
    loss: OutputLoss
    bounds: Bounds | None = None
    missing: Sequence[str] = ()

    def start(self, rng: np.random.Generator) -> Array:
        """Return starting parameters (P,)."""
        raise NotImplementedError

    def linearize(self, phi: ArrayLike, batch: Batch) -> Point:
        """Evaluate at ``phi``: (P,) shared by all tasks, (T, P) one a task, or the result of ``step``."""
        raise NotImplementedError

    def value_at(self, theta: Array, batch: Data) -> float:
        """Evaluate the loss of a batch of one task at ``theta`` (P,), without derivatives where that is cheaper."""
        return float(self.linearize(theta, batch).loss[0])  # type: ignore[arg-type]  # None where it brings its data

    def flat(self, phi: ArrayLike, tasks: int) -> Array:
        """Return ``phi`` as an array of parameters (T, P)."""
        return np.broadcast_to(np.asarray(phi), (tasks, self.layout.size))

    def predict(self, phi: ArrayLike, x: Array) -> Array:
        """Predict outputs (T, K, C) for ``x`` (T, K, D).

        Raises
        ------
        MetagdError
            For a problem without inputs.
        """
        raise MetagdError("this problem has no inputs to predict from", "predict")

    def embed(self, theta: Array, x: Array) -> Embedding:
        """Compute the features of ``x`` (T, K, D) at ``theta`` (P,).

        Raises
        ------
        MetagdError
            For a problem without inputs.
        """
        raise MetagdError("this problem has no inputs to embed", "embed")

    def available(self) -> bool:
        """Return False if the problem comes from a file that does not hold all its parts."""
        return not self.missing

    def check_available(self) -> None:
        """Raise a MetagdError that names the missing parts, unless the problem is available."""

    @property
    def fingerprint(self) -> str:
        """Hash over the user's code and data, the same in another process; empty for built-in problems."""
        return ""

    @property
    def parts(self) -> Parts:
        """Hashes of the user's functions and of the data that they read, by name."""
        return joined_parts([])

    def user_functions(self) -> dict[str, Callable[..., Any]]:
        """Return copies of the user's functions by role (``loss``, ``gradient``, ``model``).

        The copies see their data as they were when the problem was made.
        """
        return {}

    def user_data(self) -> Mapping[str, Any]:
        """Return arguments of the user's functions that are no parameters, by name."""
        return {}

    def normal_equations(self) -> NormalEquations | None:
        """Return the quadratic form, if the problem is least squares in NumPy; otherwise None."""
        return None

    # ---- problems whose derivatives are compiled -------------------------------------------------------------------

    @property
    def key(self) -> Any:
        """Value on which compiled programs depend; problems with equal keys share them."""
        return self

    def check(self, batch: Data, embeds: bool = False) -> None:
        """Raise a MetagdError for what the compiler cannot trace.

        Parameters
        ----------
        batch : Batch, mapping or None
        embeds : bool
            Trace the features instead of the loss.
        """
