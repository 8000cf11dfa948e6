"""A chain of layers and a loss of its outputs at a point: the reference of the closed form, for every net."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...models.forward_pass import Pass
from ...models.losses import OutputLoss
from ...models.net import Net
from ...tasks import Batch

Array = np.ndarray


class ChainPoint:
    """A net at φ on a batch; see `base.Point`. The forward pass is shared by all three."""

    def __init__(self, net: Net, loss: OutputLoss, phi: Array, batch: Batch) -> None:
        self.phi = phi
        self.run = Pass(net.layers, net.layout, phi, batch.x)
        self.out = loss.linearize(self.run.out, batch.y)
        self.loss = self.out.loss
        self._pulled: tuple[Array, Any, list[Array]] | None = None

    def _pull(self) -> tuple[Array, Any, list[Array]]:
        if self._pulled is None:
            self._pulled = self.run.pull(self.out.grad)
        return self._pulled

    @property
    def grad(self) -> Array:
        """Gradient of each task, (T, P)."""
        return self._pull()[0]

    def hvp(self, v: Array) -> Array:
        """Multiply the Hessian of each task by its vector: (T, P) → (T, P)."""
        d_out, tangents = self.run.jvp(v)
        return self.run.backward_jvp(v, tangents, self._pull()[2], self.out.hvp(d_out))

    def step(self, rate: float | Array) -> Array:
        """φ − rate·grad (T, P)"""
        return np.asarray(self.phi - rate * self.grad)
