"""Layers in closed form against automatic differentiation of the pure forward pass, and what batch norm promises."""

from __future__ import annotations

from itertools import product
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.models.forward_pass import Pass
from metagd_nb.models.layers import EPS
from metagd_nb.models.losses import LOSSES
from metagd_nb.models.net import Net
from metagd_nb.problems.closed_form.layer_chain import ChainPoint
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.tasks import Batch

CLOSE = {"rtol": 1e-10, "atol": 1e-12}
NETS = [
    mg.mlp(3, 5, 4, norm="batch"),
    mg.mlp(3, 5, 6, 4, norm="batch", activation="tanh"),
    mg.mlp(3, 5, 4, context=2, activation="tanh"),
    mg.mlp(3, 5, 5, 4, context=1, norm="batch"),
    mg.mlp(3, 4, context=2),
    mg.conv(4, side=5, channels=2, filters=3, blocks=2),
    mg.conv(4, side=4, channels=1, filters=3, blocks=3, norm=None),
    mg.mlp(3, 5, 4, activation="tanh"),
    mg.mlp(3, 5, 5, 4),
    mg.linear(3, 4, bias=False),
]
EACH = pytest.mark.parametrize("net", NETS, ids=repr)


def case(net: Net, shared: bool = False, points: int = 6) -> tuple[np.ndarray, Batch, np.ndarray]:
    """θ away from every start, a batch whose targets are distributions, and a direction."""
    rng = np.random.default_rng(2)
    tasks, size = 3, net.layout.size
    theta = net.start(rng) + 0.4 * rng.standard_normal(size if shared else (tasks, size))
    x = rng.standard_normal((tasks, points, net.inputs))
    y = rng.dirichlet(np.ones(net.outputs), size=(tasks, points))
    return theta, Batch(x, y), rng.standard_normal((tasks, size))


