"""Messages from Python calls: a logger for what happened, and warnings that point at the user's own line."""

from __future__ import annotations

import logging
import sys
import warnings

PACKAGE = __name__.partition(".")[0]
logger = logging.getLogger(PACKAGE)


def warn(text: str) -> None:
    """Issue a `UserWarning` at the innermost line outside this package.

    Parameters
    ----------
    text : str
        One line.
    """
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UserWarning, stacklevel=level)
