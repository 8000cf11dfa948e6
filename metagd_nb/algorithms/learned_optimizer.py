"""A learned optimizer: gradient descent whose step is itself learned by gradient descent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ..core.array_api import namespace
from ..core.hyperparameters import hyperparameter
from ..core.parameters import ParameterLayout
from ..problems.base import Point, Problem
from ..tasks import Batch, TaskBatch, Tasks
from .base import MetaGradient
from .learned_optimizer_cells import Back, Cell, LinearCell, LSTMCell, taken
from .meta import Meta, inner_rate


@dataclass(frozen=True)
class L2L(Meta):
    """Learned optimizer: a small network, shared by all coordinates, makes the steps.

    φ ← φ − α·m(g, s), each coordinate with a state s of its own. The network's weights descend the query loss after
    ``inner_steps`` of its steps. The adjoints v of φ and z of the state are pulled back through each step, last first:
    v ← v − H·(Jᵀ(α v) − Kᵀz), J and K being the derivatives of m and of the next state in the gradient. The paper
    leaves this Hessian term out (§2); here it is exact. Where the paper sums the losses of all steps, this takes their
    mean; ``learn_start`` learns θ along (as in Ravi & Larochelle 2017).
    """

    source: ClassVar[str] = "Andrychowicz et al. 2016, §2 and appendix A"

    inner_lr: float | tuple[float, ...] = inner_rate(0.1)
    inner_steps: int = hyperparameter(10, "adaptation steps on the support set", low=0, high=1000)
    cell: str = hyperparameter(
        "lstm", "the network; linear: momentum with learned rate and mass", choices=("lstm", "linear")
    )
    hidden: int = hyperparameter(8, "width of the lstm", low=1, high=256)
    query_loss: str = hyperparameter(
        "all", "query loss after the last inner step, or the mean over all", choices=("last", "all")
    )
    learn_start: str = hyperparameter("no", "whether the starting parameters are learned too", choices=("no", "yes"))

    @cached_property
    def _cell(self) -> Cell:
        return LSTMCell(self.hidden) if self.cell == "lstm" else LinearCell()

    def extra_layout(self, problem: Problem) -> ParameterLayout:
        return ParameterLayout({f"optimizer.{name}": shape for name, shape in self._cell.layout.shapes.items()})

    def constants(self) -> tuple[str, ...]:
        return () if self.learn_start == "yes" else ("parameters",)

    def init_parameters(self, problem: Problem, theta: np.ndarray, tasks: Tasks | None = None) -> np.ndarray:
        return np.concatenate([theta, self._cell.start().astype(theta.dtype)])

    def path(
        self,
        problem: Problem,
        theta: np.ndarray,
        support: Batch,
        steps: int,
        passed: list[tuple[Point, Back]] | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield φ (T, P) after 0, 1, … steps; ``passed`` receives the point and the pull-back of each step."""
        phi, w = problem.flat(theta[: problem.layout.size], len(support)), theta[problem.layout.size :]
        state = namespace(theta).zeros((self._cell.width, *phi.shape), theta.dtype)
        yield phi
        for _ in range(steps):
            point = problem.linearize(phi, support)
            out, state, back = taken(self._cell, w, point.grad, state)
            if passed is not None:
                passed.append((point, back))
            phi = phi - self.rate(problem) * out
            yield phi

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        xp, size, steps = namespace(theta), problem.layout.size, self.inner_steps
        judged = max(steps, 1) if self.query_loss == "all" else 1
        passed: list[tuple[Point, Back]] = []
        phis = list(self.path(problem, theta, batch.support, steps, passed))
        query = problem.linearize(phis[-1], batch.query)
        v = 1 / judged * query.grad
        z, d_w = xp.zeros((self._cell.width, *v.shape), theta.dtype), xp.zeros_like(theta[size:])
        for j in reversed(range(steps)):
            point, back = passed[j]
            pulled = back(-self.rate(problem) * v, z)
            v = v + point.hvp(pulled.grad)
            if j and judged > 1:
                v = v + 1 / judged * problem.linearize(phis[j], batch.query).grad
            z = pulled.state
            d_w += pulled.w
        in_start = v.mean(axis=0) if self.learn_start == "yes" else xp.zeros_like(theta[:size])
        return MetaGradient(query.loss, xp.concatenate([in_start, d_w / len(batch)]), steps + judged, steps)
