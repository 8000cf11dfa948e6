"""Checks that a user's loss and gradient can be computed on mini-batches: what they read beside the data is not cut."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core.errors import MetagdError
from ..problems.capture.closure import capture
from ..problems.capture.row_order import rows
from ..problems.capture.signature import namespace_of
from ..problems.capture.snapshot import DataSnapshot
from .minibatches import common_rows


class _Lengths(DataSnapshot):
    """Snapshot that only notes how many rows the arrays have which a function reads, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, int] = {}

    def array(self, value: np.ndarray, name: str) -> np.ndarray:
        """Return the array itself."""
        self.found[name] = rows(value)
        return value


def refuse_uncut(functions: Mapping[str, Callable[..., Any]], data: Mapping[str, Any], backend: str) -> str | None:
    """Refuse data that cannot be cut into mini-batches.

    Parameters
    ----------
    functions : mapping role → function
        The user's ``loss``, and ``gradient`` where there is one.
    data : mapping name → value
        All data arguments.
    backend : str

    Returns
    -------
    str or None
        One line where a function reads the number of all rows, which is not that of a batch.

    Raises
    ------
    MetagdError
        For functions without data arguments, for a global array with as many rows as the data, which would no longer
        match them, and for arguments that JAX cannot take.
    """
    n = common_rows(data)
    if not n:
        raise MetagdError(
            "needs data arguments to cut: write loss(w, x, y) and name them with --data x,y", "batch_size"
        )
    cut = [name for name, value in data.items() if rows(value) == n]
    for name in cut if backend == "jax" else ():
        if hasattr(data[name], "iloc") or np.asarray(data[name]).dtype.kind not in "fiub":
            what = type(data[name]).__name__ if hasattr(data[name], "iloc") else "text"
            raise MetagdError(f"{name} is {what}; on jax mini-batches are arrays of numbers", "data")
    notes = [_read_beside(role, function, n, cut) for role, function in functions.items()]
    return next(filter(None, notes), None)


def _read_beside(role: str, function: Callable[..., Any], n: int, cut: list[str]) -> str | None:
    """Refuse a global array of ``n`` rows that a function reads; return a line about a global number that is ``n``."""
    read = _Lengths()
    names = capture(function, traced=False, snapshot=read).reads
    arguments = inspect.signature(function).parameters
    for name, length in read.found.items():
        if length == n and name.isidentifier() and name not in arguments:
            also = ",".join(cut if name in cut else [*cut, name])
            raise MetagdError(
                f"{role} reads {name} as a global, whose {n} rows batches do not cut as those of {' and '.join(cut)}; "
                f"make it data, def {role}(…, {name}) and --data {also}, or a constant, def {role}(…, {name}={name})",
                "batch_size",
            )
    space = namespace_of(function)
    for name in names:
        if type(space.get(name)) is int and space[name] == n:
            return f"{role} reads {name}, the number of all {n} rows; that of a batch is len({cut[0]})"
    return None
