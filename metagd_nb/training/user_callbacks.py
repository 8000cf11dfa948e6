"""The user's own functions of a run under way: callbacks, and metrics that become columns of the record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..core.errors import MetagdError, shorten
from ..core.hyperparameters import check_int
from ..core.parameters import ParameterLayout
from .callbacks import Callback
from .validation import EVERY

if TYPE_CHECKING:
    from .loop import TrainingLoop

Array = np.ndarray
SECONDS = 0.1  # between two calls of a callback at least, unless the user gives a number of rows


class HasLoop(Protocol):
    """A run, as far as its callbacks need it."""

    @property
    def loop(self) -> TrainingLoop:
        """Its training loop."""


class Watchers:
    """The user's callbacks, each a function of the run.

    Parameters
    ----------
    functions : sequence of functions
    every : int, optional
        Recorded rows from one call to the next; by default at most one call every 0.1 seconds.

    Raises
    ------
    MetagdError
        For what is no function, and for a number below 1.
    """

    def __init__(self, functions: Sequence[Callable[..., object]], every: int | None = None) -> None:
        if callable(functions) or not isinstance(functions, (list, tuple)):
            raise MetagdError(f"{shorten(functions)} is not a list of functions; write callbacks=[f]", "callbacks")
        for function in functions:
            if not callable(function):
                raise MetagdError(f"{shorten(function)} is not a function of the run", "callbacks")
        self.functions = tuple(functions)
        self.every = None if every is None else check_int(every, "callback_every", 1)

    def of(self, run: HasLoop) -> UserCallbacks:
        """Return the callback of a run that calls the functions."""
        return UserCallbacks(run, self)


class UserCallbacks(Callback):
    """Calls the user's callbacks; an exception in one ends the run as failed.

    The time that they take is not counted as time of training.
    """

    def __init__(self, run: HasLoop, watchers: Watchers) -> None:
        self.run, self.watchers = run, watchers
        self._last = -1  # step of the last call
        self.due = run.loop.seconds() if watchers.every is None else 0.0
        self._aim()

    def _aim(self) -> None:
        """Ask the loop to stop taking many steps at once where the next call is due."""
        if self.watchers.every is not None:
            loop = self.run.loop
            rows = self.watchers.every * loop.settings.record_every
            loop.next_call = (max(loop.snapshot.step, -1) // rows + 1) * rows

    def call(self) -> None:
        """Call the functions, if a call is due."""
        loop = self.run.loop
        if self.watchers.every is not None and loop.snapshot.step < loop.next_call:
            return
        start = time.perf_counter()
        self._call_all()
        loop.clock.exclude(time.perf_counter() - start)
        if self.watchers.every is None:
            self.due = loop.seconds() + SECONDS
        self._aim()

    def _call_all(self) -> None:
        self._last = self.run.loop.snapshot.step
        for function in self.watchers.functions:
            function(self.run)
            if self.run.loop.stopped is not None:
                return

    def end(self) -> None:
        """Call the functions for the last row, unless they have seen it or the run has failed."""
        loop = self.run.loop
        loop.next_call = math.inf
        if loop.stopped != "failed" and self._last != loop.snapshot.step:
            self._last = loop.snapshot.step
            try:
                for function in self.watchers.functions:
                    function(self.run)
            except Exception as error:
                loop.fail(error)


class Metrics:
    """The user's own metrics: functions of the parameters by name, whose values are columns of the record.

    Parameters
    ----------
    functions : dict name → function, or sequence of names
        ``f(params)`` with ``params`` a dict name → array gives a number. Names alone are those of a run from a file:
        their columns stay, and have no new values until the functions are given again.
    every : int
        Steps between two evaluations; the first is at step 0.

    Raises
    ------
    MetagdError
        For a name that cannot be a column, and for what is no function.
    """

    def __init__(self, functions: Mapping[str, Callable[..., Any] | None] | Sequence[str], every: int = EVERY) -> None:
        if not isinstance(functions, (Mapping, tuple)):
            raise MetagdError(f"{shorten(functions)} is not a dict name → function of the parameters", "metrics")
        self.functions = dict(functions) if isinstance(functions, Mapping) else dict.fromkeys(functions)
        for name, function in self.functions.items():
            if not isinstance(name, str) or not name.isidentifier():
                raise MetagdError(f"{shorten(name)} cannot be the name of a column", "metrics")
            if function is not None and not callable(function):
                raise MetagdError(f"{name} is {shorten(function)}, not a function of the parameters", "metrics")
        self.every = every

    def due(self, step: int) -> bool:
        """Return True if there is an evaluation at this step."""
        return step % self.every == 0

    def __call__(self, layout: ParameterLayout, params: Array) -> list[float]:
        """Return the value of each metric at the parameters (P,).

        Raises
        ------
        Exception
            Of the user's function; a MetagdError if it gives no number.
        """
        values = []
        for name, function in self.functions.items():
            if function is None:
                values.append(math.nan)
                continue
            value = function({part: view.copy() for part, view in layout.views(params).items()})
            try:
                values.append(float(value))
            except (TypeError, ValueError):
                raise MetagdError(f"{name} gave {shorten(value)}; needs a number", "metrics") from None
        return values
