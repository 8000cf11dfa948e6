"""Many steps at once where a step is short: plain descent on least squares, with no Python between the products.

A step of 100 parameters takes NumPy 3 µs and Python's bookkeeping 8. So whoever drives a run asks for a stride of
steps: their arithmetic is that of single steps to the bit, and losses and norms are worked out for all of them
together. A stride is short enough for whoever wants to pause or to draw, and is cut off at the step that ends the run.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from ...algorithms import ALGORITHMS, StepEvaluation
from ...algorithms.theta import State
from ..plan import Plan
from .base import StepExecutor

Array = np.ndarray
LONG = 0.005  # seconds that a stride should take
MOST = 1000  # steps of a stride
FASTER = 16  # times as many steps as in the stride before, at most


class Stride(NamedTuple):
    """Some steps on end, a row each; those after a stop do not count."""

    theta: Array  # (n, P), as the others only until the next stride
    grad: Array  # (n, P)
    loss: Array  # (n,)
    norm: Array  # (n,) of the gradient
    seconds: Array  # (n,) since the clock's start

    def rows(self, count: int, step: int, grad_evals: int, hvps: int, rates: tuple[float, ...]) -> Array:
        """Rows (count, columns) of the record for the first ``count`` steps, of which the first is ``step``."""
        columns = (
            np.arange(step, step + count),
            self.loss[:count],
            self.norm[:count],
            np.arange(grad_evals + 1, grad_evals + count + 1),
            np.full(count, hvps),
            self.seconds[:count],
            *(np.full(count, rate) for rate in rates),
        )
        return np.stack(columns, axis=1)


class LeastSquaresExecutor(StepExecutor):
    """Plain gradient descent on least squares: single steps, or strides of them.

    Parameters
    ----------
    plan : Plan
        One that it `suits`.
    theta : array (P,)
    state : state
    """

    def __init__(self, plan: Plan, theta: Array, state: State) -> None:
        super().__init__(plan, theta, state)
        equations = plan.problem.normal_equations()
        assert equations is not None
        self._equations = equations
        self._quick = 1  # steps that take about LONG
        self._rows = np.empty((4, 0))

    @staticmethod
    def suits(plan: Plan) -> bool:
        """Return True if this is the arithmetic of the plan's method and problem, not that of a subclass of either.

        Runs with bounds, with update options, or with columns that are measured at some steps, take single steps.
        """
        problem = plan.problem
        if plan.measured() or plan.update_options is not None or problem.bounds is not None:
            return False
        plain = type(plan.algorithm) is ALGORITHMS["gd"] and problem.dtype == float
        return plain and problem.normal_equations() is not None

    def advance_many(self, lr: float, clock: float, most: int) -> Stride:
        """Some of the ``most`` steps that follow a look, at the rate ``lr``; the engine stays where it is until `keep`.

        ``clock`` is the moment (of ``time.perf_counter``) from which seconds are counted.
        """
        assert self.evaluation is not None
        n = max(1, min(self._quick, most, MOST))
        begin = time.perf_counter()
        theta, grad, off, product = self._walk(lr, n)
        problem = self._equations
        # in the order of `GramPoint`, and of BLAS's dot there: the last bits depend on it
        loss = problem.anchor_loss + 0.5 * _dots(off, product) + _dots(off, problem.slack)
        norm = np.sqrt(_dots(grad, grad))
        took = time.perf_counter() - begin
        self._quick = int(min(LONG * n / max(took, 1e-9), FASTER * n))
        return Stride(theta, grad, loss, norm, begin - clock + took * np.arange(1, n + 1) / n)

    def _walk(self, lr: float, n: int) -> tuple[Array, Array, Array, Array]:
        """θ, the gradient, the way from the anchor and the Hessian times that, (n, P) each, after 1…n steps."""
        problem, size = self._equations, len(self.theta)
        if self._rows.shape[1] < (n + 1) * size:
            self._rows = np.empty((4, (n + 1) * size))
        shape = (size,) if problem.width == 1 else (-1, problem.width)  # outputs do not share a weight
        theta, grad, off, product = self._rows[:, : (n + 1) * size].reshape(4, n + 1, *shape)
        theta[0], grad[0] = self.theta.reshape(shape), self.evaluation.grad.reshape(shape)  # type: ignore[union-attr]
        anchor, slack, hessian = problem.anchor.reshape(shape), problem.slack.reshape(shape), problem.hessian
        step = np.empty_like(anchor)
        add, subtract, multiply, dot = np.add, np.subtract, np.multiply, np.dot
        before, slope = theta[0], grad[0]
        for after, new, way, product_row in zip(theta[1:], grad[1:], off[1:], product[1:], strict=True):
            multiply(slope, lr, step)
            subtract(before, step, after)
            subtract(after, anchor, way)
            dot(hessian, way, product_row)
            add(product_row, slack, new)
            before, slope = after, new
        rows = self._rows[:, size : (n + 1) * size].reshape(4, n, size)
        return rows[0], rows[1], rows[2], rows[3]

    def keep(self, stride: Stride, count: int) -> None:
        """Stand after the first ``count`` steps of the last stride."""
        theta, grad = stride.theta[count - 1].copy(), stride.grad[count - 1].copy()
        self.restore(theta, self.state, StepEvaluation(float(stride.loss[count - 1]), grad, 1, 0, self.state))


def _dots(a: Array, b: Array) -> Array:
    """Multiply each row of ``a`` (n, P) by that of ``b``, or by the one row (P,), with BLAS's dot: (n,)."""
    found: Array = (a[:, None, :] @ b[..., None])[:, 0, 0]
    return found
