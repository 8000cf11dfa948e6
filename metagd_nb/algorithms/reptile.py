"""Reptile: move towards where adaptation went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..core.hyperparameters import hyperparameter
from ..problems.base import Problem
from ..tasks import TaskBatch
from .base import MetaGradient
from .meta import Meta
from .optimizers import OPTIMIZERS


@dataclass(frozen=True)
class Reptile(Meta):
    """Reptile: the meta-gradient is θ − φ, from a task's start to where its adaptation ends.

    The query set only judges; nothing is learned from it. With the outer rule ``sgd`` and a meta-rate ε this is
    the paper's θ ← θ + ε(φ − θ), the mean over a batch of tasks (§2, batched version).
    """

    source: ClassVar[str] = "Nichol, Achiam & Schulman 2018, algorithm 1"
    direction: ClassVar[str] = "theta - phi"

    inner_steps: int = hyperparameter(5, "adaptation steps on the support set", low=0, high=1000)
    meta_lr: float = hyperparameter(0.1, "rate of the meta-update", low=0, high=1e6, scale="log", live=True)
    outer: str = hyperparameter("sgd", "rule of the meta-update", choices=tuple(OPTIMIZERS))

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        phi = self.adapt(problem, theta, batch.support)
        query = problem.linearize(phi, batch.query)
        moved = theta - problem.flat(phi, len(batch)).mean(axis=0)
        return MetaGradient(query.loss, moved, self.inner_steps + 1)
