"""The baselines that learned starts are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.builtin import NetProblem
from metagd_nb.errors import MetagdError
from metagd_nb.tasks import Batch, TaskBatch

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
    np.testing.assert_array_equal(run.theta, run.problem.start(np.random.default_rng(0)))
    with pytest.raises(MetagdError, match=r"^unknown option of scratch 'meta_lr'"):
        mg.train("scratch", model=mg.mlp(1, 5, 1), tasks=mg.sinusoid(), meta_lr=0.1)
