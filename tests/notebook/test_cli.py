"""The ``metagd`` command: what it hands out, what it never touches, and how it reports."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import nbformat
import pytest

from metagd_nb.core.errors import MetagdError
from metagd_nb.notebook import cli

ROOT = Path(__file__).resolve().parents[2]


def notebook(path: Path, *cells: str) -> Path:
    """A notebook of these code cells, not executed."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)
    return path


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small book in place of the real one: two chapters, a picture, and what is nobody's business."""
    folder = tmp_path / "book"
    notebook(folder / "01-first.ipynb", "1 + 1")
    notebook(folder / "02-second.ipynb", "2 + 2")
    (folder / "img").mkdir()
    (folder / "img" / "a.png").write_bytes(b"png")
    notebook(folder / ".ipynb_checkpoints" / "01-first-checkpoint.ipynb", "1")
    monkeypatch.setattr(cli, "chapters", lambda: folder)
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What JupyterLab was started with, in place of starting it."""
    calls: list[list[str]] = []
    monkeypatch.setattr(cli, "_jupyterlab", lambda options: calls.append(options) or 0)
    return calls


def listing(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_lab_hands_out_and_opens_the_first(book: Path, opened: list[list[str]], tmp_path: Path) -> None:
    target = tmp_path / "my chapters"
    notebook(target / "00-mine.ipynb", "0")
    assert cli.main(["lab", str(target), "--no-browser", "--port=0"]) == 0
    assert listing(target) == [
        ".metagd-chapters.json",
        "00-mine.ipynb",
        "01-first.ipynb",
        "02-second.ipynb",
        "img/a.png",
    ]
    assert (target / "01-first.ipynb").read_bytes() == (book / "01-first.ipynb").read_bytes()
    (options,) = opened
    assert options[:2] == ["--no-browser", "--port=0"]
    assert f"--ServerApp.root_dir={target}" in options
    assert "--LabApp.default_url=/lab/tree/01-first.ipynb" in options


def test_lab_has_a_default_folder(
    book: Path, opened: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lab"]) == 0
    assert "01-first.ipynb" in listing(tmp_path / "metagd-chapters")
    assert opened


def test_a_changed_chapter_is_kept(
    book: Path, opened: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    cli.main(["lab", str(target)])
    notebook(target / "01-first.ipynb", "mine")
    mine = (target / "01-first.ipynb").read_bytes()
    capsys.readouterr()
    for _ in range(2):  # and it stays kept
        cli.main(["lab", str(target)])
        said = [line for line in capsys.readouterr().out.splitlines() if "kept" in line]
        assert len(said) == 1
        assert "01-first.ipynb" in said[0]
        assert (target / "01-first.ipynb").read_bytes() == mine


def test_a_chapter_nobody_touched_follows_the_book(book: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert cli.hand_out(book, target) == []
    notebook(book / "01-first.ipynb", "better")
    assert cli.hand_out(book, target) == []
    assert (target / "01-first.ipynb").read_bytes() == (book / "01-first.ipynb").read_bytes()


def test_without_its_memory_every_difference_is_the_readers(book: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    cli.hand_out(book, target)
    (target / cli.HANDED_OUT).write_text("{ half a file")
    notebook(book / "01-first.ipynb", "better")
    assert len(cli.hand_out(book, target)) == 1


@pytest.mark.parametrize("kind", ["folder", "broken link"])
def test_what_stands_in_the_way_is_kept(book: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    (target / "img").mkdir(parents=True)
    if kind == "folder":
        (target / "01-first.ipynb").mkdir()
    else:
        (target / "01-first.ipynb").symlink_to(tmp_path / "nowhere")
    kept = cli.hand_out(book, target)
    assert len(kept) == 1
    assert not (tmp_path / "nowhere").exists()
    assert (target / "02-second.ipynb").is_file()


def test_the_book_itself_is_not_written_to(book: Path) -> None:
    before = listing(book)
    assert cli.hand_out(book, book) == []
    assert listing(book) == before


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.ipynb"
    path.write_bytes(b"old")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        cli.atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["a.ipynb"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["lab", "{file}"], "metagd: {file} is a file; metagd lab needs a folder for the chapters"),
        (["lab", "--no-browser", "DIR"], "metagd: 'DIR' stands after JupyterLab's options; usage: " + cli.LAB_USAGE),
        (["lab", "--port=1", "DIR"], "metagd: 'DIR' stands after JupyterLab's options; usage: " + cli.LAB_USAGE),
        (["lab", "{file}/below"], None),
    ],
)
def test_mistakes_are_one_line(
    book: Path,
    opened: list[list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    line: str | None,
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert cli.main([a.format(file=file) for a in arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("metagd: ")
    assert said.count("\n") == 1
    assert line is None or said == line.format(file=file) + "\n"
    assert not opened


@pytest.mark.parametrize("arguments", [["lab"], ["test-book"]])
def test_a_missing_extra_is_one_line(
    book: Path,
    opened: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    real = importlib.util.find_spec
    gone = {"jupyterlab", "nbclient"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else real(name))
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r'metagd: \w+ is not installed; pip install "metagd-nb\[lab\]"\n', said)
    assert not (tmp_path / "metagd-chapters").exists()
    assert not opened


@pytest.mark.parametrize("arguments", [[], ["lba"], ["test-book", "--timeout", "soon"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: metagd" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["lab", "--help"], ["test-book", "--help"], ["--version"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 0
    assert capsys.readouterr().out


def test_no_chapters_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "PACKAGE", tmp_path / "metagd_nb")
    with pytest.raises(MetagdError, match="chapters are missing"):
        cli.chapters()
    inside = notebook(tmp_path / "metagd_nb" / "chapters" / "01.ipynb", "1")
    notebook(tmp_path / "notebooks" / "01.ipynb", "1")
    assert cli.chapters() == inside.parent


@pytest.mark.kernel
def test_book_reports_a_line_each(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (book / "local.py").write_text("x = 1")
    notebook(book / "02-second.ipynb", "import os, local", "assert os.environ['METAGD_WAIT'] == '1'")
    before = {path: (book / path).read_bytes() for path in listing(book)}
    assert cli.main(["test-book"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\s+[\d.]+ s\s+", " T ", line) for line in out] == [
        "01-first.ipynb T ok",
        "02-second.ipynb T ok",
        "2 passed, 0 failed",
    ]
    assert {path: (book / path).read_bytes() for path in before} == before
    assert "METAGD_WAIT" not in os.environ


@pytest.mark.kernel
def test_book_names_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = notebook(tmp_path / "good.ipynb", "1")
    wrong = notebook(tmp_path / "wrong.ipynb", "1", "assert 1 == 2, 'the first line\\nand a second'", "1")
    slow = notebook(tmp_path / "slow.ipynb", "import time; time.sleep(60)")
    dead = notebook(tmp_path / "dead.ipynb", "import os; os._exit(1)")
    half = tmp_path / "half.ipynb"
    half.write_text('{"cells": [')
    paths = [good, wrong, slow, dead, half, tmp_path / "missing.ipynb"]
    assert cli.main(["test-book", *map(str, paths), "--timeout", "2"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert len(out) == len(paths) + 1
    said = dict(zip([path.stem for path in paths], out, strict=False))
    assert said["good"].endswith("  ok")
    assert said["wrong"].endswith("FAILED in cell 2: AssertionError: the first line")
    assert "FAILED CellTimeoutError" in said["slow"]
    assert "FAILED DeadKernelError" in said["dead"]
    assert "FAILED cannot be read" in said["half"]
    assert "FAILED cannot be read" in said["missing"]
    assert out[-1] == "1 passed, 5 failed"


def listens(port: int) -> bool:
    """Whether anything takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.kernel
