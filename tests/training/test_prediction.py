"""Predictions of single-task runs: labels in and labels out, columns by name, scores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.core.metrics import METRICS
from metagd_nb.training.run import Run

Array = np.ndarray
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = X @ np.array([1.0, -2.0, 0.5]) + 0.3
KIND = np.where(Y > 0.5, "high", np.where(Y < -0.5, "low", "middle"))
NAMES = ("age", "dose", "size")


def fit(y: Any = Y, x: Any = X, model: Any = None, **options: Any) -> Run:
    model = model or mg.linear(3, outputs=1 if np.asarray(y).dtype.kind == "f" else len(np.unique(y)))
    return mg.train("adam", model=model, x=x, y=y, **({"lr": 0.05, "steps": 400} | options))


# ---- numbers --------------------------------------------------------------------------------------------------------


def test_numbers_in_the_form_of_y() -> None:
    flat, column, two = fit(), fit(Y[:, None]), fit(np.stack([Y, -Y], 1), model=mg.linear(3, outputs=2))
    assert flat.predict(X).shape == (40,)
    assert column.predict(X).shape == (40, 1)
    assert two.predict(X).shape == (40, 2)
    np.testing.assert_allclose(flat.predict(X), X @ flat.params["W0"][:, 0] + flat.params["b0"], rtol=1e-12)
    np.testing.assert_array_equal(flat.predict(X), column.predict(X)[:, 0])


def test_a_single_row() -> None:
    run = fit()
    assert run.predict(X[0]).shape == ()
    assert run.predict(X[0]) == run.predict(X[:1])[0]
    line = fit(x=X[:, 0], model=mg.linear(1))
    assert line.predict(0.7).shape == ()
    assert line.predict([0.7, 0.2]).shape == (2,)
    assert line.predict(0.7) == line.predict([0.7])[0]


# ---- labels ---------------------------------------------------------------------------------------------------------


def test_labels_out() -> None:
    run = fit(KIND)
    found = run.predict(X)
    assert found.dtype == KIND.dtype
    assert set(found) <= set(KIND)
    proba = run.predict_proba(X)
    assert proba.shape == (40, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(np.unique(KIND)[proba.argmax(axis=1)], found)
    assert run.predict(X[0]) == found[0]
    np.testing.assert_allclose(run.predict_proba(X[0]), proba[0])
    assert run.score(X, KIND) == (found == KIND).mean() > 0.9


def test_numbers_as_labels() -> None:
    numbered = fit(np.where(Y > 0, 7, 3), model=mg.linear(3, outputs=2), loss="cross-entropy")
    assert set(numbered.predict(X).tolist()) == {3, 7}


def test_probabilities_are_those_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    binary = np.where(Y + RNG.normal(size=40) > 0, "ill", "well")
    run = mg.train("gd", model=mg.linear(3, outputs=2), x=X, y=binary, lr=1.0, steps=4000)
    known = linear_model.LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000).fit(X, binary)
    np.testing.assert_allclose(run.predict_proba(X), known.predict_proba(X), atol=1e-4)
    np.testing.assert_array_equal(run.predict(X), known.predict(X))
    assert run.score(X, binary) == known.score(X, binary)


# ---- scores ---------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    run, labelled = fit(steps=30), fit(KIND, steps=30)
    assert run.score(X, Y) == pytest.approx(metrics.r2_score(Y, run.predict(X)))
    assert run.score(X, Y, "mae") == pytest.approx(metrics.mean_absolute_error(Y, run.predict(X)))
    assert run.score(X, Y, "mse") == pytest.approx(metrics.mean_squared_error(Y, run.predict(X)))
    proba = labelled.predict_proba(X)
    assert labelled.score(X, KIND, "log-loss") == pytest.approx(metrics.log_loss(KIND, proba))
    one_hot = (np.unique(KIND) == KIND[:, None]).astype(float)
    assert labelled.score(X, KIND, "brier") == pytest.approx(np.square(proba - one_hot).sum(1).mean())


def test_scores_by_hand() -> None:
    truth, proba = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.75, 0.25], [0.5, 0.5]])
    known = {"accuracy": 0.5, "log-loss": -(np.log(0.75) + np.log(0.5)) / 2, "brier": (0.125 + 0.5) / 2}
    for name, value in known.items():
        assert METRICS[name].function(truth, proba) == pytest.approx(value)
    y, p = np.array([[1.0], [3.0]]), np.array([[2.0], [2.0]])
    for name, value in {"mse": 1.0, "mae": 1.0, "r2": 0.0}.items():
        assert METRICS[name].function(y, p) == value
    assert np.isnan(METRICS["r2"].function(y[:1], p[:1]))


# ---- columns by name ------------------------------------------------------------------------------------------------


def frame(x: Array = X, names: tuple[str, ...] = NAMES) -> Any:
    return pytest.importorskip("pandas").DataFrame(x, columns=list(names))


def test_columns_are_remembered() -> None:
    run = fit(x=frame())
    np.testing.assert_array_equal(run.predict(frame()), run.predict(X))
    for given, message in (
        (
            frame()[["dose", "age", "size"]],
            r"^x: has the columns in another order; write x\[\['age', 'dose', 'size'\]\]$",
        ),
        (frame()[["age", "dose"]], r"^x: lacks size; was trained on age, dose, size$"),
        (frame().assign(eyes=1.0), r"^x: has eyes too; was trained on age, dose, size$"),
        (frame(names=("age", "dose", "Size")), r"^x: lacks size and has Size too; was trained on"),
        (X[:, :2], r"^x: has 2 columns; was trained on 3 \(age, dose, size\)$"),
        (frame().assign(size="large"), r"^x: holds values that are not numbers$"),
        (frame().assign(size=np.nan), r"^x: holds 40 values that are not finite"),
    ):
        with pytest.raises(MetagdError, match=message):
            run.predict(given)


def test_columns_that_are_not_numbers_are_named_in_training() -> None:
    with pytest.raises(MetagdError, match=r"^x: column size holds .* values, which are not numbers$"):
        fit(x=frame().assign(size="large"))
    with pytest.raises(MetagdError, match=r"^x: column dose has 40 missing or infinite values; drop or fill them$"):
        fit(x=frame().assign(dose=np.nan))


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [True, False])
def test_a_loaded_run_predicts(data: bool, tmp_path: Path) -> None:
    for run, rows in ((fit(KIND), X), (fit(), X), (fit(KIND, x=frame()), frame())):
        run.save(tmp_path / "run.metagd", data=data)
        again = mg.load(tmp_path / "run.metagd")
        np.testing.assert_array_equal(again.predict(rows), run.predict(rows))
    with pytest.raises(MetagdError, match=r"^x: lacks size"):
        again.predict(frame()[["age", "dose"]])
    code = "import sys, numpy as np, metagd_nb as mg; print(mg.load('run.metagd').predict(np.zeros((1, 3)))[0])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() in set(KIND), done.stderr


def test_the_best_parameters_predict() -> None:
    run = fit(validation=0.3, keep="best", model=mg.mlp(3, 30, 1), steps=2000)
    theta = np.concatenate([value.ravel() for value in run.best.params.values()])
    np.testing.assert_array_equal(run.predict(X), mg.mlp(3, 30, 1).predict(theta, X[None])[0, :, 0])


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda run: run.predict(X[:, :2]), r"^x: has 2 columns; was trained on 3$"),
        (lambda run: run.predict([1.0, 2.0]), r"^x: has 2 columns; was trained on 3$"),
        (lambda run: run.predict(3.0), r"^x: has 1 column; was trained on 3$"),
        (lambda run: run.predict("text"), r"^x: holds values that are not numbers$"),
        (lambda run: run.predict(X * np.nan), r"^x: holds 120 values that are not finite"),
        (lambda run: run.predict(X[None]), r"^x: has shape"),
        (lambda run: run.predict_proba(X), r"^predict_proba: this run learned numbers"),
        (lambda run: run.score(X, Y[:3]), r"^y: has shape \(3,\) for 40 rows of x and 1 outputs$"),
        (lambda run: run.score(X, Y, "accuracy"), r"^metric: 'accuracy' is not for numbers; metrics for numbers: mse"),
        (lambda run: run.score(X, Y, "r3"), r"^unknown metric 'r3'; did you mean 'r2'\?"),
    ],
)
def test_what_is_refused(ask: Any, message: str) -> None:
    with pytest.raises(MetagdError, match=message):
        ask(fit(steps=3))


def test_a_label_that_is_no_class() -> None:
    with pytest.raises(MetagdError, match=r"^y: holds 'huge', which is no class"):
        fit(KIND, steps=3).score(X[:1], ["huge"])


def test_runs_without_a_model() -> None:
    own = mg.train("gd", loss=lambda w: (w**2).sum(), params={"w": np.ones(3)}, steps=3)
    meta = mg.train("maml", model=mg.mlp(1, 4, 1), tasks=mg.sinusoid(), steps=3)
    for run, message in (
        (own, r"^predict: this run has a loss and no model; call your own function with run.params$"),
        (meta, r"^predict: maml learned from many tasks; run.adapt\(x, y\) gives a predictor for one$"),
    ):
        with pytest.raises(MetagdError, match=message):
            run.predict(X)
