"""Imports point left, the package loads lazily, and no file or function outgrows a reader."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "metagd_nb"

# A module may import what stands left of it. A folder is one place in the row: its files may import each other.
ORDER = [
    "arrays",
    *("errors", "files", "recipe", "tabular"),
    *("hyper", "layout", "buffers", "losses", "outer", "tasks", "layers", "convolution", "models"),
    *("problem", "chain", "factored", "nets", "builtin"),
    *(
        "tracing",
        "rewrite",
        "standin",
        "fingerprint",
        "follow",
        "arguments",
        "diagnose",
        "autodiff",
        "usermodel",
        "check",
    ),
    *("supports", "softmax"),
    *("algorithms", "record", "stops", "adapt", "costs", "evaluate", "bayes"),
    *("recognition", "interpret", "sequences"),
    *("engine", "strides", "onjax"),
    *("store", "stepper", "replay", "run"),
    "sources",
    *("features", "memory", "pace", "drive", "train", "loading", "script", "comparison", "spending", "sweeps"),
    *("advice", "beginner", "table", "exercises"),
    *(
        "decimate",
        "axes",
        "panels",
        "plot",
        "overlay",
        "heatmap",
        "export",
        "charts",
        "live",
        "book",
        "controls",
        "workshop",
        "magic",
        "cli",
    ),
]
DRAWS = {"matplotlib", "IPython", "ipywidgets"}
FIRST_THAT_DRAWS = ORDER.index("axes")  # the plot's own parts

# Doors to the right, opened only when somebody walks through them (an import inside the function named here).
DOORS = {
    ("run", "drive"): "Run.resume",  # a run that had ended goes on, and somebody must drive it
    ("comparison", "overlay"): "Comparison.plot",
    ("sweeps", "heatmap"): "Sweep.plot",
    ("run", "export"): "Run.export",
    ("run", "plot"): "Run.plot",  # `run.plot()` is where a reader looks for the figure of a run
}
OWN_DATA = {"tasks.glyphs"}  # its characters are data that matplotlib's fonts hold; it draws no figure

LINES, FUNCTION_LINES = 400, 40
LONG_FUNCTIONS: dict[str, str] = {  # "module.function": why it reads better in one piece
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """``tasks.sinusoid`` of metagd_nb/tasks/sinusoid.py; "" of the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def scopes(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Every statement with the function or class it stands in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt):
            yield inside, node
        deeper = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        yield from scopes(node, f"{inside}.{node.name}".lstrip(".") if deeper else inside)


def only_for_types(tree: ast.AST) -> set[ast.stmt]:
    """Imports below ``if TYPE_CHECKING``: words for the reader and mypy, never executed."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    return {s for block in blocks for statement in block.body for s in ast.walk(statement) if isinstance(s, ast.stmt)}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(scope, full name of what is imported) for each import of a file, relative ones resolved."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skip = only_for_types(tree)
    folder = ("metagd_nb", *path.relative_to(PACKAGE).parent.parts)
    for scope, node in scopes(tree):
        if node in skip:
            continue
        if isinstance(node, ast.Import):
            yield from ((scope, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join((*folder[: len(folder) - node.level + 1], *filter(None, [node.module])))
            base = base if node.level else str(node.module)
            yield scope, base
            yield from ((scope, f"{base}.{alias.name}") for alias in node.names)


def wrong_arrows(path: Path) -> list[str]:
    """What a module imports and must not, a line each."""
    here = name_of(path)
    place = ORDER.index(here.split(".")[0]) if here else len(ORDER)
    found = []
    for scope, full in imports(path):
        parts = full.split(".")
        if parts[0] == "metagd_nb" and here:
            target = parts[1] if len(parts) > 1 and parts[1] in ORDER else None
            right = target is not None and target != here.split(".")[0] and ORDER.index(target) >= place
            if right and DOORS.get((here, str(target))) != scope:
                found.append(f"{here} imports {full}, which stands right of it")
        elif parts[0] in DRAWS and place < FIRST_THAT_DRAWS and not (scope and here in OWN_DATA):
            found.append(f"{here} imports {full}: nothing left of plot draws")
    return found


EACH = pytest.mark.parametrize("path", MODULES, ids=[name_of(p) or "metagd_nb" for p in MODULES])


def test_every_place_is_taken() -> None:
    """The row names no module that is not there."""
    there = {name_of(path).split(".")[0] for path in MODULES}
    assert [place for place in ORDER if place not in there] == []


@EACH
def test_arrows(path: Path) -> None:
    here = name_of(path)
    assert not here or here.split(".")[0] in ORDER, f"{here} has no place in ORDER: where does it stand?"
    assert wrong_arrows(path) == []


@EACH
def test_length(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES
    for scope, node in scopes(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            name = ".".join(filter(None, (name_of(path), scope, node.name)))
            if name not in LONG_FUNCTIONS:
                assert code_lines(node) <= FUNCTION_LINES, f"{name} has {code_lines(node)} lines"


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring, which no reader counts as length."""
    first = node.body[0]
    said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    lines = node.end_lineno - node.lineno + 1  # type: ignore[operator]
    return lines - (first.end_lineno - first.lineno + 1 if said else 0)  # type: ignore[operator]


