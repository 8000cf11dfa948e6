"""The learned optimizer: exact meta-gradients, closed forms of its linear rule, and what it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import differences

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.algorithms.learned_optimizer_cells import SMALL, Cell, LinearCell, LSTMCell, preprocessed, slopes
from metagd_nb.problems.base import Problem
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.problems.closed_form.quadratic import QuadraticProblem
from metagd_nb.tasks import Batch, TaskBatch

L2L, MAML = ALGORITHMS["l2l"], ALGORITHMS["maml"]
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def learned_optimizer(**hyper: Any) -> Any:
    return L2L(**({"inner_lr": 0.1, "inner_steps": 4, "hidden": 3} | hyper))


def net_case() -> tuple[NetProblem, np.ndarray, TaskBatch]:
    rng = np.random.default_rng(9)
    problem = NetProblem(mg.mlp(2, 5, 2, activation="tanh"))
    x, y = rng.standard_normal((3, 8, 2)), rng.standard_normal((3, 8, 2))
    return problem, problem.start(rng), TaskBatch(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]))


def away_from_start(algorithm: Any, problem: Problem, theta: np.ndarray) -> np.ndarray:
    """Weights at which every part of the cell matters."""
    lifted = algorithm.init_parameters(problem, theta)
    return np.asarray(lifted + 0.3 * np.random.default_rng(4).standard_normal(lifted.size))


# ---- the meta-gradient --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learn_start", ["no", "yes"])
@pytest.mark.parametrize("query_loss", ["last", "all"])
@pytest.mark.parametrize("cell", ["linear", "lstm"])
def test_meta_gradient_by_differences(cell: str, query_loss: str, learn_start: str) -> None:
    """Through four steps, the carried state and the Hessian: 1e-6 of the largest entry, by fourth-order differences."""
    problem, theta, batch = net_case()
    algorithm = learned_optimizer(cell=cell, query_loss=query_loss, learn_start=learn_start)
    at = away_from_start(algorithm, problem, theta)

    def loss(where: np.ndarray) -> float:
        path = [
            problem.linearize(phi, batch.query).loss.mean() for phi in algorithm.path(problem, where, batch.support, 4)
        ]
        return float(path[-1] if query_loss == "last" else np.mean(path[1:]))

    found = algorithm.meta_gradient(problem, at, batch)
    near, far = (differences(loss, at, h) for h in (1e-5, 2e-5))
    expected = (4 * near - far) / 3
    if learn_start == "no":
        expected[: theta.size] = 0
    np.testing.assert_allclose(found.grad, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert (found.grad_evals, found.hvps) == (4 + (4 if query_loss == "all" else 1), 4)


def test_the_hessian_term_is_not_dropped() -> None:
    """The paper's shortcut, the gradient taken as fixed, is another number: this test can tell the two apart."""
    problem, theta, batch = net_case()
    algorithm = learned_optimizer(cell="linear", query_loss="last")
    at = away_from_start(algorithm, problem, theta)

    class Flat:
        layout, dtype, start, flat = problem.layout, problem.dtype, problem.start, problem.flat

        def linearize(self, phi: Any, part: Batch) -> Any:
            point = problem.linearize(phi, part)
            point.hvp = lambda v: 0 * v  # type: ignore[method-assign]
            return point

    exact, short = (algorithm.meta_gradient(one, at, batch).grad for one in (problem, Flat()))
    assert np.abs(exact - short).max() > 0.01 * np.abs(exact).max()


def spd(tasks: int, d: int) -> tuple[QuadraticProblem, np.ndarray, np.ndarray, TaskBatch]:
    rng = np.random.default_rng(3)
    m, c = rng.standard_normal((tasks, d, d)), rng.standard_normal((tasks, d))
    a = m @ m.transpose(0, 2, 1) / d + 0.3 * np.eye(d)
    return QuadraticProblem(mg.quadratics(a, c)), a, c, TaskBatch(Batch(a, c), Batch(a, c))


def test_linear_rule_is_momentum() -> None:
    """η and β of O6: φ follows the heavy ball, and the meta-gradient in (η, β, θ) is that of its matrix form."""
    problem, a, c, batch = spd(4, 3)
    theta, rate, k = np.array([1.0, -2.0, 0.5]), 0.2, 5
    algorithm = learned_optimizer(cell="linear", inner_lr=rate, inner_steps=k, query_loss="last", learn_start="yes")
    scale, mass = 1.3, 0.4
    at = np.concatenate([theta, [scale, mass]])

    def loss_by_matrices(where: np.ndarray) -> float:
        """(φ−c, m) moves by one constant matrix a step; its k-th power, applied once."""
        start, (eta, beta) = where[:3], where[3:]
        total = 0.0
        for one_a, one_c in zip(a, c, strict=True):
            eye, zero = np.eye(3), np.zeros((3, 3))
            move = np.block([[eye - rate * eta * one_a, -rate * eta * beta * eye], [one_a, beta * eye]])
            off = (np.linalg.matrix_power(move, k) @ np.concatenate([start - one_c, zero[0]]))[:3]
            total += 0.5 * off @ one_a @ off / len(a)
        return total

    found = algorithm.meta_gradient(problem, at, batch)
    assert found.loss.mean() == pytest.approx(loss_by_matrices(at), rel=1e-12)
    near, far = (differences(loss_by_matrices, at, h) for h in (1e-3, 2e-3))
    np.testing.assert_allclose(found.grad, (4 * near - far) / 3, rtol=1e-8)
    *_, phi = algorithm.path(problem, at, batch.support, k)
    for i in range(4):
        run = mg.train("momentum", loss=lambda w, i=i: 0.5 * np.dot(w - c[i], np.dot(a[i], w - c[i])),
                       params={"w": theta}, lr=rate * scale, momentum=mass, steps=k)  # fmt: skip
        np.testing.assert_allclose(phi[i], run.params["w"], **EXACT)


