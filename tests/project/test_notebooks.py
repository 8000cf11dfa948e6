"""The chapters: executed, of one form, small, and giving again what they show (nbval)."""

from __future__ import annotations

import ast
import base64
import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import metagd_nb as mg
from metagd_nb.notebook.book import exercises

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

SUB_GOALS = ["sample tasks", "adapt", "judge", "meta-update"]
PARTS = [  # what every chapter has, in this order
    r"\*\*The question\.\*\*",
    r"\*What the picture shows\.\*",
    r"^## .*three questions$",  # recall: on the chapter before, or on what is needed
    r"\*\*Predict, then run\.\*\*",
    r"^## \d+\.\d What goes wrong$",
    r"^## \d+\.\d Your hands on it",
    r"^## \d+\.\d+ In short$",
    r"\*\*An honest box\.\*\* \*Cost:\*.* \*Need of data:\*.* \*What can be read from it:\*",
    r"^## Exercises$",
    r"^## Sources$",
]


def read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def code_of(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in read(path) if cell["cell_type"] == "code"]


def prose(path: Path) -> str:
    return "\n\n".join(source(cell) for cell in read(path) if cell["cell_type"] == "markdown")


def outputs(path: Path) -> list[dict[str, Any]]:
    return [output for cell in code_of(path) for output in cell["outputs"]]


def test_there_are_chapters() -> None:
    assert NOTEBOOKS


@EACH
def test_committed_executed(path: Path) -> None:
    code = code_of(path)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for output in outputs(path)}
    assert kinds <= {"display_data", "execute_result", "stream"}, "no error"
    assert not [output for output in outputs(path) if output.get("name") == "stderr"]
    assert not re.search(r"\b0x[0-9a-f]{6,}", path.read_text(encoding="utf-8")), "an address changes with every run"
    assert path.stat().st_size < 600_000


@EACH
def test_pictures(path: Path) -> None:
    """Four to eight, the first under the first cell, each with its words, none that needs a kernel."""
    assert any("image/png" in output.get("data", {}) for output in code_of(path)[0]["outputs"])
    pictures = [output for output in outputs(path) if "image/png" in output.get("data", {})]
    assert 4 <= len(pictures) <= 8
    assert all(len(output["metadata"]["image/png"].get("alt", "")) >= 30 for output in pictures)
    for output in pictures:  # shown in the shape in which they were drawn
        image, shape = base64.b64decode(output["data"]["image/png"]), output["metadata"]["image/png"]
        width, height = (int.from_bytes(image[at : at + 4], "big") for at in (16, 20))
        assert width / height == pytest.approx(shape["width"] / shape["height"], rel=0.01)
    assert prose(path).count("*What the picture shows.*") == len(pictures), "a picture is told in words below it"
    assert not [
        output for output in outputs(path) if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]


