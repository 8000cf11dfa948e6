"""The widgets of a run: traits and handlers, without a browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets
import numpy as np
import pytest
from cases import EXTRA, arguments
from ipywidgets.widgets.widget import _instances

import metagd_nb as mg
from metagd_nb.core.hyperparameters import hyperparameters
from metagd_nb.notebook.controls import Controls
from metagd_nb.notebook.widgets import hears_clicks, lasting, span, unpin
from metagd_nb.training.drivers import background, drive


def descent(method: str = "gd", steps: int = 50, **options: Any) -> Any:
    """A small run that has not started."""
    return mg.prepare(method, loss=lambda w: (w - 3.0) ** 2, params={"w": 0.0}, steps=steps, **options)


@pytest.fixture(autouse=True)
def no_widget_left() -> Iterator[None]:
    """Every test closes what it opened; a widget left is a leak in the kernel and in the page."""
    before = set(_instances)
    yield
    assert set(_instances) == before


@pytest.fixture
def made() -> Iterator[Callable[..., Controls]]:
    """Makes controls that are closed after the test."""
    all_of_them: list[Controls] = []

    def make(run: Any, **options: Any) -> Controls:
        controls = Controls(run, **options)
        controls._next = 0.0
        all_of_them.append(controls)
        return controls

    yield make
    for controls in all_of_them:
        controls.close()


def settled(run: Any, controls: Controls) -> None:
    """What a driver does between two steps, then a frame."""
    run.loop.handle_requests()
    controls.frame()


def click(button: Any) -> None:
    """What the kernel does when the message of a click arrives."""
    button._handle_button_msg(button, {"event": "click"}, [])


def drag(slider: Any, value: float) -> None:
    """What the kernel does when the message of a slider arrives."""
    slider.set_state({"value": value})


# ---- buttons --------------------------------------------------------------------------------------------------


def test_pause_and_resume_are_one_button(made: Callable[..., Controls]) -> None:
    run = descent()
    controls = made(run)
    assert (controls.pause.description, controls.pause.icon) == ("Pause", "pause")
    click(controls.pause)
    assert run.loop.requests.pending
    assert not run.loop.paused  # only asked for: the callback does nothing itself
    settled(run, controls)
    assert run.loop.paused
    assert (controls.pause.description, controls.pause.icon) == ("Resume", "play")
    assert "paused" in controls.progress.value
    click(controls.pause)
    settled(run, controls)
    assert not run.loop.paused
    assert controls.pause.description == "Pause"
    assert "paused" not in controls.progress.value
    assert [event.kind for event in run.events] == ["pause", "resume"]


def test_the_first_button_means_what_it_said_when_it_was_pressed(made: Callable[..., Controls]) -> None:
    run = descent()
    controls = made(run)
    click(controls.pause)
    run.loop.handle_requests()  # paused, but the frame that says Resume has not been drawn
    click(controls.pause)
    settled(run, controls)
    assert run.loop.paused


def test_step_holds_and_does_one(made: Callable[..., Controls]) -> None:
    run = descent()
    controls = made(run)
    click(controls.step)
    settled(run, controls)
    assert run.loop.paused
    run.loop.advance()
    assert run.loop.idle
    controls.frame()
    assert controls.bar.value == 1
    assert "1 of 50 steps" in controls.progress.value


def test_stop(made: Callable[..., Controls]) -> None:
    run = descent()
    controls = made(run, leave=False)
    click(controls.stop)
    run.loop.handle_requests()
    assert run.stopped == "user"
    controls.frame(final=True)
    assert "stopped by hand" in controls.progress.value
    assert all(w.disabled for w in (controls.pause, controls.step, controls.stop, *controls.sliders.values()))


@pytest.mark.parametrize(("steps", "lr", "reason", "style"), [(5, 0.1, "steps", "success"), (500, 2, "div", "danger")])
def test_the_reason_it_stopped(made: Callable[..., Controls], steps: int, lr: float, reason: str, style: str) -> None:
    run = descent(steps=steps, lr=lr)
    controls = made(run, leave=False)
    drive(run, controls)
    assert run.stopped is not None
    assert run.stopped.startswith(reason)
    assert controls.bar.bar_style == style
    assert ("smaller lr" in controls.status.value) == (reason == "div")
    assert (controls.status.layout.display == "none") == (reason != "div")
    assert ("all steps done" in controls.progress.value) == (reason == "steps")


def test_every_control_says_what_it_does(made: Callable[..., Controls]) -> None:
    controls = made(descent("hd"))
    for widget in (controls.pause, controls.step, controls.stop, controls.bar, *controls.sliders.values()):
        assert widget.tooltip
    for widget in (controls.pause, controls.step, controls.stop, *controls.sliders.values()):
        assert widget.description


def test_a_callback_that_fails_is_seen(made: Callable[..., Controls], monkeypatch: pytest.MonkeyPatch) -> None:
    run = descent()
    controls = made(run)

    def broken(kind: str, value: Any = None) -> None:
        raise RuntimeError("no <such> thing")

    monkeypatch.setattr(run.loop, "request", broken)
    click(controls.stop)
    assert "RuntimeError: no &lt;such&gt; thing" in controls.status.value
    controls.frame()
    assert "RuntimeError" in controls.status.value  # a frame does not wipe it away
    assert controls.status.layout.display is None
    monkeypatch.undo()
    click(controls.pause)
    settled(run, controls)
    assert controls.status.value == ""


# ---- sliders --------------------------------------------------------------------------------------------------


def test_tiny_rates_are_written_short(made: Callable[..., Controls]) -> None:
    controls = made(descent("hd", hyper_lr=1e-6))
    assert [slider.readout_format for slider in controls.sliders.values()] == [".3g", ".1e"]


@pytest.mark.parametrize("method", mg.ALGORITHMS)
def test_sliders_come_from_the_declarations(method: str, made: Callable[..., Controls]) -> None:
    if mg.ALGORITHMS[method].setting == "meta":
        run = mg.prepare(method, **arguments(method), **EXTRA.get(method, {}))
    else:
        run = descent(method)
    controls = made(run)
    declared = {name: one for name, one in hyperparameters(run.loop.algorithm).items() if one.live}
    assert list(controls.sliders) == list(declared)
    for name, slider in controls.sliders.items():
        value = getattr(run.loop.algorithm, name)
        assert slider.value == pytest.approx(value)
        assert 10**slider.min <= value / 10
        assert 10**slider.max >= min(value * 10, declared[name].high or 1e9)
        assert declared[name].help in slider.tooltip
        assert not slider.continuous_update
        assert slider.step is None  # else the page rounds the number it shows


def test_a_slider_sets_its_rate(made: Callable[..., Controls]) -> None:
    run = descent()
    controls = made(run)
    drag(controls.sliders["lr"], 0.25)
    assert run.rates["lr"] == 0.1  # asked for, not done by the callback
    controls.frame()
    assert controls.sliders["lr"].value == 0.25  # and a frame meanwhile does not take it back
    settled(run, controls)
    assert run.rates["lr"] == 0.25
    assert run.events == [(0, "set", {"lr": 0.25})]
    run.loop.advance()
    assert run.record.last("lr") == 0.25
    controls.frame(final=False)
    drag(controls.sliders["lr"], 0.1)
    settled(run, controls)
    assert [event.value for event in run.events] == [{"lr": 0.25}, {"lr": 0.1}]


def test_a_frame_does_not_undo_a_drag_that_is_still_queued(made: Callable[..., Controls]) -> None:
    run = descent()
    controls = made(run)
    run.set(lr=0.2)  # no frame has shown this yet
    drag(controls.sliders["lr"], 0.3)
    controls.frame()
    assert controls.sliders["lr"].value == 0.3
    settled(run, controls)
    assert run.rates["lr"] == controls.sliders["lr"].value == 0.3


def test_a_rate_set_in_code_moves_the_slider_and_widens_it(made: Callable[..., Controls]) -> None:
    run = descent()
    controls = made(run)
    run.set(lr=500.0)
    controls.frame()
    assert controls.sliders["lr"].value == pytest.approx(500)
    assert controls.sliders["lr"].max == 3  # whole powers of ten: the value is not cut at the edge
    assert len(run.events) == 1  # no echo
    assert not run.loop.requests.pending


def test_a_rate_that_moves_by_itself_moves_its_slider_without_an_echo(
    made: Callable[..., Controls], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = descent("hd", lr=0.01, hyper_lr=1e-3)
    controls = made(run)
    slider = controls.sliders["lr"]
    clock = time.monotonic()
    for _ in range(8):
        run.loop.advance()
        clock += 2
        monkeypatch.setattr(time, "monotonic", lambda now=clock: now)
        controls.frame()
        assert slider.value == pytest.approx(run.rates["lr"], rel=0.01)
    assert slider.value > 0.02
    assert run.events == []
    assert not run.loop.requests.pending


def test_a_hand_on_a_slider_that_moves_by_itself(
    made: Callable[..., Controls], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It rests a second after each move, its own or a person's: to be moved under the mouse is to be lost."""
    run = descent("hd", lr=0.01, hyper_lr=1e-3)
    controls = made(run)
    slider = controls.sliders["lr"]
    run.loop.advance()
    drag(slider, 0.05)
    run.loop.handle_requests()
    for _ in range(3):
        run.loop.advance()
    controls.frame()
    assert run.rates["lr"] > 0.051
    assert slider.value == 0.05
    later = time.monotonic() + 2
    monkeypatch.setattr(time, "monotonic", lambda: later)
    controls.frame()
    assert slider.value == pytest.approx(run.rates["lr"])
    at = slider.value
    for _ in range(3):
        run.loop.advance()
    controls._next = 0.0
    controls.frame()
    assert abs(run.rates["lr"] / at - 1) > 0.01
    assert slider.value == at


