"""Nine packages, imports that only point left, no circles, a light import, and sizes that a reader can hold."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strict import STRICT_PYTHON

import metagd_nb as mg

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "metagd_nb"

# A package imports only packages to its left.
PACKAGES = ("core", "tasks", "models", "problems", "algorithms", "training", "analysis", "plotting", "notebook")
ALIASES = {"interpret.py", "charts.py", "sequences.py"}  # one-line modules for documented names
BACKWARD = {"plot", "export", "diagnose", "_repr_mimebundle_"}  # methods that may import from the right
DRAWING = {"matplotlib", "IPython", "ipywidgets"}
FONTS = "tasks.datasets.glyphs"  # its characters are the glyphs of matplotlib's fonts; it draws no figure

# Private attributes of other packages' objects: what IPython reads from an error, and ipykernel from a comm; our own
# entry in an IPython shell.
FOREIGN = {"_render_traceback_", "_reply_subshell_for", "_metagd"}

LINES, FUNCTION_LINES = 250, 40
RUN_MEMBERS = 32  # public names of a Run
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """``tasks.sampler`` of metagd_nb/tasks/sampler.py; "" of the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}
EACH = pytest.mark.parametrize("path", MODULES, ids=[name_of(p) or "metagd_nb" for p in MODULES])


def scopes(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Every statement with the function or class in which it stands."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt):
            yield inside, node
        deeper = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        yield from scopes(node, f"{inside}.{node.name}".lstrip(".") if deeper else inside)


def only_for_types(tree: ast.AST) -> set[ast.stmt]:
    """Statements below ``if TYPE_CHECKING``, which are never executed."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    return {s for block in blocks for statement in block.body for s in ast.walk(statement) if isinstance(s, ast.stmt)}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(scope, full dotted name) of each import in a file, relative ones resolved; modules, not the names in them."""
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
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield scope, full if full.removeprefix("metagd_nb.") in NAMES else base


def wrong_imports(path: Path) -> list[str]:
    """Imports that a module must not have, one line each."""
    here = name_of(path)
    package = here.split(".")[0]
    if package not in PACKAGES:
        return []
    place, found = PACKAGES.index(package), []
    for scope, full in imports(path):
        parts = full.split(".")
        target = parts[1] if parts[0] == "metagd_nb" and len(parts) > 1 else None
        if target in PACKAGES and PACKAGES.index(target) > place and scope.split(".")[-1] not in BACKWARD:
            found.append(f"{here} imports {full}, which stands to its right")
        elif parts[0] in DRAWING and place < PACKAGES.index("plotting") and not (scope and here == FONTS):
            found.append(f"{here} imports {full}, which only plotting and notebook may")
    return found


def arrows(deferred: bool) -> dict[str, set[str]]:
    """Module → the modules of the kit that it imports, with or without imports inside functions."""
    found: dict[str, set[str]] = {}
    for path in MODULES:
        here = name_of(path)
        targets = {full.removeprefix("metagd_nb.") for scope, full in imports(path) if deferred or not scope}
        found[here] = {target for target in targets if target in NAMES and target != here}
    return found


def test_only_the_nine_packages() -> None:
    entries = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert entries == {*PACKAGES, *ALIASES, "__init__.py", "py.typed"}


@EACH
def test_imports_point_left(path: Path) -> None:
    assert wrong_imports(path) == []


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle of imports, the first of them again at the end; [] where there is none.

    This is the definition: an arrow is an import of a module, at its top or inside a function, but not one for types
    only. The root package is no part of it, since every relative import passes through it.
    """
    graph = {here: targets - {""} for here, targets in graph.items() if here}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circles() -> None:
    """Neither between packages nor inside one, imports inside functions included."""
    assert circle(arrows(deferred=True)) == []


@pytest.mark.parametrize(
    ("second", "found"),
    [
        ("from . import one", True),
        ("def f():\n    from .one import g", True),
        ("from .. import core", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .one import g", False),
        ("import metagd_nb", False),
    ],
)
def test_the_check_of_circles_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str, found: bool) -> None:
    files = {"__init__": "from .core import one", "core/__init__": "from . import one", "core/one": "from . import two"}
    for name, text in (files | {"core/two": second}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    modules = sorted(tmp_path.rglob("*.py"))
    for name, value in (("PACKAGE", tmp_path), ("MODULES", modules), ("NAMES", {"", "core", "core.one", "core.two"})):
        monkeypatch.setitem(globals(), name, value)
    assert (circle(arrows(deferred=True)) != []) == found


def private_writes(path: Path) -> list[str]:
    """Private attributes that a module sets on an object of another class than the one in which the line stands."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owned: dict[int, set[str]] = {}  # of each attribute that is set inside a class: what that class sets on itself
    for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        targets = private_targets(owner)
        own = {target.attr for target in targets if on_itself(target)}
        owned |= {id(target): own for target in targets}
    found = [
        f"{path.name}:{target.lineno} {ast.unparse(target)}"
        for target in private_targets(tree)
        if not on_itself(target) and target.attr not in FOREIGN | owned.get(id(target), set())
    ]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) > 1]
    for call in calls:
        named = ast.unparse(call.func).split(".")[-1] in ("setattr", "__setattr__", "delattr")
        private = isinstance(call.args[1], ast.Constant) and str(call.args[1].value).startswith("_")
        if named and private and ast.unparse(call.args[0]) not in ("self", "cls"):
            found.append(f"{path.name}:{call.lineno} {ast.unparse(call)}")
    return found


