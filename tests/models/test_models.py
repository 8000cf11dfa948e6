"""Built-in models: layout of the flat vector, predictions, starting values, refusals."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.core.parameters import ParameterLayout
from metagd_nb.models.net import Net
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.tasks import Batch


def by_hand(net: Net, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Layer by layer from the named slices."""
    parts = net.layout.views(theta)
    for layer in range(len(net.sizes) - 1):
        x = x @ parts[f"W{layer}"] + (parts[f"b{layer}"] if net.bias else 0.0)
        if layer < len(net.sizes) - 2:
            x = np.tanh(x) if net.activation == "tanh" else np.where(x > 0, x, 0)
    return x


@pytest.mark.parametrize(
    "net",
    [mg.linear(3), mg.linear(3, 2, bias=False), mg.mlp(2, 4, 3, 2), mg.mlp(1, 5, 1, activation="tanh")],
    ids=repr,
)
def test_predictions(net: Net) -> None:
    rng = np.random.default_rng(0)
    theta, x = rng.standard_normal(net.layout.size), rng.standard_normal((4, 7, net.inputs))
    many = rng.standard_normal((4, net.layout.size))
    np.testing.assert_allclose(net.predict(theta, x), by_hand(net, theta, x), rtol=1e-12)
    one_each = np.stack([by_hand(net, many[t], x[t]) for t in range(4)])
    np.testing.assert_allclose(net.predict(many, x), one_each, rtol=1e-12)
    np.testing.assert_allclose(net.predict(theta, x[0]), by_hand(net, theta, x[0]), rtol=1e-12)
    hidden = net.features(theta, x)
    assert hidden.shape == (4, 7, net.sizes[-2])
    last = net.layout.views(theta)
    bias = last[f"b{len(net.sizes) - 2}"] if net.bias else 0.0
    np.testing.assert_allclose(hidden @ last[f"W{len(net.sizes) - 2}"] + bias, net.predict(theta, x), rtol=1e-12)


