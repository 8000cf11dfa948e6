"""A chunk of compiled steps, and snapshots of its rows whose parameters are computed when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .base import Snapshot
from .jax_program import Carry, CompiledStep, Held, Rates

Array = np.ndarray


class Chunk:
    """Some steps on end, computed.

    Parameters
    ----------
    program : CompiledStep
    place : Carry
        Before the first step.
    first, n : int
        Number of the first step, and of steps.
    rates : dict
    held : batch
    factors : array (n,) or None
        Of the rate that has a schedule, by step; None where none has.
    alone : function, optional
        Makes the program with which one of several processes computes steps again.
    """

    def __init__(
        self,
        program: CompiledStep,
        place: Carry,
        first: int,
        n: int,
        rates: Rates,
        held: Held,
        factors: Array | None,
        alone: Callable[[], CompiledStep] | None = None,
    ) -> None:
        self._program, self._start, self.first, self.n = program, place, first, n
        self._rates, self._held, self.factors, self._alone = rates, held, factors, alone
        self.end, self.rows = program(place, first == 0, n, rates, held, factors)
        self._known: tuple[int, Carry] | None = None
        self._settled: dict[int, Carry] = {}  # computed together, by all processes or by none

    def place(self, done: int, together: bool = False) -> Carry:
        """Return parameters and state after ``done`` of the steps (1…n), as arrays of NumPy.

        ``together`` is true where all processes ask for the same place at once.
        """
        known = self._settled.get(done)
        if known is None and not together and self._known is not None and self._known[0] == done:
            known = self._known[1]
        if known is None:
            place, start, program = self.end, self._start, self._program
            if done < self.n:
                if self._alone is not None and not together:
                    start, program = program.host(start), self._alone()
                place, _ = program(start, self.first == 0, done, self._rates, self._held, self.factors)
            known = program.host(place)
            if together:
                self._settled[done] = known
            else:
                self._known = done, known
        return known


LATER = np.empty(0)


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
