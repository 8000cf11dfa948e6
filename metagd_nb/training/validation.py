"""Validation: the loss on rows that are held out, every few steps of a single-task run."""

from __future__ import annotations

import numpy as np

from ..core.errors import MetagdError
from ..problems.base import Problem
from ..tasks import Batch

Array = np.ndarray
EVERY = 20  # steps between two evaluations, where there are no epochs
STREAM = 0x5A  # of the random numbers that choose the rows


class Validation:
    """Loss of one task on the rows that are held out; a function of the parameters (P,).

    Parameters
    ----------
    problem : Problem
    rows : Batch or None
        Held-out rows; None for a problem that has no other data than these.
    every : int
        Steps between two evaluations; the first is at step 0.
    """

    def __init__(self, problem: Problem, rows: Batch | None, every: int = EVERY) -> None:
        self.problem, self.rows, self.every = problem, rows, every

    def due(self, step: int) -> bool:
        """Return True if there is an evaluation at this step."""
        return step % self.every == 0

    def __call__(self, params: Array) -> float:
        """Return the loss on the held-out rows at the parameters (P,)."""
        with np.errstate(all="ignore"):
            return float(self.problem.value_at(params, self.rows))


def split_rows(n: int, share: float, seed: int) -> tuple[Array, Array]:
    """Choose the rows of a table that are held out.

    Parameters
    ----------
    n : int
        Number of rows.
    share : float
        Share of the rows that are held out.
    seed : int

    Returns
    -------
    training, held_out : array of int
        Row numbers, each in increasing order.

    Raises
    ------
    MetagdError
        For a share that leaves a side without a row.
    """
    count = round(share * n)
    if not 0 < count < n:
        raise MetagdError(f"{share:g} of {n} rows leaves one side without a row", "validation")
    order = np.random.default_rng([seed, STREAM]).permutation(n)
    return np.sort(order[count:]), np.sort(order[:count])