def traced(net: Net, name: str, theta: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """The loss of one task at θ (P,) from the pure forward pass."""
    params = {n: anp.reshape(theta[net.layout.slices[n]], shape) for n, shape in net.layout.shapes.items()}
    p = net.forward(anp, params, x)
    if name == "mse":
        return anp.mean((p - y) ** 2)
    top = anp.max(p, axis=1, keepdims=True)
    return anp.mean(anp.log(anp.sum(anp.exp(p - top), axis=1)) - anp.sum(y * (p - top), axis=1))


@EACH
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_gradient_and_hessian_by_automatic_differentiation(net: Net, shared: bool, name: str) -> None:
    theta, batch, v = case(net, shared)
    points = [ChainPoint(net, LOSSES[name], theta, batch), NetProblem(net, LOSSES[name]).linearize(theta, batch)]
    for t, point in product(range(3), points):
        bent = np.asarray(point.hvp(v))
        one = theta if shared else theta[t]

        def loss(p: Any, t: int = t) -> Any:
            return traced(net, name, p, batch.x[t], batch.y[t])

        np.testing.assert_allclose(point.loss[t], loss(one), **CLOSE)
        np.testing.assert_allclose(point.grad[t], autograd.grad(loss)(one), **CLOSE)
        np.testing.assert_allclose(bent[t], autograd.make_hvp(loss)(one)[0](v[t]), **CLOSE)


@EACH
@pytest.mark.parametrize("shared", [True, False])
def test_predictions_features_and_the_pure_forward_pass_agree(net: Net, shared: bool) -> None:
    theta, batch, _ = case(net, shared)
    made = net.predict(theta, batch.x)
    last = net.layout.views(np.broadcast_to(theta, (3, net.layout.size)))
    hidden = net.features(theta, batch.x)
    weights, *shift = net.layout.last
    bias = last[shift[0]][:, None] if net.bias else 0.0
    np.testing.assert_allclose(hidden @ last[weights] + bias, made, **CLOSE)
    np.testing.assert_allclose(net.embed(theta, batch.x).out, hidden, **CLOSE)
    for t in range(3):
        views = net.layout.views(theta if shared else theta[t])
        np.testing.assert_allclose(net.forward(np, views, batch.x[t]), made[t], **CLOSE)
    if shared:
        np.testing.assert_allclose(net.predict(theta, batch.x[1]), made[1], **CLOSE)


@EACH
def test_vjp_pulls_back_to_parameters_and_inputs(net: Net) -> None:
    theta, batch, _ = case(net)
    cotangent = np.random.default_rng(4).standard_normal((3, 6, 4))
    in_theta, in_x = net.vjp(theta, batch.x, cotangent)

    def weighed(p: Any, x: Any, t: int) -> Any:
        params = {n: anp.reshape(p[net.layout.slices[n]], shape) for n, shape in net.layout.shapes.items()}
        return anp.sum(net.forward(anp, params, x) * cotangent[t])

    for t in range(3):
        np.testing.assert_allclose(in_theta[t], autograd.grad(weighed, 0)(theta[t], batch.x[t], t), **CLOSE)
        np.testing.assert_allclose(in_x[t], autograd.grad(weighed, 1)(theta[t], batch.x[t], t), **CLOSE)


@EACH
def test_embeddings_pull_back_to_what_made_them(net: Net) -> None:
    theta, batch, _ = case(net)
    made = net.embed(theta, batch.x)
    cotangent = np.random.default_rng(4).standard_normal(made.out.shape)
    grad, _, _ = made.pull(cotangent)
    step = 1e-6
    for i in range(net.layout.size):
        nudge = step * np.eye(net.layout.size)[i]
        moved = net.features(theta + nudge, batch.x) - net.features(theta - nudge, batch.x)
        np.testing.assert_allclose(grad[:, i], (moved * cotangent).sum(axis=(1, 2)) / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("net", [n for n in NETS if n.closed_form() == "plain"], ids=repr)
def test_the_chain_is_the_plain_net(net: Net) -> None:
    theta, batch, v = case(net)
    plain, chain = NetProblem(net).linearize(theta, batch), ChainPoint(net, LOSSES["mse"], theta, batch)
    np.testing.assert_allclose(chain.loss, plain.loss, **CLOSE)
    np.testing.assert_allclose(chain.grad, plain.grad, **CLOSE)
    np.testing.assert_allclose(chain.hvp(v), plain.hvp(v), **CLOSE)
    np.testing.assert_allclose(chain.step(0.3), NetProblem(net).flat(plain.step(0.3), 3), **CLOSE)


def test_the_source_takes_the_chain_where_a_net_is_more_than_products_norms_and_activations() -> None:
    for net in NETS:
        theta, batch, _ = case(net)
        assert isinstance(NetProblem(net).linearize(theta, batch), ChainPoint) is (net.closed_form() == "layers")
        assert (net.closed_form() == "layers") == (net.context > 0 or type(net) is not Net)


# ---- batch norm ---------------------------------------------------------------------------------------------------


def test_batch_norm_takes_the_statistics_of_the_very_batch() -> None:
    net = mg.mlp(3, 5, 4, norm="batch")
    theta, batch, _ = case(net, points=50)
    dense, norm = net.layers[:2]
    before = Pass([dense], net.layout, theta, batch.x).out
    views = net.layout.views(theta)
    after = (Pass([dense, norm], net.layout, theta, batch.x).out - views["shift0"][:, None]) / views["gain0"][:, None]
    np.testing.assert_allclose(after.mean(axis=1), 0, atol=1e-12)
    variance = before.var(axis=1)
    np.testing.assert_allclose(after.var(axis=1), variance / (variance + EPS), rtol=1e-10)
    np.testing.assert_allclose(after, (before - before.mean(axis=1, keepdims=True))
                               / np.sqrt(variance + EPS)[:, None], rtol=1e-10, atol=1e-12)  # fmt: skip


def test_a_prediction_depends_on_its_batch_and_only_with_norm() -> None:
    for norm in (None, "batch"):
        net = mg.mlp(3, 5, 4, norm=norm)
        theta, batch, _ = case(net)
        alone, together = net.predict(theta, batch.x[:, :3]), net.predict(theta, batch.x)[:, :3]
        assert np.allclose(alone, together) is (norm is None)


def test_inputs_moved_and_scaled_alike_change_nothing_behind_the_first_norm() -> None:
    """The scale matters only through ε, and that share shrinks with the square of the scale."""
    net = mg.mlp(3, 5, 4, norm="batch")
    theta, batch, _ = case(net)
    made = [net.predict(theta, scale * batch.x + 7.0) for scale in (1e3, 1e5)]
    np.testing.assert_allclose(made[0], made[1], atol=1e-7)
    np.testing.assert_allclose(net.predict(theta, batch.x + 7.0), net.predict(theta, batch.x), **CLOSE)


def test_layout_and_start_with_norm_and_context() -> None:
    net = mg.mlp(2, 4, 3, norm="batch", context=5)
    assert net.layout.shapes == {
        "context": (5,), "W0": (7, 4), "gain0": (4,), "shift0": (4,), "W1": (4, 3), "b1": (3,),
    }  # fmt: skip
    parts = net.layout.views(net.start(np.random.default_rng(0)))
    assert not parts["context"].any()
    assert not parts["shift0"].any()
    assert (parts["gain0"] == 1).all()
    assert np.abs(parts["W0"]).max() <= 2 * np.sqrt(2 / 7)
    assert net.layout.last == ["W1", "b1"]
    assert repr(net) == "mlp(2, 4, 3, activation='relu', norm='batch', context=5)"
    assert (net.inputs, net.outputs, net.closed_form()) == (2, 3, "layers")


@pytest.mark.parametrize("net", [n for n in NETS if n.closed_form() != "plain"], ids=repr)
def test_float32_is_kept(net: Net) -> None:
    theta, batch, v = case(net)
    point = NetProblem(net, dtype="f").linearize(theta.astype("f"), batch.cast("f"))
    exact = NetProblem(net).linearize(theta, batch)
    assert {point.loss.dtype, point.grad.dtype, point.hvp(v.astype("f")).dtype} == {np.dtype("f")}
    np.testing.assert_allclose(point.grad, exact.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"norm": "batsh"}, r"^unknown norm 'batsh'; did you mean 'batch'\?$"),
        ({"context": -1}, r"^context: -1 is not allowed; needs a whole number ≥ 0$"),
        ({"context": 1.5}, r"^context: 1.5 is not allowed"),
    ],
)
def test_refusals(more: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        mg.mlp(1, 4, 1, **more)


@pytest.mark.parametrize("method", ["maml", "fomaml", "anil", "meta-sgd"])
def test_learning_with_batch_norm_from_each_source(method: str) -> None:
    """Whole meta-steps: the closed form and the same net written by a person and traced."""
    from metagd_nb.algorithms import ALGORITHMS
    from metagd_nb.problems.autograd.model import ModelProblem
    from metagd_nb.tasks import TaskBatch

    net = mg.mlp(3, 5, 4, norm="batch", activation="tanh")

    def model(params, x):  # type: ignore[no-untyped-def]
        h = x @ params["W0"]
        h = (h - np.mean(h, axis=0)) / np.sqrt(np.var(h, axis=0) + 0.001)
        return np.tanh(h * params["gain0"] + params["shift0"]) @ params["W1"] + params["b1"]

    theta, batch, _ = case(net, shared=True)
    tasks = TaskBatch(Batch(batch.x[:, :3], batch.y[:, :3]), Batch(batch.x[:, 3:], batch.y[:, 3:]))
    algorithm: Any = ALGORITHMS[method](inner_lr=0.1, inner_steps=2)
    problems = NetProblem(net, LOSSES["cross-entropy"]), ModelProblem(model, "cross-entropy", net.layout.views(theta))
    ours, theirs = (algorithm.meta_gradient(p, algorithm.init_parameters(p, theta), tasks) for p in problems)
    np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-10)
    np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-8, atol=1e-11)


