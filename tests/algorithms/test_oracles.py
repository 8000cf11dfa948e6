"""Every method against values known in closed form, from each source of a problem.

The numbers are printed in the sources or were computed independently of the kit; where a formula stands
here, it is written in plain matrix algebra, not with the kit's own functions.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from cases import differences

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS, FOMAML, HD, MAML, Adam, Momentum
from metagd_nb.models.losses import mse
from metagd_nb.models.net import Net
from metagd_nb.problems.base import Problem
from metagd_nb.problems.closed_form.least_squares import LeastSquares
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.problems.closed_form.quadratic import QuadraticProblem
from metagd_nb.tasks import Batch, TaskBatch

ANIL, IMAML, MetaSGD, Reptile = (ALGORITHMS[name] for name in ("anil", "imaml", "meta-sgd", "reptile"))
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def mean_square(prediction: Any, target: Any) -> Any:
    return np.mean((prediction - target) ** 2)


HAS_JAX = importlib.util.find_spec("jax") is not None
BACKENDS = pytest.mark.parametrize(
    "backend", ["numpy", pytest.param("jax", marks=pytest.mark.skipif(not HAS_JAX, reason="needs the extra jax"))]
)


# ---- quadratics: fixed points and meta-gradients ------------------------------------------------------------------


@BACKENDS
@pytest.mark.parametrize(
    ("method", "inner_steps", "expected"),
    [
        ("maml", 0, 0.75),
        ("fomaml", 0, 0.75),
        ("maml", 1, 0.644737),
        ("maml", 5, 0.195520),
        ("fomaml", 1, 0.70),
        ("fomaml", 5, 0.460592),
        ("anil", 5, 0.195520),
        ("reptile", 1, 0.75),
        ("reptile", 5, 0.670133),
        ("imaml", 1000, 0.519231),
    ],
)
def test_fixed_point_of_two_parabolas(method: str, inner_steps: int, expected: float, backend: str) -> None:
    more = {"lam": 2.0, "inner_tol": 1e-12} if method == "imaml" else {}
    run = mg.train(
        method,
        tasks=mg.quadratics((1.0, 3.0), (0.0, 1.0)),
        inner_lr=0.1,
        inner_steps=inner_steps,
        outer="sgd",
        meta_lr=0.5,
        steps=600 if method != "imaml" else 60,
        backend=backend,
        **more,
    )
    assert run.params["theta"] == pytest.approx(expected, abs=5e-7)


def spd(rng: np.random.Generator, tasks: int, d: int) -> np.ndarray:
    """Random symmetric positive definite matrices (T, d, d)."""
    m = rng.standard_normal((tasks, d, d))
    return m @ m.transpose(0, 2, 1) / d + 0.3 * np.eye(d)


def meta_gradient_by_matrices(method: str, a: Any, c: Any, theta: Any, rate: Any, k: int) -> np.ndarray:
    """(d,): mean of (Rᵀ)ᵏARᵏ(θ−c), without the (Rᵀ)ᵏ for FOMAML; R = I − DA."""
    total = np.zeros(len(theta))
    for one_a, one_c in zip(a, c, strict=True):
        r = np.linalg.matrix_power(np.eye(len(theta)) - np.diag(rate) @ one_a, k)
        v = one_a @ r @ (theta - one_c)
        total += r.T @ v if method == "maml" else v
    return total / len(a)


@pytest.mark.parametrize("k", [0, 1, 2, 5])
@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize(("method", "kind"), [("maml", MAML), ("fomaml", FOMAML)])
def test_meta_gradient_on_random_quadratics(method: str, kind: Any, vector: bool, k: int) -> None:
    rng = np.random.default_rng(k)
    a, c, theta = spd(rng, 7, 4), rng.standard_normal((7, 4)), rng.standard_normal(4)
    rate = rng.uniform(0, 0.4, 4) if vector else np.full(4, 0.15)
    problem, data = QuadraticProblem(mg.quadratics(a, c)), Batch(a, c)
    algorithm = kind(inner_lr=tuple(rate) if vector else 0.15, inner_steps=k)
    losses, grad, *_ = algorithm.meta_gradient(problem, theta, TaskBatch(data, data))
    np.testing.assert_allclose(grad, meta_gradient_by_matrices(method, a, c, theta, rate, k), **EXACT)
    phi = np.array([c_i + np.linalg.matrix_power(np.eye(4) - np.diag(rate) @ a_i, k) @ (theta - c_i)
                    for a_i, c_i in zip(a, c, strict=True)])  # fmt: skip
    expected = [0.5 * (p - c_i) @ a_i @ (p - c_i) for p, a_i, c_i in zip(phi, a, c, strict=True)]
    np.testing.assert_allclose(losses, expected, **EXACT)


def quadratic_case(k: int) -> tuple[QuadraticProblem, np.ndarray, np.ndarray, np.ndarray, TaskBatch]:
    rng = np.random.default_rng(k)
    a, c, theta = spd(rng, 6, 3), rng.standard_normal((6, 3)), rng.standard_normal(3)
    return QuadraticProblem(mg.quadratics(a, c)), a, c, theta, TaskBatch(Batch(a, c), Batch(a, c))


@pytest.mark.parametrize("k", [0, 1, 2, 5])
def test_reptile_on_random_quadratics(k: int) -> None:
    """Mean of (I − Rᵏ)(θ − c)."""
    problem, a, c, theta, batch = quadratic_case(k)
    r = [np.linalg.matrix_power(np.eye(3) - 0.2 * one, k) for one in a]
    expected = np.mean([(np.eye(3) - one) @ (theta - ci) for one, ci in zip(r, c, strict=True)], axis=0)
    found = Reptile(inner_lr=0.2, inner_steps=k).meta_gradient(problem, theta, batch)
    np.testing.assert_allclose(found.grad, expected, **EXACT)


def test_implicit_maml_on_random_quadratics() -> None:
    """Mean of (λ(A+λI)⁻¹)²A(θ − c): φ − c = λ(A+λI)⁻¹(θ − c), then u = (I + A/λ)⁻¹A(φ − c)."""
    problem, a, c, theta, batch = quadratic_case(1)
    pull = [2.0 * np.linalg.inv(one + 2.0 * np.eye(3)) for one in a]
    expected = np.mean([m @ ai @ m @ (theta - ci) for m, ai, ci in zip(pull, a, c, strict=True)], axis=0)
    algorithm = IMAML(lam=2.0, inner_lr=0.2, inner_steps=500, inner_tol=1e-13)
    np.testing.assert_allclose(algorithm.meta_gradient(problem, theta, batch).grad, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("learn", "rate", "in_rates"), [("parameter", (0.1, 0.2), (-1.2, -4.2)), ("run", 0.1, None), ("step", 0.1, None)]
)
def test_gradient_in_the_inner_rates(learn: str, rate: Any, in_rates: Any) -> None:
    """dL/dD = −Σⱼ gⱼ⊙vⱼ₊₁; shared rates add up; by differences too, the rates being among what is learned."""
    a, c = np.array([[[2.0, 1.0], [1.0, 3.0]]]), np.zeros((1, 2))
    problem, data = QuadraticProblem(mg.quadratics(a, c)), Batch(a, c)
    algorithm = MAML(inner_lr=rate, inner_steps=2, learn_rates=learn)
    lifted = algorithm.init_parameters(problem, np.array([1.0, -2.0]))
    grad = algorithm.meta_gradient(problem, lifted, TaskBatch(data, data)).grad
    if in_rates:
        np.testing.assert_allclose(grad, [1.008, -0.306, *in_rates], **EXACT)
        meta_sgd = MetaSGD(inner_lr=rate, inner_steps=2).meta_gradient(problem, lifted, TaskBatch(data, data))
        np.testing.assert_array_equal(meta_sgd.grad, grad)

    def loss(where: np.ndarray) -> float:
        return float(algorithm.meta_gradient(problem, where, TaskBatch(data, data)).loss[0])

    np.testing.assert_allclose(grad, differences(loss, lifted), rtol=1e-7)


@pytest.mark.parametrize("learn", ["no", "layer", "step-layer", "parameter"])
def test_loss_of_every_inner_step(learn: str) -> None:
    problem, theta, batch = net_case(NETS[0])
    algorithm = MAML(inner_lr=0.05, inner_steps=3, query_loss="all", learn_rates=learn)
    lifted = algorithm.init_parameters(problem, theta)

    def mean_over_steps(where: np.ndarray) -> float:
        path = list(algorithm.path(problem, where, batch.support, 3))
        return float(np.mean([problem.linearize(phi, batch.query).loss.mean() for phi in path[1:]]))

    grad = algorithm.meta_gradient(problem, lifted, batch).grad
    np.testing.assert_allclose(grad, differences(mean_over_steps, lifted), rtol=1e-5, atol=1e-8)


def test_anil_is_maml_with_the_other_rates_zero() -> None:
    problem, theta, batch = net_case(NETS[0])
    rates = tuple(0.05 * problem.layout.mask(["W2", "b2"]))
    anil = ANIL(inner_lr=0.05, inner_steps=3).meta_gradient(problem, theta, batch)
    maml = MAML(inner_lr=rates, inner_steps=3).meta_gradient(problem, theta, batch)
    np.testing.assert_allclose(anil.grad, maml.grad, **EXACT)
    everything = ",".join(problem.layout.shapes)
    whole = ANIL(inner_lr=0.05, inner_steps=3, adapted=everything).meta_gradient(problem, theta, batch)
    np.testing.assert_allclose(
        whole.grad, MAML(inner_lr=0.05, inner_steps=3).meta_gradient(problem, theta, batch).grad, **EXACT
    )


@BACKENDS
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("method", ["maml", "fomaml"])
def test_fixed_point_on_random_quadratics(method: str, k: int, backend: str) -> None:
    """θ* = (ΣW)⁻¹ΣWc, W = RᵏARᵏ for MAML and ARᵏ for FOMAML."""
    rng = np.random.default_rng(3)
    a, c, rate = spd(rng, 5, 3), rng.standard_normal((5, 3)), 0.2
    r = [np.linalg.matrix_power(np.eye(3) - rate * one, k) for one in a]
    w = np.array([(r_i.T if method == "maml" else np.eye(3)) @ a_i @ r_i for a_i, r_i in zip(a, r, strict=True)])
    expected = np.linalg.solve(w.sum(0), np.einsum("tij,tj->i", w, c))
    given: dict[str, Any] = {"inner_lr": rate, "inner_steps": k, "outer": "sgd", "meta_lr": 1.0}
    given["backend"] = backend
    run = mg.train(method, tasks=mg.quadratics(a, c), steps=5000, grad_below=1e-13, **given)
    assert run.stopped == "grad-below"
    np.testing.assert_allclose(run.params["theta"], expected, rtol=1e-9)


@BACKENDS
@pytest.mark.parametrize(
    ("rate", "expected", "wrong_order"),
    [((0.1, 0.2), (1.008, -0.306), (0.9, -0.45)), ((0.0, 0.2), (1.624, -0.128), (1.4, -0.52))],
)
def test_vector_rates_and_masks_multiply_before_the_hessian(
    rate: Any, expected: Any, wrong_order: Any, backend: str
) -> None:
    """A scalar rate cannot tell H(rate·v) from rate·H(v); these can."""
    a, c = np.array([[[2.0, 1.0], [1.0, 3.0]]]), np.array([[-1.0, 2.0]])  # θ − c = (1, −2) at the start, θ = 0
    given: dict[str, Any] = {"inner_steps": 2, "outer": "sgd", "meta_lr": 1.0, "steps": 1, "backend": backend}
    run = mg.train("maml", tasks=mg.quadratics(a, c), inner_lr=rate, **given)
    # one step of rate 1 from zero: the parameters are minus the meta-gradient
    np.testing.assert_allclose(-run.params["theta"], expected, **EXACT)
    assert not np.allclose(expected, wrong_order)
    assert run.record["grad_norm"][0] == pytest.approx(np.linalg.norm(expected), rel=1e-12)


def test_quadratics_know_their_own_optimum() -> None:
    family = mg.quadratics((1.0, 3.0), (0.0, 1.0))
    joint, adapted = family.references(0.1, 5, 10)
    assert (joint.label, adapted.label) == ("best without adapting", "optimum")
    assert family.optimum()[0] == pytest.approx(0.75)
    assert joint.value == pytest.approx((0.5 * 0.75**2 + 1.5 * 0.25**2) / 2)
    assert family.optimum(0.1, 5)[0] == pytest.approx(0.195520, abs=5e-7)
    given: dict[str, Any] = {"inner_lr": 0.1, "inner_steps": 5, "outer": "sgd", "meta_lr": 1.0}
    run = mg.train("maml", tasks=family, steps=3000, **given)
    assert run.loss == pytest.approx(adapted.value, rel=1e-12)
    assert run.plan.references == (joint, adapted)


# ---- linear regression tasks: a quadratic whose support and query differ ------------------------------------------


def by_source(source: str, d: int) -> Problem:
    """Linear regression without bias, mean square, from each place a problem can come from."""
    if source == "built-in":
        return NetProblem(mg.linear(d, bias=False))
    from metagd_nb.problems.autograd.model import ModelProblem, UserOutputLoss

    if source == "built-in with a user's loss":
        return NetProblem(mg.linear(d, bias=False), UserOutputLoss(mean_square))
    given: Any = (lambda params, x: np.dot(x, params["w"]), mean_square, {"w": np.zeros((d, 1))})
    if source == "a user's model":
        return ModelProblem(*given)
    pytest.importorskip("jax")
    from metagd_nb.problems.jax import problems as onjax

    net = mg.linear(d, bias=False)
    if source == "JAX: built-in":
        made: Problem = onjax.JaxNet(net, None, mse, "float64")
        return made
    made = onjax.JaxModel(*given)
    return made


SOURCES = ["built-in", "built-in with a user's loss", "a user's model", "JAX: built-in", "JAX: a user's model"]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize(("method", "kind"), [("maml", MAML), ("fomaml", FOMAML)])
def test_meta_gradient_with_different_support_and_query(
    method: str, kind: Any, k: int, vector: bool, source: str
) -> None:
    """v = A_q(φ − c_q) pulled back through (I − A_s D)ᵏ, A = 2XᵀX/K."""
    rng = np.random.default_rng(11)
    tasks, d = 4, 3
    x, y = rng.standard_normal((tasks, 9, d)), rng.standard_normal((tasks, 9, 1))
    batch = TaskBatch(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]))
    theta = rng.standard_normal(d)
    rate = np.array([0.05, 0.0, 0.2]) if vector else np.full(d, 0.1)
    total = np.zeros(d)
    for i in range(tasks):
        xs, ys, xq, yq = x[i, :5], y[i, :5, 0], x[i, 5:], y[i, 5:, 0]
        phi = theta
        for _ in range(k):
            phi = phi - rate * (2 * xs.T @ (xs @ phi - ys) / 5)
        v = 2 * xq.T @ (xq @ phi - yq) / 4
        if method == "maml":
            v = np.linalg.matrix_power(np.eye(d) - np.diag(rate) @ (2 * xs.T @ xs / 5), k).T @ v
        total += v / tasks
    algorithm = kind(inner_lr=tuple(rate) if vector else 0.1, inner_steps=k)
    _, grad, *_ = algorithm.meta_gradient(by_source(source, d), theta, batch)
    np.testing.assert_allclose(grad, total, **EXACT)


# ---- O2, O3: one step on isotropic regression ---------------------------------------------------------------------

P, N, SIGMA = 10, 15, 0.5


def half_loss(a: float) -> float:
    """L(α) with the ½ that the kit's mse has not."""
    return 0.5 * (((1 - a) ** 2 + a**2 * (P + 1) / N) * P + a**2 * SIGMA**2 * P / N + SIGMA**2)


