"""Bounds of parameters: a box onto which steps are projected."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .array_api import namespace
from .errors import MetagdError, shorten
from .parameters import ParameterLayout

Array = np.ndarray


class Bounds(NamedTuple):
    """Lowest and highest value of each parameter.

    Attributes
    ----------
    low, high : array (P,)
        −inf and inf where there is no bound.
    """

    low: Array
    high: Array

    def project(self, theta: Any) -> Any:
        """Return θ (M,) with its first P values moved to the nearest point within the bounds."""
        xp, size = namespace(theta), len(self.low)
        inside = xp.clip(theta[:size], self.low, self.high)
        return inside if len(theta) == size else xp.concatenate([inside, theta[size:]])

    def stationarity(self, theta: Any, grad: Any) -> Any:
        """Return θ − project(θ − grad): zero at a minimum, where the gradient alone need not be."""
        return theta - self.project(theta - grad)

    def fixed(self, theta: Array, grad: Array) -> Array:
        """Return an array (P,) of bool: True at a bound beyond which the negative gradient points."""
        return ((theta <= self.low) & (grad > 0)) | ((theta >= self.high) & (grad < 0))


def as_text(bounds: Mapping[str, Sequence[float | None]]) -> str:
    """Return ``{"w": (0, None)}`` as it is written in a cell, ``w:0:``.

    Raises
    ------
    MetagdError
        For a value that is not a pair of numbers or None.
    """
    parts = []
    for name, pair in bounds.items():
        try:
            low, high = ("" if end is None else repr(float(end)) for end in pair)
        except (TypeError, ValueError):
            raise MetagdError(f"{shorten(pair)} is not a pair (low, high) of numbers or None", "bounds") from None
        parts.append(f"{name}:{low}:{high}")
    return ",".join(parts)


def parse_bounds(text: str | None, positive: str | None, layout: ParameterLayout) -> Bounds | None:
    """Return the bounds that settings describe, or None if there are none.

    Parameters
    ----------
    text : str, optional
        ``w:0:1,b::5``, the lowest and the highest value of each named parameter; an empty one is no bound.
    positive : str, optional
        ``w,b``, parameters that are 0 or greater.
    layout : ParameterLayout

    Raises
    ------
    MetagdError
        For text of another form, an unknown parameter, and a lowest value that is not below the highest.
    """
    if text is None and positive is None:
        return None
    low, high = np.full(layout.size, -np.inf), np.full(layout.size, np.inf)
    for name in _split(positive):
        low[layout.mask([name])] = 0.0
    for part in _split(text):
        name, *ends = (piece.strip() for piece in part.split(":"))
        if len(ends) != 2:
            raise MetagdError(f"{shorten(part)} is not NAME:LOW:HIGH, as in w:0: or w:-1:1", "bounds")
        chosen, (lowest, highest) = layout.mask([name]), (_end(*one) for one in zip(ends, (-1, 1), strict=True))
        if not lowest < highest:
            raise MetagdError(f"{name} has the lowest value {ends[0]}, which is not below {ends[1]}", "bounds")
        low[chosen], high[chosen] = np.maximum(low[chosen], lowest), highest
    return Bounds(low, high)


def _split(text: str | None) -> Iterable[str]:
    return () if text is None else (part.strip() for part in text.split(","))


def _end(text: str, sign: int) -> float:
    """Return one end of a range; infinity for an empty text."""
    if not text:
        return sign * math.inf
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise MetagdError(f"{shorten(text)} is not a number", "bounds")
    return value
