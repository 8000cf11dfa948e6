"""A column (n, 1) that meets (n,) in a loss is refused, unless the loss made the column itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb import linear_regression_model, mse_loss

N = 12
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 2))
x = X[:, 0].copy()
y = 2 * x + 1
column = y[:, None].copy()
w1, w2 = np.zeros(2), np.zeros((2, 1))

MISTAKES: dict[str, tuple[Any, Any]] = {
    "prediction is a column": (lambda w: np.mean((X @ w - y) ** 2), w2),
    "target is a column": (lambda w: np.mean((X @ w - column) ** 2), w1),
    "np.dot": (lambda w: np.mean((np.dot(X, w) - y) ** 2), w2),
    "method": (lambda w: ((y - X.dot(w)) ** 2).mean(), w2),
    "np.asarray": (lambda w: np.mean((np.asarray(X) @ np.asarray(w) - np.asarray(y)) ** 2), w2),
    "np.subtract": (lambda w: np.mean(np.subtract(X @ w, y) ** 2), w2),
    "a sum": (lambda w: np.mean((X @ w + -y) ** 2), w2),
    "a product": (lambda w: -np.mean(np.log(1 / (1 + np.exp(-y * (X @ w))))), w2),
    "a helper of the kit": (lambda w: np.mean((linear_regression_model(X, w) - y) ** 2), w2),
    "after functions": (lambda w: np.mean((np.tanh(2 * (X @ w) + 1) - y) ** 2), w2),
    "a column cut out": (lambda w: np.mean((X[:, :1] * w - y) ** 2), np.zeros(1)),
    "transposed": (lambda w: np.mean(((w.T @ X.T).T - y) ** 2), w2),
    "weights made a column, the result was not": (lambda w: np.mean((X @ w[:, None] - y) ** 2), w1),
    "a global default": (lambda w, target=column: np.mean((X @ w - target) ** 2), w1),
}

LEGITIMATE: dict[str, tuple[Any, Any]] = {
    "alike": (lambda w: np.mean((X @ w - y) ** 2), w1),
    "both columns": (lambda w: np.mean((X @ w - column) ** 2), w2),
    "squeezed": (lambda w: np.mean(((X @ w)[:, 0] - y) ** 2), w2),
    "pairwise": (lambda a: np.mean((np.exp(-((x[:, None] - x) ** 2)) @ a - y) ** 2), np.zeros(N)),
    "reshape": (lambda a: np.mean((np.exp(-((x.reshape(-1, 1) - x) ** 2)) @ a - y) ** 2), np.zeros(N)),
    "np.reshape": (lambda a: np.mean((np.exp(-((np.reshape(x, (N, 1)) - x) ** 2)) @ a - y) ** 2), np.zeros(N)),
    "expand_dims": (lambda a: np.mean((np.exp(-((np.expand_dims(x, 1) - x) ** 2)) @ a - y) ** 2), np.zeros(N)),
    "newaxis, then arithmetic": (lambda a: np.mean((np.abs(2 * x[:, np.newaxis] - x) @ a - y) ** 2), np.zeros(N)),
    "parameters pairwise": (lambda z: np.sum((np.abs(z[:, None] - z + 1e-3) - 1) ** 2), np.linspace(0, 1, N)),
    "keepdims": (lambda a: np.mean((np.mean(X, axis=1, keepdims=True) - a) ** 2), np.zeros(N)),
    "column_stack": (lambda a: np.mean((np.column_stack([x]) - a) ** 2), np.zeros(N)),
    "one row": (lambda w: np.mean((X[:1] @ w - y[:1]) ** 2), w2),
    "wider": (lambda w: np.mean((X[:, :1] * w - X) ** 2), np.zeros(2)),
    "softmax": (lambda w: np.mean(np.log(np.sum(np.exp(X * w - np.max(X, axis=1, keepdims=True)), axis=1))), w1),
}


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_refused_with_both_shapes(name: str, backend: str) -> None:
    if backend == "jax":
        pytest.importorskip("jax")
    loss, start = MISTAKES[name]
    with pytest.raises(mg.MetagdError) as caught:
        mg.train("gd", loss=loss, params={"w": start}, steps=1, backend=backend)
    line = str(caught.value)
    assert "(12, 1)" in line
    assert "(12,)" in line
    assert "gives (12, 12)" in line
    assert "\n" not in line


@pytest.mark.parametrize("name", LEGITIMATE)
def test_what_is_meant_runs(name: str) -> None:
    loss, start = LEGITIMATE[name]
    names = loss.__code__.co_varnames[: loss.__code__.co_argcount]
    assert mg.train("gd", loss=loss, params={names[0]: start}, steps=2, lr=1e-4).loss < np.inf


def test_arguments_are_watched_too() -> None:
    given = {"params": {"w": w2}, "data": {"x": X, "y": y}, "steps": 1}
    with pytest.raises(mg.MetagdError, match=r"\(12, 1\) meets \(12,\) in loss \(line \d+"):
        mg.train("gd", loss=lambda w, x, y: np.mean((x @ w - y) ** 2), **given)


def test_a_right_gradient_is_not_called_wrong() -> None:
    def gradient(w: Any) -> Any:
        return 2 * X.T @ (X @ w - column) / N

    with pytest.raises(mg.MetagdError, match="meets"):
        mg.train("gd", loss=lambda w: np.mean((X @ w - y) ** 2), gradient=gradient, params={"w": w2})


def test_the_message_names_the_line() -> None:
    def loss(w: Any) -> Any:
        residual = X @ w - y
        return np.mean(residual**2)

    with pytest.raises(mg.MetagdError, match=r"line \d+: residual = X @ w - y\)"):
        mg.train("gd", loss=loss, params={"w": w2})


def test_mse_loss_refuses_unlike_shapes() -> None:
    for a, b in ((y, column), (column, y), (y, y[:1]), (X, y)):
        with pytest.raises(ValueError, match="mse_loss needs one shape"):
            mse_loss(a, b)
    with pytest.raises(mg.MetagdError, match=r"\(12,\) and y_pred \(12, 1\); mse_loss needs one shape \(line"):
        mg.train("gd", loss=lambda w: mse_loss(y, X @ w), params={"w": w2})
    assert mse_loss(y, y) == 0
    assert mse_loss(y, 0.0) == np.mean(y**2)


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("own_model", [False, True])
def test_losses_of_predictions_are_tried_too(backend: str, own_model: bool) -> None:
    if backend == "jax":
        pytest.importorskip("jax")
    own = {"model": lambda p, x: x * p["a"], "params": {"a": np.zeros(1)}}
    given: dict[str, Any] = own if own_model else {"model": mg.mlp(1, 4, 1)}
    given |= {"tasks": mg.sinusoid(), "steps": 1, "backend": backend}
    with pytest.raises(mg.MetagdError, match=r"\(7,\) meets \(7, 1\) in loss \(line"):
        mg.train("maml", loss=lambda p, t: np.mean((p[:, 0] - t) ** 2), **given)
    assert mg.train("maml", loss=lambda p, t: np.mean((p[:, 0] - t[:, 0]) ** 2), **given).loss > 0