def test_one_step_loss_in_closed_form() -> None:
    best = 1 / (1 + (P + 1) / N + SIGMA**2 * P / (N * P))
    assert best == pytest.approx(0.571429, abs=5e-7)
    assert half_loss(best) == pytest.approx(2.267857, abs=5e-7)
    assert half_loss(0) == pytest.approx(5.125)
    family = mg.regression(P, noise=SIGMA)
    assert family.best_inner_lr(N) == pytest.approx(best / 2, rel=1e-12)
    for a in (0.0, 0.3, best, 1.1):
        assert family.one_step_loss(a / 2, N) == pytest.approx(2 * half_loss(a), rel=1e-12)
    values = {r.label: r.value for r in family.references(0.1, 1, N)}
    assert values["best without adapting"] == pytest.approx(2 * half_loss(0))
    assert values["best single step"] == pytest.approx(2 * half_loss(best))
    assert values["noise (Bayes, many points)"] == pytest.approx(SIGMA**2)


@pytest.mark.parametrize("a", [0.2, 0.571429, 1.0])
def test_one_step_loss_by_evaluate(a: float) -> None:
    """run.evaluate at the true mean w0 = 0, where linear() starts, must meet L(α) within its own interval."""
    run = mg.train(
        "maml", model=mg.linear(P, bias=False), tasks=mg.regression(P, noise=SIGMA), inner_lr=a / 2, shots=N, steps=0
    )
    assert run.record["step"].tolist() == [0]
    found = run.evaluate(n_tasks=6000, queries=40, seed=2)
    for scored, half, expected in zip(found.mean, found.interval, [2 * half_loss(0), 2 * half_loss(a)], strict=True):
        assert abs(scored - expected) < half
    assert (found.interval < 0.04 * found.mean).all()  # tight enough for a wrong formula to show


