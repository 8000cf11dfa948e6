"""The gradient check names what is wrong, and only what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cells import namespace_of
from hypothesis import assume, given
from hypothesis import strategies as st

from metagd_nb.problems.autograd.loss import LossProblem
from metagd_nb.problems.gradient_check import GradientReport, check_functions, check_gradient

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3))
Y = X @ [1.0, -2.0, 0.5] + RNG.normal(size=20)
BEST = np.linalg.lstsq(X, Y, rcond=None)[0]


def loss(w: Any) -> Any:
    return np.mean((Y - np.dot(X, w)) ** 2)


def right(w: Any) -> Any:
    return 2 * X.T @ (X @ w - Y) / len(X)


def in_place(w: Any) -> Any:
    out = np.zeros(len(X))
    out[:] = X @ w
    return np.mean((Y - out) ** 2)


def verdict(gradient: Callable[..., Any], loss: Callable[..., Any] = loss, **params: Any) -> GradientReport:
    params = params or {"w": np.zeros(3)}
    found = check_gradient(LossProblem(loss, params, gradient))
    assert check_functions(loss, gradient, params) == found
    return found


def bump(i: int, by: float) -> Callable[..., Any]:
    return lambda w: right(w) + by * (np.arange(3) == i)


@pytest.mark.parametrize("start", [np.zeros(3), BEST, 1e3 * np.ones(3)])
def test_a_right_gradient_passes_at_a_stationary_start_too(start: np.ndarray) -> None:
    found = verdict(right, w=start)
    assert not found.wrong
    assert not found.fatal
    assert found.lines[0].startswith("gradient is right (largest relative difference ")
    assert found.lines[0].endswith(", at 3 points)")


def test_central_differences_take_over_where_the_loss_cannot_be_traced() -> None:
    assert verdict(right, in_place).lines[0].endswith("at 3 points, by central differences)")
    assert verdict(lambda w: -right(w), in_place).lines == (
        "gradient points uphill (cosine −1.00): its sign is flipped",
    )
    assert "wrong at w[1]" in verdict(bump(1, 1e-2), in_place).lines[0]


@pytest.mark.parametrize("start", [np.zeros(3), BEST])
def test_flipped_sign(start: np.ndarray) -> None:
    found = verdict(lambda w: -right(w), w=start)
    assert found == GradientReport(
        ("gradient points uphill (cosine −1.00): its sign is flipped",), fatal=True, wrong=True
    )


def test_missing_factor_runs() -> None:
    found = verdict(lambda w: right(w) / 2)
    assert found == GradientReport(
        ("gradient is 0.50 times the true one: a factor is missing",), fatal=False, wrong=True
    )
    assert "20.00 times" in verdict(lambda w: len(X) * right(w)).lines[0]
    assert "0.0013 times" in verdict(lambda w: right(w) / 777).lines[0]


def test_the_source_texts_own_gradient_has_three_defects_in_the_order_to_mend_them() -> None:
    space = namespace_of(
        """
        import numpy as np
        def loss(w):
            return np.mean((y - np.dot(x, w)) ** 2)
        def gradient(x, w):
            return x.T @ (y_true - x @ w) / len(x)
        def gradient_of_arguments(x, y_true, w):
            return x.T @ (y_true - x @ w) / len(x)
        """,
        x=X,
        y=Y,
    )
    before = dict(space)
    for name in ("gradient", "gradient_of_arguments"):
        assert check_functions(space["loss"], space[name], {"w": np.zeros(3)}, space).lines == (
            "gradient reads y_true, which does not exist; did you mean y?",
            "gradient points uphill (cosine −1.00): its sign is flipped",
            "gradient is 0.50 times the true one: a factor is missing",
        )
    assert space == before
    assert "y_true" not in space


def test_a_missing_name_with_an_otherwise_right_gradient() -> None:
    space = namespace_of("def gradient(w, y_true): return 2 * X.T @ (X @ w - y_true) / len(X)", X=X, y=Y)
    found = check_functions(loss, space["gradient"], {"w": np.zeros(3)}, space)
    assert found.fatal
    assert found.lines[0] == "gradient reads y_true, which does not exist; did you mean y?"
    assert found.lines[1].startswith("otherwise the gradient is right")


def test_a_missing_name_without_a_near_one_ends_the_check() -> None:
    for source in (
        "def gradient(w): return qqq * w",
        "def gradient(w, qqq): return w",
        "def gradient(): return w_now",
        "def gradient(w_now): return w_now",
    ):
        found = check_functions(loss, namespace_of(source)["gradient"], {"w": np.zeros(3)})
        assert found.fatal
        assert len(found.lines) == 1
        assert "which does not exist" in found.lines[0]


@pytest.mark.parametrize("i", range(3))
@pytest.mark.parametrize("by", [1e-4, 5.0, -5.0])
def test_the_worst_coordinate_with_both_values(i: int, by: float) -> None:
    found = verdict(bump(i, by))
    assert found.fatal
    assert found.lines[0].startswith(f"gradient is wrong at w[{i}]: it gives ")
    given, true = (
        float(part.replace("−", "-")) for part in found.lines[0].split("gives ")[1].split(", the true one is ")
    )
    assert given != true


def test_a_wrong_small_coordinate_does_not_hide_behind_large_ones() -> None:
    scale = np.array([1e4, 1.0, 1e-2])
    found = verdict(lambda w: [1, 1, 1.5] * scale * right(scale * w), lambda w: loss(scale * w))
    assert found.lines[0].startswith("gradient is wrong at w[2]")


def test_uphill_and_wrong_beside() -> None:
    found = verdict(lambda w: -right(w) * [1.0, 1.0, 1.2])
    assert "sign is flipped" in found.lines[0]
    assert "wrong at w[2]" in found.lines[1]


def test_names_of_scalars_and_matrices() -> None:
    def f(m: Any, b: Any) -> Any:
        return np.sum((m @ m.T) ** 2) + b**2

    start = {"m": RNG.normal(size=(2, 2)), "b": 3.0}
    true = check_functions(f, lambda m, b: (4 * (m @ m.T) @ m, 2 * b), start)
    assert not true.wrong
    assert (
        "wrong at b: it gives 3, the true one is 6"
        in check_functions(f, lambda m, b: (4 * (m @ m.T) @ m, b), start).lines[0]
    )
    off = np.array([[0, 0], [1.0, 0]])
    assert "wrong at m[1, 0]" in check_functions(f, lambda m, b: (4 * (m @ m.T) @ m + off, 2 * b), start).lines[0]


@pytest.mark.parametrize(
    ("gradient", "told"),
    [
        (lambda w: right(w)[:, None], "gradient gives shape (3, 1) for w, which has (3,)"),
        (lambda w: right(w) * [1, np.nan, 1], "gradient is nan at w[1], where the true one is finite"),
        (lambda w: None, "gradient returns nothing; it needs a `return`"),
        (lambda w: 0 * w, "gradient is wrong at w["),
    ],
)
def test_other_mistakes(gradient: Any, told: str) -> None:
    found = verdict(gradient)
    assert found.fatal
    assert found.lines[0].startswith(told)
    assert len(found.lines) == 1


def test_a_column_that_is_also_flipped() -> None:
    assert len(verdict(lambda w: -right(w)[:, None]).lines) == 2


def test_an_error_in_the_gradient_is_a_line_of_the_check_and_the_users_own_in_a_run() -> None:
    gradient = namespace_of("import numpy as np\ndef gradient(w):\n    return w @ np.ones((2, 2))")["gradient"]
    found = check_functions(loss, gradient, {"w": np.zeros(3)})
    assert found.lines[0].startswith("gradient raises ValueError (line 3: return w @ np.ones((2, 2))): matmul")
    with pytest.raises(ValueError, match="matmul"):
        check_gradient(LossProblem(loss, {"w": np.zeros(3)}, gradient))


def test_a_loss_that_is_defined_near_the_start_only() -> None:
    def f(w: Any) -> Any:
        return np.sum(w - np.log(w))

    start = np.full(6, 1e-3)
    assert verdict(lambda w: 1 - 1 / w, f, w=start).lines[0].endswith("at 3 points)")
    assert "sign is flipped" in verdict(lambda w: 1 / w - 1, f, w=start).lines[0]


def test_the_check_is_in_double_precision_whatever_the_run_is() -> None:
    found = check_gradient(LossProblem(loss, {"w": np.zeros(3)}, right, dtype="float32"))
    assert not found.wrong
    assert float(found.lines[0].split("difference ")[1].split(",")[0].replace("−", "-")) < 1e-12


@given(st.integers(1, 6), st.integers(0, 2**31), st.floats(-50, 50))
def test_multiples_are_told_apart(d: int, seed: int, factor: float) -> None:
    assume(abs(factor) > 0.01)
    assume(abs(abs(factor) - 1) > 1e-3)
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(d, d))
    a, c = a @ a.T + np.eye(d), rng.normal(size=d)
    found = verdict(lambda w: factor * a @ (w - c), lambda w: 0.5 * (w - c) @ a @ (w - c), w=rng.normal(size=d))
    assert found.fatal == (factor < 0)
    assert found.lines[-1].endswith("times the true one: a factor is missing")
    assert len(found.lines) == 1 + (factor < 0)
