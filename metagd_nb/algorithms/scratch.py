"""Training from scratch: the baseline that learns nothing from other tasks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..core.array_api import namespace
from ..problems.base import Problem
from ..tasks import TaskBatch
from .base import MetaGradient
from .meta import Meta


@dataclass(frozen=True)
class Scratch(Meta):
    """Training from scratch: each task alone, from the model's random start.

    What a learned start has to beat. ``evaluate(steps=…)`` shows how far training on the support set alone gets.
    """

    source: ClassVar[str] = "Finn, Abbeel & Levine 2017, §5.3 (the random start that they compare with)"
    direction: ClassVar[str] = "0 * phi"
    scheduled_rate: ClassVar[str] = ""

    meta_lr: float = dataclasses.field(default=0.0, init=False)  # no options: there is no meta-update
    outer: str = dataclasses.field(default="sgd", init=False)

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        query = problem.linearize(self.adapt(problem, theta, batch.support), batch.query)
        return MetaGradient(query.loss, namespace(theta).zeros_like(theta), self.inner_steps + 1)