@pytest.mark.parametrize("k", [1, 5, 10, 19, 20])
def test_in_context_regression(k: int) -> None:
    """Squared error / d after k examples: averaging (d+1)/k, one best step (d+1)/(k+d+1), least squares 1 − k/d."""
    d = 20
    family = mg.regression(d)
    one_step = {1: 0.9545, 5: 0.8077, 10: 0.6774, 19: 0.5250, 20: 0.5122}[k]
    assert family.one_step_loss(family.best_inner_lr(k), k) / d == pytest.approx(one_step, abs=5e-5)
    assert family.one_step_loss(0.5, k) / d == pytest.approx((d + 1) / k)
    assert 2 * family.best_inner_lr(k) == pytest.approx(k / (k + d + 1))
    batch = family.sample(np.random.default_rng(0), 1, 1500, k, 20)
    w = np.linalg.pinv(batch.support.x) @ batch.support.y
    errors = ((batch.query.x @ w - batch.query.y) ** 2).mean(axis=(1, 2)) / d
    assert errors.mean() == pytest.approx(max(0.0, 1 - k / d), abs=4 * errors.std() / np.sqrt(1500) + 1e-9)


def test_least_squares_excess_risk() -> None:
    """The excess risk of least squares is σ²d/(n−d−1) beyond σ² (isotropic inputs)."""
    d, n, sigma = 4, 15, 0.7
    batch = mg.regression(d, spread=0, noise=sigma).sample(np.random.default_rng(1), 1, 1500, n, 1)
    excess = [
        float(np.sum(LeastSquares(mg.linear(d, bias=False), batch.support[i : i + 1]).anchor ** 2)) for i in range(1500)
    ]
    assert np.mean(excess) == pytest.approx(sigma**2 * d / (n - d - 1), rel=0.1)


