"""A real JupyterLab in Chromium: what a person sees and does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from labserver import DARK, Lab

pytestmark = pytest.mark.browser

CELL = "%%metagd gd --lr 0.00001 --steps 100000000\nx, y = data\nmodel = linear(3)"
SETUP = """%load_ext metagd_nb
import numpy as np
x = np.random.default_rng(0).standard_normal((50, 3))
data = x, x @ np.array([1.0, -2.0, 0.5]) + 3"""
META = "%%metagd maml --steps 100000000 --inner-lr 0.012\ntasks = sinusoid()\nmodel = mlp(1, 40, 40, 1)"
BY_ITSELF = """%%metagd hd --lr 1e-4 --hyper-lr 1e-6 --steps 100000000
import time
def loss(w):
    return (w - 3.0) ** 2
def gradient(w):
    time.sleep(0.004)
    return 2 * (w - 3.0)
w = 0.0"""


def button(lab: Lab, name: str) -> Any:
    return lab.page.locator(".jupyter-button", has_text=name).first


def going(lab: Lab, name: str, *more: str, cell: str = CELL) -> None:
    """A notebook whose second cell trains."""
    lab.open(name, [SETUP, cell, *more])
    for index in (0, 1):
        lab.run_cell(index)
    lab.until("run.iteration > 50")


def settled_box(lab: Lab, element: Any) -> dict[str, float]:
    """Bounding box of a visible element, once five readings in a row agree."""
    boxes: list[Any] = []  # the page still moves while the first pictures come in: a hand would wait too

    def settled() -> bool:
        boxes.append(element.bounding_box())  # None as long as the element has no size
        return len(boxes) > 4 and boxes[-1] is not None and all(box == boxes[-1] for box in boxes[-5:])

    lab.poll(settled, bool)
    found: dict[str, float] = boxes[-1]
    return found


def drag(lab: Lab, pixels: int, number: int = 0) -> None:
    """Take the handle of a slider, move it, let go."""
    box = settled_box(lab, lab.page.locator(".noUi-handle").nth(number))
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    lab.page.mouse.move(x, y)
    lab.page.mouse.down()
    for part in range(1, 6):
        lab.page.mouse.move(x + pixels * part / 5, y)
        lab.page.wait_for_timeout(40)
    lab.page.mouse.up()


def seen(lab: Lab) -> str:
    """All that stands under the cells; never the cells' own text."""
    return "\n".join(lab.page.locator(".jp-OutputArea-output").all_inner_texts())


def test_run_all_shows_a_result_that_waited(lab: Lab) -> None:
    lab.open("all", [SETUP, META.replace("100000000", "300"), "print(run.stopped, run.loss > 0); run"])
    lab.run_all()
    assert "steps True" not in lab.text(1)
    assert lab.text(2).startswith("None True") or lab.text(2).startswith("steps True")
    assert "after 300 steps" in lab.text(2)
    assert lab.picture(1)


def test_the_curve_moves_under_a_persons_hands(lab: Lab, artefacts: Path) -> None:
    going(lab, "hands")
    frames = set()
    lab.poll(lambda: frames.add(lab.picture(1)) or len(frames), lambda n: n >= 4)
    lab.page.screenshot(path=artefacts / "running-light.png")

    button(lab, "Pause").click()
    lab.until("run.loop.idle")
    button(lab, "Resume").wait_for()
    lab.page.wait_for_timeout(300)
    at, picture = lab.ask("print(run.iteration)"), lab.picture(1)
    lab.page.wait_for_timeout(300)
    assert (lab.ask("print(run.iteration)"), lab.picture(1)) == (at, picture)
    button(lab, "Step").click()
    lab.until(f"run.iteration == {int(at) + 1}")
    lab.page.wait_for_timeout(300)
    assert lab.ask("print(run.iteration)") == str(int(at) + 1)
    button(lab, "Resume").click()
    lab.until(f"run.iteration > {int(at) + 100}")

    lab.theme(DARK)
    lab.page.screenshot(path=artefacts / "running-dark.png")
    button(lab, "Stop").click()
    lab.until("run.stopped == 'user' and not run.loop.running")
    assert lab.ask("print([e.kind for e in run.events])") == "['pause', 'step', 'resume', 'stop']"
    assert lab.ask("print(run.loss == run.record['loss'][-1])") == "True"


