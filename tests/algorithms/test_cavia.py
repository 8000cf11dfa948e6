"""CAVIA: context parameters adapt, all others are learned; exact on quadratics, by differentiation on nets."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from cases import differences

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS, ANIL, MAML
from metagd_nb.algorithms.cavia import CAVIA
from metagd_nb.core.errors import MetagdError
from metagd_nb.core.parameters import ParameterLayout
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.problems.closed_form.quadratic import QuadraticPoint
from metagd_nb.tasks import Batch, TaskBatch

CLOSE = {"rtol": 1e-10, "atol": 1e-12}
NET = mg.mlp(2, 4, 3, 2, activation="tanh", context=2)


class Parted:
    """Quadratics ½(φ−c)ᵀA(φ−c) whose parameters have names: two of context, then three others."""

    layout, dtype = ParameterLayout({"context": (2,), "shared": (3,)}), np.dtype(float)

    def linearize(self, phi: np.ndarray, batch: Batch) -> QuadraticPoint:
        return QuadraticPoint(phi, batch)

    def flat(self, phi: np.ndarray, tasks: int) -> np.ndarray:
        return np.broadcast_to(phi, (tasks, 5))


@pytest.mark.parametrize("k", [0, 1, 3])
def test_meta_gradient_on_quadratics(k: int) -> None:
    """With φ₀ = (0, θ), D = α on the context alone and R = I − DA: mean of (Rᵀ)ᵏARᵏ(φ₀ − c), the context left out."""
    rng = np.random.default_rng(3)
    root = rng.standard_normal((4, 5, 5))
    a, c = root @ root.transpose(0, 2, 1) / 5 + np.eye(5), rng.standard_normal((4, 5))
    theta = rng.standard_normal(5)
    begun = np.concatenate([np.zeros(2), theta[2:]])
    rate = np.diag([0.3, 0.3, 0, 0, 0])
    expected, losses = np.zeros(5), []
    for a_i, c_i in zip(a, c, strict=True):
        r = np.linalg.matrix_power(np.eye(5) - rate @ a_i, k)
        expected += r.T @ a_i @ r @ (begun - c_i) / 4
        losses.append(0.5 * (begun - c_i) @ r.T @ a_i @ r @ (begun - c_i))
    expected[:2] = 0
    data = Batch(a, c)
    algorithm, problem = CAVIA(inner_lr=0.3, inner_steps=k), Parted()
    for start in (theta, algorithm.init_parameters(problem, theta)):  # what the context was counts for nothing
        made = algorithm.meta_gradient(problem, start, TaskBatch(data, data))
        np.testing.assert_allclose(made.grad, expected, **CLOSE)
        np.testing.assert_allclose(made.loss, losses, **CLOSE)
    np.testing.assert_array_equal(algorithm.init_parameters(problem, theta), begun)


def case(tasks: int = 4) -> tuple[NetProblem, np.ndarray, TaskBatch]:
    rng = np.random.default_rng(9)
    problem = NetProblem(NET)
    x, y = rng.standard_normal((tasks, 8, 2)), rng.standard_normal((tasks, 8, 2))
    theta = problem.start(rng) + 0.3 * rng.standard_normal(NET.layout.size)
    return problem, theta, TaskBatch(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]))


@pytest.mark.parametrize("k", [1, 2])
def test_meta_gradient_by_differentiating_through_the_adaptation(k: int) -> None:
    problem, theta, batch = case()
    made = CAVIA(inner_lr=0.5, inner_steps=k).meta_gradient(problem, theta, batch)

    def loss(context: Any, rest: Any, x: np.ndarray, y: np.ndarray) -> Any:
        flat = anp.concatenate([context, rest])
        params = {n: anp.reshape(flat[NET.layout.slices[n]], shape) for n, shape in NET.layout.shapes.items()}
        return anp.mean((NET.forward(anp, params, x) - y) ** 2)

    def meta_loss(rest: Any) -> Any:
        total = 0.0
        for t in range(4):
            context = anp.zeros(2)
            for _ in range(k):
                context = context - 0.5 * autograd.grad(loss)(context, rest, batch.support.x[t], batch.support.y[t])
            total = total + loss(context, rest, batch.query.x[t], batch.query.y[t])
        return total / 4

    assert next(iter(NET.layout.slices)) == "context"
    np.testing.assert_allclose(made.loss.mean(), meta_loss(theta[2:]), **CLOSE)
    np.testing.assert_allclose(made.grad[2:], autograd.grad(meta_loss)(theta[2:]), **CLOSE)
    np.testing.assert_array_equal(made.grad[:2], 0)


def test_cavia_is_maml_with_two_masks() -> None:
    problem, theta, batch = case()
    theta[:2] = 0
    mask = problem.layout.mask(["context"])
    cavia = CAVIA(inner_lr=0.4, inner_steps=3).meta_gradient(problem, theta, batch)
    maml = MAML(inner_lr=tuple(0.4 * mask), inner_steps=3).meta_gradient(problem, theta, batch)
    np.testing.assert_allclose(cavia.loss, maml.loss, **CLOSE)
    np.testing.assert_allclose(cavia.grad, np.where(mask, 0, maml.grad), **CLOSE)
    assert np.abs(maml.grad[mask]).min() > 1e-4


def test_where_everything_is_context_nothing_is_learned_and_with_no_steps_it_is_descent() -> None:
    problem, theta, batch = case()
    everything = ",".join(problem.layout.shapes)
    made = CAVIA(adapted=everything, inner_lr=0.1).meta_gradient(problem, theta, batch)
    assert not made.grad.any()
    theta[:2] = 0
    still = CAVIA(inner_steps=0).meta_gradient(problem, theta, batch)
    plain = problem.linearize(theta, batch.query)
    np.testing.assert_allclose(still.loss, plain.loss, **CLOSE)
    np.testing.assert_allclose(still.grad[2:], plain.grad.mean(axis=0)[2:], **CLOSE)


def test_adaptation_moves_the_context_alone() -> None:
    problem, theta, batch = case()
    algorithm = CAVIA(inner_lr=0.5)
    path = [problem.flat(phi, 4) for phi in algorithm.path(problem, theta, batch.support, 3)]
    np.testing.assert_array_equal(path[0][:, :2], 0)
    for before, after in pairwise(path):
        np.testing.assert_array_equal(after[:, 2:], np.broadcast_to(theta[2:], (4, len(theta) - 2)))
        assert (after[:, :2] != before[:, :2]).all()
    one = algorithm.start(problem, theta, 1)[0]
    grad = problem.linearize(one, batch.support).grad[:, :2]
    np.testing.assert_allclose(path[1][:, :2], -0.5 * grad, **CLOSE)


@pytest.mark.parametrize("learn", ["run", "layer", "parameter", "step", "step-layer"])
@pytest.mark.parametrize("kind", [CAVIA, ANIL])
def test_learned_rates_leave_alone_what_does_not_adapt(kind: Any, learn: str) -> None:
    problem, theta, batch = case()
    algorithm = kind(inner_lr=0.2, inner_steps=2, learn_rates=learn)
    lifted = algorithm.init_parameters(problem, theta)
    assert algorithm.rates(problem, lifted, ())[0] == pytest.approx(0.2)
    still = ~algorithm.mask(problem)
    (start, *_), (*_, end) = (
        [problem.flat(phi, 4) for phi in algorithm.path(problem, lifted, batch.support, 2)] for _ in "ab"
    )
    np.testing.assert_array_equal(end[:, still], start[:, still])

    def loss(where: np.ndarray) -> float:
        return float(algorithm.meta_gradient(problem, where, batch).loss.mean())

    grad = algorithm.meta_gradient(problem, lifted, batch).grad
    np.testing.assert_allclose(grad, differences(loss, lifted), rtol=1e-5, atol=1e-8)
    first, second = (kind(inner_lr=0.2, inner_steps=2, learn_rates=one) for one in ("no", learn))
    np.testing.assert_allclose(
        second.meta_gradient(problem, lifted, batch).loss, first.meta_gradient(problem, theta, batch).loss, **CLOSE
    )


def test_a_run_learns_through_its_context() -> None:
    run = mg.train("cavia", model=mg.mlp(1, 20, 20, 1, context=2), tasks=mg.sinusoid(), steps=400, meta_lr=0.005)
    assert run.loop.algorithm.inner_lr == 1.0  # type: ignore[attr-defined]
    np.testing.assert_array_equal(run.params["context"], 0)
    scored = run.evaluate(n_tasks=200)
    assert scored.mean[1] < 0.75 * scored.mean[0]
    x = np.linspace(-5, 5, 10)
    f = run.adapt(x, 3 * np.sin(x - 1))
    before = run.adapt(x, 3 * np.sin(x - 1), steps=0)
    grid = np.linspace(-5, 5, 50)
    truth = 3 * np.sin(grid - 1)
    assert np.mean((f(grid) - truth) ** 2) < np.mean((before(grid) - truth) ** 2)


def test_a_users_own_model_with_a_context() -> None:
    net = mg.mlp(1, 5, 1, activation="tanh", context=2)

    def model(params, x):  # type: ignore[no-untyped-def]
        h = np.concatenate([x, np.ones((len(x), 1)) * params["context"]], axis=1)
        return np.tanh(h @ params["W0"] + params["b0"]) @ params["W1"] + params["b1"]

    given: dict[str, Any] = {"tasks": mg.sinusoid(), "steps": 6, "inner_steps": 2, "meta_batch_size": 3}
    built = mg.train("cavia", model=net, **given)
    start = mg.prepare("cavia", model=net, **given).loop.peek()["params"]
    start["context"][:] = 5.0  # counts for nothing
    own = mg.train("cavia", model=model, params=start, **given)
    np.testing.assert_allclose(own.record["loss"], built.record["loss"], rtol=1e-9)
    np.testing.assert_array_equal(own.params["context"], 0)


def test_what_cavia_refuses() -> None:
    with pytest.raises(
        MetagdError, match=r"^model: has no context to adapt; mlp\(…, context=2\) has two numbers of it$"
    ):
        mg.train("cavia", model=mg.mlp(1, 4, 1), tasks=mg.sinusoid())
    with pytest.raises(MetagdError, match=r"^unknown parameter 'W9'"):
        mg.train("cavia", model=mg.mlp(1, 4, 1), tasks=mg.sinusoid(), adapted="W9")
    assert ALGORITHMS["cavia"] is CAVIA