def test_linear_rule_has_the_hypergradient_of_unroll() -> None:
    """Its scale at mass 0 is a learned rate: dL/dη = α·dL/dα, and O5's −.558689343738 at α = .13 after 7 steps."""
    problem = QuadraticProblem(mg.quadratics((2.0,), (0.0,)))
    data = Batch(np.array([[[2.0]]]), np.array([[0.0]]))
    algorithm = learned_optimizer(cell="linear", inner_lr=0.13, inner_steps=7, query_loss="last")
    found = algorithm.meta_gradient(problem, algorithm.init_parameters(problem, np.ones(1)), TaskBatch(data, data))
    assert found.grad[1] == pytest.approx(0.13 * -0.558689343738, rel=1e-11)

    unroll = ALGORITHMS["unroll"](lr=0.13, horizon=7)
    at = unroll.init_parameters(problem, np.ones(1))
    look = unroll.evaluate(problem, at, unroll.init(at), data)
    assert found.grad[1] == pytest.approx(0.13 * look.grad[1], rel=1e-12)
    assert found.loss[0] == pytest.approx(look.loss, rel=1e-12)


# ---- the cells ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1.0, 1e-5])  # where its log counts, and where it is small
@pytest.mark.parametrize("cell", [LinearCell(), LSTMCell(4)], ids=["linear", "lstm"])
def test_a_cell_and_its_way_back(cell: Cell, size: float) -> None:
    """Every adjoint of one step against differences of ⟨d_out, out⟩ + ⟨d_state, next state⟩."""
    rng = np.random.default_rng(1)
    w, grad = cell.start() + 0.4 * rng.standard_normal(cell.layout.size), size * rng.standard_normal((2, 3))
    state, d_state = rng.standard_normal((2, cell.width, 2, 3))
    d_out = rng.standard_normal((2, 3))

    def paired(w: np.ndarray, grad: np.ndarray, state: np.ndarray) -> float:
        tape = cell.step(w, grad.reshape(2, 3), state.reshape(-1, 2, 3))
        return float((tape.out * d_out).sum() + (tape.state * d_state).sum())

    pulled = cell.back(w, cell.step(w, grad, state), d_out, d_state)
    flat_grad, flat_state = grad.ravel(), state.ravel()
    for found, expected in (
        (pulled.w, differences(lambda v: paired(v, flat_grad, flat_state), w)),
        (pulled.grad, differences(lambda v: paired(w, v, flat_state), flat_grad, max(1e-5 * size, 1e-9))),
        (pulled.state, differences(lambda v: paired(w, flat_grad, v), flat_state)),
    ):
        np.testing.assert_allclose(found.ravel(), expected, rtol=1e-7, atol=1e-8 if size == 1 else 1e-6)


def test_lstm_step_is_the_textbooks() -> None:
    """Gate by gate, one coordinate at a time, in scalars (Hochreiter & Schmidhuber 1997, with forget gates)."""
    cell, rng = LSTMCell(2), np.random.default_rng(2)
    w = cell.start() + 0.3 * rng.standard_normal(cell.layout.size)
    grad, state = rng.standard_normal((2, 3)), rng.standard_normal((4, 2, 3))
    tape, view = cell.step(w, grad, state), cell.layout.views(w)

    def logistic(z: float) -> float:
        return float(1 / (1 + np.exp(-z)))

    for t, p in np.ndindex(2, 3):
        seen = np.array([np.log(abs(grad[t, p])) / SMALL, np.sign(grad[t, p]), *state[:2, t, p]])
        z = view["gates"] @ seen + view["bias"]
        for j in range(2):
            c = logistic(z[2 + j]) * state[2 + j, t, p] + logistic(z[j]) * np.tanh(z[6 + j])
            assert tape.state[2 + j, t, p] == pytest.approx(c, rel=1e-12)
            assert tape.state[j, t, p] == pytest.approx(logistic(z[4 + j]) * np.tanh(c), rel=1e-12)
        out = view["skip"] * grad[t, p] + view["out"] @ tape.state[:2, t, p]
        assert tape.out[t, p] == pytest.approx(out, rel=1e-12)


