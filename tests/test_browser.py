"""A real JupyterLab in Chromium: what a person sees and does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labserver import DARK, Lab, browser, lab_page, lab_server

pytestmark = pytest.mark.browser

CELL = "%%metagd gd --lr 0.00001 --steps 100000000\nx, y = data\nmodel = linear(3)"
SETUP = """%load_ext metagd_nb
import numpy as np
x = np.random.default_rng(0).standard_normal((50, 3))
data = x, x @ np.array([1.0, -2.0, 0.5]) + 3"""


@pytest.fixture(scope="module")
def chrome(chromium: str) -> Iterator[Any]:
    with browser(chromium) as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Any]:
    with lab_server(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture
def lab(chrome: Any, server: Any) -> Iterator[Lab]:
    with lab_page(chrome, server) as found:
        yield found


def button(lab: Lab, name: str) -> Any:
    return lab.page.locator(".jupyter-button", has_text=name).first


def going(lab: Lab, name: str) -> None:
    lab.open(name, [SETUP, CELL])
    lab.run_all()
    lab.until("run.iteration > 100")


def test_the_curve_moves_under_a_persons_hands(lab: Lab, artefacts: Path) -> None:
    going(lab, "hands")
    frames = set()
    lab.poll(lambda: frames.add(lab.picture(1)) or len(frames), lambda n: n >= 4)
    lab.page.screenshot(path=artefacts / "running-light.png")

    button(lab, "Pause").click()
    lab.until("run.held")
    at = lab.ask("print(run.iteration)")
    lab.page.wait_for_timeout(300)
    assert lab.ask("print(run.iteration)") == at
    button(lab, "Step").click()
    lab.until(f"run.iteration == {int(at) + 1}")

    button(lab, "Resume").click()
    lab.until(f"run.iteration > {int(at) + 100}")
    lab.page.locator(".noUi-handle").first.focus()
    for _ in range(3):
        lab.page.keyboard.press("ArrowRight")
    lab.until("run.rates['lr'] > 1e-5")
    lab.until("run.record.last('lr') > 1e-5")
    assert lab.ask("print(any(e.kind == 'set' for e in run.events))") == "True"

    lab.theme(DARK)
    lab.page.screenshot(path=artefacts / "running-dark.png")
    button(lab, "Stop").click()
    lab.until("run.stopped == 'user'")
    assert lab.ask("print(run.loss == run.record['loss'][-1])") == "True"


def test_the_plot_stays_in_the_file_without_a_kernel(lab: Lab) -> None:
    lab.open("kept", [SETUP, CELL.replace("100000000", "2000")])
    lab.run_all()
    lab.until("run.stopped == 'steps' and not run.running")
    lab.poll(lambda: lab.picture(1), bool)
    lab.page.wait_for_timeout(300)
    saved = lab.save()
    shown = [o for o in saved.cells[1].outputs if "image/png" in o.get("data", {})]
    assert len(shown) == 1
    assert shown[0]["data"]["text/plain"] == "metagd plot"
    lab.shutdown_kernel()
    lab.open("kept", kernel=False)
    assert lab.picture(1)
    assert lab.page.locator(".jp-OutputArea img").count() == 1
