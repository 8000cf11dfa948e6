"""The command ``metagd``: ``lab`` copies the chapters and opens JupyterLab, ``test-book`` executes the chapters."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from ..core.errors import MetagdError
from ..core.files import atomic_write

PACKAGE = Path(__file__).resolve().parents[1]
HANDED_OUT = ".metagd-chapters.json"  # in DIR: the digest of each file as it was copied
LAB_USAGE = "metagd lab [DIR] [--no-browser] [any other option of jupyter lab, as --name=value]"


def chapters() -> Path:
    """Return the folder of the chapters: inside the wheel, or ``notebooks/`` of a checkout.

    Raises
    ------
    MetagdError
        If neither exists.
    """
    for folder in (PACKAGE / "chapters", PACKAGE.parent / "notebooks"):
        if any(folder.glob("*.ipynb")):
            return folder
    raise MetagdError("the chapters are missing from this installation; install metagd-nb again")


def files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder of chapters as relative paths in order, without hidden files and caches."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not any(part.startswith((".", "__")) for part in inside.parts):
            yield inside


def hand_out(source: Path, target: Path) -> list[str]:
    """Copy the chapters into ``target``, never over a file that the reader changed.

    A file that an earlier ``metagd lab`` copied and that has not changed since is updated.

    Parameters
    ----------
    source, target : Path
        Folders; ``target`` is created if it does not exist.

    Returns
    -------
    list of str
        One line for each file that the reader changed.
    """
    if target.exists() and source.samefile(target):
        return []
    if target.exists() and not target.is_dir():
        raise MetagdError(f"{target} is a file; metagd lab needs a folder for the chapters")
    before = _handed_out(target)
    now, messages = dict(before), []
    for inside in files(source):
        data, place, key = (source / inside).read_bytes(), target / inside, inside.as_posix()
        digest, present = hashlib.sha256(data).hexdigest(), _digest(place)
        if present not in (None, digest, before.get(key)):
            messages.append(f"kept your own {place}; move it away to get the chapter as it came")
            continue
        if present != digest:
            atomic_write(place, data)
        now[key] = digest
    if now != before:
        atomic_write(target / HANDED_OUT, json.dumps(now, indent=1).encode())
    return messages


def _digest(path: Path) -> str | None:
    """Return the digest of a file, "" for a folder or a broken link, and None if the path does not exist."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return "" if os.path.lexists(path) else None


def _handed_out(target: Path) -> dict[str, str]:
    """Return path → digest of the files that an earlier command copied."""
    try:
        digests = json.loads((target / HANDED_OUT).read_text())
    except (OSError, ValueError):
        return {}  # every file that differs is then taken for a changed one
    return digests if isinstance(digests, dict) else {}


def need(*modules: str) -> None:
    """Raise a MetagdError if a module of the ``lab`` extra is missing."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MetagdError(f'{module} is not installed; pip install "metagd-nb[lab]"')


def lab(arguments: Sequence[str]) -> int:
    """Execute ``metagd lab``: copy the chapters into DIR and open JupyterLab on the first.

    Parameters
    ----------
    arguments : sequence of str
        DIR, if given, and then options of JupyterLab.

    Returns
    -------
    int
        The exit code.
    """
    target, options = _target_and_options(arguments)
    need("jupyterlab")
    source = chapters()
    for line in hand_out(source, target):
        print(line)
    first = next(path for path in files(source) if path.suffix == ".ipynb")
    options += [
        f"--ServerApp.root_dir={target.resolve()}",
        f"--LabApp.default_url=/lab/tree/{quote(first.as_posix())}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in options:
        print("you are root: JupyterLab starts with --allow-root")
        options.append("--allow-root")
    return _jupyterlab(options)


def _target_and_options(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """Return DIR and the options of JupyterLab."""
    options = list(arguments)
    target = Path(options.pop(0) if options and not options[0].startswith("-") else "metagd-chapters")
    for left, right in itertools.pairwise(options):
        if not right.startswith("-") and ("=" in left or left == "--no-browser"):
            raise MetagdError(f"{right!r} stands after JupyterLab's options; usage: {LAB_USAGE}")
    return target, options


def _jupyterlab(options: list[str]) -> int:
    from jupyterlab.labapp import LabApp

    LabApp.launch_instance(argv=options)
    return 0


def test_book(notebooks: Sequence[str], timeout: float) -> int:
    """Execute ``metagd test-book``: run chapters without a screen and print one line for each.

    Nothing is written. Every ``%%metagd`` cell waits for its run, as with ``METAGD_WAIT=1``.

    Parameters
    ----------
    notebooks : sequence of str
        Paths; empty for every chapter.
    timeout : float
        Seconds for one cell.

    Returns
    -------
    int
        0 if every chapter ran to its end, else 1.
    """
    need("nbclient", "nbformat", "ipykernel")
    paths = [Path(name) for name in notebooks] or [chapters() / p for p in files(chapters()) if p.suffix == ".ipynb"]
    width = max(len(path.name) for path in paths)
    failed = 0
    for path in paths:
        start = time.perf_counter()
        error = _execute(path, timeout)
        failed += error is not None
        result = f"FAILED {error}" if error else "ok"
        print(f"{path.name:<{width}}  {time.perf_counter() - start:6.1f} s  {result}", flush=True)
    print(f"{len(paths) - failed} passed, {failed} failed")
    return 1 if failed else 0


test_book.__test__ = False  # type: ignore[attr-defined]  # it is no test for pytest


def _execute(path: Path, timeout: float) -> str | None:
    """Execute a notebook; return None if it runs to its end, else one line with the cell and the error."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        return f"cannot be read: {_line(error)}"
    client = NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(path.resolve().parent)}})
    try:
        client.execute(env={**os.environ, "METAGD_WAIT": "1"})
    except CellExecutionError as error:
        stopped = [
            number
            for number, cell in enumerate(notebook.cells, 1)
            if any(output.output_type == "error" for output in cell.get("outputs", ()))
        ]
        return f"in cell {stopped[-1] if stopped else '?'}: {error.ename}: {(error.evalue.splitlines() or [''])[0]}"
    except Exception as error:  # a dead kernel, a timeout, no kernel: each is a failure of this chapter
        return _line(error)
    return None


def _line(error: Exception) -> str:
    """Return the type and the first line of an error."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def main(argv: Sequence[str] | None = None) -> int:
    """Execute the command ``metagd`` with these arguments, by default those of the process; return the exit code."""
    from importlib.metadata import version

    parser = argparse.ArgumentParser(prog="metagd", description="Learning to learn, live in a notebook.")
    parser.add_argument("--version", action="version", version=version("metagd-nb"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "lab",
        usage=LAB_USAGE,
        help="copy the chapters into DIR and open JupyterLab on the first",
        description="Copies the chapters into DIR (default metagd-chapters), never over a file that you "
        "changed, and opens JupyterLab on the first.",
    )
    book = commands.add_parser("test-book", help="execute chapters without a screen and report a line each")
    book.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="default: every chapter")
    book.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="for one cell (default 600)")
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        if given[:1] == ["lab"] and not {"-h", "--help"} & set(given):
            return lab(given[1:])  # argparse does not know JupyterLab's options
        chosen = parser.parse_args(given)
        return test_book(chosen.notebooks, chosen.timeout)
    except (MetagdError, OSError) as error:
        print(f"metagd: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("metagd: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
