"""What a cell shows in other clients than JupyterLab: Notebook 7, nbclient and its kin, a terminal, no widgets."""

from __future__ import annotations

import base64
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from labserver import Lab, lab_page, lab_server

ROOT = Path(__file__).resolve().parents[2]
LOSS = "def loss(w):\n    return (w[0] - 3.0) ** 2 + w[1] ** 2\nw = np.zeros(2)"
CELL = f"%%metagd gd --lr 0.001 --steps 2000\n{LOSS}"
FOREVER = CELL.replace("2000", "100000000")
SUMMARY = f"metagd gd: lr=0.001\ntrained: w (2,)\nall steps done after 2000 steps\nloss 9 → {9 * 0.998**4000:.6g}"


def notebook(place: Path, *sources: str) -> Path:
    """A notebook of code cells; the first is where papermill puts what it is given."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    made = nbformat.v4.new_notebook(cells=cells)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(made, place)
    return place


def environment(home: Path) -> dict[str, str]:
    """A person's, who has set nothing of ours."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(home / "ipython")}


def command(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command that ends well."""
    words = (sys.executable, "-m", *words)
    done = subprocess.run(words, cwd=home, env=environment(home), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


# ---- a program runs the cells: the last one trains, and nothing after it waits for its result ----


@pytest.mark.kernel
def test_papermill_gives_parameters_and_keeps_the_last_picture(tmp_path: Path) -> None:
    typed = f'get_ipython().run_cell_magic("metagd", f"gd --lr 0.001 --steps {{steps}}", {LOSS!r})'
    notebook(tmp_path / "in.ipynb", "steps = 5", "%load_ext metagd_nb", typed)
    command(tmp_path, "papermill", "-k", "python3", "-p", "steps", "2000", "in.ipynb", "out.ipynb")
    cell = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1]
    assert [output.output_type for output in cell.outputs] == ["display_data", "execute_result"]  # and no dead widgets
    picture, value = cell.outputs
    assert picture.metadata["image/png"]["alt"].endswith("all steps done  ·  2,000 steps  ·  loss 9 → 0.002995")
    assert base64.b64decode(picture.data["image/png"]).startswith(b"\x89PNG")
    assert value.data["text/plain"] == SUMMARY


@pytest.mark.kernel
def test_nbconvert_puts_picture_and_summary_on_the_page(tmp_path: Path) -> None:
    notebook(tmp_path / "in.ipynb", "%load_ext metagd_nb", CELL)
    command(tmp_path, "nbconvert", "--to", "html", "--execute", "in.ipynb")  # by nbclient
    page = (tmp_path / "in.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<img[^>]* src="data:image/png;base64,', page)) == 1
    assert SUMMARY in page
    assert "widget-view" not in page
    assert "Traceback" not in page


# ---- a terminal ------------------------------------------------------------------------------------------------------


class Terminal:
    """IPython as a person has it in a terminal of 120 columns."""

    def __init__(self, home: Path) -> None:
        words = [sys.executable, "-m", "IPython", "--no-banner", "--simple-prompt", "--colors=NoColor"]
        self.pid, self._file = pty.fork()
        if not self.pid:
            os.execve(words[0], words, {**environment(home), "TERM": "xterm", "COLUMNS": "120"})
        self.seen = ""

    def until(self, text: str, seconds: float = 30) -> str:
        """All that comes up to ``text``."""
        deadline, found = time.monotonic() + seconds, b""
        while text.encode() not in found:
            assert time.monotonic() < deadline, found.decode(errors="replace")
            if select.select([self._file], [], [], 0.1)[0]:
                found += os.read(self._file, 65536)
        self.seen += found.decode(errors="replace")
        return found.decode(errors="replace")

    def type(self, line: str, until: str) -> str:
        """A line, and what comes of it."""
        os.write(self._file, f"{line}\n".encode())
        return self.until(until)

    def close(self) -> None:
        """End it."""
        os.write(self._file, b"exit\n")
        time.sleep(0.2)
        os.close(self._file)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """One that has just been opened."""
    made = Terminal(tmp_path)
    made.until("In [1]")
    yield made
    made.close()


def test_a_terminal_has_a_line_of_progress_and_a_summary(terminal: Terminal) -> None:
    terminal.type("%load_ext metagd_nb", "In [2]")
    terminal.type("tasks = sinusoid(); model = mlp(1, 40, 40, 1)", "In [3]")
    shown = terminal.type("%metagd maml --steps 300 --wait", "In [4]")
    lines = re.findall(r"\r\x1b\[Kmetagd maml: step ([\d,]+) of 300", shown)
    assert len(lines) >= 3
    assert sorted(lines, key=int) == lines  # it moves
    assert re.search(
        r"\x1b\[Kmetagd maml: all steps done  ·  300 steps  ·  loss [\d.]+ → [\d.]+ \(means of 20 steps\)\r\n", shown
    )
    assert "all steps done after 300 steps\r\nloss" in shown
    shown = terminal.type("%metagd maml --steps 100000000 -o more", "In [5]")
    shown = terminal.type("more.stop(); more.loss > 0", "In [6]")
    assert "metagd maml: stopped" in shown
    assert "True" in shown
    for word in ("Traceback", "Error", "widget", "<Figure", "VBox"):
        assert word not in terminal.seen


# ---- without ipywidgets ----------------------------------------------------------------------------------------------

BLOCKED = """import sys
sys.modules["ipywidgets"] = None  # as where it is not installed
%load_ext metagd_nb"""


def test_without_ipywidgets_a_line_says_so_and_the_run_goes_on(tmp_path: Path) -> None:
    """In a kernel where somebody is there to be asked, so that there would be controls."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", env=environment(tmp_path), stderr=subprocess.DEVNULL)
    outputs: list[dict[str, Any]] = []
    try:
        for code in (BLOCKED, CELL, "run.wait()"):
            client.execute_interactive(code, output_hook=outputs.append, timeout=60)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    told = [m["content"]["text"] for m in outputs if m["msg_type"] == "stream"]
    assert told == [
        "metagd: no controls: ipywidgets is not installed (pip install ipywidgets); the run goes on without\n"
    ]
    assert not [m for m in outputs if m["msg_type"] == "error"]
    assert any("image/png" in m["content"].get("data", {}) for m in outputs)
    assert [m["content"]["data"]["text/plain"] for m in outputs if m["msg_type"] == "execute_result"] == [SUMMARY]


