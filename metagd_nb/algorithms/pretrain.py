"""Pretraining: the baseline that fits all tasks at once, as if they were one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..problems.base import Problem
from ..tasks import TaskBatch
from .base import Meta, MetaGradient


@dataclass(frozen=True)
class Pretrain(Meta):
    """Pretraining: descend the loss of all tasks pooled, then fine-tune on each.

    Adaptation plays no part in what is learned; it only judges, so the record's loss compares with that of MAML.
    """

    source: ClassVar[str] = "Finn, Abbeel & Levine 2017, §5.1 (baseline pretrained on all tasks)"

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        support, query = problem.linearize(theta, batch.support), problem.linearize(theta, batch.query)
        shots, queries = batch.support.x.shape[1], batch.query.x.shape[1]
        pooled = (shots * support.grad + queries * query.grad) / (shots + queries)  # (T, P): a point counts once
        phi = theta
        if self.inner_steps:
            phi = support.step(rate := self.rate(problem))  # the first adaptation step shares the evaluation
            for _ in range(self.inner_steps - 1):
                phi = problem.linearize(phi, batch.support).step(rate)
            query = problem.linearize(phi, batch.query)
        judged = self.inner_steps  # the steps after the first, and the query at their end
        return MetaGradient(query.loss, pooled.mean(axis=0), 2 + judged)
