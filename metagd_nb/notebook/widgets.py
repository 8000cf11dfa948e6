"""Helpers for widgets, which the controls of a run and the studio share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

import ipywidgets
from IPython.core.getipython import get_ipython

from ..core.hyperparameters import Hyperparameter

DECADES = 2  # range of a rate's slider to either side of the starting value


def hears_clicks() -> bool:
    """Return True if the kernel can deliver a click while a cell waits: on a subshell, which ipykernel 7 has."""
    kernel = getattr(get_ipython(), "kernel", None)
    return "kernel subshells" in getattr(kernel, "kernel_info", {}).get("supported_features", ())


def unpin(widget: ipywidgets.Widget) -> None:
    """Deliver the messages to a widget on the subshell to which they were sent.

    ipykernel 7.4 delivers them on the shell that last sent on the widget's comm instead: the main one, which is
    busy while a cell waits for a result.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, default: default


def span(value: float, declared: Hyperparameter) -> tuple[float, float]:
    """Return the range of a rate's slider as powers of ten: two decades to either side, within the allowed values."""
    middle = round(math.log10(value if value > 0 else declared.default or 1.0))
    low, high = float(middle - DECADES), float(middle + DECADES)
    if declared.low:
        low = max(low, math.log10(declared.low))
    return low, high if declared.high is None else min(high, math.log10(declared.high))


def lasting(seconds: float) -> str:
    """Return an estimated duration in words, rounded to its precision."""
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.0f} days"


def tree(widget: ipywidgets.DOMWidget) -> Iterator[ipywidgets.Widget]:
    """Yield a widget and those inside it, each with its layout and style, which are widgets too."""
    yield from (widget, widget.layout, *([widget.style] if widget.has_trait("style") else []))
    for child in getattr(widget, "children", ()):
        yield from tree(child)


def status_line(text: str) -> str:
    """Return the HTML of one line, which screen readers announce; ``""`` without text."""
    return f'<span role="status">{escape(text)}</span>' if text else ""
