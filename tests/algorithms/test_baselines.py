"""The baselines that learned starts are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.core.errors import MetagdError
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.tasks import Batch, TaskBatch
from metagd_nb.training.costs import CountingProblem

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def case(shots: int, queries: int) -> tuple[NetProblem, np.ndarray, TaskBatch]:
    rng = np.random.default_rng(shots)
    problem = NetProblem(mg.mlp(2, 5, 1, activation="tanh"))
    x, y = rng.standard_normal((4, shots + queries, 2)), rng.standard_normal((4, shots + queries, 1))
    split = TaskBatch(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))
    return problem, problem.start(rng), split


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize(("shots", "queries"), [(5, 5), (3, 8)])
def test_pretraining_is_regression_on_all_points(shots: int, queries: int, k: int) -> None:
    """Its direction is the gradient of one table with every point of every task; adaptation only judges."""
    problem, theta, batch = case(shots, queries)
    algorithm: Any = ALGORITHMS["pretrain"](inner_lr=0.1, inner_steps=k)
    found = algorithm.meta_gradient(problem, theta, batch)
    x, y = (np.concatenate([getattr(part, name).reshape(-1, n) for part in batch]) for name, n in (("x", 2), ("y", 1)))
    np.testing.assert_allclose(found.grad, problem.linearize(theta, Batch(x[None], y[None])).grad[0], **EXACT)
    phi = theta
    for _ in range(k):
        phi = phi - 0.1 * problem.linearize(phi, batch.support).grad
    np.testing.assert_allclose(found.loss, problem.linearize(phi, batch.query).loss, **EXACT)
    assert (found.grad_evals, found.hvps) == (k + 2, 0)


def test_pretraining_finds_the_joint_optimum() -> None:
    family = mg.quadratics((1.0, 3.0), (0.0, 1.0))
    run = mg.train("pretrain", tasks=family, outer="sgd", meta_lr=0.5, steps=200, inner_lr=0.1)
    assert run.params["theta"] == pytest.approx(0.75, abs=1e-12)
    np.testing.assert_allclose(run.evaluate(steps=1).mean, [0.1875, (0.5 * 0.675**2 + 1.5 * 0.175**2) / 2], rtol=1e-10)


def test_from_scratch_learns_nothing_and_adapts_as_plain_descent() -> None:
    problem, theta, batch = case(5, 5)
    algorithm: Any = ALGORITHMS["scratch"](inner_lr=0.1, inner_steps=2)
    found = algorithm.meta_gradient(problem, theta, batch)
    maml: Any = ALGORITHMS["maml"](inner_lr=0.1, inner_steps=2)
    np.testing.assert_array_equal(found.loss, maml.meta_gradient(problem, theta, batch).loss)
    assert not found.grad.any()
    run = mg.train("scratch", model=mg.mlp(1, 5, 1), tasks=mg.sinusoid(), steps=5)
    np.testing.assert_array_equal(run.loop.theta, run.plan.problem.start(np.random.default_rng(0)))
    with pytest.raises(MetagdError, match=r"^unknown option of scratch 'meta_lr'"):
        mg.train("scratch", model=mg.mlp(1, 5, 1), tasks=mg.sinusoid(), meta_lr=0.1)


# ---- L-BFGS -------------------------------------------------------------------------------------------------------

LBFGS: Any = ALGORITHMS["lbfgs"]


def valley(w):  # type: ignore[no-untyped-def]
    """Rosenbrock's, in ten dimensions."""
    return np.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)


def logistic() -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(0)
    x, sign = rng.standard_normal((60, 8)), np.sign(rng.standard_normal(60))

    def loss(w):  # type: ignore[no-untyped-def]
        return np.mean(np.log(1 + np.exp(-sign * np.dot(x, w)))) + 0.01 * np.dot(w, w)

    return loss, np.zeros(8)


@pytest.mark.parametrize("pairs", [0, 1, 3, 6])
def test_lbfgs_direction_is_that_of_dense_bfgs(pairs: int) -> None:
    """H ← (I − ρsyᵀ)H(I − ρysᵀ) + ρssᵀ, from γI (BFGS; Nocedal & Wright 2006, §7.2)."""
    from metagd_nb.algorithms.lbfgs import direction

    rng = np.random.default_rng(pairs)
    root = rng.standard_normal((6, 6))
    hessian, grad = root @ root.T + np.eye(6), rng.standard_normal(6)
    s = rng.standard_normal((pairs, 6))
    y = s @ hessian
    if not pairs:
        np.testing.assert_allclose(direction(s, y, grad), -grad / np.linalg.norm(grad), **EXACT)
        np.testing.assert_allclose(direction(s, y, 0.1 * grad), -0.1 * grad, **EXACT)
        return
    h = np.eye(6) * (s[-1] @ y[-1]) / (y[-1] @ y[-1])
    for one, turned in zip(s, y, strict=True):
        rho = 1 / (one @ turned)
        left = np.eye(6) - rho * np.outer(one, turned)
        h = left @ h @ left.T + rho * np.outer(one, one)
    np.testing.assert_allclose(direction(s, y, grad), -h @ grad, rtol=1e-9)


