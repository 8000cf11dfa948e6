"""Exercises of chapter 7, recognising tasks: answers, hints and typical mistakes."""

from __future__ import annotations

import numpy as np

from .grading import Exercise


def mixed_start(starts: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Initialization of each task (T, P): mean of the starts (G, P) weighted by its probabilities (T, G)."""
    return np.asarray(p @ starts)


EXERCISES = (
    Exercise(
        "Kind A answers +1, kind B answers −1, both equally common, noise σ = 2, as in 7.1. Four points have the mean"
        " 0.5. How likely is A?",
        answer=1 / (1 + np.exp(-1.0)),
        hint="$s = 2K\\bar y/\\sigma^2$, then $1/(1+e^{-s})$.",
        solution="$s = 2·4·0.5/4 = 1$, so $p = 1/(1+e^{-1}) = 0.731$.",
        mistakes={
            "the number of points is missing: each of them adds to the sum": 1 / (1 + np.exp(-0.25)),
            "σ was used instead of σ²": 1 / (1 + np.exp(-2.0)),
            "the factor 2 is missing: the two kinds lie 2 apart": 1 / (1 + np.exp(-0.5)),
            "that is the probability of B": 1 / (1 + np.exp(1.0)),
            "that is the log-odds s, not yet a probability": 1.0,
        },
    ),
    Exercise(
        "The same, but A is nine times as common as B before any point is seen. How likely is A after the four points?",
        answer=9 / (9 + np.exp(-1.0)),
        hint="Odds multiply: 9 to 1 before, times $e^{1}$ from the points.",
        solution="The odds are $9e$ to 1, so $p = 9e/(9e+1) = 0.961$.",
        mistakes={
            "the shares of the kinds are left out": 1 / (1 + np.exp(-1.0)),
            "the shares are the wrong way round: A is the common one": 1 / (1 + 9 * np.exp(-1.0)),
            "that is the probability before the points": 0.9,
            "odds multiply, probabilities do not": 0.9 / (1 + np.exp(-1.0)),
        },
    ),
    Exercise(
        "The best start for A is +1, for B −1. A task is A with probability 0.9. What squared error remains on average"
        " for the mixed start?",
        answer=0.36,
        hint="The start is $2p - 1$. It is wrong by $2 - 2p$ if the task is A, and by $2p$ if it is B.",
        solution="$0.9·0.2^2 + 0.1·1.8^2 = 0.036 + 0.324 = 0.36$, which is $4p(1-p)$.",
        mistakes={
            "that is the error of the hard choice, 4(1−p)": 0.4,
            "forgot that it may be B: that is the error if it is A": 0.04,
            "that is the start, not the error": 0.8,
            "the two starts lie 2 apart, and their distance enters squared: 4p(1−p)": 0.09,
        },
    ),
    Exercise(
        "Write the mixed start as a function of `starts` (G, P), one row for each kind, and `p` (T, G), the"
        " probabilities of T tasks. It gives (T, P).",
        answer=mixed_start,
        inputs=(
            (np.array([[1.0, 0.0], [-1.0, 2.0]]), np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])),
            (np.array([[0.5], [3.0], [-1.0]]), np.array([[0.2, 0.3, 0.5]])),
        ),
        hint="For each task, the sum over kinds of probability times start: a matrix product.",
        solution="```python\ndef mixed_start(starts, p):\n    return p @ starts\n```",
        mistakes={
            "that is the start of the likeliest kind: a hard choice": lambda starts, p: starts[p.argmax(axis=1)],
            "the probabilities are not used: this is the plain mean of the starts": lambda starts, p: np.tile(
                starts.mean(axis=0), (len(p), 1)
            ),
            "the mean over kinds was taken; probabilities sum to 1 already": lambda starts, p: p @ starts / len(starts),
        },
    ),
    Exercise(
        "A recogniser took 80 of 100 tasks of kind A for A and 20 for B; of 100 tasks of kind B it took 30 for A and 70"
        " for B. In practice there are three times as many A as B. If it says A, how likely is it A?",
        answer=240 / 270,
        hint="Of 300 A it calls how many A? And of 100 B?",
        solution="Of 300 A it calls 240 A, of 100 B it calls 30 A: $240/270 = 0.889$.",
        mistakes={
            "the shares of the kinds are left out: there are three A for each B": 80 / 110,
            "that is how likely it says A if it is A; asked is the other direction": 0.8,
            "the shares are the wrong way round": 80 / 170,
            "that is the share of right answers over all": 310 / 400,
        },
    ),
)
