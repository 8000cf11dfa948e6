"""Losses of the user: value, gradient and Hessian·vector against closed forms; mistakes in one line."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autograd
import autograd.numpy as anp
import autograd.tracer
import numpy as np
import pytest
from cells import namespace_of
from hypothesis import given
from hypothesis import strategies as st

from metagd_nb.core.errors import MetagdError
from metagd_nb.problems.autograd.loss import LossProblem
from metagd_nb.problems.autograd.model import ModelProblem, UserOutputLoss
from metagd_nb.problems.autograd.tape import Traced
from metagd_nb.tasks import Batch

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3))
Y = X @ [1.0, -2.0, 0.5] + RNG.normal(size=20)
V = RNG.normal(size=(1, 3))
HESSIAN = 2 * X.T @ X / len(X)
W0 = {"w": np.array([0.5, 1.0, -1.0])}


def loss(w: Any) -> Any:
    return np.mean((Y - np.dot(X, w)) ** 2)


def gradient(w: Any) -> Any:
    return 2 * X.T @ (X @ w - Y) / len(X)


def in_place(w: Any) -> Any:
    prediction = np.zeros(len(X))
    for i in range(len(X)):
        prediction[i] = X[i] @ w
    return np.mean((Y - prediction) ** 2)


# --- threads ---------------------------------------------------------------------------------------------------------


def test_nested_traces_in_one_thread_do_not_see_another_threads() -> None:
    """The other thread's trace ends between this one's outer and inner: with one counter both get the same number."""
    started, entered, ended = threading.Event(), threading.Event(), threading.Event()

    def other(w: Any) -> Any:
        started.set()
        entered.wait(5)
        return w**2

    def run_other() -> None:
        autograd.grad(other)(1.0)
        ended.set()

    def outer(w: Any) -> Any:
        entered.set()
        assert ended.wait(5)
        return autograd.grad(lambda u: u**3 * w)(w)

    thread = threading.Thread(target=run_other)
    thread.start()
    assert started.wait(5)
    found = autograd.grad(outer)(2.0)
    thread.join()
    assert found == pytest.approx(9 * 2.0**2)  # d/dw [3 w² · w]


def test_an_error_inside_a_trace_leaves_no_trace_open() -> None:
    before = autograd.tracer.trace_stack.top
    with pytest.raises(ZeroDivisionError):
        autograd.grad(lambda w: w / 0 if w else 1 // 0)(0.0)
    assert autograd.tracer.trace_stack.top == before


# --- one loss --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [None, gradient])
def test_a_loss_at_a_point(own: Callable[..., Any] | None) -> None:
    problem = LossProblem(loss, W0, own)
    theta = problem.start(RNG)
    point = problem.linearize(theta)
    assert point.loss.shape == (1,)
    np.testing.assert_allclose(point.loss, [loss(W0["w"])], rtol=1e-14)
    np.testing.assert_allclose(point.grad, [gradient(W0["w"])], rtol=1e-12)
    np.testing.assert_allclose(point.hvp(V), V @ HESSIAN, rtol=1e-10)
    np.testing.assert_allclose(point.hvp(2 * V), 2 * V @ HESSIAN, rtol=1e-10)
    moved = point.step(np.array([0.1, 0.0, 0.2]))
    np.testing.assert_allclose(moved, [W0["w"] - [0.1, 0.0, 0.2] * gradient(W0["w"])], rtol=1e-12)
    assert problem.flat(moved, 1).shape == (1, 3)
    problem.linearize(moved)


def test_a_point_stays_where_it_was_evaluated() -> None:
    problem = LossProblem(lambda w: (w**4).sum(), {"w": np.ones(2)})
    theta = problem.start()
    point = problem.linearize(theta)
    theta[:] = 5
    np.testing.assert_allclose(point.hvp(np.ones((1, 2))), [[12.0, 12.0]])


def test_several_parameters_of_any_shape() -> None:
    def f(a: Any, b: Any, c: Any) -> Any:
        return np.sum(np.tanh(a @ b) * c) + c**2 * b[0]

    values = {"a": RNG.normal(size=(2, 3)), "b": RNG.normal(size=3), "c": 1.5}
    problem = LossProblem(f, values)
    theta, v = problem.start(), RNG.normal(size=10)
    e = 1e-5
    ahead, behind = problem.linearize(theta + e * v), problem.linearize(theta - e * v)
    point = problem.linearize(theta)
    np.testing.assert_allclose(point.grad @ v, (ahead.loss - behind.loss) / (2 * e), rtol=1e-8)
    np.testing.assert_allclose(point.hvp(v[None]), (ahead.grad - behind.grad) / (2 * e), rtol=1e-7, atol=1e-9)
    assert problem.layout.where(9) == "c"


@given(st.integers(1, 6), st.integers(0, 2**31))
def test_quadratics_of_any_size(d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, c, v = rng.normal(size=(d, d)), rng.normal(size=d), rng.normal(size=d)
    problem = LossProblem(lambda w: 0.5 * np.dot(w - c, a.dot(w - c)), {"w": rng.normal(size=d)})
    point = problem.linearize(theta := problem.start())
    half = (a + a.T) / 2
    np.testing.assert_allclose(point.grad[0], half @ (theta - c), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(point.hvp(v[None])[0], half @ v, rtol=1e-10, atol=1e-12)


def test_a_linear_loss_has_no_curvature_and_an_unused_parameter_no_gradient() -> None:
    problem = LossProblem(lambda w, b: w.sum(), {"w": np.ones(2), "b": np.ones(3)})
    point = problem.linearize(problem.start())
    np.testing.assert_array_equal(point.grad, [[1, 1, 0, 0, 0]])
    np.testing.assert_array_equal(point.hvp(np.ones((1, 5))), np.zeros((1, 5)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_norm_of_weights_that_start_at_zero(dtype: str) -> None:
    problem = LossProblem(lambda w: w.sum() + np.linalg.norm(w) ** 2, {"w": np.zeros(3)}, dtype=dtype)
    point = problem.linearize(problem.start())
    np.testing.assert_array_equal(point.grad, np.ones((1, 3)))
    np.testing.assert_allclose(point.hvp(V), 2 * V, rtol=1e-6)


def test_a_matrix_with_one_entry_counts_as_a_number() -> None:
    problem = LossProblem(lambda w: (Y[:, None] - X @ w).T @ (Y[:, None] - X @ w), {"w": np.zeros((3, 1))})
    np.testing.assert_allclose(problem.linearize(problem.start()).grad[0], len(X) * gradient(np.zeros(3)), rtol=1e-12)


def test_float32() -> None:
    point = (problem := LossProblem(loss, W0, dtype="float32")).linearize(problem.start())
    assert point.loss.dtype == point.grad.dtype == point.hvp(V).dtype == np.float32
    np.testing.assert_allclose(point.grad, [gradient(W0["w"])], rtol=1e-5)


def test_the_loss_is_fixed_at_the_start_and_the_users_arrays_are_not_touched() -> None:
    space = namespace_of("def loss(w):\n    w -= 1.0\n    return (w * k).sum()", k=np.ones(2))
    start = np.array([3.0, 4.0])
    problem = LossProblem(space["loss"], {"w": start})
    own = LossProblem(space["loss"], {"w": start}, lambda w: np.ones(2))
    space["k"][:] = 9
    for p in (problem, own):
        theta = p.start()
        assert p.linearize(theta).loss == 5.0
        np.testing.assert_array_equal(theta, start)
    np.testing.assert_array_equal(start, [3, 4])


def test_arguments_with_a_default_and_from_the_namespace_are_data() -> None:
    space = namespace_of(
        "def loss(x, w, k=2.0, *, shift): return k * (x @ w).sum() + shift * w[0]", x=X.copy(), shift=3.0
    )
    problem = LossProblem(space["loss"], {"w": np.zeros(3)})
    expected = 2 * X.sum(0) + [3, 0, 0]
    np.testing.assert_allclose(problem.linearize(problem.start()).grad[0], expected)
    space["x"][:] = 0
    np.testing.assert_allclose(problem.linearize(problem.start()).grad[0], expected)


def test_a_parameter_behind_data_with_a_default() -> None:
    problem = LossProblem(lambda k=3.0, w=None: k * w, {"w": 1.0})
    assert problem.linearize(problem.start()).grad == 3.0


@pytest.mark.parametrize(
    "own",
    [
        lambda w, b: (gradient(w), 0.0),
        lambda w, b: [gradient(w), np.float64(0.0)],
        lambda w: {"b": 0, "w": gradient(w)},
        lambda w: np.append(gradient(w), 0.0),
        lambda x, w: (2 * x.T @ (x @ w - Y) / len(x), 0.0),
    ],
)
def test_the_forms_of_a_users_gradient(own: Callable[..., Any]) -> None:
    problem = LossProblem(lambda w, b: loss(w) + 0 * b, {**W0, "b": 0.0}, own, namespace={"x": X})
    np.testing.assert_allclose(problem.linearize(problem.start()).grad, [[*gradient(W0["w"]), 0.0]], rtol=1e-12)


def test_what_cannot_be_traced_runs_with_its_own_gradient() -> None:
    problem = LossProblem(in_place, W0, gradient)
    point = problem.linearize(problem.start())
    np.testing.assert_allclose(point.hvp(V), V @ HESSIAN, rtol=1e-6)
    assert problem.second_order == "differences"
    np.testing.assert_array_equal(point.hvp(0 * V), 0 * V)


def test_the_fingerprint_knows_code_and_data() -> None:
    prints = [
        LossProblem(f, {"w": 1.0}, g).fingerprint for f in (lambda w: w, lambda w: 2 * w) for g in (None, lambda w: 1)
    ]
    assert len(set(prints)) == 4


# --- mistakes --------------------------------------------------------------------------------------------------------

REFUSED = {
    "w[0] = 1.0\nreturn w.sum()": r"in place \(line 3: w\[0\] = 1.0\).*np.where",
    "a = np.zeros(2)\na[0] = w[0]\nreturn a.sum()": r"in place \(line 4: a\[0\] = w\[0\]\)",
    "a = np.zeros(2)\na += w\nreturn a.sum()": r"in place \(line 4: a \+= w\).*a = a \+ b",
    "return float(w[0])": r"float\(…\) in loss \(line 3: return float\(w\[0\]\)\)",
    "return int(w[0]) * w[0]": r"int\(…\) in loss \(line 3",
    "return math.exp(w[0])": r"math.exp in loss \(line 3.*use np.exp",
    "return w[0].item()": r"\.item in loss \(line 3",
    "print(f'{w[0]:.2f}')\nreturn w.sum()": r"formatting a number as text in loss \(line 3",
    "return np.percentile(w, 3)": r"no derivative of percentile \(line 3",
    "return np.random.randn(2) @ w": r"np.random.randn inside the loss \(line 3\)",
    "return sp.xlogy(w, w).sum()": r"scipy.special.xlogy \(line 3\)",
    "return mean_squared_error(w, 2 * w)": r"sklearn's mean_squared_error \(line 3",
    "return X @ w": r"shape \(3,\); it needs one number: np.mean or np.sum\?",
    "pass": r"loss returns nothing",
    "return w.sum(), 1": r"loss returns a tuple",
    "return 'a'": r"loss returns a str",
    "return w.sum() * 1j": r"real number",
    "return np.mean(w > 0)": r"loss does not depend on w \(comparisons",
    "return np.log(-w).sum()": r"loss is nan at the starting values",
    "return np.sqrt((w - w) ** 2).sum()": r"derivative of loss in w\[0\] is nan at the starting values; start else",
    "return (w // 2).sum()": r"cannot follow loss \(line 3: return \(w // 2\).sum\(\)\): unsupported operand",
    "return w.sum() / 0": r"loss is inf at the starting values",
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_cannot_be_differentiated_is_named_with_its_line(body: str) -> None:
    indented = body.replace("\n", "\n    ")
    imports = "import math, numpy as np"
    imports += ", scipy.special as sp" if "sp." in body else ""
    imports += "; from sklearn.metrics import mean_squared_error" if "mean_squared_error" in body else ""
    space = namespace_of(f"{imports}\ndef loss(w):\n    {indented}", X=np.ones((3, 2)))
    with pytest.raises(MetagdError, match=REFUSED[body]) as caught:
        LossProblem(space["loss"], {"w": np.array([1.0, 2.0])})
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("nowhere + w", NameError),
        ("np.ones(3) @ w", ValueError),
        ("w.nothing", AttributeError),
        ("w[7]", IndexError),
        ("1 / 0", ZeroDivisionError),
        ("float(w)", TypeError),
    ],
)
def test_the_users_own_errors_come_as_they_are(line: str, kind: type[Exception]) -> None:
    space = namespace_of(f"import numpy as np\ndef helper(w):\n    return {line}\ndef loss(w):\n    return helper(w)")
    with pytest.raises(kind) as caught:
        LossProblem(space["loss"], {"w": np.array([1.0, 2.0])})
    names = [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["loss", "helper"]
    assert "call" not in names  # nothing of how it was called a second time
    library = str(Path(autograd.__file__).parent)
    assert not any(entry.filename.startswith(library) for entry in traceback.extract_tb(caught.value.__traceback__))


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, "needs a dict"),
        ({"w": "a"}, "w must be made of real numbers"),
        ({"w": [1j]}, "not complex"),
        ({"w": None}, "w must be"),
        ({"w": [[1], [1, 2]]}, "w must be"),
        ({"w": []}, "w is empty"),
        ({"w": [1, np.nan]}, r"w\[1\] starts at nan"),
        ({"w": np.ones(3), "v": 1}, "v is not an argument of loss"),
    ],
)
def test_starting_values_are_checked(params: Any, told: str) -> None:
    with pytest.raises(MetagdError, match=told):
        LossProblem(loss, params)


def test_names_that_do_not_exist() -> None:
    with pytest.raises(MetagdError, match=r"^loss reads z, which does not exist$"):
        LossProblem(namespace_of("def loss(w, z): return w")["loss"], {"w": 1.0})
    space = namespace_of("def loss(w): return (w * y).sum()\ndef gradient(w): return y_true", y=np.ones(3))
    problem = LossProblem(space["loss"], {"w": np.ones(3)}, space["gradient"])
    with pytest.raises(MetagdError, match=r"^gradient reads y_true, which does not exist; did you mean y\?$"):
        problem.linearize(problem.start())


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (lambda w: None, "returns nothing"),
        (lambda w: np.ones((3, 1)), r"shape \(3, 1\) for w, which has \(3,\)"),
        (lambda w: "abc", "real numbers"),
        (lambda w: {"v": 1}, "gives no value for w"),
        (lambda w: (1, 2), "gives 2 parts; it needs 1"),
    ],
)
def test_gradients_of_the_wrong_form(result: Any, told: str) -> None:
    problem = LossProblem(loss, W0, result)
    with pytest.raises(MetagdError, match=told):
        problem.linearize(problem.start())


# --- models and losses for one task ----------------------------------------------------------------------------------


def model(params: Any, x: Any) -> Any:
    return np.dot(np.tanh(np.dot(x, params["a"]) + params["b"]), params["c"])


def mse(prediction: Any, target: Any) -> Any:
    return np.mean((prediction - target) ** 2)


PARAMS = {"a": RNG.normal(size=(1, 4)), "b": np.zeros(4), "c": RNG.normal(size=(4, 1))}
BATCH = Batch(RNG.normal(size=(3, 5, 1)), RNG.normal(size=(3, 5, 1)))


@pytest.mark.parametrize("given_loss", [None, mse])
def test_a_model_and_loss_of_the_users(given_loss: Callable[..., Any] | None) -> None:
    problem = ModelProblem(model, given_loss, PARAMS)
    theta = problem.start()
    thetas, v = theta + 0.1 * RNG.normal(size=(3, 12)), RNG.normal(size=(3, 12))
    point = problem.linearize(thetas, BATCH)
    alone = [problem.linearize(t, Batch(BATCH.x[i : i + 1], BATCH.y[i : i + 1])) for i, t in enumerate(thetas)]
    np.testing.assert_allclose(
        point.loss,
        [mse(model(problem.layout.views(t), x), y) for t, x, y in zip(thetas, BATCH.x, BATCH.y, strict=True)],
        rtol=1e-12,
    )
    np.testing.assert_array_equal(point.grad, np.concatenate([p.grad for p in alone]))
    e = 1e-5
    ahead, behind = problem.linearize(thetas + e * v, BATCH), problem.linearize(thetas - e * v, BATCH)
    np.testing.assert_allclose((point.grad * v).sum(1), (ahead.loss - behind.loss) / (2 * e), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(point.hvp(v), (ahead.grad - behind.grad) / (2 * e), rtol=1e-5, atol=1e-8)
    shared = problem.linearize(theta, BATCH)
    assert shared.step(0.1).shape == (3, 12)
    np.testing.assert_allclose(problem.predict(theta, BATCH.x)[1], model(PARAMS, BATCH.x[1]), rtol=1e-12)


def test_a_prediction_without_its_last_axis_is_not_spread_over_the_targets() -> None:
    flat = ModelProblem(lambda p, x: x[:, 0] * p["w"], mse, {"w": 2.0})
    full = ModelProblem(lambda p, x: x * p["w"], mse, {"w": 2.0})
    theta = flat.start()
    np.testing.assert_array_equal(flat.linearize(theta, BATCH).loss, full.linearize(theta, BATCH).loss)
    assert flat.predict(theta, BATCH.x).shape == (3, 5, 1)


def test_a_model_whose_shape_does_not_fit() -> None:
    problem = ModelProblem(lambda p, x: p["w"] * np.ones((5, 2)), None, {"w": 1.0})
    with pytest.raises(MetagdError, match=r"model: gives shape \(5, 2\) for targets of shape \(5, 1\)"):
        problem.linearize(problem.start(), BATCH)


def test_a_loss_of_the_output() -> None:
    prediction, target, v = RNG.normal(size=(3, 3, 4, 2))
    own = UserOutputLoss(lambda p, t: np.log(np.cosh(p - t)).sum() + p[0, 0] * p[1, 1])
    point = own.linearize(prediction, target)
    assert point.loss.shape == (3,)
    e = 1e-5
    ahead, behind = own.linearize(prediction + e * v, target), own.linearize(prediction - e * v, target)
    np.testing.assert_allclose((point.grad * v).sum((1, 2)), (ahead.loss - behind.loss) / (2 * e), rtol=1e-8)
    np.testing.assert_allclose(point.hvp(v), (ahead.grad - behind.grad) / (2 * e), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(own.value(prediction, target), point.loss, rtol=1e-14)


def test_a_loss_of_the_output_without_curvature() -> None:
    prediction = RNG.normal(size=(2, 3, 1))
    point = UserOutputLoss(lambda p, t: np.abs(p - t).mean()).linearize(prediction, 0 * prediction)
    np.testing.assert_allclose(point.grad, np.sign(prediction) / 3)
    np.testing.assert_allclose(point.hvp(prediction), 0 * prediction, atol=1e-12)
    with pytest.raises(MetagdError, match="one number"):
        UserOutputLoss(lambda p, t: p - t).linearize(prediction, prediction)


def test_traced_agrees_with_autograd() -> None:
    def f(a: Any, b: Any) -> Any:
        return anp.sum(anp.sin(a) * b[0]) + anp.sum(b**3)

    a, b = RNG.normal(size=3), RNG.normal(size=2)
    traced = Traced(f, [a, b])
    for found, i in zip(traced.grads, (0, 1), strict=True):
        np.testing.assert_allclose(found, autograd.grad(f, i)(a, b), rtol=1e-14)
