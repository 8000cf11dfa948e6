"""Exercises: right answers are right, each known mistake is named, and no answer is just wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.notebook.book import exercises
from metagd_nb.notebook.book.exercises import Exercise
from metagd_nb.notebook.book.exercises import grading as judge

ALL = [(f"{c}.{i}", it) for c in exercises.chapters() for i, it in enumerate(exercises.chapter(c), 1)]
EACH = pytest.mark.parametrize(("number", "asked"), ALL, ids=[number for number, _ in ALL])

# Worked out by hand or by independent code: the answers that the kit computes, as numbers.
KNOWN = {
    "0.1": 5 / 6,
    "0.3": 100,
    "0.4": 2,
    "1.1": 28 / 3,
    "1.2": 3 / 28,
    "1.4": 31,
    "1.5": 10_000,
    "2.1": -3.2,
    "2.3": -4.096,
    "2.4": 0.2,
    "2.5": 0.098,
    "3.1": 2,
    "3.2": 4.5,
    "3.3": -1.623380,
    "3.4": -1,
    "4.1": 0.2,
    "4.3": [1.008, -0.306],
    "4.4": 1.44,
    "4.5": 16 / 6,
    "5.1": 0.64,
    "5.3": 3 / 7,
    "5.4": [2 / 4.75, 1.5 / 4.75],
    "5.5": 1600,
    "6.1": 0.112329,
    "6.3": [1.4, -0.8],
    "6.4": 99,
    "6.5": 7.6,
    "7.1": 0.731059,
    "7.2": 0.960730,
    "7.3": 0.36,
    "7.5": 8 / 9,
    "8.1": [2, -1],
    "8.3": 0.525,
    "8.4": 1.2,
    "8.5": 18,
    "9.1": 0.5,
    "9.2": 0.16,
    "9.4": 0.275910,
    "9.5": 8,
    "10.1": 7.5,
    "10.3": 0.092971,
    "10.4": 864.36,
    "11.2": [1 / 6, 1 / 6],
    "11.3": 400,
    "11.4": 0.2,
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    exercises._tries.clear()
    yield
    exercises._tries.clear()


def scaled(answer: Any, factor: float) -> Any:
    return (lambda *given: factor * np.asarray(answer(*given))) if callable(answer) else factor * np.asarray(answer)


@EACH
def test_right(number: str, asked: Exercise) -> None:
    assert mg.exercise(number, asked.answer).right
    if not asked.inputs:
        rounded = np.vectorize(lambda value: float(f"{value:.3g}"))(asked.answer)
        assert mg.exercise(number, rounded), "an answer with three digits is right"
        assert number in KNOWN, "write the answer down in KNOWN, from somewhere else than the kit"
        np.testing.assert_allclose(asked.answer, KNOWN[number], rtol=2e-5)


@EACH
def test_each_known_mistake_is_named(number: str, asked: Exercise) -> None:
    for sentence, answer in asked.mistakes.items():
        said = mg.exercise(number, answer)
        assert not said
        assert sentence in said.text


@EACH
def test_common_mistakes_are_named(number: str, asked: Exercise) -> None:
    """Of every exercise, listed or not: a sign, a factor, a shape, something else altogether."""
    declared = list(asked.mistakes.values())
    for factor, words in ((-1.0, "sign is flipped"), (0.5, "½ times the right"), (3.0, "3 times the right")):
        answer = scaled(asked.answer, factor)
        said = mg.exercise(number, answer)
        assert not said
        flat = judge._flat(asked, answer)
        if flat.any() and not any(judge._same(flat, judge._flat(asked, d), asked.rtol) for d in declared):
            assert words in said.text
    assert not mg.exercise(number, "seven")
    assert not mg.exercise(number, float("nan"))


@EACH
def test_told(number: str, asked: Exercise) -> None:
    assert asked.text in mg.exercise(number).text
    assert asked.text in mg.exercise(number, ...).text
    assert asked.hint in mg.exercise(number, hint=True).text
    assert asked.solution in mg.exercise(number, solution=True).text
    assert asked.hint not in mg.exercise(number, "no number").text
    second = mg.exercise(number, "still none")
    assert asked.hint in second.text
    assert f'mg.exercise("{number}", solution=True)' in second.text
    assert asked.solution not in second.text
    for sentence in asked.mistakes:
        assert not sentence.endswith("."), sentence


def asked(answer: Any, **more: Any) -> Exercise:
    return Exercise("?", answer, hint="", solution="", **more)


@pytest.mark.parametrize(
    ("truth", "given", "words"),
    [
        (2.0, 2.0005, None),
        (2.0, -2.0, "the sign is flipped"),
        (2.0, 4.0, "it is 2 times the right answer: a factor"),
        (2.0, -1.0, "it is ½ times the right answer: a factor, and the sign is flipped"),
        (2.0, 2.02, "nearly: give more digits, or look for a small term left out"),
        (2.0, 2.7, "too high"),
        (2.0, 0.1, "too low"),
        (0.0, 0.3, "too high"),
        (0.0, 0.0, None),
        (2.0, [1.0, 2.0], "one number is asked for; this has shape (2,)"),
        (2.0, [2.0], None),
        (2.0, np.nan, "it holds nan or infinity"),
        (2.0, "two", "this is str, not a number or an array of numbers"),
        (2.0, lambda: 2.0, "a number or an array is asked for; this is a function: call it"),
        ([1.0, 2.0], [1.7, 3.4], "it is 1.7 times the right answer: a factor"),
        ([1.0, 2.0], [2.0, 1.0], "the right numbers in another order"),
        ([1.0, 2.0], [1.5, 2.5], "everywhere 0.5 too high: a constant is added or left out"),
        ([1.0, 2.0, 4.0], [1.0, 2.0, 9.0], "2 of 3 numbers are right; number 3, 9, is too high"),
        ([1.0, 2.0], 3.0, "an array of shape (2,) is asked for; this is a single number"),
        ([[1.0, 2.0]], [1.0, 2.0], "an array of shape (1, 2) is asked for; this has shape (2,)"),
        (
            [[1.0], [2.0]],
            [[1.0, 2.0]],
            "an array of shape (2, 1) is asked for; this has shape (1, 2): it is transposed",
        ),
        ([1.0, 0.0], [1.0, 1e-9], None),
    ],
)
def test_the_judge(truth: Any, given: Any, words: str | None) -> None:
    assert judge.mistake(asked(truth), given) == words


def test_the_judge_of_functions() -> None:
    task = asked(
        lambda a, b: a - 2 * b,
        inputs=((np.array([1.0, 2.0]), 3.0), (np.array([4.0]), 5.0)),
        mistakes={"b came once": lambda a, b: a - b},
    )
    assert judge.mistake(task, lambda a, b: a - b - b) is None
    assert judge.mistake(task, lambda a, b: a - b) == "b came once"
    assert judge.mistake(task, lambda a, b: 2 * b - a) == "the sign is flipped"
    assert judge.mistake(task, lambda a, b: b - a) == "b came once; and the sign is flipped"
    assert judge.mistake(task, 3.0) == "a function is asked for, f(a, b); this is float"
    assert judge.mistake(task, lambda a: a) == (
        "your function stopped: TypeError: "
        "test_the_judge_of_functions.<locals>.<lambda>() takes 1 positional argument but 2 were given"
    )
    assert judge.mistake(task, lambda a, b: np.zeros(5)) == (
        "your function's result: an array of shape (2,) is asked for; this has shape (5,)"
    )

    assert "is there a `return`?" in str(judge.mistake(task, lambda a, b: None))
    each = judge.mistake(task, lambda a, b: np.stack([a - 2 * b + 1, a - 2 * b - 1]))
    assert str(each).startswith("your function's result: forgot the mean: an array of shape (2,) is asked for")

    def spoils(a: np.ndarray, b: float) -> np.ndarray:
        a -= 2 * b
        return a

    assert judge.mistake(task, spoils) is None
    assert judge.mistake(task, lambda a, b: a - 2 * b) is None, "the inputs were left as they are"


def test_a_right_answer_forgets_the_tries() -> None:
    first = exercises.chapter(1)[0]
    assert first.hint not in mg.exercise("1.1", 1.0).text
    assert mg.exercise("1.1", 28 / 3)
    assert first.hint not in mg.exercise("1.1", 1.0).text
    assert first.hint in mg.exercise("1.1", 1.0).text
    assert repr(mg.exercise("1.1", 28 / 3)) == mg.exercise("1.1", 28 / 3)._repr_markdown_() == "**1.1** ✓ right"


@pytest.mark.parametrize(
    ("number", "line"),
    [
        ("1.99", "there is no exercise 1.99; chapter 1 has 1.1 … 1.5"),
        ("1.0", "there is no exercise 1.0; chapter 1 has 1.1 … 1.5"),
        ("x.1", "unknown exercise 'x.1'; did you mean '"),
        ("1,1", "unknown exercise '1,1'; did you mean '1.1'?"),
        ("77.1", "unknown exercise '77.1'; did you mean '"),
        (None, "None is not the number of an exercise"),
    ],
)
def test_a_wrong_number(number: Any, line: str) -> None:
    with pytest.raises(MetagdError) as error:
        mg.exercise(number, 1.0)
    assert str(error.value).startswith(line)
    assert mg.exercise(1.1, 28 / 3), "a number without quotes is understood"  # type: ignore[arg-type]
