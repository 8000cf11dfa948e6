"""Chapter 10, small data for real."""

from __future__ import annotations

import numpy as np

from .grading import Exercise


def means(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Class means (C, D) of x (K, D) with one-hot y (K, C)."""
    return np.asarray(y.T @ x / y.sum(axis=0)[:, None])


EXERCISES = (
    Exercise(
        "Two classes on a line: examples 1, 2 and 6 of the first, 10 and 14 of the second. Where is the border of the"
        " nearest mean?",
        answer=7.5,
        hint="The border is half-way between the two means.",
        solution="The means are 3 and 12, so the border is at 7.5.",
        mistakes={
            "that is half-way between the nearest examples, not the means": 8.0,
            "that is the mean of all points, not half-way between the class means": 6.6,
            "that is the distance of the two means": 9.0,
        },
    ),
    Exercise(
        "Write the class means as a function of `x` (K, D) and one-hot `y` (K, C); the result is (C, D).",
        answer=means,
        inputs=(
            (np.array([[0.0, 1.0], [2.0, 3.0], [10.0, 4.0]]), np.array([[1, 0], [1, 0], [0, 1]])),
            (np.array([[1.0], [5.0], [3.0], [4.0]]), np.array([[0, 1], [1, 0], [1, 0], [1, 0]])),
        ),
        hint="`y.T @ x` sums the examples of each class.",
        solution="```python\ndef means(x, y):\n    return y.T @ x / y.sum(axis=0)[:, None]\n```",
        mistakes={
            "forgot the mean: that is the sum of each class": lambda x, y: y.T @ x,
            "divided by all points, not by those of the class": lambda x, y: y.T @ x / len(x),
        },
    ),
    Exercise(
        "A model is right for 36 of 40 patients. How wide is half of the 95 % interval of its accuracy, as a share?",
        answer=1.96 * np.sqrt(0.9 * 0.1 / 40),
        hint="$p = 0.9$ and $n = 40$ in the formula of 10.4.",
        solution="$1.96\\sqrt{0.09/40} = 0.093$: nine points.",
        mistakes={
            "that is the standard deviation; 1.96 of them make the interval": np.sqrt(0.09 / 40),
            "the root is missing": 1.96 * 0.09 / 40,
            "that is the whole width; half is asked for": 2 * 1.96 * np.sqrt(0.09 / 40),
        },
    ),
    Exercise(
        "How many patients must be judged for a half-width of 0.02 at an accuracy of 0.9? (Three digits are enough.)",
        answer=0.09 * (1.96 / 0.02) ** 2,
        hint="Solve $1.96\\sqrt{p(1-p)/n} = 0.02$ for $n$.",
        solution="$n = 0.09·(1.96/0.02)^2 = 864$.",
        mistakes={
            "the factor 1.96 is missing": 0.09 / 0.02**2,
            "not squared: n stands under the root": 0.09 * 1.96 / 0.02,
        },
    ),
)
