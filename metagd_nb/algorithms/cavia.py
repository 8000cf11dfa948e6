"""CAVIA: adapt a few context parameters, share everything else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..core.array_api import namespace
from ..core.errors import MetagdError
from ..core.hyperparameters import hyperparameter
from ..problems.base import Problem
from ..tasks import TaskBatch, Tasks
from .anil import ANIL
from .base import MetaGradient
from .inner_loop import Parameters, Rate


@dataclass(frozen=True)
class CAVIA(ANIL):
    """CAVIA: adapt a context, which starts at 0 for each task, and learn all the rest.

    MAML with two masks: the inner rate is 0 outside the context, the meta-gradient is 0 within. A net gets its
    context from ``mlp(…, context=k)``, which appends it to the inputs.
    """

    source: ClassVar[str] = "Zintgraf et al. 2019 (CAVIA, supervised)"

    inner_lr: float | tuple[float, ...] = dataclasses.field(
        default=1.0, metadata=ANIL.__dataclass_fields__["inner_lr"].metadata
    )
    adapted: str = hyperparameter(
        "context", "the parameters to adapt, comma-separated; each task starts with them at 0"
    )

    def mask(self, problem: Problem) -> np.ndarray:
        if self.adapted == "context" and "context" not in problem.layout.slices:
            raise MetagdError("has no context to adapt; mlp(…, context=2) has two numbers of it", "model")
        return super().mask(problem)

    def init_parameters(self, problem: Problem, theta: np.ndarray, tasks: Tasks | None = None) -> np.ndarray:
        return super().init_parameters(problem, np.where(self.mask(problem), 0, theta).astype(theta.dtype), tasks)

    def start(self, problem: Problem, theta: np.ndarray, steps: int) -> tuple[Parameters, Sequence[Rate]]:
        phi, rates = super().start(problem, theta, steps)
        return namespace(phi).where(self.mask(problem), 0, phi).astype(problem.dtype), rates

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        found = super().meta_gradient(problem, theta, batch)
        learned = np.ones(len(found.grad), bool)
        learned[: problem.layout.size] = ~self.mask(problem)
        return found._replace(grad=found.grad * learned)
