"""README is true: its code runs as printed, its commands are those that CI runs, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from metagd_nb.algorithms import ALGORITHMS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command(name: str) -> str:
    """The one line between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""
    (line,) = re.findall(rf"<!-- {name} -->\n```sh\n(.+)\n```\n<!-- /{name} -->", README)
    return str(line)


def blocks(text: str) -> list[str]:
    """The cells: every fenced block in Python or without a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [code for language, code in fenced if language in ("", "python")]


def execute(ip: Any, cells: Iterable[str]) -> None:
    """Run cells one after the other, each to its end; the first that fails raises."""
    for cell in cells:
        ip.run_cell(cell).raise_error()
        run = ip.user_ns.get("run")
        if run is not None:
            assert run.wait().stopped not in ("failed", "diverged"), cell


def test_every_block_runs_in_order(ip: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ip.run_line_magic("unload_ext", "metagd_nb")  # the first block loads it
    cells = blocks(README)
    assert sum(cell.startswith("%%metagd") for cell in cells) == 3
    execute(ip, cells[:3])
    assert ip.user_ns["run"].stopped == "loss-below"
    assert [round(w, 2) for w in ip.user_ns["run"].params["w"]] == [1.0, -2.0, 0.5]
    execute(ip, cells[3:])
    assert ip.user_ns["run"].plan.method == "maml"
    assert ip.user_ns["run"].record["step"][-1] == 500


@pytest.mark.parametrize(
    "cell",
    [
        "%%metagd gd --steps 5\ndef loss(w):\n    return np.mean((targets - w) ** 2)\nw = np.zeros(3)",
        "%%metagd gd --no-such-option 5\ndef loss(w):\n    return w\nw = 0.0",
        "%%metagd gd --lr 1e6 --steps 50\ndef loss(w):\n    return w**4\nw = 3.0",
        "print(run.parameters)",
        "def f(:",
    ],
    ids=["unknown name", "option", "divergence", "attribute", "syntax"],
)
def test_a_block_that_fails_is_noticed(ip: Any, cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(f"text\n\n```\n{cell}\n```\n")
    with pytest.raises((Exception, AssertionError)):
        execute(ip, ["x = 1\n", block, "y = 1\n"])
    assert "x" in ip.user_ns
    assert "y" not in ip.user_ns


def test_it_is_short() -> None:
    prose = re.sub(r"```.*?```|<!--.*?-->|\]\([^)]*\)", " ", README, flags=re.DOTALL)
    assert len(re.findall(r"\w[\w'’.-]*", prose)) <= 900


def test_options_that_it_names_exist() -> None:
    from metagd_nb.notebook.magic.options import allowed

    known = {option for method in ALGORITHMS for option in allowed(method)} | {"--no-browser"}
    assert set(re.findall(r"(?<!\w)--[a-z][a-z-]+", README)) <= known


def test_links_and_pictures_lead_somewhere() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert [target for target in targets if not (ROOT / target).exists()] == []
    assert {path.name for path in (ROOT / "notebooks").glob("*.ipynb")} <= {Path(target).name for target in targets}
    for picture in (ROOT / "notebooks").rglob("*.png"):
        assert picture.stat().st_size <= 150_000, picture


def test_ci_runs_the_very_line() -> None:
    """CI takes the line out of README, so the two cannot drift apart."""
    assert command("test") == 'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/pytest'
    script = ROOT / ".ci" / "run"
    done = subprocess.run(["bash", str(script), "--show"], capture_output=True, text=True, check=True)
    assert done.stdout == command("test") + "\n"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


def test_the_first_command_starts_the_lab_and_shows_its_progress() -> None:
    assert command("start").endswith('pip install -e ".[tutorials]" && .venv/bin/metagd lab')
    assert " -q" not in command("start")


def test_nothing_of_one_machine() -> None:
    """No machine's paths and no registry's host in what a reader or Binder gets."""
    machine = re.compile(r"/work/|/tmp/|/root/|/home/\w|pypi\.|pythonhosted|npmjs|debian\.org")
    files = [ROOT / "README.md", ROOT / "pyproject.toml", ROOT / ".ci" / "run", *(ROOT / "binder").iterdir()]
    assert [path.name for path in files if machine.search(path.read_text(encoding="utf-8"))] == []