# ---- convolutions -------------------------------------------------------------------------------------------------


def test_a_convolution_pixel_by_pixel() -> None:
    """Every output pixel is the weighted 3×3 neighbourhood of every second pixel, with zeros around the image."""
    for side in (4, 5):
        net = mg.conv(4, side=side, channels=2, filters=3, blocks=1, norm=None)
        theta, batch, _ = case(net)
        made = Pass(net.layers[:2], net.layout, theta, batch.x).out  # before the activation
        small = (side + 1) // 2
        made = made.reshape(3, 6, small, small, 3)
        for t in range(3):
            w = net.layout.views(theta[t])["W0"].reshape(3, 3, 2, 3)
            b = net.layout.views(theta[t])["b0"]
            image = batch.x[t].reshape(6, side, side, 2)
            for r in range(small):
                for c in range(small):
                    expected = np.tile(b, (6, 1))
                    for i in range(3):
                        for j in range(3):
                            row, column = 2 * r + i - 1, 2 * c + j - 1
                            if 0 <= row < side and 0 <= column < side:
                                expected += image[:, row, column] @ w[i, j]
                    np.testing.assert_allclose(made[t, :, r, c], expected, **CLOSE)


def test_conv_is_the_net_for_omniglot() -> None:
    """28 → 14 → 7 → 4 → 2 pixels a side, 64 features, and norm in place of biases."""
    net = mg.conv(5)
    assert (net.inputs, net.outputs, net.closed_form()) == (784, 5, "layers")
    assert [layer.side for layer in net.layers if hasattr(layer, "side")] == [28, 14, 7, 4]
    assert net.layers[-2].pixels == 4  # type: ignore[attr-defined]
    assert net.layout.size == 9 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64 + 64 * 5 + 5
    theta = net.start(np.random.default_rng(0))
    x = np.random.default_rng(1).random((2, 3, 784))
    assert net.features(theta, x).shape == (2, 3, 64)
    assert np.abs(net.layout.views(theta)["W1"]).max() <= 2 * np.sqrt(2 / 576)
    assert repr(net) == "conv(5, side=28, channels=1, filters=64, blocks=4, norm='batch')"
    assert net.layout.last == ["W4", "b4"]
    with pytest.raises(MetagdError, match=r"^blocks: 0 is not allowed; needs a whole number ≥ 1 and ≤ 1,000$"):
        mg.conv(5, blocks=0)


