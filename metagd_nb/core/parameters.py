"""Parameters as one flat vector, and the layout that names its slices and returns views of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .errors import unknown_name

if TYPE_CHECKING:
    import jax

A = TypeVar("A", np.ndarray, "jax.Array")


class ParameterLayout:
    """Named slices of a flat parameter vector of length ``size``.

    Parameters
    ----------
    shapes : mapping name → shape
        In the order in which they lie in the vector.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = dict(shapes)
        ends = list(itertools.accumulate(map(math.prod, self.shapes.values()), initial=0))
        self.slices = dict(zip(self.shapes, itertools.starmap(slice, itertools.pairwise(ends)), strict=True))
        self.size = ends[-1]

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> ParameterLayout:
        """Return the layout of arrays, by name."""
        return cls({name: np.shape(array) for name, array in arrays.items()})

    def views(self, theta: A) -> dict[str, A]:
        """Return views (..., *shape) of ``theta`` (..., P), by name.

        Parameters
        ----------
        theta : array (..., P)

        Returns
        -------
        dict name → array (..., *shape)
        """
        lead = theta.shape[:-1]
        return {name: theta[..., self.slices[name]].reshape(lead + shape) for name, shape in self.shapes.items()}

    def flatten(self, arrays: Mapping[str, np.ndarray], dtype: np.typing.DTypeLike = np.float64) -> np.ndarray:
        """Join arrays by name into a new vector (P,).

        Parameters
        ----------
        arrays : dict name → array
        dtype : dtype

        Returns
        -------
        array (P,)
        """
        return self.join([arrays[name] for name in self.shapes], dtype)

    def pieces(self, theta: np.ndarray) -> list[np.ndarray]:
        """Split (P,) into one array for each parameter; a NumPy scalar for one without axes."""
        return [part[()] for part in self.views(theta).values()]

    def join(self, parts: Sequence[np.ndarray | None], dtype: np.typing.DTypeLike) -> np.ndarray:
        """Join one array for each parameter into (P,); zeros for None.

        Parameters
        ----------
        parts : sequence of arrays or None
            In the order of the layout.
        dtype : dtype

        Returns
        -------
        array (P,)
        """
        flat = np.zeros(self.size, dtype)
        for part, place in zip(parts, self.slices.values(), strict=True):
            if part is not None:
                flat[place] = np.reshape(part, -1)
        return flat

    def mask(self, names: Iterable[str]) -> np.ndarray:
        """Return an array (P,) of bool, True in the named slices.

        Raises
        ------
        MetagdError
            For a name that is no parameter.
        """
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
        """Return the name of coordinate ``i`` in messages: ``w[2]``, ``W1[0, 3]``, or ``b`` for a scalar."""
        for name, part in self.slices.items():
            if part.start <= i < part.stop:
                index = np.unravel_index(i - part.start, self.shapes[name]) if self.shapes[name] else ()
                return f"{name}[{', '.join(str(int(k)) for k in index)}]" if index else name
        raise IndexError(i)
