"""Chapter 8, predicting sequences."""

from __future__ import annotations

import numpy as np

from .grading import Exercise


def recursive(law: np.ndarray, last: np.ndarray, horizon: int) -> np.ndarray:
    """Forecasts (H,) of y_t = law[0]·y_{t−1} + law[1]·y_{t−2} after the values ``last`` (2,), the latest at the end."""
    made = list(last)
    for _ in range(horizon):
        made.append(law[0] * made[-1] + law[1] * made[-2])
    return np.array(made[2:], float)


EXERCISES = (
    Exercise(
        "A series begins 1, 2, 3, 4 and follows $y_t = a\\,y_{t-1} + b\\,y_{t-2}$. What are $(a, b)$? (Two numbers.)",
        answer=np.array([2.0, -1.0]),
        hint="Two equations: $3 = 2a + b$ and $4 = 3a + 2b$.",
        solution="From $b = 3 - 2a$ follows $4 = 3a + 6 - 4a$, so $a = 2$ and $b = -1$: a line is a wave that never"
        " turns.",
        mistakes={"a and b are exchanged: a belongs to the value just before": np.array([-1.0, 2.0])},
    ),
    Exercise(
        "Write a recursive forecast as a function of `law` (two numbers, as in 8.1), `last` (the last two values, the"
        " latest at the end) and `horizon`. It gives `horizon` values.",
        answer=recursive,
        inputs=(
            (np.array([1.5, -0.8]), np.array([1.0, 2.0]), 4),
            (np.array([0.4, 0.5]), np.array([-1.0, 0.3]), 3),
        ),
        hint="Keep a list, and append what the law says of its last two values.",
        solution="```python\ndef recursive(law, last, horizon):\n    made = list(last)\n    for _ in range(horizon):\n"
        "        made.append(law[0] * made[-1] + law[1] * made[-2])\n    return np.array(made[2:])\n```",
        mistakes={
            "law[0] belongs to the latest value, law[1] to the one before": lambda law, last, horizon: recursive(
                law[::-1], last, horizon
            ),
            "the last two values were taken in the wrong order": lambda law, last, horizon: recursive(
                law, last[::-1], horizon
            ),
            "the first forecast is repeated; each one must enter the window of the next": lambda law, last, horizon: (
                np.repeat(recursive(law, last, 1), horizon)
            ),
        },
    ),
    Exercise(
        "The learner of one step in 8.2, $d = 20$ dimensions and $k = 19$ examples: what share of the error is left?",
        answer=0.525,
        hint="$(d+1)/(k+d+1)$.",
        solution="$21/40 = 0.525$. (Least squares would leave $1 - 19/20 = 0.05$.)",
        mistakes={
            "that is γ, the size of the step": 0.475,
            "that is what least squares leaves": 0.05,
            "the 1 is missing: it comes from the fourth moment of x": 20 / 39,
        },
    ),
    Exercise(
        "The history is 2, 4, 3, 5; then came 6 and 8. What is the MASE of the naive forecast, the mean over both"
        " values?",
        answer=1.2,
        hint="The unit is the mean absolute step of the *history*. The naive forecast is 5, twice.",
        solution="Steps 2, 1, 2: the unit is $5/3$. Errors 1 and 3, mean 2: $2/(5/3) = 1.2$.",
        mistakes={
            "the unit was not divided by: that is the mean absolute error": 2.0,
            "steps of the future entered the unit": 2 / 1.6,
            "forgot the mean: that is the sum over both values": 2.4,
        },
    ),
    Exercise(
        "A method was wrong by 1, 2, 3, … 19 (absolute) on 19 other series. How far must a 90 % interval reach to both"
        " sides? It is the ⌈(S+1)·0.9⌉-th smallest error.",
        answer=18.0,
        hint="S is 19.",
        solution="$⌈20·0.9⌉ = 18$, and the 18th smallest error is 18.",
        mistakes={
            "that is 90 % of the largest error; the rank is asked for": 17.1,
            "that is the largest error: it would hold 95 %": 19.0,
            "that is the whole width; asked is how far to each side": 36.0,
            "the error of the new series must be counted in: S + 1, not S − 1": 17.0,
        },
    ),
)