def test_lab_really_opens_the_chapter(book: Path, tmp_path: Path, jupyter_dirs: dict[str, str]) -> None:
    """The address that JupyterLab prints leads to chapter 1."""
    code = (
        "import sys, pathlib; from metagd_nb.notebook import cli; cli.chapters = lambda: pathlib.Path(sys.argv[1]); "
        "sys.exit(cli.main(['lab', sys.argv[2], '--no-browser', '--port=0', '--ip=127.0.0.1']))"
    )
    log = tmp_path / "log"
    with log.open("w") as file:
        command = [sys.executable, "-c", code, str(book), str(tmp_path / "out")]
        server = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=jupyter_dirs)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/lab/tree/01-first\.ipynb\?token=\w+", log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        address = found[0]
        while not listens(int(re.findall(r":(\d+)/", address)[0])):  # it is printed a moment before
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        with urllib.request.urlopen(address, timeout=30) as page:
            assert page.status == 200
        contents = address.replace("/lab/tree/", "/api/contents/")
        with urllib.request.urlopen(contents, timeout=30) as answer:
            assert b"1 + 1" in answer.read()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def test_the_wheel_holds_the_chapters(tmp_path: Path) -> None:
    """Built by the backend itself, as an installer would, from a copy with what a working checkout gathers."""
    checkout = tmp_path / "checkout"
    skip = shutil.ignore_patterns("__pycache__", ".*")
    for folder in ("metagd_nb", "notebooks"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=skip)
    for file in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / file, checkout)
    notebook(checkout / "notebooks" / "99-last.ipynb", "1")
    notebook(checkout / "notebooks" / ".ipynb_checkpoints" / "99-last-checkpoint.ipynb", "1")
    code = "import hatchling.build; print(hatchling.build.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(checkout / done.stdout.splitlines()[-1]) as wheel:
        names = wheel.namelist()
    inside = {name.removeprefix("metagd_nb/chapters/") for name in names if "/chapters/" in name}
    assert inside == {path.as_posix() for path in cli.files(checkout / "notebooks")}
    assert "99-last.ipynb" in inside
    data = {"metagd_nb/tasks/datasets/m1_yearly.csv.gz", "metagd_nb/tasks/datasets/m1_yearly.txt"}
    assert {"metagd_nb/notebook/cli.py", "metagd_nb/py.typed", *data} <= set(names)
    assert all(name.startswith(("metagd_nb/", "metagd_nb-")) for name in names)
