"""The run: stepping, what a person may ask, waiting, threads, frames, stops, replay."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from cases import EXTRA, arguments, fitting
from patience import best_of_three

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.training.drivers import TURN, background, drive, drive_async, foreground
from metagd_nb.training.pacing import ALLOWANCE
from metagd_nb.training.run import Run

FOREVER = 10**8
STEPS = 40


def parabola(w: Any) -> Any:
    return (w - 3.0) ** 2


def descent(method: str = "gd", **options: Any) -> Run:
    """A run on (w − 3)² from w = 0, not started: with rate η the error shrinks by 1 − 2η a step."""
    return mg.prepare(method, loss=parabola, params={"w": 0.0}, **options)


def meta(method: str = "maml", **options: Any) -> Run:
    """A small run over sampled tasks, not started."""
    small = {"inner_lr": 0.01, "meta_lr": 0.01, "meta_batch_size": 4} | EXTRA.get(method, {})
    return mg.prepare(method, **(arguments(method) | fitting(method, small) | {"steps": STEPS} | options))


def any_run(method: str, **options: Any) -> Run:
    return (meta if mg.ALGORITHMS[method].setting == "meta" else descent)(method, **options)


def until(true: Callable[[], Any], seconds: float = 10) -> None:
    """Wait for what a thread does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


@pytest.fixture
def going() -> Iterator[Callable[..., Run]]:
    """Starts runs in the background and ends them after the test."""
    runs: list[Run] = []

    def start(run: Run, frame: Any = None) -> Run:
        runs.append(run)
        return background(run, frame)

    yield start
    for run in runs:
        run.loop.request("stop")
    until(lambda: not any(run.loop.running for run in runs))


@contextmanager
def interrupted(begun: Callable[[], bool]) -> Iterator[None]:
    """Send the signal of a notebook's stop button to the main thread, a little after the training has begun."""

    def signal_main_thread() -> None:
        until(begun)
        time.sleep(0.15)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=signal_main_thread, daemon=True)
    sender.start()
    try:
        yield
    finally:
        sender.join()


def trains_in_a_thread() -> bool:
    return any(thread.name == "metagd" for thread in threading.enumerate())


class Frames:
    """A display that remembers how things stood, and takes its time."""

    def __init__(self, run: Run, cost: float = 0.0) -> None:
        self.run, self.cost = run, cost
        self.seen: list[tuple[int, bool, bool]] = []  # step, paused, final
        self.threads: set[threading.Thread] = set()
        self.made, self.at, self.first = time.perf_counter(), list[float](), 0.0

    def frame(self, final: bool = False) -> None:
        self.threads.add(threading.current_thread())
        self.seen.append((self.run.iteration, self.run.loop.paused, final))
        self.at.append(time.perf_counter())
        time.sleep(self.cost if len(self.at) > 1 else max(self.cost, self.first))


# ---- stepping -------------------------------------------------------------------------------------------------


def test_rows_stand_before_their_update() -> None:
    run = descent(lr=0.25, steps=3)
    drive(run)
    np.testing.assert_allclose(run.record["loss"], 9 * 0.25 ** np.arange(4))
    np.testing.assert_allclose(run.record["grad_norm"], 6 * 0.5 ** np.arange(4))
    assert run.record["step"].tolist() == [0, 1, 2, 3]
    assert run.record["grad_evals"].tolist() == [1, 2, 3, 4]
    assert run.stopped == "steps"
    assert run.iteration == 3
    assert run.loss == run.record["loss"][-1] == parabola(run.params["w"])


def test_counts_of_a_meta_run() -> None:
    run = meta("maml", inner_steps=2, steps=3)
    drive(run)
    assert run.record["grad_evals"].tolist() == [12, 24, 36, 48]  # 4 tasks × (2 steps + 1 query)
    assert run.record["hvps"].tolist() == [8, 16, 24, 32]


