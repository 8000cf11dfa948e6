"""MAML: learn where to start, so that a few gradient steps suffice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..problem import Problem
from ..tasks import TaskBatch
from .base import Meta


@dataclass(frozen=True)
class MAML(Meta):
    """MAML: descend the query loss after adaptation, through the adaptation steps.

    The query gradient v at the adapted φ is pulled back through the inner steps, last first:
    v ← v − H(α v), H being the support loss's Hessian where the step was taken. Where the paper sums over
    tasks (algorithm 1, line 8) this takes the mean, so that the meta-rate does not depend on the batch size.
    """

    source: ClassVar[str] = "Finn, Abbeel & Levine 2017, algorithm 1 and §2.2"

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> tuple[np.ndarray, np.ndarray]:
        rate = self.rate(problem)
        phi, passed = theta, []
        for _ in range(self.inner_steps):
            point = problem.linearize(phi, batch.support)
            passed.append(point)
            phi = point.step(rate)
        query = problem.linearize(phi, batch.query)
        v = query.grad
        for point in reversed(passed):
            v = v - point.hvp(rate * v)
        return query.loss, v.mean(axis=0)

    def hvps_per_task(self) -> int:
        return self.inner_steps
