"""First-order MAML: MAML without the Hessian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..problems.base import Problem
from ..tasks import TaskBatch
from .base import MetaGradient
from .meta import Meta


@dataclass(frozen=True)
class FOMAML(Meta):
    """First-order MAML: the query gradient at the adapted φ moves θ; no second derivatives."""

    source: ClassVar[str] = "Finn, Abbeel & Levine 2017, §5.2 (first-order approximation)"
    direction: ClassVar[str] = "query_grad(phi)"

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        query = problem.linearize(self.adapt(problem, theta, batch.support), batch.query)
        return MetaGradient(query.loss, query.grad.mean(axis=0), self.inner_steps + 1)
