"""Chapter 3, what a task is."""

from __future__ import annotations

import numpy as np

from ....tasks import sinusoid
from .grading import Exercise


def query_loss(x_support: np.ndarray, y_support: np.ndarray, x_query: np.ndarray, y_query: np.ndarray) -> float:
    """Query loss of a learner that predicts the mean of the support targets for every x."""
    return float(np.mean((y_query - np.mean(y_support)) ** 2))


EXERCISES = (
    Exercise(
        "A family has three tasks, equally likely: always 0, always 0, always 3. What is the *loss* of the best single"
        " answer?",
        answer=2.0,
        hint="The best single answer is the mean. What is the mean squared distance from it?",
        solution="The mean is 1, so the loss is $(1 + 1 + 4)/3 = 2$.",
        mistakes={
            "that is the best answer, and the question is for its loss": 1.0,
            "forgot the mean over tasks: this is the sum": 6.0,
            "that is the loss of the commonest answer, 0; under squared error the mean is best": 3.0,
            "that is its root: the loss is squared": 2.0**0.5,
        },
    ),
    Exercise(
        "All tasks are $y = 3\\sin(x - \\phi)$, with φ anywhere on the whole circle. What loss does the best single"
        " answer have, over whole periods?",
        answer=4.5,
        hint="What is the mean of all these sines at some x? What then remains of the loss?",
        solution="The mean is 0 everywhere, so nothing is gained: $9·\\frac12 = 4.5$, the mean of $(3\\sin)^2$.",
        mistakes={
            "the mean of sin² is ½, not 1": 9.0,
            "the height enters squared": 1.5,
            "the mean answer is 0, and its loss is not": 0.0,
        },
    ),
    Exercise(
        "In the family of this chapter, what does the best single answer say at $x = 0$?",
        answer=float(sinusoid().best_single(np.array([0.0]))[0]),
        hint="It is the mean height times the mean of $\\sin(0 - \\phi)$ for φ from 0 to π.",
        solution="The mean height is 2.55, and the mean of $-\\sin\\phi$ over half a circle is $-2/\\pi$:"
        " $-2.55·0.6366 = -1.6234$.",
        mistakes={
            "the mean height is missing": -2 / np.pi,
            "the largest height was taken; the mean is 2.55": -10 / np.pi,
            "at x = 0 there is a cosine of 1; the mean of −sin φ is not 0 over half a circle": 0.0,
        },
    ),
    Exercise(
        "A task of the form $p\\sin x + q\\cos x$ goes through the points $(0, 1)$ and $(\\pi/2, 2)$. What is its value"
        " at $x = \\pi$?",
        answer=-1.0,
        hint="At 0 only the cosine is left, at $\\pi/2$ only the sine. So you can read off $q$, then $p$.",
        solution="$q = 1$ from the first point, $p = 2$ from the second. At π: $2·0 + 1·(-1) = -1$.",
        mistakes={"p and q are exchanged": -2.0},
    ),
    Exercise(
        "A simple learner answers every x with the mean of the support's answers. Write its query loss as a function of"
        " `x_support, y_support, x_query, y_query`.",
        answer=query_loss,
        inputs=(
            (np.arange(3.0), np.array([1.0, 2.0, 4.0]), np.arange(2.0), np.array([0.5, 3.0])),
            (np.arange(2.0), np.array([-1.0, 0.5]), np.arange(4.0), np.array([1.0, 0.0, -2.0, 5.0])),
        ),
        hint="Learn: `answer = np.mean(y_support)`. Judge: the mean squared distance of `y_query` from it.",
        solution="```python\ndef query_loss(x_support, y_support, x_query, y_query):\n"
        "    return np.mean((y_query - np.mean(y_support)) ** 2)\n```",
        mistakes={
            "support used as query: this is the loss on the points that were learned from": (
                lambda xs, ys, xq, yq: np.mean((ys - np.mean(ys)) ** 2)
            ),
            "the query's answers were looked at while learning": lambda xs, ys, xq, yq: np.mean(
                (yq - np.mean(yq)) ** 2
            ),
            "forgot the mean: this is the sum over the query points": lambda xs, ys, xq, yq: np.sum(
                (yq - np.mean(ys)) ** 2
            ),
            "the square is missing: errors of different sign cancel": lambda xs, ys, xq, yq: np.mean(yq - np.mean(ys)),
        },
    ),
)
