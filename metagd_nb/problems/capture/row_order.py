"""Test for data among the arguments of a loss: rows of data may change places together without a change of the loss."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .signature import Binding
from .snapshot import DataSnapshot

Array = np.ndarray
FEW = 5  # doubtful arguments of which every subset is tested; of more, those of one, two, all but one, or all
DRAWS = 2  # random points at which a loss must not notice that rows change places
Evaluate = Callable[[Mapping[str, Any]], Any]  # the loss as a function of its parameters by name


def as_array(value: Any) -> Array | None:
    """Return a value as an array of numbers or text; None for a dict, a ragged list or an object."""
    if isinstance(value, dict) or callable(value):
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return None if array.dtype.kind == "O" else array


def rows(value: Any) -> int:
    """Return the first length of an array, or of what converts to one; 0 for anything else."""
    array = as_array(value)
    return 0 if array is None or not array.ndim else len(array)


class _Rearranged(DataSnapshot):
    """A snapshot that gives each array of one first length with its rows in another order."""

    def __init__(self, order: Array | None) -> None:
        super().__init__()
        self.order = order
        self.lengths: set[int] = set()

    def array(self, value: Array, name: str) -> Array:
        """A copy of ``value``, rearranged if it has as many rows as the order."""
        if value.ndim and len(value) >= 2:
            self.lengths.add(len(value))
        copy = super().array(value, name)
        return copy[self.order] if self.order is not None and value.ndim and len(value) == len(self.order) else copy


class Trial:
    """Evaluations of a loss whose data and parameters have their rows in another order."""

    def __init__(
        self, loss: Callable[..., Any], params: Mapping[str, Any], data: Mapping[str, Any], space: Mapping[str, Any]
    ) -> None:
        self.loss, self.space, self.data = loss, space, data
        self.params = {n: v if (array := as_array(v)) is None else array for n, v in params.items()}
        self.known: set[int] = set()  # first lengths of the data
        self.rng = np.random.default_rng(0)

    def doubtful(self, elsewhere: Mapping[str, Any]) -> list[str]:
        """Return the arguments whose rows may change places without a change of the loss."""
        arrays = {n: v for n, v in self.params.items() if isinstance(v, Array) and v.ndim and len(v) >= 2}
        if not arrays or len(self.params) < 2:
            return []  # a sole argument is what is trained
        from .closure import capture  # imports autograd

        read = _Rearranged(None)
        capture(self.loss, traced=False, snapshot=read)
        self.known = read.lengths | {n for v in (*self.data.values(), *elsewhere.values()) if (n := rows(v)) >= 2}
        found: list[str] = []
        for length in sorted({len(v) for v in arrays.values()}, reverse=True):
            if length in self.known or not (self.known or found):  # where none are known, the longest
                group = [n for n, v in arrays.items() if len(v) == length]
                found += self._largest(group, length, len(self.params) - len(found))
        return [n for n in self.params if n in found]

    def _largest(self, group: Sequence[str], length: int, left: int) -> Sequence[str]:
        """Return the largest subset of a group that is doubtful, of fewer arguments than are left to train."""
        order = np.roll(np.arange(length), 1) if length < 4 else self.rng.permutation(length)
        base, moved = self._bound(None), self._bound(order)
        points = [point for _ in range(DRAWS) if (point := self._point(base)) is not None]
        for subset in _subsets(group):
            fits = points and len(subset) < left
            same = fits and all(self._unchanged(moved, order, subset, *point) for point in points)
            if same and self._interacts(base, subset, points):
                return subset
        return ()

    def _interacts(self, base: Evaluate, subset: Sequence[str], points: Sequence[tuple[dict[str, Any], Any]]) -> bool:
        """Return False if the loss is a sum of a part in the subset and one in the rest, as data's never is."""
        (a, of_a), (b, of_b) = points[0], points[-1]
        if any(np.array_equal(a[name], b[name]) for name in subset):
            return True  # labels, which are not drawn
        mixed = [_number(base, {**one, **{n: other[n] for n in subset}}) for one, other in ((a, b), (b, a))]
        if None in mixed:
            return True
        size = abs(of_a) + abs(of_b) + abs(mixed[0]) + abs(mixed[1])
        return bool(abs(of_a + of_b - mixed[0] - mixed[1]) > _tolerance(of_a) * size)

    def _bound(self, order: Array | None) -> Evaluate:
        """Return the loss as a function of the parameters, its data rearranged."""
        from .closure import capture

        snapshot = _Rearranged(order)
        function = capture(self.loss, traced=False, snapshot=snapshot).function
        given = {n: self._moved(v, order) for n, v in self.data.items()}
        binding = Binding(self.loss, list(self.params), self.space, data=given)
        for name, value in binding.data.items():
            if name not in given:
                binding.data[name] = self._moved(value, order)
        return lambda values: binding.call(function, [values[n] for n in self.params])

    @staticmethod
    def _moved(value: Any, order: Array | None) -> Any:
        if order is None or rows(value) != len(order):
            return value
        return value.iloc[order] if hasattr(value, "iloc") else np.asarray(value)[order]

    def _point(self, base: Evaluate) -> tuple[dict[str, Any], Any] | None:
        """Return random parameters at which the loss is finite, and the loss there; None if none is found."""
        for signed in (True, False, False):
            values = {n: self._random(v, signed) if isinstance(v, Array) else v for n, v in self.params.items()}
            loss = _number(base, values)
            if loss is not None:
                return values, loss
        values = dict(self.params)
        return None if (loss := _number(base, values)) is None else (values, loss)

    def _random(self, start: Array, signed: bool) -> Any:
        """Random numbers near a start, of its signs; where it is zero of both signs, or positive."""
        if start.dtype.kind not in "fiu" or (start.dtype.kind in "iu" and start.ndim and np.ptp(start)):
            return start  # labels or indices
        noise = self.rng.standard_normal(start.shape)
        near = np.where(start == 0, noise if signed else np.abs(noise), start * np.exp(0.4 * noise))
        return near[()]

    @staticmethod
    def _unchanged(
        moved: Evaluate,
        order: Array,
        subset: Iterable[str],
        values: Mapping[str, Any],
        loss: Any,
    ) -> bool:
        other = _number(moved, {**values, **{n: values[n][order] for n in subset}})
        if other is None:
            return False
        return bool(abs(other - loss) <= _tolerance(loss) * max(abs(loss), abs(other), 1e-300))


def _tolerance(loss: Any) -> float:
    """Return the relative difference that rounding makes."""
    return 1e-4 if getattr(loss, "dtype", None) == np.float32 else 1e-9


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the subsets to test, the largest first."""
    sizes = range(len(names), 0, -1)
    few = len(names) <= FEW
    return itertools.chain.from_iterable(
        itertools.combinations(names, size) for size in sizes if few or size <= 2 or size >= len(names) - 1
    )


def _number(function: Evaluate, values: Mapping[str, Any]) -> Any:
    """Return the finite number that a function gives, or None."""
    try:
        with np.errstate(all="ignore"):
            value = np.asarray(function({n: v.copy() if isinstance(v, Array) else v for n, v in values.items()}))
        return value.reshape(())[()] if np.isfinite(value.reshape(())) else None
    except Exception:  # the loss cannot be evaluated: the run says so, in its own words
        return None