def test_no_steps_is_one_row() -> None:
    run = drive(descent(steps=0))
    assert (len(run.record), run.stopped, run.iteration) == (1, "steps", 0)


def test_reading_does_not_give_the_state_away() -> None:
    run = drive(descent(steps=3))
    run.params["w"][...] = 99.0
    assert run.params["w"] < 3
    assert run.loop.peek()["params"]["w"] < 3


@pytest.mark.parametrize("method", mg.ALGORITHMS)
def test_same_seed_same_record(method: str) -> None:
    one, two = (drive(any_run(method, seed=5, steps=10)) for _ in range(2))
    for column in one.record.columns:
        if column != "seconds":
            np.testing.assert_array_equal(one.record[column], two.record[column], err_msg=column)


def test_a_seed_matters_to_what_is_sampled() -> None:
    one, two = (drive(meta(seed=seed, steps=2)) for seed in (0, 1))
    assert one.record["loss"][1] != two.record["loss"][1]


def test_repr_has_neither_times_nor_addresses() -> None:
    run = descent(steps=4, lr=0.25)
    assert repr(run) == "metagd gd: not started"
    drive(run)
    assert repr(run) == "metagd gd: lr=0.25\ntrained: w ()\nall steps done after 4 steps\nloss 9 → 0.0351562"


# ---- what a person may ask ------------------------------------------------------------------------------------


def test_pause_freezes_and_resume_continues(going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER))
    run.pause()
    assert run.loop.paused
    here = run.iteration
    time.sleep(0.1)
    assert run.iteration == here == int(run.record.last("step"))
    run.resume()
    assert not run.loop.paused
    until(lambda: run.iteration > here)
    assert [(e.kind, e.step) for e in run.events] == [("pause", here), ("resume", here)]


def test_step_does_just_that_many(going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER))
    run.pause()
    here = run.iteration
    run.step()
    assert run.iteration == here + 1
    run.step(5)
    assert run.iteration == here + 6
    assert run.loop.paused
    assert [(e.kind, e.value) for e in run.events] == [("pause", None), ("step", 1), ("step", 5)]


def test_step_holds_a_run_that_goes_on(going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER))
    run.step(3)
    here = run.iteration
    assert here == run.events[0].step + 3
    time.sleep(0.05)
    assert run.iteration == here


def test_step_ends_at_the_end(going: Callable[..., Run]) -> None:
    run = descent(steps=5)
    run.pause()
    going(run)
    run.step(100)
    assert (run.iteration, run.stopped) == (5, "steps")


def test_stop_returns_when_it_has_stopped(going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER))
    run.stop()
    assert run.stopped == "user"
    here = run.iteration
    until(lambda: not run.loop.running)
    assert run.iteration == here
    assert run.events[-1][:2] == (here, "stop")
    run.stop()  # nothing happens to one that has ended
    assert len(run.events) == 1


def test_stop_while_paused(going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER))
    run.pause()
    run.stop()
    until(lambda: not run.loop.running)
    assert run.stopped == "user"


def test_set_counts_from_the_next_update(going: Callable[..., Run]) -> None:
    run = descent(lr=0.25, steps=4)
    run.pause()
    going(run)
    run.step(2)
    run.set(lr=0.5)
    assert run.rates == {"lr": 0.5}
    run.step(2)
    np.testing.assert_allclose(run.record["loss"], [9, 9 / 4, 9 / 16, 0, 0], atol=1e-30)
    np.testing.assert_array_equal(run.record["lr"], [0.25, 0.25, 0.25, 0.5, 0.5])
    assert run.events[-2] == (2, "set", {"lr": 0.5})