def test_a_drag_changes_the_rate_while_it_trains(lab: Lab) -> None:
    going(lab, "drag")
    drag(lab, 60)
    lab.until("run.record.last('lr') > 2e-5")
    assert lab.ask("print([e.kind for e in run.events])") == "['set']"
    assert lab.ask("print(run.events[0].value['lr'] == run.record.last('lr') == run.rates['lr'])") == "True"
    assert lab.ask("print(run.record['lr'][0], run.stopped)") == "1e-05 None"
    readout = lab.page.locator(".widget-readout").first
    readout.click()
    lab.page.keyboard.press("Control+A")
    lab.page.keyboard.type("3e-5")
    lab.page.keyboard.press("Enter")
    lab.until("run.rates['lr'] == 3e-5")
    button(lab, "Stop").click()
    lab.until("run.stopped == 'user'")


def test_the_keyboard_suffices(lab: Lab) -> None:
    going(lab, "keys")
    for name, kind in (("Pause", "pause"), ("Step", "step"), ("Resume", "resume")):
        button(lab, name).focus()
        lab.page.keyboard.press("Enter")
        lab.until(f"run.events and run.events[-1].kind == '{kind}'")
        lab.page.wait_for_timeout(300)
    lab.page.locator(".noUi-handle").first.focus()
    for _ in range(3):
        lab.page.keyboard.press("ArrowRight")
    lab.until("run.record.last('lr') > 1.3e-5")
    for name in ("Pause", "Step", "Stop"):
        assert button(lab, name).get_attribute("title")


def test_a_rate_that_moves_by_itself_and_a_hand_on_it(lab: Lab) -> None:
    going(lab, "hd", cell=BY_ITSELF)
    handle = lab.page.locator(".noUi-handle").first
    lab.poll(handle.bounding_box, bool)
    start = handle.bounding_box()["x"]
    lab.poll(lambda: handle.bounding_box()["x"], lambda x: x > start + 5)
    assert lab.ask("print(run.events)") == "[]"
    lab.poll(lambda: handle.bounding_box()["x"], lambda x: x != start)
    before = float(lab.ask("print(run.rates['lr'])"))
    drag(lab, -100)
    lab.until("run.events")
    lab.page.wait_for_timeout(1500)  # and it follows again, without an echo
    assert lab.ask("print([e.kind for e in run.events])") == "['set']"
    assert float(lab.ask("print(run.events[-1].value['lr'])")) < before
    button(lab, "Stop").click()
    lab.until("run.stopped == 'user'")


def test_a_click_arrives_while_a_cell_waits(lab: Lab) -> None:
    going(lab, "waits", "print('got', run.loss)")
    lab.run_cell(2, wait=False)
    lab.page.wait_for_timeout(500)
    assert lab.text(2) == ""
    assert button(lab, "Stop").is_enabled()
    button(lab, "Stop").click()
    lab.until_idle(20)
    assert lab.text(2).startswith("got ")
    assert lab.ask("print(run.stopped)") == "user"


def test_an_interrupt_of_a_waiting_cell(lab: Lab) -> None:
    going(lab, "interrupt", "print('got', run.loss)")
    lab.run_cell(2, wait=False)
    lab.page.wait_for_timeout(500)
    lab.command("notebook:interrupt-kernel")
    lab.until_idle(20)
    assert lab.text(2).startswith("got ")
    assert lab.ask("print(run.stopped)") == "interrupted"


