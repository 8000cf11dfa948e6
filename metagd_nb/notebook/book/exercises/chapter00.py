"""Chapter 0, five minutes."""

from __future__ import annotations

import numpy as np

from ....tasks import quadratics
from .grading import Exercise

EXERCISES = (
    Exercise(
        "Two parabolas, $\\frac12·1·\\theta^2$ and $\\frac12·5·(\\theta-1)^2$. No step will follow: where is the mean"
        " of the two lowest?",
        answer=float(quadratics(np.array([1.0, 5.0]), np.array([0.0, 1.0])).optimum()[0][0]),
        hint="At the lowest place the two slopes cancel: $1·\\theta + 5·(\\theta - 1) = 0$.",
        solution="$6\\theta = 5$, so $\\theta = \\frac56$. Each minimum counts as much as its parabola is steep.",
        mistakes={
            "that is the middle of the two minima; a steep parabola counts more": 0.5,
            "the steepnesses are exchanged: this lies near the shallow parabola": 1 / 6,
        },
    ),
    Exercise(
        "Write the *adapt* line as a function of `theta`, `alpha`, `a` and `c`: one step of size `alpha` downhill on"
        " $\\frac12 a(\\theta - c)^2$.",
        answer=lambda theta, alpha, a, c: theta - alpha * a * (theta - c),
        inputs=((0.0, 0.1, 1.0, 2.0), (3.0, 0.2, 2.0, 1.0), (-1.0, 0.5, 3.0, 0.5)),
        hint="The slope of $\\frac12 a(\\theta-c)^2$ is $a(\\theta - c)$. Downhill is against it.",
        solution="```python\ndef adapt(theta, alpha, a, c):\n    return theta - alpha * a * (theta - c)\n```",
        mistakes={
            "the step goes uphill: its sign is flipped": lambda theta, alpha, a, c: theta + alpha * a * (theta - c),
            "the steepness a is missing from the slope": lambda theta, alpha, a, c: theta - alpha * (theta - c),
            "the step size is missing": lambda theta, alpha, a, c: theta - a * (theta - c),
            "the slope has a factor too many: the ½ cancels the 2 of the square": lambda theta, alpha, a, c: (
                theta - 2 * alpha * a * (theta - c)
            ),
            "that is the step alone; add it to where you stand": lambda theta, alpha, a, c: -alpha * a * (theta - c),
        },
    ),
    Exercise(
        "A meta-step with 25 tasks and 3 steps of adaptation: how many gradients of single tasks does it need, if each"
        ' copy is judged once? (`learner.record["grad_evals"]` counts them for the run above.)',
        answer=25 * 4,
        hint="Each step of a copy needs one gradient, on its support set. Then the query set is looked at once.",
        solution="$25·(3 + 1) = 100$. With one step of adaptation it is 50, and after 2,500 updates 125,000.",
        mistakes={
            "the look at the query set is missing: it needs a gradient too": 75.0,
            "that is for one task; there are 25": 4.0,
            "each step of each copy needs a gradient of its own": 50.0,
        },
    ),
    Exercise(
        "All sines of a family have height 2, and you always predict 0. What is your mean squared error over whole"
        " periods?",
        answer=2.0,
        hint="It is the mean of $(2\\sin x)^2$. What is the mean of $\\sin^2$ over a period?",
        solution="The mean of $\\sin^2$ is ½, so $4·\\frac12 = 2$. With heights between 0.1 and 5, and the stretch from"
        " −5 to 5 which is not a whole number of periods, it is 4.25.",
        mistakes={
            "the mean of sin² is ½, not 1": 4.0,
            "the height enters squared": 1.0,
            "squared errors do not cancel": 0.0,
        },
    ),
)
