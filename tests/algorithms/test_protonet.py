"""Prototypical networks: exact by differentiation, identities, and what running and adapting mean."""

from __future__ import annotations

from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from cases import heaps, prepared, trained

import metagd_nb as mg
from metagd_nb.algorithms.protonet import ProtoNet
from metagd_nb.core.errors import MetagdError
from metagd_nb.models.losses import cross_entropy, one_hot
from metagd_nb.models.net import Net
from metagd_nb.problems.autograd.model import UserOutputLoss
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.tasks import Batch, TaskBatch

CLOSE = {"rtol": 1e-10, "atol": 1e-12}
NETS = [
    mg.mlp(2, 6, 4, 3, activation="tanh"),
    mg.mlp(2, 6, 4, 7),
    mg.mlp(2, 6, 4, 3, norm="batch"),
    mg.mlp(2, 6, 4, 3, norm="batch", activation="tanh"),
]


def case(net: Net, tasks: int = 4, ways: int = 3, shots: int = 2, queries: int = 3) -> tuple[np.ndarray, TaskBatch]:
    rng = np.random.default_rng(3)
    theta = net.start(rng) + 0.3 * rng.standard_normal(net.layout.size)
    parts = []
    for k in (shots, queries):
        order = rng.permuted(np.tile(np.repeat(np.arange(ways), k), (tasks, 1)), axis=1)
        y = one_hot(order, ways)
        parts.append(Batch(rng.standard_normal((tasks, ways * k, 2)) + y @ rng.standard_normal((ways, 2)), y))
    return theta, TaskBatch(*parts)


@pytest.mark.parametrize("net", NETS, ids=repr)
def test_gradient_through_the_prototypes(net: Net) -> None:
    """The whole episode as one function of θ, written as in the paper, differentiated automatically."""
    theta, batch = case(net)
    made = ProtoNet().meta_gradient(NetProblem(net, cross_entropy), theta, batch)

    def episode(flat: Any, t: int) -> Any:
        params = {n: anp.reshape(flat[net.layout.slices[n]], shape) for n, shape in net.layout.shapes.items()}
        h = anp.concatenate([batch.support.x[t], batch.query.x[t]])
        for layer in net.layers[:-1]:
            h = layer.apply(anp, params, h)
        seen, asked = h[:6], h[6:]
        told, wanted = (part.y[t].argmax(axis=1) for part in batch)
        middle = [sum(seen[s] for s in np.flatnonzero(told == c)) / 2 for c in range(3)]
        total = 0.0
        for q in range(9):
            close = anp.array([-anp.sum((asked[q] - m) ** 2) for m in middle])
            total = total - (close[wanted[q]] - anp.log(anp.sum(anp.exp(close))))
        return total / 9

    for t in range(4):
        np.testing.assert_allclose(made.loss[t], episode(theta, t), **CLOSE)
    expected = np.mean([autograd.grad(episode)(theta, t) for t in range(4)], axis=0)
    np.testing.assert_allclose(made.grad, expected, **CLOSE)
    np.testing.assert_array_equal(made.grad[net.layout.mask(net.layout.last)], 0)  # the last layer is not used
    assert np.abs(made.grad).max() > 1e-3


def test_the_gradient_holds_for_any_loss_of_closeness() -> None:
    """Softmax gradients sum to zero over the classes; those of other losses do not."""
    net = NETS[0]
    theta, batch = case(net)
    problem = NetProblem(net, UserOutputLoss(lambda p, y: np.mean((p - 3.0 * y) ** 2)))
    grad = ProtoNet().meta_gradient(problem, theta, batch).grad
    step = 1e-6 * np.eye(len(theta))
    slopes = [
        (
            ProtoNet().meta_gradient(problem, theta + e, batch).loss
            - ProtoNet().meta_gradient(problem, theta - e, batch).loss
        )
        / 2e-6
        for e in step
    ]
    np.testing.assert_allclose(grad, np.mean(slopes, axis=1), rtol=1e-5, atol=1e-7)


def test_order_of_tasks_and_points_is_irrelevant_and_a_batch_is_the_mean_of_its_singles() -> None:
    theta, batch = case(NETS[2])
    problem = NetProblem(NETS[2], cross_entropy)
    made = ProtoNet().meta_gradient(problem, theta, batch)
    rng = np.random.default_rng(0)
    tasks, points = rng.permutation(4), rng.permutation(6)
    shuffled = TaskBatch(*(Batch(part.x[tasks], part.y[tasks]) for part in batch))
    shuffled = TaskBatch(Batch(shuffled.support.x[:, points], shuffled.support.y[:, points]), shuffled.query)
    other = ProtoNet().meta_gradient(problem, theta, shuffled)
    np.testing.assert_allclose(other.grad, made.grad, **CLOSE)
    np.testing.assert_allclose(other.loss, made.loss[tasks], **CLOSE)
    singles = [ProtoNet().meta_gradient(problem, theta, batch.tasks(slice(i, i + 1))) for i in range(4)]
    np.testing.assert_allclose(made.grad, np.mean([one.grad for one in singles], axis=0), **CLOSE)


def test_classes_under_other_numbers_are_the_same_classes() -> None:
    theta, batch = case(NETS[0])
    problem = NetProblem(NETS[0], cross_entropy)
    swapped = TaskBatch(*(Batch(part.x, part.y[..., [2, 0, 1]]) for part in batch))
    one, other = (ProtoNet().meta_gradient(problem, theta, b) for b in (batch, swapped))
    np.testing.assert_allclose(one.grad, other.grad, **CLOSE)