def test_set_of_an_inner_rate(going: Callable[..., Run]) -> None:
    run = going(meta(steps=FOREVER))
    run.set(inner_lr=0.02, meta_lr=0.005)
    assert run.rates["inner_lr"] == 0.02
    until(lambda: run.record.last("inner_lr") == 0.02)
    assert run.loop.algorithm.meta_lr == 0.005


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lr": -1.0}, "lr: -1.0 is not allowed"),
        ({"lr": float("nan")}, "lr: nan is not allowed"),
        ({"lr": "0.1"}, "lr: '0.1' is not allowed"),
        ({"rl": 0.1}, "unknown rate 'rl'; did you mean 'lr'?"),
        ({"steps": 3}, "unknown rate 'steps'"),
    ],
)
def test_set_refuses_at_once(changed: dict[str, Any], words: str, going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER))
    with pytest.raises(MetagdError) as caught:
        run.set(**changed)
    assert words in str(caught.value)
    with pytest.raises(MetagdError):
        run.loop.request("set", changed)
    assert run.events == []
    assert run.stopped is None


def test_unknown_request() -> None:
    with pytest.raises(MetagdError, match="unknown request 'paus'; did you mean 'pause'"):
        descent().loop.request("paus")


def test_nothing_can_be_asked_of_what_has_ended() -> None:
    run = drive(descent(steps=2))
    for ask in (run.pause, run.resume, run.step, lambda: run.set(lr=0.5)):
        with pytest.raises(MetagdError, match=r"has ended \(steps\)"):
            ask()
    assert run.events == []


def test_a_request_returns_at_once_and_in_order(going: Callable[..., Run]) -> None:
    gate = threading.Event()

    class Gate(Frames):
        def frame(self, final: bool = False) -> None:
            gate.wait(10)

    run = descent(steps=FOREVER)
    going(run, Gate(run))
    start = time.perf_counter()
    for kind, value in (("pause", None), ("set", {"lr": 0.2}), ("step", 2), ("resume", None), ("stop", None)):
        run.loop.request(kind, value)
    assert time.perf_counter() - start < 1  # the driver is held up for ten
    assert run.events == []  # nobody could obey yet
    assert run.loop.requests.pending
    gate.set()
    until(lambda: run.stopped)
    assert [e.kind for e in run.events] == ["pause", "set", "step", "resume", "stop"]


def test_requests_from_many_threads(going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER))
    threads = [threading.Thread(target=lambda i=i: run.set(lr=0.1 + i / 100)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(run.events) == 8
    assert [e.step for e in run.events] == sorted(e.step for e in run.events)
    assert run.rates["lr"] == run.events[-1].value["lr"]


@pytest.mark.parametrize("kind", ["resume", "step", "stop"])
def test_a_wish_while_the_pause_is_drawn_is_not_lost(kind: str, going: Callable[..., Run]) -> None:
    class Impatient(Frames):
        def frame(self, final: bool = False) -> None:
            if self.run.loop.paused and len(self.run.events) == 1:
                self.run.loop.request(kind)

    run = descent(steps=FOREVER)
    going(run, Impatient(run))
    run.loop.request("pause")
    until(lambda: len(run.events) == 2, 2)
    here = run.events[1].step
    until(lambda: not run.loop.running if kind == "stop" else run.iteration > here, 2)


def test_a_run_that_nobody_drives_obeys_at_once() -> None:
    run = descent(lr=0.25, steps=10)
    run.step(2)
    assert run.iteration == 2
    run.set(lr=0.5)
    run.step()
    assert run.loss == 0
    run.stop()
    assert run.stopped == "user"


# ---- waiting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        lambda run: run.params,
        lambda run: run.loss,
        lambda run: run.adapt(np.zeros((3, 1)), np.zeros((3, 1))),
        lambda run: run.evaluate(n_tasks=4),
        lambda run: run.replay(),
        lambda run: run.wait(),
        lambda run: run.learned,
    ],
    ids=["params", "loss", "adapt", "evaluate", "replay", "wait", "learned"],
)
def test_a_result_waits(read: Callable[[Run], Any], going: Callable[..., Run]) -> None:
    run = going(meta(steps=300))
    assert run.stopped is None
    read(run)
    assert run.stopped == "steps"


