"""The inner loop: adaptation by gradient steps, and the pull-back of a gradient through these steps.

Forward, for each step j: φⱼ₊₁ = φⱼ − αⱼ ∇L(φⱼ). Back, last step first: v ← v − Hⱼ(αⱼ v), with Hⱼ the Hessian of the
loss at φⱼ. Every method that adapts by plain gradient steps calls these functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..problems.base import Point, Problem
from ..tasks import Batch

Parameters = Any  # (P,) shared by all tasks, (T, P) one a task, or the opaque value that `Point.step` returns
Rate = float | np.ndarray  # α: one number, or (P,) with one number for each parameter


def adaptation(
    problem: Problem, phi: Parameters, batch: Batch, rates: Sequence[Rate], passed: list[Point] | None = None
) -> Iterator[Parameters]:
    """Yield φ after 0, 1, … gradient steps.

    Parameters
    ----------
    problem : Problem
    phi : (P,) or (T, P)
        Where the steps begin.
    batch : Batch
        T tasks; each descends its own loss.
    rates : sequence
        One rate for each step.
    passed : list, optional
        Receives the evaluated point of each step, as `pull_back` needs them.
    """
    yield phi
    for rate in rates:
        point = problem.linearize(phi, batch)
        if passed is not None:
            passed.append(point)
        phi = point.step(rate)
        del point  # its memory is free for the next evaluation
        yield phi


def unroll(
    problem: Problem, phi: Parameters, batch: Batch, rates: Sequence[Rate]
) -> tuple[list[Point], list[Parameters]]:
    """Return the k evaluated points and the k + 1 parameters of an adaptation with k rates (see `adaptation`)."""
    passed: list[Point] = []
    phis = list(adaptation(problem, phi, batch, rates, passed))
    return passed, phis


def pull_back(
    passed: Sequence[Point], rates: Sequence[Any], v: np.ndarray, learns: bool, early: Sequence[Any] = ()
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pull the gradient v at the end of the inner steps back to their beginning.

    Parameters
    ----------
    passed : sequence of Point
        One for each step, first to last.
    rates : sequence
        The rate of each step: a number or an array (P,).
    v : array (T, P)
        Gradient of a loss at the adapted parameters, one row for each task.
    learns : bool
        Also return the gradient in the rate of each step, −g⊙v.
    early : sequence of arrays (T, P), optional
        Gradients of losses that were evaluated at the beginning of each step.

    Returns
    -------
    v : array (T, P)
        The gradient at the beginning of the first step.
    in_rates : list of arrays (P,)
        For each step the mean over tasks of the gradient in its rate; empty unless ``learns``.
    """
    in_rates: list[np.ndarray] = []
    for j in range(len(passed) - 1, -1, -1):
        if learns:
            in_rates.insert(0, -(passed[j].grad * v).mean(axis=0))
        v = v - passed[j].hvp(rates[j] * v)
        if early:
            v = v + early[j]
    return v, in_rates
