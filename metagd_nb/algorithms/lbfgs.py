"""L-BFGS, through SciPy: the yardstick of smooth problems that fit into one batch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import MetagdError
from ..hyper import hyper
from ..problem import Problem
from .base import Algorithm, Look, State

Array = np.ndarray
Evaluate = Callable[[Array], tuple[float, Array]]
FLAT = 1e-12  # share of ‖y‖² that sᵀy must exceed for a pair to tell of curvature


class Memory(NamedTuple):
    """What is carried from step to step: the last moves, what the search already knows, whether it is at its end."""

    s: Array  # (m, P) moves, oldest first
    y: Array  # (m, P) changes of the gradient along them
    found: tuple[float, Array, int] | None = None  # loss, gradient and evaluations of the search that led here
    stuck: bool = False  # not even the gradient's own direction leads lower
    evaluate: Evaluate | None = None  # set by a look, for the move that follows it


@dataclass(frozen=True)
class LBFGS(Algorithm):
    """L-BFGS: quasi-Newton steps from the curvature that the last gradients tell, each with a line search.

    One step of a run is one iteration; ``grad_evals`` counts every evaluation of its line search too. The inverse
    Hessian's product is SciPy's ``LbfgsInvHessProduct``, the search its ``line_search`` (strong Wolfe conditions).
    Where no lower point is found the curvature is forgotten; where the gradient's direction fails too, it stays.
    """

    source: ClassVar[str] = "Liu & Nocedal 1989, algorithm 2.1; Nocedal & Wright 2006, §7.2 and §3.5"

    lr: float = hyper(
        1.0, "length that the line search tries first, in quasi-Newton steps", low=0, high=1e6, scale="log", live=True
    )
    history: int = hyper(10, "past steps that tell the curvature", low=1, high=1000)

    def init(self, theta: Array) -> State:
        _scipy()
        none = np.empty((0, theta.size), theta.dtype)
        return Memory(none, none)

    def look(self, problem: Problem, theta: Array, state: State, batch: Any) -> Look:
        def evaluate(at: Array) -> tuple[float, Array]:
            point = problem.linearize(at, batch)
            return float(point.loss[0]), point.grad[0]

        loss, grad, cost = state.found or (*evaluate(theta), 1)
        return Look(loss, grad, cost, 0, state._replace(found=None, evaluate=evaluate))

    def move(self, theta: Array, look: Look) -> tuple[Array, State]:
        memory, cost = look.state, 0
        stays = Memory(memory.s, memory.y, (look.loss, look.grad, 0), memory.stuck)
        if memory.stuck or not self.lr:
            return theta, stays
        for s, y in ((memory.s, memory.y), (memory.s[:0], memory.y[:0])):
            reached, tried = search(memory.evaluate, theta, look, self.lr * direction(s, y, look.grad))
            cost += tried
            if reached is not None:
                at, loss, grad = reached
                s, y = self._remember(s, y, at - theta, grad - look.grad)
                return at, Memory(s, y, (loss, grad, cost))
        return theta, Memory(memory.s[:0], memory.y[:0], (look.loss, look.grad, cost), stuck=True)

    def _remember(self, s: Array, y: Array, moved: Array, turned: Array) -> tuple[Array, Array]:
        if not moved @ turned > FLAT * (turned @ turned):
            return s, y
        return np.vstack([s, moved])[-self.history :], np.vstack([y, turned])[-self.history :]

    def retuned(self, problem: Problem, theta: Array, state: State, changed: dict[str, Any]) -> tuple[Array, State]:
        """With another first length a search that found nothing may find something."""
        return theta, state._replace(stuck=False)


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


def search(evaluate: Evaluate, theta: Array, look: Look, along: Array) -> tuple[tuple[Array, float, Array] | None, int]:
    """A point lower than ``theta`` in the direction ``along``, its loss and gradient, or None; and evaluations made."""
    seen: dict[bytes, tuple[Array, float, Array]] = {}

    def at(x: Array) -> tuple[Array, float, Array]:
        here = np.asarray(x, theta.dtype)
        if (key := here.tobytes()) not in seen:  # SciPy asks for the loss, then for the gradient at the same place
            loss, grad = evaluate(here)
            seen[key] = here, loss if math.isfinite(loss) else math.inf, grad
        return seen[key]

    with warnings.catch_warnings():  # that a search fails is told by its result
        warnings.filterwarnings("ignore", message="The line search|Rounding errors", category=RuntimeWarning)
        length, *_ = _scipy().line_search(lambda x: at(x)[1], lambda x: at(x)[2], theta, along, look.grad, look.loss)
    tried = len(seen)
    if length is None or not (reached := at(theta + length * along))[1] < look.loss:
        return None, tried
    return reached, len(seen)


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
