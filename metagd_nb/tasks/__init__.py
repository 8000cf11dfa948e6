"""Families of tasks, one in each module, and the table ``FAMILIES`` of their names.

Read ``base.py`` first: `Tasks` draws batches of small data sets, each with a support and a query set.
"""

from __future__ import annotations

from collections.abc import Callable

from .base import Batch, Example, Reference, TaskBatch, Tasks
from .datasets.glyphs import glyphs
from .datasets.medical import lung, tumours
from .datasets.omniglot import omniglot
from .datasets.series import m1_yearly, stocks
from .datasets.words import words
from .sampler import Sampler
from .synthetic.curves import curves
from .synthetic.mixed import mixed
from .synthetic.quadratics import Quadratics, quadratics
from .synthetic.regression import regression
from .synthetic.sinusoid import sinusoid
from .user_data.episodes import episodes
from .user_data.groups import groups
from .user_data.series import series

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
