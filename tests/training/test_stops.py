"""Each reason for which a run ends: when exactly, and what is kept."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import META, prepared, table, trained
from interrupts import interrupt_training

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.core.hyperparameters import hyperparameters
from metagd_nb.training.drivers import drive, drive_async, foreground
from metagd_nb.training.run import Run
from metagd_nb.training.settings import Settings
from metagd_nb.training.stopping import EXPLODED, WINDOW, StoppingRule


def reasons(losses: Any, sampled: bool = False, norms: Any = None, **settings: Any) -> tuple[str | None, int]:
    """The verdict on rows with these losses: the reason, and the row at which it fell."""
    verdict = StoppingRule(Settings(**settings), sampled)
    for step, loss in enumerate(losses):
        found = verdict.judge(step, float(loss), 1.0 if norms is None else norms[step], 0.01 * step)
        if found is not None:
            return found, step
    return None, len(losses)


def fit(**options: Any) -> Run:
    x, y = table()
    return mg.train("gd", model=mg.linear(3), x=x, y=y, **({"lr": 0.1} | options))


def parabola(x):  # type: ignore[no-untyped-def]
    return x * x


# ---- steps, loss-below, grad-below --------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_steps(steps: int) -> None:
    run = fit(steps=steps)
    assert run.stopped == "steps"
    assert run.record["step"].tolist() == list(range(steps + 1))
    assert run.iteration == steps


def test_loss_below_is_the_first_row_below() -> None:
    whole = fit(steps=100).record["loss"]
    limit = float(whole[30])  # reached only by the row after it
    run = fit(steps=100, loss_below=limit)
    assert run.stopped == "loss-below"
    assert run.iteration == 31
    assert run.loss < limit <= run.record["loss"][-2]
    assert fit(steps=100, loss_below=1e9).iteration == 0


def test_loss_below_of_sampled_runs_is_the_mean_of_twenty_rows() -> None:
    assert WINDOW == 20
    noisy = np.array([0.0 if t % 2 else 2.0 for t in range(60)])
    assert reasons(noisy, sampled=True, loss_below=0.9) == (None, 60)  # single rows are far below
    assert reasons([0.0] * 60, sampled=True, loss_below=0.5) == ("loss-below", 19)  # never before there are twenty
    falling = [2.0] * 20 + [0.0] * 30
    assert reasons(falling, sampled=True, loss_below=1.0) == ("loss-below", 30)  # 11 of 20 rows are 0
    assert reasons(falling, loss_below=1.0) == ("loss-below", 20)
    run = trained("maml", steps=300, loss_below=4.0)
    means = np.convolve(run.record["loss"], np.ones(20) / 20, "valid")
    assert run.stopped == "loss-below"
    assert means[-1] < 4.0
    assert (means[:-1] >= 4.0).all()
    assert (run.record["loss"][:-1] < 4.0).any()


def test_full_batches_of_tasks_are_not_sampled() -> None:
    family = mg.quadratics((1.0, 3.0), (0.0, 1.0))
    run = mg.train("maml", tasks=family, loss_below=0.2, meta_lr=0.1)
    assert not run.loop.sampled
    assert run.stopped == "loss-below"
    assert run.loss < 0.2 <= run.record["loss"][-2]


def test_grad_below() -> None:
    run = fit(steps=5000, grad_below=1e-3)
    assert run.stopped == "grad-below"
    norms = run.record["grad_norm"]
    assert norms[-1] < 1e-3 <= norms[-2]
    assert run.iteration < 5000


def test_the_result_comes_before_the_limit() -> None:
    """At the row where several would do, what was reached is named, not what ran out."""
    assert reasons([1.0, 0.0], loss_below=0.5, steps=1) == ("loss-below", 1)
    assert reasons([1.0, 1.0], norms=[1.0, 0.0], grad_below=0.5, steps=1) == ("grad-below", 1)
    assert reasons([1.0, 1.0], patience=1, steps=1) == ("steps", 1)


# ---- patience, seconds --------------------------------------------------------------------------------------------


def test_patience() -> None:
    assert reasons([5, 4, 3, 3, 3, 3, 3], patience=3) == ("patience", 5)
    assert reasons([5, 4, 3, 3, 3, 2.9, 3, 3, 3], patience=3) == ("patience", 8)
    assert reasons(range(50, 0, -1), patience=1) == (None, 50)
    assert reasons([1, 1], patience=1) == ("patience", 1)
    run = fit(steps=100_000, patience=5)
    assert run.stopped == "patience"
    assert run.record["loss"][-6:].min() == run.record["loss"].min()


def test_patience_of_sampled_runs_compares_means_of_twenty_rows() -> None:
    """One lucky row at the start must not count as the best for ever."""
    slowly = [0.1] + [1.0 - 0.001 * t for t in range(1, 500)]
    assert reasons(slowly, sampled=True, patience=60) == (None, 500)
    flat = [1.0 + 0.1 * (-1) ** t for t in range(500)]
    reason, step = reasons(flat, sampled=True, patience=60)
    assert reason == "patience"
    assert step < 100


def test_patience_says_which_parameters_it_left() -> None:
    """The last ones, with their loss; and where the lowest loss was."""
    run = fit(lr=0.9, steps=100_000, patience=2)
    best, last = run.loop.stopping, run.iteration
    assert run.stopped == "patience"
    assert best.best_step < last
    assert run.note == (
        f"the parameters are those of the last step, {last} (loss {run.loss:.6g});"
        f" the lowest loss was {best.best:.6g}, at step {best.best_step}"
    )
    assert repr(run).splitlines()[-1] == run.note
    run.resume(patience=200)
    assert "those of the last step" not in str(run.wait().note) or f"step, {run.iteration} " in str(run.note)
    sampled = trained("maml", steps=100_000, patience=40, meta_lr=0.0)
    assert "; the lowest mean of 20 losses was " in str(sampled.note)
    assert str(sampled.note).startswith(f"the parameters are those of the last step, {sampled.iteration} (loss ")


def test_seconds() -> None:
    assert reasons([1.0] * 10, seconds=0.055) == ("seconds", 6)
    begun = time.perf_counter()
    run = fit(steps=1_000_000_000, seconds=0.1)
    assert run.stopped == "seconds"
    assert 0.1 <= run.record["seconds"][-1] < 1.0
    assert time.perf_counter() - begun < 5
    assert (np.diff(run.record["seconds"]) >= 0).all()
    assert fit(steps=5, seconds=0.0).iteration == 0


def test_seconds_do_not_count_frames_or_pauses() -> None:
    class Slow:
        def frame(self, final: bool = False) -> None:
            time.sleep(0.05)

    run = drive(prepared("gd", steps=20), Slow())
    assert run.record["seconds"][-1] < 0.05
    run = mg.start("gd", loss=parabola, params={"x": 1.0}, lr=1e-6, steps=1_000_000_000)
    run.pause()
    before = run.record.last("seconds")
    time.sleep(0.3)
    run.step(1)
    run.stop()
    assert run.record.last("seconds") < before + 0.2


def test_seconds_do_not_count_the_time_between_steps_by_hand() -> None:
    run = prepared("gd", steps=20)
    run.step(5)
    time.sleep(0.1)
    run.resume()
    drive(run)
    assert run.stopped == "steps"
    assert run.record["seconds"][-1] < 0.1


# ---- user, interrupted --------------------------------------------------------------------------------------------


def test_user_stop_keeps_the_present_state() -> None:
    run = mg.start("gd", loss=parabola, params={"x": 1.0}, lr=1e-6, steps=1_000_000_000)
    while run.iteration < 10:
        time.sleep(0.001)
    run.stop()
    assert run.stopped == "user"
    done = run.iteration
    assert len(run.record) == done + 1
    assert run.loss == run.record["loss"][-1] == pytest.approx(float(run.params["x"]) ** 2)
    assert run.events[-1][:2] == (done, "stop")
    run.stop()  # again: nothing happens
    assert run.iteration == done
    for call in (run.pause, run.step, lambda: run.set(lr=1.0)):
        with pytest.raises(mg.MetagdError, match=r"the run has ended \(user\); start a new one"):
            call()


def test_stopping_a_paused_run() -> None:
    run = mg.start("gd", loss=parabola, params={"x": 1.0}, lr=1e-6, steps=1_000_000_000)
    run.pause()
    held = run.iteration
    run.stop()
    assert (run.stopped, run.iteration) == ("user", held)


def test_stopping_before_the_start_leaves_one_row() -> None:
    run = prepared("gd")
    run.stop()
    assert run.stopped == "user"
    assert len(run.record) == 1
    assert drive(run).iteration == 0


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell that starts the tests in its background has them ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("how", ["train", "wait", "params"])
def test_interrupt_of_one_who_waits(how: str) -> None:
    given: dict[str, Any] = {"loss": parabola, "params": {"x": 1.0}, "lr": 1e-6, "steps": 1_000_000_000}
    if how == "train":
        interrupt_training(0.2)
        run = mg.train("gd", **given)
    else:
        run = mg.start("gd", **given)
        interrupt_training(0.1)
        if how == "wait":
            assert run.wait() is run
        else:
            assert 0 < run.params["x"] <= 1
    assert run.stopped == "interrupted"
    assert not run.loop.running
    assert run.iteration > 0
    assert run.events[-1].kind == "stop"
    assert run.loss == run.record["loss"][-1]


def test_interrupt_inside_the_driver() -> None:
    class Interrupting:
        def frame(self, final: bool = False) -> None:
            if not final:
                raise KeyboardInterrupt

    run = drive(prepared("gd", steps=10**9), Interrupting())
    assert run.stopped == "interrupted"
    assert run.loss == run.record["loss"][-1]


# ---- diverged, failed ---------------------------------------------------------------------------------------------


def test_diverged_keeps_the_best_parameters_and_says_so() -> None:
    run = fit(lr=5.0, steps=1000)
    assert run.stopped == "diverged"
    losses = run.record["loss"]
    best = int(np.argmin(losses))
    assert run.loss == losses[best]
    np.testing.assert_array_equal(run.params["W0"], fit(lr=5.0, steps=best).params["W0"])
    last = len(losses) - 1
    assert run.note == (
        f"diverged at step {last} (loss {losses[-1]:.3g}): the parameters of step {best} are kept;"
        " a smaller lr usually helps"
    )
    assert repr(run).splitlines()[-1] == run.note


def test_diverged_keeps_a_best_that_is_not_the_first() -> None:
    """Gradient descent on x⁴ − x² from close by falls, then a rate set too high throws it out."""

    def loss(x):  # type: ignore[no-untyped-def]
        return x**4 - x**2

    run = mg.prepare("gd", loss=loss, params={"x": 0.3}, lr=0.05, steps=500)
    run.step(30)
    before = run.loss
    assert before < run.record["loss"][0]
    run.set(lr=50.0)
    run.resume()
    drive(run)
    assert run.stopped == "diverged"
    assert run.loss == before
    assert "the parameters of step 30 are kept" in str(run.note)


@pytest.mark.parametrize("method", [m for m in META if {"meta_lr", "inner_lr"} <= set(hyperparameters(ALGORITHMS[m]))])
def test_diverged_meta_names_its_rates(method: str) -> None:
    run = trained(method, inner_lr=500.0, meta_lr=1e4, outer="sgd", inner_steps=3, steps=400)
    assert run.stopped == "diverged"
    assert "a smaller inner_lr or meta_lr usually helps" in str(run.note)
    assert np.isfinite(run.loss) or run.iteration == 0


def test_what_counts_as_exploded() -> None:
    assert reasons([1.0, EXPLODED, EXPLODED * 1.01]) == ("diverged", 2)
    assert reasons([1e-9, 1e7, 1.01 * EXPLODED]) == ("diverged", 2)
    assert reasons([10.0, 9.9 * EXPLODED, 10.1 * EXPLODED]) == ("diverged", 2)
    assert reasons([1.0, -2 * EXPLODED]) == ("diverged", 1)
    assert reasons([1.0, np.nan]) == ("diverged", 1)
    assert reasons([np.nan]) == ("diverged", 0)
    assert reasons([np.inf]) == ("diverged", 0)
    assert reasons([1.0, 1.0], norms=[1.0, np.inf]) == ("diverged", 1)
    assert reasons([1.0, np.nan], loss_below=5.0, steps=1)[0] == "loss-below"  # at row 0 already
    assert reasons([9.0, np.nan], loss_below=5.0, steps=1) == ("diverged", 1)


def test_diverging_by_hand_warns_of_nothing() -> None:
    """Steps taken without a driver hold their tongue too: pytest makes any warning an error."""

    def loss(x):  # type: ignore[no-untyped-def]
        return np.exp(x * x)

    run = mg.prepare("gd", loss=loss, params={"x": 1.0}, lr=1e6)
    run.step(3)
    assert run.stopped == "diverged"
    assert run.replay().stopped == "diverged"


class Mute(Exception):
    """An error that cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Unheard(BaseException):
    """What no ``except Exception`` sees."""


