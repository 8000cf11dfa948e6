"""Exercises, and the grading of answers: right, or the kind of mistake."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array = np.ndarray
Function: TypeAlias = Callable[..., npt.ArrayLike]
Answer: TypeAlias = npt.ArrayLike | Function

# Names of common ratios to the right answer.
FACTORS = {2.0: "2", 3.0: "3", 4.0: "4", 1 / 2: "½", 1 / 3: "⅓", 1 / 4: "¼", np.pi: "π", 10.0: "10", 100.0: "100"}
FACTORS |= {1 / 10: "1/10", 1 / 100: "1/100", 1 / np.pi: "1/π"}
NEARLY = 0.02  # relative error of an answer that only lacks digits


@dataclass(frozen=True)
class Exercise:
    """One exercise with its answer and common mistakes.

    Parameters
    ----------
    text, hint, solution : str
        Markdown.
    answer : number, array or function
        The right answer. A function is compared by its results for ``inputs``.
    mistakes : mapping str → number, array or function
        Description of a mistake → the answer to which it leads.
    inputs : sequence of tuple
        Arguments of each call of a function.
    rtol : float
        Relative tolerance; answers may be rounded to three digits.
    """

    text: str
    answer: Answer
    hint: str
    solution: str
    mistakes: Mapping[str, Answer] = field(default_factory=dict)
    inputs: tuple[tuple[Any, ...], ...] = ()
    rtol: float = 5e-3


def mistake(exercise: Exercise, answer: Answer) -> str | None:
    """Return a sentence that names the mistake without the right answer, or None for a right answer.

    Parameters
    ----------
    exercise : Exercise
    answer : number, array or function

    Returns
    -------
    str or None
    """
    right, rtol = exercise.answer, exercise.rtol
    found = _outputs(answer, right, exercise.inputs) if callable(right) else _values(answer, right)
    if isinstance(found, str):
        return found
    truth = _flat(exercise, right)
    if _same(found, truth, rtol):
        return None
    known = _known(found, truth, exercise)
    return known or _factor(found, truth, rtol) or _arrangement(found, truth, rtol) or _position(found, truth, exercise)


def _known(found: Array, truth: Array, exercise: Exercise) -> str:
    """Return the known mistake that leads to an answer or to its negative, else ``""``."""
    wrong = {sentence: _flat(exercise, answer) for sentence, answer in exercise.mistakes.items()}
    for sentence, numbers in wrong.items():
        if _same(found, numbers, exercise.rtol):
            return sentence
    if len(truth) > 1 and not _same(-found, truth, exercise.rtol):
        for sentence, numbers in wrong.items():
            if _same(-found, numbers, exercise.rtol):
                return f"{sentence}; and the sign is flipped"
    return ""


def _flat(exercise: Exercise, answer: Answer) -> Array:
    """Return the numbers (N,) of a right answer or of a known mistake."""
    if callable(answer):
        return np.concatenate([np.ravel(np.asarray(answer(*given), float)) for given in exercise.inputs])
    return np.ravel(np.asarray(answer, float))


def _outputs(function: Answer, right: Function, inputs: tuple[tuple[Any, ...], ...]) -> Array | str:
    """Return the results (N,) of the user's function for all inputs, or a sentence about its mistake."""
    if not callable(function):
        signature = f"f{inspect.signature(right)}".split(" ->")[0]
        return f"a function is asked for, {signature}; this is {type(function).__name__}"
    parts = []
    for given in inputs:
        try:
            result = function(*(np.copy(a) if isinstance(a, np.ndarray) else a for a in given))
        except Exception as error:  # of the user's code: it becomes the message
            return f"your function stopped: {type(error).__name__}: {error}".splitlines()[0]
        numbers = _numbers(result, np.asarray(right(*given), float))
        if isinstance(numbers, str):
            return f"your function's result: {numbers}"
        parts.append(numbers)
    return np.concatenate(parts, dtype=float)