@pytest.mark.parametrize(
    "net", [mg.linear(3, 2, bias=False), mg.mlp(3, 4, 3, 2), mg.mlp(3, 5, 1, activation="tanh")], ids=repr
)
def test_the_pure_forward_pass_is_the_same_function_and_has_the_same_gradient(net: Net) -> None:
    """Units that are exactly off (a row of zeros, no bias yet) have the derivative 0 on both sides."""
    rng = np.random.default_rng(0)
    theta, x = net.start(rng) + 0.3 * (net.start(rng) == 0) * net.bias, rng.standard_normal((1, 7, net.inputs))
    theta[net.layout.slices["W0"]][: len(theta) // 9] = 0
    x[:, 0] = 0
    if net.bias:
        theta[net.layout.slices["b0"]] = 0  # the first point meets z = 0 in every unit of the first layer
    y = rng.standard_normal((1, 7, net.outputs))
    forward = net.forward(np, net.layout.views(theta), x[0])
    np.testing.assert_allclose(forward, net.predict(theta, x)[0], rtol=1e-12, atol=1e-15)
    traced = grad(lambda t: anp.mean((net.forward(anp, net.layout.views(t), x[0]) - y[0]) ** 2))(theta)
    closed = NetProblem(net).linearize(theta, Batch(x, y)).grad[0]
    np.testing.assert_allclose(traced, closed, rtol=1e-12, atol=1e-15)
    single = {name: part.astype(np.float32) for name, part in net.layout.views(theta).items()}
    assert net.forward(np, single, x[0].astype(np.float32)).dtype == np.float32


def test_the_point_predicts_what_the_model_predicts() -> None:
    net = mg.mlp(2, 4, 2)
    rng = np.random.default_rng(0)
    theta, x = net.start(rng), rng.standard_normal((3, 5, 2))
    point = NetProblem(net).linearize(theta, Batch(x, np.zeros((3, 5, 2))))
    np.testing.assert_allclose(point.loss, (net.predict(theta, x) ** 2).mean(axis=(1, 2)), rtol=1e-12)


def test_layout_of_a_net() -> None:
    assert mg.mlp(2, 4, 3).layout.shapes == {"W0": (2, 4), "b0": (4,), "W1": (4, 3), "b1": (3,)}
    assert mg.linear(2, 3, bias=False).layout.shapes == {"W0": (2, 3)}
    net = mg.mlp(2, 4, 3)
    theta = np.arange(float(net.layout.size))
    first, second = net.matrices(theta)
    np.testing.assert_array_equal(first[:-1], net.layout.views(theta)["W0"])
    np.testing.assert_array_equal(first[-1], net.layout.views(theta)["b0"])
    np.testing.assert_array_equal(second[-1], net.layout.views(theta)["b1"])
    assert all(np.shares_memory(m, theta) for m in (first, second))
    assert np.shares_memory(net.matrices(np.tile(theta, (5, 1)))[1], theta) is False


def test_layout_views_are_not_copies() -> None:
    layout = ParameterLayout({"w": (2, 3), "b": (), "v": (4,)})
    assert layout.size == 11
    theta = np.zeros((3, 11))
    views = layout.views(theta)
    assert {name: view.shape for name, view in views.items()} == {"w": (3, 2, 3), "b": (3,), "v": (3, 4)}
    views["w"][1] = 7.0
    assert theta.sum() == 42.0
    arrays = {"w": np.arange(6.0).reshape(2, 3), "b": np.float64(9), "v": np.ones(4)}
    flat = layout.flatten(arrays)
    np.testing.assert_array_equal(flat, [0, 1, 2, 3, 4, 5, 9, 1, 1, 1, 1])
    flat[0] = 100.0
    assert arrays["w"][0, 0] == 0.0
    assert [layout.where(i) for i in (0, 5, 6, 8)] == ["w[0, 0]", "w[1, 2]", "b", "v[1]"]
    np.testing.assert_array_equal(layout.mask(["b"]), np.arange(11) == 6)
    with pytest.raises(MetagdError, match=r"unknown parameter 'vv'; did you mean 'v'"):
        layout.mask(["vv"])
    with pytest.raises(IndexError):
        layout.where(11)
    assert ParameterLayout.of(arrays).shapes == layout.shapes


def test_starting_weights() -> None:
    """He for ReLU, 1/√i for tanh, or the scale asked for; truncated at two standard deviations; biases zero."""
    shrink = 0.8796256610342398  # standard deviation of a unit normal truncated at ±2
    for net, scale in [
        (mg.mlp(50, 300, 50), np.sqrt(2 / 50)),
        (mg.mlp(50, 300, 50, activation="tanh"), np.sqrt(1 / 50)),
        (mg.mlp(50, 300, 50, init_scale=0.01), 0.01),
    ]:
        parts = net.layout.views(net.start(np.random.default_rng(0)))
        assert parts["W0"].std() == pytest.approx(scale * shrink, rel=0.02)
        assert abs(parts["W0"].mean()) < 0.02 * scale
        assert np.abs(parts["W0"]).max() <= 2 * scale
        assert np.abs(parts["W0"]).max() > 1.95 * scale
        assert not parts["b0"].any()
        assert not parts["b1"].any()
    deep = mg.mlp(4, 400, 400, 1).layout
    parts = deep.views(mg.mlp(4, 400, 400, 1).start(np.random.default_rng(0)))
    assert parts["W1"].std() == pytest.approx(np.sqrt(2 / 400) * shrink, rel=0.02)  # of its own inputs
    assert not mg.linear(5, 2).start(np.random.default_rng(0)).any()


def test_the_seed_decides_the_start() -> None:
    net = mg.mlp(3, 4, 1)
    np.testing.assert_array_equal(net.start(np.random.default_rng(1)), net.start(np.random.default_rng(1)))
    assert (net.start(np.random.default_rng(1)) != net.start(np.random.default_rng(2))).any()
    assert mg.mlp(3, 4, 1, init_scale=0).start(np.random.default_rng(0)).any() is np.False_


def test_repr() -> None:
    assert repr(mg.mlp(1, 40, 40, 1)) == "mlp(1, 40, 40, 1, activation='relu')"
    assert repr(mg.linear(3)) == "linear(3, outputs=1, bias=True)"


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: mg.mlp(3), r"^sizes: \(3,\) is not allowed; needs two or more whole numbers ≥ 1$"),
        (lambda: mg.mlp(), r"^sizes: \(\) is not allowed"),
        (lambda: mg.mlp(1, 0, 1), r"^sizes: \(1, 0, 1\)"),
        (lambda: mg.mlp(1, 2.5, 1), r"^sizes: \(1, 2.5, 1\)"),  # type: ignore[arg-type]
        (lambda: mg.mlp(True, 2), r"^sizes: "),
        (lambda: mg.mlp("1", 2), r"^sizes: "),  # type: ignore[arg-type]
        (lambda: mg.linear(0), r"^sizes: \(0, 1\)"),
        (lambda: mg.mlp(1, 4, 1, activation="relo"), r"^unknown activation 'relo'; did you mean 'relu'\?$"),
        (lambda: mg.mlp(1, 4, 1, init_scale=-1.0), r"^init_scale: -1.0 is not allowed; needs a number ≥ 0$"),
        (lambda: mg.mlp(1, 4, 1, init_scale=float("inf")), r"^init_scale: inf is not allowed"),
        (lambda: mg.mlp(1, 4, 1, init_scale=float("nan")), r"^init_scale: nan is not allowed"),
        (lambda: mg.mlp(1, 4, 1, init_scale="big"), r"^init_scale: 'big' is not allowed"),  # type: ignore[arg-type]
    ],
)
def test_refusals(make: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: mg.mlp(*[1] * 100_000), "sizes: 99,999 layers are not allowed; a net has at most 1,000"),
        (lambda: mg.mlp(10**6, 10**6, 1), "sizes: 1,000,002,000,001 parameters are not allowed"),
        (lambda: mg.conv(2, blocks=10**9), "blocks: 1000000000 is not allowed"),
        (lambda: mg.mlp("x" * 10**6, 1), "sizes: ('xxx"),
    ],
)
def test_a_net_that_no_machine_holds_is_refused_at_once(make: Any, said: str) -> None:
    with pytest.raises(MetagdError) as refused:
        make()
    assert str(refused.value).startswith(said)
    assert len(str(refused.value)) < 200


def test_messages_are_short_and_without_control_characters() -> None:
    assert str(MetagdError("\x1b[31mred\x07", "a\n")) == "a\n: \\x1b[31mred\\x07"
    assert len(str(MetagdError("x" * 10**6))) == 1000
