"""Docstrings and names follow NumPy's and the field's conventions."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import metagd_nb as mg
import metagd_nb.charts
import metagd_nb.interpret
import metagd_nb.sequences
from metagd_nb import algorithms

PACKAGE = Path(__file__).resolve().parents[2] / "metagd_nb"
TEXTS = {str(path.relative_to(PACKAGE)): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}

QUESTIONS = re.compile(r"(What|How|Whether|Which|Where|Who|Whose|Why|When)\b")
QUESTIONS_LEFT = 16

# Private words of the code's first version; each has a standard word beside it.
PRIVATE = {
    "aside": "in_thread, skip",
    "kept": "saved, cached",
    "told": "documented, given",
    "asked": "requested",
    "bend": "curvature",
    "bent": "corrupt",
    "look": "evaluate",
    "lift": "init_parameters",
    "owed": "pending",
    "doubles": "shims",
    "standin": "shim",
    "stand_in": "shim",
    "strides": "executor",
    "recipe": "provenance",
    "workshop": "studio",
    "overlay": "comparison",
    "verdict": "stopping rule",
    "retuned": "on_rate_change",
    "spending": "cost",
    "thin": "thinning",
    "somebody": "user",
    "nobody": "none",
}
PRIVATE_LEFT = 2


def docstrings(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, docstring) of a module, its classes and its functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield getattr(node, "name", ""), ast.get_docstring(node) or ""


def names(text: str) -> set[str]:
    """Return the names that a module gives: functions, classes, parameters, variables and attributes."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return found


def private(text: str) -> set[str]:
    """Return the names that are, or hold between underscores, a private word."""
    words = re.compile(rf"(?:^|_)(?:{'|'.join(PRIVATE)})(?:_|$)")
    return {name for name in names(text) if words.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())}


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    found = [
        f"{path}: {name}" for path, text in TEXTS.items() for name, doc in docstrings(text) if QUESTIONS.match(doc)
    ]
    assert len(found) <= QUESTIONS_LEFT, "\n".join(found)


def test_names_are_the_fields_words() -> None:
    found = [f"{path}: {name}" for path, text in TEXTS.items() for name in sorted(private(text))]
    assert len(found) <= PRIVATE_LEFT, "\n".join(found)


def public_callables() -> dict[str, Any]:
    """Return the functions and classes that documentation names, and the public methods of the classes."""
    modules = {
        "mg": (mg, mg.__all__),
        "interpret": (metagd_nb.interpret, dir(metagd_nb.interpret)),
        "charts": (metagd_nb.charts, dir(metagd_nb.charts)),
        "sequences": (metagd_nb.sequences, dir(metagd_nb.sequences)),
        "algorithms": (algorithms, ("Meta", "Descent", "StepEvaluation")),
        "algorithms.base": (algorithms.base, ("learning_rate", "MetaGradient")),
        "algorithms.maml": (algorithms.maml, ("MAML", "pull_back")),
        "algorithms.fomaml": (algorithms.fomaml, ("FOMAML",)),
    }
    found: dict[str, Any] = {}
    for label, (module, names) in modules.items():
        for name in names:
            value = getattr(module, name)
            if name.startswith("_") or not callable(value) or not value.__module__.startswith("metagd_nb"):
                continue
            found[f"{label}.{name}"] = value
            if inspect.isclass(value):
                found |= {f"{label}.{name}.{n}": method for n, method in methods(value)}
    return found


def methods(owner: type) -> Iterator[tuple[str, Any]]:
    """Yield (name, function) of each public method that a class or a base of the kit defines."""
    for base in owner.__mro__:
        if base.__module__.startswith("metagd_nb"):
            for name, value in vars(base).items():
                function = getattr(value, "__func__", value)  # of a class method
                if inspect.isfunction(function) and not name.startswith("_") and getattr(owner, name, None):
                    yield name, getattr(owner, name)


SECTION = re.compile(r"^(\w+)\n-{3,}\n(.*?)(?=^\w+\n-{3,}\n|\Z)", re.MULTILINE | re.DOTALL)


def missing(value: Any) -> list[str]:
    """List in what the docstring of a function or class differs from NumPy's standard.

    Parameters must name the parameters of the signature and no others; Returns or Yields is needed where something is
    handed back; Raises where the function itself raises. A method with the docstring of its base is documented there.
    A class names its fields under Attributes or Parameters; the fields of a method are declared with a text each.
    """
    value = inspect.unwrap(value)
    sections = dict(SECTION.findall(inspect.getdoc(value) or ""))
    heads = re.findall(r"^\S.*", sections.get("Parameters", ""), re.MULTILINE)
    listed = {name.strip(" *") for head in heads for name in head.split(" : ")[0].split(",")}
    if inspect.isclass(value):
        heads = re.findall(r"^\S.*", sections.get("Attributes", ""), re.MULTILINE)
        listed |= {name.strip(" *") for head in heads for name in head.split(" : ")[0].split(",")}
        if issubclass(value, (algorithms.Algorithm, Exception)):
            return []
        return [name for name in inspect.signature(value).parameters if name not in listed]
    signature = inspect.signature(value)
    taken = set(signature.parameters) - {"self", "cls"}
    found = [name for name in signature.parameters if name in taken - listed]
    found += [f"no parameter {name}" for name in sorted(listed - taken)]
    given = str(signature.return_annotation)
    if given not in ("None", "NoReturn", str(inspect.Signature.empty)) and not {"Returns", "Yields"} & set(sections):
        found.append("Returns")
    raises = [
        node for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(value)))) if type(node) is ast.Raise
    ]
    if any(node.exc is not None for node in raises) and "Raises" not in sections:
        found.append("Raises")
    return found


def test_the_public_interface_is_documented() -> None:
    found = {name: lacks for name, value in public_callables().items() if (lacks := missing(value))}
    assert found == {}, "\n".join(f"{name}: {', '.join(lacks)}" for name, lacks in found.items())


def documented(x: int, *rest: int) -> int:
    """Return the first.

    Parameters
    ----------
    x : int
        A number.
    *rest : int
        More of them.

    Returns
    -------
    int
        The number.
    """
    return x


def half_documented(x: int, y: int) -> int:
    """Return the sum.

    Parameters
    ----------
    x : int
        A number, unlike y.
    """
    if y < 0:
        raise mg.MetagdError("y is negative")
    return x + y


def other_documented(x: int) -> None:
    """Take x.

    Parameters
    ----------
    x, z : int
        Numbers.
    """


class Point(NamedTuple):
    """A point.

    Attributes
    ----------
    x : float
    """

    x: float
    y: float


@pytest.mark.parametrize(
    ("function", "lacks"),
    [
        (documented, []),
        (half_documented, ["y", "Returns", "Raises"]),
        (other_documented, ["no parameter z"]),
        (Point, ["y"]),
    ],
)
def test_the_check_of_docstrings_itself(function: Any, lacks: list[str]) -> None:
    assert missing(function) == lacks


def test_the_check_of_names_itself() -> None:
    assert private("def told(x): ...\nclass StandIn: ...\nself.kept_rows = 1\nretold = thinning = 1") == {
        "told",
        "StandIn",
        "kept_rows",
    }
    assert QUESTIONS.match("Whether it is so.")
    assert not QUESTIONS.match("However it is.")
