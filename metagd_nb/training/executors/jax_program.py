"""The whole step of a method — look, row, move — traced once and compiled as the body of one loop.

The loop runs as many steps as it is told, so one program serves a single step, a chunk, and a chunk run again up to
some step of it; the bits are the same whichever way a step was reached. Rates are arguments: setting one compiles
nothing anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ...algorithms import Algorithm, StepEvaluation
from ...algorithms.theta import State
from ...problems.base import Data
from ...problems.jax import precise
from ...problems.jax.methods import traceable
from ...tasks import TaskBatch
from ..plan import Plan
from .processes import devices_of

Array = np.ndarray
Held = Data | TaskBatch  # data of a step, or of several stacked
Shapes = list[tuple[int, ...]]  # of the arrays of a batch
Rates = Mapping[str, Any]  # live rates by name, traced in a program
Flag = np.bool_ | jax.Array
Number = np.integer[Any] | jax.Array


class Carry(NamedTuple):
    """Between two steps: what is learned, and what the next move needs."""

    theta: Any  # (M,)
    grad: Any  # (M,)
    state: Any


class CompiledStep:
    """Compiled steps.

    Parameters
    ----------
    plan : Plan
    place : Place
        An example, for its shapes.
    length : int
        Steps at most in one call.
    sampled : bool
        Whether there is a batch for each step; otherwise one batch serves them all.
    batch : batch
        An example, as ``plan.batches`` gives it.
    """

    def __init__(self, plan: Plan, place: Carry, length: int, sampled: bool, batch: Held) -> None:
        self.problem, self.algorithm, self.dtype = plan.problem, plan.algorithm, plan.problem.dtype
        self._traceable = traceable(type(plan.algorithm))
        self.length, self.sampled = length, sampled
        self._whole, self._short = _shapes(batch), short_shapes(plan)
        self.options = plan.update_options
        self.moving: tuple[int, ...] = ()  # which of the live rates are learned, and so have a column of their own
        self._mesh = _mesh(plan.settings.devices)
        self._unscaled = np.ones(length, self.dtype)
        rates = self.rates(plan.algorithm)
        held = self.stacked([batch])
        with precise(self.dtype):
            given = self._placed(self._strong(place), np.True_, np.int32(0), rates, held, self._unscaled)
            whole = {} if self._mesh is None else {"out_shardings": _spread(self._mesh, None)}
            self._compiled = jax.jit(self._steps, **whole).lower(*given).compile()

    def __call__(
        self, place: Carry, fresh: bool, n: int, rates: Rates, held: Held, factors: Array | None = None
    ) -> tuple[Carry, Array]:
        """The place after ``n`` steps, and a row for each: loss, norm, grad_evals, hvps, moving rates.

        ``fresh`` is true where no step came before: then the first only looks. ``factors`` (n or more,) multiply the
        rate that has a schedule; None where none has.
        """
        scaled = self._unscaled
        if factors is not None:
            scaled = np.ones(self.length, self.dtype)
            scaled[: len(factors)] = factors
        with precise(self.dtype):
            given = self._placed(self._strong(place), np.bool_(fresh), np.int32(n), rates, held, scaled)
            place, rows = self._compiled(*given)
            return place, np.asarray(rows)[:n]

    def rates(self, algorithm: Algorithm) -> dict[str, Array]:
        """The live rates as arguments."""
        return {name: np.asarray(getattr(algorithm, name), self.dtype) for name in algorithm.live_rates()}

    def host(self, place: Carry) -> Carry:
        """The same place in NumPy's arrays and Python's numbers."""
        held: Carry = jax.tree.map(lambda a: np.array(a) if np.ndim(a) else np.asarray(a).item(), place)
        return held

    def stacked(self, batches: list[Any]) -> Any:
        """Batches for the steps of a call; where one serves them all, that one.

        Where the last batch of an epoch has fewer rows, each has the room of a whole one, and a flag that says which it
        is. Compiled code has both shapes, so that a loss is that of the rows alone.
        """
        if not self.sampled:
            return batches[0]
        form = jax.tree.structure(batches[0])
        columns = zip(*map(jax.tree.leaves, batches), strict=True)
        held = [_filled((self.length, *shape), parts) for shape, parts in zip(self._whole, columns, strict=True)]
        stack = jax.tree.unflatten(form, held)
        if self._short is None:
            return stack
        flags = np.zeros(self.length, bool)
        flags[: len(batches)] = [_shapes(batch) != self._whole for batch in batches]
        return stack, flags

    def _strong(self, place: Carry) -> Carry:
        """Every number in the run's precision, so that a loop's state keeps its types."""
        strong: Carry = jax.tree.map(lambda a: _typed(a, self.dtype), place)
        return strong

    def _steps(self, place: Carry, fresh: Flag, n: Number, rates: Rates, held: Held, factors: Any) -> tuple[Carry, Any]:
        def method(factor: Any) -> Algorithm:
            if self.options is None or self.options.schedule is None:
                return _with_rates(self.algorithm, self._traceable, rates)
            scheduled = {**rates, self.options.rate: rates[self.options.rate] * factor}
            return _with_rates(self.algorithm, self._traceable, scheduled)

        def step(i: jax.Array, carried: tuple[Carry, Any]) -> tuple[Carry, Any]:
            place, rows = carried
            batch = jax.tree.map(lambda a: a[i], held) if self.sampled else held
            moved, row = self._step(method(factors[i]), place, fresh & (i == 0), batch)
            return moved, rows.at[i].set(row)

        columns = jax.eval_shape(lambda p: self._step(method(factors[0]), p, fresh, self._first(held))[1], place)
        rows = jnp.zeros((self.length, *columns.shape), self.dtype)
        done: tuple[Carry, Any] = jax.lax.fori_loop(0, n, step, (place, rows))
        return done

    def _first(self, held: Held) -> Any:
        return jax.tree.map(lambda a: a[0], held) if self.sampled else held

    def _step(self, algorithm: Algorithm, place: Carry, stays: Flag, batch: Held) -> tuple[Carry, Any]:
        """Move (unless it ``stays``), and look at where it led."""
        before = StepEvaluation(0.0, place.grad, 0, 0, place.state)
        if self.options is None:
            moved = algorithm.update(place.theta, before)
        else:
            moved = self.options.update(algorithm, place.theta, before)
        theta, state = jax.tree.map(lambda old, new: jnp.where(stays, old, new), (place.theta, place.state), moved)
        if self.problem.bounds is not None:
            theta = self.problem.bounds.project(theta)
        evaluation = self._evaluated(algorithm, theta, state, batch)
        found = algorithm.rates(self.problem, theta, evaluation.state)
        known = [id(rate) for rate in algorithm._set_rates]
        self.moving = tuple(i for i, rate in enumerate(found) if id(rate) not in known)
        slope = evaluation.grad
        if self.problem.bounds is not None:
            slope = self.problem.bounds.stationarity(theta, slope)
        norm = jnp.sqrt(slope @ slope)
        row = [evaluation.loss, norm, evaluation.grad_evals, evaluation.hvps, *(found[i] for i in self.moving)]
        after = Carry(theta, evaluation.grad, evaluation.state)
        same = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, place)
        return same, jnp.stack([jnp.asarray(value, self.dtype) for value in row])

    def _evaluated(self, algorithm: Algorithm, theta: Array, state: State, batch: Any) -> StepEvaluation:
        """Evaluate on a batch; of one that is short, on the rows that it has."""
        if self._short is None:
            return algorithm.evaluate(self.problem, theta, state, batch)
        whole, is_short = batch
        leaves, form = jax.tree.flatten(whole)
        parts = [a[tuple(map(slice, shape))] for a, shape in zip(leaves, self._short, strict=True)]
        found: StepEvaluation = jax.lax.cond(
            is_short,
            lambda: algorithm.evaluate(self.problem, theta, state, jax.tree.unflatten(form, parts)),
            lambda: algorithm.evaluate(self.problem, theta, state, whole),
        )
        return found

    def _placed(
        self, place: Carry, fresh: Flag, n: Number, rates: Rates, held: Held, factors: Array
    ) -> tuple[Any, ...]:
        """The arguments on their devices: tasks spread over all of them, the rest on each."""
        if self._mesh is None:
            return place, fresh, n, rates, held, factors
        everywhere = _spread(self._mesh, None)
        whole = jax.tree.map(lambda a: _put(a, everywhere), (place, fresh, n, rates))
        over_tasks = _spread(self._mesh, int(self.sampled))
        return (*whole, jax.tree.map(lambda a: _put(a, over_tasks), held), _put(factors, everywhere))


def _shapes(batch: Held) -> Shapes:
    return [np.shape(a) for a in jax.tree.leaves(batch)]


def short_shapes(plan: Plan) -> Shapes | None:
    """Return the shapes of the last batch of an epoch; None where it is as large as the others."""
    epochs = plan.epochs
    return None if epochs is None or not epochs.n % epochs.size else _shapes(plan.batches(epochs.length - 1))


def _filled(shape: tuple[int, ...], parts: tuple[Array, ...]) -> Array:
    """Return an array (steps, …) with the parts of the first steps, each in the corner of its place."""
    whole = np.zeros(shape, parts[0].dtype)
    for into, part in zip(whole, parts, strict=False):
        into[tuple(map(slice, part.shape))] = part
    return whole


def _typed(a: ArrayLike, dtype: np.dtype[Any]) -> Any:
    """A number or array in the run's precision where it is not whole; one of JAX's is already."""
    if isinstance(a, jax.Array):
        return a
    array = np.asarray(a)
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _with_rates(algorithm: Algorithm, kind: type[Algorithm], rates: Rates) -> Algorithm:
    """The method, as one of this class, with traced rates, which no check of a value could judge."""
    traced = object.__new__(kind)
    own = {field.name: getattr(algorithm, field.name) for field in dataclasses.fields(algorithm)}
    means = tuple(rate if rate.ndim == 0 else rate.mean() for rate in rates.values())
    traced.__dict__.update(own | dict(rates) | {"_set_rates": means})
    return traced


# ---- devices --------------------------------------------------------------------------------------------------------


def _mesh(devices: int) -> Any:
    return None if devices == 1 else jax.sharding.Mesh(np.array(devices_of(devices)), ("tasks",))


def _spread(mesh: jax.sharding.Mesh, axis: int | None) -> Any:
    """A sharding that splits this axis over the mesh, or none."""
    names = () if axis is None else (*([None] * axis), "tasks")
    part: Any = jax.sharding.PartitionSpec
    return jax.sharding.NamedSharding(mesh, part(*names))


def _put(a: ArrayLike, sharding: jax.sharding.Sharding) -> jax.Array:
    """An array with this sharding; every process of several gives the parts that it holds."""
    if isinstance(a, jax.Array) and a.sharding == sharding:
        return a
    a = np.asarray(a)
    return jax.make_array_from_callback(a.shape, sharding, lambda where: a[where])
