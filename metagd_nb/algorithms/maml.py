"""MAML: learn where to start, so that a few gradient steps suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..core.array_api import namespace
from ..core.hyperparameters import hyperparameter
from ..core.parameters import ParameterLayout
from ..problems.base import Problem
from ..tasks import TaskBatch, Tasks
from .base import MetaGradient
from .inner_loop import Parameters, Rate, pull_back, unroll
from .meta import Meta
from .rate_sharing import SHARING, gather, n_rates, shared_start, spread
from .theta import NOTHING


@dataclass(frozen=True)
class MAML(Meta):
    """MAML: descend the query loss after adaptation, through the adaptation steps.

    The query gradient v at the adapted φ is pulled back through the inner steps, last first:
    v ← v − H(α v), H being the support loss's Hessian where the step was taken. The gradient in the rates of
    that step is −g⊙v, with v as it is before that line. Where the paper sums over tasks (algorithm 1)
    this takes the mean, so that the meta-rate does not depend on the batch size.

    With ``query_loss="all"`` the loss is the mean of the query losses after every inner step (Antoniou et al. 2019,
    multi-step loss, without its annealing).
    """

    source: ClassVar[str] = "Finn, Abbeel & Levine 2017, algorithm 1 and §2.2; Antoniou et al. 2019 (multi-step loss)"

    learn_rates: str = hyperparameter("no", "inner rates learned along with θ, and what shares one", choices=SHARING)
    query_loss: str = hyperparameter(
        "last", "query loss after the last inner step, or the mean over all", choices=("last", "all")
    )

    def extra_layout(self, problem: Problem) -> ParameterLayout:
        if self.learn_rates == "no":
            return NOTHING
        return ParameterLayout({"inner_lr": (n_rates(problem.layout, self.learn_rates, self.inner_steps),)})

    def init_parameters(self, problem: Problem, theta: np.ndarray, tasks: Tasks | None = None) -> np.ndarray:
        if self.learn_rates == "no":
            return theta
        rate = np.broadcast_to(self.rate(problem), theta.shape)
        learned = shared_start(problem.layout, self.learn_rates, self.inner_steps, rate)
        return np.concatenate([theta, learned.astype(theta.dtype)])

    def mask(self, problem: Problem) -> np.ndarray | None:
        """Return the parameters that adapt.

        Parameters
        ----------
        problem : Problem

        Returns
        -------
        array (P,) of bool, or None if all adapt
        """
        return None

    def start(self, problem: Problem, theta: np.ndarray, steps: int) -> tuple[Parameters, Sequence[Rate]]:
        mask = self.mask(problem)
        if self.learn_rates == "no":
            rate = self.rate(problem)
            if mask is not None:
                rate = namespace(rate).where(mask, rate, 0).astype(problem.dtype)
            return theta, [rate] * steps
        learned = self.extras(problem, theta)["inner_lr"]
        rates = spread(problem.layout, self.learn_rates, self.inner_steps, learned, steps)
        return theta[: problem.layout.size], rates if mask is None else [rate * mask for rate in rates]

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        phi, rates = self.start(problem, theta, self.inner_steps)
        passed, phis = unroll(problem, phi, batch.support, rates)
        query = problem.linearize(phis[-1], batch.query)
        learns, judged, v = self.learn_rates != "no", 1, query.grad
        early: list[np.ndarray | int] = []
        if self.query_loss == "all":
            judged = max(self.inner_steps, 1)
            v = 1 / judged * v
            early = [0, *(1 / judged * problem.linearize(one, batch.query).grad for one in phis[1:-1])]
        v, rate_grads = pull_back(passed, rates, v, learns, early)
        grad = v.mean(axis=0)
        if learns:
            if (mask := self.mask(problem)) is not None:  # the rate of a parameter that does not adapt has no effect
                rate_grads = [one * mask for one in rate_grads]
            learned = gather(problem.layout, self.learn_rates, self.inner_steps, rate_grads)
            grad = namespace(grad).concatenate([grad, learned])
        return MetaGradient(query.loss, grad, self.inner_steps + judged, self.inner_steps)
