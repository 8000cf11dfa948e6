"""The four functions that chapter 1 explains."""

from __future__ import annotations

import numpy as np
import pytest
from cases import differences

import metagd_nb as mg


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3))
    return x, x @ np.array([1.0, -2.0, 0.5]) + 0.1 * rng.standard_normal(40), rng.standard_normal(3)


def test_by_hand() -> None:
    x, w, y = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, -1.0]), np.array([0.0, 1.0])
    np.testing.assert_array_equal(mg.linear_regression_model(x, w), [-1.0, -1.0])
    assert mg.mse_loss(y, mg.linear_regression_model(x, w)) == 2.5  # (1 + 4) / 2
    np.testing.assert_array_equal(mg.gradient(x, y, w), [-7.0, -10.0])  # 2·xᵀ(−1, −2)/2


def test_lists_will_do() -> None:
    assert mg.linear_regression_model([[1.0, 2.0]], [3.0, 4.0]) == [11.0]  # type: ignore[arg-type]
    np.testing.assert_array_equal(mg.gradient([[1.0], [2.0]], [0.0, 0.0], np.array([1.0])), [5.0])  # type: ignore[arg-type]
    assert mg.mse_loss([1.0, 2.0], np.array([1.0, 4.0])) == 2.0  # type: ignore[arg-type]


def test_gradient_is_the_derivative(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, y, w = data
    slope = differences(lambda v: mg.mse_loss(y, mg.linear_regression_model(x, v)), w)
    np.testing.assert_allclose(mg.gradient(x, y, w), slope, rtol=1e-7)


def test_descends_to_least_squares(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, y, w = data
    found = mg.meta_gradient_descent(x, y, w, 0.1, 2000)
    np.testing.assert_allclose(found, np.linalg.lstsq(x, y, rcond=None)[0], rtol=1e-9)


def test_each_step_is_the_plain_step(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, y, w = data
    expected = w - 0.1 * mg.gradient(x, y, w)
    np.testing.assert_array_equal(mg.meta_gradient_descent(x, y, w, 0.1, 1), expected)
    expected = expected - 0.1 * mg.gradient(x, y, expected)
    np.testing.assert_array_equal(mg.meta_gradient_descent(x, y, w, 0.1, 2), expected)
    np.testing.assert_array_equal(mg.meta_gradient_descent(x, y, w, 0.1, 0), w)


def test_stops_as_soon_as_the_loss_is_below(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, y, w = data
    found = mg.meta_gradient_descent(x, y, w, 0.1, 10_000, loss_below=0.5)
    losses = [
        mg.mse_loss(y, mg.linear_regression_model(x, mg.meta_gradient_descent(x, y, w, 0.1, n))) for n in range(40)
    ]
    first = next(n for n, loss in enumerate(losses) if loss < 0.5)
    assert first > 0
    np.testing.assert_array_equal(found, mg.meta_gradient_descent(x, y, w, 0.1, first))
    already = mg.meta_gradient_descent(x, y, w, 0.1, 10, loss_below=1e9)
    np.testing.assert_array_equal(already, w)
    at = float(losses[first])  # reached, not undercut: one more step
    np.testing.assert_array_equal(
        mg.meta_gradient_descent(x, y, w, 0.1, 10_000, loss_below=at), mg.meta_gradient_descent(x, y, w, 0.1, first + 1)
    )


def test_what_is_passed_in_stays(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    kept = [part.copy() for part in data]
    out = mg.meta_gradient_descent(*data, 0.1, 50)
    for part, before in zip(data, kept, strict=True):
        np.testing.assert_array_equal(part, before)
    assert not np.shares_memory(out, data[2])
    assert not np.shares_memory(mg.meta_gradient_descent(*data, 0.1, 0), data[2])
    whole = mg.meta_gradient_descent(data[0], data[1], np.array([0, 0, 0]), 0.1, 5)  # whole numbers do not truncate
    assert whole.dtype == float
    assert (whole != whole.round()).all()


def test_the_kit_walks_the_same_path(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x, y, _ = data
    run = mg.train("gd", model=mg.linear(3, bias=False), x=x, y=y, lr=0.1, steps=25)
    np.testing.assert_allclose(run.params["W0"][:, 0], mg.meta_gradient_descent(x, y, np.zeros(3), 0.1, 25), rtol=1e-11)


def test_the_sources_faulty_gradient_climbs(data: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Xᵀ(y − Xw)/n is minus the gradient, halved: following it makes the loss grow."""
    x, y, w = data
    faulty = x.T @ (y - x @ w) / len(x)
    np.testing.assert_allclose(faulty, -0.5 * mg.gradient(x, y, w), rtol=1e-12)
    before = mg.mse_loss(y, x @ w)
    for _ in range(20):
        w = w - 0.1 * (x.T @ (y - x @ w) / len(x))
    assert mg.mse_loss(y, x @ w) > 2 * before
