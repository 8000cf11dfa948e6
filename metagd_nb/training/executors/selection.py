"""Choice of the executor of a run."""

from __future__ import annotations

from ..plan import Plan
from .base import Executor, StepExecutor
from .least_squares import LeastSquaresExecutor


def make_executor(plan: Plan) -> Executor:
    """Build the executor that takes the steps of a run, at its beginning."""
    state = plan.algorithm.init(plan.theta)
    if plan.settings.backend == "jax" and plan.problem.available():  # otherwise there is nothing to compile
        from .jax import jax_executor

        return jax_executor(plan, plan.theta, state)
    kind = LeastSquaresExecutor if LeastSquaresExecutor.suits(plan) else StepExecutor
    return kind(plan, plan.theta, state)
