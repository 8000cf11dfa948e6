"""The exercises of the book: ``exercise("4.3", answer)``; texts, answers and known mistakes are one file a chapter.

A chapter's file is ``chapterNN.py`` with a tuple ``EXERCISES``; exercise N.i is its i-th. Nothing else lists them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ....core.errors import MetagdError, shorten, unknown_name
from .grading import Exercise, mistake

__all__ = ["Exercise", "Feedback", "chapter", "chapters", "exercise"]

TRIES_BEFORE_A_HINT = 2
_tries: Counter[str] = Counter()  # wrong answers so far, by number


@dataclass(frozen=True)
class Feedback:
    """What is said to an answer; shown as text by a notebook, and true or false in an ``assert``."""

    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.text


def chapters() -> list[int]:
    """The chapters that have exercises."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(int(name.removeprefix("chapter")) for name in names if name.startswith("chapter"))


def chapter(number: int) -> tuple[Exercise, ...]:
    """The exercises of one chapter, in order."""
    found: tuple[Exercise, ...] = importlib.import_module(f"{__name__}.chapter{number:02d}").EXERCISES
    return found


def _find(number: Any) -> tuple[str, Exercise]:
    """The exercise of a number such as ``"4.3"``."""
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


def exercise(number: str, answer: Any = None, *, hint: bool = False, solution: bool = False) -> Feedback:
    """Look at an answer to an exercise of the book.

    Parameters
    ----------
    number : str
        ``"4.3"`` is the third exercise of chapter 4.
    answer : number, array or function, optional
        Left out (or ``...``): the exercise is told.
    hint, solution : bool
        Show the hint, or the worked solution. After two wrong answers the hint comes by itself.

    Returns
    -------
    Feedback
        Its text says "right", or names the kind of mistake; it is true when the answer is right.

    Raises
    ------
    MetagdError
        For a number that no exercise has, naming the nearest.
    """
    name, asked = _find(number)
    if solution:
        return Feedback(False, f"**{name}, worked.** {asked.solution}")
    if answer is None or answer is ...:
        told = f"**{name}** {asked.text}"
        return Feedback(False, f"{told}\n\n*Hint:* {asked.hint}" if hint else told)
    wrong = mistake(asked, answer)
    if wrong is None:
        _tries.pop(name, None)
        return Feedback(True, f"**{name}** ✓ right")
    _tries[name] += 1
    said = f"**{name}** ✗ {wrong}" + "." * (not wrong.endswith("?"))
    if hint or _tries[name] >= TRIES_BEFORE_A_HINT:
        said += f'\n\n*Hint:* {asked.hint} (The worked solution: `mg.exercise("{name}", solution=True)`.)'
    return Feedback(False, said)
