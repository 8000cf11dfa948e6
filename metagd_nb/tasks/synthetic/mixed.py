"""Mixtures: every task is of one of several kinds, and a batch holds the number of its kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable

import numpy as np

from ...core import MetagdError, check_float, records_call, records_derivation, shorten, unknown_name
from ..base import Batch, Example, Reference, TaskBatch, Tasks
from .curves import Array, Curves, Range
from .sinusoid import sinusoid

SPAN = (-3.0, 3.0)


def _line(x: Array, slope: Array, bias: Array) -> Array:
    return slope * x + bias


def _quadratic(x: Array, curvature: Array, sign: Array, center: Array, bias: Array) -> Array:
    return np.where(sign < 0, -curvature, curvature) * (x - center) ** 2 + bias


def _absolute(x: Array, slope: Array, center: Array, bias: Array) -> Array:
    return slope * np.abs(x - center) + bias


def _tanh(x: Array, slope: Array, center: Array, bias: Array) -> Array:
    return slope * np.tanh(x - center) + bias


def _curves(name: str, function: Callable[..., Array], **ranges: Range) -> Callable[[float], Tasks]:
    return lambda noise: Curves(function, ranges, (-5.0, 5.0), noise, name)


# Vuorio et al. 2019 (regression), with the ranges of their published code. One more number, sign, decides which
# quadratics open downwards; in their code half of them do.
KINDS: dict[str, Callable[[float], Tasks]] = {
    "sinusoid": lambda noise: sinusoid((0.1, 5.0), (0.0, math.pi), (-5.0, 5.0), noise),
    "line": _curves("line", _line, slope=SPAN, bias=SPAN),
    "quadratic": _curves("quadratic", _quadratic, curvature=(0.02, 0.15), sign=(-1.0, 1.0), center=SPAN, bias=SPAN),
    "absolute": _curves("absolute", _absolute, slope=SPAN, center=SPAN, bias=SPAN),
    "tanh": _curves("tanh", _tanh, slope=SPAN, center=SPAN, bias=SPAN),
}


class Mixed(Tasks):
    """Tasks of several kinds, about equally many of each in every batch; see `mixed`.

    Attributes
    ----------
    kinds : tuple of str
        Names of the kinds, in the order of the numbers ``kind`` (T,) of a batch.
    """

    name = "mixed"

    def __init__(self, families: dict[str, Tasks], drawn: tuple[int, ...] | None = None) -> None:
        self.families, self.kinds = families, tuple(families)
        self._drawn = np.arange(len(families)) if drawn is None else np.array(drawn)  # numbers of the kinds drawn
        first = next(iter(families.values()))
        self.inputs, self.outputs, self.loss = first.inputs, first.outputs, first.loss
        for name, family in families.items():
            if (family.inputs, family.outputs) != (self.inputs, self.outputs):
                sizes = f"{family.inputs} inputs and {family.outputs} outputs"
                raise MetagdError(f"{sizes}; {self.kinds[0]} has {self.inputs} and {self.outputs}", name)
            if family.loss != self.loss:
                raise MetagdError(f"is learned with {family.loss}; {self.kinds[0]} with {self.loss}", name)
        self.test_queries = min(family.test_queries for family in families.values())
        ends = [families[self.kinds[g]].n_available for g in self._drawn]
        self.n_available = min((end for end in ends if end), default=0) * len(ends) or None  # none is drawn twice

    def __repr__(self) -> str:
        kinds = ", ".join(self.kinds[g] for g in self._drawn)
        return f"mixed({kinds})" if len(self._drawn) == len(self.kinds) else f"mixed(…).only({kinds})"

    @records_derivation
    def only(self, *kinds: str) -> Mixed:
        """Return the same mixture, drawing tasks of these kinds only; names and numbers of the kinds stay.

        Parameters
        ----------
        *kinds : str

        Returns
        -------
        Mixed

        Raises
        ------
        MetagdError
            For a kind that the mixture does not have, and without any.
        """
        if not kinds:
            raise MetagdError(f"needs one or more of {', '.join(self.kinds)}", "only")
        for kind in kinds:
            if kind not in self.families:
                raise unknown_name("kind", str(kind), self.kinds)
        return Mixed(self.families, tuple(self.kinds.index(kind) for kind in kinds))

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        kind = self._kinds(rng, batches, n)
        points = shots + queries
        x, y = np.empty((len(kind), points, self.inputs)), np.empty((len(kind), points, self.outputs))
        number, first = np.full(len(kind), -1), 0
        for g, family in enumerate(self.families.values()):
            members = np.flatnonzero(kind == g)
            if len(members):
                drawn = family.sample(rng, 1, len(members), shots, queries)
                x[members], y[members] = (
                    np.concatenate([getattr(drawn.support, a), getattr(drawn.query, a)], 1) for a in "xy"
                )
                if drawn.support.number is not None:
                    number[members] = first + drawn.support.number
            first += family.n_available or 0
        known = number if (number >= 0).all() else None
        return TaskBatch(Batch(x[:, :shots], y[:, :shots], kind, known), Batch(x[:, shots:], y[:, shots:], kind, known))

    def task_keys(self) -> list[set[Hashable]]:
        return [keys for g in self._drawn for keys in self.families[self.kinds[g]].task_keys()]

    def _kinds(self, rng: np.random.Generator, batches: int, n: int) -> np.ndarray:
        """Draw kinds (batches·n,) in random order: in a batch the counts of two kinds differ by one at most."""
        shift = rng.integers(len(self._drawn), size=(batches, 1))
        turns = (np.arange(n) + shift) % len(self._drawn)
        return np.asarray(self._drawn[rng.permuted(turns, axis=1)]).reshape(-1)

    def references(self, inner_lr: np.typing.ArrayLike, inner_steps: int, shots: int) -> list[Reference]:
        noise = [getattr(self.families[self.kinds[g]], "noise", 0.0) for g in self._drawn]
        return [Reference(float(np.mean(np.square(noise))), "noise (Bayes)")] if any(noise) else []

    def example(self, rng: np.random.Generator, shots: int) -> Example | None:
        kind = self.kinds[int(rng.choice(self._drawn))]
        example = self.families[kind].example(rng, shots)
        if example is None or example.label.startswith(kind):
            return example
        return example._replace(label=f"{kind}: {example.label}")


@records_call
def mixed(*kinds: str | Tasks, noise: float = 0.3, **own: Tasks) -> Mixed:
    """Mix several kinds of task in one family: ready ones, such as line, and your own.

    >>> mixed("sinusoid", "line")
    mixed(sinusoid, line)

    Parameters
    ----------
    *kinds : str or Tasks
        Names of ready kinds (sinusoid, line, quadratic, absolute, tanh), or families; all five when nothing is given.
    noise : float
        Standard deviation of the noise on y, of the ready kinds. The default is that of Vuorio et al. (2019).
    **own : Tasks
        Your own families, by name.

    Returns
    -------
    Mixed

    Raises
    ------
    MetagdError
        For a kind that does not exist or comes twice, and for families that differ in inputs, outputs or loss.
    """
    noise = check_float(noise, "noise", low=0)
    families: dict[str, Tasks] = {}
    for kind in kinds or (() if own else tuple(KINDS)):
        if isinstance(kind, str) and kind not in KINDS:
            raise unknown_name("kind", kind, KINDS)
        family = KINDS[kind](noise) if isinstance(kind, str) else kind
        _add(families, kind if isinstance(kind, str) else getattr(kind, "name", "kind"), family)
    for name, family in own.items():
        _add(families, name, family)
    return Mixed(families)


def _add(families: dict[str, Tasks], name: str, family: object) -> None:
    """Add one kind after checking it."""
    if not isinstance(family, Tasks):
        raise MetagdError(f"{shorten(family)} is not a family such as sinusoid() or curves(…)", name)
    if family.full_batch or family.kinds:
        raise MetagdError(f"{family!r} cannot be one kind of a mixture", name)
    if name in families:
        raise MetagdError(f"{name} comes twice; name them: mixed(one=…, other=…)", "mixed")
    families[name] = family
