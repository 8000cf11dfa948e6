"""Parts of θ (M,): the parameters (P,), then what a method learns besides them; and the rates of a method."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..core.array_api import as_float
from ..core.hyperparameters import Checked, hyperparameters
from ..core.parameters import ParameterLayout
from ..problems.base import Problem
from ..tasks import Tasks

Array = np.ndarray
State = Any
NOTHING = ParameterLayout({})


@dataclass(frozen=True)
class Theta(Checked):
    """Contents of θ for a method; by default the parameters alone."""

    def extra_layout(self, problem: Problem) -> ParameterLayout:
        """Name what is learned besides the parameters.

        Parameters
        ----------
        problem : Problem

        Returns
        -------
        ParameterLayout
            Named slices, which follow the parameters in θ (M,).
        """
        return NOTHING

    def extras(self, problem: Problem, theta: Array) -> dict[str, Array]:
        """Read what is learned besides the parameters.

        Parameters
        ----------
        problem : Problem
        theta : array (M,)

        Returns
        -------
        dict name → view of ``theta``
        """
        return self.extra_layout(problem).views(theta[problem.layout.size :])

    def constants(self) -> tuple[str, ...]:
        """Name the slices of θ that the method uses but does not change.

        Returns
        -------
        tuple of str
            "parameters" stands for the first P.
        """
        return ()

    def init_parameters(self, problem: Problem, theta: Array, tasks: Tasks | None = None) -> Array:
        """Return the initial θ (M,).

        Parameters
        ----------
        problem : Problem
        theta : array (P,)
            Initial parameters.
        tasks : Tasks, optional
            The family to learn from; the method must be bound to it (`bind`).

        Returns
        -------
        array (M,)
        """
        return theta

    @classmethod
    def live_rates(cls) -> tuple[str, ...]:
        """Name the rates that the record holds and that may change during a run.

        Returns
        -------
        tuple of str
        """
        return tuple(name for name, declared in hyperparameters(cls).items() if declared.live)

    def result(self, problem: Problem, theta: Array, state: State) -> Array:
        """Return the parameters that a run shows.

        Parameters
        ----------
        problem : Problem
        theta : array (M,)
        state : tuple

        Returns
        -------
        array (P,)
        """
        return theta[: problem.layout.size]

    def learned(self, problem: Problem, theta: Array) -> dict[str, Array]:
        """Copy what is learned besides the parameters.

        Parameters
        ----------
        problem : Problem
        theta : array (M,)

        Returns
        -------
        dict name → array
        """
        return {name: view.copy() for name, view in self.extras(problem, theta).items()}

    def rates(self, problem: Problem, theta: Array, state: State) -> tuple[float, ...]:
        """Return the present values of `live_rates`.

        Parameters
        ----------
        problem : Problem
        theta : array (M,)
        state : tuple

        Returns
        -------
        tuple of float
            The mean of a rate with several values.
        """
        learned = self.extras(problem, theta)
        if not learned:
            return self._set_rates
        return tuple(
            as_float(learned[name].mean()) if name in learned else rate
            for name, rate in zip(self._live, self._set_rates, strict=True)
        )

    @cached_property
    def _live(self) -> tuple[str, ...]:
        return self.live_rates()

    @cached_property
    def _set_rates(self) -> tuple[float, ...]:
        return tuple(float(np.mean(getattr(self, name))) for name in self._live)

    def on_rate_change(
        self, problem: Problem, theta: Array, state: State, changed: dict[str, Any]
    ) -> tuple[Array, State]:
        """Adjust θ and state after the user has set rates; all values of a learned rate are set.

        Parameters
        ----------
        problem : Problem
        theta : array (M,)
        state : tuple
        changed : dict name → value

        Returns
        -------
        theta : array (M,)
        state : tuple
        """
        if not changed.keys().isdisjoint(self.extra_layout(problem).shapes):
            theta = self.init_parameters(problem, theta[: problem.layout.size])
        return theta, state
