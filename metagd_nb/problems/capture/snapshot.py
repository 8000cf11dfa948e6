"""Copies of the arrays that a user's functions read, so that later changes do not reach a run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .fingerprint import LIMIT, array_digest


@dataclass
class DataSnapshot:
    """Copies of the arrays that functions followed together read.

    Attributes
    ----------
    limit : int
        Bytes copied in all; an array that does not fit is referenced and listed in ``large``.
    """

    limit: int = LIMIT
    copied: int = 0
    large: dict[str, tuple[np.ndarray, str]] = field(default_factory=dict)
    _seen: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def array(self, value: np.ndarray, name: str) -> np.ndarray:
        """A copy of ``value``, the same one each time."""
        if id(value) in self._seen:
            return self._seen[id(value)][1]
        if self.copied + value.nbytes > self.limit:
            copy = value
            self.large[name] = (value, array_digest(value))
        else:
            copy = value.copy()
            self.copied += value.nbytes
        self._seen[id(value)] = (value, copy)  # holding the original keeps its id from being used again
        return copy

    def changed(self) -> list[str]:
        """Names of the arrays that were too large to copy and have been changed since."""
        return [name for name, (array, digest) in self.large.items() if array_digest(array) != digest]