@pytest.mark.parametrize("driver", [drive, foreground])
@pytest.mark.parametrize("late", [0, 5])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (Unheard("gone"), "Unheard: gone"),
        (asyncio.CancelledError(), "CancelledError"),
        (Mute(), "Mute"),
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (ValueError(f"{'x' * 80} {'y' * 900}"), f"ValueError: {'x' * 80} …"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_a_loss_raises_ends_the_run(driver: Any, late: int, error: BaseException, told: str) -> None:
    def gradient(w):  # type: ignore[no-untyped-def]
        calls.append(w)
        if len(calls) > late:
            raise error
        return 2 * w

    calls: list[float] = []
    run = mg.prepare("gd", loss=lambda w: w**2, gradient=gradient, params={"w": 1.0}, check=False)
    if driver is foreground:  # a blocking call raises
        with pytest.raises(type(error)) as raised:
            driver(run)
        assert raised.value is error
        assert raised.value.run is run  # type: ignore[attr-defined]
    else:
        driver(run)
    assert (run.stopped, run.loop.running, run.loop.error) == ("failed", False, error)
    assert run.note == f"failed at step {late}: {told}"
    assert len(run.record) == late


@pytest.mark.parametrize("late", [0, 5])
def test_an_interrupt_that_the_loss_raises_stops_the_run(late: int) -> None:
    def gradient(w):  # type: ignore[no-untyped-def]
        calls.append(w)
        if len(calls) > late:
            raise KeyboardInterrupt
        return 2 * w

    calls: list[float] = []
    run = foreground(mg.prepare("gd", loss=lambda w: w**2, gradient=gradient, params={"w": 1.0}, check=False))
    assert (run.stopped, run.loop.running, len(run.record)) == ("interrupted", False, late)


def test_a_driver_that_is_closed_interrupts_its_run() -> None:
    """A browser kernel's event loop may cancel the task that trains."""

    async def cancelled() -> None:
        task = asyncio.ensure_future(drive_async(run))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])

    run = mg.prepare("gd", loss=lambda w: w**2, params={"w": 1.0}, steps=10**9)
    asyncio.run(cancelled())
    assert (run.stopped, run.loop.running) == ("interrupted", False)


def test_a_loss_that_raises_under_way() -> None:
    def loss(x):  # type: ignore[no-untyped-def]
        if abs(x) < 0.5:
            raise RuntimeError("no further")
        return x * x

    with pytest.raises(RuntimeError, match="no further") as raised:
        mg.train("gd", loss=loss, params={"x": 1.0}, lr=0.1, steps=100)
    run = raised.value.run  # type: ignore[attr-defined]
    assert run.stopped == "failed"
    assert isinstance(run.loop.error, RuntimeError)
    assert run.loss == run.record["loss"][-1]
    assert run.iteration == len(run.record) - 1
    assert run.note == f"failed at step {run.iteration + 1}: RuntimeError: no further"
