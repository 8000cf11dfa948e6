"""Tab completion of the line after ``%metagd`` or ``%%metagd``; the body of a cell is completed as Python."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, TypeAlias

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.interactiveshell import InteractiveShell

from ...algorithms import ALGORITHMS
from ...core.hyperparameters import Hyperparameter
from ...tasks import Tasks
from ...training.run import Run
from .bind import instances
from .help import shown
from .options import COMMANDS, Declared, allowed

LINE = re.compile(r"\s*(?:[\w.,\s]+=\s*)?(%%?)metagd\s+(?P<rest>.*)$", re.DOTALL)

Candidates: TypeAlias = tuple[str, str, Iterable[str]]


def completer(ip: InteractiveShell) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """Return the matcher for a shell's completer."""

    @context_matcher()  # type: ignore[untyped-decorator,unused-ignore]
    def metagd_matcher(context: CompletionContext) -> SimpleMatcherResult:
        match = LINE.match(context.text_until_cursor)
        if match is None or (match[1] == "%%" and context.full_text.split("\n")[: context.cursor_line] != []):
            return SimpleMatcherResult(completions=[], suppress=False)
        fragment, kind, offers = candidates(match["rest"], ip.user_ns)
        matching = [SimpleCompletion(text=o, type=kind) for o in offers if o.startswith(fragment)]
        return SimpleMatcherResult(completions=matching, suppress=bool(matching), matched_fragment=fragment)

    return metagd_matcher  # type: ignore[no-any-return,unused-ignore]


def candidates(rest: str, space: Mapping[str, Any]) -> Candidates:
    """Return the part before the cursor that is completed, its kind, and every text that may stand there.

    Parameters
    ----------
    rest : str
        The line after ``metagd``, up to the cursor.
    space : mapping
        The user's namespace.

    Returns
    -------
    fragment, kind : str
    offers : iterable of str
    """
    *before, part = re.split(r"\s+", rest)
    before = list(filter(None, before))
    advise = before[:1] == ["advise"]
    before = before[advise:]
    if not before:
        if part.startswith("-"):
            return part, "option", ["--help", "--version"]
        return part, "function", [*ALGORITHMS] if advise else [*ALGORITHMS, *COMMANDS]
    word = before[0]
    if word == "help" and len(before) == 1:
        return part, "function", [*ALGORITHMS, *COMMANDS]
    if word == "compare":
        return part, "instance", [name for name in instances(space, Run) if name not in before]
    if word == "recognise" and len(before) == 1 and not part.startswith("-"):
        return part, "instance", instances(space, Tasks)
    if word not in (*ALGORITHMS, "check", "recognise"):
        return part, "", []
    return _option_candidates(word, before, part, space)


def _option_candidates(word: str, before: list[str], part: str, space: Mapping[str, Any]) -> Candidates:
    """Return the candidates for an option of a method or command, or for the value of the option before the cursor."""
    known = allowed(word)
    option, equals, text = part.partition("=")
    if not equals:
        option, text = before[-1], part
    declared = known.get(option)
    if isinstance(declared, Hyperparameter) or (declared and declared.value):
        return _values(declared, text, space)
    used = {typed.partition("=")[0] for typed in before}
    functions = instances(space, FunctionType) if word == "check" and not part.startswith("-") else ()
    return part, "option", [*functions, *(option for option in known if option not in used)]


def _values(declared: Declared, text: str, space: Mapping[str, Any]) -> Candidates:
    """Return the candidates for the value of an option."""
    if isinstance(declared, Hyperparameter) and declared.forms:
        typed = [form for form in declared.forms if " " not in form]
        beginnings = dict.fromkeys(re.match(r"[^:]*:?", form)[0] for form in typed)  # type: ignore[index]
        functions = instances(space, FunctionType).items()
        own = [name for name, function in functions if function.__module__ == "__main__"]
        return text, "value", [*beginnings, *own]
    if isinstance(declared, Hyperparameter):
        default = [] if declared.default is None else [shown(declared.default)]
        return text, "value", declared.choices or default
    if declared.option == "-o":
        return text, "instance", instances(space, Run)
    loss = space.get("loss")
    *taken, part = text.split(",")
    try:
        names = list(inspect.signature(loss).parameters) if callable(loss) else []
    except (TypeError, ValueError):
        names = []
    return part, "param", [name for name in names if name not in taken]