@pytest.mark.parametrize(
    "read",
    [
        repr,
        lambda run: run.stopped,
        lambda run: run.events,
        lambda run: run.record["loss"],
        lambda run: run.loop.peek(),
        lambda run: run.rates,
        lambda run: run.plot(),
    ],
    ids=["repr", "stopped", "events", "record", "peek", "rates", "plot"],
)
def test_what_never_waits(read: Callable[[Run], Any], going: Callable[..., Run]) -> None:
    run = going(meta(steps=FOREVER))
    until(lambda: len(run.record))
    read(run)
    assert run.stopped is None


def test_a_paused_run_gives_its_present_state_and_says_so(
    going: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = going(descent(steps=FOREVER))
    run.pause()
    assert run.loss == run.record.last("loss")
    assert caplog.messages == [f"metagd: paused at step {run.iteration}; loss as of now"]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_run_is_saved_not_pickled(copied: Callable[[Run], Any]) -> None:
    run = mg.train("gd", loss=lambda w: w**2, params={"w": 1.0}, steps=2)
    with pytest.raises(MetagdError, match=r"^a run cannot be pickled or copied; run\.save\(path\) stores it, and"):
        copied(run)


def test_waiting_is_counted(going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER))
    waiter = threading.Thread(target=run.wait)
    waiter.start()
    until(lambda: run.loop.waiting == 1)
    run.stop()
    waiter.join(5)
    assert run.loop.waiting == 0


def test_a_reader_is_let_go_by_a_pause(going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER))
    waiter = threading.Thread(target=run.wait)
    waiter.start()
    until(lambda: run.loop.waiting == 1)
    run.loop.request("pause")
    waiter.join(5)
    assert not waiter.is_alive()
    assert run.stopped is None


def test_a_reader_after_a_wish_to_resume_waits_for_the_end(going: Callable[..., Run]) -> None:
    gate = threading.Event()

    class Gate(Frames):
        def frame(self, final: bool = False) -> None:
            if self.run.loop.paused:
                gate.wait(10)

    run = descent(steps=2000)
    going(run, Gate(run))
    run.loop.request("pause")
    until(lambda: run.loop.idle)
    run.loop.request("resume")  # what a click does: the driver has not seen it yet
    waiter = threading.Thread(target=run.wait, daemon=True)
    waiter.start()
    time.sleep(0.05)
    assert waiter.is_alive()
    gate.set()
    waiter.join(5)
    assert run.stopped == "steps"


def test_an_interrupt_of_a_waiting_reader_stops_the_run(going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER, lr=1e-9))
    with interrupted(lambda: run.loop.waiting > 0):
        loss = run.loss
    assert run.stopped == "interrupted"
    assert not run.loop.running
    assert run.loop.waiting == 0
    assert loss == run.record.last("loss") == parabola(run.params["w"])
    assert run.events[-1] == (run.iteration, "stop", "interrupted")


def test_an_interrupt_of_a_blocking_run() -> None:
    with interrupted(trains_in_a_thread):
        run = mg.train("gd", loss=parabola, params={"w": 0.0}, steps=FOREVER, lr=1e-9)
    assert run.stopped == "interrupted"
    assert run.loss == run.record.last("loss")


def test_an_interrupt_of_a_driven_loop() -> None:
    run = descent(steps=FOREVER, lr=1e-9)
    with interrupted(lambda: run.loop.running):
        drive(run)
    assert run.stopped == "interrupted"
    assert run.loss == run.record.last("loss") == parabola(run.params["w"])


def test_an_interrupt_of_a_cell_that_steps(going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER, lr=1e-9))
    with interrupted(lambda: run.loop.steps_requested > 0), suppress(KeyboardInterrupt):
        run.step(FOREVER)
    assert run.stopped == "interrupted"


