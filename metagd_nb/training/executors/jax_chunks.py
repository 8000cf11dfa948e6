"""The steps of a run on JAX: computed a chunk ahead, dealt out one by one.

Whoever drives a run meets single steps, as on NumPy, so controls, events and stops are at their exact step. A chunk
takes about as long as a frame of the live plot. Where somebody intervenes within one, its first steps are computed
again, up to the step that counts, and the rest is forgotten.

Several processes compute a chunk together: they agree that all are ready for it, and continue with the rows and times
of process 0. What one of them reads within a chunk, it computes again alone.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from ...algorithms import Algorithm, StepEvaluation
from ...algorithms.theta import State
from ..plan import Plan
from .base import Row, without_schedule
from .jax_cache import compiled_step
from .jax_chunk import LATER, Chunk, LazySnapshot
from .jax_program import Carry, CompiledStep, Held
from .processes import Processes, processes_of

Array = np.ndarray
FRAME, FRAME_TOGETHER = 0.05, 0.2  # seconds that a chunk should take; of several processes, which must agree on each
LENGTH, BYTES = 100, 64_000_000  # steps of a chunk at most, and what their batches may take
LENGTH_ALONE = 1000  # where all steps share one batch


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
        self.processes: Processes | None = processes_of(plan.settings.devices)
        self._program = compiled_step(plan, self._place, length, sampled, first)
        self.options = plan.update_options
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
        shown = LazySnapshot(step, LATER, loss)
        shown.chunk = chunk
        if algorithm.refuses and not math.isfinite(norm):
            self._ask(algorithm, step, chunk)
        begin, end = self._times
        if self.options is not None and chunk.factors is not None:
            algorithm = self.options.scaled(algorithm, float(chunk.factors[self._done - 1]))
        rates = list(algorithm._set_rates)
        for i, rate in zip(self._program.moving, moving, strict=True):
            rates[i] = rate
        seconds = begin + (end - begin) * self._done / chunk.n
        return Row(shown, norm, int(grad_evals), int(hvps), seconds, tuple(rates))

    def _compute(self, algorithm: Algorithm, step: int, clock: float, most: int) -> None:
        place = self._place if self._chunk is None else self._chunk.end
        n = max(1, min(self._quick, most, self._program.length))
        begin = time.perf_counter()
        held, factors, n = self._drawn(step, n)
        alone = None if self.processes is None else self._program_alone
        chunk = Chunk(self._program, place, step, n, self._program.rates(algorithm), held, factors, alone)
        times = (begin - clock, time.perf_counter() - clock)
        if self.processes is not None:
            times, chunk.rows = self.processes.of_first(times, chunk.rows)
        self._chunk, self._done, self._times = chunk, 0, times
        frame = FRAME if self.processes is None else FRAME_TOGETHER
        self._quick = int(min(frame * n / max(times[1] - times[0], 1e-9), 4 * n))

    def _factors(self, step: int, n: int) -> Array | None:
        """Return the factors of the scheduled rate for the updates that lead to row ``step`` and the next, up to ``n``.

        They are fewer where the schedule fails at a later step, so that the rows before it count. Without a schedule
        there are none.
        """
        if self.options is None or self.options.schedule is None:
            return None
        factors: list[float] = []
        for row in range(step, step + n):
            try:
                factors.append(self.options.schedule.at(max(row - 1, 0)))
            except Exception:
                if not factors:
                    raise
                break
        return np.array(factors)

    def _drawn(self, step: int, n: int) -> tuple[Held, Array | None, int]:
        """Return the batches and factors of up to ``n`` steps and their number, once all processes have theirs."""
        error, held, factors = None, None, None
        try:
            factors = self._factors(step, n)
            n = n if factors is None else len(factors)
            held = self._program.stacked(
                [self.plan.batches(step + i) for i in range(n if self._program.sampled else 1)]
            )
        except Exception as one:
            if self.processes is None:
                raise
            error = one
        if self.processes is not None:
            self.processes.exchange(f"{n} steps from {step}", None, error)
        return held, factors, n

    def _program_alone(self) -> CompiledStep:
        """Return the program of this process without the others."""
        plan = self.plan._replace(settings=replace(self.plan.settings, devices=1))
        place = self._program.host(self._place)
        return compiled_step(plan, place, self._program.length, self._program.sampled, plan.batches(0))

    def settle(self) -> None:
        """Compute the present place, at which all processes are."""
        if self._chunk is not None:
            self._chunk.place(self._done, together=True)

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
        """Go on from here with other rates; what was computed ahead is forgotten, and a schedule of one of them."""
        self.options = without_schedule(self.options, changed)
        self.settle()
        here = self._here
        theta, state = algorithm.on_rate_change(self.plan.problem, here.theta, here.state, changed)
        self._place, self._chunk = Carry(theta, here.grad, state), None
        if self._shapes(algorithm) != self._shapes(self.plan.algorithm):
            self.plan = self.plan._replace(algorithm=algorithm)
            first = self.plan.batches(0)
            self._program = compiled_step(self.plan, self._place, self._program.length, self._program.sampled, first)

    def _shapes(self, algorithm: Algorithm) -> list[tuple[int, ...]]:
        return [np.shape(getattr(algorithm, name)) for name in algorithm.live_rates()]
