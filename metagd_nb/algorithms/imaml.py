"""iMAML: the implicit meta-gradient at the adapted parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..core.array_api import as_float, is_concrete, namespace, while_loop
from ..core.errors import MetagdError
from ..core.hyperparameters import hyperparameter
from ..problems.base import Point, Problem
from ..tasks import Batch, TaskBatch
from .base import MetaGradient, StepEvaluation
from .meta import Meta
from .theta import State

SUFFICIENT = 1e-4  # share of the predicted decrease that a step must bring (Armijo); GD below 2/L has more
ROUNDING = 64  # units in the last place by which the objective may rise: near the minimum that is noise
SHORTER = (0.1, 0.5)  # a refused step is shortened to a share in this range


class Tally(NamedTuple):
    """State between two steps: that of the outer optimizer, and counts over the run."""

    rule: State
    systems: float = 0.0  # linear systems solved, one a task
    truncated: float = 0.0  # of these, ended at non-positive curvature


class Descended(NamedTuple):
    """Place of the adaptation, one row a task."""

    phi: Any  # (T, P)
    value: Any  # (T,) proximal objective there
    grad: Any  # (T, P) its gradient
    share: Any  # (T,) of the inner rate that is used
    steps: Any  # number of steps made


@dataclass(frozen=True)
class IMAML(Meta):
    """Implicit MAML: adapt to the minimum of L(φ) + λ/2‖φ − θ‖², differentiated there.

    The meta-gradient u solves (I + H/λ) u = v, v being the query gradient at that minimum. Adaptation is gradient
    descent until the proximal gradient's norm is below ``inner_tol`` for every task, or ``inner_steps`` have been
    made. The rate is ``inner_lr``, or 1/λ if that is less. A step that would not lower a task's objective is refused,
    and the rate of that task is shortened to fit the curvature that the refused step has shown.

    The linear system is solved by conjugate gradients, all tasks at a time. Where a loss curves down so much that
    I + H/λ is not positive, the solution of that task ends with the iterate reached (Steihaug 1983; before the first
    iterate that is u = v), and the run says how often; ``negative_curvature="refuse"`` ends the run instead.
    """

    source: ClassVar[str] = (
        "Rajeswaran et al. 2019, §2.2 and eq. 4 (the inner problem); Nocedal & Wright 2006, algorithm 7.1 (truncation)"
    )
    refuses: ClassVar[bool] = True

    lam: float = hyperparameter(50.0, "strength λ of the pull towards θ", low=0, above=True, high=1e9, scale="log")
    inner_steps: int = hyperparameter(16, "adaptation steps at most", low=0, high=100_000)
    inner_tol: float = hyperparameter(
        1e-6, "adaptation ends when the proximal gradient is smaller", low=0, high=1, scale="log"
    )
    cg_steps: int = hyperparameter(10, "conjugate-gradient steps at most", low=1, high=10_000)
    cg_tol: float = hyperparameter(1e-10, "they end when the residual's share is smaller", low=0, high=1, scale="log")
    negative_curvature: str = hyperparameter(
        "truncate",
        "where the loss curves down by more than λ: stop the solution there, or refuse",
        choices=("truncate", "refuse"),
    )

    # ---- adaptation ------------------------------------------------------------------------------------------------

    def path(self, problem: Problem, theta: np.ndarray, support: Batch, steps: int) -> Iterator[Any]:
        yield namespace(theta).repeat(theta[None], len(support), axis=0)
        place = self._begin(problem, theta, support) if steps else None
        for _ in range(steps):
            assert place is not None
            if self._far(place):
                place = self._descend(problem, theta, support, place)
            yield place.phi

    def _begin(self, problem: Problem, theta: np.ndarray, support: Batch) -> Descended:
        xp = namespace(theta)
        phi = xp.repeat(theta[None], len(support), axis=0)
        value, grad = self._objective(problem, theta, support, phi)
        with np.errstate(divide="ignore"):  # the pull alone has curvature λ, on which no rate above 1/λ is better
            share = as_float(xp.minimum(1 / (self.lam * xp.max(xp.asarray(self.rate(problem)))), 1))
        return Descended(phi, value, grad, share * xp.ones_like(value), 0)

    def _objective(self, problem: Problem, theta: np.ndarray, support: Batch, phi: Any) -> tuple[Any, Any]:
        """Return L(φ) + λ/2‖φ − θ‖² (T,) and its gradient (T, P)."""
        point, off = problem.linearize(phi, support), phi - theta
        return point.loss + 0.5 * self.lam * (off * off).sum(axis=1), point.grad + self.lam * off

    def _far(self, place: Descended) -> Any:
        """Return True if the gradient of some task is not small yet."""
        return (place.grad * place.grad).sum(axis=1).max() > self.inner_tol**2

    def _descend(self, problem: Problem, theta: np.ndarray, support: Batch, place: Descended) -> Descended:
        """Make one step of every task whose objective it lowers; shorten the rate of the others."""
        xp = namespace(place.phi)
        phi, value, grad, share, steps = place
        ahead = self.rate(problem) * grad
        trial = phi - share[:, None] * ahead
        with np.errstate(all="ignore"):  # a step too long may overflow: it is refused
            found, slope = self._objective(problem, theta, support, trial)
            predicted = share * (ahead * grad).sum(axis=1)
            noise = ROUNDING * np.finfo(problem.dtype).eps * abs(value)
            lower = found <= value - SUFFICIENT * predicted + noise
            parabola = 0.5 * predicted / (found - value + predicted)  # where along the step its parabola is lowest
        shorter = share * xp.clip(xp.nan_to_num(parabola), *SHORTER)
        return Descended(
            xp.where(lower[:, None], trial, phi),
            xp.where(lower, found, value),
            xp.where(lower[:, None], slope, grad),
            xp.where(lower, share, shorter),
            steps + 1,
        )

    # ---- meta-gradient ---------------------------------------------------------------------------------------------

    def init(self, theta: np.ndarray) -> State:
        return Tally(super().init(theta))

    def evaluate(self, problem: Problem, theta: np.ndarray, state: State, batch: TaskBatch) -> StepEvaluation:
        found = self.meta_gradient(problem, theta, batch)
        tally = _tally(state)
        systems, truncated = tally.systems + len(batch), tally.truncated + as_float(found.truncated)
        return self.step_evaluation(found, len(batch), Tally(tally.rule, systems, truncated))

    def update(self, theta: np.ndarray, evaluation: StepEvaluation) -> tuple[np.ndarray, State]:
        tally = _tally(evaluation.state)
        theta, rule = super().update(theta, evaluation._replace(state=tally.rule))
        return theta, tally._replace(rule=rule)

    def remark(self, state: State) -> str | None:
        _, systems, truncated = _tally(state)
        if not truncated:
            return None
        return (
            f"conjugate gradients met non-positive curvature in {truncated:,.0f} of {systems:,.0f} solutions"
            f" and stopped there; a larger lam than {self.lam:g} makes that rarer"
        )

    def meta_gradient(self, problem: Problem, theta: np.ndarray, batch: TaskBatch) -> MetaGradient:
        place = Descended(*while_loop(
            lambda s: self._far(Descended(*s)) & (s[-1] < self.inner_steps),
            lambda s: self._descend(problem, theta, batch.support, Descended(*s)),
            self._begin(problem, theta, batch.support),
        ))  # fmt: skip
        query = problem.linearize(place.phi, batch.query)
        u, hvps, truncated = self._solve(problem.linearize(place.phi, batch.support), query.grad)
        return MetaGradient(query.loss, u.mean(axis=0), place.steps + 3, hvps, truncated)

    def _solve(self, point: Point, v: np.ndarray) -> tuple[np.ndarray, int, Any]:
        """Return u (T, P) with (I + H/λ) u = v, the number of Hessian·vector products, and that of truncated tasks."""
        point.grad  # noqa: B018 — the pass that hvp shares
        xp = namespace(v)
        start = (v * v).sum(axis=1)  # (T,)

        def closer(state: tuple[Any, ...]) -> tuple[Any, ...]:
            u, residual, direction, before, going, made = state
            applied = direction + point.hvp(direction) / self.lam
            curvature = (direction * applied).sum(axis=1)
            down = going & (curvature <= 0) & (before > 0)
            if self.negative_curvature == "refuse":
                curvature = self._refused(direction, curvature, down)
            else:
                u, going = xp.where((down & (made == 0))[:, None], v, u), going & ~down
            with np.errstate(invalid="ignore", divide="ignore"):
                length = xp.where(going & (before > 0), before / curvature, 0)[:, None]
                u = u + length * direction
                residual = residual - length * applied
                size = (residual * residual).sum(axis=1)
                direction = residual + xp.where(before > 0, size / before, 0)[:, None] * direction
            return u, residual, direction, size, going, made + 1

        def unsolved(state: tuple[Any, ...]) -> Any:
            *_, size, going, made = state
            return (made < self.cg_steps) & (going & ~(size <= self.cg_tol**2 * start)).any()

        begin = (xp.zeros_like(v), v, v, start, xp.ones_like(start, dtype=bool), 0)
        u, *_, going, made = while_loop(unsolved, closer, begin)
        return u, made, (~going).sum()

    def _refused(self, direction: np.ndarray, curvature: np.ndarray, down: np.ndarray) -> np.ndarray:
        """Raise a MetagdError where a task's curvature is not positive (``down``); return nan there if it is traced."""
        if not is_concrete(down):
            nothing: np.ndarray = namespace(down).where(down, np.nan, curvature)
            return nothing
        if down.any():
            length = (direction * direction).sum(axis=1)
            lowest = float((self.lam * (curvature[down] / length[down] - 1)).min())
            raise MetagdError(
                f"{self.lam:g} is too weak: the loss curves down by {-lowest:.3g} along an adapted direction;"
                f" needs more than {-lowest:.3g}",
                "lam",
            )
        return curvature


def _tally(state: State) -> Tally:
    """Return the state with its counts; files of earlier versions hold that of the optimizer alone."""
    return state if isinstance(state, Tally) else Tally(state)