# ---- threads --------------------------------------------------------------------------------------------------


def test_background_returns_at_once() -> None:
    def slow(w: Any) -> Any:
        time.sleep(0.05)
        return parabola(w)

    start = time.perf_counter()
    run = mg.start("gd", loss=slow, params={"w": 0.0}, steps=FOREVER)
    assert time.perf_counter() - start < 1
    assert run.loop.running
    run.stop()
    until(lambda: not run.loop.running)


def test_the_thread_ends_with_the_run() -> None:
    before = threading.active_count()
    for _ in range(5):
        background(descent(steps=3)).wait()
    until(lambda: threading.active_count() <= before)


def test_a_snapshot_belongs_together(going: Callable[..., Run]) -> None:
    run = going(descent(steps=FOREVER, lr=1e-6))
    for _ in range(2000):
        seen = run.loop.peek()
        if seen["step"] >= 0:
            assert seen["loss"] == pytest.approx(parabola(seen["params"]["w"]), rel=1e-12)


def test_two_runs_do_not_cross(going: Callable[..., Run]) -> None:
    one, two = going(descent(steps=FOREVER, lr=1e-6)), going(descent(steps=FOREVER, lr=1e-6))
    one.set(lr=1e-7)
    one.pause()
    here = two.iteration
    until(lambda: two.iteration > here)
    assert two.events == []
    assert two.rates["lr"] == 1e-6
    two.stop()
    assert one.stopped is None


def test_training_is_the_same_in_every_driver() -> None:
    runs = [drive(meta()), foreground(meta()), background(meta()).wait()]
    runs.append(asyncio.run(drive_async(meta())))
    for run in runs[1:]:
        np.testing.assert_array_equal(run.record["loss"], runs[0].record["loss"])


def test_an_event_loop_stays_alive() -> None:
    async def main() -> tuple[Run, int]:
        run, ticks = descent(steps=FOREVER), 0
        task = asyncio.ensure_future(drive_async(run))
        until_then = time.monotonic() + 0.5
        while time.monotonic() < until_then:
            await asyncio.sleep(0.005)
            ticks += 1
        run.loop.request("pause")
        await asyncio.sleep(0.1)
        assert run.loop.paused
        run.loop.request("stop")
        await task
        return run, ticks

    run, ticks = asyncio.run(main())
    assert ticks >= 5
    assert run.stopped == "user"
    assert not run.loop.running


# ---- frames ---------------------------------------------------------------------------------------------------


def test_frames_at_the_start_at_events_and_at_the_end(going: Callable[..., Run]) -> None:
    run = descent(steps=FOREVER)
    frames = Frames(run)
    going(run, frames)
    until(lambda: frames.seen)
    run.pause()
    paused = run.iteration
    until(lambda: (paused, True, False) in frames.seen)
    time.sleep(0.02)
    run.loop.request("step")
    until(lambda: (paused + 1, True, False) in frames.seen)
    time.sleep(0.02)
    run.loop.request("stop")
    until(lambda: not run.loop.running)
    assert frames.seen[0][1:] == (False, False)
    assert [final for *_, final in frames.seen].count(True) == 1
    assert frames.seen[-1] == (run.iteration, True, True)
    assert threading.current_thread() not in frames.threads
    assert len(frames.threads) == 1


@pytest.mark.slow
@best_of_three
def test_drawing_takes_its_share_and_no_more() -> None:
    cost = 0.01
    run = descent(steps=FOREVER, seconds=4.0, lr=1e-9)
    frames = Frames(run, cost)
    start = time.perf_counter()
    drive(run, frames)
    took = time.perf_counter() - start
    drawn = cost * len(frames.seen)
    assert drawn < 0.06 * took + ALLOWANCE
    assert drawn > 0.02 * took


def test_a_run_moves_at_once() -> None:
    run = descent(steps=FOREVER, seconds=0.6, lr=1e-9)
    frames = Frames(run, 0.02)
    drive(run, frames)
    assert len(frames.seen) >= 5


