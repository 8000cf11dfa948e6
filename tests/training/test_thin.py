"""A record that keeps every so many rows, and what ten runs at once leave behind."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.plotting.run_figure import LiveRunFigure
from metagd_nb.training.drivers import background, drive
from metagd_nb.training.pacing import ALLOWANCE, SHARE
from metagd_nb.training.persistence.contents import write_run
from metagd_nb.training.record import Record


@pytest.mark.parametrize("method", ["gd", "hd", "maml"])
def test_every_nth_row_and_the_last(method: str) -> None:
    whole, thin = (cases.trained(method, steps=23, record_every=n) for n in (1, 5))
    assert thin.record["step"].tolist() == [0, 5, 10, 15, 20, 23]
    for column in set(whole.record.columns) - {"seconds"}:
        np.testing.assert_array_equal(thin.record[column], whole.record[column][thin.record["step"]])
    np.testing.assert_array_equal(thin.loop.snapshot.theta, whole.loop.snapshot.theta)
    assert thin.loss == whole.loss
    if not whole.loop.sampled:  # means of the rows that are there
        assert repr(thin) == repr(whole)


def test_rows_of_events_are_kept(tmp_path: Path) -> None:
    run = cases.prepared("maml", steps=100, record_every=10)
    run.step(3)
    run.set(meta_lr=0.001)
    run.step(2)
    run.step(7)
    run.stop()
    assert run.record["step"].tolist() == [0, 3, 5, 10, 12]
    cases.assert_same(run, run.replay())
    run.save(tmp_path / "run.npz")
    cases.assert_same(run, mg.load(tmp_path / "run.npz").replay())


def test_a_checkpoint_holds_the_last_row(tmp_path: Path) -> None:
    run = cases.prepared("gd", steps=100, record_every=10)
    for _ in range(15):
        run.loop.advance()
    assert run.record["step"].tolist() == [0, 10]
    write_run(run.loop, tmp_path / "run.npz")
    assert run.record["step"].tolist() == [0, 10]  # time does not decide what the record holds
    loaded = mg.load(tmp_path / "run.npz")
    assert loaded.record["step"].tolist() == [0, 10, 14]
    loaded.resume()
    loaded.wait()
    whole = cases.trained("gd", steps=100)
    np.testing.assert_array_equal(loaded.record["loss"], whole.record["loss"][loaded.record["step"]])
    np.testing.assert_array_equal(loaded.loop.snapshot.theta, whole.loop.snapshot.theta)


def test_the_plot_of_a_thinned_record_is_over_steps() -> None:
    thin = cases.trained("gd", steps=95, record_every=10)
    (line, *_) = thin.plot().axes[0].lines
    assert line.get_xdata().tolist() == thin.record["step"].tolist()
    assert thin.plot().axes[0].get_xlim() == (0.0, 95.0)


def test_a_row_is_64_bytes_and_ten_million_fit() -> None:
    run = cases.prepared("maml")
    assert 8 * len(run.record.columns) <= 64
    record = Record(run.record.columns[:2])  # what is counted does not depend on the columns
    start = time.perf_counter()
    for i in range(100_000):
        record.append((i, 0.5))
    assert time.perf_counter() - start < 5
    assert record._rows.nbytes <= 2.5 * record.rows.nbytes
    big = Record.of(("step", "loss"), np.zeros((10_000_000, 2)))
    big.append((10_000_000, 1.0))
    assert (len(big), big.last("loss")) == (10_000_001, 1.0)


@pytest.mark.slow
def test_ten_runs_at_once_leave_nothing_behind() -> None:
    def answer() -> float:
        start = time.perf_counter()
        time.sleep(0.001)
        return time.perf_counter() - start

    before = threading.active_count()
    runs: list[Any] = [
        background(cases.prepared("maml" if i % 2 else "gd", steps=10**8, record_every=50)) for i in range(10)
    ]
    waits = sorted(answer() for _ in range(50))
    assert waits[25] < 0.1  # the kernel answers another cell
    for run in runs:
        run.stop()
    for run in runs:
        run.wait()
    dead = [weakref.ref(run) for run in runs]
    del runs, run
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    gc.collect()
    assert threading.active_count() == before
    assert [ref() for ref in dead] == [None] * 10


@pytest.mark.slow
def test_an_hour_of_live_plot_grows_nothing_but_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of the test's own: a step takes 200 ms, a frame 15 ms; every thousandth frame is really drawn."""
    cached = {"FontProperties", "tuple"}  # matplotlib remembers how large the last 4,096 texts were
    now, hour = 0.0, 3600.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    run = cases.prepared("hd", steps=10**8)
    plot, moments, alive, step = LiveRunFigure(run), [], [], run.loop.advance_many

    class Watching:
        def frame(self, final: bool = False) -> None:
            nonlocal now
            now += 0.015
            moments.append(now)
            if len(moments) % 1000 == 0:
                plot.pixels()
                gc.collect()
                alive.append(sum(type(thing).__name__ not in cached for thing in gc.get_objects()))

    def stride() -> None:
        nonlocal now
        step()
        now += 0.2
        if now > hour:
            run.loop.request("stop")

    monkeypatch.setattr(run.loop, "advance_many", stride)
    drive(run, Watching())
    assert run.stopped == "user"
    share = 0.015 * len(moments) / hour
    assert 0.9 * SHARE < share < SHARE + ALLOWANCE / hour
    late = np.diff(moments[len(moments) // 2 :])
    assert late.max() < 2 * late.mean()  # evenly to the end
    assert max(alive[len(alive) // 4 :]) - alive[len(alive) // 4] < 50
    assert len(run.record) > 15_000
    assert run.record.rows.nbytes == 64 * len(run.record) * len(run.record.columns) // 8


def test_a_figure_of_a_run_goes_with_it() -> None:
    run = cases.trained("maml")
    figure = run.plot()
    dead = [weakref.ref(run), weakref.ref(figure)]
    del run, figure
    gc.collect()
    assert [ref() for ref in dead] == [None, None]
