"""Pretraining: the baseline that fits all tasks at once, as if they were one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..problems.base import Problem
from ..tasks import TaskBatch
from .base import MetaGradient
from .inner_loop import unroll
from .meta import Meta


@dataclass(frozen=True)
class Pretrain(Meta):
    """Pretraining: descend the loss of all tasks pooled, then fine-tune on each.

    Adaptation plays no part in what is learned; it only judges, so the record's loss compares with that of MAML.
    """

    source: ClassVar[str] = "Finn, Abbeel & Levine 2017, §5.1 (baseline pretrained on all tasks)"
    direction: ClassVar[str] = "(shots * support_grad(theta) + queries * query_grad(theta)) / (shots + queries)"

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        passed, phis = unroll(problem, theta, batch.support, self.start(problem, theta, self.inner_steps)[1])
        support = passed[0] if passed else problem.linearize(theta, batch.support)  # the first step's evaluation
        query = problem.linearize(theta, batch.query)
        shots, queries = batch.support.x.shape[1], batch.query.x.shape[1]
        pooled = (shots * support.grad + queries * query.grad) / (shots + queries)  # (T, P), every point counts once
        if passed:
            query = problem.linearize(phis[-1], batch.query)
        return MetaGradient(query.loss, pooled.mean(axis=0), self.inner_steps + 2)
