"""Parameters are one flat vector; a layout names its slices and gives views of them, not copies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .errors import unknown_name


class ParameterLayout:
    """Named slices of a flat parameter vector of length ``size``.

    Parameters
    ----------
    shapes : mapping name → shape
        In the order in which they lie in the vector.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = dict(shapes)
        self.slices: dict[str, slice] = {}
        start = 0
        for name, shape in self.shapes.items():
            self.slices[name] = slice(start, start := start + math.prod(shape))
        self.size = start

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> ParameterLayout:
        """The layout of a dict of arrays."""
        return cls({name: np.shape(array) for name, array in arrays.items()})

    def views(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Name → view (..., *shape) of ``theta`` (..., P)."""
        lead = theta.shape[:-1]
        return {name: theta[..., self.slices[name]].reshape(lead + shape) for name, shape in self.shapes.items()}

    def flatten(self, arrays: Mapping[str, np.ndarray], dtype: np.typing.DTypeLike = np.float64) -> np.ndarray:
        """The flat vector (P,) that holds these arrays; a copy."""
        flat = np.empty(self.size, dtype)
        for name, part in self.slices.items():
            flat[part] = np.reshape(arrays[name], -1)
        return flat

    def pieces(self, theta: np.ndarray) -> list[np.ndarray]:
        """Split (P,) into one array for each parameter; a NumPy scalar for one without axes."""
        return [part[()] for part in self.views(theta).values()]

    def join(self, parts: Sequence[np.ndarray | None], dtype: np.typing.DTypeLike) -> np.ndarray:
        """Join one array for each parameter into (P,); zeros for None."""
        flat = np.zeros(self.size, dtype)
        for part, where in zip(parts, self.slices.values(), strict=True):
            if part is not None:
                flat[where] = np.reshape(part, -1)
        return flat

    def mask(self, names: Iterable[str]) -> np.ndarray:
        """(P,) of bool, True in the named slices."""
        chosen = np.zeros(self.size, bool)
        for name in names:
            if name not in self.slices:
                raise unknown_name("parameter", name, self.slices)
            chosen[self.slices[name]] = True
        return chosen

    @property
    def last(self) -> list[str]:
        """Names of the last layer: those that share the last name's number (``W2``, ``b2``), or the last alone."""
        *_, name = self.slices
        number = name[len(name.rstrip("0123456789")) :]
        return [n for n in self.slices if number and n[len(n.rstrip("0123456789")) :] == number] or [name]

    def where(self, i: int) -> str:
        """The reader's name of coordinate i: ``w[2]``, ``W1[0, 3]``, or ``b`` for a scalar."""
        for name, part in self.slices.items():
            if part.start <= i < part.stop:
                index = np.unravel_index(i - part.start, self.shapes[name]) if self.shapes[name] else ()
                return f"{name}[{', '.join(str(int(k)) for k in index)}]" if index else name
        raise IndexError(i)