def private_targets(tree: ast.AST) -> list[ast.Attribute]:
    """Every ``x._name`` that is set or deleted."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, (ast.Store, ast.Del))
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
    ]


def on_itself(target: ast.Attribute) -> bool:
    """True for ``self._name`` and ``cls._name``."""
    return isinstance(target.value, ast.Name) and target.value.id in ("self", "cls")


@EACH
def test_private_attributes_are_set_by_their_class(path: Path) -> None:
    assert private_writes(path) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("def f(run):\n    run._state = 1", True),
        ("def f(run):\n    run.loop._n += 1", True),
        ("def f(run):\n    a, run._n = 1, 2", True),
        ("def f(run):\n    del run._n", True),
        ("def f(run):\n    setattr(run, '_n', 1)", True),
        ("def f(run):\n    object.__setattr__(run, '_n', 1)", True),
        ("class A:\n    def f(self, run):\n        run._other = self", True),
        ("class A:\n    def f(self):\n        self._n = 1", False),
        ("class A:\n    def f(self):\n        self._n = 1\n    def g(cls):\n        cls()._n = 2", False),
        ("def f(run):\n    run.state = run._n", False),
    ],
)
def test_the_check_of_private_attributes_itself(tmp_path: Path, line: str, found: bool) -> None:
    (tmp_path / "made_up.py").write_text(line)
    assert (private_writes(tmp_path / "made_up.py") != []) == found


def test_no_name_is_both_a_module_and_a_function() -> None:
    both = []
    for path in MODULES:
        if path.name == "__init__.py":
            module = importlib.import_module(".".join(filter(None, ("metagd_nb", name_of(path)))))
            beside = {p.stem for p in path.parent.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
            exported = {*getattr(module, "__all__", ()), *vars(module)}
            both += [f"{name_of(path)}.{n}" for n in beside & exported if not inspect.ismodule(getattr(module, n))]
    assert both == []


@EACH
def test_length(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES
    for scope, node in scopes(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            name = ".".join(filter(None, (name_of(path), scope, node.name)))
            assert code_lines(node) <= FUNCTION_LINES, f"{name} has {code_lines(node)} lines"


def test_a_run_shows_few_names() -> None:
    """What Tab offers is what a user needs; slots and helpers stay out of ``dir``."""
    run = mg.train("gd", loss=lambda w: w**2, params={"w": 1.0}, steps=1)
    names = [name for name in dir(run) if not name.startswith("_")]
    assert len(names) <= RUN_MEMBERS, names
    internal = [name for name in dir(run) if name.startswith("_") and not name.startswith("__")]
    assert not internal


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring."""
    first = node.body[0]
    said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    lines = node.end_lineno - node.lineno + 1  # type: ignore[operator]
    return lines - (first.end_lineno - first.lineno + 1 if said else 0)  # type: ignore[operator]


@EACH
def test_docstrings(path: Path) -> None:
    """Every public name has a docstring; a method that overrides its base's may leave it to the base."""
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
    """The names without underscore that a module or class defines."""
    return [(name, value) for name, value in vars(owner).items() if not name.startswith("_")]


def is_code(member: Any) -> bool:
    """True for a method or property, False for a value or a field."""
    return inspect.isroutine(member) or isinstance(member, (property, functools.cached_property))


def told(owner: type, member: str) -> bool:
    """True if a member has a docstring, its own or its base's."""
    return any(inspect.getdoc(vars(base)[member]) for base in owner.__mro__ if member in vars(base))


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("core/made_up", "from ..plotting.style import INK", "stands to its right"),
        ("core/made_up", "from .. import training", "stands to its right"),
        ("tasks/made_up", "from ..models.net import mlp", "stands to its right"),
        ("tasks/made_up", "from metagd_nb.training.run import Run", "stands to its right"),
        ("tasks/made_up", "def f():\n    import matplotlib.pyplot as plt", "only plotting and notebook may"),
        ("training/made_up", "from ..plotting.run_figure import figure", "stands to its right"),
        (
            "training/made_up",
            "class Run:\n    def show(self):\n        from ..plotting import x",
            "stands to its right",
        ),
        ("training/made_up", "class Run:\n    def plot(self):\n        from ..plotting import x", None),
        ("training/made_up", "def f():\n    from ..core.errors import MetagdError", None),
        ("tasks/made_up", "from .base import Tasks\nfrom ..core.errors import MetagdError", None),
        ("training/made_up", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..plotting import x", None),
        ("tasks/datasets/glyphs", "import matplotlib", "only plotting and notebook may"),  # inside a function only
        ("tasks/datasets/glyphs", "def f():\n    from matplotlib.path import Path", None),
        ("plotting/made_up", "import matplotlib", None),
    ],
)
def test_the_import_check_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, line: str, complaint: str | None
) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    path = tmp_path / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line)
    found = wrong_imports(path)
    assert (complaint is None) == (found == [])
    assert all(complaint in line for line in found if complaint)


def test_import_is_light() -> None:
    """``import metagd_nb`` and the command load none of these; tests/bench/speed/bench_import.py times it."""
    code = (
        "import sys, metagd_nb, metagd_nb.notebook.cli\n"
        "heavy = 'matplotlib ipywidgets autograd IPython scipy sklearn jupyterlab nbclient jax sqlite3'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([*STRICT_PYTHON, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(
    "tool",
    [
        ["ruff", "check", "--no-cache"],
        ["ruff", "format", "--check", "--no-cache"],
        pytest.param(["mypy"], marks=pytest.mark.slow),
    ],
)
def test_tools_have_nothing_to_say(tool: list[str]) -> None:
    if tool == ["mypy"] and np.lib.NumpyVersion(np.__version__) < "2.3.0":
        pytest.skip("the types of an older NumPy ask for more arguments")
    done = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
