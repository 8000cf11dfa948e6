"""Panel of curves over the steps of a run, with labelled reference lines.

``update`` puts the newest rows into the moving artists, and returns True if the static ones (axes, ticks, reference
lines, labels) must be drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from ..tasks import Reference
from . import style
from .downsample import MinMaxBuckets


class ReferenceLine(NamedTuple):
    """Known value of the loss with its line and its label."""

    value: float
    line: Line2D
    label: Annotation


def empty_line(ax: Axes, color: str, label: str = "_", width: float = 1.7, marker: str = "", zorder: int = 4) -> Line2D:
    """Add a moving curve without data to ``ax``."""
    curve = Line2D(
        [], [], color=color, linewidth=width, label=label, animated=True, marker=marker, zorder=zorder,
        solid_joinstyle="round", solid_capstyle="round",
    )  # fmt: skip
    ax.add_line(curve)
    return curve


class Curve:
    """Column of the record against the step: a line, or for noisy losses a line of means on a light band."""

    stretches = 64  # of a noisy curve: enough for the trend, while the band shows the noise

    def __init__(self, ax: Axes, rows: MinMaxBuckets, color: str, sampled: bool, label: str = "") -> None:
        self.rows, self.sampled = rows, sampled
        self.steps: np.ndarray | None = None  # of each row, if not every step has a row
        self.line = empty_line(ax, color, label or "_")
        self.head = empty_line(ax, color, marker="o", zorder=5)
        self.head.set(markersize=4.5, markeredgecolor=style.SURFACE, clip_on=False)
        self.band = Polygon(np.empty((0, 2)), closed=True, facecolor=color, alpha=0.18, linewidth=0, animated=True)
        ax.add_patch(self.band)
        self.x = self.low = self.high = np.empty(0)  # as drawn

    def artists(self) -> list[Artist]:
        """Return the moving artists, lowest first."""
        return [self.band, self.line, self.head]

    def update(self, first: float) -> tuple[float, float, float]:
        """Redraw; return the lowest, lowest positive and highest value (inf, inf, −inf if there is none)."""
        if self.sampled:
            most = max(16, min(self.stretches, self.rows.rows // 8))  # each mean is of eight rows or more
            x, y, self.low, self.high = self.rows.stretches(most)
        else:
            x, y = self.rows.extremes()
            self.low = self.high = y
        if self.steps is None:
            x = x + first
        else:
            x = self.steps[np.minimum(x, len(self.steps) - 1).astype(np.int64)]
        self.x = x
        self.line.set_data(x, y)
        self.head.set_data(x[-1:], y[-1:])
        if not len(y):
            return math.inf, math.inf, -math.inf
        positive = self.low[self.low > 0]
        return float(self.low.min()), float(positive.min(initial=math.inf)), float(self.high.max())

    def fill(self, floor: float) -> None:
        """Set the outline of the band, cut at ``floor``, below which a log axis shows nothing."""
        if self.sampled:
            edge = np.concatenate((np.maximum(self.low, floor), np.maximum(self.high, floor)[::-1]))
            self.band.set_xy(np.column_stack((np.concatenate((self.x, self.x[::-1])), edge)))


class StepPanel:
    """Curves over the steps, with reference values as thin dashed lines.

    Parameters
    ----------
    ax : Axes
    title : str
    curves : sequence of Curve
    scale : "auto" | "log" | "linear"
        ``auto`` makes the y axis logarithmic if that helps; ``log`` if there is a positive value.
    most : int
        Greatest number of ticks of the y axis.
    """

    def __init__(self, ax: Axes, title: str, curves: Sequence[Curve], scale: str = "auto", most: int = 5) -> None:
        self.ax, self.curves, self.scale, self.most, self.title = ax, list(curves), scale, most, title
        self.log = False
        self.limits: style.Span | None = None
        self.references: list[ReferenceLine] = []
        style.live_axes(ax, title)
        few = 5 if ax.get_window_extent().width > 250 else 4
        style.number_ticks(ax.xaxis, MaxNLocator(few, integer=True, steps=style.ROUND), style.step_number)
        if len(self.curves) > 1:
            ax.legend(
                handles=[curve.line for curve in self.curves], ncols=3, frameon=False, loc="lower right",
                bbox_to_anchor=(1.01, 1.0), borderaxespad=0.3, handlelength=1.3, handletextpad=0.5, columnspacing=1.2,
                labelcolor=style.SOFT, prop={"size": style.SMALL, "family": style.FONT},
            )  # fmt: skip
        ax.set_xlabel("step", color=style.SOFT, fontsize=style.SMALL, fontfamily=style.FONT, labelpad=3)

    def artists(self) -> list[Artist]:
        """Return the moving artists, lowest first."""
        return [artist for curve in self.curves for artist in curve.artists()]

    def add_references(self, references: Sequence[Reference]) -> None:
        """Draw known values of the loss as lines with labels."""
        across = self.ax.get_yaxis_transform()
        for value, text in references:
            if math.isfinite(value):
                dashes = (0, (4, 3))
                drawn = self.ax.axhline(value, color=style.REFERENCE, linewidth=1.0, linestyle=dashes, zorder=2)
                label = self.ax.annotate(
                    text, (0.98, value), xycoords=across, xytext=(0, 3), textcoords="offset points", ha="right",
                    va="bottom", color=style.SOFT, fontsize=style.SMALL, fontfamily=style.FONT, zorder=3,
                    annotation_clip=False,
                )  # fmt: skip
                self.references.append(ReferenceLine(float(value), drawn, label))

    def update(self, first: float, right: float, final: bool) -> bool:
        """Draw the newest rows; return True if axes or labels changed.

        Parameters
        ----------
        first, right : float
            First step, and number of steps shown.
        final : bool
            True to fit the axes to the data.
        """
        lows, positives, highs = zip(*(curve.update(first) for curve in self.curves), strict=True)
        changed = self._rescale(min(lows), min(positives), max(highs), final)
        if self.ax.get_xlim() != (first, first + right):
            self.ax.set_xlim(first, first + right)
            changed = True
        for curve in self.curves:
            curve.fill(self.ax.get_ylim()[0] if self.log else -math.inf)
        return self._place_labels(changed) or changed

    def _rescale(self, low: float, positive: float, high: float, final: bool) -> bool:
        """Set scale and limits of the y axis; return True if they changed."""
        if high == -math.inf:
            return False
        log = self._log_scale(low, positive)
        floor = -0.03 if low >= 0 and not log else -math.inf  # share of the height: no space below zero for losses ≥ 0
        low, high = self._with_references(positive if log else low, high, log)
        bottom, top = style.grow_limits(low, high, self.limits if log == self.log else None, log, final)
        limits = max(bottom, floor * abs(top)), top
        if log == self.log and limits == self.limits:
            return False
        self.log, self.limits = log, limits
        self.ax.set(yscale="log" if log else "linear", ylim=limits)
        self.ax.yaxis.label.set_text(self.title + (" (log scale)" if log and self.scale == "auto" else ""))
        style.ticks(self.ax, log, self.most)
        return True

    def _log_scale(self, low: float, positive: float) -> bool:
        """Return True if the y axis should be logarithmic."""
        if self.scale != "auto":
            return self.scale == "log" and positive < math.inf
        means = np.concatenate([np.asarray(curve.line.get_ydata()) for curve in self.curves])
        means = means[means > 0]
        return low >= 0 and style.log_axis_helps(means.min(initial=math.inf), means.max(initial=0.0), self.log)

    def _with_references(self, low: float, high: float, log: bool) -> style.Span:
        """Widen the range of the data to references that are near, with space for a label below the lowest."""
        for value, *_ in self.references:
            if (not log or low / 1e3 <= value) and value < high + 3 * (high - low or abs(high)):
                low, high = min(low, value), max(high, value)
        if any(value == low for value, *_ in self.references):
            low = low * (low / high) ** 0.06 if log else low - 0.06 * (high - low)
        return low, high

    def _place_labels(self, changed: bool) -> bool:
        """Move labels away from the curves and from each other; return True if one moved."""
        if self.limits is None:
            return False
        moved = False
        taken: list[Bbox] = []
        for reference in self.references:
            shown = self.limits[0] <= reference.value <= self.limits[1]
            reference.line.set_visible(shown)
            reference.label.set_visible(shown)
            if shown:
                box = reference.label.get_window_extent()
                crowding = math.inf if changed else self._crowding(box, taken)
                moved = (crowding > 0 and self._move_label(reference, box, taken, crowding / 2)) or moved
                taken.append(reference.label.get_window_extent())
        return moved

    def _move_label(self, reference: ReferenceLine, box: Bbox, taken: list[Bbox], crowding: float) -> bool:
        """Move a label along its line, above or below it, to the clearest place, of equal ones the rightmost.

        A label stays unless a place is clearer than ``crowding``. Returns True if it moved.
        """
        frame, label = self.ax.get_window_extent(), reference.label
        y = self.ax.transData.transform((self.ax.get_xlim()[0], reference.value))[1]
        gap = 3 * self.ax.figure.dpi / 72
        place: tuple[float, bool] | None = None
        for right in np.linspace(frame.x1 - 2, min(frame.x0 + box.width + 2, frame.x1 - 2), 12):
            for above in (True, False):
                bottom = y + gap if above else y - gap - box.height
                if frame.y0 <= bottom and bottom + box.height <= frame.y1 + gap:
                    here = self._crowding(Bbox.from_bounds(right - box.width, bottom, box.width, box.height), taken)
                    if here < crowding:
                        crowding, place = here, ((right - frame.x0) / frame.width, above)
        if place is None or place == (label.xy[0], label.get_verticalalignment() == "bottom"):
            return False
        label.xy = (place[0], reference.value)
        label.set_position((0, 3 if place[1] else -3))
        label.set_verticalalignment("bottom" if place[1] else "top")
        return True

    def _crowding(self, box: Bbox, taken: list[Bbox]) -> float:
        """Return the height in pixels that curves and earlier labels take up in a box."""
        crowding: float = 1e3 * sum(
            box.x0 < one.x1 and one.x0 < box.x1 and box.y0 < one.y1 and one.y0 < box.y1 for one in taken
        )
        margin, floor = 3.0, self.ax.get_ylim()[0]
        corners = [(box.x0 - margin, box.y0), (box.x1 + margin, box.y1)]
        left, right = self.ax.transData.inverted().transform(corners)[:, 0]
        for curve in self.curves:
            if len(curve.x) and left <= curve.x[-1]:
                inside = (curve.x >= left) & (curve.x <= right)
                ends = np.array([left, min(right, curve.x[-1])])
                low = np.concatenate((curve.low[inside], np.interp(ends, curve.x, curve.low))).min()
                high = np.concatenate((curve.high[inside], np.interp(ends, curve.x, curve.high))).max()
                pixels = self.ax.transData.transform([(left, max(low, floor)), (left, max(high, floor))])[:, 1]
                crowding += max(0.0, min(box.y1 + margin, pixels[1]) - max(box.y0 - margin, pixels[0]))
        return crowding
