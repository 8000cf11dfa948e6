"""Other packages ask a problem only what `Problem` declares: they do not look at its class or probe for attributes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from metagd_nb.problems.base import Problem

PACKAGE = Path(__file__).resolve().parents[2] / "metagd_nb"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "problems" not in path.relative_to(PACKAGE).parts)
PROBES = {"getattr", "hasattr", "isinstance", "issubclass", "type", "vars", "dir", "setattr"}


def is_problem(node: ast.AST) -> bool:
    """True for ``problem``, ``self._problem``, ``run.plan.problem``, ``plan.problem.loss`` and the like."""
    if isinstance(node, ast.Name):
        return node.id.strip("_") == "problem"
    return isinstance(node, ast.Attribute) and (node.attr.strip("_") == "problem" or is_problem(node.value))


def is_problem_class(node: ast.AST) -> bool:
    """True for ``NetProblem``, ``problems.LeastSquares`` and tuples of such."""
    if isinstance(node, ast.Tuple):
        return any(map(is_problem_class, node.elts))
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.endswith("Problem") or name == "LeastSquares"


def probes(source: str) -> list[str]:
    """Lines that look behind the protocol, and parameters or fields called problem that are typed Any."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PROBES and node.args:
            wrong = is_problem(node.args[0]) or any(map(is_problem_class, node.args[1:]))
        elif isinstance(node, ast.arg):
            wrong = node.arg == "problem" and (node.annotation is None or ast.unparse(node.annotation) == "Any")
        elif isinstance(node, ast.AnnAssign):
            wrong = is_problem(node.target) and ast.unparse(node.annotation) == "Any"
        elif isinstance(node, ast.Attribute) and is_problem(node.value):
            wrong = node.attr.startswith("_")
        else:
            wrong = False
        if wrong:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_no_module_looks_behind_the_protocol(path: Path) -> None:
    assert probes(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "net = getattr(run.plan.problem, 'net', None)",
        "ok = hasattr(problem, 'predict')",
        "ok = isinstance(plan.problem, Net)",
        "ok = isinstance(thing, NetProblem)",
        "ok = isinstance(thing, (int, closed_form.LeastSquares))",
        "ok = type(self._problem) is int",
        "ok = getattr(self.problem.loss, 'parts', None)",
        "data = run.plan.problem._binding",
        "def f(problem: Any): pass",
        "def f(problem): pass",
        "class Plan:\n    problem: Any",
    ],
)
def test_such_a_line_is_found(line: str) -> None:
    assert len(probes(line)) >= 1


def test_a_use_of_the_protocol_is_allowed() -> None:
    used = "def f(problem: Problem):\n    if problem.net is not None:\n        problem.predict(0, x)"
    assert probes(used) == []


def test_a_problem_without_inputs_says_so() -> None:
    problem = Problem()
    assert problem.available()
    assert not problem.predicts
    assert problem.user_functions() == {}
    for ask in (problem.predict, problem.embed):
        with pytest.raises(Exception, match="no inputs"):
            ask(None, None)  # type: ignore[arg-type]
