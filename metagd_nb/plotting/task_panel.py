"""Panel of a held-out task, before and after adaptation."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..training.adaptation import Panel
from . import style
from .panels import empty_line


class TaskPanel:
    """Held-out task on one-dimensional inputs: its support points, and the curve before and after adaptation."""

    def __init__(self, ax: Axes, task: Panel) -> None:
        self.ax = ax
        title = textwrap.shorten(f"{task.origin} task: {task.label}", 44, placeholder="…")
        style.live_axes(ax, title)
        ax.yaxis.label.set_fontsize(style.MEDIUM if len(title) < 36 else style.SMALL - 0.5)
        self.truth = empty_line(ax, style.REFERENCE, "true curve", 1.2, zorder=2)
        self.truth.set_linestyle((0, (4, 3)))
        self.before = empty_line(ax, style.VERMILLION, "before adapting", 1.4)
        self.after = empty_line(ax, style.BLUE, "after adapting", 1.9)
        self.support = empty_line(ax, style.INK, "support", marker="o", zorder=6)
        self.support.set(linestyle="", markersize=4, markeredgecolor=style.SURFACE, markeredgewidth=0.8)
        self.limits: style.Span | None = None
        ax.set_xlim(float(np.min(task.x)), float(np.max(task.x)))
        style.number_ticks(ax.xaxis, MaxNLocator(5, steps=style.ROUND))
        handles = [self.support, self.truth, self.before, self.after]
        ax.legend(
            handles=handles if task.truth is not None else [handles[0], *handles[2:]], ncols=2, frameon=False,
            loc="upper left", bbox_to_anchor=(-0.02, -0.16), borderaxespad=0, handlelength=1.5, handletextpad=0.5,
            columnspacing=1.4, labelspacing=0.35, labelcolor=style.SOFT,
            prop={"size": style.SMALL, "family": style.FONT},
        )  # fmt: skip

    def artists(self) -> list[Artist]:
        """Return the moving artists, lowest first."""
        return [self.truth, self.before, self.after, self.support]

    def update(self, task: Panel, final: bool) -> bool:
        """Draw the task at the present θ; return True if the axes changed."""
        self.support.set_data(task.x_support, task.y_support)
        self.before.set_data(task.x, task.before)
        self.after.set_data(task.x, task.after)
        if task.truth is not None:
            self.truth.set_data(task.x, task.truth)
        fixed = _finite(task.y_support, [] if task.truth is None else task.truth)
        low, high = (float(fixed.min()), float(fixed.max())) if len(fixed) else (0.0, 1.0)
        room = 1.5 * (high - low or abs(high) or 1.0)  # a wild curve may leave the panel; the task stays readable
        moving = _finite(task.before, task.after).clip(low - room, high + room)
        low, high = float(moving.min(initial=low)), float(moving.max(initial=high))
        limits = style.grow_limits(low, high, self.limits, False, final)
        if limits == self.limits:
            return False
        self.limits = limits
        self.ax.set_ylim(limits)
        style.ticks(self.ax, False, 4)
        return True


def _finite(*arrays: np.typing.ArrayLike) -> np.ndarray:
    values: np.ndarray = np.concatenate([np.ravel(array) for array in arrays])
    return np.compress(np.isfinite(values), values)
