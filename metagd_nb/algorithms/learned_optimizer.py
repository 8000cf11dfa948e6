"""A learned optimizer: gradient descent whose step is itself learned by gradient descent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..core.array_api import namespace
from ..core.hyperparameters import hyperparameter
from ..problems.base import Problem
from ..tasks import Batch, TaskBatch, Tasks
from .base import Meta, MetaGradient, inner_rate
from .learned_optimizer_cells import Cell, LinearCell, LSTMCell, taken


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

    def init_parameters(self, problem: Problem, theta: np.ndarray, tasks: Tasks | None = None) -> np.ndarray:
        return np.concatenate([theta, self._cell.start().astype(theta.dtype)])

    def _begin(self, problem: Problem, theta: np.ndarray, tasks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """φ (T, P), the cell's state (S, T, P), and its weights (W,)."""
        size = problem.layout.size
        state = namespace(theta).zeros((self._cell.width, tasks, size), theta.dtype)
        return problem.flat(theta[:size], tasks), state, theta[size:]

    def path(self, problem: Problem, theta: np.ndarray, support: Batch, steps: int) -> Iterator[Any]:
        phi, state, w = self._begin(problem, theta, len(support))
        rate = self.rate(problem)
        yield phi
        for _ in range(steps):
            out, state, _ = taken(self._cell, w, problem.linearize(phi, support).grad, state)
            phi = phi - rate * out
            yield phi

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        phi, state, w = self._begin(problem, theta, len(batch))
        rate, steps, weighs_all = self.rate(problem), self.inner_steps, self.query_loss == "all"
        share = 1 / max(steps, 1) if weighs_all else 1
        passed = []
        for j in range(steps):
            early = share * problem.linearize(phi, batch.query).grad if weighs_all and j else 0
            point = problem.linearize(phi, batch.support)
            out, state, back = taken(self._cell, w, point.grad, state)
            passed.append((point, back, early))
            phi = phi - rate * out
        query = problem.linearize(phi, batch.query)
        xp = namespace(w)
        v, z, d_w = share * query.grad, xp.zeros_like(state), xp.zeros_like(w)
        for point, back, early in reversed(passed):
            pulled = back(-rate * v, z)
            v = v + point.hvp(pulled.grad) + early
            z = pulled.state
            d_w += pulled.w
        in_start = v.mean(axis=0) if self.learn_start == "yes" else xp.zeros_like(theta[: problem.layout.size])
        judged = max(steps, 1) if weighs_all else 1
        return MetaGradient(query.loss, xp.concatenate([in_start, d_w / len(batch)]), steps + judged, steps)

    def learned(self, problem: Problem, theta: np.ndarray) -> dict[str, np.ndarray]:
        views = self._cell.layout.views(theta[problem.layout.size :])
        return {f"optimizer.{name}": view.copy() for name, view in views.items()}
