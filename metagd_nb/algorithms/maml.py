"""MAML: learn where to start, so that a few gradient steps suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..core.array_api import as_float, namespace
from ..core.hyperparameters import hyperparameter
from ..problems.base import Point, Problem
from ..tasks import TaskBatch, Tasks
from .base import Meta, MetaGradient, State
from .rate_sharing import SHARING, gather, shared_start, spread


def pull_back(
    passed: Sequence[Point], rates: Sequence[Any], v: np.ndarray, learns: bool, early: Sequence[Any] = ()
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The gradient v (T, P) at the end of the inner steps, pulled back to where they began.

    Parameters
    ----------
    passed, rates : one a step, first to last
    learns : bool
        Whether the gradient in each step's rates is wanted too.
    early : one a step, optional
        Gradients that enter at the start of the step, of losses that were judged there.

    Returns
    -------
    v (T, P), and the mean over tasks of the gradient (P,) in the rates of each step.
    """
    in_rates: list[np.ndarray] = []
    for j in range(len(passed) - 1, -1, -1):
        if learns:
            in_rates.insert(0, -(passed[j].grad * v).mean(axis=0))
        v = v - passed[j].hvp(rates[j] * v)
        if early:
            v = v + early[j]
    return v, in_rates


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

    def init_parameters(self, problem: Problem, theta: np.ndarray, tasks: Tasks | None = None) -> np.ndarray:
        if self.learn_rates == "no":
            return theta
        rate = np.broadcast_to(self.rate(problem), theta.shape)
        learned = shared_start(problem.layout, self.learn_rates, self.inner_steps, rate)
        return np.concatenate([theta, learned.astype(theta.dtype)])

    def mask(self, problem: Problem) -> np.ndarray | None:
        """(P,) of bool, True where a parameter adapts; None where all do."""
        return None

    def start(self, problem: Problem, theta: np.ndarray, steps: int) -> tuple[Any, Sequence[Any]]:
        mask = self.mask(problem)
        if self.learn_rates == "no":
            rate = self.rate(problem)
            if mask is not None:
                rate = namespace(rate).where(mask, rate, 0).astype(problem.dtype)
            return theta, [rate] * steps
        size = problem.layout.size
        rates = spread(problem.layout, self.learn_rates, self.inner_steps, theta[size:], steps)
        return theta[:size], rates if mask is None else [rate * mask for rate in rates]

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        phi, rates = self.start(problem, theta, self.inner_steps)
        learns, weighs_all = self.learn_rates != "no", self.query_loss == "all"
        share = 1 / max(self.inner_steps, 1)
        passed, early = [], []
        for rate in rates:
            point = problem.linearize(phi, batch.support)
            passed.append(point)
            if weighs_all:
                early.append(share * problem.linearize(phi, batch.query).grad if len(passed) > 1 else 0)
            phi = point.step(rate)
        query = problem.linearize(phi, batch.query)
        v = share * query.grad if weighs_all else query.grad
        v, rate_grads = pull_back(passed, rates, v, learns, early)
        grad = v.mean(axis=0)
        if learns:
            if (mask := self.mask(problem)) is not None:  # a rate that is masked moves nothing
                rate_grads = [one * mask for one in rate_grads]
            learned = gather(problem.layout, self.learn_rates, self.inner_steps, rate_grads)
            grad = namespace(grad).concatenate([grad, learned])
        judged = max(self.inner_steps, 1) if weighs_all else 1
        return MetaGradient(query.loss, grad, self.inner_steps + judged, self.inner_steps)

    def learned(self, problem: Problem, theta: np.ndarray) -> dict[str, np.ndarray]:
        return {} if self.learn_rates == "no" else {"inner_lr": theta[problem.layout.size :].copy()}

    def rates(self, problem: Problem, theta: np.ndarray, state: State) -> tuple[float, ...]:
        if self.learn_rates == "no":
            return self._set_rates
        return as_float(theta[problem.layout.size :].mean()), self.meta_lr

    def on_rate_change(
        self, problem: Problem, theta: np.ndarray, state: State, changed: dict[str, Any]
    ) -> tuple[np.ndarray, State]:
        """A person who sets the inner rate sets every learned rate to it."""
        if self.learn_rates != "no" and "inner_lr" in changed:
            theta = self.init_parameters(problem, theta[: problem.layout.size])
        return theta, state