def test_features_of_a_linear_model_are_its_inputs() -> None:
    """The nearest class mean, where there is nothing to learn."""
    x, y = heaps()
    tasks = mg.episodes(x, y, ways=3)
    run = mg.train("protonet", model=mg.linear(2, 3), tasks=tasks, steps=3)
    assert not run.record["grad_norm"].any()
    new = np.random.default_rng(0).standard_normal((50, 2))
    rows = np.flatnonzero(np.isin(y, ["a", "c", "d", "h"]))
    means = np.array([x[y == name].mean(axis=0) for name in "acdh"])
    nearest = np.array(list("acdh"))[((new[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)]
    np.testing.assert_array_equal(run.adapt(x[rows], y[rows])(new), nearest)  # of any number of classes
    scores = run.adapt(x[rows], one_hot(np.searchsorted(list("acdh"), y[rows]), 4))(new)
    np.testing.assert_allclose(scores, -((new[:, None] - means) ** 2).sum(axis=2), **CLOSE)


def test_what_a_function_gives_is_the_space() -> None:
    """The features of a net written out as a function make the same run, evaluation and predictions."""

    def features(params, x):  # type: ignore[no-untyped-def]
        h = np.tanh(x @ params["W0"] + params["b0"])
        return np.tanh(h @ params["W1"] + params["b1"])

    net = mg.mlp(2, 6, 4, 3, activation="tanh")
    views = net.layout.views(net.start(np.random.default_rng(0)))
    start = {name: views[name] for name in ("W0", "b0", "W1", "b1")}
    x, y = heaps()
    given: dict[str, Any] = {"tasks": mg.episodes(x, y, ways=3), "steps": 20, "meta_lr": 0.01, "meta_batch_size": 3}
    ours, own = mg.train("protonet", model=net, **given), mg.train("protonet", model=features, params=start, **given)
    np.testing.assert_allclose(own.record["loss"], ours.record["loss"], **CLOSE)
    np.testing.assert_allclose(own.params["W1"], ours.params["W1"], **CLOSE)
    assert np.abs(own.params["W1"] - start["W1"]).max() > 0.01
    np.testing.assert_allclose(own.evaluate(n_tasks=20).mean, ours.evaluate(n_tasks=20).mean, **CLOSE)
    np.testing.assert_array_equal(own.adapt(x, y)(x[::7]), ours.adapt(x, y)(x[::7]))


def test_no_steps_guess_and_one_is_all_there_is() -> None:
    run = trained("protonet", steps=60)
    scored = run.evaluate(n_tasks=50, steps=3)
    assert scored.mean[0] == pytest.approx(np.log(3), rel=1e-12)
    np.testing.assert_array_equal(scored.mean[1], scored.mean[2:])
    told = run.evaluate(n_tasks=50, metric="accuracy")
    assert told.mean[0] == pytest.approx(1 / 3)
    assert told.mean[1] > 0.7
    assert len(told.mean) == 2


def test_scores_are_those_of_training() -> None:
    """What evaluation says of an episode is what a meta-step said of it; with batch norm too."""
    net = mg.mlp(2, 6, 3, norm="batch")
    run = prepared("protonet", model=net, meta_batch_size=7)
    run.step(1)
    batch = run.plan.batches(0)
    *_, phi = run.loop.algorithm.path(run.plan.problem, run.loop.theta, batch.support, 1)
    losses = run.loop.algorithm.loss(run.plan.problem, phi, batch.query)
    assert run.record["loss"][0] != losses.mean()  # row 0 was before the step
    np.testing.assert_allclose(
        run.loop.algorithm.meta_gradient(run.plan.problem, run.loop.theta, batch).loss, losses, **CLOSE
    )


def test_more_ways_in_training_than_in_use() -> None:
    x, y = heaps()
    run = mg.train("protonet", model=mg.mlp(2, 8, 1), tasks=mg.episodes(x, y, ways=6), steps=20, dtype="float32")
    scored = run.evaluate(mg.episodes(x, y, ways=2), metric="accuracy", n_tasks=50)
    assert scored.mean[0] == 0.5
    assert scored.mean[1] > 0.7
    assert run.params["W0"].dtype == np.float32


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"tasks": mg.sinusoid(), "model": mg.mlp(1, 3, 1)},
            r"^tasks: sinusoid\(.* has no classes; protonet needs such",
        ),
        ({"tasks": mg.quadratics((1.0,), (0.0,))}, r"^tasks: quadratics\(.* has no classes; protonet needs such"),
        ({"model": mg.mlp(3, 4, 3)}, r"^model: mlp\(.* takes 3 inputs, the tasks have 2$"),
        ({"inner_lr": 0.1}, r"^unknown option of protonet 'inner_lr'"),
        ({"inner_steps": 2}, r"^unknown option of protonet 'inner_steps'"),
        (
            {"tasks": mg.groups(np.ones((40, 2)), ["a", "b", "c", "a"] * 10, np.repeat([1, 2], 20)), "shots": 1},
            r"^tasks: some task's support has no example of some class; protonet needs N-way tasks",
        ),
    ],
)
def test_what_protonet_refuses(given: dict[str, Any], line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        prepared("protonet", **given)
