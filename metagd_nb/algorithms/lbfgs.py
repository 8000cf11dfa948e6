"""L-BFGS, through SciPy: the yardstick of smooth problems that fit into one batch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..core.bounds import Bounds
from ..core.errors import MetagdError
from ..core.hyperparameters import hyperparameter
from ..problems.base import Problem
from .base import Algorithm, StepEvaluation
from .theta import State

Array = np.ndarray
Evaluate = Callable[[Array], tuple[float, Array]]
ARMIJO, HALVINGS = 1e-4, 50  # share of the expected decrease that a projected search asks for; its longest
FLAT = 1e-12  # share of ‖y‖² that sᵀy must exceed for a pair to tell of curvature


class Memory(NamedTuple):
    """State between two steps, as plain numbers."""

    s: Array  # (m, P) moves, oldest first
    y: Array  # (m, P) changes of the gradient along them
    theta: Array | None = None  # of the last evaluation; None before the first
    loss: float = math.nan
    grad: Array | None = None
    ahead: tuple[Array, float, Array] | None = None  # the lower point, loss and gradient that its search found


@dataclass(frozen=True)
class LBFGS(Algorithm):
    """L-BFGS: quasi-Newton steps from the last gradients, each with a line search.

    One step of a run is one iteration. ``evaluate`` also searches the line ahead, ``update`` takes the point found; so
    ``grad_evals`` of a row counts every evaluation up to its own search. The inverse Hessian's product is SciPy's
    ``LbfgsInvHessProduct``, the search its ``line_search`` (strong Wolfe conditions). Where no lower point is found the
    curvature is forgotten; where the gradient's own direction fails too, the run ends (``no-descent``).

    With bounds, parameters at a bound that the gradient pushes against are held for the step; the direction of the
    others comes from their part of the pairs, and a backtracking search follows its projection onto the bounds.
    """

    source: ClassVar[str] = (
        "Liu & Nocedal 1989; Nocedal & Wright 2006, §7.2 and §3.5; with bounds the projection of Bertsekas 1982"
    )
    compiles: ClassVar[bool] = False
    takes_bounds: ClassVar[bool] = True
    takes_batches: ClassVar[bool] = False  # a line search compares losses of the same rows

    lr: float = hyperparameter(1.0, "share of each step that is taken; 1 is the method's own", low=0, high=1, live=True)
    history: int = hyperparameter(10, "past steps that tell the curvature", low=1, high=1000)

    def init(self, theta: Array) -> State:
        _scipy()
        none = np.empty((0, theta.size), theta.dtype)
        return Memory(none, none)

    def evaluate(self, problem: Problem, theta: Array, state: State, batch: Any) -> StepEvaluation:
        def evaluate(at: Array) -> tuple[float, Array]:
            point = problem.linearize(at, batch)
            return float(point.loss[0]), point.grad[0]

        memory, cost = Memory(*state), 0
        unchanged = memory.theta is not None and np.array_equal(memory.theta, theta)
        if unchanged and memory.grad is not None:
            return StepEvaluation(memory.loss, memory.grad, 0, 0, memory)
        if memory.ahead is not None and np.array_equal(memory.ahead[0], theta):
            _, loss, grad = memory.ahead
        else:
            (loss, grad), cost = evaluate(theta), 1
        s, y = self._remembered(memory, theta, grad)

        def searched() -> tuple[tuple[Array, float, Array] | None, int]:
            if problem.bounds is not None:
                return projected_search(evaluate, problem.bounds, theta, loss, grad, s, y)
            return search(evaluate, theta, loss, grad, direction(s, y, grad))

        ahead, tried = searched()
        if ahead is None and len(s):
            s, y = s[:0], y[:0]
            ahead, more = searched()
            tried += more
        return StepEvaluation(loss, grad, cost + tried, 0, Memory(s, y, theta, loss, grad, ahead))

    def update(self, theta: Array, evaluation: StepEvaluation) -> tuple[Array, State]:
        ahead = Memory(*evaluation.state).ahead
        if ahead is None:
            return theta, evaluation.state
        whole = ahead[0]
        return whole if self.lr == 1 else theta + self.lr * (whole - theta), evaluation.state

    def check_state(self, theta: Array, state: State) -> None:
        ahead = Memory(*state).ahead
        if ahead is None:
            return
        there, loss, grad = ahead
        sizes = [np.shape(part) for part in (there, loss, grad)]
        if sizes != [theta.shape, (), theta.shape] or not isinstance(loss, (float, np.floating)):
            raise ValueError("ahead")

    def no_descent(self, state: State) -> bool:
        memory = Memory(*state)
        return memory.theta is not None and memory.ahead is None

    def _remembered(self, memory: Memory, theta: Array, grad: Array) -> tuple[Array, Array]:
        """Return the pairs (m, P), with the newest if its curvature is positive."""
        s, y = memory.s, memory.y
        if memory.theta is None or memory.grad is None:
            return s, y
        moved, turned = theta - memory.theta, grad - memory.grad
        if not moved @ turned > FLAT * (turned @ turned):
            return s, y
        return np.vstack([s, moved])[-self.history :], np.vstack([y, turned])[-self.history :]


def direction(s: Array, y: Array, grad: Array) -> Array:
    """−H·grad (P,), H from the pairs ``s``, ``y`` (m, P) and γI before the first, γ = sᵀy/yᵀy of the last.

    SciPy's operator begins at I. In coordinates stretched by √γ that is what we want: moves become s/√γ, gradients
    √γ·g, and γ times the operator is H. Without pairs: downhill, no farther than 1, as SciPy's own L-BFGS-B starts.
    """
    if not len(s):
        return np.asarray(-grad / max(1.0, float(np.linalg.norm(grad))))
    gamma = float(s[-1] @ y[-1]) / float(y[-1] @ y[-1])
    root = math.sqrt(gamma)
    operator = _scipy().LbfgsInvHessProduct(s.astype(float) / root, y.astype(float) * root)
    return np.asarray(-gamma * operator.matvec(grad.astype(float)))


def search(
    evaluate: Evaluate, theta: Array, loss: float, grad: Array, along: Array
) -> tuple[tuple[Array, float, Array] | None, int]:
    """Return a lower point in the direction ``along`` with its loss and gradient, or None; and the evaluations made."""
    seen: dict[bytes, tuple[Array, float, Array]] = {}

    def at(x: Array) -> tuple[Array, float, Array]:
        here = np.asarray(x, theta.dtype)
        if (key := here.tobytes()) not in seen:  # SciPy asks for the loss, then for the gradient at the same place
            there, slope = evaluate(here)
            seen[key] = here, there if math.isfinite(there) else math.inf, slope
        return seen[key]

    with warnings.catch_warnings():  # the result says that a search failed
        warnings.filterwarnings("ignore", message="The line search|Rounding errors", category=RuntimeWarning)
        length, *_ = _scipy().line_search(lambda x: at(x)[1], lambda x: at(x)[2], theta, along, grad, loss)
    if length is None:  # nothing met the Wolfe conditions; a point that is lower is still better than none
        reached = min(seen.values(), key=lambda point: point[1], default=(theta, loss, grad))
    else:
        reached = at(theta + length * along)
    return (reached if reached[1] < loss else None), len(seen)


def projected_search(
    evaluate: Evaluate, bounds: Bounds, theta: Array, loss: float, grad: Array, s: Array, y: Array
) -> tuple[tuple[Array, float, Array] | None, int]:
    """Return a lower point within the bounds with its loss and gradient, or None; and the evaluations made."""
    free = ~bounds.fixed(theta, grad)
    curved = np.einsum("mp,mp->m", s[:, free], y[:, free]) > FLAT * np.square(y[:, free]).sum(axis=1)
    along = np.zeros_like(theta)
    along[free] = direction(s[curved][:, free], y[curved][:, free], grad[free])
    length = 1.0
    for tried in range(1, HALVINGS + 1):
        reached = np.asarray(bounds.project(theta + length * along), theta.dtype)
        if np.array_equal(reached, theta):
            return None, tried - 1
        there, slope = evaluate(reached)
        if there < loss and there <= loss + ARMIJO * float(grad @ (reached - theta)):
            return (reached, there, slope), tried
        length *= 0.5
    return None, HALVINGS


def _scipy() -> Any:
    """``scipy.optimize``.

    Raises
    ------
    MetagdError
        Where SciPy is not installed.
    """
    try:
        import scipy.optimize as optimize
    except ImportError:
        raise MetagdError('lbfgs needs SciPy, which is not installed; pip install "metagd-nb[scipy]"') from None
    return optimize
