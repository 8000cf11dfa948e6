"""Schedules, clipping and weight decay in a cell, in the studio and on the sliders, in a real shell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cells import cell

import metagd_nb as mg
from metagd_nb.notebook.controls import Controls
from metagd_nb.notebook.studio import Studio
from metagd_nb.notebook.studio.form import declarations

BODY = "\ndef loss(w):\n    return np.sum((w - 3) ** 2)\nw = np.zeros(2)"


@pytest.fixture
def plain(ip: Any) -> Any:
    ip.run_line_magic("colors", "nocolor")
    return ip


def test_a_cell(plain: Any) -> None:
    options = "--steps 20 --lr 0.2 --schedule warmup:4,cosine --clip 0.5 --weight-decay 0.1"
    shown = cell(plain, f"%%metagd gd --wait --no-plot {options}{BODY}").text
    assert "schedule=warmup:4,cosine:16, clip=0.5, weight_decay=0.1" in shown
    found, space = plain.user_ns["run"].record, plain.user_ns
    given = {"steps": 20, "lr": 0.2, "schedule": "warmup:4,cosine", "clip": 0.5, "weight_decay": 0.1}
    alone = mg.train("gd", loss=space["loss"], params={"w": np.zeros(2)}, **given)
    np.testing.assert_array_equal(found["loss"], alone.record["loss"])
    np.testing.assert_array_equal(found["lr"], alone.record["lr"])


def test_a_function_by_its_name(plain: Any) -> None:
    plain.run_cell("def halves(step):\n    return 0.5 ** (step // 10)\ndef cosine(step):\n    return 7.0")
    cell(plain, f"%%metagd gd --wait --no-plot --steps 20 --lr 0.2 --schedule halves{BODY}")
    np.testing.assert_array_equal(plain.user_ns["run"].record["lr"], [0.2] * 11 + [0.1] * 10)
    cell(plain, "%metagd gd --wait --no-plot --steps 20 --lr 0.2 --schedule cosine")  # the kit's, not the user's
    assert plain.user_ns["run"].record["lr"].max() == 0.2
    cell(plain, "%metagd gd --no-plot --steps 20 --lr sweep:0.1,0.2 --schedule halves")
    space = plain.user_ns
    given = {"loss": space["loss"], "params": {"w": np.zeros(2)}, "steps": 20, "schedule": space["halves"]}
    found = {trial.values[0]: outcome.score for trial, outcome in space["run"].outcomes.items()}
    assert found == {lr: mg.train("gd", lr=lr, **given).loss for lr in (0.1, 0.2)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gd --schedule cosin", "--schedule: 'cosin' is not a schedule; did you mean 'cosine'?"),
        ("gd --schedule halve", "--schedule: 'halve' is not a schedule; allowed: constant | cosine | step:N:F"),
        ("gd --clip 0", "--clip: 0 is not allowed; needs a number > 0"),
        ("lbfgs --clip 1", "--clip: lbfgs takes no clip; methods that do: gd, momentum"),
        ("hd --schedule cosine", "--schedule: hd takes no schedule; methods that do: gd, momentum"),
    ],
)
def test_one_line(plain: Any, line: str, message: str) -> None:
    shown = cell(plain, f"%%metagd {line} --wait --no-plot{BODY}").text
    assert message in shown
    assert shown.strip().count("\n") == 0


def test_help_and_studio_show_the_decay_of_adamw_once(plain: Any) -> None:
    shown = cell(plain, "%metagd adamw --help").text
    assert shown.count("--weight-decay") == 1
    assert declarations("adamw")["weight_decay"].default == 0.01
    assert declarations("adam")["weight_decay"].default == 0.0
    studio = Studio(plain._metagd[0])
    studio.method.value = "adamw"
    assert studio.options["weight_decay"].value == "0.01"
    studio.options["weight_decay"].value = "0"
    studio.options["schedule"].value = "warmup:10,cosine"
    assert "%%metagd adamw --weight-decay 0.0 --schedule warmup:10,cosine\n" in studio.equivalent.value
    studio.options["schedule"].value = "warm"
    studio.go.click()
    assert "not a schedule" in studio.status.value
    studio._stop()


def test_the_slider_follows_the_schedule_until_it_is_moved() -> None:
    given: dict[str, Any] = {"loss": lambda w: (w - 3.0) ** 2, "params": {"w": 0.0}, "steps": 20, "lr": 0.1}
    run = mg.prepare("gd", **given, schedule="warmup:5,cosine")
    controls = Controls(run)
    slider = controls.sliders["lr"]
    assert run.rates["lr"] == 0
    assert slider.value == 10**slider.min  # a logarithmic scale has no 0

    def shown() -> float:
        controls._next, controls._move_times = 0.0, {}
        controls.frame()
        return float(slider.value)

    run.step(4)
    assert shown() == run.rates["lr"] == pytest.approx(0.08)
    run.step(8)
    assert shown() == run.rates["lr"] < 0.1
    slider.value = 0.05  # the user's
    run.loop.handle_requests()
    assert run.rates["lr"] == 0.05
    assert run.events[-1].value == {"lr": 0.05}
    run.step(4)
    assert shown() == 0.05
    np.testing.assert_array_equal(run.record["lr"][-4:], 0.05)
    controls.close()


def test_the_slider_of_a_rate_of_0_is_at_its_lower_end() -> None:
    given: dict[str, Any] = {"loss": lambda w: (w - 3.0) ** 2, "params": {"w": 0.0}, "steps": 20, "lr": 0.1}
    run = mg.prepare("gd", **given, schedule="step:5:0")
    controls = Controls(run)
    run.step(8)
    controls._next = 0.0
    controls.frame()
    slider = controls.sliders["lr"]
    assert run.rates["lr"] == 0
    assert slider.value == 10**slider.min
    assert not run.events or run.events[-1].kind != "set"
    controls.close()
