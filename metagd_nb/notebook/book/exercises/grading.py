"""What an exercise is, and what can be said about an answer to it: right, or which mistake it looks like."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray

# A constant ratio to the right answer that has a name.
FACTORS = {2.0: "2", 3.0: "3", 4.0: "4", 1 / 2: "½", 1 / 3: "⅓", 1 / 4: "¼", np.pi: "π", 10.0: "10", 100.0: "100"}
FACTORS |= {1 / 10: "1/10", 1 / 100: "1/100", 1 / np.pi: "1/π"}
NEARLY = 0.02  # an answer this near is right but for its digits


@dataclass(frozen=True)
class Exercise:
    """One exercise: what is asked, what is right, and what people do instead.

    Parameters
    ----------
    text, hint, solution : str
        Markdown.
    answer : number, array or function
        What is right. A function is compared by what it gives for ``inputs``.
    mistakes : mapping str → number, array or function
        What was done, as a sentence → the answer which that gives.
    inputs : sequence of tuple
        Arguments that a function is called with, a tuple a call.
    rtol : float
        Relative tolerance; answers may be rounded to three digits.
    """

    text: str
    answer: Any
    hint: str
    solution: str
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[tuple[Any, ...], ...] = ()
    rtol: float = 5e-3


def mistake(exercise: Exercise, answer: Any) -> str | None:
    """None for a right answer, else a sentence that names what is wrong with it, without giving the right one."""
    if exercise.inputs:
        if not callable(answer):
            return f"a function is asked for, {_signature(exercise.answer)}; this is {type(answer).__name__}"
        found: Any = _outputs(exercise, answer)
    else:
        if callable(answer):
            return "a number or an array is asked for; this is a function: call it"
        found = _numbers(answer, np.asarray(exercise.answer, float))
    if isinstance(found, str):
        return found
    truth = _flat(exercise, exercise.answer)
    if _same(found, truth, exercise.rtol):
        return None
    known = {sentence: _flat(exercise, wrong) for sentence, wrong in exercise.mistakes.items()}
    for sentence, wrong in known.items():
        if _same(found, wrong, exercise.rtol):
            return sentence
    for sentence, wrong in known.items():
        if len(truth) > 1 and _same(-found, wrong, exercise.rtol) and not _same(-found, truth, exercise.rtol):
            return f"{sentence}; and the sign is flipped"
    return _general(found, truth, exercise)


def _signature(function: Callable[..., Any]) -> str:
    return f"f{inspect.signature(function)}".split(" ->")[0]


def _flat(exercise: Exercise, answer: Any) -> Array:
    """The numbers of a right answer or of a known mistake, one after the other."""
    if exercise.inputs:
        return np.concatenate([np.ravel(np.asarray(answer(*given), float)) for given in exercise.inputs])
    return np.ravel(np.asarray(answer, float))


def _outputs(exercise: Exercise, function: Callable[..., Any]) -> Array | str:
    """What the reader's function gives for all inputs, or what is wrong with it."""
    parts = []
    for given in exercise.inputs:
        try:
            out = function(*(np.copy(a) if isinstance(a, np.ndarray) else a for a in given))
        except Exception as error:  # theirs: it is told, and the notebook goes on
            return f"your function stopped: {type(error).__name__}: {error}".splitlines()[0]
        numbers = _numbers(out, np.asarray(exercise.answer(*given), float))
        if isinstance(numbers, str):
            return f"your function's result: {numbers}"
        parts.append(numbers)
    return np.concatenate(parts, dtype=float)


def _numbers(answer: Any, truth: Array) -> Array | str:
    """The answer's numbers in a row, or why it is none: not numbers, another shape, not finite."""
    if answer is None:
        return "this is None; is there a `return`?"
    try:
        numbers = np.asarray(answer, float)
    except (TypeError, ValueError):
        return f"this is {type(answer).__name__}, not a number or an array of numbers"
    wanted = f"an array of shape {truth.shape}" if truth.ndim else "one number"
    if numbers.shape != truth.shape and numbers.size != 1:
        said = f"{wanted} is asked for; this has shape {numbers.shape}"
        if numbers.shape[1:] == truth.shape and np.allclose(numbers.mean(axis=0), truth):
            return f"forgot the mean: {said}, one entry for each"
        return f"{said}: it is transposed" if numbers.T.shape == truth.shape and truth.ndim == 2 else said
    if numbers.size != truth.size:
        return f"{wanted} is asked for; this is a single number"
    if not np.isfinite(numbers).all():
        return "it holds nan or infinity"
    return numbers.ravel()


def _same(found: Array, truth: Array, rtol: float) -> bool:
    """Equal but for rounding, measured against the size of the whole answer too: zeros may be tiny."""
    if found.shape != truth.shape:
        return False
    return bool(np.all(np.abs(found - truth) <= rtol * np.abs(truth) + 1e-3 * rtol * np.abs(truth).max(initial=0.0)))


def _general(found: Array, truth: Array, exercise: Exercise) -> str:
    """The kinds of mistake that need no list."""
    rtol = exercise.rtol
    if _same(-found, truth, rtol):
        return "the sign is flipped"
    size = float(truth @ truth)
    ratio = float(found @ truth) / size if size else 0.0
    if ratio and _same(found / ratio, truth, rtol):
        if abs(abs(ratio) - 1) < NEARLY:
            return "nearly: give more digits, or look for a small term left out"
        named = [name for factor, name in FACTORS.items() if abs(abs(ratio) / factor - 1) < 2 * rtol]
        if named or (truth != 0).sum() > 1:
            flipped = ", and the sign is flipped" if ratio < 0 else ""
            return f"it is {named[0] if named else f'{abs(ratio):.3g}'} times the right answer: a factor{flipped}"
    if len(truth) > 1:
        if _same(np.sort(found), np.sort(truth), rtol):
            return "the right numbers in another order"
        offset = float((found - truth).mean())
        if np.abs(found - truth - offset).max() <= rtol * max(np.abs(truth).max(), abs(offset)):
            return (
                f"everywhere {abs(offset):.3g} too {'high' if offset > 0 else 'low'}: a constant is added or left out"
            )
    return _where(found, truth, exercise)


def _where(found: Array, truth: Array, exercise: Exercise) -> str:
    """Which numbers are off, and to which side."""
    if len(truth) == 1:
        return "too high" if found[0] > truth[0] else "too low"
    right = np.abs(found - truth) <= exercise.rtol * np.maximum(np.abs(truth), 1e-3 * np.abs(truth).max())
    first = int(np.argmin(right))
    side = "high" if found[first] > truth[first] else "low"
    what = "numbers of what your function gives" if exercise.inputs else "numbers"
    return f"{int(right.sum())} of {len(truth)} {what} are right; number {first + 1}, {found[first]:.4g}, is too {side}"