# ---- O4: sinusoids ------------------------------------------------------------------------------------------------


def test_sinusoid_references() -> None:
    family = mg.sinusoid()
    values = {r.label: r.value for r in family.references(0.01, 1, 10)}
    assert values == {
        "predicting 0": pytest.approx(4.251667, abs=5e-7),
        "best without adapting": pytest.approx(3.005669, abs=5e-7),
    }
    x = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(family.best_single(x), -1.623380 * np.cos(x), atol=5e-7)


def test_sinusoid_references_by_monte_carlo() -> None:
    batch = mg.sinusoid().sample(np.random.default_rng(0), 1, 20_000, 1, 10)
    x, y = batch.query.x, batch.query.y
    for prediction, expected in ((0.0, 4.251667), (-1.623380 * np.cos(x), 3.005669)):
        errors = ((y - prediction) ** 2).mean(axis=(1, 2))
        assert abs(errors.mean() - expected) < 3 * errors.std() / np.sqrt(len(errors))
    on_cos = np.cos(x).ravel()
    assert on_cos @ y.ravel() / (on_cos @ on_cos) == pytest.approx(-1.623380, abs=0.03)
    features = np.concatenate([np.sin(batch.query.x), np.cos(batch.query.x)], axis=-1)
    exact = features @ (np.linalg.pinv(features) @ y)  # linear head on (sin x, cos x): nothing left
    np.testing.assert_allclose(exact, y, atol=1e-9)


