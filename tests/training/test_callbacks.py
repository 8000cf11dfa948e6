"""The user's own callbacks and metrics: when they are called, what they may do, and what they may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.training.run import Run

Array = np.ndarray


def fit(method: str = "gd", **options: Any) -> Run:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 4))
    y = x @ np.array([1.0, -2.0, 0.5, 3.0]) + rng.normal(size=30)
    given: dict[str, Any] = {"model": mg.linear(4), "x": x, "y": y, "lr": 0.02, "steps": 100}
    return mg.train(method, **(given | options))


def size(params: dict[str, Array]) -> float:
    return float(sum(np.abs(value).sum() for value in params.values()))


# ---- callbacks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gd", "adam"])
@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_every_so_many_rows(method: str, backend: str) -> None:
    if backend == "jax":
        pytest.importorskip("jax")
    seen: list[tuple[int, float]] = []
    run = fit(
        method, callbacks=[lambda run: seen.append((run.iteration, run.loss))], callback_every=30, backend=backend
    )
    assert [step for step, _ in seen] == [0, 30, 60, 90, 100]
    assert [loss for _, loss in seen] == run.record["loss"][[0, 30, 60, 90, 100]].tolist()


def test_rows_are_those_of_the_record() -> None:
    seen: list[int] = []
    fit(callbacks=[lambda run: seen.append(run.iteration)], callback_every=2, record_every=20)
    assert seen == [0, 40, 80, 100]


def test_by_time_it_sees_the_first_and_the_last_row() -> None:
    seen: list[int] = []
    fit(steps=300, callbacks=[lambda run: seen.append(run.iteration)])
    assert seen[0] < 300
    assert seen[-1] == 300
    assert seen.count(300) == 1


def test_it_changes_nothing() -> None:
    plain, watched = fit(), fit(callbacks=[lambda run: run.params], callback_every=7)
    np.testing.assert_array_equal(plain.record["loss"], watched.record["loss"])


def test_it_may_control_the_run() -> None:
    def halve(run: Run) -> None:
        if run.iteration == 40:
            run.set(lr=0.01)
        if run.iteration == 80:
            run.stop()

    run = fit(callbacks=[halve], callback_every=40)
    assert (run.stopped, run.iteration) == ("user", 80)
    assert run.record["lr"][[40, 41]].tolist() == [0.02, 0.01]
    np.testing.assert_array_equal(run.replay().record["loss"], run.record["loss"])


def test_it_may_pause_the_run() -> None:
    run = mg.start(
        "gd", loss=lambda w: (w - 3.0) ** 2, params={"w": 0.0}, steps=50,
        callbacks=[lambda run: run.pause() if run.iteration == 20 else None], callback_every=20,
    )  # fmt: skip
    run.wait()
    assert (run.stopped, run.iteration) == (None, 20)
    run.resume()
    run.wait()
    assert (run.stopped, run.iteration) == ("steps", 50)


def broken(run: Run) -> None:
    if run.iteration >= 50:
        raise ValueError("the log is full")


def test_an_exception_ends_the_run_as_failed() -> None:
    with pytest.raises(ValueError, match="the log is full") as caught:
        fit(callbacks=[broken], callback_every=25)
    run = caught.value.run  # type: ignore[attr-defined]
    assert (run.stopped, run.iteration) == ("failed", 50)
    assert "the log is full" in run.note
    with pytest.raises(ValueError, match="the log is full") as last:
        fit(steps=60, callbacks=[broken], callback_every=40)  # the call after the end
    assert last.value.run.stopped == "failed"  # type: ignore[attr-defined]


def test_an_exception_in_the_background_is_noted() -> None:
    run = mg.start("gd", loss=lambda w: (w - 3.0) ** 2, params={"w": 0.0}, callbacks=[broken], callback_every=25)
    run.wait()
    assert run.stopped == "failed"
    assert "the log is full" in str(run.note)


def test_it_goes_on_with_a_run_that_is_resumed() -> None:
    seen: list[int] = []
    run = fit(steps=50, callbacks=[lambda run: seen.append(run.iteration)], callback_every=25)
    run.resume(steps=100)
    run.wait()
    assert seen == [0, 25, 50, 75, 100]


# ---- metrics ------------------------------------------------------------------------------------------------------


def test_metrics_are_columns() -> None:
    run = fit(metrics={"size": size, "bias": lambda params: params["b0"][0]})
    assert np.flatnonzero(np.isfinite(run.record["size"])).tolist() == [0, 20, 40, 60, 80, 100]
    assert run.record["size"][-1] == size(run.params)
    assert run.record["bias"][-1] == run.params["b0"][0]
    np.testing.assert_array_equal(run.record["loss"], fit().record["loss"])


def test_metrics_are_evaluated_with_the_validation() -> None:
    run = fit("adam", validation=0.2, metrics={"size": size})
    np.testing.assert_array_equal(np.isfinite(run.record["size"]), np.isfinite(run.record["validation"]))


def test_metrics_of_a_meta_learning_run_on_the_plot() -> None:
    run = mg.train("maml", model=mg.mlp(1, 5, 1), tasks=mg.sinusoid(), steps=40, metrics={"size": size})
    panel = next(ax for ax in run.plot().axes if ax.yaxis.label.get_text().startswith("size"))
    np.testing.assert_allclose(panel.get_lines()[0].get_xydata(), [[s, run.record["size"][s]] for s in (0, 20, 40)])


def test_metrics_cannot_change_the_parameters() -> None:
    def spoil(params: dict[str, Array]) -> float:
        params["W0"][:] = 7.0
        return 0.0

    np.testing.assert_array_equal(fit(metrics={"spoil": spoil}).record["loss"], fit().record["loss"])


def test_metrics_in_a_file(tmp_path: Path) -> None:
    run = fit(metrics={"size": size}, steps=40)
    run.save(tmp_path / "run.metagd")
    alone, again = mg.load(tmp_path / "run.metagd"), mg.load(tmp_path / "run.metagd", metrics={"size": size})
    for one in (alone, again):
        np.testing.assert_array_equal(one.record["size"], run.record["size"])
        one.resume(steps=60)
        one.wait()
        np.testing.assert_array_equal(one.record["loss"], fit(steps=60).record["loss"])
    assert np.isnan(alone.record["size"][60])
    assert again.record["size"][60] == size(again.params)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"callbacks": print}, r"^callbacks: .* is not a list of functions; write callbacks=\[f\]$"),
        ({"callbacks": [3]}, r"^callbacks: 3 is not a function of the run$"),
        ({"callback_every": 3}, r"^callback_every: says how often callbacks=\[f\] are called; there are none$"),
        ({"callbacks": [print], "callback_every": 0}, r"^callback_every: 0 is not allowed; needs a whole number ≥ 1$"),
        ({"metrics": [size]}, r"^metrics: .* is not a dict name → function"),
        ({"metrics": {"loss": size}}, r"^metrics: loss is a column of the record already"),
        ({"metrics": {"lr": size}}, r"^metrics: lr is a column of the record already"),
        ({"metrics": {"my size": size}}, r"^metrics: 'my size' cannot be the name of a column$"),
        ({"metrics": {"size": 3}}, r"^metrics: size is 3, not a function of the parameters$"),
        ({"metrics": {"size": lambda params: "large"}}, r"^metrics: size gave 'large'; needs a number$"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MetagdError, match=message):
        fit(**given)
