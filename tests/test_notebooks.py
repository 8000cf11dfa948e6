"""The chapters: executed, whole, small, and giving again what they show (nbval)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9]*.ipynb"))


def cells(path: Path, kind: str) -> list[dict]:
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == kind]


def test_there_are_chapters() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_is_committed_executed(path: Path) -> None:
    code = cells(path, "code")
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    assert not [o for c in code for o in c["outputs"] if o["output_type"] == "error"]
    first = [o for o in code[0]["outputs"] if "image/png" in o.get("data", {})]
    assert first, "the first cell shows a picture"
    assert path.stat().st_size < 600_000
    assert " at 0x" not in path.read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_can_be_read(path: Path) -> None:
    code, prose = cells(path, "code"), cells(path, "markdown")
    lines = sorted(len("".join(c["source"]).splitlines()) for c in code)
    assert lines[-1] <= 20
    assert lines[len(lines) // 2] <= 5
    assert 1500 <= sum(len("".join(c["source"]).split()) for c in prose) <= 2500
    assert sum("assert" in "".join(c["source"]) for c in code) >= 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_gives_again_what_it_shows(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider", "-W", "ignore", str(path)]
    environment = {**os.environ, "METAGD_WAIT": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    done = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{len(cells(path, 'code'))} passed" in done.stdout
