"""Chapter 6, what to adapt: ANIL, Meta-SGD, CAVIA."""

from __future__ import annotations

import numpy as np

from .grading import Exercise

H = np.array([[2.0, 1.0], [1.0, 3.0]])
RATES, START = np.diag([0.0, 0.2]), np.array([1.0, -2.0])
R = np.eye(2) - RATES @ H
LEFT = H @ R @ R @ START  # the query gradient after two steps; the minimum is at 0


def rate_slope(theta: np.ndarray, a: np.ndarray, c: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Slope (D,) of the loss Σ ½a(φ−c)² after one step in the rate of each coordinate, the mean over tasks c (T, D)."""
    g = a * (theta - c)
    return np.asarray(-(g * a * (theta - rate * g - c)).mean(axis=0))


def _gradients(
    theta: np.ndarray, a: np.ndarray, c: np.ndarray, rate: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients (T, D) before the step, after it, and after it but in terms of the initialization."""
    g = a * (theta - c)
    v = a * (theta - rate * g - c)
    return g, v, v - a * rate * v


EXERCISES = (
    Exercise(
        "Tasks as in 6.3, but the steep direction has the curvature 9 in place of 4, so the loss after a step of the"
        " common size α from the middle is $\\frac12(1-\\alpha)^2 + \\frac12 9(1-9\\alpha)^2$. Which α is best?",
        answer=82 / 730,
        hint="Set the slope in α to zero: each direction gives $-a^2(1 - a\\alpha)$.",
        solution="$(1-\\alpha) + 81(1-9\\alpha) = 0$, so $\\alpha = 82/730 = 0.1123$: nearly all for the steep one.",
        mistakes={
            "the inner derivative is missing: each direction gives a²(1−aα), not a(1−aα)": 10 / 82,
            "that is the best rate of the steep direction alone": 1 / 9,
            "that is the mean of the two best rates": 5 / 9,
        },
    ),
    Exercise(
        "Write the slope of the loss after one step in the rates as a function of `theta` (D,), `a` (D,), `c` (T, D)"
        " and `rate` (D,). The tasks are $\\sum \\frac12 a(\\theta-c)^2$; give one number for each coordinate, the mean"
        " over tasks.",
        answer=rate_slope,
        inputs=(
            (np.array([0.3, -0.2]), np.array([1.0, 4.0]), np.array([[1.0, 1.0], [-1.0, 0.5]]), np.array([0.1, 0.2])),
            (np.array([1.0]), np.array([2.0]), np.array([[0.0], [3.0], [0.4]]), np.array([0.05])),
        ),
        hint="`g = a * (theta - c)`, then the step, then `v = a * (phi - c)`. The slope in a rate is minus g times v.",
        solution="```python\ndef rate_slope(theta, a, c, rate):\n    g = a * (theta - c)\n    phi = theta - rate * g\n"
        "    v = a * (phi - c)\n    return -(g * v).mean(axis=0)\n```",
        mistakes={
            "forgot the mean over tasks: this is the sum": lambda theta, a, c, rate: (
                len(c) * rate_slope(theta, a, c, rate)
            ),
            "v is taken after it was carried back through the step; it must be v before that": (
                lambda *given: -(_gradients(*given)[0] * _gradients(*given)[2]).mean(axis=0)
            ),
            "both gradients are those before the step; one must be after it": lambda *given: (
                -(_gradients(*given)[0] ** 2).mean(axis=0)
            ),
            "the mean was taken before multiplying: each task has its own g and v": lambda *given: (
                -(_gradients(*given)[0].mean(axis=0) * _gradients(*given)[1].mean(axis=0))
            ),
        },
    ),
    Exercise(
        "The case of 6.2, `H = [[2, 1], [1, 3]]`, start `(1, -2)`, rates `(0, 0.2)`, but with *one* step. What is the"
        " meta-gradient? (Two numbers.)",
        answer=R.T @ H @ R @ START,
        hint="`phi = start - D @ H @ start`, `v = H @ phi`, then `v - H @ (D @ v)`.",
        solution="`phi` is (1, −1), so `v = H @ phi` is (1, −2); `D @ v` is (0, −0.4), `H` times that (−0.4, −1.2), and"
        " so the answer is (1.4, −0.8).",
        mistakes={
            "the order is exchanged: this is v − D(Hv)": R @ H @ R @ START,
            "first order instead of second: this is the query gradient, not carried back": H @ R @ START,
            "held still is not frozen: the first coordinate has a slope too": np.array([0.0, -0.8]),
            "two steps were taken; this time there is one": R.T @ R.T @ LEFT,
            "that is the gradient at the start: nothing has been adapted": H @ START,
        },
    ),
    Exercise(
        "A network `mlp(2, 32, 32, 3)`: two inputs, two hidden layers of 32, three outputs, with biases. How many"
        " numbers move when ANIL adapts its head?",
        answer=99.0,
        hint="The head has a weight from each of 32 features to each output, and a bias for each output.",
        solution="$32·3 + 3 = 99$, of 1,251 in all.",
        mistakes={
            "the biases are missing": 96.0,
            "one bias was counted; each of the three outputs has one": 97.0,
            "that is all of the network": 1251.0,
            "that is the head of a network with one output": 33.0,
        },
    ),
    Exercise(
        "A model with a context: $\\hat y = 2x + 3c$, where only $c$ adapts, from 0. There is one support point,"
        " $(1, 4)$, the loss is $(\\hat y - y)^2$, and the inner rate is 0.1. What does the model say at $x = 2$ after"
        " one step?",
        answer=7.6,
        hint="The slope of the loss in c is $2(\\hat y - y)·3$. Step, then put $x = 2$ in.",
        solution="At the point $\\hat y = 2$, so the slope is $2·(2-4)·3 = -12$ and $c = 1.2$. Then $2·2 + 3·1.2 ="
        " 7.6$.",
        mistakes={
            "the factor 2 of the squared error is missing from the slope": 5.8,
            "the inner derivative 3 is missing from the slope": 5.2,
            "that is the context; asked is what the model says": 1.2,
            "that is before the step": 4.0,
            "support used as query: that is what it says at the support point": 5.6,
            "the step goes uphill": 0.4,
        },
    ),
)