def _values(answer: Answer, truth: npt.ArrayLike) -> Array | str:
    """Return the numbers (N,) of an answer that is no function, or a sentence about its mistake."""
    if callable(answer):
        return "a number or an array is asked for; this is a function: call it"
    return _numbers(answer, np.asarray(truth, float))


def _numbers(answer: npt.ArrayLike | None, truth: Array) -> Array | str:
    """Return the numbers (N,) of an answer, or a sentence: no numbers, another shape, not finite."""
    if answer is None:
        return "this is None; is there a `return`?"
    try:
        numbers = np.asarray(answer, float)
    except (TypeError, ValueError):
        return f"this is {type(answer).__name__}, not a number or an array of numbers"
    if numbers.size != truth.size or (numbers.shape != truth.shape and numbers.size != 1):
        return _shape_mistake(numbers, truth)
    return numbers.ravel() if np.isfinite(numbers).all() else "it holds nan or infinity"


def _shape_mistake(numbers: Array, truth: Array) -> str:
    wanted = f"an array of shape {truth.shape}" if truth.ndim else "one number"
    if numbers.size == 1:
        return f"{wanted} is asked for; this is a single number"
    text = f"{wanted} is asked for; this has shape {numbers.shape}"
    if numbers.shape[1:] == truth.shape and np.allclose(numbers.mean(axis=0), truth):
        return f"forgot the mean: {text}, one entry for each"
    return f"{text}: it is transposed" if numbers.T.shape == truth.shape and truth.ndim == 2 else text


def _same(found: Array, truth: Array, rtol: float) -> bool:
    """Return True for equal shapes and numbers up to rounding; the largest number sets the tolerance of zeros."""
    if found.shape != truth.shape:
        return False
    return bool(np.all(np.abs(found - truth) <= rtol * np.abs(truth) + 1e-3 * rtol * np.abs(truth).max(initial=0.0)))


def _factor(found: Array, truth: Array, rtol: float) -> str:
    """Return a sentence if an answer is a multiple of the right one, else ``""``."""
    if _same(-found, truth, rtol):
        return "the sign is flipped"
    size = float(truth @ truth)
    ratio = float(found @ truth) / size if size else 0.0
    if not ratio or not _same(found / ratio, truth, rtol):
        return ""
    if abs(abs(ratio) - 1) < NEARLY:
        return "nearly: give more digits, or look for a small term left out"
    name = next((name for factor, name in FACTORS.items() if abs(abs(ratio) / factor - 1) < 2 * rtol), "")
    if not name and (truth != 0).sum() < 2:
        return ""
    flipped = ", and the sign is flipped" if ratio < 0 else ""
    return f"it is {name or f'{abs(ratio):.3g}'} times the right answer: a factor{flipped}"


def _arrangement(found: Array, truth: Array, rtol: float) -> str:
    """Return a sentence for the right numbers in another order or with a constant added, else ``""``."""
    if len(truth) == 1:
        return ""
    if _same(np.sort(found), np.sort(truth), rtol):
        return "the right numbers in another order"
    offset = float((found - truth).mean())
    if np.abs(found - truth - offset).max() > rtol * max(np.abs(truth).max(), abs(offset)):
        return ""
    return f"everywhere {abs(offset):.3g} too {'high' if offset > 0 else 'low'}: a constant is added or left out"


def _position(found: Array, truth: Array, exercise: Exercise) -> str:
    """Return a sentence with the number of right entries, the first wrong one, and its direction."""
    if len(truth) == 1:
        return "too high" if found[0] > truth[0] else "too low"
    right = np.abs(found - truth) <= exercise.rtol * np.maximum(np.abs(truth), 1e-3 * np.abs(truth).max())
    first = int(np.argmin(right))
    side = "high" if found[first] > truth[first] else "low"
    what = "numbers of what your function gives" if exercise.inputs else "numbers"
    return f"{int(right.sum())} of {len(truth)} {what} are right; number {first + 1}, {found[first]:.4g}, is too {side}"
