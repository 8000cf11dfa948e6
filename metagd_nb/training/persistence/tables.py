"""Encoding of a table out of a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...tasks.user_data.table_encoding import Encoding


def encoding_of(saved: Any) -> Encoding | None:
    """Return the encoding that a file holds, or None.

    Raises
    ------
    ValueError
        For what is no encoding.
    """
    if saved is None:
        return None
    inputs, columns, classes, flat = saved
    named = columns is None or (len(columns) == inputs and all(type(name) is str for name in columns))
    labelled = classes is None or (isinstance(classes, np.ndarray) and classes.ndim == 1 and len(classes) > 1)
    if type(inputs) is not int or inputs < 1 or type(flat) is not bool or not (named and labelled):
        raise ValueError("encoding")
    return Encoding(inputs, None if columns is None else tuple(columns), classes, flat)