@EACH
def test_docstrings(path: Path) -> None:
    """Every public name says what it is; a method that fills in its base's may leave the words to the base."""
    module = importlib.import_module(".".join(filter(None, ("metagd_nb", name_of(path)))))
    silent = [] if inspect.getdoc(module) else ["the module"]
    for name, value in public(module):
        if getattr(value, "__module__", None) != module.__name__ or not callable(value):
            continue
        silent += [] if inspect.getdoc(value) else [name]
        if inspect.isclass(value):
            silent += [f"{name}.{member}" for member, it in public(value) if is_code(it) and not told(value, member)]
    assert silent == []


def public(owner: Any) -> list[tuple[str, Any]]:
    """What a module or class defines under a name of its own."""
    return [(name, value) for name, value in vars(owner).items() if not name.startswith("_")]


def is_code(member: Any) -> bool:
    """A method or property, as opposed to a value or a field."""
    return inspect.isroutine(member) or isinstance(member, (property, functools.cached_property))


def told(owner: type, member: str) -> bool:
    """Whether a member has a docstring, its own or its base's."""
    return any(inspect.getdoc(vars(base)[member]) for base in owner.__mro__ if member in vars(base))


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("record", "from .plot import Figure", "stands right of it"),
        ("record", "from . import run", "stands right of it"),
        ("tasks/made_up", "from ..models import mlp", "stands right of it"),
        ("tasks/made_up", "from metagd_nb.run import Run", "stands right of it"),
        ("tasks/made_up", "def f():\n    import matplotlib.pyplot as plt", "nothing left of plot draws"),
        ("run", "from .plot import figure", "stands right of it"),  # a door is a function, not the module's head
        ("run", "class Run:\n    def show(self):\n        from .plot import figure", "stands right of it"),
        ("run", "class Run:\n    def plot(self):\n        from .plot import figure", None),
        ("tasks/made_up", "from .sinusoid import sinusoid\nfrom ..errors import MetagdError", None),
        ("run", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .plot import figure", None),
        ("tasks/glyphs", "import matplotlib", "nothing left of plot draws"),  # inside a function only
        ("tasks/glyphs", "def f():\n    from matplotlib.path import Path", None),
        ("plot", "import matplotlib", None),
    ],
)
def test_the_reader_of_arrows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, line: str, complaint: str | None
) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    path = tmp_path / f"{module}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    found = wrong_arrows(path)
    assert (complaint is None) == (found == [])
    assert all(complaint in line for line in found if complaint)


def test_import_is_light() -> None:
    """What ``import metagd_nb`` and the command load; how long it takes is measured in tests/bench/bench_import.py."""
    code = (
        "import sys, metagd_nb, metagd_nb.cli\n"
        "heavy = 'matplotlib ipywidgets autograd IPython scipy sklearn jupyterlab nbclient jax'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(
    "tool", [["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"], ["mypy"]]
)
def test_tools_have_nothing_to_say(tool: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