def test_sinusoid_noise_joins_its_references() -> None:
    values = {r.label: r.value for r in mg.sinusoid(noise=0.5).references(0.01, 1, 10)}
    assert values["predicting 0"] == pytest.approx(4.251667 + 0.25, abs=5e-7)
    assert values["best without adapting"] == pytest.approx(3.005669 + 0.25, abs=5e-7)
    assert values["noise (Bayes)"] == 0.25


@pytest.mark.parametrize("bounds", [(-5.0, 5.0), (0.0, 1.0), (-200.0, 200.0)])
def test_sinusoid_reference_in_other_ranges(bounds: tuple[float, float]) -> None:
    """E sin²(x−φ) = ½ − ½·E cos 2x·E cos 2φ − ½·E sin 2x·E sin 2φ, whatever the range of x."""
    low, high = bounds
    cos2x, sin2x = (np.sin(2 * high) - np.sin(2 * low)) / 2, (np.cos(2 * low) - np.cos(2 * high)) / 2
    phase = (0.0, 2.0)
    cos2p, sin2p = np.sin(4.0) / 4, (1 - np.cos(4.0)) / 4
    square = 0.5 - 0.5 * (cos2x * cos2p + sin2x * sin2p) / (high - low)
    expected = (1 + 3 + 9) / 3 * square
    family = mg.sinusoid(amplitude=(1, 3), phase=phase, x=bounds)
    assert family.zero_loss == pytest.approx(expected, rel=1e-9)
    x = np.linspace(low, high, 400_001)
    squared = family.best_single(x) ** 2
    spread = np.diff(x) @ (squared[1:] + squared[:-1]) / 2 / (high - low)  # the variance that not adapting explains
    assert family.best_single_loss == pytest.approx(expected - spread, rel=1e-6)


# ---- single-task methods on ½hx² ----------------------------------------------------------------------------------


def parabola(h: float) -> Any:
    def loss(x):  # type: ignore[no-untyped-def]
        return 0.5 * h * x**2

    return loss


