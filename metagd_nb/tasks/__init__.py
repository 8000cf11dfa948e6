"""Families of tasks, one a file; ``FAMILIES`` is the table that the cell, the help and the README read."""

from __future__ import annotations

from collections.abc import Callable

from .base import Batch, Example, Reference, TaskBatch, Tasks
from .groups import groups
from .quadratic import Quadratics, quadratics
from .regression import regression
from .sinusoid import sinusoid

FAMILIES: dict[str, Callable[..., Tasks]] = {f.__name__: f for f in (sinusoid, quadratics, regression, groups)}

__all__ = ["FAMILIES", "Batch", "Example", "Quadratics", "Reference", "TaskBatch", "Tasks", *FAMILIES]