@pytest.mark.parametrize("method", ["maml", "anil", "protonet"])
def test_a_conv_net_learns_episodes(method: str) -> None:
    """Bars that lie or stand, in two places: four classes of images of 4×4 pixels."""
    rng = np.random.default_rng(0)
    images = 0.3 * rng.standard_normal((200, 4, 4))
    number = np.arange(200) % 4
    for image, n in zip(images, number, strict=True):
        image[(n // 2) * 2 + 1 if n % 2 else slice(None), slice(None) if n % 2 else (n // 2) * 2 + 1] += 1
    tasks = mg.episodes(images.reshape(200, 16), number, ways=2)
    given: dict[str, Any] = {} if method == "protonet" else {"inner_lr": 0.4}
    run = mg.train(method, model=mg.conv(2, side=4, filters=6, blocks=2), tasks=tasks, shots=5, queries=5,
                   meta_batch_size=4, meta_lr=0.01, steps=60, **given)  # fmt: skip
    scored = run.evaluate(metric="accuracy", n_tasks=60)
    assert scored.mean[-1] > 0.9
    assert scored.mean[0] < 0.65


@EACH
def test_the_pure_forward_pass_on_jax(net: Net) -> None:
    jax = pytest.importorskip("jax")
    theta, batch, _ = case(net)
    params = {n: v.astype("f") for n, v in net.layout.views(theta[0]).items()}
    x = batch.x[0].astype("f")
    made = jax.jit(lambda p, x: net.forward(jax.numpy, p, x))(params, x)
    np.testing.assert_allclose(made, net.forward(np, params, x), rtol=2e-4, atol=2e-5)