ALPHAS = [0.01, 0.01392, 0.0176546499, 0.0211571304, 0.0243929689]
XS = [1.0, 0.98, 0.9527168, 0.9190770370, 0.8801869715, 0.8372462247]


@BACKENDS
def test_hypergradient_descent(backend: str) -> None:
    """Row t holds the rate of the step that leaves x_t."""
    run = mg.train("hd", loss=parabola(2.0), params={"x": 1.0}, lr=0.01, hyper_lr=0.001, steps=5, backend=backend)
    np.testing.assert_allclose(run.record["lr"][:5], ALPHAS, atol=5e-11)
    np.testing.assert_allclose(np.sqrt(run.record["loss"]), XS, atol=5e-11)
    x, before, a = 1.0, 0.0, 0.01
    for t in range(5):
        a += 0.001 * (2 * x) * before
        before = 2 * x
        assert run.record["lr"][t] == pytest.approx(a, rel=1e-12)
        x -= a * 2 * x
        assert np.sqrt(run.record["loss"][t + 1]) == pytest.approx(x, rel=1e-12)
    assert run.params["x"] == pytest.approx(x, rel=1e-12)
    assert run.params["x"].shape == ()


def test_hypergradient_descent_on_the_built_in_source() -> None:
    """½·2·w² as the mean square of x·w with x = 1, y = 0."""
    algorithm, problem = HD(lr=0.01, hyper_lr=0.001), NetProblem(mg.linear(1, bias=False))
    batch = Batch(np.ones((1, 1, 1)), np.zeros((1, 1, 1)))
    theta = np.ones(1)
    state = algorithm.init(theta)
    for t in range(5):
        look = algorithm.evaluate(problem, theta, state, batch)
        assert look.state[0] == pytest.approx(ALPHAS[t], abs=5e-11)
        theta, state = algorithm.update(theta, look)
        assert theta[0] == pytest.approx(XS[t + 1], abs=5e-11)


def test_hypergradient_is_the_slope_in_the_rate() -> None:
    """−∇L(θ_t)·∇L(θ_{t−1}) is dL(θ_t)/dη of the step before; the rate moves against it by β times that."""
    x, y = np.array([[[1.0, 2.0], [0.5, -1.0], [2.0, 0.1]]]), np.array([[[1.0], [0.0], [2.0]]])
    problem, batch, theta = NetProblem(mg.linear(2)), Batch(x, y), np.array([0.3, -0.2, 0.1])
    before = problem.linearize(theta, batch).grad[0]
    slope = differences(lambda r: problem.linearize(theta - r[0] * before, batch).loss[0], np.array([0.05]))[0]
    algorithm = HD(lr=0.05, hyper_lr=0.01)
    first = algorithm.evaluate(problem, theta, algorithm.init(theta), batch)
    moved, state = algorithm.update(theta, first)
    second = algorithm.evaluate(problem, moved, state, batch)
    assert second.state[0] - 0.05 == pytest.approx(-0.01 * slope, rel=1e-8)


def test_unrolled_hypergradient_through_the_engine() -> None:
    """dL_T/dα = −Th²(1−αh)^{2T−1}x0², by central differences of the engine's own final loss."""

    def last(rate: np.ndarray) -> float:
        return mg.train("gd", loss=parabola(2.0), params={"x": 1.0}, lr=float(rate[0]), steps=7).loss

    assert differences(last, np.array([0.13]))[0] == pytest.approx(-0.558689343738, rel=1e-7)


@BACKENDS
def test_unrolled_hypergradient_of_the_method(backend: str) -> None:
    """Its first move is β times that slope: the rate of its second row."""
    run = mg.train(
        "unroll", loss=parabola(2.0), params={"x": 1.0}, lr=0.13, horizon=7, hyper_lr=1e-3, steps=1, backend=backend
    )
    assert run.record["lr"][0] == 0.13
    assert run.record["lr"][1] == pytest.approx(0.13 + 1e-3 * 0.558689343738, abs=1e-14)
    assert run.record["loss"][0] == pytest.approx((1 - 0.26) ** 14, rel=1e-10)


@pytest.mark.parametrize("form", ["additive", "multiplicative"])
@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
def test_hypergradient_descent_with_other_rules(rule: str, form: str) -> None:
    """The recurrence written out, with the direction u of each rule; on one coordinate the cosine is a sign."""
    h, x, lr, u, m, v = 2.0, 1.0, 0.01, 0.0, 0.0, 0.0
    run = mg.train("hd", loss=parabola(h), params={"x": x}, lr=lr, hyper_lr=0.01, rule=rule, form=form, steps=25)
    for t in range(26):
        g = h * x
        lr = lr + 0.01 * g * u if form == "additive" else lr * (1 + 0.01 * np.sign(g * u))
        assert run.record["lr"][t] == pytest.approx(lr, rel=1e-10)
        assert run.record["loss"][t] == pytest.approx(0.5 * h * x * x, rel=1e-9)
        m = g if rule == "sgd" else 0.9 * m + g if rule == "momentum" else 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        u = m if rule != "adam" else (m / (1 - 0.9 ** (t + 1))) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        x = x - lr * u