# ---- Notebook 7 ------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(chrome: Any, tmp_path: Path, artefacts: Path) -> Iterator[Lab]:
    """A page of Notebook 7."""
    with lab_server(tmp_path, app="notebook") as server, lab_page(chrome, server, 1000, 1400) as found:
        yield found
        found.page.screenshot(path=artefacts / "notebook-7.png")


@pytest.mark.browser
def test_notebook_7(page: Lab) -> None:
    page.open("seven", ["%load_ext metagd_nb\nimport time\nnp = __import__('numpy')", FOREVER, "%metagd studio"])
    for index in (0, 1):
        page.run_cell(index)
    frames: set[str | None] = set()
    page.poll(lambda: frames.add(page.picture(1)) or len(frames), lambda n: n >= 4)  # the curve moves
    button = page.page.locator(".jp-OutputArea button")
    button.filter(has_text="Pause").click()
    page.until("run.loop.idle")
    button.filter(has_text="Resume").click()
    page.until("not run.loop.idle")
    button.filter(has_text="Stop").click()
    page.until("run.stopped == 'user' and not run.loop.running")
    page.run_cell(2)
    page.page.wait_for_selector(".jp-OutputArea select")
    button.filter(has_text="Run").first.click()
    page.until("run.plan.method == 'maml' and run.stopped is None and run.iteration > 5")
    button.filter(has_text="Insert cell").click()
    page.poll(
        lambda: page.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length"),
        lambda count: count == 4,
    )
