"""A built-in net and a loss of its predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ...models.forward_pass import Pass
from ...models.losses import OutputLoss, mse
from ...models.net import Net
from ...tasks import Batch
from ..base import Array, Data, Point, Problem
from ..capture.fingerprint import Parts, joined_parts
from .layer_chain import ChainPoint

if TYPE_CHECKING:
    from .accelerated.point import Accelerator

ACCELERATED = True  # False: problems made from now on use `layer_chain`, the reference, for every net


class NetProblem(Problem):
    """A built-in net and a loss of its predictions."""

    predicts = True

    def __init__(self, net: Net, loss: OutputLoss = mse, dtype: np.typing.DTypeLike = np.float64) -> None:
        self.net: Net = net
        self.loss, self.dtype = loss, np.dtype(dtype)
        self.layout = net.layout
        self.accelerator = _accelerator(net, loss)

    def start(self, rng: np.random.Generator) -> Array:
        """Return starting parameters (P,)."""
        return self.net.start(rng).astype(self.dtype)

    def linearize(self, phi: ArrayLike, batch: Batch) -> Point:
        """Evaluate at ``phi``: (P,), (T, P), or the result of ``step``."""
        if self.accelerator is None:
            return ChainPoint(self.net, self.loss, np.asarray(phi), batch)
        return self.accelerator.linearize(phi, batch)

    def value_at(self, theta: Array, batch: Data) -> float:
        """Evaluate the loss of a batch of one task, from the predictions alone."""
        assert isinstance(batch, Batch)
        return float(self.loss.linearize(self.predict(theta, batch.x), batch.y).loss[0])

    def predict(self, phi: ArrayLike, x: Array) -> Array:
        """Predict outputs (T, K, C)."""
        return self.net.predict(np.asarray(phi), x)

    def embed(self, theta: Array, x: Array) -> Pass:
        """Compute the inputs of the last layer (T, K, H) for ``x`` (T, K, D)."""
        return self.net.embed(theta, x)

    @property
    def fingerprint(self) -> str:
        """Hash over the loss's code and data; empty for a built-in loss."""
        return self.loss.fingerprint

    @property
    def parts(self) -> Parts:
        """Hashes of the functions of the loss and of the data that they read, by name."""
        return joined_parts([self.loss.parts])

    def user_functions(self) -> dict[str, Callable[..., Any]]:
        """Return a copy of the user's loss."""
        return {} if self.loss.function is None else {"loss": self.loss.function}


def _accelerator(net: Net, loss: OutputLoss) -> Accelerator | None:
    """Return the fast closed form for a net that has one; None if it is switched off or its folder is not there."""
    if not ACCELERATED or net.closed_form() == "layers":
        return None
    try:
        from .accelerated.point import Accelerator
    except ModuleNotFoundError:
        return None
    return Accelerator(net, loss)