@BACKENDS
@pytest.mark.parametrize("h", [1.0, 4.0])
def test_gradient_descent_contracts(h: float, backend: str) -> None:
    run = mg.train("gd", loss=parabola(h), params={"x": 1.0}, lr=0.4, steps=20, backend=backend)
    np.testing.assert_allclose(run.record["loss"], 0.5 * h * (1 - 0.4 * h) ** (2 * np.arange(21)), rtol=1e-10)
    assert abs(1 - 0.4 * h) == pytest.approx(3 / 5)  # the best single rate on curvatures 1…4


@BACKENDS
@pytest.mark.parametrize(("h", "root", "c"), [(1.0, 1 / 3, 2 / 3), (4.0, -1 / 3, 4 / 3)])
def test_momentum_contracts_by_a_third(h: float, root: float, c: float, backend: str) -> None:
    """α = 4/9, β = 1/9 on curvatures 1 and 4 give the double root ±1/3: x_t = (1 + ct)·rootᵗ."""
    run = mg.train("momentum", loss=parabola(h), params={"x": 1.0}, lr=4 / 9, momentum=1 / 9, steps=15, backend=backend)
    t = np.arange(16)
    np.testing.assert_allclose(run.record["loss"], 0.5 * h * ((1 + c * t) * root**t) ** 2, rtol=1e-9)
    algorithm, problem = Momentum(lr=4 / 9, momentum=1 / 9), QuadraticProblem(mg.quadratics([h], [0.0]))
    batch, theta = Batch(np.full((1, 1, 1), h), np.zeros((1, 1))), np.ones(1)
    state = algorithm.init(theta)
    for step in t[1:]:
        theta, state = algorithm.update(theta, algorithm.evaluate(problem, theta, state, batch))
        assert theta[0] == pytest.approx((1 + c * step) * root**step, rel=1e-10)


def adam_by_the_paper(grad: Any, theta: np.ndarray, lr: float, b1: float, b2: float, eps: float, steps: int) -> Any:
    """Algorithm 1 of Kingma & Ba, line by line."""
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t in range(1, steps + 1):
        g = grad(theta)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        theta = theta - lr * m_hat / (np.sqrt(v_hat) + eps)
    return theta


@pytest.mark.parametrize("eps", [1e-8, 0.1])
def test_adam(eps: float) -> None:
    h = np.array([1.0, 10.0, 0.1])
    problem = QuadraticProblem(mg.quadratics(np.diag(h)[None], np.zeros((1, 3))))
    algorithm, batch = Adam(lr=0.05, beta1=0.8, beta2=0.95, eps=eps), Batch(np.diag(h)[None], np.zeros((1, 3)))
    start = theta = np.array([1.0, -0.5, 2.0])
    state = algorithm.init(theta)
    for step in range(1, 31):
        theta, state = algorithm.update(theta, algorithm.evaluate(problem, theta, state, batch))
        expected = adam_by_the_paper(lambda p: h * p, start, 0.05, 0.8, 0.95, eps, step)
        np.testing.assert_allclose(theta, expected, **EXACT)
    first, _ = algorithm.update(start, algorithm.evaluate(problem, start, algorithm.init(start), batch))
    if eps == 1e-8:  # bias corrected, the first step is the rate itself, against the sign
        np.testing.assert_allclose(first, start - 0.05 * np.sign(start), rtol=1e-6)


@pytest.mark.parametrize("outer", ["sgd", "momentum", "adam"])
def test_outer_rules_are_the_descent_methods(outer: str) -> None:
    """The meta-update by a rule is the descent method of that name, with its default settings."""
    a, c = np.array([2.0, 1.0]), np.array([[1.0], [-1.0]])
    run = mg.train("fomaml", tasks=mg.quadratics(a, c), inner_steps=0, outer=outer, meta_lr=0.1, steps=15)

    def loss(x):  # type: ignore[no-untyped-def]
        return 0.5 * (2.0 * (x - 1.0) ** 2 + (x + 1.0) ** 2) / 2

    method = {"sgd": "gd"}.get(outer, outer)
    single = mg.train(method, loss=loss, params={"x": 0.0}, lr=0.1, steps=15)
    np.testing.assert_allclose(run.record["loss"], single.record["loss"], rtol=1e-10)


