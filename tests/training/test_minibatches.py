"""Mini-batches of single-task methods: rows in an order drawn for each epoch, for a model and a loss of one's own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.plotting.run_figure import status
from metagd_nb.plotting.style import number
from metagd_nb.training.minibatches import STREAM, Epochs
from metagd_nb.training.run import Run
from metagd_nb.training.settings import Settings
from metagd_nb.training.stopping import RecentMean, StoppingRule

Array = np.ndarray
N, SIZE = 50, 16  # the last batch of an epoch has two rows
LENGTH = 4


def table(n: int = N) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 3))
    return x, x @ np.array([1.0, -2.0, 0.5]) + 0.3 * rng.normal(size=n)


def own_loss(w: Array, x: Array, y: Array, scale: float = 1.0) -> Any:
    return scale * np.mean((x @ w - y) ** 2)


def own(**options: Any) -> Run:
    x, y = table()
    given: dict[str, Any] = {"loss": own_loss, "params": {"w": np.zeros(3)}, "data": {"x": x, "y": y}}
    given |= {"lr": 0.1, "batch_size": SIZE} | ({} if "steps" in options else {"epochs": 5})
    return mg.train(options.pop("method", "gd"), **(given | options))


def fit(**options: Any) -> Run:
    x, y = table()
    given: dict[str, Any] = {"model": mg.linear(3), "x": x, "y": y}
    given |= {"lr": 0.1, "batch_size": SIZE} | ({} if "steps" in options else {"epochs": 5})
    return mg.train(options.pop("method", "gd"), **(given | options))


def by_hand(steps: int, seed: int = 0) -> tuple[list[float], Array]:
    """Losses of the rows, and the weights of the last one, of descent on mini-batches without a bias."""
    (x, y), w, losses = table(), np.zeros(3), []
    for step in range(steps + 1):
        epoch, i = divmod(step, LENGTH)
        rows = np.random.default_rng([seed, epoch, STREAM]).permutation(N)[i * SIZE : (i + 1) * SIZE]
        error = x[rows] @ w - y[rows]
        losses.append(float(np.mean(error**2)))
        if step < steps:
            w = w - 0.1 * 2 / len(rows) * x[rows].T @ error
    return losses, w


# ---- which rows a step sees ---------------------------------------------------------------------------------------


def test_an_epoch_takes_every_row_once() -> None:
    epochs = Epochs(N, SIZE, 7)
    assert epochs.length == LENGTH
    first, second = ([epochs.rows(step + start) for step in range(LENGTH)] for start in (0, LENGTH))
    assert [len(rows) for rows in first] == [16, 16, 16, 2]
    for epoch in (first, second):
        assert sorted(np.concatenate(epoch)) == list(range(N))
    assert not np.array_equal(first[0], second[0])
    np.testing.assert_array_equal(Epochs(N, SIZE, 7).rows(6), second[2])  # whatever was asked before
    assert not np.array_equal(Epochs(N, SIZE, 8).rows(0), first[0])


def test_a_loss_of_ones_own_sees_the_rows_of_its_step() -> None:
    run, (losses, w) = own(seed=4), by_hand(20, seed=4)
    np.testing.assert_allclose(run.record["loss"], losses, rtol=1e-12)
    np.testing.assert_allclose(run.params["w"], w, rtol=1e-12)
    assert run.record["epoch"].tolist() == [step // LENGTH for step in range(21)]
    assert run.record["epoch"].dtype == np.int64


def test_a_model_sees_the_same_rows() -> None:
    np.testing.assert_allclose(
        fit(model=mg.linear(3, bias=False), warm_start=np.zeros(3)).record["loss"], by_hand(20)[0]
    )


def test_classes() -> None:
    x, y = table()
    labels = np.where(y > 0, "high", "low")
    run = fit(model=mg.linear(3, outputs=2), y=labels)
    rows = np.random.default_rng([0, 0, STREAM]).permutation(N)[:SIZE]
    alone = mg.train("gd", model=mg.linear(3, outputs=2), x=x[rows], y=labels[rows], lr=0.1, steps=1)
    assert run.record["loss"][0] == pytest.approx(alone.record["loss"][0], rel=1e-12)


def test_a_loss_of_predictions_of_ones_own() -> None:
    def squares(prediction: Array, target: Array) -> Any:
        return np.mean((prediction - target) ** 2)

    one = fit(model=mg.mlp(3, 4, 1))
    backends = ["numpy"] + ["jax"] * (importlib.util.find_spec("jax") is not None)
    for backend in backends:
        other = fit(model=mg.mlp(3, 4, 1), loss=squares, backend=backend)
        np.testing.assert_allclose(other.record["loss"], one.record["loss"], rtol=1e-9)


def test_arguments_without_rows_stay_whole() -> None:
    def loss(w: Array, x: Array, y: Array, weights: Array, power: float) -> Any:
        return np.mean(np.abs(x @ (w * weights.sum()) - y) ** power)

    x, y = table()
    run = own(loss=loss, data={"x": x, "y": y, "weights": np.ones(1), "power": 2.0})
    np.testing.assert_allclose(run.record["loss"], by_hand(20)[0], rtol=1e-12)


def test_what_a_loss_takes_from_its_namespace_is_cut_too() -> None:
    x, y = table()
    for options in ({}, {"validation": 0.2}, {"validation": 0.2, "batch_size": None}):
        run = own(data=None, namespace={"x": x, "y": y}, **options)
        np.testing.assert_array_equal(run.record["loss"], own(**options).record["loss"])


def test_what_is_written_into_the_data_later_does_not_reach_the_run() -> None:
    x, y = table()
    run = mg.prepare("gd", loss=own_loss, params={"w": np.zeros(3)}, data={"x": x, "y": y}, batch_size=SIZE, lr=0.1)
    x[:], y[:] = 0.0, 1.0
    run.step(20)
    np.testing.assert_allclose(run.record["loss"], by_hand(20)[0], rtol=1e-12)


def test_data_frames_stay_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    x, y = table()
    frame, series = pandas.DataFrame(x, columns=list("abc")), pandas.Series(y, index=np.arange(N) + 1000)

    def loss(w: Array, x: Any, y: Any) -> Any:
        assert list(x.columns) == ["a", "b", "c"]
        return np.mean((x.to_numpy() @ w - y.to_numpy()) ** 2)

    run = own(loss=loss, data={"x": frame, "y": series})
    np.testing.assert_allclose(run.record["loss"], own().record["loss"], rtol=1e-9)


def test_a_gradient_of_ones_own() -> None:
    def gradient(w: Array, x: Array, y: Array) -> Array:
        return 2 / len(x) * x.T @ (x @ w - y)

    np.testing.assert_allclose(own(gradient=gradient).record["loss"], own().record["loss"], rtol=1e-12)
    with pytest.raises(MetagdError, match=r"^gradient points uphill"):
        own(gradient=lambda w, x, y: -gradient(w, x, y))


# ---- steps and epochs ---------------------------------------------------------------------------------------------


def test_epochs_set_the_steps() -> None:
    assert own(epochs=3).iteration == 3 * LENGTH
    assert fit(epochs=3, validation=0.2).iteration == 3 * 3  # 40 rows to train on
    assert fit(epochs=3, batch_size=N).iteration == 3
    whole = fit(epochs=7, batch_size=None)  # an epoch without batches is a step
    assert whole.iteration == 7
    np.testing.assert_array_equal(whole.record["loss"], fit(steps=7, batch_size=None).record["loss"])
    assert "epoch" not in whole.record


def test_validation_is_evaluated_once_an_epoch() -> None:
    for run in (fit(validation=0.2), own(validation=0.2)):
        assert np.flatnonzero(np.isfinite(run.record["validation"])).tolist() == [0, 3, 6, 9, 12, 15]


@pytest.mark.parametrize("method", ["gd", "momentum", "adam", "hd"])
def test_jax_sees_the_same_rows(method: str) -> None:
    pytest.importorskip("jax")
    rate = {"lr": 0.01, "method": method, "epochs": 20}
    for size in (SIZE, 25):
        for train in (fit, own):
            one, other = train(batch_size=size, **rate), train(batch_size=size, backend="jax", **rate)
            np.testing.assert_allclose(one.record["loss"], other.record["loss"], rtol=1e-9)
            np.testing.assert_array_equal(one.record["epoch"], other.record["epoch"])
            np.testing.assert_array_equal(other.replay().record["loss"], other.record["loss"])


def test_a_schedule_reaches_over_all_epochs() -> None:
    tools: dict[str, Any] = {"schedule": "cosine", "clip": 1.0, "weight_decay": 0.01}
    one, steps = fit(**tools), fit(**tools, steps=5 * LENGTH)
    np.testing.assert_array_equal(one.record["loss"], steps.record["loss"])
    assert one.record["lr"][-1] < 1e-3 < one.record["lr"][LENGTH]
    pytest.importorskip("jax")
    np.testing.assert_allclose(one.record["loss"], fit(**tools, backend="jax").record["loss"], rtol=1e-9)


def test_float32_on_both_backends() -> None:
    pytest.importorskip("jax")
    one, other = fit(dtype="float32"), fit(dtype="float32", backend="jax")
    assert one.params["W0"].dtype == other.params["W0"].dtype == np.float32
    np.testing.assert_allclose(one.record["loss"], other.record["loss"], rtol=1e-4)


# ---- stopping -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [3, 20, 57])
def test_the_running_mean_is_that_of_the_last_numbers(window: int) -> None:
    values = np.exp(np.linspace(20, -20, 400))
    mean = RecentMean(window)
    for i, value in enumerate(values):
        recent = values[max(0, i + 1 - window) : i + 1]
        assert mean.add(float(value)) == pytest.approx(recent.mean(), rel=1e-9)
        assert mean.full == (i + 1 >= window)


@pytest.mark.parametrize("window", [3, 57])
def test_a_restored_mean_goes_on_to_the_bit(window: int) -> None:
    values = np.random.default_rng(0).lognormal(sigma=5, size=300).tolist()
    whole, part, again = RecentMean(window), RecentMean(window), RecentMean(window)
    for value in values[:140]:
        whole.add(value)
        part.add(value)
    again.restore(part.state())
    assert (again.mean, again.full, again.count) == (whole.mean, True, window)
    assert [again.add(value) for value in values[140:]] == [whole.add(value) for value in values[140:]]


def test_rules_compare_the_mean_of_an_epoch() -> None:
    rule = StoppingRule(Settings(loss_below=1.5), sampled=True, window=3)
    assert [rule.judge(step, loss, 1.0, 0.0) for step, loss in enumerate([3.0, 1.0, 1.0, 1.0])] == [
        None,
        None,
        None,
        "loss-below",
    ]
    below = fit(epochs=200, loss_below=0.12)
    assert below.stopped == "loss-below"
    losses = below.record["loss"]
    means = [losses[i - LENGTH : i].mean() for i in range(LENGTH, len(losses) + 1)]
    assert means[-1] < 0.12 <= min(means[:-1])


def test_metrics_are_evaluated_once_an_epoch() -> None:
    run = own(metrics={"size": lambda params: np.abs(params["w"]).sum()})
    assert np.flatnonzero(np.isfinite(run.record["size"])).tolist() == [0, 4, 8, 12, 16, 20]
    with pytest.raises(MetagdError, match=r"^metrics: epoch is a column of the record already"):
        own(metrics={"epoch": len})


# ---- what is shown ------------------------------------------------------------------------------------------------


def test_the_summary_shows_means_of_an_epoch() -> None:
    run = fit(epochs=6)
    losses = run.record["loss"]
    first, last = losses[:LENGTH].mean(), losses[-LENGTH:].mean()
    assert f"\nloss {first:.6g} → {last:.6g} (means of an epoch, 4 rows)" in repr(run)
    assert "after 24 steps, 6 epochs of 50 rows in batches of 16" in repr(run)
    assert run.loss == losses[-1]
    short = fit(steps=2)
    assert f"loss {losses[:3].mean():.6g} → {losses[:3].mean():.6g} (means of an epoch, 3 rows)" in repr(short)
    thin = fit(epochs=6, record_every=5)
    assert f"→ {last:.6g} (means of an epoch, 4 rows)" in repr(thin)
    assert "epoch" not in repr(fit(batch_size=None))


def test_patience_names_the_mean() -> None:
    run = fit(epochs=200, patience=8)
    assert run.stopped == "patience"
    losses = run.record["loss"]
    means = [losses[max(0, i - LENGTH) : i].mean() for i in range(1, len(losses) + 1)]
    best = int(np.argmin(means[LENGTH - 1 :])) + LENGTH - 1
    assert run.iteration - best == 8
    assert f"the lowest mean of 4 losses was {means[best]:.6g}, at step {best}" in repr(run)


def test_the_plot_shows_the_epoch() -> None:
    run = mg.prepare("gd", model=mg.linear(3), x=table()[0], y=table()[1], batch_size=SIZE, epochs=5, lr=0.1)
    run.step(9)
    mean = run.record["loss"][-LENGTH:].mean()
    assert status(run) == f"paused at step 9 of 20  ·  epoch 2 of 5  ·  loss {number(mean)} (mean of an epoch)"
    assert run.plot().axes[0].get_xlabel() == "step (4 an epoch)"
    run.step(11)
    assert status(run).startswith("all steps done  ·  20 steps, 5 epochs  ·  loss ")
    assert status(run).endswith(" (means of an epoch, 4 rows)")


# ---- the same again -----------------------------------------------------------------------------------------------


def same(run: Run, other: Run) -> None:
    for column in run.record:
        if column != "seconds":
            np.testing.assert_array_equal(run.record[column], other.record[column])
    for name, value in run.params.items():
        np.testing.assert_array_equal(value, other.params[name])
    assert run.loop.stopping.state() == other.loop.stopping.state()


RUNS = pytest.mark.parametrize("train", [fit, own], ids=["model", "loss"])


@RUNS
@pytest.mark.parametrize("validation", [None, 0.2])
def test_replay_and_resume(train: Any, validation: float | None) -> None:
    whole = train(epochs=30, method="adam", validation=validation)
    same(whole, whole.replay())
    part = train(steps=37, method="adam", validation=validation)
    part.resume(steps=whole.iteration)
    part.wait()
    same(whole, part)


@RUNS
@pytest.mark.parametrize("validation", [None, 0.2])
@pytest.mark.parametrize("data", [True, False])
def test_kept_in_a_file(train: Any, validation: float | None, data: bool, tmp_path: Path) -> None:
    run = train(epochs=30, method="adam", validation=validation)
    part = train(steps=37, method="adam", validation=validation)
    part.save(tmp_path / "run.metagd", data=data)
    assert repr(mg.load(tmp_path / "run.metagd")) == repr(part)  # to look at, nothing is needed
    session = {} if train is fit else {"loss": own_loss}
    if not data:
        x, y = table()
        session |= {"x": x, "y": y} if train is fit else {"data": {"x": x, "y": y}}
        with pytest.raises(MetagdError, match=r"not in .*; give (it|them) from here"):
            mg.load(tmp_path / "run.metagd").replay()
    again = mg.load(tmp_path / "run.metagd", **session)
    same(part, again.replay())
    again.resume(steps=run.iteration)
    again.wait()
    same(run, again)


def test_other_data_than_what_was_saved_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    x, y = table()
    own().save(tmp_path / "run.metagd", data=False)
    rows = np.random.default_rng([0, 0, STREAM]).permutation(N)
    y[rows[-1]] += 1.0  # not in the first batch
    mg.load(tmp_path / "run.metagd", loss=own_loss, data={"x": x, "y": y})
    assert "not what was saved: data y" in caplog.text


def test_columns_of_a_file_without_data(tmp_path: Path) -> None:
    for train in (fit, own):
        run = train(batch_size=None, validation=0.2, metrics={"size": lambda params: 1.0})
        run.save(tmp_path / "run.metagd", data=False)
        again = mg.load(tmp_path / "run.metagd")
        assert list(again.record) == list(run.record)
        assert repr(again) == repr(run)


@RUNS
def test_as_a_script(train: Any, tmp_path: Path) -> None:
    run = train()
    run.export(tmp_path / "run.py")
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == repr(run), done.stderr


def test_a_sweep() -> None:
    x, y = table()
    found = mg.sweep("gd", {"batch_size": [10, 25]}, model=mg.linear(3), x=x, y=y, lr=0.1, epochs=4, jobs=1)
    assert sorted(outcome.steps for outcome in found.outcomes.values()) == [4 * 2, 4 * 5]
    assert {row[0]: row[2] for row in found.rows()[1:]} == {"10": "20", "25": "8"}
    assert found.what == "last loss (with batches the mean of an epoch)"
    for trial, outcome in found.outcomes.items():
        losses = fit(batch_size=trial.values[0], epochs=4, seed=trial.seed).record["loss"]
        assert outcome.score == pytest.approx(losses[-outcome.steps // 4 :].mean(), rel=1e-12)
    with pytest.raises(MetagdError, match=r"^epochs: halving gives each trial"):
        mg.sweep("gd", {"lr": [0.1, 0.2]}, model=mg.linear(3), x=x, y=y, search="halving", epochs=4, jobs=1)


def test_a_comparison_over_seeds() -> None:
    run = fit()
    (entry,) = mg.compare({"a": run}, seeds=3, baselines=False).entries
    orders = {tuple(one.plan.epochs.rows(0)) for one in entry.runs if one.plan.epochs is not None}
    assert len(orders) == 3


# ---- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["model", "loss"])
def test_memory_is_that_of_one_batch(whose: str) -> None:
    x = np.random.default_rng(0).normal(size=(100_000, 50))
    y = x[:, 0] + 0.0
    given: dict[str, Any] = {"model": mg.linear(50), "x": x, "y": y}
    if whose == "loss":
        given = {"loss": own_loss, "params": {"w": np.zeros(50)}, "data": {"x": x, "y": y}}
    run = mg.prepare("gd", **given, batch_size=256, lr=0.01, steps=1000)
    run.step(3)
    tracemalloc.start()
    try:
        run.step(500)  # and so more than one epoch
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    batch = 256 * 51 * 8
    assert peak < 8 * 100_000 * 2 + 12 * batch  # the order of the rows, while the next one is drawn, and some batches


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 51}, r"^batch_size: 51 is more than the 50 rows to train on$"),
        ({"batch_size": 45, "validation": 0.2}, r"^batch_size: 45 is more than the 40 rows to train on$"),
        ({"batch_size": 0}, r"^batch_size: 0 is not allowed; needs a whole number ≥ 1$"),
        ({"batch_size": 2.5}, r"^batch_size: 2.5 is not allowed"),
        ({"epochs": 0}, r"^epochs: 0 is not allowed; needs a whole number ≥ 1$"),
        ({"epochs": 5, "steps": 10}, r"^epochs: sets the number of steps; give either epochs or steps$"),
        ({"epochs": 10**9}, r"^steps: 4000000000 is not allowed"),
        (
            {"method": "lbfgs", "lr": 1.0},
            r"^batch_size: lbfgs needs the same rows in every step; .*: gd, momentum",
        ),
        ({"method": "unroll"}, r"^batch_size: unroll needs the same rows in every step"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    for train in (fit, own):
        with pytest.raises(MetagdError, match=message):
            train(**given)


def test_what_a_loss_of_ones_own_refuses() -> None:
    x, y = table()
    weights = np.ones(N)

    def weighted(w: Array, x: Array, y: Array) -> Any:
        return np.mean(weights * (x @ w - y) ** 2)

    def weight(errors: Array) -> Array:
        return weights * errors

    def helped(w: Array, x: Array, y: Array) -> Any:
        return np.mean(weight((x @ w - y) ** 2))

    def closed(w: Array, y: Array) -> Array:
        return 2 / len(y) * x.T @ (x @ w - y)

    for given, message in (
        ({"data": {"x": x, "y": y[:40]}}, r"^data: have unlike numbers of rows \(x 50, y 40\)"),
        ({"data": {}, "loss": lambda w: (w**2).sum()}, r"^batch_size: needs data arguments to cut"),
        (
            {"loss": weighted},
            r"^batch_size: loss reads weights as a global, whose 50 rows batches do not cut as those of x",
        ),
        ({"loss": helped}, r"^batch_size: loss reads weights as a global"),
        ({"gradient": closed}, r"^batch_size: gradient reads x as a global.* --data x,y, or a constant, def gradient"),
    ):
        with pytest.raises(MetagdError, match=message):
            own(**given)

    def constant(w: Array, x: Array, y: Array, weights: Array = weights[:1]) -> Any:
        return np.mean(weights * (x @ w - y) ** 2)

    np.testing.assert_array_equal(own(loss=constant).record["loss"], own().record["loss"])


def test_a_line_about_the_number_of_all_rows() -> None:
    space: dict[str, Any] = {"np": np, "n": N}
    exec("def loss(w, x, y):\n    return np.sum((x @ w - y) ** 2) / n", space)
    assert own(loss=space["loss"]).note == "loss reads n, the number of all 50 rows; that of a batch is len(x)"
    assert own(loss=space["loss"], batch_size=None).note is None
    assert own().note is None


def test_advice_proposes_no_steps_beside_epochs() -> None:
    x, y = table()
    given: dict[str, Any] = {"model": mg.linear(3), "x": x, "y": y, "batch_size": SIZE}
    assert "--steps" in str(mg.advise("gd", **given))
    assert "--steps" not in str(mg.advise("gd", epochs=3, **given))


def test_jax_refuses_tables_and_text() -> None:
    pytest.importorskip("jax")
    pandas = pytest.importorskip("pandas")
    x, y = table()
    for given, message in (
        ({"x": pandas.DataFrame(x), "y": y}, r"^data: x is DataFrame; on jax"),
        ({"x": x, "y": y.astype(str)}, r"^data: y is text; on jax"),
    ):
        with pytest.raises(MetagdError, match=message):
            own(data=given, loss=lambda w, x, y: np.mean(w), backend="jax")


def test_meta_learning_has_batches_of_tasks() -> None:
    for name in ("batch_size", "epochs"):
        with pytest.raises(MetagdError, match=rf"^{name}: is for single-task methods; a batch of tasks has meta_batch"):
            mg.train("maml", model=mg.mlp(1, 4, 1), tasks=mg.sinusoid(), **{name: 2})
