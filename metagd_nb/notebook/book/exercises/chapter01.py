"""Chapter 1, gradient descent."""

from __future__ import annotations

import math

import numpy as np

from ....models.linear_regression import gradient, mse_loss
from .grading import Exercise

X3, Y3 = np.array([[1.0], [2.0], [3.0]]), np.array([2.0, 4.0, 6.0])
CURVATURE = 2 * float(X3[:, 0] @ X3[:, 0]) / 3  # of the loss on the three points


def penalised(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Gradient (d,) of the mean squared error with 0.1·Σw² added."""
    return gradient(x, y, w) + 0.2 * w


def _case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((7, 3)), rng.standard_normal(7), rng.standard_normal(3)


EXERCISES = (
    Exercise(
        "What is the gradient of the loss on the three points of 1.1, at $w = 3$? Work it out by hand.",
        answer=float(gradient(X3, Y3, np.array([3.0]))[0]),
        hint="The errors at $w = 3$ are 1, 2 and 3. Which inputs do they meet, and what is the mean of the products?",
        solution="The errors are $3x - 2x = x$, so $\\frac23(1·1 + 2·2 + 3·3) = \\frac{28}{3}$."
        " Positive: the loss grows with $w$, for the answer 2 lies below 3.",
        mistakes={
            "the sum was taken where the loss is a mean: divide by n": 28.0,
            "the errors alone were averaged; each is multiplied by its own input": 4.0,
            "that is half of it: the 2 of the square is missing (or it is the loss at w = 3, which is as much)": float(
                mse_loss(Y3, 3 * X3[:, 0])
            ),
        },
    ),
    Exercise(
        "At which rate $\\eta$ does one step on the three points land exactly on $w = 2$, wherever it starts?",
        answer=1 / CURVATURE,
        hint="A step multiplies the distance to 2 by $1 - \\eta\\lambda$. Which $\\eta$ makes that zero?",
        solution="$\\lambda = \\frac{28}{3}$, and $1 - \\eta\\lambda = 0$ at $\\eta = \\frac{3}{28}$. On a parabola"
        " the inverse of the curvature is the perfect rate; Newton's method is this remark for many weights.",
        mistakes={
            "this is the curvature λ; the rate is what undoes it": CURVATURE,
            "this is the limit 2/λ: from there the step lands as far on the other side": 2 / CURVATURE,
        },
    ),
    Exercise(
        "Write the gradient of `mse_loss(y, linear_regression_model(x, w)) + 0.1 * np.sum(w ** 2)` as a function of"
        " `x`, `y` and `w`. (The added term is a *penalty*: it prefers small weights.)",
        answer=penalised,
        inputs=(_case(1), _case(2)),
        hint="A sum is differentiated term by term. The derivative of $0.1\\,w_j^2$ in $w_j$ has a factor 2.",
        solution="```python\ndef penalised(x, y, w):\n    return mg.gradient(x, y, w) + 0.2 * w\n```",
        mistakes={
            "the penalty's square gives a factor 2 that is missing": lambda x, y, w: gradient(x, y, w) + 0.1 * w,
            "the penalty is missing": gradient,
            "the penalty pulls the wrong way: its sign is flipped": lambda x, y, w: gradient(x, y, w) - 0.2 * w,
            "the penalty was divided by n; it is a sum and not a mean": lambda x, y, w: (
                gradient(x, y, w) + 0.2 * w / len(x)
            ),
            "forgot the mean: the first term's sum over the points is divided by n": lambda x, y, w: (
                len(x) * gradient(x, y, w) + 0.2 * w
            ),
            "the 2 of the squared error is missing from the first term": lambda x, y, w: (
                gradient(x, y, w) / 2 + 0.2 * w
            ),
            "the first term has its sign flipped: it points uphill": lambda x, y, w: 0.2 * w - gradient(x, y, w),
        },
    ),
    Exercise(
        "A bowl has curvatures between 1 and 9. You descend at the best rate. How many steps do you need until the"
        " distance to the minimum is at most a thousandth of what it was, however you start? (A whole number.)",
        answer=math.ceil(math.log(1000) / math.log(10 / 8)),
        hint="At the best rate each step multiplies both ends by $(\\kappa-1)/(\\kappa+1)$. Take logarithms.",
        solution="$\\kappa = 9$, so each step multiplies by $8/10$. $0.8^{k} \\le 1/1000$ needs"
        " $k \\ge \\ln 1000/\\ln 1.25 = 30.96$: 31 steps.",
        mistakes={
            "that is how long the loss takes; it shrinks by the square, the distance by the factor itself": 16.0,
            "this is the rate 1/λ_max, which shrinks the flat direction by 8/9 only": 59.0,
            "one step short: the distance is still above a thousandth": 30.0,
        },
    ),
    Exercise(
        "Two columns are independent, with mean 0 and variance 1, so the condition number is 1. Somebody stores the"
        " first in centimetres where it was in metres: it is multiplied by 100. What is the condition number now?",
        answer=1e4,
        hint="The Hessian is $\\frac2n X^\\top X$. How often does the first column enter its first entry?",
        solution="The first diagonal entry holds the column twice: it grows by $100^2$. The condition number is 10,000,"
        " and the same descent needs some 10,000 times as many steps. Standardise the columns first.",
        mistakes={"the column enters the Hessian twice: the scale is squared": 100.0},
    ),
)
