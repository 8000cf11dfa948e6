"""The studio in a real JupyterLab in Chromium: every control has its effect, and the inserted cell does the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labserver import CELL, DARK, Lab, lab_page

pytestmark = pytest.mark.browser


@pytest.fixture
def lab(chrome: Any, server: Any, artefacts: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with lab_page(chrome, server, 1000, 1400) as found:
        found.open(request.node.name, ["%load_ext metagd_nb", "%metagd studio"])
        found.run_all()
        found.page.wait_for_selector(".jp-OutputArea select")
        yield found
        found.page.screenshot(path=artefacts / f"{request.node.name}.png")


def press(lab: Lab, name: str) -> None:
    lab.page.locator(f".jp-OutputArea button:has-text('{name}')").first.click()


def field(lab: Lab, label: str) -> Any:
    """The control that stands beside a label."""
    row = lab.page.locator(".jp-OutputArea .widget-inline-hbox").filter(
        has=lab.page.locator(f"label:text-is('{label}')")
    )
    return row.locator("input, select, textarea").first


def cell_below(lab: Lab) -> str:
    return str(lab.page.locator(".jp-OutputArea pre").last.inner_text())


def type_in(lab: Lab, label: str, text: str) -> None:
    field(lab, label).fill(text)
    field(lab, label).press("Tab")


def test_a_person_chooses_runs_and_takes_the_cell(lab: Lab) -> None:
    field(lab, "method").select_option("meta-sgd")
    lab.poll(lambda: cell_below(lab), lambda text: text.startswith("%%metagd meta-sgd\n"))
    lab.page.wait_for_timeout(300)  # the method's own controls take the place of the former's
    type_in(lab, "inner learning rate", "0.02")
    type_in(lab, "steps", "60")
    line = "%%metagd meta-sgd --inner-lr 0.02 --steps 60"
    lab.poll(lambda: cell_below(lab), lambda text: text.startswith(line))
    press(lab, "Run")
    lab.until("run.stopped == 'steps' and not run.loop.running")
    lab.poll(lambda: lab.page.locator(".jp-OutputArea img[alt^='meta-sgd']").count(), bool)
    first = lab.ask("print(run.record['loss'].tolist())")
    for tab in ("inner loop", "landscape", "learned rates"):
        lab.page.get_by_role("tab", name=tab).click()
        panel = lab.page.locator(".jp-OutputArea .widget-tab-contents img:visible")
        lab.poll(panel.count, bool)
        assert panel.first.get_attribute("alt")
    press(lab, "Insert cell")
    sources = f"() => {CELL}.map(c => c.model.sharedModel.getSource())"
    lab.poll(lambda: lab.page.evaluate(sources), lambda found: len(found) == 3 and found[2] != "")
    inserted = lab.page.evaluate(sources)[2]
    assert inserted == f"{line}\ntasks = sinusoid()\nmodel = mlp(1, 40, 40, 1)"
    lab.ask("del run")
    lab.run_cell(2)
    lab.until("'run' in globals() and run.stopped == 'steps'")
    assert lab.ask("print(run.record['loss'].tolist())") == first


def test_a_run_is_steered_from_the_studio(lab: Lab) -> None:
    type_in(lab, "steps", "100000000")
    press(lab, "Run")
    lab.until("run.iteration > 50")
    press(lab, "Pause")
    lab.until("run.loop.paused")
    at = int(lab.ask("print(run.iteration)"))
    press(lab, "Step")
    lab.until(f"run.iteration == {at + 1}")
    press(lab, "Resume")
    lab.until(f"run.iteration > {at + 20}")
    lab.page.locator(".noUi-handle").first.focus()
    lab.page.keyboard.press("ArrowRight")  # by the keyboard too, and without a new start
    lab.until("any(e.kind == 'set' for e in run.events)")
    press(lab, "Stop")
    lab.until("run.stopped == 'user'")
    lab.poll(lambda: cell_below(lab), lambda text: "run.set(" in text and "run.stop()" in text)
    press(lab, "Reset")
    lab.poll(lambda: cell_below(lab), lambda text: text.startswith("%%metagd maml\n"))


def test_the_keyboard_alone_runs_and_ends_it(lab: Lab) -> None:
    """Tab reaches every control in the order in which they stand, each with a name; keys set them off."""
    focused = """() => {
        const e = document.activeElement, row = e.closest('.widget-inline-hbox');
        const label = row && row.querySelector('label') ? row.querySelector('label').innerText : '';
        return (label || e.innerText || e.getAttribute('aria-label') || '').trim();
    }"""
    field(lab, "method").focus()
    seen = [lab.page.evaluate(focused)]
    while seen[-1] != "Insert cell":
        lab.page.keyboard.press("Tab")
        seen.append(lab.page.evaluate(focused))
        assert len(seen) < 60, seen
        if seen[-1] == "steps":
            lab.page.keyboard.type("100000000")
        elif seen[-1] == "Run":
            break
    wanted = ["method", "what to learn", "the code", "inner learning rate", "inner steps", "meta learning rate"]
    assert [name for name in seen if name in wanted] == wanted
    assert "" not in seen
    lab.page.keyboard.press("Space")
    lab.until("run.iteration > 20 and run.stopped is None")
    lab.page.locator(".jp-OutputArea button:has-text('Stop')").wait_for()
    while lab.page.evaluate(focused) != "Stop":
        lab.page.keyboard.press("Tab")
        seen.append(lab.page.evaluate(focused))
        assert len(seen) < 60, seen
    lab.page.keyboard.press("Enter")
    lab.until("run.stopped == 'user'")
    assert {"Reset", "Pause", "Step"} <= set(seen)


def test_it_fits_a_phone_and_the_dark(chrome: Any, server: Any, artefacts: Path) -> None:
    with lab_page(chrome, server, 360, 1700) as lab:
        lab.open("narrow", ["%load_ext metagd_nb", "%metagd studio"])
        lab.theme(DARK)
        lab.run_all()
        lab.page.wait_for_selector(".jp-OutputArea select")
        type_in(lab, "steps", "40")
        press(lab, "Run")
        lab.until("run.stopped == 'steps' and not run.loop.running")
        lab.poll(lambda: lab.page.locator(".jp-OutputArea img").count(), bool)
        lab.page.screenshot(path=artefacts / "studio-narrow-dark.png")
        room = lab.page.locator(".jp-OutputArea-output").last.bounding_box()
        for widget in lab.page.locator(
            ".jp-OutputArea .widget-inline-hbox:visible, .jp-OutputArea button:visible"
        ).all():
            box = widget.bounding_box()
            assert box["x"] + box["width"] <= room["x"] + room["width"] + 1
