"""Chapter 11, write your own method."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .grading import Exercise


def fixed_point(a: np.ndarray, c: np.ndarray, alpha: float, k: int, s: float) -> float:
    """Limit on parabolas ½a(θ−c)² of a method with a share s of the gradient through the inner steps."""
    w = a * ((1 - alpha * a) * (1 - s * alpha * a)) ** k
    return float(w @ c / w.sum())


def slope(f: Callable[[float], float], x: float, h: float) -> float:
    """Central difference of f at x with step h."""
    return (f(x + h) - f(x - h)) / (2 * h)


EXERCISES = (
    Exercise(
        "Write the fixed point of `between` as a function of `a`, `c` (arrays, one entry a task), `alpha`, `k`, `s`.",
        answer=fixed_point,
        inputs=(
            (np.array([1.0, 3.0]), np.array([0.0, 1.0]), 0.1, 2, 0.5),
            (np.array([2.0, 0.5, 1.0]), np.array([1.0, -1.0, 3.0]), 0.2, 3, 0.25),
        ),
        hint="What remains after k steps, $(1-\\alpha a)^k$,"
        " times what the way back leaves, $(1-s\\alpha a)^k$, times $a$.",
        solution="```python\ndef fixed_point(a, c, alpha, k, s):\n"
        "    w = a * ((1 - alpha * a) * (1 - s * alpha * a)) ** k\n    return w @ c / w.sum()\n```",
        mistakes={
            "that is MAML's: the share s is not used": lambda a, c, alpha, k, s: fixed_point(a, c, alpha, k, 1.0),
            "first order instead of between: the way back is missing": lambda a, c, alpha, k, s: fixed_point(
                a, c, alpha, k, 0.0
            ),
            "only one of the k steps is counted": lambda a, c, alpha, k, s: fixed_point(a, c, alpha, 1, s),
            "the sign on the way back is flipped: it is 1 − sαa": lambda a, c, alpha, k, s: fixed_point(
                a, c, alpha, k, -s
            ),
            "each task's own steepness a is missing from its weight": lambda a, c, alpha, k, s: (
                (w := ((1 - alpha * a) * (1 - s * alpha * a)) ** k) @ c / w.sum()
            ),
            "forgot to divide by the sum of the weights": lambda a, c, alpha, k, s: (
                (a * ((1 - alpha * a) * (1 - s * alpha * a)) ** k) @ c
            ),
        },
    ),
    Exercise(
        "A learned rule of two numbers shall solve parabolas of curvature 4 and 9 exactly in two steps. Which η and"
        " which β? (Two numbers, in this order.)",
        answer=np.array([1 / 6, 1 / 6]),
        hint="$p(a) = 1 - \\eta(2+\\beta)a + \\eta^2a^2$ must be zero at both, so it is $(1-a/4)(1-a/9)$.",
        solution="$\\eta^2 = \\tfrac1{36}$, so $\\eta = \\tfrac16$; $\\eta(2+\\beta) = \\tfrac14+\\tfrac19 ="
        " \\tfrac{13}{36}$, so $\\beta = \\tfrac{13}6 - 2 = \\tfrac16$.",
        mistakes={
            "that is the best single rate, without momentum": np.array([2 / 13, 0.0]),
            "the square root is missing: 1/36 is η²": np.array([1 / 36, 11.0]),
            "the 2 in η(2+β) is missing: that is 2 + β": np.array([1 / 6, 13 / 6]),
        },
    ),
    Exercise(
        "One meta-step of `between`: 25 tasks, 5 adaptation steps. What does it cost, in gradients, if a Hessian·vector"
        " product counts as two?",
        answer=400,
        hint="Per task: the support's gradients and the query's, and one product for each step on the way back.",
        solution="$25·(5 + 1) + 2·25·5 = 150 + 250 = 400$.",
        mistakes={
            "a product was counted as one gradient; it counts as two": 275,
            "the way back is missing": 150,
            "the query's gradient is missing": 375,
            "that is one task; there are 25": 16,
        },
    ),
    Exercise(
        "Sign descent on $\\frac12w^2$ from $w = 1$ at the rate 0.3. How far from the minimum is it after 100 steps?",
        answer=0.2,
        hint="Write down the first six steps.",
        solution="1, 0.7, 0.4, 0.1, −0.2, 0.1, −0.2, …: after an even number of steps from the fourth on, 0.2. It never"
        " settles, for its steps do not become shorter.",
        mistakes={
            "that is after an odd number of steps; 100 is even": 0.1,
            "it does not settle: the length of its step does not shrink with the slope": 0.0,
            "that is as far as its step is long; count the steps to the turning point": 0.3,
        },
    ),
    Exercise(
        "Write the check by finite differences: a function of `f`, `x` and `h` that gives the slope of `f` at `x` from"
        " two values, the same way to both sides.",
        answer=slope,
        inputs=((lambda x: x**3, 1.0, 0.1), (np.exp, 0.5, 0.2)),
        hint="One value at `x + h`, one at `x - h`. How far apart are they?",
        solution="```python\ndef slope(f, x, h):\n    return (f(x + h) - f(x - h)) / (2 * h)\n```",
        mistakes={
            "that goes to one side only: its error is of the order of h, not h²": lambda f, x, h: (f(x + h) - f(x)) / h,
            "that goes to one side only, to the left": lambda f, x, h: (f(x) - f(x - h)) / h,
            "the two points are 2h apart, not h": lambda f, x, h: (f(x + h) - f(x - h)) / h,
            "it is not divided by the distance of the two points": lambda f, x, h: f(x + h) - f(x - h),
        },
    ),
)