@pytest.mark.parametrize("problem", ["valley", "logistic"])
def test_lbfgs_is_as_good_as_scipys_own(problem: str) -> None:
    """To the same minimum as ``minimize(method="L-BFGS-B")``, with at most half as many evaluations again."""
    from autograd import value_and_grad
    from scipy.optimize import minimize

    loss, start = (valley, np.linspace(-1, 1, 10)) if problem == "valley" else logistic()
    run = mg.train("lbfgs", loss=loss, params={"w": start}, steps=400, grad_below=1e-6)
    assert run.stopped == "grad-below"
    theirs = minimize(
        value_and_grad(_traced(loss)), start, jac=True, method="L-BFGS-B", tol=1e-12, options={"gtol": 1e-6}
    )
    np.testing.assert_allclose(run.params["w"], theirs.x, atol=2e-5)
    assert run.record["grad_evals"][-1] <= 1.5 * theirs.nfev
    assert run.iteration < run.record["grad_evals"][-1]


def _traced(loss: Any) -> Any:
    """The same function in the namespace that autograd traces."""
    import types

    import autograd.numpy as anp

    return types.FunctionType(loss.__code__, loss.__globals__ | {"np": anp}, closure=loss.__closure__)


def test_lbfgs_counts_every_evaluation() -> None:
    """Between two rows lie as many evaluations as its line search made, however often SciPy asks."""
    calls = []

    def loss(w):  # type: ignore[no-untyped-def]
        return np.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)

    def gradient(w):  # type: ignore[no-untyped-def]
        calls.append(w.copy())
        g = np.zeros_like(w)
        g[:-1] = -400 * w[:-1] * (w[1:] - w[:-1] ** 2) - 2 * (1 - w[:-1])
        g[1:] += 200 * (w[1:] - w[:-1] ** 2)
        return g

    run = mg.prepare("lbfgs", loss=loss, gradient=gradient, params={"w": np.linspace(-1, 1, 5)}, check=False, steps=30)
    run.step(1)
    counted, made = run.record["grad_evals"][-1], len(calls)
    run.step(20)
    assert run.record["grad_evals"][-1] - counted == len(calls) - made > 20
    assert len({w.tobytes() for w in calls[made:]}) == len(calls) - made  # no point twice


def test_lbfgs_goes_down_at_every_step_and_remembers_ten() -> None:
    run = mg.prepare("lbfgs", loss=valley, params={"w": np.linspace(-1, 1, 10)}, steps=40, history=4)
    for _ in range(15):
        run.step(1)
    assert (np.diff(run.record["loss"]) < 0).all()
    assert run.loop.executor.state.s.shape == run.loop.executor.state.y.shape == (4, 10)
    moved = run.loop.snapshot.theta
    run.step(1)
    np.testing.assert_array_equal(run.loop.executor.state.s[-1], run.loop.snapshot.theta - moved)


def test_lbfgs_ends_where_nothing_is_lower() -> None:
    """At the minimum its searches fail: the run ends there instead of idling for the steps that are left."""
    run = mg.train("lbfgs", loss=lambda w: np.sum((w - 3) ** 2), params={"w": np.zeros(2)}, steps=2000)
    np.testing.assert_allclose(run.params["w"], 3, atol=1e-7)
    assert run.stopped == "no-descent"
    assert run.iteration < 10
    assert f"no lower point can be found after {run.iteration} steps" in repr(run)
    again = run.replay()
    assert (again.stopped, again.iteration, again.loss) == ("no-descent", run.iteration, run.loss)
    with pytest.raises(MetagdError, match=r"^resume: the run has ended \(no-descent\): no lower point"):
        run.resume(steps=3000)


def test_a_rule_that_holds_at_the_minimum_comes_first() -> None:
    given: dict[str, Any] = {"loss": lambda w: np.sum((w - 3) ** 2), "params": {"w": np.zeros(2)}}
    assert mg.train("lbfgs", **given, grad_below=1e-6).stopped == "grad-below"
    assert mg.train("lbfgs", **given, steps=1).stopped == "steps"


def test_lbfgs_takes_a_lower_point_that_meets_no_wolfe_condition() -> None:
    """Along |w| the slope never shrinks to a share of itself; points that are lower are found nevertheless."""
    run = mg.train("lbfgs", loss=lambda w: np.sum(np.abs(w)), params={"w": np.array([5.3])}, steps=200)
    assert run.loss < 0.5
    assert (np.diff(run.record["loss"]) < 0).all()
    assert run.stopped == "no-descent"


def test_lbfgs_steps_over_places_where_the_loss_is_no_number() -> None:
    run = mg.train("lbfgs", loss=lambda w: np.sum(w - np.log(w)), params={"w": np.array([5.0, 0.01])}, steps=60)
    np.testing.assert_allclose(run.params["w"], 1, atol=1e-6)


def test_lbfgs_without_scipy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(
        MetagdError, match=r'^lbfgs needs SciPy, which is not installed; pip install "metagd-nb\[scipy\]"$'
    ):
        mg.prepare("lbfgs", loss=lambda w: w**2, params={"w": 1.0})