def test_a_refused_value_is_told_and_the_slider_goes_back(made: Callable[..., Controls]) -> None:
    run = descent()
    controls = made(run)
    slider = controls.sliders["lr"]
    slider.max = 9
    drag(slider, 1e8)  # beyond what lr allows
    assert "lr" in controls.status.value
    assert "1,000,000" in controls.status.value
    controls.frame()
    assert slider.value == pytest.approx(0.1)
    assert run.events == []


def test_a_vector_of_rates_has_no_slider(made: Callable[..., Controls]) -> None:
    run = mg.prepare("maml", tasks=mg.quadratics([1.0, 3.0], [[0.0], [1.0]]), inner_lr=(0.1,))
    assert list(made(run).sliders) == ["meta_lr"]


def test_a_rate_of_zero(made: Callable[..., Controls]) -> None:
    run = descent(lr=0.0)
    controls = made(run)
    controls.frame()
    drag(controls.sliders["lr"], 0.1)
    settled(run, controls)
    assert run.rates["lr"] == 0.1


def test_span() -> None:
    lr = hyperparameters(mg.ALGORITHMS["gd"])["lr"]
    assert span(0.1, lr) == (-3, 1)
    assert span(0.0, lr) == span(lr.default, lr)
    assert span(1e6, lr) == (4, 6)  # not beyond what is allowed
    assert span(1e-30, lr) == (-32, -28)


