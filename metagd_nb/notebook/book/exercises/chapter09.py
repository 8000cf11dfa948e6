"""Chapter 9, what others already know."""

from __future__ import annotations

import math

import numpy as np

from .grading import Exercise


def multiple(w: np.ndarray, c: np.ndarray, c0: float) -> float:
    """Advised multiple: the weighted mean of logarithms, with weight ½ for the closed form."""
    return float(np.exp((0.5 * np.log(c0) + w @ np.log(c)) / (0.5 + w.sum())))


EXERCISES = (
    Exercise(
        "The curvatures of a problem lie between 0.5 and 3.5. Which rate is best for plain gradient descent?",
        answer=2 / (0.5 + 3.5),
        hint="The closed form of 9.1 needs the largest and the smallest.",
        solution="$2/(L+\\mu) = 2/4 = 0.5$.",
        mistakes={
            "that is 1/L: safe, but the flattest direction has to wait": 1 / 3.5,
            "that is 2/L, the limit at which descent stops to converge": 2 / 3.5,
            "the curvatures are added in the closed form; here they are subtracted": 2 / 3.0,
        },
    ),
    Exercise(
        "On a past problem of curvature 40 the rate 0.02 went best. The new one looks the same, but for its curvature:"
        " it is 5. Which rate does the past problem propose?",
        answer=0.16,
        hint="What is taken over is rate times curvature.",
        solution="$c = 0.02·40 = 0.8$, so the rate is $0.8/5 = 0.16$.",
        mistakes={
            "that is the old rate as it stands: it has the old problem's unit": 0.02,
            "the wrong way round: a flatter problem needs a larger rate": 0.0025,
            "that is the multiple c; divide it by the new curvature": 0.8,
        },
    ),
    Exercise(
        "Write the advised multiple as a function of `w` and `c`, the weights and the multiples of past problems"
        " (arrays), and `c0`, the closed form's, which has the weight ½.",
        answer=multiple,
        inputs=(
            (np.array([0.6, 0.2]), np.array([1.0, 0.1]), 1.8),
            (np.array([0.75, 0.5, 0.1]), np.array([0.5, 1.9, 0.3]), 0.99),
        ),
        hint="The mean is taken of logarithms, and the half is in the denominator too.",
        solution="```python\ndef multiple(w, c, c0):\n"
        "    return np.exp((0.5 * np.log(c0) + w @ np.log(c)) / (0.5 + w.sum()))\n```",
        mistakes={
            "that is the mean of the multiples, not of their logarithms": lambda w, c, c0: (
                (0.5 * c0 + w @ c) / (0.5 + w.sum())
            ),
            "the closed form is left out": lambda w, c, c0: np.exp(w @ np.log(c) / w.sum()),
            "that is the mean of the logarithms: it has to be turned back by exp": lambda w, c, c0: (
                (0.5 * np.log(c0) + w @ np.log(c)) / (0.5 + w.sum())
            ),
            "the weights do not sum to one: divide by ½ + Σw": lambda w, c, c0: np.exp(
                0.5 * np.log(c0) + w @ np.log(c)
            ),
        },
    ),
    Exercise(
        "A past problem differs from the new one by 1 in each of two features and by nothing else. Three settings were"
        " tried on it. What is its weight?",
        answer=math.exp(-1) * 3 / 4,
        hint="The squared distance is the sum of the squared differences.",
        solution="$d^2 = 2$, so $e^{-1}·\\tfrac34 = 0.276$.",
        mistakes={
            "the distance is not squared": math.exp(-math.sqrt(2) / 2) * 3 / 4,
            "the number of settings tried is left out": math.exp(-1),
            "the ½ in the exponent is missing": math.exp(-2) * 3 / 4,
        },
    ),
    Exercise(
        "Teaching a memory has cost 36 runs of 100 gradient evaluations. A new problem takes 540 evaluations at the"
        " default rate, and 43 with advice. With which new problem has the memory paid for itself? (The 1st, 2nd, …)",
        answer=8.0,
        hint="How much does each new problem save?",
        solution="It has cost 3600, and each problem saves $540 - 43 = 497$. $3600/497 = 7.2$, so with the eighth."
        " (The closed form costs no teaching, and pays with the first.)",
        mistakes={
            "after that many it has not quite paid yet": 7.0,
            "that is a number of problems with a fraction; which one is it?": 3600 / 497,
        },
    ),
)