@EACH
def test_size(path: Path) -> None:
    lines = sorted(len(source(cell).splitlines()) for cell in code_of(path))
    assert lines[-1] <= 20
    assert lines[len(lines) // 2] <= 5
    assert 30 <= len(read(path)) <= 50
    assert 1500 <= len(prose(path).split()) <= 2500
    assert sum("assert" in source(cell) for cell in code_of(path)) >= 5


@EACH
def test_parts_in_order(path: Path) -> None:
    text, place = prose(path), 0
    for part in PARTS:
        found = re.compile(part, re.MULTILINE | re.DOTALL).search(text, place)
        assert found, f"{part} is missing, or stands before what should precede it"
        place = found.start()
    sections = [int(number) for number in re.findall(r"^## \d+\.(\d+) ", text, re.MULTILINE)]
    assert sections == list(range(1, len(sections) + 1))
    assert text.startswith(f"# {int(path.name[:2])} · ")
    texts = [source(cell) for cell in read(path)]
    (linked,) = [i for i, text in enumerate(texts) if "mg.linked(" in text]
    hands, short = (
        next(i for i, text in enumerate(texts) if part in text) for part in ("Your hands on it", " In short")
    )
    assert hands < linked < short, "a linked view with a slider, when all that it shows has been said"
    assert "mg.predicted(" in "\n".join(map(source, code_of(path))), "a guess beside what came out"


@EACH
def test_recall(path: Path) -> None:
    """Three questions, their answers folded away until somebody wants them."""
    (cell,) = [source(cell) for cell in read(path) if re.search(r"^## .*three questions$", source(cell), re.MULTILINE)]
    asked, folded = cell.split("<details><summary>Answers</summary>")
    assert re.findall(r"^(\d)\. .*\?", asked, re.MULTILINE) == ["1", "2", "3"]
    assert folded.split("</details>")[0].strip()


@EACH
def test_sub_goals(path: Path) -> None:
    """One stretch of each chapter goes through all four, in this order; no other spelling of them."""
    said = re.findall(r"^\s*# ([a-z-]+(?: [a-z]+)?)", "\n".join(map(source, code_of(path))), re.MULTILINE)
    said = [words for words in said if words.startswith(tuple(SUB_GOALS))]
    assert any(
        [w.startswith(s) for w, s in zip(said[i:], SUB_GOALS, strict=False)] == [True] * 4 for i in range(len(said))
    )


@EACH
def test_code_of_the_package_is_the_packages(path: Path) -> None:
    """It is shown by ``mg.source`` alone, and what stands in the file is what the package holds today."""
    assert "```python" not in prose(path)
    space = {"mg": mg, **{name: getattr(mg, name) for name in mg.__all__}}
    for cell in code_of(path):
        found = re.fullmatch(r"mg\.source\((.+)\)", source(cell).splitlines()[-1]) if cell["source"] else None
        if found is None:
            assert "inspect" not in source(cell)
            continue
        for line in source(cell).splitlines()[:-1]:
            if line.startswith("from metagd_nb"):
                exec(line, space)
        shown = "".join(cell["outputs"][0]["data"]["text/plain"])
        assert shown == repr(eval(f"mg.source({found[1]})", space))
        own = "".join(inspect.getsource(eval(name, space)) for name in found[1].split(", "))
        assert {line.strip() for line in shown.splitlines()} <= {line.strip() for line in own.splitlines()} | {""}


@EACH
def test_exercises(path: Path) -> None:
    """Each exercise of the chapter has a cell, which tells it; the texts are the kit's."""
    number = int(path.name[:2])
    asked = exercises.chapter(number)
    assert 4 <= len(asked) <= 6
    cells = [cell for cell in code_of(path) if source(cell).startswith("mg.exercise(")]
    assert [source(cell) for cell in cells] == [f'mg.exercise("{number}.{i}", ...)' for i in range(1, len(asked) + 1)]
    for cell, exercise in zip(cells, asked, strict=True):
        assert exercise.text in "".join(cell["outputs"][0]["data"]["text/markdown"])


def test_contents() -> None:
    """Chapter 0 lists every chapter there is, and no other."""
    rows = re.findall(r"^\| \[(\d+) · .+\]\((.+\.ipynb)\) \| .+\? \| \d+", prose(NOTEBOOKS[0]), re.MULTILINE)
    assert [name for _, name in rows] == [path.name for path in NOTEBOOKS]
    assert [int(number) for number, _ in rows] == [int(path.name[:2]) for path in NOTEBOOKS]


def test_links_between_chapters() -> None:
    for path in NOTEBOOKS:
        for target in re.findall(r"\]\(([^)#]+\.ipynb)\)", prose(path)):
            assert (FOLDER / target).exists(), f"{path.name} links to {target}"


@EACH
def test_imports_are_what_a_reader_has(path: Path) -> None:
    """Standard library, NumPy, the kit, and what the ``tutorials`` extra installs."""
    allowed = {"numpy", "matplotlib", "metagd_nb", "sklearn", "autograd"} | sys.stdlib_module_names
    for cell in code_of(path):
        lines = [line for line in source(cell).splitlines() if re.match(r"\s*(import|from) ", line)]
        for node in ast.walk(ast.parse("\n".join(line.strip() for line in lines))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in allowed
                importlib.import_module(name)


# Runs a command and says what it took: seconds of processor time in all, and kB of the largest process.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("used", used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""


# Settings of the chapters' kernels beside those of the suite, such as another kernel of OpenBLAS: NAME=VALUE ...
BOOK_ENV = dict(item.split("=", 1) for item in shlex.split(os.environ.get("METAGD_BOOK_ENV", "")))
# Name of the OpenBLAS kernel that NumPy has loaded: OPENBLAS_CORETYPE is ignored where the CPU lacks its instructions.
LOADED = """
import numpy, threadpoolctl
names = {lib["architecture"] for lib in threadpoolctl.threadpool_info() if lib["internal_api"] == "openblas"}
print(*names)
"""


def environment(more: dict[str, str]) -> dict[str, str]:
    """Environment of a chapter: one BLAS thread, since chapters run side by side, unless the variable is set."""
    fixed = {"METAGD_WAIT": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return {"OPENBLAS_NUM_THREADS": "1", **os.environ, **fixed, **more}


def run_again(path: Path) -> subprocess.CompletedProcess[str]:
    """Run nbval on one chapter."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "-q",
        "-n0",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore",
        str(path),
    ]
    return subprocess.run(
        [sys.executable, "-c", MEASURED, *command],
        cwd=path.parent,
        env=environment(BOOK_ENV),
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def again(request: pytest.FixtureRequest) -> Iterator[dict[Path, Future[subprocess.CompletedProcess[str]]]]:
    """Runs of the selected chapters, one a processor; empty under pytest-xdist, where each worker runs its own."""
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    selected: list[Any] = [test.callspec.params["path"] for test in tests if "again" in test.fixturenames]
    if "PYTEST_XDIST_WORKER" in os.environ:
        selected = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {path: pool.submit(run_again, path) for path in selected}


@pytest.mark.skipif("OPENBLAS_CORETYPE" not in BOOK_ENV, reason="METAGD_BOOK_ENV names no other OpenBLAS kernel")
def test_the_book_runs_under_another_kernel_than_the_suite() -> None:
    own, book = (
        subprocess.check_output([sys.executable, "-c", LOADED], env=environment(more), text=True).strip()
        for more in ({}, BOOK_ENV)
    )
    assert book == BOOK_ENV["OPENBLAS_CORETYPE"] != own


@pytest.mark.slow
@EACH
def test_gives_again_what_it_shows(path: Path, again: dict[Path, Future[subprocess.CompletedProcess[str]]]) -> None:
    """Within a minute of processor time, and within Binder's memory."""
    done = again[path].result() if path in again else run_again(path)
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{len(code_of(path))} passed" in done.stdout
    seconds, kilobytes = map(float, done.stdout.split("used")[-1].split())
    assert seconds < 60
    assert kilobytes < 1_500_000 or sys.platform != "linux"  # elsewhere it is bytes
