"""Chapter 5, cheaper: FOMAML, Reptile, iMAML."""

from __future__ import annotations

import numpy as np

from .grading import Exercise

A, C = np.array([1.0, 4.0]), np.array([0.0, 1.0])
R2 = (1 - 0.1 * A) ** 2
H, LAM, V = np.array([[2.0, 1.0], [1.0, 3.0]]), 2.0, np.array([1.0, 1.0])
LEASHED = np.array([1.0, 3.0])


def _ends(w: np.ndarray) -> float:
    """Limit of a method that weights the minima C by w (2,)."""
    return float(w @ C / w.sum())


def reptile(theta: float, a: np.ndarray, c: np.ndarray, alpha: float, k: int) -> float:
    """Reptile's direction on parabolas ½a(θ−c)²: the mean of θ − φ."""
    return float(np.mean((1 - (1 - alpha * a) ** k) * (theta - c)))


EXERCISES = (
    Exercise(
        "Two parabolas with $a = (1, 4)$ and $c = (0, 1)$, two inner steps of size 0.1. Where does FOMAML end?",
        answer=_ends(A * R2),
        hint="FOMAML weighs each minimum by $a(1-\\alpha a)^k$.",
        solution="$w = (0.9^2,\\ 4·0.6^2) = (0.81, 1.44)$, so it ends at $1.44/2.25 = 0.64$.",
        mistakes={
            "second order instead of first: that is where MAML ends, with the way back through the steps": _ends(
                A * R2**2
            ),
            "that is where Reptile ends, with the weights 1−(1−αa)ᵏ": _ends(1 - R2),
            "that is joint training: no step was taken": _ends(A),
            "one inner step only; there are two": _ends(A * (1 - 0.1 * A)),
            "the weights here are (1−αa)ᵏ; each task's own steepness a is missing": _ends(R2),
        },
    ),
    Exercise(
        "Write Reptile's direction on parabolas as a function of `theta`, `a`, `c`, `alpha` and `k`: take `k` steps for"
        " each task, then the mean of start minus end. (The start then moves *against* it.)",
        answer=reptile,
        inputs=(
            (0.3, np.array([1.0, 3.0]), np.array([0.0, 1.0]), 0.1, 5),
            (-1.0, np.array([2.0, 0.5, 1.0]), np.array([1.0, 0.2, -0.4]), 0.2, 3),
        ),
        hint="`phi = theta` for each task, then `k` times `phi = phi - alpha * a * (phi - c)`.",
        solution="```python\ndef reptile(theta, a, c, alpha, k):\n    phi = np.full(len(a), theta)\n"
        "    for _ in range(k):\n        phi = phi - alpha * a * (phi - c)\n    return np.mean(theta - phi)\n```",
        mistakes={
            "the sign is flipped: this is end minus start": lambda *given: -reptile(*given),
            "forgot the mean over tasks: this is the sum": lambda theta, a, c, alpha, k: (
                len(a) * reptile(theta, a, c, alpha, k)
            ),
            "one step only: k is not used": lambda theta, a, c, alpha, k: reptile(theta, a, c, alpha, 1),
            "that is k times the first step; each step starts where the last one ended": (
                lambda theta, a, c, alpha, k: k * reptile(theta, a, c, alpha, 1)
            ),
            "that is FOMAML's direction: the gradient at the end, not the way there": (
                lambda theta, a, c, alpha, k: np.mean(a * (1 - alpha * a) ** k * (theta - c))
            ),
        },
    ),
    Exercise(
        "The parabolas of this chapter, $a = (1, 3)$ and $c = (0, 1)$, with a longer leash, $\\lambda = 1$. Where does"
        " iMAML end?",
        answer=_ends(LEASHED * (1 / (LEASHED + 1)) ** 2),
        hint="The weights are $a\\,\\lambda^2/(a+\\lambda)^2$.",
        solution="$w = (1/4,\\ 3/16)$, so it ends at $\\frac{3/16}{7/16} = \\frac37 = 0.4286$.",
        mistakes={
            "first order instead of second: v was not divided by 1 + a/λ": _ends(LEASHED / (LEASHED + 1)),
            "that is for the old leash, λ = 2": _ends(LEASHED * (2 / (LEASHED + 2)) ** 2),
            "that is joint training": _ends(LEASHED),
        },
    ),
    Exercise(
        "With `H = [[2, 1], [1, 3]]`, $\\lambda = 2$ and $v = (1, 1)$: solve $(I + H/\\lambda)\\,u = v$.",
        answer=np.linalg.solve(np.eye(2) + H / LAM, V),
        hint="`np.linalg.solve(np.eye(2) + H / 2, v)`, or two equations on paper.",
        solution="$I + H/2 = \\begin{pmatrix}2 & 0.5\\\\ 0.5 & 2.5\\end{pmatrix}$ with determinant 4.75, so"
        " $u = (2, 1.5)/4.75 = (0.4211, 0.3158)$.",
        mistakes={
            "multiplied by the matrix instead of solved": (np.eye(2) + H / LAM) @ V,
            "λ multiplies the Hessian here; it divides it": np.linalg.solve(np.eye(2) + H * LAM, V),
            "a factor λ is missing: this is (λI + H)⁻¹v": np.linalg.solve(LAM * np.eye(2) + H, V),
            "the identity is missing: this is (H/λ)⁻¹v": np.linalg.solve(H / LAM, V),
            "that is only the beginning of the solution, v − Hv/λ": V - H @ V / LAM,
        },
    ),
    Exercise(
        "Five inner steps; a Hessian·vector counts as two gradients. For the price of 600 meta-steps of MAML, how many"
        " of FOMAML can you have?",
        answer=600 * 16 / 6,
        hint="A meta-step costs, for each task, MAML: 6 gradients and 5 Hessian·vectors; FOMAML: 6 gradients.",
        solution="$600·(6 + 10)/6 = 1600$.",
        mistakes={
            "a Hessian·vector was counted as one gradient; it counts as two": 600 * 11 / 6,
            "the ratio is upside down: FOMAML is the cheaper one": 600 * 6 / 16,
            "the query's gradient is missing": 600 * 15 / 5,
        },
    ),
)
