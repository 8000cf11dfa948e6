"""Checks of the user's data: columns of numbers, labels, and targets that are either."""

from __future__ import annotations

import contextlib
from collections.abc import Sized
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..core.array_api import one_hot
from ..core.errors import MetagdError, nearest, shorten, unknown_name

if TYPE_CHECKING:
    from .base import TaskBatch

LOSS_NAMES = ("mse", "cross-entropy")  # the keys of `models.losses.LOSSES`


def as_floats(values: np.typing.ArrayLike, name: str) -> np.ndarray:
    """Convert to an array of real numbers of any shape; may be a view of ``values``.

    Raises
    ------
    MetagdError
        Naming the array, for values that are not real numbers.
    """
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex")
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise MetagdError("holds values that are not numbers", name) from None


def numbers_2d(values: np.typing.ArrayLike, name: str) -> np.ndarray:
    """Convert to finite numbers (n, D); a vector (n,) becomes one column.

    Raises
    ------
    MetagdError
        Naming the array and the mistake.
    """
    array = as_floats(values, name)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.size == 0:
        raise MetagdError(f"has shape {np.shape(values)}; needs (n,) or (n, D) with n ≥ 1", name)
    bad = ~np.isfinite(array)
    if bad.any():
        row = int(np.argmax(bad.any(axis=1)))
        raise MetagdError(
            f"holds {int(bad.sum())} values that are not finite (first in row {row}); drop or fill them", name
        )
    return array


def labels(values: np.typing.ArrayLike, name: str) -> np.ndarray:
    """Convert to an array (n,) of labels that can be sorted.

    Raises
    ------
    MetagdError
        Naming the array and the mistake.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise MetagdError("holds lists of unlike length; needs (n,), one label a row", name) from None
    if array.ndim != 1:
        raise MetagdError(f"has shape {array.shape}; needs (n,), one label a row", name)
    missing = array != array  # nan alone differs from itself
    if np.any(missing):
        raise MetagdError(
            f"has {np.sum(missing)} missing labels (first in row {np.argmax(missing)}); drop those rows", name
        )
    try:
        np.sort(array)
    except TypeError:
        raise MetagdError("holds labels that cannot be sorted; needs all of one kind, none missing", name) from None
    return array


def refuse_unequal(unit: str, /, **columns: Sized) -> None:
    """Refuse columns of unlike length.

    Parameters
    ----------
    unit : str
        Unit of the lengths, for the message: ``rows`` or ``points``.
    **columns : arrays
        By the names of the arguments.

    Raises
    ------
    MetagdError
        Naming the columns and their lengths.
    """
    lengths = [f"{len(column)}" for column in columns.values()]
    if len(set(lengths)) > 1:
        counts = f"{', '.join(lengths[:-1])} and {lengths[-1]}"
        raise MetagdError(f"have {counts} {unit}; need the same number", ", ".join(columns))


class Targets(NamedTuple):
    """Targets in the form in which a model learns them."""

    values: np.ndarray  # (n, C): numbers, or for classes a row of zeros with a one
    loss: str  # a name from ``LOSSES``
    classes: np.ndarray | None  # (C,) the labels, if targets are classes


def targets(y: np.typing.ArrayLike, name: str, loss: str | None = None, classes: np.ndarray | None = None) -> Targets:
    """Convert numbers, class labels or distributions to targets.

    Parameters
    ----------
    y : array (n,) or (n, C)
        Numbers; or class labels, text or whole numbers, one a row; or a distribution over the classes in each row.
    loss : "mse" | "cross-entropy", optional
        Loss to learn with: ``cross-entropy`` makes numbers class labels. By default text is class labels and numbers
        are quantities.
    classes : array (C,), optional
        All classes; by default those that occur.

    Returns
    -------
    Targets

    Raises
    ------
    MetagdError
        Naming the array and the mistake.
    """
    if loss is None:
        loss = "cross-entropy" if is_text(y) else "mse"
    if loss != "cross-entropy":
        return Targets(numbers_2d(y, name), check_loss_name(loss, 1), None)
    if np.ndim(y) == 2 and np.shape(y)[1] > 1:
        values = numbers_2d(y, name)
        if (values < 0).any() or not np.allclose(values.sum(axis=1), 1):
            raise MetagdError("has rows that are no distribution over the classes; needs ≥ 0 and a sum of 1", name)
        return Targets(values, loss, np.arange(values.shape[1]))
    given = labels(np.reshape(y, -1) if np.ndim(y) == 2 else y, name)
    classes = np.unique(given) if classes is None else classes
    return Targets(
        one_hot(class_indices(given, classes, name), len(classes)), check_loss_name(loss, len(classes)), classes
    )


def check_distributions(tasks: TaskBatch) -> None:
    """Refuse targets that are no distributions over the classes; numbers of classes (T, K) are left alone.

    Raises
    ------
    MetagdError
        Naming a row of a task.
    """
    for part, batch in zip(tasks._fields, tasks, strict=True):
        if batch.y.ndim != 3:
            continue
        wrong = (batch.y < 0).any(axis=-1) | ~np.isclose(batch.y.sum(axis=-1), 1, atol=1e-5)  # (T, K)
        if wrong.any():
            task, row = np.argwhere(wrong)[0]
            values = shorten(batch.y[task, row].tolist())
            raise MetagdError(
                f"row {row} of a task's {part} targets is {values}; cross-entropy needs ≥ 0 and a sum of 1", "tasks"
            )


def is_text(y: np.typing.ArrayLike) -> bool:
    """Return True for text that does not spell numbers."""
    try:
        array = np.asarray(y)
    except ValueError:
        return False
    with contextlib.suppress(TypeError, ValueError):
        array.astype(float)
        return False
    return array.dtype.kind in "US" or (
        array.dtype.kind == "O" and array.size > 0 and all(isinstance(v, str) for v in array.flat)
    )


def class_indices(given: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    """Return the number (n,) of each label's class.

    Raises
    ------
    MetagdError
        Naming a label that is no class.
    """
    try:
        number = np.searchsorted(classes, given).clip(max=len(classes) - 1)
        unknown = classes[number] != given
    except TypeError:  # text compared with numbers
        number, unknown = np.zeros(len(given), int), np.ones(len(given), bool)
    if np.any(unknown):
        label = given[int(np.argmax(unknown))]
        hint = nearest(str(label), map(str, classes)) or f"; allowed: {', '.join(map(str, classes[:8]))}"
        raise MetagdError(f"holds {shorten(getattr(label, 'item', lambda: label)())}, which is no class{hint}", name)
    return np.asarray(number)


def check_loss_name(loss: str, outputs: int) -> str:
    """Return the name of a built-in loss after checking that it suits the number of outputs.

    Raises
    ------
    MetagdError
        For an unknown name, and for classes of which there is only one.
    """
    if loss not in LOSS_NAMES:
        raise unknown_name("loss", loss, LOSS_NAMES)
    if loss == "cross-entropy" and outputs < 2:
        raise MetagdError("'cross-entropy' compares classes and needs targets of two or more", "loss")
    return loss
