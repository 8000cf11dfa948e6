"""Families of tasks, one a file; ``FAMILIES`` is the table that the cell, the help and the README read."""

from __future__ import annotations

from collections.abc import Callable

from .base import Batch, Example, Reference, TaskBatch, Tasks
from .curves import curves
from .episodes import episodes
from .glyphs import glyphs
from .groups import groups
from .mixed import mixed
from .omniglot import omniglot
from .patients import lung, tumours
from .quadratic import Quadratics, quadratics
from .real import m1_yearly, stocks
from .regression import regression
from .sampler import Sampler
from .series import series
from .sinusoid import sinusoid
from .words import words

FAMILIES: dict[str, Callable[..., Tasks]] = {
    "sinusoid": sinusoid,
    "quadratics": quadratics,
    "regression": regression,
    "curves": curves,
    "mixed": mixed,
    "series": series,
    "m1_yearly": m1_yearly,
    "stocks": stocks,
    "groups": groups,
    "episodes": episodes,
    "omniglot": omniglot,
    "glyphs": glyphs,
    "words": words,
    "lung": lung,
    "tumours": tumours,
}

__all__ = [
    "FAMILIES",
    "Batch",
    "Example",
    "Quadratics",
    "Reference",
    "Sampler",
    "TaskBatch",
    "Tasks",
    "curves",
    "episodes",
    "glyphs",
    "groups",
    "lung",
    "m1_yearly",
    "mixed",
    "omniglot",
    "quadratics",
    "regression",
    "series",
    "sinusoid",
    "stocks",
    "tumours",
    "words",
]
