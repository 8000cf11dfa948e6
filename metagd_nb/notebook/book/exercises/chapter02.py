"""Chapter 2, the learning rate learns."""

from __future__ import annotations

import numpy as np

from .grading import Exercise


def hd_step(x: float, rate: float, before: float, beta: float, h: float) -> np.ndarray:
    """Return x and the rate (2,) after one step of hypergradient descent on ½hx²."""
    grad = h * x
    rate = rate + beta * grad * before
    return np.array([x - rate * grad, rate])


def _old_rate(x: float, rate: float, before: float, beta: float, h: float) -> np.ndarray:
    return np.array([x - rate * h * x, rate + beta * h * x * before])


def _wrong_way(x: float, rate: float, before: float, beta: float, h: float) -> np.ndarray:
    return hd_step(x, rate, before, -beta, h)


def _squared(x: float, rate: float, before: float, beta: float, h: float) -> np.ndarray:
    return hd_step(x, rate, h * x, beta, h)


EXERCISES = (
    Exercise(
        "On $L = \\frac12·2·x^2$ you step from $x = 1$ with the rate 0.1. What is the slope of the loss after the step"
        " in the rate of that step?",
        answer=-3.2,
        hint="It is minus the product of the gradient after the step and the gradient before it.",
        solution="The gradient before is 2, the step leads to 0.8, the gradient there is 1.6:"
        " $-1.6·2 = -3.2$. Negative: a longer step would have been better.",
        mistakes={
            "the gradient before the step was taken twice": -4.0,
            "the gradient after the step was taken twice": -2.56,
            "that is the gradient in x after the step, not the slope in the rate": 1.6,
        },
    ),
    Exercise(
        "Write one step of hypergradient descent on $\\frac12 h x^2$ as a function of `x, rate, before, beta, h`, where"
        " `before` is the last gradient. Return the new place and the new rate, in this order.",
        answer=hd_step,
        inputs=((1.0, 0.1, 2.0, 0.01, 2.0), (-0.5, 0.3, 1.0, 0.05, 3.0), (2.0, 0.05, 0.0, 0.1, 1.0)),
        hint="First the gradient, then the rate, then the step, with the *new* rate.",
        solution="```python\ndef hd_step(x, rate, before, beta, h):\n    grad = h * x\n"
        "    rate = rate + beta * grad * before\n    return x - rate * grad, rate\n```",
        mistakes={
            "the sign of the rate's change is flipped: the slope in the rate is minus the product": _wrong_way,
            "the step was taken with the old rate; change it first": _old_rate,
            "the present gradient was squared; one of the two is that of the step before": _squared,
            "place and rate are exchanged": lambda *given: hd_step(*given)[::-1],
            "the step goes uphill: its sign is flipped": lambda x, *given: (
                np.array([2 * x, 0]) + [-1, 1] * hd_step(x, *given)
            ),
            "β is missing from the rate's change": lambda x, rate, before, beta, h: hd_step(x, rate, before, 1.0, h),
        },
    ),
    Exercise(
        "A descent of two steps on $\\frac12·2·x^2$ from $x = 1$, both with the rate 0.1. What is the slope of the loss"
        " at the end in that common rate?",
        answer=-4.096,
        hint="The end is $(1-2\\eta)^2$, so the loss is $(1-2\\eta)^4$. Or add up the slopes of both steps.",
        solution="The loss at the end is $(1 - 2\\eta)^4$; its derivative is $-8(1-2\\eta)^3 = -8·0.512 = -4.096$.",
        mistakes={
            "half of it: one step's share is missing, or the inner derivative of 1 − 2η": -2.048,
            "that is the loss at the end": 0.4096,
            "that is for one step; there are two": -3.2,
        },
    ),
    Exercise(
        "Curvatures 2 and 5, two steps with a rate each. What is the *smaller* of the two best rates?",
        answer=0.2,
        hint="One step for each direction: which rate makes $1 - \\eta\\lambda$ zero?",
        solution="The rates are the inverses of the curvatures, ½ and ⅕. The smaller is 0.2.",
        mistakes={
            "that is the larger of the two": 0.5,
            "that is the best single rate, 2/(2+5)": 2 / 7,
            "that is a curvature; the rate undoes it": 5.0,
        },
    ),
    Exercise(
        "The multiplicative form changes the rate by a share: $\\eta \\leftarrow \\eta\\,(1 + \\beta\\cos)$, with the"
        " cosine of the two gradients. With $\\eta = 0.1$, $\\beta = 0.02$ and gradients that point exactly against"
        " each other, what is the new rate?",
        answer=0.098,
        rtol=1e-3,
        hint="The cosine is −1.",
        solution="$0.1·(1 - 0.02) = 0.098$, whatever the lengths of the gradients. That is its merit.",
        mistakes={
            "the sign is flipped: against each other means that the step was too long": 0.102,
            "that is the additive form: here the change is a share of the rate": 0.08,
        },
    ),
)
