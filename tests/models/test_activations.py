"""A new activation is one row of the table: it then works in the closed form, fast and plain, in images and on JAX."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cases import assert_derivatives

import metagd_nb as mg
from metagd_nb.models.activations import ACTIVATIONS, Activation
from metagd_nb.models.losses import mse
from metagd_nb.models.net import Net
from metagd_nb.problems import factory
from metagd_nb.problems.closed_form import net as nets
from metagd_nb.problems.closed_form.layer_chain import ChainPoint
from metagd_nb.tasks import Batch

Array = np.ndarray


def _swish(xp: ModuleType, z: Any) -> Any:
    return z / (1 + xp.exp(-z))


def _fill(z: Array, value: Array, slope: Array) -> None:
    s = 1 / (1 + np.exp(-z))
    value[...] = z * s
    slope[...] = s + z * s * (1 - s)


def _curvature(z: Array, value: Array, slope: Array, out: Array) -> None:
    s = 1 / (1 + np.exp(-z))
    out[...] = s * (1 - s) * (2 + z * (1 - 2 * s))


@pytest.fixture(autouse=True)
def swish(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more row; its curvature does not follow from value and slope, and is not zero where the slope is."""
    monkeypatch.setitem(ACTIVATIONS, "swish", Activation(_swish, _fill, _curvature))


def models() -> list[Net]:
    return [
        mg.mlp(2, 4, 3, 2, activation="swish"),
        mg.mlp(2, 4, 3, 2, activation="swish", norm="batch"),
        mg.mlp(2, 4, 2, activation="swish", context=2),
        mg.conv(2, side=4, filters=2, blocks=2, activation="swish"),
    ]


def case(net: Net) -> tuple[Array, Batch, Array]:
    rng = np.random.default_rng(0)
    batch = Batch(rng.standard_normal((3, 5, net.inputs)), rng.standard_normal((3, 5, net.outputs)))
    theta, v = 0.5 * rng.standard_normal(net.layout.size), rng.standard_normal((3, net.layout.size))
    return theta, batch, v


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("rank", [-1, 10_000], ids=["matrices", "low rank"])
@pytest.mark.parametrize("accelerated", [True, False])
def test_derivatives_are_central_differences(
    which: int, rank: int, accelerated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nets, "ACCELERATED", accelerated)
    net = models()[which]
    (theta, batch, v), problem = case(net), nets.NetProblem(net)
    assert (problem.accelerator is not None) == (accelerated and net.closed_form() != "layers")
    if problem.accelerator is not None:
        problem.accelerator.narrow = problem.accelerator.pairs = rank
    point = assert_derivatives(problem, theta, batch, v)
    for direction in (point.grad, problem.linearize(theta + 0.1, batch).grad):  # low rank, where these are
        chain = ChainPoint(net, mse, theta, batch)
        np.testing.assert_allclose(np.asarray(point.hvp(direction)), chain.hvp(np.asarray(direction)), atol=1e-11)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
@pytest.mark.parametrize("which", range(4))
def test_jax_finds_the_same(which: int) -> None:
    net = models()[which]
    theta, batch, v = case(net)
    one, other = (factory.net(net, "mse", b, "float64").linearize(theta, batch) for b in ("numpy", "jax"))
    np.testing.assert_allclose(np.asarray(other.grad), np.asarray(one.grad), atol=1e-11)
    np.testing.assert_allclose(np.asarray(other.hvp(v)), np.asarray(one.hvp(v)), atol=1e-11)


def test_an_unknown_activation_is_refused_by_name() -> None:
    with pytest.raises(mg.MetagdError, match=r"swush.*swish"):
        mg.mlp(1, 2, 1, activation="swush")
