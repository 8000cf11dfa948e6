"""Validation: the loss on held-out rows in the record, early stopping by it, and the best parameters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.training.run import Run
from metagd_nb.training.settings import Settings
from metagd_nb.training.stopping import StoppingRule
from metagd_nb.training.validation import split_rows

Array = np.ndarray


def table(n: int = 60) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 4))
    return x, x @ np.array([1.0, -2.0, 0.5, 3.0]) + rng.normal(size=n)


def fit(**options: Any) -> Run:
    x, y = table()
    given: dict[str, Any] = {"model": mg.mlp(4, 12, 1), "x": x, "y": y, "lr": 0.02, "steps": 100, "validation": 0.25}
    return mg.train("adam", **(given | options))


def finite(run: Run) -> Array:
    values = run.record["validation"]
    return values[np.isfinite(values)]


# ---- what the column holds ----------------------------------------------------------------------------------------


def test_the_column_is_the_loss_on_the_rows_that_are_held_out() -> None:
    x, y = table()
    run = fit(seed=5)
    train, held_out = split_rows(60, 0.25, 5)
    assert len(held_out) == 15
    alone = fit(x=x[train], y=y[train], validation=(x[held_out], y[held_out]), seed=5)
    for column in ("loss", "validation"):
        np.testing.assert_array_equal(run.record[column], alone.record[column])
    prediction = mg.mlp(4, 12, 1).predict(
        np.concatenate([run.params[n].ravel() for n in run.params]), x[None, held_out]
    )
    assert finite(run)[-1] == pytest.approx(np.mean((prediction[0, :, 0] - y[held_out]) ** 2), rel=1e-12)


def test_every_twenty_steps() -> None:
    run = fit(steps=50)
    assert np.flatnonzero(np.isfinite(run.record["validation"])).tolist() == [0, 20, 40]


def test_evaluations_are_recorded_whatever_is_left_out() -> None:
    whole, thin = fit(), fit(record_every=50)
    np.testing.assert_array_equal(finite(whole), finite(thin))


def test_the_rows_depend_on_the_seed_alone() -> None:
    one, again, other = (split_rows(40, 0.3, seed)[1] for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    train, held_out = split_rows(40, 0.3, 0)
    assert sorted([*train, *held_out]) == list(range(40))


def test_a_linear_model_is_fitted_to_the_training_rows() -> None:
    x, y = table()
    run = fit(model=mg.linear(4), lr=0.1, steps=2000)
    train, held_out = split_rows(60, 0.25, 0)
    ones = np.column_stack([x, np.ones(60)])
    best = np.linalg.lstsq(ones[train], y[train], rcond=None)[0]
    assert finite(run)[-1] == pytest.approx(np.mean((ones[held_out] @ best - y[held_out]) ** 2), rel=1e-6)
    assert run.plan.references[0].value == pytest.approx(np.mean((ones[train] @ best - y[train]) ** 2), rel=1e-9)


def test_labels() -> None:
    x, y = table()
    text = np.where(y > 0, "high", "low")
    run = fit(model=mg.mlp(4, 12, 2), y=text, validation=(x[:7], text[:7]))
    assert run.plan.validation is not None
    assert run.plan.validation.rows is not None
    np.testing.assert_array_equal(run.plan.validation.rows.y[0, :, 1], text[:7] == "low")
    assert finite(run)[-1] < finite(run)[0]


def own_loss(w: Array, x: Array, y: Array, scale: float = 1.0) -> Any:
    return scale * np.mean((x @ w - y) ** 2)


def own(**options: Any) -> Run:
    x, y = table()
    given: dict[str, Any] = {"loss": own_loss, "params": {"w": np.zeros(4)}, "data": {"x": x, "y": y}, "steps": 60}
    return mg.train("gd", **(given | options))


def test_a_loss_of_ones_own() -> None:
    x, y = table()
    run = own(validation=0.25)
    train, held_out = split_rows(60, 0.25, 0)
    assert run.record["loss"][-1] == pytest.approx(np.mean((x[train] @ run.params["w"] - y[train]) ** 2), rel=1e-12)
    assert finite(run)[-1] == pytest.approx(np.mean((x[held_out] @ run.params["w"] - y[held_out]) ** 2), rel=1e-12)
    given = own(data={"x": x[train], "y": y[train]}, validation={"x": x[held_out], "y": y[held_out]})
    np.testing.assert_array_equal(run.record["validation"], given.record["validation"])


def test_on_jax() -> None:
    pytest.importorskip("jax")
    for one, other in ((fit(), fit(backend="jax")), (own(validation=0.25), own(validation=0.25, backend="jax"))):
        np.testing.assert_allclose(one.record["validation"], other.record["validation"], rtol=1e-9)
        assert one.best.step == other.best.step


# ---- what follows from it -----------------------------------------------------------------------------------------


def test_patience_counts_evaluations() -> None:
    run = fit(steps=5000, patience=3, lr=0.05)
    values = finite(run)
    assert run.stopped == "patience"
    lowest = int(values.argmin())
    assert len(values) - 1 - lowest == 3
    assert run.iteration == 20 * (lowest + 3)
    assert f"lowest {values.min():.6g} at step {20 * lowest}" in repr(run)


def test_patience_judges_the_evaluations_alone() -> None:
    rule = StoppingRule(Settings(patience=2), sampled=False, validated=True)
    assert [rule.judge(step, 1.0, 1.0, 0.0) for step in range(30)] == [None] * 30
    assert [rule.judge_validation(20 * i, loss) for i, loss in enumerate([3.0, 2.0, 2.5, np.nan])] == [
        None,
        None,
        None,
        "patience",
    ]
    assert (rule.best, rule.best_step) == (2.0, 20)


def test_the_best_parameters_are_kept() -> None:
    last, best = (fit(steps=3000, lr=0.05, keep=keep) for keep in ("last", "best"))
    np.testing.assert_array_equal(last.record["validation"], best.record["validation"])
    row = best.best
    assert row.step == 20 * int(finite(best).argmin()) < 3000
    assert row.validation == finite(best).min()
    assert row.loss == best.loss == best.record["loss"][row.step]
    assert last.loss == last.record["loss"][-1]
    for name, value in best.params.items():
        np.testing.assert_array_equal(value, row.params[name])
        np.testing.assert_array_equal(value, last.best.params[name])
    assert f"kept: the parameters of step {row.step}" in repr(best)


def test_the_best_row_without_validation() -> None:
    run = fit(validation=None, steps=40, lr=0.5, keep="best")
    losses = run.record["loss"]
    assert run.best.step == int(losses.argmin())
    assert run.best.validation is None
    assert run.loss == losses.min()
    assert "validation" not in run.record


def test_it_goes_on_from_the_last_step() -> None:
    whole, part = fit(steps=120, keep="best"), fit(steps=50, keep="best")
    part.resume(steps=120)
    part.wait()
    for column in ("loss", "validation"):
        np.testing.assert_array_equal(part.record[column], whole.record[column])
    assert part.best.step == whole.best.step


def test_kept_in_a_file(tmp_path: Path) -> None:
    x, y = table()
    for run in (
        fit(keep="best"),
        fit(validation=(x[:9], y[:9])),
        own(validation=0.25),
        own(validation={"x": x, "y": y}),
    ):
        run.save(tmp_path / "run.metagd")
        again = mg.load(tmp_path / "run.metagd", **({"loss": own_loss} if "w" in run.params else {}))
        assert repr(again) == repr(run)
        assert again.best.step == run.best.step
        np.testing.assert_array_equal(again.replay().record["validation"], run.record["validation"])


def test_patience_goes_on_in_a_loaded_run(tmp_path: Path) -> None:
    whole = fit(steps=5000, patience=3, lr=0.05)
    part = fit(steps=whole.iteration - 30, patience=3, lr=0.05)
    part.save(tmp_path / "run.metagd")
    again = mg.load(tmp_path / "run.metagd")
    again.resume(steps=5000)
    again.wait()
    assert (again.stopped, again.iteration) == ("patience", whole.iteration)


def test_as_a_script(tmp_path: Path) -> None:
    x, y = table()
    for run in (fit(keep="best"), fit(validation=(x[:9], y[:9])), own(validation=0.25)):
        run.export(tmp_path / "run.py")
        done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.strip() == repr(run), done.stderr


def test_on_the_plot() -> None:
    run = fit()
    axes = run.plot().axes[0]
    curves = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_allclose(curves["validation"].get_xydata()[:, 1], finite(run))
    assert curves["validation"].get_xydata()[:, 0].tolist() == [0, 20, 40, 60, 80, 100]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation"]


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"validation": 0.001}, r"^validation: 0.001 of 60 rows leaves one side without a row$"),
        ({"validation": 1.5}, r"^validation: 1.5 is not allowed; needs a number > 0 and ≤ 0.9$"),
        ({"validation": True}, r"^validation: True is not allowed"),
        ({"validation": "a fifth"}, r"^validation: 'a fifth' is not allowed"),
        ({"validation": (1, 2, 3)}, r"^validation: .* is neither a share such as 0.2 nor a pair \(x, y\)$"),
        ({"validation": {"x": 1}}, r"^validation: .* is neither a share"),
        ({"validation": (np.ones((3, 4)), np.ones(2))}, r"^validation: have 3 and 2 rows; need the same number$"),
        ({"validation": (np.ones((3, 5)), np.ones(3))}, r"^model: .* takes 4 inputs, the validation rows have 5$"),
        ({"keep": "first"}, r"^keep: 'first' is not one of last, best"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MetagdError, match=message):
        fit(**given)


def test_what_a_loss_of_ones_own_refuses() -> None:
    x, y = table()
    for given, message in (
        ({"validation": 0.2, "data": {}, "loss": lambda w: (w**2).sum()}, "needs data arguments, whose rows"),
        ({"validation": (x, y)}, 'needs a share, or its data arguments by name: {"x": …, "y": …}'),
        ({"validation": {"z": x}}, "needs a share, or its data arguments by name"),
        ({"validation": 0.2, "data": {"x": x, "y": y[:50]}}, r"have unlike numbers of rows \(x 60, y 50\)"),
    ):
        with pytest.raises(MetagdError, match=message):
            own(**given)


def test_meta_learning_is_judged_on_new_tasks() -> None:
    with pytest.raises(MetagdError, match=r"^validation: is for single-task methods"):
        mg.train("maml", model=mg.mlp(1, 4, 1), tasks=mg.sinusoid(), validation=0.2)
