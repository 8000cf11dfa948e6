"""Exercises of the book: ``exercise("4.3", answer)``; one file per chapter holds texts, answers and known mistakes.

The file of chapter N is ``chapterNN.py`` with a tuple ``EXERCISES``; exercise N.i is its i-th. They are listed nowhere
else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from dataclasses import dataclass
from types import EllipsisType

from ....core.errors import MetagdError, shorten, unknown_name
from .grading import Answer, Exercise, mistake

__all__ = ["Exercise", "Feedback", "chapter", "chapters", "exercise"]

HINT_AFTER = 2  # wrong answers
_tries: Counter[str] = Counter()  # wrong answers so far, by number


@dataclass(frozen=True)
class Feedback:
    """Response to an answer; a notebook shows it as text, and an ``assert`` passes for a right answer."""

    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.text


def chapters() -> list[int]:
    """Return the numbers of the chapters that have exercises."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(int(name.removeprefix("chapter")) for name in names if name.startswith("chapter"))


def chapter(number: int) -> tuple[Exercise, ...]:
    """Return the exercises of one chapter, in order."""
    exercises: tuple[Exercise, ...] = importlib.import_module(f"{__name__}.chapter{number:02d}").EXERCISES
    return exercises


def _find(number: str | float | None) -> tuple[str, Exercise]:
    """Return the number of an exercise as text and the exercise."""
    name = str(number).strip() if isinstance(number, (str, int, float)) else ""
    head, _, tail = name.partition(".")
    if head.isdecimal() and tail.isdecimal() and int(head) in chapters():
        own = chapter(int(head))
        if 1 <= int(tail) <= len(own):
            return f"{int(head)}.{int(tail)}", own[int(tail) - 1]
        raise MetagdError(f"there is no exercise {name}; chapter {int(head)} has {head}.1 … {head}.{len(own)}")
    if not name:
        raise MetagdError(f'{shorten(number)} is not the number of an exercise, such as "4.3"')
    raise unknown_name("exercise", name, [f"{c}.{i}" for c in chapters() for i in range(1, len(chapter(c)) + 1)])


def exercise(
    number: str, answer: Answer | EllipsisType | None = None, *, hint: bool = False, solution: bool = False
) -> Feedback:
    """Grade an answer to an exercise of the book, or show the exercise.

    Parameters
    ----------
    number : str
        ``"4.3"`` is the third exercise of chapter 4.
    answer : number, array or function, optional
        Without it (or with ``...``) the text of the exercise is shown.
    hint, solution : bool
        Show the hint, or the worked solution. After two wrong answers the hint is shown anyway.

    Returns
    -------
    Feedback
        Its text says "right", or names the kind of mistake; it is true if the answer is right.

    Raises
    ------
    MetagdError
        For a number that no exercise has, naming the nearest.
    """
    name, found = _find(number)
    if solution:
        return Feedback(False, f"**{name}, worked.** {found.solution}")
    if answer is None or isinstance(answer, EllipsisType):
        text = f"**{name}** {found.text}"
        return Feedback(False, f"{text}\n\n*Hint:* {found.hint}" if hint else text)
    wrong = mistake(found, answer)
    if wrong is None:
        _tries.pop(name, None)
        return Feedback(True, f"**{name}** ✓ right")
    _tries[name] += 1
    text = f"**{name}** ✗ {wrong}" + "." * (not wrong.endswith("?"))
    if hint or _tries[name] >= HINT_AFTER:
        text += f'\n\n*Hint:* {found.hint} (The worked solution: `mg.exercise("{name}", solution=True)`.)'
    return Feedback(False, text)
