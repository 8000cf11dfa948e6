"""What must be equal, whatever the numbers: two ways to the same result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import BY_STEPS, EXTRA, assert_same, deterministic, fitting, table

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS, GD, MAML
from metagd_nb.core.parameters import ParameterLayout
from metagd_nb.models.net import Net
from metagd_nb.problems.closed_form.least_squares import LeastSquares
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.problems.closed_form.quadratic import QuadraticProblem
from metagd_nb.tasks import Batch, TaskBatch
from metagd_nb.training.costs import CountingProblem

CLOSE = {"rtol": 1e-10, "atol": 1e-13}
NET = mg.mlp(2, 5, 2, activation="tanh")


def meta_case(tasks: int = 5) -> tuple[NetProblem, np.ndarray, TaskBatch]:
    rng = np.random.default_rng(9)
    problem = NetProblem(NET)
    x, y = rng.standard_normal((tasks, 8, 2)), rng.standard_normal((tasks, 8, 2))
    theta = problem.start(rng) + 0.2 * rng.standard_normal(NET.layout.size)
    return problem, theta, TaskBatch(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]))


PULLED_BACK = ["maml", "fomaml", "anil", "meta-sgd"]  # methods that descend the query loss after a few steps


def found(method: str, problem: Any, theta: np.ndarray, batch: TaskBatch, **hyper: Any) -> Any:
    """Losses and direction (M,) of one meta-step, from parameters (P,)."""
    algorithm: Any = ALGORITHMS[method](**(EXTRA.get(method, {}) | hyper))
    return algorithm.meta_gradient(problem, algorithm.init_parameters(problem, theta), batch)


def grad_of(method: str, problem: Any, theta: np.ndarray, batch: TaskBatch, **hyper: Any) -> np.ndarray:
    """The part (P,) of the direction that belongs to the parameters."""
    grad: np.ndarray = found(method, problem, theta, batch, **hyper).grad[: len(theta)]
    return grad


# ---- meta-gradients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", PULLED_BACK)
def test_no_inner_steps_is_descent_on_the_query_loss(method: str) -> None:
    problem, theta, batch = meta_case()
    pooled = Batch(batch.query.x.reshape(1, -1, 2), batch.query.y.reshape(1, -1, 2))
    expected = problem.linearize(theta, pooled)
    made = found(method, problem, theta, batch, inner_steps=0)
    np.testing.assert_allclose(made.grad[: len(theta)], expected.grad[0], **CLOSE)
    assert made.loss.mean() == pytest.approx(expected.loss[0])


def test_no_inner_steps_runs_the_path_of_gd() -> None:
    """The mean of two equal-sized tasks is one table: MAML without adaptation and GD on it walk together."""
    a, c = np.array([3.0, 1.0]), np.array([[2.0], [-1.0]])
    meta = mg.train("maml", tasks=mg.quadratics(a, c), inner_steps=0, outer="sgd", meta_lr=0.2, steps=30)

    def loss(theta):  # type: ignore[no-untyped-def]
        return (1.5 * (theta[0] - 2.0) ** 2 + 0.5 * (theta[0] + 1.0) ** 2) / 2

    single = mg.train("gd", loss=loss, params={"theta": np.zeros(1)}, lr=0.2, steps=30)
    np.testing.assert_allclose(meta.record["loss"], single.record["loss"], rtol=1e-10)


@pytest.mark.parametrize("method", PULLED_BACK)
def test_rates_of_zero_adapt_nothing(method: str) -> None:
    problem, theta, batch = meta_case()
    nothing = grad_of(method, problem, theta, batch, inner_steps=0)
    zero = (0.0,) * NET.layout.size
    for rate in (0.0, zero):
        np.testing.assert_allclose(
            grad_of(method, problem, theta, batch, inner_lr=rate, inner_steps=3), nothing, **CLOSE
        )


@pytest.mark.parametrize("method", BY_STEPS)
def test_equal_rates_for_all_are_one_rate(method: str) -> None:
    problem, theta, batch = meta_case()
    one = grad_of(method, problem, theta, batch, inner_lr=0.07, inner_steps=3)
    many = grad_of(method, problem, theta, batch, inner_lr=(0.07,) * NET.layout.size, inner_steps=3)
    np.testing.assert_allclose(many, one, **CLOSE)


@pytest.mark.parametrize("method", [name for name in BY_STEPS if name != "cavia"])  # whose context NET has not
def test_the_support_is_adapted_to_and_the_query_judges(method: str) -> None:
    problem, theta, batch = meta_case()
    algorithm: Any = ALGORITHMS[method](**(EXTRA.get(method, {}) | {"inner_lr": 0.05, "inner_steps": 3}))
    start = algorithm.init_parameters(problem, theta)
    made = algorithm.meta_gradient(problem, start, batch)
    phi = algorithm.adapt(problem, start, batch.support)
    np.testing.assert_allclose(made.loss, problem.linearize(phi, batch.query).loss, **CLOSE)
    if method == "reptile":
        np.testing.assert_allclose(made.grad, theta - np.asarray(problem.flat(phi, 5)).mean(axis=0), **CLOSE)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_what_the_losses_of_all_steps_cost_is_counted(steps: int) -> None:
    problem, theta, batch = meta_case()
    counting = CountingProblem(problem)
    made = MAML(inner_steps=steps, query_loss="all").meta_gradient(counting, theta, batch)
    assert (counting.grad_evals, counting.hvps) == (5 * made.grad_evals, 5 * made.hvps)
    assert made.grad_evals == steps + max(steps, 1)


@pytest.mark.parametrize("method", BY_STEPS)
def test_order_of_tasks_is_irrelevant(method: str) -> None:
    problem, theta, batch = meta_case()
    order = np.random.default_rng(0).permutation(len(batch))
    shuffled = TaskBatch(*(Batch(part.x[order], part.y[order]) for part in batch))
    hyper = {"inner_lr": 0.1, "inner_steps": 2}
    np.testing.assert_allclose(
        grad_of(method, problem, theta, shuffled, **hyper), grad_of(method, problem, theta, batch, **hyper), **CLOSE
    )


@pytest.mark.parametrize("method", BY_STEPS)
def test_a_batch_is_the_mean_of_its_singles(method: str) -> None:
    problem, theta, batch = meta_case()
    hyper = {"inner_lr": 0.02, "inner_steps": 2}
    made = found(method, problem, theta, batch, **hyper)
    singles = [found(method, problem, theta, batch.tasks(slice(i, i + 1)), **hyper) for i in range(len(batch))]
    np.testing.assert_allclose(made.loss, [one.loss[0] for one in singles], **CLOSE)
    np.testing.assert_allclose(made.grad, np.mean([one.grad for one in singles], axis=0), **CLOSE)


def test_a_point_shared_by_all_tasks_is_one_copy_a_task() -> None:
    problem, theta, batch = meta_case()
    shared = problem.linearize(theta, batch.support)
    copies = problem.linearize(np.tile(theta, (len(batch), 1)), batch.support)
    v = np.random.default_rng(3).standard_normal(copies.grad.shape)
    np.testing.assert_allclose(shared.loss, copies.loss, **CLOSE)
    np.testing.assert_allclose(shared.grad, copies.grad, **CLOSE)
    np.testing.assert_allclose(shared.hvp(v), copies.hvp(v), **CLOSE)
    np.testing.assert_allclose(shared.step(0.1), copies.step(0.1), **CLOSE)


def test_hvp_may_come_before_grad_and_twice() -> None:
    """The forward pass is shared: the order in which the three things are asked for changes none of them."""
    problem, theta, batch = meta_case()
    v = np.random.default_rng(3).standard_normal((len(batch), NET.layout.size))
    first, second = (problem.linearize(theta, batch.support) for _ in range(2))
    bent = first.hvp(v)
    grad = second.grad.copy()
    np.testing.assert_array_equal(first.grad, grad)
    np.testing.assert_array_equal(second.hvp(v), bent)
    np.testing.assert_array_equal(first.hvp(v), bent)
    np.testing.assert_allclose(first.hvp(2 * v), 2 * bent, **CLOSE)  # linear in v
    np.testing.assert_array_equal(first.grad, grad)


class Mixed:
    """A problem whose support loss is linear in θ (x·θ) and whose query loss is not (Σ exp θ)."""

    def __init__(self, size: int) -> None:
        self.layout, self.dtype = ParameterLayout({"theta": (size,)}), np.dtype(float)

    def linearize(self, phi: np.ndarray, batch: Batch) -> Any:
        linear, slopes = batch.y[0, 0, 0] == 0, batch.x[:, 0]
        phi = np.broadcast_to(phi, slopes.shape)

        class Point:
            loss = (slopes * phi).sum(1) if linear else np.exp(phi).sum(1)
            grad = slopes if linear else np.exp(phi)

            def hvp(self, v: np.ndarray) -> np.ndarray:
                return 0 * v if linear else np.exp(phi) * v

            def step(self, rate: Any) -> np.ndarray:
                return np.asarray(phi - rate * self.grad)

        return Point()


@pytest.mark.parametrize("k", [1, 4])
def test_first_order_is_exact_where_the_support_loss_is_linear(k: int) -> None:
    rng = np.random.default_rng(1)
    slopes, zeros = rng.standard_normal((6, 1, 3)), np.zeros((6, 1, 1))
    batch = TaskBatch(Batch(slopes, zeros), Batch(slopes, zeros + 1))
    theta, problem = rng.standard_normal(3), Mixed(3)
    hyper: dict[str, Any] = {"inner_lr": 0.3, "inner_steps": k}
    first, whole = (grad_of(method, problem, theta, batch, **hyper) for method in ("fomaml", "maml"))
    np.testing.assert_allclose(first, whole, **CLOSE)
    np.testing.assert_allclose(whole, np.exp(theta - 0.3 * k * slopes[:, 0]).mean(0), **CLOSE)
    swapped = TaskBatch(batch.query, batch.support)
    assert not np.allclose(*(grad_of(method, problem, theta, swapped, **hyper) for method in ("fomaml", "maml")))


def test_first_order_differs_from_maml_where_there_is_curvature() -> None:
    problem, theta, batch = meta_case()
    hyper = {"inner_lr": 0.1, "inner_steps": 2}
    assert not np.allclose(
        grad_of("maml", problem, theta, batch, **hyper), grad_of("fomaml", problem, theta, batch, **hyper), rtol=1e-3
    )


# ---- the same run from two sources --------------------------------------------------------------------------------


def written_by_hand(params, x):  # type: ignore[no-untyped-def]
    h = np.tanh(np.dot(x, params["W0"]) + params["b0"])
    h = np.tanh(np.dot(h, params["W1"]) + params["b1"])
    return np.dot(h, params["W2"]) + params["b2"]


def mean_square(prediction, target):  # type: ignore[no-untyped-def]
    return np.mean((prediction - target) ** 2)


def worst_tenth(prediction, target):  # type: ignore[no-untyped-def]
    return np.mean(np.log(np.cosh(prediction - target))) + 0.1 * np.mean(prediction**4) ** 0.5


SOURCED = ["maml", "fomaml"]

META_RUN: dict[str, Any] = {
    "tasks": mg.sinusoid(),
    "inner_lr": 0.02,
    "inner_steps": 2,
    "meta_lr": 0.01,
    "meta_batch_size": 2,
    "shots": 5,
    "queries": 5,
    "steps": 60,
    "seed": 3,
}


@pytest.mark.parametrize("method", SOURCED)
def test_built_in_net_and_the_same_net_written_by_the_user(method: str) -> None:
    net = mg.mlp(1, 6, 4, 1, activation="tanh")
    own = mg.train(method, model=net, **META_RUN)
    start = net.layout.views(net.start(np.random.default_rng(META_RUN["seed"])))
    for loss in (None, mean_square):
        more = {} if loss is None else {"steps": 5}
        user = mg.train(method, model=written_by_hand, params=start, loss=loss, **(META_RUN | more))
        if loss is not None:
            own = mg.train(method, model=net, **(META_RUN | more))
        np.testing.assert_allclose(user.record["loss"], own.record["loss"], rtol=1e-10)
        np.testing.assert_allclose(user.record["grad_norm"], own.record["grad_norm"], rtol=1e-10)
        for name, values in own.params.items():
            np.testing.assert_allclose(user.params[name], values, rtol=1e-10, atol=1e-12)
        for column in ("grad_evals", "hvps"):
            np.testing.assert_array_equal(user.record[column], own.record[column])


@pytest.mark.parametrize("loss", [mean_square, worst_tenth])
@pytest.mark.parametrize("method", SOURCED)
def test_a_users_output_loss_on_a_built_in_net(method: str, loss: Any) -> None:
    net, given = mg.mlp(1, 6, 4, 1, activation="tanh"), META_RUN | {"steps": 60 if loss is mean_square else 20}
    at_output = mg.train(method, model=net, loss=loss, **given)
    if loss is mean_square:
        other = mg.train(method, model=net, **given)
    else:
        start = net.layout.views(net.start(np.random.default_rng(given["seed"])))
        other = mg.train(method, model=written_by_hand, params=start, loss=loss, **given)
    np.testing.assert_allclose(at_output.record["loss"], other.record["loss"], rtol=1e-10)
    for name, values in other.params.items():
        np.testing.assert_allclose(at_output.params[name], values, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("method", ["gd", "momentum", "adam", "hd"])
def test_linear_regression_from_each_source(method: str) -> None:
    x, y = table(outputs=1)
    target = y[:, 0]

    def loss(w, b):  # type: ignore[no-untyped-def]
        return np.mean((np.dot(x, w) + b - target) ** 2)

    def gradient(w, b):  # type: ignore[no-untyped-def]
        error = np.dot(x, w) + b - target
        return 2 * np.dot(x.T, error) / len(x), 2 * np.mean(error)

    start = {"w": np.zeros(3), "b": 0.0}
    fit = mg.train(method, model=mg.linear(3), x=x, y=y, lr=0.02, steps=60)
    traced = mg.train(method, loss=loss, params=start, lr=0.02, steps=60)
    given = mg.train(method, loss=loss, gradient=gradient, params=start, lr=0.02, steps=60)
    for run in (traced, given):
        np.testing.assert_allclose(run.record["loss"], fit.record["loss"], rtol=1e-10)
        np.testing.assert_allclose(run.params["w"], fit.params["W0"][:, 0], rtol=1e-9)
        np.testing.assert_allclose(run.params["b"], fit.params["b0"][0], rtol=1e-9)


# ---- least squares: XᵀX once, the same path as the naive loop -----------------------------------------------------


def naive(x: np.ndarray, y: np.ndarray, bias: bool, lr: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Losses (steps+1,) and last weights (D[+1], C) of the loop that a beginner writes."""
    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1) if bias else x
    w = np.zeros((ones.shape[1], y.shape[1]))
    losses = []
    for step in range(steps + 1):
        error = ones @ w - y
        losses.append(np.mean(error**2))
        if step < steps:
            w = w - lr * (2 * ones.T @ error / error.size)
    return np.array(losses), w


