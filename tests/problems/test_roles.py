# ruff: noqa: N803
"""Data among the arguments of a loss: never trained without a word, from Python or from a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.problems.capture.roles import assigned

N = 23
rng = np.random.default_rng(0)
x = rng.standard_normal(N)
y = 2 * x + 1
X = rng.standard_normal((N, 3))
labels = (x > 0).astype(int)
counts = rng.poisson(3.0, N)
ratings = rng.standard_normal((N, 7))
kernel = np.exp(-((x[:, None] - x) ** 2))
hours = np.linspace(0.1, 3, N)
users, items = rng.integers(0, 5, N), rng.integers(0, 4, N)


def normal(r: Any, mean: Any, scale: Any) -> Any:
    return np.mean(0.5 * ((r - mean) / scale) ** 2 + np.log(scale))


def network(x: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> Any:
    return np.tanh(np.outer(x, W1) + b1) @ W2 + b2


def mixture(r: Any, means: Any, log_scales: Any, logits: Any) -> Any:
    weights = np.exp(logits) / np.sum(np.exp(logits))
    z = (r[:, None] - means) / np.exp(log_scales)
    return -np.mean(np.log(np.sum(weights * np.exp(-0.5 * z**2 - log_scales), axis=1)))


def cross_entropy(scores: Any, labels: Any) -> Any:
    top = scores - np.max(scores, axis=1, keepdims=True)
    return -np.mean(top[np.arange(len(labels)), labels] - np.log(np.sum(np.exp(top), axis=1)))


W = {"W1": rng.standard_normal(8), "b1": np.zeros(8), "W2": rng.standard_normal(8), "b2": 0.0}
MIX = {"means": np.array([-1.0, 0.5, 1.0]), "log_scales": np.zeros(3), "logits": np.zeros(3)}
DEEP = {"A": rng.standard_normal((3, 3)), "a": np.zeros(3), "B": rng.standard_normal((3, 3)), "b": np.zeros(3)}

# loss, values of its arguments without default, names that are trained; None: refused
LOSSES: dict[str, tuple[Callable[..., Any], dict[str, Any], str | None]] = {
    "line": (
        lambda x, y, slope, intercept: np.mean((slope * x + intercept - y) ** 2),
        {"x": x, "y": y, "slope": 0.0, "intercept": 0.0},
        "slope intercept",
    ),
    "least squares": (lambda w: np.mean((X @ w - y) ** 2), {"w": np.zeros(3)}, "w"),
    "least squares, all arguments": (
        lambda X, y, w: np.mean((X @ w - y) ** 2),
        {"X": X, "y": y, "w": np.zeros(3)},
        "w",
    ),
    "least squares, offset": (lambda w, b: np.mean((X @ w + b - y) ** 2), {"w": np.zeros(3), "b": 0.0}, "w b"),
    "as many rows as weights": (
        lambda X, y, w: np.mean((X @ w - y) ** 2),
        {"X": X[:3], "y": y[:3], "w": np.zeros(3)},
        "w",
    ),
    "ridge": (lambda w: np.mean((X @ w - y) ** 2) + 0.1 * np.sum(w**2), {"w": np.zeros(3)}, "w"),
    "logistic": (
        lambda X_train, y_train, w, b: np.mean(np.logaddexp(0, -(2 * y_train - 1) * (X_train @ w + b))),
        {"X_train": X, "y_train": labels, "w": np.zeros(3), "b": 0.0},
        "w b",
    ),
    "softmax": (
        lambda features, labels, W: cross_entropy(features @ W, labels),
        {"features": X, "labels": labels, "W": np.zeros((3, 2))},
        "W",
    ),
    "network": (lambda W1, b1, W2, b2: np.mean((network(x, W1, b1, W2, b2) - y) ** 2), W, "W1 b1 W2 b2"),
    "network, all arguments": (
        lambda x, y, W1, b1, W2, b2: np.mean((network(x, W1, b1, W2, b2) - y) ** 2),
        {"x": x, "y": y, **W},
        "W1 b1 W2 b2",
    ),
    "deep network of width d": (
        lambda A, a, B, b: np.mean((np.tanh(np.tanh(X @ A + a) @ B + b) - X) ** 2),
        DEEP,
        "A a B b",
    ),
    "mixture": (
        lambda means, log_scales, logits: mixture(x, means, log_scales, logits),
        MIX,
        "means log_scales logits",
    ),
    "mixture, its data unconventional": (
        lambda sample, means, log_scales, logits: mixture(sample, means, log_scales, logits),
        {"sample": x, **MIX},
        None,
    ),
    "normal, its data unconventional": (normal, {"r": x, "mean": 0.0, "scale": 1.0}, None),
    "one conventional name": (
        lambda data, mean, scale: normal(data, mean, scale),
        {"data": x, "mean": 0.0, "scale": 1.0},
        None,
    ),
    "line, unconventional names": (
        lambda a, b, slope: np.mean((slope * a - b) ** 2),
        {"a": x, "b": y, "slope": 0.0},
        None,
    ),
    "third column unconventional": (
        lambda x, y, sigma, slope: np.mean(((slope * x - y) / sigma) ** 2),
        {"x": x, "y": y, "sigma": hours, "slope": 0.0},
        None,
    ),
    "decay": (
        lambda t, y, size, rate: np.mean((size * np.exp(-rate * t) - y) ** 2),
        {"t": hours, "y": y, "size": 1.0, "rate": 1.0},
        "size rate",
    ),
    "decay, global data": (
        lambda size, rate: np.mean((size * np.exp(-rate * hours) - y) ** 2),
        {"size": 1.0, "rate": 0.5},
        "size rate",
    ),
    "initial values x0, y0": (
        lambda x0, y0, speed: np.mean((x0 + speed * hours - x) ** 2 + (y0 + speed * hours - y) ** 2),
        {"x0": 0.0, "y0": 0.0, "speed": 1.0},
        "x0 y0 speed",
    ),
    "Rosenbrock of scalars": (lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2, {"x": -1.0, "y": 1.0}, "x y"),
    "Rosenbrock of a vector": (
        lambda w: np.sum((1 - w[:-1]) ** 2 + 100 * (w[1:] - w[:-1] ** 2) ** 2),
        {"w": np.zeros(5)},
        "w",
    ),
    "matrix factorization": (
        lambda U, V: np.mean((ratings - U @ V.T) ** 2),
        {"U": rng.standard_normal((N, 2)), "V": rng.standard_normal((7, 2))},
        None,
    ),
    "factors by index": (
        lambda P, Q: np.mean((np.sum(P[users] * Q[items], axis=1) - y) ** 2),
        {"P": rng.standard_normal((5, 2)), "Q": rng.standard_normal((4, 2))},
        "P Q",
    ),
    "kernel ridge": (
        lambda alpha: np.mean((kernel @ alpha - y) ** 2) + 0.1 * alpha @ kernel @ alpha,
        {"alpha": np.zeros(N)},
        "alpha",
    ),
    "kernel with an offset": (
        lambda alpha, b: np.mean((kernel @ alpha + b - y) ** 2),
        {"alpha": np.zeros(N), "b": 0.0},
        "alpha b",
    ),
    "Poisson with offset": (
        lambda X, y, offset, w: np.mean(np.exp(X @ w + offset) - y * (X @ w + offset)),
        {"X": X, "y": counts, "offset": np.log(hours), "w": np.zeros(3)},
        None,
    ),
    "Poisson": (lambda X, y, w: np.mean(np.exp(X @ w) - y * (X @ w)), {"X": X, "y": counts, "w": np.zeros(3)}, "w"),
    "denoising": (
        lambda signal: np.mean((signal - y) ** 2) + 0.1 * np.sum(np.diff(signal) ** 2),
        {"signal": np.zeros(N)},
        "signal",
    ),
    "autoregression": (
        lambda phi, c: np.mean((y[2:] - phi[0] * y[1:-1] - phi[1] * y[:-2] - c) ** 2),
        {"phi": np.zeros(2), "c": 0.0},
        "phi c",
    ),
    "quantile": (
        lambda inputs, targets, w, b: np.mean(
            np.maximum(0.9 * (targets - inputs @ w - b), 0.1 * (inputs @ w + b - targets))
        ),
        {"inputs": X, "targets": y, "w": np.zeros(3), "b": 0.0},
        "w b",
    ),
    "a bowl, its parts apart": (
        lambda w, b: np.sum((w - 1) ** 2) + b**2,
        {"w": np.ones(2), "b": 1.0},
        "w b",
    ),
    "labels of classes alone": (
        lambda classes, W: cross_entropy(X @ W, classes),
        {"classes": labels, "W": np.zeros((3, 2))},
        None,
    ),
    "effects of groups": (
        lambda mean, effect: np.mean((y - mean - effect[users]) ** 2) + 0.1 * np.sum(effect**2),
        {"mean": 0.0, "effect": np.zeros(5)},
        "mean effect",
    ),
    "polynomial": (
        lambda xs, ys, c: np.mean((c[0] + c[1] * xs + c[2] * xs**2 - ys) ** 2),
        {"xs": x, "ys": y, "c": np.zeros(3)},
        "c",
    ),
    "data as lists": (
        lambda x, y, w: np.mean((w * x - y) ** 2),
        {"x": x.tolist(), "y": y.tolist(), "w": 0.0},
        "w",
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_usual_losses_train_their_parameters_or_are_refused(name: str) -> None:
    loss, values, trained = LOSSES[name]
    if trained is None:
        with pytest.raises(
            mg.MetagdError, match=r"may be data or parameters .* name --data \w+(,\w+)*, or .*: --params \w"
        ):
            mg.train("gd", loss=loss, params=values, steps=1)
        return
    run = mg.train("gd", loss=loss, params=values, steps=2, lr=1e-6)
    assert " ".join(run.params) == trained
    assert f"trained: {', '.join(f'{n} {np.shape(v)}' for n, v in run.params.items())}\n" in repr(run)
    assert ("data: " in repr(run)) == (len(values) > len(trained.split()))


@pytest.mark.parametrize("n", [2, 3, 5, 20, 97])
def test_data_are_not_trained_at_any_number_of_rows(n: int) -> None:
    x = np.linspace(-1, 1, n)
    values = {"x": x, "y": 2 * x + 1, "slope": 0.0, "intercept": 0.0}
    run = mg.train("gd", loss=LOSSES["line"][0], params=values, lr=0.1, steps=300)
    assert set(run.params) == {"slope", "intercept"}
    assert "data: x, y; trained: slope, intercept" in repr(run)
    with pytest.raises(mg.MetagdError, match="name --data a,b, or what is trained: --params slope "):
        mg.train("gd", loss=LOSSES["line, unconventional names"][0], params={"a": x, "b": 2 * x, "slope": 0.0})


def test_a_data_name_is_never_proposed_for_training() -> None:
    for loss, values, trained in LOSSES.values():
        if trained is None:
            with pytest.raises(mg.MetagdError) as caught:
                mg.train("gd", loss=loss, params=values)
            proposed = str(caught.value).partition("--params ")[2].split()[0].split(",")
            assert proposed
            assert not {"x", "y", "X", "data", "sample", "a", "b", "r"} & {*proposed} - ({"b"} & {*values} - {"a"})


def test_named_data_settle_it() -> None:
    loss, values, _ = LOSSES["matrix factorization"]
    assert set(mg.train("gd", loss=loss, params=values, data={}, steps=2).params) == {"U", "V"}
    run = mg.train("gd", loss=loss, params={"V": values["V"]}, data={"U": values["U"]}, lr=0.1, steps=5)
    assert set(run.params) == {"V"}
    scaled = mg.train("gd", loss=lambda w, k=3.0: (w - k) ** 2, params={"w": 0.0}, data={"k": 5.0}, lr=0.1, steps=200)
    assert scaled.params["w"] == pytest.approx(5)  # before its default


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_data_reach_the_loss_and_its_gradient(backend: str) -> None:
    if backend == "jax":
        pytest.importorskip("jax")

    def loss(a: Any, w: Any) -> Any:
        return np.mean((a - w) ** 2)

    def gradient(a: Any, w: Any) -> Any:
        return np.mean(2 * (w - a))

    given = {"params": {"w": 0.0}, "data": {"a": x}, "lr": 0.25, "steps": 60, "backend": backend}
    assert mg.train("gd", loss=loss, **given).params["w"] == pytest.approx(x.mean())
    assert mg.train("gd", loss=loss, gradient=gradient, **given).params["w"] == pytest.approx(x.mean())


def test_data_are_copied_at_the_start() -> None:
    a = np.arange(4.0)
    run = mg.prepare("gd", loss=lambda a, w: np.mean((a - w) ** 2), params={"w": 0.0}, data={"a": a}, lr=0.25)
    a[:] = 100
    run.step(60)
    assert run.params["w"] == pytest.approx(1.5)


def test_files_and_scripts_hold_the_data(tmp_path: Any) -> None:
    def loss(a: Any, w: Any) -> Any:
        return np.mean((a - w) ** 2)

    run = mg.train("gd", loss=loss, params={"w": 0.0}, data={"a": x}, lr=0.25, steps=9)
    run.save(tmp_path / "run.metagd")
    again = mg.load(tmp_path / "run.metagd", loss=loss)
    again.resume(steps=12)
    assert again.wait().loss < run.loss
    run.export(tmp_path / "run.py")
    space: dict[str, Any] = {}
    exec(compile((tmp_path / "run.py").read_text(), "run.py", "exec", dont_inherit=True), space)
    assert space["run"].loss == run.loss


@pytest.mark.parametrize(
    ("params", "data", "said"),
    [
        ({"w": np.array([True, False])}, None, "w must be made of real numbers, not booleans; if it is data"),
        ({"w": np.array([True, False])}, {}, "w must be made of real numbers, not booleans; if it is data"),
        ({"w": True}, None, "w must be made of real numbers, not booleans"),
        ({"w": ["a", "b"]}, None, "w must be made of real numbers, not text; if it is data: --data w"),
        ({"w": 1.0}, {"w": 1.0}, "w is named both as data and as a parameter"),
        ({"w": 1.0}, {"v": 1.0}, "v is not an argument of loss"),
    ],
)
def test_refusals(params: Any, data: Any, said: str) -> None:
    with pytest.raises(mg.MetagdError, match=said):
        mg.train("gd", loss=lambda w: np.sum(w**2), params=params, data=data)


def test_a_model_takes_no_data_argument() -> None:
    with pytest.raises(mg.MetagdError, match="data: names arguments of a loss"):
        mg.train("gd", model=mg.mlp(1, 2, 1), x=x, y=y, data={"x": x})


def test_integers_become_floats_with_one_line() -> None:
    run = mg.train("gd", loss=lambda w, b: np.sum((w * [1, 2] - b) ** 2), params={"w": [1, 2], "b": 0.5}, steps=3)
    assert run.params["w"].dtype == float
    assert repr(run).endswith("\nw starts at integers; trained as floats")


def test_globals_closures_and_defaults_count_as_data() -> None:
    def made(column: Any) -> Callable[..., Any]:
        return lambda z, w: np.mean((column - w * z) ** 2)

    for loss in (
        made(y),
        lambda z, w, column=y: np.mean((column - w * z) ** 2),
        lambda z, w: np.mean((y - w * z) ** 2),
    ):
        with pytest.raises(mg.MetagdError, match=r"z may be data .* name --data z, or what is trained: --params z,w"):
            assigned(loss, {"z": x, "w": 1.0})


def test_a_loss_that_cannot_be_evaluated_says_so_itself() -> None:
    def loss(a: Any, w: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        mg.train("gd", loss=loss, params={"a": x, "w": 1.0})
