"""Costs of learning: evaluations, Hessian·vectors, seconds, and memory at its peak.

Memory is the peak of ``tracemalloc`` during the work, above the amount before. NumPy reports every array to it, so the
figure belongs to the work alone and is nearly the same at each measurement; the resident size that the system reports
belongs to the whole process and never falls. Memory of JAX is not counted; allocations of other threads are. Tracing
slows Python down, so seconds are measured without it.
"""

from __future__ import annotations

import math
import threading
import tracemalloc
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ..problems.base import Embedding, Point, Problem
from ..tasks import Batch
from .loop import TrainingLoop

Made = TypeVar("Made")


class Costs(NamedTuple):
    """Costs of a training, or of the adaptation of one task.

    Attributes
    ----------
    grad_evals, hvps : int
        Evaluations of a loss with its gradient, and Hessian·vectors; one a task.
    seconds : float
        Seconds of training or adapting, without evaluation, drawing or waiting.
    peak_bytes : float
        Memory at the peak, of one step for a training; nan if it was not measured.
    """

    grad_evals: int
    hvps: int
    seconds: float
    peak_bytes: float = math.nan

    def words(self) -> str:
        """Describe all four in a line of text."""
        memory = "" if math.isnan(self.peak_bytes) else f", {self.peak_bytes / 2**20:.2f} MB at the peak"
        counted = f"{self.grad_evals:,} gradient evaluations, {self.hvps:,} Hessian·vectors"
        return f"{counted}, {self.seconds:.3g} s{memory}"


class CountingProblem(Problem):
    """Problem that counts gradient evaluations and Hessian·vectors, one for each task."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self.layout, self.dtype = problem, problem.layout, problem.dtype
        self.net, self.predicts = problem.net, problem.predicts
        if problem.predicts:
            self.loss = problem.loss
        self.grad_evals = self.hvps = 0

    def start(self, rng: np.random.Generator) -> np.ndarray:
        """Return starting parameters (P,)."""
        return self._problem.start(rng)

    def flat(self, phi: ArrayLike, tasks: int) -> np.ndarray:
        """Return ``phi`` as an array (T, P)."""
        return self._problem.flat(phi, tasks)

    def predict(self, phi: ArrayLike, x: np.ndarray) -> np.ndarray:
        """Predict outputs (T, K, C)."""
        return self._problem.predict(phi, x)

    def embed(self, theta: np.ndarray, x: np.ndarray) -> Embedding:
        """Compute features (T, K, H)."""
        return self._problem.embed(theta, x)

    def linearize(self, phi: ArrayLike, batch: Batch) -> Point:
        """Evaluate, and count one gradient for each task."""
        point = self._problem.linearize(phi, batch)
        self.grad_evals += len(point.loss)
        return _CountedPoint(self, point)


class _CountedPoint:
    def __init__(self, owner: CountingProblem, point: Point) -> None:
        self._owner, self._point = owner, point
        self.step = point.step

    @property
    def loss(self) -> np.ndarray:
        """Loss of each task, (T,)."""
        return self._point.loss

    @property
    def grad(self) -> np.ndarray:
        """Gradient of each task, (T, P)."""
        return self._point.grad

    def hvp(self, v: np.ndarray) -> np.ndarray:
        """Multiply the Hessian of each task by its vector: (T, P) → (T, P)."""
        self._owner.hvps += len(v)
        return self._point.hvp(v)


class Peak:
    """Context manager that measures the peak of allocated memory.

    It joins a tracing that is already under way, and resets its peak.
    """

    def __enter__(self) -> Peak:
        self._ours = not tracemalloc.is_tracing()
        if self._ours:
            tracemalloc.start()
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def bytes(self) -> int:
        """Return the peak so far, above the memory at the start."""
        return max(tracemalloc.get_traced_memory()[1] - self._before, 0)

    def __exit__(self, *raised: BaseException | type[BaseException] | TracebackType | None) -> None:
        if self._ours:
            tracemalloc.stop()


def in_fresh_thread(work: Callable[[], Made]) -> Made:
    """Return the result of ``work()``, called in a new thread, for which a problem makes new workspaces.

    So memory that was allocated for an earlier step counts too. Where there are no threads it is done here.
    """
    found: list[Made] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with np.errstate(all="ignore"):
                found.append(work())
        except BaseException as error:  # raised again where it was asked for
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        run()
    else:
        thread.join()
    if failed:
        raise failed[0]
    return found[0]


def peak_of(work: Callable[[], Any]) -> int:
    """Bytes at the peak of ``work()``."""

    def measured() -> int:
        with Peak() as peak:
            work()
            return peak.bytes()

    return in_fresh_thread(measured)


def training_costs(loop: TrainingLoop) -> Costs:
    """Costs of the steps taken so far; the memory is that of one more step, taken only to measure it.

    Parameters
    ----------
    loop : TrainingLoop

    Returns
    -------
    Costs
    """
    seconds = loop.record.last("seconds") if len(loop.record) else 0.0
    peak = math.nan
    if loop.error is None and loop.settings.backend == "numpy":
        problem, batch = loop.plan.problem, loop.plan.batches(max(loop.snapshot.step, 0))
        peak = peak_of(lambda: loop.algorithm.evaluate(problem, loop.theta, loop.executor.state, batch))
    return Costs(loop.grad_evals, loop.hvps, seconds, peak)
