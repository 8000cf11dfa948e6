"""Implicit MAML where tasks differ: when adaptation and conjugate gradients end, and for whom."""

from __future__ import annotations

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.algorithms.imaml import IMAML
from metagd_nb.core.errors import MetagdError
from metagd_nb.problems.closed_form.quadratic import QuadraticProblem
from metagd_nb.tasks import Batch, TaskBatch

CURVED = np.array([np.diag([1.0, 1.0]), np.diag([1.0, 4.0])])  # (T, d, d): the first task is the easier one
PROBLEM = QuadraticProblem(mg.quadratics(CURVED, np.zeros((2, 2))))


def episode(v: np.ndarray) -> TaskBatch:
    """Support minima at 0, where adaptation from 0 stays; query gradients v (T, d) there."""
    return TaskBatch(Batch(CURVED, np.zeros((2, 2))), Batch(np.stack([np.eye(2)] * 2), -v))


def test_adaptation_ends_when_the_last_task_is_there_and_then_stays_to_the_bit() -> None:
    algorithm = IMAML(lam=1.0, inner_lr=0.3, inner_tol=1e-3)
    support = Batch(CURVED, np.array([[1.0, 2.0], [-3.0, 1.0]]))
    theta = np.array([4.0, 8.0])
    path = [np.array(phi) for phi in algorithm.path(PROBLEM, theta, support, 60)]
    pulled = [PROBLEM.linearize(phi, support).grad + (phi - theta) for phi in path]
    size = np.array([np.linalg.norm(p, axis=1) for p in pulled])  # (steps, T)
    there = int((size.max(axis=1) <= 1e-3).argmax())
    assert size[there - 1].min() <= 1e-3 < size[there - 1].max()  # one task was there before the other
    for phi in path[there:]:
        np.testing.assert_array_equal(phi, path[there])
    assert not np.array_equal(path[there - 1], path[there])


@pytest.mark.parametrize(
    ("steps", "tol", "hvps"), [(10, 1e-10, 2), (1, 1e-10, 1), (2, 0.0, 2), (10, 0.3, 2), (10, 0.5, 1)]
)
def test_conjugate_gradients_end_when_the_last_task_is_solved(steps: int, tol: float, hvps: int) -> None:
    """With λ = 1 and v = (1, 1), the harder task's residual after one step is 3/7 of v, as a share of its norm."""
    v = np.ones((2, 2))
    made = IMAML(lam=1.0, cg_steps=steps, cg_tol=tol).meta_gradient(PROBLEM, np.zeros(2), episode(v))
    assert made.hvps == hvps
    if hvps == 2:
        exact = [np.linalg.solve(np.eye(2) + a, u) for a, u in zip(CURVED, v, strict=True)]
        np.testing.assert_allclose(made.grad, np.mean(exact, axis=0), rtol=1e-13)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_adaptation_makes_as_many_steps_as_were_asked_for(steps: int) -> None:
    algorithm = IMAML(lam=1.0, inner_lr=0.1, inner_steps=steps, inner_tol=0.0)
    support, query = Batch(CURVED, np.ones((2, 2))), Batch(CURVED, np.zeros((2, 2)))
    theta = np.array([4.0, 8.0])
    made = algorithm.meta_gradient(PROBLEM, theta, TaskBatch(support, query))
    *_, phi = algorithm.path(PROBLEM, theta, support, steps)
    np.testing.assert_array_equal(made.loss, PROBLEM.linearize(phi, query).loss)
    assert made.grad_evals == steps + 2


def test_a_loss_that_curves_down_is_refused_with_the_pull_that_it_needs() -> None:
    """Along v = (0, 1) I + H/λ is 1 − 3 < 0; more than λ = 3 makes it positive."""
    down = np.array([np.diag([1.0, -3.0])])
    batch = TaskBatch(Batch(down, np.zeros((1, 2))), Batch(np.eye(2)[None], -np.array([[0.0, 1.0]])))
    with pytest.raises(MetagdError, match=r"^lam: 1 is too weak: the loss curves down by 3 .*; needs more than 3$"):
        IMAML(lam=1.0, inner_steps=0).meta_gradient(PROBLEM, np.zeros(2), batch)
    made = IMAML(lam=6.0, inner_steps=0).meta_gradient(PROBLEM, np.zeros(2), batch)
    np.testing.assert_allclose(made.grad, [0.0, 2.0], rtol=1e-14)