# ---- derivatives of nets ------------------------------------------------------------------------------------------


def net_case(net: Net, tasks: int = 3, points: int = 6) -> tuple[NetProblem, np.ndarray, TaskBatch]:
    rng = np.random.default_rng(7)
    problem = NetProblem(net)
    theta = problem.start(rng) + 0.3 * rng.standard_normal(net.layout.size)  # biases away from zero
    x = rng.standard_normal((tasks, 2 * points, net.inputs))
    y = rng.standard_normal((tasks, 2 * points, net.outputs))
    batch = TaskBatch(Batch(x[:, :points], y[:, :points]), Batch(x[:, points:], y[:, points:]))
    return problem, theta, batch


NETS = [
    mg.mlp(2, 4, 3, 2, activation="tanh"),
    mg.mlp(1, 5, 1, activation="tanh"),
    mg.mlp(2, 4, 3, 2, activation="relu"),
    mg.linear(3, outputs=2),
    mg.linear(3, outputs=2, bias=False),
    Net((2, 4, 3, 2), "tanh", False, None),
    Net((2, 4, 3, 1), "relu", False, None),
]


@pytest.mark.parametrize("net", NETS, ids=repr)
@pytest.mark.parametrize("shared", [True, False])
def test_gradient_and_hessian_by_differences(net: Net, shared: bool) -> None:
    problem, theta, batch = net_case(net)
    phi = theta if shared else theta + 0.1 * np.random.default_rng(1).standard_normal((3, len(theta)))
    point = problem.linearize(phi, batch.support)

    def at(offset: np.ndarray) -> Any:
        return problem.linearize(phi + offset, batch.support)

    zero = np.zeros_like(theta)
    np.testing.assert_allclose(point.grad, differences(lambda o: at(o).loss, zero).T, rtol=1e-6, atol=1e-8)
    v = np.random.default_rng(2).standard_normal((3, len(theta)))
    hessians = differences(lambda o: at(o).grad, zero)  # (P, T, P)
    np.testing.assert_allclose(point.hvp(v), np.einsum("ptq,tq->tp", hessians, v), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("net", [n for n in NETS if n.activation == "tanh" or len(n.sizes) == 2], ids=repr)
def test_derivatives_by_complex_step(net: Net) -> None:
    """f'(θ)·v = Im f(θ + iεv)/ε has no cancellation: agreement to rounding, which differences cannot show."""
    problem, theta, batch = net_case(net)
    v = np.random.default_rng(2).standard_normal((3, len(theta)))
    point = problem.linearize(theta, batch.support)
    beside = problem.linearize(theta + 1e-30j * v, batch.support)
    np.testing.assert_allclose((point.grad * v).sum(1), beside.loss.imag * 1e30, rtol=1e-11)
    np.testing.assert_allclose(point.hvp(v), beside.grad.imag * 1e30, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("net", NETS, ids=repr)
def test_meta_gradient_by_differences(net: Net, vector: bool) -> None:
    """The whole of MAML through three inner steps, against differences of the query loss after adaptation."""
    problem, theta, batch = net_case(net)
    rate = np.random.default_rng(4).uniform(0, 0.1, len(theta)) if vector else 0.05
    algorithm = MAML(inner_lr=tuple(rate) if vector else 0.05, inner_steps=3)

    def after(start: np.ndarray) -> float:
        phi = start
        for _ in range(3):
            phi = phi - rate * problem.linearize(phi, batch.support).grad
        return float(problem.linearize(phi, batch.query).loss.mean())

    losses, grad, *_ = algorithm.meta_gradient(problem, theta, batch)
    assert losses.mean() == pytest.approx(after(theta), rel=1e-12)
    np.testing.assert_allclose(grad, differences(after, theta), rtol=1e-5, atol=1e-8)


def test_mse_is_the_plain_mean_over_points_and_outputs() -> None:
    problem, theta, batch = net_case(mg.mlp(2, 3, 2))
    error = problem.predict(theta, batch.query.x) - batch.query.y
    np.testing.assert_allclose(problem.linearize(theta, batch.query).loss, (error**2).mean(axis=(1, 2)), rtol=1e-12)


def test_relu_has_no_slope_at_zero() -> None:
    problem = NetProblem(mg.mlp(1, 1, 1))
    theta = np.array([1.0, 0.0, 1.0, 0.0])  # x = 0 puts the unit on its kink
    point = problem.linearize(theta, Batch(np.zeros((1, 1, 1)), np.ones((1, 1, 1))))
    np.testing.assert_array_equal(point.grad, [[0.0, 0.0, 0.0, -2.0]])
