"""Strides of plain descent on least squares: the same as single steps, to the bit and to the step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import assert_same, table
from hypothesis import given
from hypothesis import strategies as st

import metagd_nb as mg
from metagd_nb.algorithms.gd import GD
from metagd_nb.training.drivers import drive
from metagd_nb.training.executors.base import StepExecutor
from metagd_nb.training.executors.least_squares import MOST, LeastSquaresExecutor
from metagd_nb.training.persistence.state import capture
from metagd_nb.training.record import Record
from metagd_nb.training.run import Run
from metagd_nb.training.settings import Settings
from metagd_nb.training.stopping import StoppingRule


def fit(inputs: int = 3, outputs: int = 1, method: str = "gd", rows: int = 40, **options: Any) -> Run:
    """A linear regression that has not started."""
    rng = np.random.default_rng(inputs + 100 * outputs)
    x = rng.standard_normal((rows, inputs))
    y = x @ rng.standard_normal((inputs, outputs)) + 0.3 * rng.standard_normal((rows, outputs))
    return mg.prepare(method, model=mg.linear(inputs, outputs), x=x, y=y, **({"lr": 0.02, "steps": 300} | options))


def one_by_one(run: Run) -> Run:
    """Driven without strides."""
    with np.errstate(all="ignore"):
        while run.stopped is None:
            run.loop.advance()
    return run


def assert_one(strided: Run, single: Run) -> None:
    """All that two runs hold, but the clock."""
    assert isinstance(strided.loop.executor, LeastSquaresExecutor)
    assert_same(strided, single)
    one, other = capture(strided.loop), capture(single.loop)
    assert one["verdict"] == other["verdict"]
    for key in ("theta", "look", "shown", "best"):
        for a, b in zip(one[key], other[key], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=key)
    assert (strided.stopped, strided.note, strided.events) == (single.stopped, single.note, single.events)
    assert strided.costs[:2] == single.costs[:2]
    assert np.all(np.diff(strided.record["seconds"]) >= 0)


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("inputs", [1, 2, 7, 16, 33, 100])
def test_strides_are_single_steps_to_the_bit(monkeypatch: pytest.MonkeyPatch, inputs: int, outputs: int) -> None:
    seen: list[int] = []
    keep = LeastSquaresExecutor.keep
    monkeypatch.setattr(LeastSquaresExecutor, "keep", lambda self, *kept: seen.append(kept[1]) or keep(self, *kept))
    strided = drive(fit(inputs, outputs, rows=200, steps=400))
    assert sum(seen) == 400
    assert max(seen) > 10  # or nothing was strided
    assert_one(strided, one_by_one(fit(inputs, outputs, rows=200, steps=400)))


@pytest.mark.parametrize("bias", [True, False])
def test_the_path_is_that_of_the_naive_loop(bias: bool) -> None:
    x, y = table()
    run = mg.train("gd", model=mg.linear(3, bias=bias), x=x, y=y, lr=0.1, steps=400)
    w, b, losses = np.zeros(3), 0.0, []
    for _ in range(401):
        error = x @ w + b - y[:, 0]
        losses.append(np.mean(error**2))
        w, b = w - 0.2 / len(x) * x.T @ error, b - bias * 0.2 * np.mean(error)
    np.testing.assert_allclose(run.record["loss"], losses, rtol=1e-11)


STOPS: list[tuple[str, dict[str, Any]]] = [
    ("loss-below", {"loss_below": 0.2}),
    ("grad-below", {"grad_below": 0.01}),
    ("grad-below", {"steps": 5, "grad_below": 1e3}),
    ("patience", {"patience": 30, "lr": 0.0}),
    ("patience", {"patience": 5, "lr": 1.2}),
    ("diverged", {"lr": 1.2}),
    ("diverged", {"lr": 0.8}),  # slowly: the best row is in the middle of a stride
    ("steps", {"steps": 17}),
    ("steps", {"steps": 0}),
]


@pytest.mark.parametrize(("reason", "options"), STOPS, ids=str)
def test_a_stop_is_at_its_step(reason: str, options: dict[str, Any]) -> None:
    strided, single = drive(fit(**options)), one_by_one(fit(**options))
    assert_one(strided, single)
    assert (strided.stopped, strided.iteration < 300) == (reason, True)


def test_time_is_up_at_the_first_row_that_says_so() -> None:
    run = drive(fit(seconds=0.02, steps=10**8))
    seconds = run.record["seconds"]
    assert run.stopped == "seconds"
    assert seconds[-1] >= 0.02 > seconds[-2]
    assert_same(run.replay(), run)


def test_what_a_person_does_between_strides_is_at_its_step() -> None:
    """Paused, two steps, another rate, on to the end: the same again one by one, and from its events."""
    strided = fit()
    strided.loop.advance()
    strided.loop.request("step", 40)
    strided.loop.handle_requests()
    while not strided.loop.idle:
        strided.loop.advance_many()
    assert (strided.iteration, len(strided.record)) == (40, 41)  # no further than the steps that were owed
    strided.loop.request("set", {"lr": 0.05})
    strided.loop.handle_requests()
    strided.loop.request("resume")
    strided.loop.handle_requests()
    drive(strided)
    single = fit()
    while single.iteration < 40:
        single.loop.advance()
    single.loop.request("set", {"lr": 0.05})
    single.loop.handle_requests()
    one_by_one(single)
    assert_same(strided, single)
    assert strided.record["lr"][39:43].tolist() == [0.02, 0.02, 0.05, 0.05]
    assert [(e.step, e.kind) for e in strided.events] == [(0, "pause"), (0, "step"), (40, "set"), (40, "resume")]
    assert_same(strided.replay(), strided)


def test_a_run_from_a_file_goes_on_to_the_bit(tmp_path: Path) -> None:
    drive(fit(steps=123)).save(tmp_path / "fit.npz")
    again = mg.load(tmp_path / "fit.npz")
    again.resume(steps=300)
    again.wait()
    assert_same(again, drive(fit(steps=300)))


def test_a_snapshot_outlives_the_strides_after_it() -> None:
    """Each stride works in the arrays of the one before: what is kept of a row must be its own."""
    run = fit()
    run.loop.advance()

    def stride() -> None:
        run.loop.executor._quick = 5  # always as long, so that the next one writes where this one did
        run.loop.advance_many()

    stride()
    shown, best = run.loop.snapshot, run.loop.best
    held = shown.theta.copy()
    assert shown.step == best.step == 5
    stride()
    assert run.loop.snapshot.step == 10
    assert not np.array_equal(run.loop.snapshot.theta, held)
    np.testing.assert_array_equal(shown.theta, held)
    np.testing.assert_array_equal(best.theta, held)


def test_one_stride_is_neither_long_nor_large(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    keep = LeastSquaresExecutor.keep
    monkeypatch.setattr(LeastSquaresExecutor, "keep", lambda self, *kept: taken.append(kept[1]) or keep(self, *kept))
    monkeypatch.setattr("metagd_nb.training.executors.least_squares.LONG", 10.0)
    run = drive(fit(steps=5000))
    assert taken[:3] == [1, 16, 256]
    assert max(taken) == MOST
    assert run.loop.executor._rows.nbytes == 4 * (MOST + 1) * 4 * 8  # type: ignore[attr-defined]
    monkeypatch.setattr("metagd_nb.training.executors.least_squares.LONG", 0.0)
    taken.clear()
    drive(fit(steps=50))
    assert taken == [1] * 50


class Other(GD):
    """A method of its own."""


def test_only_plain_descent_on_least_squares_in_float64_is_strided() -> None:
    for run in (
        fit(dtype="float32"),
        fit(method="momentum"),
        mg.prepare("gd", loss=lambda w: w * w, params={"w": 1.0}),
    ):
        assert type(run.loop.executor) is StepExecutor
        run.loop.advance_many()
        run.loop.advance_many()
        assert run.record["step"].tolist() == [0, 1]
    plan = fit().plan
    assert LeastSquaresExecutor.suits(plan)
    assert not LeastSquaresExecutor.suits(plan._replace(algorithm=Other()))


numbers = st.sampled_from([0.5, 1.0, 2.0, 3.0, 5.0, 1e9, np.inf, np.nan])
LIMITS = {"loss_below": 0.9, "grad_below": 0.9, "patience": 2, "seconds": 0.05, "steps": 4}


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8), st.sets(st.sampled_from(sorted(LIMITS))))
def test_rows_are_judged_together_as_one_by_one(rows: list[tuple[float, float]], rules: set[str]) -> None:
    settings = Settings(**{rule: LIMITS[rule] for rule in rules})
    loss, norm = np.array(rows).T
    seconds = 0.01 * np.arange(1, len(rows) + 1)
    single, whole = StoppingRule(settings, sampled=False), StoppingRule(settings, sampled=False)
    for verdict in (single, whole):
        assert verdict.judge(0, 2.0, 2.0, 0.0) is None
    done, found = 0, None
    while done < len(rows) and found is None:
        found = single.judge(done + 1, *rows[done], seconds[done])
        done += 1
    judged, reason = 0, None
    while judged < len(rows) and reason is None:  # as a stride goes on where a rule was all but met
        count, reason = whole.judge_all(judged + 1, loss[judged:][:4], norm[judged:][:4], seconds[judged:][:4])
        judged += count
    assert (judged, reason, whole.state()) == (done, found, single.state())


def test_a_record_takes_many_rows_at_once() -> None:
    record = Record(("step", "loss"))
    rows = np.arange(1400.0).reshape(700, 2)
    record.append((-2.0, -1.0))
    for part in (rows[:3], rows[3:600], rows[600:]):  # within the buffer, past it twice
        record.extend(part)
    record.append((-3.0, -1.0))
    np.testing.assert_array_equal(record.rows, [(-2, -1), *rows, (-3, -1)])
