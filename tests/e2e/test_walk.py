"""A walk through chapters in a real JupyterLab: every cell run, every live plot seen moving, every control used."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from labserver import CELL, Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9]*.ipynb"))
SOON = 3.0  # seconds from pressing run to the second picture: 1.0 to 2.8 measured, 0.3 to 0.7 once all is imported
COLD = 8.0  # the same in a kernel that has imported nothing yet, on a machine with too much to do

# Notes when each new picture comes under a cell; pictures that differ in length or checksum differ.
WATCH = f"""indices => {{
    window.pictures = {{}};
    for (const i of indices) {{
        const outputs = {CELL}[i].model.outputs, seen = new Set(), times = window.pictures[i] = [];
        const look = first => {{
            for (const output of outputs.toJSON()) {{
                const picture = [output.data?.['image/png'] ?? ''].flat().join('').trim();
                const mark = picture.length + picture.slice(-40);
                if (!picture || seen.has(mark)) continue;
                seen.add(mark);
                if (first !== true) times.push(performance.now());
            }}
        }};
        look(true);
        outputs.changed.connect(look);
    }}
    return performance.now();
}}"""


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def live(cell: dict[str, Any]) -> bool:
    """Whether a cell trains under a plot."""
    lines = [line for line in source(cell).splitlines() if line.lstrip("%").startswith("metagd ") and line[0] == "%"]
    return any(" --" in line and "--no-plot" not in line for line in lines)


def button(lab: Lab, name: str) -> Any:
    return lab.page.locator(".jupyter-button", has_text=name).first


def handles(lab: Lab, index: int) -> list[Any]:
    """The sliders under a cell."""
    lab.page.evaluate("i => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'center')", index)
    found = lab.page.locator(f".jp-Notebook-cell[data-windowed-list-index='{index}'] .noUi-handle")
    found.first.wait_for()
    return list(found.all())


def moves(lab: Lab, index: int) -> float:
    """Run a live cell; seconds until its second picture."""
    start = lab.page.evaluate(WATCH, [index])
    lab.run_cell(index, wait=False)
    times = lab.poll(lambda: lab.page.evaluate("i => window.pictures[i]", index), lambda times: len(times) > 1)
    return float(times[1] - start) / 1000


def use_every_control(lab: Lab, index: int, name: str) -> None:
    """Press each under a run that is going on; that it was heard stands in the run's own events."""
    button(lab, "Pause").click()
    button(lab, "Resume").wait_for()
    button(lab, "Step").click()
    sliders = handles(lab, index)
    for slider in sliders:
        slider.focus()
        slider.press("ArrowRight")
    lab.until(f"len([e for e in {name}.events if e.kind == 'set']) >= {len(sliders)}")
    button(lab, "Resume").click()
    lab.until(f"{name}.paused is False")
    button(lab, "Stop").click()
    lab.until_idle()
    lab.until(f"{{'pause', 'step', 'set', 'resume', 'stop'}} <= {{e.kind for e in {name}.events}}")
    assert lab.ask(f"print({name}.stopped)") == "user"


# A first contact, meta-learning with its sliders, several views: every chapter is run in a kernel by test_notebooks.py.
WALKED = [path for path in NOTEBOOKS if path.name[:2] in ("00", "04", "07")]


@pytest.mark.parametrize("path", WALKED, ids=lambda path: path.stem)
def test_a_reader_walks_through(lab: Lab, server: Any, path: Path) -> None:
    shutil.copy(path, server.root / path.name)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [i for i, cell in enumerate(cells) if cell["cell_type"] == "code"]
    name = re.search(r"-o (\w+)", source(cells[code[0]]))
    assert name
    lab.open(path.stem)
    first = moves(lab, code[0])
    assert first < COLD
    use_every_control(lab, code[0], name[1])
    if first >= SOON:  # the imports, on a busy machine: they are done now
        assert moves(lab, code[0]) < SOON
        button(lab, "Stop").click()
        lab.until_idle()

    moving = [i for i in code if live(cells[i])]
    assert code[0] in moving
    lab.page.evaluate(WATCH, moving)
    lab.run_all(wait=False)
    lab.page.wait_for_timeout(200)
    lab.until_idle(seconds=120)
    for i in code:
        assert not [o for o in lab.outputs(i) if o["output_type"] == "error"], lab.text(i)
        if "mg.exercise(" in source(cells[i]):
            assert "✗" not in lab.text(i)
    pictures = lab.page.evaluate("() => window.pictures")
    for i in moving:
        steps = re.search(r"--steps (\d+)", source(cells[i]))
        over_at_once = steps is not None and int(steps[1]) <= 100  # then there is the end to see, and no way there
        assert len(pictures[str(i)]) > (0 if over_at_once else 1), f"the live plot of cell {i} did not move"

    for linked in [i for i in code if "mg.linked(" in source(cells[i])]:
        for slider in handles(lab, linked):
            drawn = lab.picture(linked)
            slider.focus()
            slider.press("ArrowRight")
            lab.poll(lambda i=linked: lab.picture(i), lambda picture, drawn=drawn: picture != drawn)


def test_binders_link_lands_in_chapter_0_beside_the_others(lab: Lab, server: Any) -> None:
    """The path of a Binder link opens the chapter, its folder in the file browser, and its contents lead on."""
    shutil.copytree(NOTEBOOKS[0].parent, server.root / "notebooks", ignore=shutil.ignore_patterns(".*"))
    path = f"lab/tree/notebooks/{NOTEBOOKS[0].name}"
    lab.page.goto(f"http://127.0.0.1:{server.port}/{path}?reset&token={server.token}")
    lab.page.locator(".jp-RenderedMarkdown h1", has_text="0 · Five minutes").wait_for(timeout=30_000)
    for chapter in NOTEBOOKS:
        lab.page.locator(".jp-DirListing-itemName", has_text=chapter.name).wait_for()
    lab.page.locator(f".jp-RenderedMarkdown a[href*='{NOTEBOOKS[4].name}']").first.click()
    lab.page.locator(".jp-RenderedMarkdown h1", has_text="4 · MAML").wait_for(timeout=30_000)