def test_lbfgs_takes_the_share_of_a_step_that_is_set() -> None:
    whole, half = (mg.prepare("lbfgs", loss=valley, params={"w": np.linspace(-1, 1, 10)}, lr=lr) for lr in (1.0, 0.5))
    for run in (whole, half):
        run.step(1)
    start = np.linspace(-1, 1, 10)
    np.testing.assert_allclose(half.loop.snapshot.theta - start, 0.5 * (whole.loop.snapshot.theta - start), rtol=1e-12)


def test_lbfgs_fits_a_net() -> None:
    """Through the built-in source: lower at every step, far below Adam after 60 steps and gd after 600.

    Over six seeds and two BLAS kernels the ratios were at most 0.06 and 0.04. (Adam after 600 steps oscillates between
    4e-5 and 8e-4 and depends on rounding: no reference.)
    """
    x = np.linspace(-2, 2, 30)
    given: dict[str, Any] = {"model": mg.mlp(1, 16, 16, 1, activation="tanh"), "x": x, "y": np.sin(2 * x)}
    run, adam, gd = (mg.train(name, steps=steps, **given) for name, steps in (("lbfgs", 60), ("adam", 60), ("gd", 600)))
    assert (np.diff(run.record["loss"]) < 0).all()
    assert run.loss < 0.2 * min(adam.loss, gd.loss)


def test_lbfgs_carries_plain_numbers() -> None:
    """What it keeps between two steps can be written to a file and read back: no function, no object of SciPy's."""
    run = mg.train("lbfgs", loss=valley, params={"w": np.linspace(-1, 1, 10)}, steps=5)

    def plain(value: Any) -> bool:
        return value is None or isinstance(value, (float, int, np.ndarray)) or all(plain(one) for one in value)

    assert isinstance(run.loop.executor.state, tuple)
    assert plain(run.loop.executor.state)
    again = mg.prepare("lbfgs", loss=valley, params={"w": np.linspace(-1, 1, 10)}, steps=5)
    look = again.loop.algorithm.evaluate(again.plan.problem, run.loop.theta, tuple(run.loop.executor.state), None)
    np.testing.assert_array_equal(look.grad, run.loop.executor.evaluation.grad)  # type: ignore[union-attr]


def test_lbfgs_learns_nothing_from_a_curve_that_bends_down() -> None:
    """On the hump of a cosine sᵀy < 0: such a pair would turn its steps uphill, and is left out."""
    run = mg.prepare("lbfgs", loss=lambda w: np.sum(np.cos(w)), params={"w": np.array([0.3, 0.2])}, lr=0.05)
    run.step(3)
    assert run.loop.executor.state.s.shape == run.loop.executor.state.y.shape == (0, 2)
    assert (np.diff(run.record["loss"]) < 0).all()
    run.set(lr=1.0)
    run.step(30)
    np.testing.assert_allclose(run.loop.snapshot.theta, np.pi, atol=1e-6)


def test_lbfgs_forgets_its_curvature_where_that_leads_nowhere() -> None:
    """A memory that leads far out of where the loss is a number: the step is the gradient's own, and all is counted."""
    run = mg.prepare("lbfgs", loss=lambda w: np.sum(w - np.log(w)), params={"w": np.array([5.0, 4.0])})
    wild = run.loop.executor.state._replace(s=np.array([[1.0, 0.0]]), y=np.array([[1e-14, 0.0]]))
    counting = CountingProblem(run.plan.problem)
    with np.errstate(invalid="ignore"):
        plain = run.loop.algorithm.evaluate(run.plan.problem, run.loop.theta, run.loop.executor.state, None)
        misled = run.loop.algorithm.evaluate(counting, run.loop.theta, wild, None)
    assert len(misled.state.s) == len(misled.state.y) == 0
    np.testing.assert_array_equal(misled.state.ahead[0], plain.state.ahead[0])
    assert misled.grad_evals == counting.grad_evals > plain.grad_evals + 5


def test_lbfgs_shortens_a_step_that_leads_where_the_loss_is_no_number() -> None:
    """The curvature proposes 16 from w = 5, where log w ends at 0: the search comes back, and keeps the curvature."""
    run = mg.prepare("lbfgs", loss=lambda w: np.sum(w - np.log(w)), params={"w": np.array([5.0, 5.0])})
    bold = run.loop.executor.state._replace(s=np.array([[1.0, 1.0]]), y=np.array([[0.05, 0.05]]))
    with np.errstate(all="ignore"):
        look = run.loop.algorithm.evaluate(run.plan.problem, run.loop.theta, bold, None)
    assert len(look.state.s) == 1
    assert (look.state.ahead[0] > 0).all()
    assert look.state.ahead[1] < look.loss


def test_lbfgs_stays_where_a_step_does_not_lower_the_loss() -> None:
    """A gain that drowns in rounding is none."""
    run = mg.train("lbfgs", loss=lambda w: 1e12 + 0.1 * np.sum((w - 3) ** 2), params={"w": np.array([3.001])}, steps=5)
    np.testing.assert_array_equal(run.loop.snapshot.theta, [3.001])