@pytest.mark.slow
@pytest.mark.parametrize(("cost", "least"), [(0.01, 14), (0.03, 8), (0.06, 4)])
@best_of_three
def test_the_first_seconds_do_not_stall(cost: float, least: int) -> None:
    """Frames grow rarer little by little; a dear first one, which lays out everything, is not held against the rest."""
    run = descent(steps=FOREVER, seconds=3.0, lr=1e-9)
    frames = Frames(run, cost)
    frames.first = 0.15
    drive(run, frames)
    gaps = np.diff(frames.at[:-1])  # the final one comes when it must
    assert frames.at[0] - frames.made < 0.25
    assert len(frames.at) > least
    assert gaps.max() < 0.3 + 12 * cost
    assert cost * len(frames.at) < 0.06 * 3.0 + ALLOWANCE + 2 * cost


def test_a_slow_step_is_shown_as_soon_as_it_is_done() -> None:
    def slow(w: Any) -> Any:
        time.sleep(0.1)
        return 2 * (w - 3.0)

    run = mg.prepare("gd", loss=parabola, params={"w": 0.0}, gradient=slow, check=False, steps=2)
    frames = Frames(run)
    drive(run, frames)
    assert [step for step, *_ in frames.seen] == [0, 1, 2]


def test_while_one_run_draws_the_others_stand_aside(going: Callable[..., Run]) -> None:
    """Threads take turns of 5 ms: a frame of 30 would take several times as long, and each run would seem to stall."""

    class Watching(Frames):
        def frame(self, final: bool = False) -> None:
            before = other.iteration
            super().frame(final)
            moved.append(other.iteration - before)

    moved: list[int] = []
    other = going(descent(steps=FOREVER, lr=1e-9))
    run = descent(steps=FOREVER, seconds=0.5, lr=1e-9)
    start = other.iteration
    drive(run, Watching(run, 0.03))
    assert len(moved) >= 2
    assert max(moved) <= 1  # the step that was under way
    assert other.iteration > start + 50


def test_a_display_that_hangs_does_not_hold_up_other_runs(going: Callable[..., Run]) -> None:
    class Hanging(Frames):
        def frame(self, final: bool = False) -> None:
            begun.set()
            let_go.wait(10)

    begun, let_go = threading.Event(), threading.Event()
    run = descent(steps=FOREVER, seconds=0.2)
    going(run, Hanging(run))
    assert begun.wait(5)
    other = going(descent(steps=FOREVER, lr=1e-9))
    until(lambda: other.iteration >= 3)
    let_go.set()


@pytest.mark.slow
@best_of_three
def test_two_runs_share_the_time_for_drawing(going: Callable[..., Run]) -> None:
    cost, runs = 0.01, [descent(steps=FOREVER, lr=1e-9, seed=seed) for seed in range(2)]
    frames = [Frames(run, cost) for run in runs]
    for run, frame in zip(runs, frames, strict=True):
        going(run, frame)
    time.sleep(4)
    for run in runs:
        run.loop.request("stop")
    until(lambda: not any(run.loop.running for run in runs))
    drawn = [cost * len(frame.at) for frame in frames]
    assert sum(drawn) < 0.06 * 4 + 2 * ALLOWANCE
    assert min(drawn) > 0.02
    assert all(np.diff(frame.at).max() < 1.0 for frame in frames)


@pytest.mark.slow
@best_of_three
def test_time_at_rest_earns_no_drawing(going: Callable[..., Run]) -> None:
    run = descent(steps=FOREVER, lr=1e-9)
    frames = Frames(run, 0.04)
    going(run, frames)
    time.sleep(1)
    run.pause()
    time.sleep(2)
    run.resume()
    before = len(frames.seen)
    time.sleep(1)
    run.stop()
    assert 0.04 * (len(frames.seen) - before - 2) < 0.15  # of the second since


