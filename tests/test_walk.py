"""A walk through the book in a real JupyterLab: every cell run, every live plot seen moving, every control used."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from labserver import Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9]*.ipynb"))
SOON = 15.0  # seconds: three on a machine of one's own, and this one may be shared


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def live(cell: dict[str, Any]) -> bool:
    """Whether a cell trains under a plot."""
    lines = [line for line in source(cell).splitlines() if line.lstrip("%").startswith("metagd ") and line[0] == "%"]
    return any(" --" in line and "--no-plot" not in line for line in lines)


def button(lab: Lab, name: str) -> Any:
    return lab.page.locator(".jupyter-button", has_text=name).first


def moves(lab: Lab, index: int) -> float:
    """Run a live cell; seconds until its second picture."""
    start, pictures = time.monotonic(), {lab.picture(index)}
    lab.run_cell(index, wait=False)
    while len(pictures - {None}) < 3:  # what the file held, the first frame, and one that differs
        pictures.add(lab.picture(index))
        assert time.monotonic() - start < SOON, "the plot did not move"
        lab.page.wait_for_timeout(30)
    return time.monotonic() - start


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_reader_walks_through(lab: Lab, server: Any, path: Path) -> None:
    shutil.copy(path, server.root / path.name)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [i for i, cell in enumerate(cells) if cell["cell_type"] == "code"]
    lab.open(path.stem)
    moves(lab, code[0])
    button(lab, "Pause").click()
    button(lab, "Resume").wait_for()
    button(lab, "Step").click()
    button(lab, "Resume").click()
    handle = lab.page.locator(".noUi-handle").first
    handle.focus()
    handle.press("ArrowRight")
    button(lab, "Stop").click()
    lab.until_idle()

    before = {i: lab.picture(i) for i in code if live(cells[i])}
    lab.run_all(wait=False)
    lab.page.wait_for_timeout(200)
    lab.until_idle(seconds=120)
    for i in code:
        assert not [o for o in lab.outputs(i) if o["output_type"] == "error"], lab.text(i)
        if "mg.exercise(" in source(cells[i]):
            assert "✗" not in lab.text(i)
    for i, picture in before.items():
        assert lab.picture(i) is not None
        assert i != code[0] or lab.picture(i) != picture

    linked = next(i for i in code if "mg.linked(" in source(cells[i]))
    drawn = lab.picture(linked)
    lab.page.evaluate("i => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'center')", linked)
    slider = lab.page.locator(f".jp-Notebook-cell[data-windowed-list-index='{linked}'] .noUi-handle").first
    slider.focus()
    slider.press("ArrowRight")
    lab.poll(lambda: lab.picture(linked), lambda picture: picture != drawn)
