"""A new loss or norm is one row of its table: it then works in every closed form, in images and on JAX."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cases import assert_derivatives

import metagd_nb as mg
from metagd_nb.models.layers import NORMS, Cache, Layer, Tangents, row
from metagd_nb.models.losses import LOSSES, OutputLoss
from metagd_nb.models.net import Net
from metagd_nb.problems import factory
from metagd_nb.problems.closed_form import net as nets
from metagd_nb.tasks import Batch

Array = np.ndarray
Named = Mapping[str, Array]


class Centered(Layer):
    """h minus its mean over the points, plus a shift."""

    def __init__(self, number: int, width: int) -> None:
        self.shift = f"middle{number}"
        self.shapes = {self.shift: (width,)}

    def apply(self, xp: ModuleType, params: Mapping[str, Any], h: Array) -> Any:
        return h - xp.mean(h, axis=0) + params[self.shift]

    def forward(self, w: Named, h: Array) -> tuple[Array, Cache]:
        return h - h.mean(axis=1, keepdims=True) + row(w[self.shift]), ()

    def backward(self, w: Named, cache: Cache, delta: Array, into: Named, further: bool) -> Array | None:
        np.sum(delta, axis=1, out=into[self.shift])
        return np.asarray(delta - delta.mean(axis=1, keepdims=True))

    def jvp(self, w: Named, cache: Cache, dw: Named, dh: Array | None) -> tuple[Array | None, Tangents]:
        tangents = 0 if dh is None else dh - dh.mean(axis=1, keepdims=True)
        return np.asarray(tangents + row(dw[self.shift])), None

    def backward_jvp(
        self, w: Named, cache: Cache, tangents: Tangents, delta: Array, dw: Named, into: Named, further: bool
    ) -> Array | None:
        return np.zeros_like(delta)


def log_cosh(prediction: Any, target: Any) -> Any:
    return np.mean(np.log(np.cosh(prediction - target)))


class LogCosh(OutputLoss):
    of_one_task = staticmethod(log_cosh)

    class Point:
        def __init__(self, prediction: Array, target: Array) -> None:
            self.tanh, self.size = np.tanh(prediction - target), prediction[0].size
            self.loss = np.log(np.cosh(prediction - target)).mean(axis=(1, 2))
            self.grad = self.tanh / self.size

        def hvp(self, v: Array) -> Array:
            return np.asarray((1 - self.tanh**2) * v / self.size)

    def linearize(self, prediction: Array, target: Array) -> Point:
        return self.Point(prediction, target)


MODELS = ["mlp", "mlp with a context", "conv"]


def case(which: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Net, Array, Batch, Array]:
    monkeypatch.setitem(NORMS, "centered", Centered)
    monkeypatch.setitem(LOSSES, "log-cosh", LogCosh())
    net: Net = {
        "mlp": lambda: mg.mlp(2, 4, 3, 2, activation="tanh", norm="centered"),
        "mlp with a context": lambda: mg.mlp(2, 4, 2, activation="tanh", norm="centered", context=2),
        "conv": lambda: mg.conv(2, side=4, filters=3, blocks=2, norm="centered"),
    }[which]()
    rng = np.random.default_rng(0)
    batch = Batch(rng.standard_normal((3, 5, net.inputs)), rng.standard_normal((3, 5, net.outputs)))
    return net, 0.5 * rng.standard_normal(net.layout.size), batch, rng.standard_normal((3, net.layout.size))


@pytest.mark.parametrize("which", MODELS)
@pytest.mark.parametrize("rank", [-1, 10_000], ids=["matrices", "low rank"])
@pytest.mark.parametrize("accelerated", [True, False])
def test_derivatives_are_central_differences(
    which: str, rank: int, accelerated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nets, "ACCELERATED", accelerated)
    net, theta, batch, v = case(which, monkeypatch)
    problem = factory.net(net, "log-cosh", "numpy", "float64")
    assert (problem.accelerator is not None) == (accelerated and which == "mlp")
    if problem.accelerator is not None:
        problem.accelerator.narrow = problem.accelerator.pairs = rank
    assert_derivatives(problem, theta, batch, v)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
@pytest.mark.parametrize("which", MODELS)
def test_jax_finds_the_same(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, theta, batch, v = case(which, monkeypatch)
    one, other = (factory.net(net, "log-cosh", b, "float64").linearize(theta, batch) for b in ("numpy", "jax"))
    np.testing.assert_allclose(np.asarray(other.grad), np.asarray(one.grad), atol=1e-11)
    np.testing.assert_allclose(np.asarray(other.hvp(v)), np.asarray(one.hvp(v)), atol=1e-11)


def test_unknown_names_are_refused_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    case("mlp", monkeypatch)
    with pytest.raises(mg.MetagdError, match=r"centred.*centered"):
        mg.mlp(1, 2, 1, norm="centred")