def test_drawing_and_pauses_are_not_training_time(going: Callable[..., Run]) -> None:
    run = descent(steps=FOREVER)
    start = time.perf_counter()
    going(run, Frames(run, 0.05))
    run.pause()
    time.sleep(0.3)
    run.resume()
    run.stop()
    took = time.perf_counter() - start
    assert 0 < run.record.last("seconds") < took - 0.3


def test_a_broken_frame_does_not_cost_the_training() -> None:
    class Broken(Frames):
        def frame(self, final: bool = False) -> None:
            super().frame(final)
            raise ValueError("no ink")

    run = descent(steps=20)
    frames = Broken(run)
    drive(run, frames)
    assert (run.stopped, run.iteration, len(frames.seen)) == ("steps", 20, 1)
    assert run.note == "the plot stopped (ValueError: no ink); training went on"


# ---- stops ----------------------------------------------------------------------------------------------------


def test_loss_below() -> None:
    run = drive(descent(lr=0.25, steps=FOREVER, loss_below=0.1))
    assert run.stopped == "loss-below"
    assert run.record["loss"][-1] < 0.1 <= run.record["loss"][-2]


def test_loss_below_at_the_start_takes_no_step() -> None:
    run = drive(descent(loss_below=10.0))
    assert (run.stopped, run.iteration) == ("loss-below", 0)


def test_grad_below() -> None:
    run = drive(descent(lr=0.25, steps=FOREVER, grad_below=0.1))
    assert run.stopped == "grad-below"
    assert run.record["grad_norm"][-1] < 0.1 <= run.record["grad_norm"][-2]


def test_a_sampled_loss_is_compared_as_the_mean_of_twenty() -> None:
    run = drive(meta(steps=2000, loss_below=3.5, seed=1))
    assert run.stopped == "loss-below"
    losses = run.record["loss"]
    means = np.convolve(losses, np.ones(20) / 20, "valid")
    assert means[-1] < 3.5
    assert (means[:-1] >= 3.5).all()


def test_a_full_batch_of_tasks_is_compared_as_it_is() -> None:
    tasks = mg.quadratics([1.0, 3.0], [[0.0], [1.0]])
    run = mg.train("maml", tasks=tasks, inner_lr=0.1, meta_lr=0.1, outer="sgd", steps=FOREVER, loss_below=0.3)
    assert run.stopped == "loss-below"
    losses = run.record["loss"]
    assert losses[-1] < 0.3
    assert (losses[:-1] >= 0.3).all()


def test_patience() -> None:
    run = drive(descent(lr=0.5, steps=FOREVER, patience=7))  # at the optimum after one step
    assert (run.stopped, run.iteration) == ("patience", 8)


def test_seconds() -> None:
    run = drive(descent(steps=FOREVER, seconds=0.2))
    assert run.stopped == "seconds"
    assert 0.2 <= run.record.last("seconds") < 0.4


@pytest.mark.parametrize("lr", [1.2, 50.0])
def test_diverged_keeps_the_best_and_says_what_helps(lr: float) -> None:
    run = drive(descent(lr=lr, steps=FOREVER))
    assert run.stopped == "diverged"
    assert run.loss == 9.0 == run.record["loss"].min()
    assert run.params["w"] == 0.0
    step = int(run.record.last("step"))
    assert run.note is not None
    assert run.note.startswith(f"diverged at step {step} (loss ")
    assert run.note.endswith("the parameters of step 0 are kept; a smaller lr usually helps")
    assert "\n" not in run.note


def test_nan_under_way() -> None:
    run = drive(mg.prepare("gd", loss=lambda w: np.sqrt(w), params={"w": 1.0}, lr=10.0))
    assert run.stopped == "diverged"
    assert len(run.record) == 2
    assert (run.loss, run.params["w"]) == (1.0, 1.0)