def stable_rate(x: np.ndarray, outputs: int, bias: bool) -> float:
    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1) if bias else x
    return 0.9 * len(x) * outputs / np.linalg.norm(ones, 2) ** 2


def scaled(kind: str) -> np.ndarray:
    x, _ = table(200, 6, seed=2)
    if kind == "columns of very different size":
        x = x * np.array([1.0, 1e-4, 1e3, 1.0, 30.0, 1e-2])
    elif kind == "far from zero":
        x = x + 50.0
    elif kind == "two columns nearly the same":
        x[:, 1] = x[:, 0] + 1e-6 * x[:, 1]
    elif kind == "a column twice":
        x[:, 1] = x[:, 0]
    elif kind == "a column of zeros":
        x[:, 1] = 0.0
    return x


KINDS = [
    "plain",
    "columns of very different size",
    "far from zero",
    "two columns nearly the same",
    "a column twice",
    "a column of zeros",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_least_squares_walks_the_naive_path(kind: str, outputs: int, bias: bool) -> None:
    x = scaled(kind)
    y = table(200, 6, outputs, seed=2)[1]
    lr = stable_rate(x, outputs, bias)
    run = mg.train("gd", model=mg.linear(6, outputs, bias), x=x, y=y, lr=lr, steps=1000)
    losses, w = naive(x, y, bias, lr, 1000)
    np.testing.assert_allclose(run.record["loss"], losses, rtol=1e-10)
    found = np.concatenate([run.params["W0"], run.params["b0"][None]]) if bias else run.params["W0"]
    np.testing.assert_allclose(found, w, rtol=1e-10, atol=1e-10 * np.abs(w).max())


def test_least_squares_loss_is_true_where_the_optimum_is_not_resolved() -> None:
    """Columns so unlike that the solver gives one of them up: the loss must not depend on that."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 3)) * np.array([1.0, 1e-9, 1e4])
    y = x @ np.array([[1.0], [3e9], [1e-4]])
    lr = stable_rate(x, 1, False)
    run = mg.train("gd", model=mg.linear(3, bias=False), x=x, y=y, lr=lr, steps=200)
    np.testing.assert_allclose(run.record["loss"], naive(x, y, False, lr, 200)[0], rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_least_squares_reference_is_the_optimum(kind: str, bias: bool) -> None:
    x, y = scaled(kind), table(200, 6, 2, seed=2)[1]
    ones = np.concatenate([x, np.ones((200, 1))], axis=1) if bias else x
    basis = np.linalg.qr(ones / np.maximum(np.abs(ones).max(0), 1e-300))[0]
    if kind in ("a column twice", "a column of zeros"):
        basis = np.linalg.qr(np.delete(ones, 1, axis=1))[0]
    expected = np.mean((y - basis @ (basis.T @ y)) ** 2)
    run = mg.train("gd", model=mg.linear(6, 2, bias), x=x, y=y, lr=stable_rate(x, 2, bias), steps=2000)
    (reference,) = run.plan.references
    assert reference.value == pytest.approx(expected, rel=1e-10)
    assert reference.label == "least squares (optimum)"
    assert run.record["loss"].min() >= reference.value * (1 - 1e-10)
    if kind == "plain":
        assert run.loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("net", [mg.linear(3, o, bias) for o in (1, 2) for bias in (True, False)], ids=repr)
def test_least_squares_is_the_net_in_all_three(net: Net) -> None:
    x, y = table(40, 3, net.outputs)
    batch = Batch(x[None], y[None])
    theta, v = np.random.default_rng(0).standard_normal((2, net.layout.size))
    fast, plain = LeastSquares(net, batch).linearize(theta), NetProblem(net).linearize(theta, batch)
    np.testing.assert_allclose(fast.loss, plain.loss, **CLOSE)
    np.testing.assert_allclose(fast.grad, plain.grad, **CLOSE)
    np.testing.assert_allclose(fast.hvp(v[None]), plain.hvp(v[None]), **CLOSE)
    np.testing.assert_allclose(fast.step(0.1), plain.step(0.1), **CLOSE)
    np.testing.assert_array_equal(LeastSquares(net, batch).predict(theta, x), NetProblem(net).predict(theta, x))


def test_least_squares_in_float32() -> None:
    """Sums in float64, steps in float32: it follows the path to that precision, and its arrays stay float32."""
    x, y = table(200, 6, 2)
    x += 20.0
    lr = stable_rate(x, 2, True)
    run = mg.train("gd", model=mg.linear(6, 2), x=x, y=y, lr=lr, steps=300, dtype="float32")
    losses, _ = naive(x, y, True, lr, 300)
    np.testing.assert_allclose(run.record["loss"], losses, rtol=2e-4)
    assert all(values.dtype == np.float32 for values in run.params.values())


@pytest.mark.parametrize("method", BY_STEPS)
def test_float32_follows_float64(method: str) -> None:
    given = fitting(method, META_RUN | EXTRA.get(method, {}) | {"steps": 20, "outer": "sgd"})
    net = mg.mlp(1, 6, 4, 1, activation="tanh")
    exact = mg.train(method, model=net, **given)
    short = mg.train(method, model=net, dtype="float32", **given)
    np.testing.assert_allclose(short.record["loss"], exact.record["loss"], rtol=1e-4)
    assert all(values.dtype == np.float32 for values in short.params.values())


@pytest.mark.parametrize("inner_lr", [0.02, (0.02,) * 13])
@pytest.mark.parametrize("outer", ["sgd", "momentum", "adam"])
def test_float32_stays_float32(outer: str, inner_lr: Any) -> None:
    """No rate, state or data slips a float64 into the arithmetic: it would halve the speed."""
    net = mg.mlp(1, 4, 1)
    problem = NetProblem(net, dtype=np.float32)
    batch = mg.sinusoid().sample(np.random.default_rng(0), 1, 3, 5, 5).cast(np.float32)
    algorithm = MAML(inner_lr=inner_lr, inner_steps=2, outer=outer)
    theta = problem.start(np.random.default_rng(0))
    look = algorithm.evaluate(problem, theta, algorithm.init(theta), batch)
    moved, state = algorithm.update(theta, look)
    point = problem.linearize(theta, batch.support)
    for array in (
        theta,
        look.grad,
        moved,
        point.hvp(point.grad),
        point.step(0.1),
        problem.predict(theta, batch.query.x),
    ):
        assert array.dtype == np.float32
    assert all(part.dtype == np.float32 for part in state if isinstance(part, np.ndarray))


# ---- runs ---------------------------------------------------------------------------------------------------------


def test_blocking_and_background_runs_are_equal() -> None:
    x, y = table()
    given: dict[str, Any] = {"model": mg.linear(3), "x": x, "y": y, "steps": 200}
    assert_same(mg.train("adam", **given), mg.start("adam", **given).wait())


def test_momentum_without_mass_is_gd() -> None:
    x, y = table()
    runs = [
        mg.train(method, model=mg.linear(3), x=x, y=y, lr=0.05, steps=50, **more)
        for method, more in (("gd", {}), ("momentum", {"momentum": 0.0}), ("hd", {"hyper_lr": 0.0}))
    ]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.record["loss"], runs[0].record["loss"])
        np.testing.assert_array_equal(run.params["W0"], runs[0].params["W0"])


def test_quadratics_ignore_what_full_batches_do_not_need() -> None:
    family = mg.quadratics((1.0, 3.0), (0.0, 1.0))
    runs = [mg.train("maml", tasks=family, steps=20, **more) for more in ({}, {"meta_batch_size": 1, "shots": 3})]
    for (name, left), (_, right) in zip(deterministic(runs[0]), deterministic(runs[1]), strict=True):
        np.testing.assert_array_equal(left, right, err_msg=name)
    point = QuadraticProblem(family).linearize(np.array([0.5]), Batch(family.a, family.c))
    np.testing.assert_allclose(point.loss, [0.125, 0.375])


def test_gd_is_the_plain_step() -> None:
    problem, theta, batch = meta_case(1)
    algorithm = GD(lr=0.3)
    look = algorithm.evaluate(problem, theta, algorithm.init(theta), batch.support)
    np.testing.assert_array_equal(algorithm.update(theta, look)[0], theta - 0.3 * look.grad)