# ---- progress -------------------------------------------------------------------------------------------------


def test_speed_and_time_left(made: Callable[..., Controls]) -> None:
    run = descent(steps=1000)
    controls = made(run)
    run.loop.advance()
    controls.frame()
    for _ in range(100):
        run.loop.clock.exclude(-0.01)  # as if each step had taken 10 ms
        run.loop.advance()
    controls._next = 0.0
    controls.frame()
    assert "100 of 1,000 steps" in controls.progress.value
    speed = float(controls.progress.value.split(" steps/s")[0].split("· ")[-1])
    assert 60 < speed <= 100
    assert any(f"about {n} s left" in controls.progress.value for n in range(9, 16))


def test_another_stop_may_come_sooner(made: Callable[..., Controls]) -> None:
    run = descent(steps=10**6, loss_below=1e-3, seconds=5.0)
    controls = made(run)
    run.loop.advance()
    controls.frame()
    for _ in range(3):
        run.loop.clock.exclude(-0.5)
        run.loop.advance()
    controls._next = 0.0
    controls.frame()
    assert "at most 4 s left" in controls.progress.value


def test_lasting() -> None:
    assert [lasting(s) for s in (0.2, 59, 61, 3599, 5400, 10**6)] == [
        "1 s",
        "59 s",
        "1 min",
        "60 min",
        "1.5 h",
        "12 days",
    ]


def test_no_steps_at_all(made: Callable[..., Controls]) -> None:
    run = descent(steps=0)
    controls = made(run, leave=False)
    drive(run, controls)
    assert "0 of 0 steps" in controls.progress.value


# ---- frames ---------------------------------------------------------------------------------------------------


