"""Parameters say what they take: few are annotated with a type that says nothing, runs and problems never."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "metagd_nb"
SAYS_NOTHING = {"Any", "object", "dict", "list", "tuple", "Callable", "Mapping", "Sequence"}  # without [...]
LIMIT = 0.05  # of all parameters
UNTYPED_RUNS_OR_PROBLEMS = 20  # parameters and attributes


def says_nothing(annotation: ast.expr | None) -> bool:
    """Return True for Any, object, a bare container, a union with one of them, and no annotation at all."""
    if annotation is None:
        return True
    if isinstance(annotation, ast.BinOp):
        return says_nothing(annotation.left) or says_nothing(annotation.right)
    return ast.unparse(annotation).strip("'\"").split(".")[-1] in SAYS_NOTHING


def parameters(text: str) -> Iterator[tuple[str, ast.arg]]:
    """Yield each parameter of each function with the function's name, self and cls left out."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = node.args
            rest = [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
            for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *rest]:
                if each.arg not in ("self", "cls"):
                    yield node.name, each


def untyped(text: str, names: tuple[str, ...]) -> list[str]:
    """List the parameters and attributes of these names that are annotated with Any."""
    tree = ast.parse(text)
    found = [(each.arg, each.annotation) for _, each in parameters(text)]
    found += [(ast.unparse(n.target), n.annotation) for n in ast.walk(tree) if isinstance(n, ast.AnnAssign)]
    return [name for name, annotation in found if name in names and annotation and ast.unparse(annotation) == "Any"]


def test_few_parameters_are_any() -> None:
    every = [(path, *found) for path in sorted(PACKAGE.rglob("*.py")) for found in parameters(path.read_text("utf-8"))]
    vague = [
        f"{path.relative_to(PACKAGE)}: {name}({each.arg})"
        for path, name, each in every
        if says_nothing(each.annotation)
    ]
    assert len(vague) / len(every) <= LIMIT, "\n".join(vague)


def test_runs_and_problems_have_a_type() -> None:
    found = {str(path): untyped(path.read_text("utf-8"), ("run", "problem")) for path in sorted(PACKAGE.rglob("*.py"))}
    assert sum(map(len, found.values())) <= UNTYPED_RUNS_OR_PROBLEMS, {
        path: names for path, names in found.items() if names
    }


@pytest.mark.parametrize(
    ("annotation", "vague"),
    [
        *((vague, True) for vague in ("Any", "object", "t.Any", "dict", "Callable", "int | Any", "'Any'", None)),
        *((clear, False) for clear in ("int", "dict[str, Any]", "Callable[[int], int]", "ArrayLike", "int | None")),
    ],
)
def test_the_count_itself(annotation: str | None, vague: bool) -> None:
    text = f"class A:\n    def f(self, x{f': {annotation}' if annotation else ''}): ..."
    assert [(name, each.arg, says_nothing(each.annotation)) for name, each in parameters(text)] == [("f", "x", vague)]
    assert untyped("def f(run: Any, problem: Problem): ...\nclass A:\n    problem: Any\n", ("run", "problem")) == [
        "run",
        "problem",
    ]