def test_in_a_very_narrow_window_nothing_is_cut(lab: Lab, artefacts: Path) -> None:
    lab.page.set_viewport_size({"width": 400, "height": 1000})
    going(lab, "slim", cell=META)
    button(lab, "Pause").click()
    button(lab, "Resume").wait_for()
    lab.page.wait_for_timeout(300)
    lab.page.screenshot(path=artefacts / "very-narrow.png")
    area = lab.page.locator(".jp-OutputArea-output:has(.jupyter-button)").first.bounding_box()
    parts = lab.page.locator(".jupyter-button, .widget-hslider, .widget-hprogress, .widget-readout")
    for index in range(parts.count()):
        box = parts.nth(index).bounding_box()
        assert box["x"] >= area["x"] - 1
        assert box["x"] + box["width"] <= area["x"] + area["width"] + 1
    for index in range(3):
        assert parts.nth(index).evaluate("e => e.scrollWidth <= e.clientWidth")  # its words are whole


def test_the_plot_keeps_its_place_when_the_controls_leave(lab: Lab) -> None:
    lab.page.set_viewport_size({"width": 900, "height": 1000})
    going(lab, "place", "run")
    image = lab.page.locator(".jp-OutputArea img")
    place = settled_box(lab, image)
    hands = settled_box(lab, lab.page.locator(".jp-OutputArea-output:has(.jupyter-button)").first)
    assert hands["y"] >= place["y"] + place["height"]  # under the picture, as in a player
    button(lab, "Stop").click()
    lab.until("run.stopped == 'user' and not run.loop.running")
    lab.page.locator(".jupyter-button").first.wait_for(state="detached")
    assert settled_box(lab, image) == place


def test_the_plot_stays_in_the_file_without_a_kernel(lab: Lab, artefacts: Path) -> None:
    lab.open("kept", [SETUP, CELL.replace("100000000", "2000")])
    lab.run_all()
    lab.until("run.stopped == 'steps' and not run.loop.running")
    lab.poll(lambda: lab.picture(1), bool)
    lab.page.wait_for_timeout(300)
    saved = lab.save()
    shown = [o for o in saved.cells[1].outputs if "image/png" in o.get("data", {})]
    assert len(shown) == 1
    assert shown[0]["data"]["text/plain"] == "metagd plot"
    assert "widget" not in str(saved.cells[1].outputs)
    lab.shutdown_kernel()
    lab.open("kept", kernel=False)
    assert lab.picture(1)
    assert lab.page.locator(".jp-OutputArea img").count() == 1
    lab.page.screenshot(path=artefacts / "reopened.png")
    assert "widget" not in seen(lab)  # no empty shells: "Loading widget…"


def test_in_a_narrow_dark_window_it_wraps(lab: Lab, artefacts: Path) -> None:
    lab.page.set_viewport_size({"width": 700, "height": 1000})
    going(lab, "narrow", cell=META)
    lab.theme(DARK)
    button(lab, "Pause").click()
    button(lab, "Resume").wait_for()
    lab.page.wait_for_timeout(300)
    lab.page.screenshot(path=artefacts / "narrow-dark.png")
    assert lab.page.locator(".widget-readout").all_inner_texts() == ["0.0120", "0.00100"]
    area = lab.page.locator(".jp-OutputArea-output:has(.jupyter-button)").first.bounding_box()
    parts = lab.page.locator(".jupyter-button, .widget-hslider, .widget-hprogress, .widget-readout")
    assert parts.count() == 3 + 1 + 2 + 2
    for index in range(parts.count()):
        box = parts.nth(index).bounding_box()
        assert box["x"] >= area["x"] - 1
        assert box["x"] + box["width"] <= area["x"] + area["width"] + 1
    tops = {round(lab.page.locator(".widget-hslider").nth(i).bounding_box()["y"]) for i in (0, 1)}
    assert len(tops) == 2  # one below the other
