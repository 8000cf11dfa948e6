"""The steps of a run on JAX: computed a chunk ahead, dealt out one by one.

Whoever drives a run meets single steps, as on NumPy, so controls, events and stops are at their exact step. A chunk
takes about as long as a frame of the live plot. Where somebody intervenes within one, its first steps are computed
again, up to the step that counts, and the rest is forgotten.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ...algorithms import Algorithm, StepEvaluation
from ...algorithms.theta import State
from ..plan import Plan
from .base import Row, Snapshot
from .jax_program import Carry, CompiledStep, Held, Rates, compiled_step

Array = np.ndarray
FRAME = 0.05  # seconds that a chunk should take
LENGTH, BYTES = 100, 64_000_000  # steps of a chunk at most, and what their batches may take
LENGTH_ALONE = 1000  # where all steps share one batch


class Chunk:
    """Some steps on end, computed."""

    def __init__(self, compiled_step: CompiledStep, place: Carry, first: int, n: int, rates: Rates, held: Held) -> None:
        self._program, self._start, self.first, self.n = compiled_step, place, first, n
        self._rates, self._held = rates, held
        self.end, self.rows = compiled_step(place, first == 0, n, rates, held)
        self._known: tuple[int, Carry] | None = None

    def place(self, done: int) -> Carry:
        """Return parameters and state after ``done`` of the steps (1…n), as arrays of NumPy."""
        known = self._known
        if known is None or known[0] != done:
            place = self.end
            if done < self.n:
                place, _ = self._program(self._start, self.first == 0, done, self._rates, self._held)
            known = self._known = done, self._program.host(place)
        return known[1]


_LATER = np.empty(0)


class LazySnapshot(Snapshot):
    """A row whose parameters are computed when somebody asks for them."""

    chunk: Chunk

    @property
    def theta(self) -> Array:
        """Parameters and all else that is learned, (M,)."""
        return np.asarray(self.chunk.place(self.step - self.chunk.first + 1).theta)

    @property
    def state(self) -> Any:
        """State of the method."""
        return self.chunk.place(self.step - self.chunk.first + 1).state

    def __iter__(self) -> Iterator[Any]:
        return iter((self.step, self.theta, self.loss, self.state))

    def _replace(self, **changed: Any) -> Snapshot:  # type: ignore[override]  # what comes out knows its parameters
        return Snapshot(*self)._replace(**changed)


class ChunkedExecutor:
    """Executor whose steps are compiled."""

    note: str | None = None

    def __init__(self, plan: Plan, theta: Array, state: State) -> None:
        self.plan = plan
        first, second = plan.batches(0), plan.batches(1)
        sampled = first is not second
        size = sum(a.nbytes for a in jax.tree.leaves(first))
        length = max(1, min(LENGTH, BYTES // max(size, 1))) if sampled else LENGTH_ALONE
        self._place: Carry = Carry(theta, np.zeros_like(theta), state)
        self._program = compiled_step(plan, self._place, length, sampled, first)
        self._chunk: Chunk | None = None
        self._done = 0  # of the chunk's steps
        self._began = False
        self._times = (0.0, 0.0)  # seconds at the chunk's beginning and end
        self._quick = 1  # steps that take about a frame

    @property
    def _here(self) -> Carry:
        return self._place if self._chunk is None else self._chunk.place(self._done)

    @property
    def theta(self) -> Array:
        """All that is learned (M,), now."""
        return np.asarray(self._here.theta)

    @property
    def state(self) -> Any:
        """Present state of the method."""
        return self._here.state

    @property
    def evaluation(self) -> StepEvaluation | None:
        """Gradient and state from which the next step moves on."""
        here = self._here
        return StepEvaluation(math.nan, here.grad, 0, 0, here.state) if self._began else None

    @property
    def ready(self) -> bool:
        """True at the end of the chunk."""
        return self._chunk is None or self._done == self._chunk.n

    def advance(self, algorithm: Algorithm, step: int, clock: float, most: int) -> Row:
        """The next row of the chunk, or the first of a new one."""
        if self._chunk is None or self._done == self._chunk.n:
            self._compute(algorithm, step, clock, most)
        chunk = self._chunk
        assert chunk is not None
        loss, norm, grad_evals, hvps, *moving = chunk.rows[self._done].tolist()
        self._done += 1
        self._began = True
        shown = LazySnapshot(step, _LATER, loss)
        shown.chunk = chunk
        if algorithm.refuses and not math.isfinite(norm):
            self._ask(algorithm, step, chunk)
        begin, end = self._times
        rates = list(algorithm._set_rates)
        for i, rate in zip(self._program.moving, moving, strict=True):
            rates[i] = rate
        seconds = begin + (end - begin) * self._done / chunk.n
        return Row(shown, norm, int(grad_evals), int(hvps), seconds, tuple(rates))

    def _compute(self, algorithm: Algorithm, step: int, clock: float, most: int) -> None:
        place = self._place if self._chunk is None else self._chunk.end
        n = max(1, min(self._quick, most, self._program.length))
        begin = time.perf_counter()
        held = self._program.stacked([self.plan.batches(step + i) for i in range(n if self._program.sampled else 1)])
        chunk = Chunk(self._program, place, step, n, self._program.rates(algorithm), held)
        end = time.perf_counter()
        self._chunk, self._done, self._times = chunk, 0, (begin - clock, end - clock)
        self._quick = int(min(FRAME * n / max(end - begin, 1e-9), 4 * n))

    def _ask(self, algorithm: Algorithm, step: int, chunk: Chunk) -> None:
        """Look at a step once more in the open, where a method may say in words why there is no number."""
        with np.errstate(all="ignore"):
            here = chunk.place(self._done)
            algorithm.evaluate(self.plan.problem, here.theta, here.state, self.plan.batches(step))

    def restore(self, theta: Array, state: State, evaluation: StepEvaluation | None) -> None:
        """Go on from there."""
        grad = np.zeros_like(theta) if evaluation is None else evaluation.grad
        self._place, self._chunk, self._began = Carry(theta, grad, state), None, evaluation is not None

    def retune(self, algorithm: Algorithm, changed: dict[str, Any]) -> None:
        """Go on from here with other rates; what was computed ahead is forgotten."""
        here = self._here
        theta, state = algorithm.on_rate_change(self.plan.problem, here.theta, here.state, changed)
        self._place, self._chunk = Carry(theta, here.grad, state), None
        if self._shapes(algorithm) != self._shapes(self.plan.algorithm):
            self.plan = self.plan._replace(algorithm=algorithm)
            first = self.plan.batches(0)
            self._program = compiled_step(self.plan, self._place, self._program.length, self._program.sampled, first)

    def _shapes(self, algorithm: Algorithm) -> list[tuple[int, ...]]:
        return [np.shape(getattr(algorithm, name)) for name in algorithm.live_rates()]