def test_preprocessing_of_the_papers_appendix() -> None:
    edge = np.exp(-SMALL)
    grad = np.array([0.0, edge / 2, -edge / 2, edge, -1.0, 100.0])
    expected = [[-1, -1, -1, -1, 0, np.log(100) / 10], [0, 0.5, -0.5, 1, -1, 1]]
    np.testing.assert_allclose(preprocessed(grad), expected, **EXACT)
    away = np.array([edge / 3, -edge / 3, 0.01, -2.0])
    for i, one in enumerate(away):
        found = [(preprocessed(np.array([one + h])) - preprocessed(np.array([one - h])))[:, 0] / (2 * h)
                 for h in [1e-6 * abs(one)]]  # fmt: skip
        np.testing.assert_allclose(slopes(away)[:, i], found[0], rtol=1e-7)


# ---- what a person sees -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["linear", "lstm"])
def test_untrained_it_is_gradient_descent(cell: str) -> None:
    given: dict[str, Any] = {"model": mg.mlp(1, 6, 1), "tasks": mg.sinusoid(), "inner_lr": 0.02, "inner_steps": 3}
    fresh, plain = (mg.train(m, **given, **more, steps=0) for m, more in (("l2l", {"cell": cell}), ("maml", {})))
    np.testing.assert_allclose(fresh.evaluate(n_tasks=20).mean, plain.evaluate(n_tasks=20).mean, rtol=1e-12)


def test_the_gates_of_a_new_lstm_let_the_past_through() -> None:
    """Forget gates start open (Jozefowicz et al. 2015), all other biases at 0, and no two hidden units alike."""
    cell = LSTMCell(4)
    view = cell.layout.views(cell.start())
    assert view["bias"].tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    assert len(np.unique(view["gates"])) == view["gates"].size
    assert not view["out"].any()


@pytest.mark.parametrize(("cell", "share"), [("linear", 0.6), ("lstm", 0.3)])
def test_it_learns_to_minimise_quadratics(cell: str, share: float) -> None:
    """On 20 random quadratics of condition 100, 15 learned steps end far below 15 of plain descent."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((20, 4, 4)))[0]
    a = turn @ (np.array([0.05, 0.3, 1.0, 5.0])[:, None] * turn.transpose(0, 2, 1))
    given: dict[str, Any] = {"tasks": mg.quadratics(a, rng.standard_normal((20, 4))), "inner_lr": 0.1}
    learned = mg.train("l2l", cell=cell, steps=150, inner_steps=15, meta_lr=0.003, **given).evaluate(steps=15)
    plain = mg.train("scratch", steps=0, **given).evaluate(steps=15)
    assert learned.mean[0] == plain.mean[0]
    assert learned.mean[15] < share * plain.mean[15]


def test_a_learned_optimizer_adapts_to_a_new_task() -> None:
    """``run.adapt`` takes its steps: by hand, one after the other, the same prediction."""
    given: dict[str, Any] = {"model": mg.mlp(1, 8, 1, activation="tanh"), "tasks": mg.sinusoid(), "inner_lr": 0.05,
             "inner_steps": 3, "meta_lr": 0.01, "hidden": 3, "learn_start": "yes", "steps": 60}  # fmt: skip
    run = mg.train("l2l", **given)
    x, y, new = np.linspace(-3, 3, 8), np.sin(np.linspace(-3, 3, 8)), np.array([0.5, 1.5])
    support = Batch(x[None, :, None], y[None, :, None])
    cell, w, phi = (
        run.loop.algorithm._cell,
        run.loop.theta[run.plan.problem.layout.size :],
        run.loop.theta[: run.plan.problem.layout.size],
    )
    state = np.zeros((6, 1, phi.size))
    for _ in range(3):
        tape = cell.step(w, run.plan.problem.linearize(phi, support).grad, state)
        phi, state = phi - 0.05 * tape.out, tape.state
    np.testing.assert_allclose(
        run.adapt(x, y)(new), run.plan.problem.predict(phi, new[None, :, None])[0, :, 0], **EXACT
    )
    names = {"optimizer.gates": (12, 5), "optimizer.bias": (12,), "optimizer.out": (3,), "optimizer.skip": ()}
    assert {name: value.shape for name, value in run.learned.items()} == names
    assert run.evaluate(n_tasks=50).mean[3] < mg.train("l2l", **(given | {"steps": 0})).evaluate(n_tasks=50).mean[3]


def test_a_start_that_is_not_learned_stays() -> None:
    given: dict[str, Any] = {"model": mg.mlp(1, 5, 1), "tasks": mg.sinusoid(), "inner_steps": 2, "meta_lr": 0.01}
    for learn, stays in (("no", True), ("yes", False)):
        run = mg.train("l2l", learn_start=learn, steps=3, **given)
        start = run.plan.problem.start(np.random.default_rng(0))
        assert np.array_equal(run.plan.problem.layout.flatten(run.params), start) is stays
