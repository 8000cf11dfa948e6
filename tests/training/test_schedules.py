"""Schedules, clipping and weight decay in a run: record, events, files, scripts, sweeps and comparisons."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.training.drivers import background
from metagd_nb.training.run import Run

Array = np.ndarray
START = np.array([3.0, -4.0])
BACKENDS = ["numpy", "jax"]


def loss(w: Array) -> Any:
    return np.sum(w**2 * np.array([1.0, 0.2]))


def halves(step: int) -> float:
    return 0.5 ** (step / 5)


def thirds(step: int) -> float:
    return 3.0 ** (-step / 5)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "jax":
        pytest.importorskip("jax")
    return str(request.param)


def prepared(method: str = "adam", **options: Any) -> Run:
    return mg.prepare(method, loss=loss, params={"w": START}, **{"lr": 0.1, "steps": 20, **options})


def train(method: str = "adam", **options: Any) -> Run:
    return mg.train(method, loss=loss, params={"w": START}, **{"lr": 0.1, "steps": 20, **options})


def equal(one: Run, other: Run) -> None:
    for column in ("step", "loss", "grad_norm", "lr"):
        np.testing.assert_array_equal(one.record[column], other.record[column])
    np.testing.assert_array_equal(one.params["w"], other.params["w"])


# ---- functions that fail --------------------------------------------------------------------------------------------


def nan_at_13(step: int) -> float:
    return math.nan if step == 13 else 1.0


def raises_at_13(step: int) -> float:
    return 1.0 / (13 - step) if step == 13 else 1.0


@pytest.mark.parametrize("schedule", [nan_at_13, raises_at_13])
def test_a_schedule_that_fails_loses_no_row(schedule: Callable[[int], float], backend: str, tmp_path: Path) -> None:
    run = prepared(steps=1000, schedule=schedule, backend=backend)
    background(run)
    run.wait()
    assert (run.stopped, run.iteration, len(run.record)) == ("failed", 13, 14)
    assert str(run.note).startswith("failed at step 14: ")
    assert math.isnan(run.rates["lr"])
    assert run.plot().alt.startswith("adam: ")
    np.testing.assert_array_equal(run.record["loss"], train(steps=13, backend=backend).record["loss"])
    run.save(tmp_path / "run.metagd")
    assert mg.load(tmp_path / "run.metagd").loss == run.loss


@pytest.mark.parametrize("value", ["0.5", True, None, -1.0, math.nan, math.inf, [1.0], 1j])
def test_what_a_function_may_not_give(value: Any, backend: str) -> None:
    with pytest.raises(MetagdError, match=r"^schedule: gave .* at step 3; needs a number ≥ 0$") as caught:
        train(schedule=lambda step: value if step == 3 else 1.0, backend=backend)
    assert len(caught.value.run.record) == 4  # type: ignore[attr-defined]


def test_numbers_of_other_libraries_are_numbers() -> None:
    equal(train(schedule=lambda step: np.float32(0.5)), train(schedule=lambda step: 0.5))
    jax = pytest.importorskip("jax")
    equal(train(schedule=lambda step: jax.numpy.float32(0.5)), train(schedule=lambda step: 0.5))


@pytest.mark.parametrize("schedule", [3, None, "function", np.zeros(3)])
def test_what_is_no_schedule(schedule: Any) -> None:
    with pytest.raises(MetagdError, match=r"^schedule: .* is not a schedule; allowed: constant \| cosine \| "):
        train(schedule=schedule)


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["warmup:5,cosine", "step:4:0.5", halves])
def test_a_run_goes_on_from_a_file_as_if_it_had_not_ended(schedule: Any, backend: str, tmp_path: Path) -> None:
    options = {"schedule": schedule, "clip": 0.7, "weight_decay": 0.1, "backend": backend}
    whole, part = train(**options), prepared(**options)
    part.step(11)
    part.save(tmp_path / "part.metagd")
    session = {"schedule": schedule} if callable(schedule) else {}
    again = mg.load(tmp_path / "part.metagd", loss=loss, **session)
    again.resume()
    again.wait()
    equal(whole, again)
    equal(whole, again.replay())


def test_a_rate_set_under_way_is_repeated(backend: str, tmp_path: Path) -> None:
    run = prepared(schedule="cosine", backend=backend)
    run.step(8)
    run.set(lr=0.03)
    run.step(12)
    equal(run, run.replay())
    run.save(tmp_path / "run.metagd")
    again = mg.load(tmp_path / "run.metagd", loss=loss)
    assert again.rates["lr"] == 0.03
    equal(run, again.replay())


def test_setting_a_rate_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax")
    from metagd_nb.training.executors import jax_program

    made: list[object] = []
    lower = jax_program.CompiledStep.__init__
    monkeypatch.setattr(jax_program.CompiledStep, "__init__", lambda *given: (made.append(given), lower(*given))[1])
    run = prepared(schedule="cosine", clip=0.123, backend="jax")  # a clip of its own: not in the cache
    run.step(8)
    run.set(lr=0.03)
    run.step(12)
    assert len(made) == 1
    np.testing.assert_array_equal(run.record["lr"][9:], 0.03)


def test_a_function_has_to_be_given_again(backend: str, tmp_path: Path) -> None:
    run = train(schedule=halves, backend=backend)
    run.save(tmp_path / "run.metagd")
    bare = mg.load(tmp_path / "run.metagd")
    assert (bare.loss, bare.stopped) == (run.loss, "steps")
    with pytest.raises(MetagdError, match=r"loss and schedule are not in .*load\(…, loss=loss, schedule=schedule\)"):
        bare.replay()
    half = mg.load(tmp_path / "run.metagd", loss=loss)
    for use in (half.replay, lambda: half.resume(steps=25), lambda: half.export(tmp_path / "run.py")):
        with pytest.raises(MetagdError, match=r"^schedule: is a function, which the file does not hold; give it from"):
            use()
    assert (half.stopped, half.iteration) == ("steps", 20)  # nothing is lost
    equal(run, half.replay(schedule=halves))
    equal(run, mg.load(tmp_path / "run.metagd", loss=loss, schedule=halves).replay())


def test_another_function_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(schedule=halves).save(tmp_path / "run.metagd")
    mg.load(tmp_path / "run.metagd", loss=loss, schedule=halves)
    assert "not what was saved" not in caplog.text
    mg.load(tmp_path / "run.metagd", loss=loss, schedule=thirds)
    assert "not what was saved: code of schedule" in caplog.text


def test_steps_beyond_a_cosine_are_announced(caplog: pytest.LogCaptureFixture) -> None:
    run = train(schedule="cosine")
    run.resume(steps=22)
    run.wait()
    assert "cosine:20 has come to its end, and the rate is 0; run.set(lr=…) sets another" in caplog.text
    np.testing.assert_array_equal(run.record["lr"][21:], 0.0)
    caplog.clear()
    other = prepared(schedule="cosine")
    other.step(5)
    other.stop()
    other.resume()
    other.wait()
    assert "cosine" not in caplog.text


@pytest.mark.parametrize("schedule", ["warmup:5,cosine", halves])
@pytest.mark.parametrize("is_set", [False, True])
def test_the_script_repeats_the_run(schedule: Any, is_set: bool, tmp_path: Path) -> None:
    run = prepared("adamw", schedule=schedule, clip=0.7, weight_decay=0.1)
    run.step(9)
    if is_set:
        run.set(lr=0.05)
    run.step(11)
    run.export(tmp_path / "run.py")
    space: dict[str, Any] = {}
    exec(compile((tmp_path / "run.py").read_text(), "run.py", "exec"), space)
    equal(run, space["run"])


# ---- batches, sweeps and comparisons --------------------------------------------------------------------------------


def test_a_cosine_ends_with_the_last_epoch(backend: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    given = {"model": mg.linear(3), "x": x, "y": x.sum(1), "batch_size": 20, "epochs": 4, "backend": backend}
    run = mg.train("rmsprop", **given, lr=0.1, schedule="warmup:2,cosine")
    assert run.plan.settings.schedule == "warmup:2,cosine:10"  # 4 epochs of 3 batches
    known = [0.1 * (t / 2 if t < 2 else 0.5 * (1 + math.cos(math.pi * (t - 2) / 10))) for t in range(12)]
    np.testing.assert_array_equal(run.record["lr"], [known[0], *known])


@pytest.mark.parametrize("schedule", ["cosine", halves])
def test_a_sweep_follows_the_schedule(schedule: Any) -> None:
    given = {"loss": loss, "params": {"w": START}, "steps": 10, "schedule": schedule}
    swept = mg.sweep("gd", {"lr": [0.1, 0.2]}, **given, jobs=1)
    found = sorted(outcome.score for outcome in swept.outcomes.values())
    assert found == sorted(mg.train("gd", lr=lr, **given).loss for lr in (0.1, 0.2))


def test_schedules_may_be_swept() -> None:
    given = {"loss": loss, "params": {"w": START}, "steps": 10}
    swept = mg.sweep("gd", {"schedule": ["cosine", "constant"]}, **given, jobs=1)
    assert len({outcome.score for outcome in swept.outcomes.values()}) == 2


def test_runs_are_named_by_their_schedules() -> None:
    runs = [train("gd", schedule=schedule) for schedule in ("cosine", "constant")]
    found = repr(mg.compare(runs, seeds=1, baselines=False))
    assert "gd schedule='cosine:20'" in found
    assert "gd schedule='constant'" in found


def test_a_baseline_that_takes_no_clipping_is_compared_with() -> None:
    run = mg.train("maml", model=mg.linear(1), tasks=mg.regression(1), steps=3, clip=1.0, schedule="cosine")
    found = repr(mg.compare([run], seeds=1, n_tasks=20))
    assert "scratch (baseline)" in found
    assert "pretrain (baseline)" in found
