"""Chapter 4, MAML."""

from __future__ import annotations

import numpy as np

from ....tasks import quadratics
from .grading import Exercise

A2, C2 = np.array([1.0, 4.0]), np.array([0.0, 1.0])
H = np.array([[2.0, 1.0], [1.0, 3.0]])
RATES, START = np.diag([0.1, 0.2]), np.array([1.0, -2.0])
R = np.eye(2) - RATES @ H  # one step multiplies the distance to the minimum by it
LEFT = H @ R @ R @ START  # the query gradient after two steps; the minimum is at 0


def meta_gradient(theta: float, a: np.ndarray, c: np.ndarray, alpha: float) -> float:
    """dL/dθ after one step, the mean over parabolas ½a(θ−c)²."""
    return float(np.mean((1 - alpha * a) ** 2 * a * (theta - c)))


def _weighted(w: np.ndarray) -> float:
    return float(w @ C2 / w.sum())


EXERCISES = (
    Exercise(
        "Two parabolas with $a = (1, 4)$ and $c = (0, 1)$, one step of size $\\alpha = 0.2$. Where is the best start?",
        answer=float(quadratics(A2, C2).optimum(0.2, 1)[0][0]),
        hint="What remains of each task is $a(1-\\alpha a)^2$. It weighs the minima in their mean.",
        solution="$w = (1·0.8^2,\\ 4·0.2^2) = (0.64, 0.16)$, so"
        " $\\theta^* = 0.16/0.80 = 0.2$. Without a step it is 0.8.",
        mistakes={
            "that is the best place when no step follows": _weighted(A2),
            "first order instead of second: the weights here are a(1−αa), the way back through the step is missing": (
                _weighted(A2 * (1 - 0.2 * A2))
            ),
            "the weights here are (1−αa)²; each task's own steepness a is missing": _weighted((1 - 0.2 * A2) ** 2),
        },
    ),
    Exercise(
        "Write the meta-gradient for one step on parabolas as a function of `theta`, `a`, `c` and `alpha` (`a` and `c`"
        " are arrays with one entry a task).",
        answer=meta_gradient,
        inputs=(
            (0.3, np.array([1.0, 3.0]), np.array([0.0, 1.0]), 0.1),
            (-1.0, np.array([2.0, 0.5, 1.0]), np.array([1.0, 0.2, -0.4]), 0.2),
        ),
        hint="Adapt: `phi = theta - alpha * a * (theta - c)`. Judge: `v = a * (phi - c)`. Then back through the step, "
        "and the mean over tasks.",
        solution="```python\ndef meta_gradient(theta, a, c, alpha):\n    phi = theta - alpha * a * (theta - c)\n"
        "    v = a * (phi - c)\n    return np.mean(v - alpha * a * v)\n```",
        mistakes={
            "first order instead of second: the way back through the step, v − αav, is missing": (
                lambda theta, a, c, alpha: np.mean((1 - alpha * a) * a * (theta - c))
            ),
            "forgot the mean over tasks: this is the sum": lambda theta, a, c, alpha: np.sum(
                (1 - alpha * a) ** 2 * a * (theta - c)
            ),
            "that is the gradient at the start: nothing has been adapted": lambda theta, a, c, alpha: np.mean(
                a * (theta - c)
            ),
            "the step goes uphill: φ = θ + αa(θ−c)": lambda theta, a, c, alpha: np.mean(
                (1 - alpha * a) * (1 + alpha * a) * a * (theta - c)
            ),
            "the factor a of the query gradient is missing": lambda theta, a, c, alpha: np.mean(
                (1 - alpha * a) ** 2 * (theta - c)
            ),
        },
    ),
    Exercise(
        "One task in two dimensions: $L = \\frac12\\theta^\\top H\\theta$ with `H = [[2, 1], [1, 3]]`, start `(1, -2)`,"
        " and *two* steps in which the first coordinate has the rate 0.1 and the second 0.2. What is the meta-gradient?"
        " (Two numbers. Mind the order in `v - H @ (rate * v)`.)",
        answer=R.T @ R.T @ LEFT,
        hint="Forward: `phi = phi - rate * (H @ phi)`, twice. Then `v = H @ phi`, and twice `v = v - H @ (rate * v)`.",
        solution="`phi` goes from (1, −2) to (1, −1) to (0.9, −0.6); `v = H @ phi` is (1.2, −0.9), then (1.14, −0.48),"
        " then (1.008, −0.306).",
        mistakes={
            "the order is exchanged: this is v − rate·(Hv), which is equal only when all rates are": R @ R @ LEFT,
            "first order instead of second: this is the query gradient, not carried back": LEFT,
            "carried back through one step only; there were two": R.T @ LEFT,
            "that is the gradient at the start: nothing has been adapted": H @ START,
        },
    ),
    Exercise(
        "The model is $\\hat y = wx$ with `mse_loss` (no ½), start $w = 0$, one step with $\\alpha = 0.1$. Support: the"
        " points (1, 2) and (2, 2). Query: the point (3, 3). What is the query loss after the step?",
        answer=1.44,
        hint="The slope on the support set is $\\frac22\\sum x(wx - y)$. Step, then look at the query point only.",
        solution="Slope $-(1·2 + 2·2) = -6$, so $w = 0.6$; the query loss is $(1.8 - 3)^2 = 1.44$.",
        mistakes={
            "support used as query: that is the loss on the points that were learned from": 1.3,
            "forgot the mean: the support gradient is divided by its two points": 0.36,
            "that is the loss before the step": 9.0,
            "the step goes uphill": 23.04,
            "the factor 2 of the squared error is missing from the slope": 4.41,
        },
    ),
    Exercise(
        "Say that a Hessian·vector product costs as much as two gradients. How many times as much as the same meta-step"
        " *without* the way back does MAML's cost, with five steps of adaptation?",
        answer=(6 + 2 * 5) / 6,
        hint="Without the way back: five gradients on the support, one on the query. With it: how many products more?",
        solution="Without: $5 + 1 = 6$ gradients. With: $6 + 2·5 = 16$. So $16/6 = 2.67$ times.",
        mistakes={
            "a Hessian·vector was counted as one gradient; it costs two": 11 / 6,
            "the query's gradient is missing": 3.0,
            "that is the way back compared with the way there": 10 / 6,
        },
    ),
)
