"""What Tab offers on a line of %metagd or %%metagd; the body of a cell is Python's own to complete."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from ...algorithms import ALGORITHMS
from ...core.hyperparameters import Hyperparameter
from ...tasks import Tasks
from ...training.run import Run
from .help import shown
from .options import COMMANDS, allowed

LINE = re.compile(r"\s*(?:[\w.,\s]+=\s*)?(%%?)metagd\s+(?P<rest>.*)$", re.DOTALL)


def completer(ip: Any) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """The matcher for a shell."""

    @context_matcher()  # type: ignore[untyped-decorator,unused-ignore]
    def metagd_matcher(context: CompletionContext) -> SimpleMatcherResult:
        found = LINE.match(context.text_until_cursor)
        if found is None or (found[1] == "%%" and context.full_text.split("\n")[: context.cursor_line] != []):
            return SimpleMatcherResult(completions=[], suppress=False)
        fragment, kind, offers = candidates(found["rest"], ip.user_ns)
        matching = [SimpleCompletion(text=o, type=kind) for o in offers if o.startswith(fragment)]
        return SimpleMatcherResult(completions=matching, suppress=bool(matching), matched_fragment=fragment)

    return metagd_matcher  # type: ignore[no-any-return,unused-ignore]


def candidates(rest: str, space: dict[str, Any]) -> tuple[str, str, Iterable[str]]:
    """The part before the cursor that is to be completed, what kind it is, and all that could stand there.

    Parameters
    ----------
    rest : str
        The line after ``metagd``, up to the cursor.
    space : dict
        The person's namespace.
    """
    *before, part = re.split(r"\s+", rest)
    before = [word for word in before if word]
    if not before:
        return part, "function", [*ALGORITHMS, *COMMANDS]
    if before[0] == "advise":
        if len(before) == 1:
            return part, "function", [*ALGORITHMS]
        before = before[1:]
    word, last = before[0], before[-1]
    if word == "compare":
        runs = [name for name, value in space.items() if isinstance(value, Run) and not name.startswith("_")]
        return part, "instance", [name for name in runs if name not in before]
    if word == "recognise" and len(before) == 1 and not part.startswith("-"):
        return part, "instance", [n for n, v in space.items() if isinstance(v, Tasks) and not n.startswith("_")]
    if word not in ALGORITHMS and word not in ("check", "recognise"):
        return part, "", []
    known = allowed(word)
    option, equals, text = part.partition("=")
    if not equals and len(before) > 1 and last in known:
        option, text = last, part
    elif not equals:
        option = ""
    if option in known and (isinstance(one := known[option], Hyperparameter) or one.value):
        return _values(option, known[option], text, space)
    used = {w.partition("=")[0] for w in before}
    offers = [o for o in known if o not in used]
    return part, "option", [*_functions(space), *offers] if word == "check" and not part.startswith("-") else offers


def _values(option: str, one: Any, text: str, space: dict[str, Any]) -> tuple[str, str, Iterable[str]]:
    """What could be the value of an option."""
    if isinstance(one, Hyperparameter):
        return text, "value", one.choices or ([] if one.default is None else [shown(one.default)])
    if option == "-o":
        return text, "instance", [n for n, v in space.items() if isinstance(v, Run) and not n.startswith("_")]
    loss = space.get("loss")
    *taken, part = text.split(",")
    try:
        names = list(inspect.signature(loss).parameters) if callable(loss) else []
    except (TypeError, ValueError):
        names = []
    return part, "param", [n for n in names if n not in taken]


def _functions(space: dict[str, Any]) -> list[str]:
    return [name for name, value in space.items() if inspect.isfunction(value) and not name.startswith("_")]