def test_a_loss_that_fails_under_way() -> None:
    def moody(w: Any) -> Any:
        if moody.calls > 6:  # type: ignore[attr-defined]
            raise RuntimeError("enough")
        moody.calls += 1  # type: ignore[attr-defined]
        return parabola(w)

    moody.calls = 0  # type: ignore[attr-defined]
    run = drive(mg.prepare("gd", loss=moody, params={"w": 0.0}, gradient=lambda w: 2 * (w - 3.0), check=False))
    assert run.stopped == "failed"
    assert isinstance(run.loop.error, RuntimeError)
    assert run.note is not None
    assert "RuntimeError: enough" in run.note
    assert run.loss == run.record.last("loss")


# ---- replay ---------------------------------------------------------------------------------------------------


def same(run: Run, again: Run) -> None:
    """All but the clock, to the bit."""
    assert len(run.record) == len(again.record)
    for column in run.record.columns:
        if column != "seconds":
            np.testing.assert_array_equal(run.record[column], again.record[column], err_msg=column)
    for name, value in run.params.items():
        np.testing.assert_array_equal(value, again.params[name])
    assert (again.stopped, again.events, again.note, repr(again)) == (run.stopped, run.events, run.note, repr(run))


@pytest.mark.parametrize("method", [method for method in mg.ALGORITHMS if method != "lbfgs"])  # it soon ends by itself
def test_replay_with_interventions(method: str, going: Callable[..., Run]) -> None:
    run = any_run(method, steps=FOREVER)
    run.pause()
    going(run)
    run.step(5)
    name = next(iter(run.rates))
    run.set(**{name: run.rates[name] * 0.5})
    run.step(3)
    run.set(**{name: run.rates[name] * 2})  # where it was: allowed for any rate
    run.resume()
    run.loop.request("set", {name: 0.003})
    until(lambda: run.iteration > 12)
    run.stop()
    until(lambda: not run.loop.running)
    same(run, run.replay())
    same(run, run.replay().replay())


@pytest.mark.parametrize(
    "options",
    [{"steps": 20}, {"loss_below": 0.1}, {"lr": 1.5}, {"patience": 3, "lr": 0.5}],
    ids=lambda o: next(iter(o)),
)
def test_replay_of_a_run_that_ended_by_itself(options: dict[str, Any]) -> None:
    run = drive(descent(**options))
    same(run, run.replay())


def test_replay_on_a_slower_day() -> None:
    slow = threading.Event()

    def loss(w: Any) -> Any:
        if slow.is_set():
            time.sleep(0.01)
        return parabola(w)

    run = mg.train("gd", loss=loss, params={"w": 0.0}, gradient=lambda w: 2 * (w - 3.0), check=False, steps=FOREVER,
                   seconds=0.02, lr=1e-6)  # fmt: skip
    assert run.stopped == "seconds"
    run.record._n = min(len(run.record), 50)  # a longer one would only take longer
    slow.set()
    again = run.replay()
    assert len(again.record) == len(run.record)
    assert again.stopped == "seconds"


def test_replay_leaves_the_run_as_it_is() -> None:
    run = drive(descent(steps=5))
    before = run.record["loss"]
    run.replay()
    np.testing.assert_array_equal(run.record["loss"], before)
    assert len(run.record) == 6


def test_threads_take_short_turns_while_a_run_trains(going: Callable[..., Run]) -> None:
    own = sys.getswitchinterval()
    one, two = going(descent(steps=FOREVER, lr=1e-6)), going(descent(steps=FOREVER, lr=1e-6))
    until(lambda: one.iteration > 0 < two.iteration)
    assert sys.getswitchinterval() == pytest.approx(min(own, TURN))
    one.stop()
    one.wait()
    assert sys.getswitchinterval() == pytest.approx(min(own, TURN))
    two.stop()
    two.wait()
    until(lambda: sys.getswitchinterval() == pytest.approx(own))