def sent_by(controls: Controls, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collects the messages to the page."""
    sent: list[Any] = []
    monkeypatch.setattr(ipywidgets.Widget, "_send", lambda self, message, buffers=None: sent.append((self, message)))
    return sent


def test_a_frame_sends_only_what_changed(made: Callable[..., Controls], monkeypatch: pytest.MonkeyPatch) -> None:
    run = descent(steps=10_000)
    controls = made(run)
    run.loop.advance()
    controls.frame()
    sent = sent_by(controls, monkeypatch)
    for _ in range(50):
        run.loop.advance()
        controls.frame()
    assert sent == []  # texts a few times a second, and nothing else has changed
    controls._next = 0.0
    controls.frame()
    assert {type(widget).__name__ for widget, _ in sent} == {"FloatProgress", "HTML"}
    assert len(sent) == 2


def test_a_frame_costs_little(made: Callable[..., Controls]) -> None:
    run = descent(steps=10_000)
    controls = made(run)
    run.loop.advance()
    controls.frame()
    start = time.thread_time()
    for _ in range(1000):
        controls.frame()
    assert (time.thread_time() - start) / 1000 < 0.0005


def test_frames_come_from_the_training_thread(made: Callable[..., Controls]) -> None:
    run = descent(steps=10**8)
    controls = made(run, leave=False)
    background(run, controls)
    click(controls.pause)
    deadline = time.monotonic() + 10
    while controls.pause.description != "Resume" and time.monotonic() < deadline:
        time.sleep(0.005)
    assert controls.pause.description == "Resume"
    drag(controls.sliders["lr"], 0.2)
    click(controls.step)
    click(controls.stop)
    run.wait()
    while run.loop.running:
        time.sleep(0.005)
    assert run.stopped == "user"
    assert [event.kind for event in run.events] == ["pause", "set", "step", "stop"]
    assert controls.stop.disabled


def test_two_runs_do_not_cross(made: Callable[..., Controls]) -> None:
    one, two = descent(), descent()
    first, second = made(one), made(two)
    click(first.pause)
    drag(second.sliders["lr"], 0.3)
    settled(one, first)
    settled(two, second)
    assert (one.loop.paused, two.loop.paused) == (True, False)
    assert (one.rates["lr"], two.rates["lr"]) == (0.1, 0.3)


# ---- a cell that waits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hears", [False, True])
def test_while_a_cell_waits(made: Callable[..., Controls], hears: bool) -> None:
    run = descent()
    controls = made(run)
    controls._hears = hears
    run.loop.waiting = 1
    controls.frame()
    assert controls.pause.disabled is not hears
    assert controls.sliders["lr"].disabled is not hears
    assert ("interrupt to stop" in controls.status.value) is not hears
    run.loop.waiting = 0
    controls.frame()
    assert not controls.pause.disabled
    assert "interrupt" not in controls.status.value


def test_no_kernel_hears_no_clicks(ip: Any) -> None:
    assert hears_clicks() is False


class Pinned:
    """A comm as ipykernel 7.4 makes them."""

    def _reply_subshell_for(self, data: Any, default: Any) -> Any:
        return None  # the main shell, whatever was asked for


def test_messages_are_not_pinned_to_the_main_shell() -> None:
    class Holder:
        comm: Any = Pinned()

    unpin(Holder)
    assert Holder.comm._reply_subshell_for({"content": 1}, "subshell-7") == "subshell-7"
    Holder.comm = object()
    unpin(Holder)  # no such routing: nothing to do
    assert not hasattr(Holder.comm, "_reply_subshell_for")


def test_the_routing_that_is_undone_is_still_there() -> None:
    """``unpin`` is for a private method: where ipykernel ≥ 7.4 no longer has it, the routing must be looked at anew."""
    ipykernel = pytest.importorskip("ipykernel")
    if ipykernel.version_info < (7, 4):
        pytest.skip("no routing before 7.4")
    from ipykernel.comm.comm import BaseComm

    assert callable(BaseComm._reply_subshell_for)


# ---- the end --------------------------------------------------------------------------------------------------


def test_at_the_end_all_is_freed_and_forgotten(made: Callable[..., Controls]) -> None:
    before = set(_instances)
    run = descent()
    controls = made(run)
    assert len(_instances) > len(before) + 10
    drive(run, controls)
    assert controls.closed
    assert set(_instances) == before
    controls.frame()  # a late frame is harmless
    controls.frame(final=True)
    controls.close()


def test_closing_while_it_trains(made: Callable[..., Controls]) -> None:
    run = descent(steps=10**8)
    controls = made(run)
    background(run, controls)
    controls.close()
    run.stop()
    assert run.stopped == "user"
    while run.loop.running:
        time.sleep(0.005)
    assert run.note is None


def test_without_a_plot_a_line_is_left(made: Callable[..., Controls]) -> None:
    class Handle:
        def update(self, data: Any, raw: bool) -> None:
            shown.append(data)

    shown: list[Any] = []
    for leave in (True, False):
        controls = made(descent(steps=500, lr=2.0), leave=leave)
        controls._handle = Handle()
        drive(controls.run, controls)
    assert shown[0] == {"text/plain": ""}
    assert shown[1]["text/plain"].startswith("diverged · ")
    assert shown[1]["text/plain"].endswith("a smaller lr usually helps")


def test_those_that_have_left_let_the_run_go(made: Callable[..., Controls]) -> None:
    run = descent()
    controls = made(run)
    drive(run, controls)
    drag(controls.sliders["lr"], 0.7)
    click(controls.stop)
    assert not run.loop.requests.pending


def test_nothing_is_displayed_without_a_kernel(ip: Any, capsys: pytest.CaptureFixture[str]) -> None:
    controls = Controls(descent())
    controls.show()
    controls.close()
    assert capsys.readouterr().out == ""


def test_no_thread_is_left(made: Callable[..., Controls]) -> None:
    before = set(threading.enumerate())
    run = descent(steps=3)
    background(run, made(run))
    run.wait()
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before
    assert np.isfinite(run.loss)
