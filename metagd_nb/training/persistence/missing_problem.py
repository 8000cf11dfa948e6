"""Problem of a run whose loss, model or data its file does not hold."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import MetagdError
from ...core.parameters import ParameterLayout
from ...problems.base import Problem
from ...tasks import Batch

Array = np.ndarray


class MissingProblem(Problem):
    """Stands in for a problem whose loss, model or data a file does not hold: it starts, but cannot be evaluated."""

    def __init__(self, path: str, missing: list[str], layout: ParameterLayout, start: Array) -> None:
        self.path, self.missing, self.layout, self.dtype = path, tuple(missing), layout, start.dtype
        self._start = start

    def start(self, rng: np.random.Generator) -> Array:
        """The starting values (P,) that the file holds."""
        return self._start.copy()

    def check_available(self) -> NoReturn:
        """Raise a MetagdError that names what is missing and what to type."""
        names = " and ".join(self.missing)
        arguments = ", ".join(f"{name}={name}" for name in self.missing)
        one = len(self.missing) == 1
        be, it = ("is", "it") if one else ("are", "them")
        raise MetagdError(f"{names} {be} not in {self.path}; give {it} from here: metagd_nb.load(…, {arguments})")

    def linearize(self, phi: ArrayLike, batch: Batch) -> Any:
        """Refuse."""
        self.check_available()

    def embed(self, theta: np.ndarray, x: np.ndarray) -> Any:
        """Refuse."""
        self.check_available()

    def flat(self, phi: ArrayLike, tasks: int) -> Array:
        """Refuse."""
        self.check_available()

    def __call__(self, step: int) -> Any:
        """Refuse: no batches either."""
        self.check_available()
