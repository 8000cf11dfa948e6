"""The plot's panels.

A panel's ``update`` puts the newest data into its moving artists and tells whether what stands still
(axes, ticks, reference lines, labels) must be drawn again.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import FuncFormatter, MaxNLocator

from . import style
from .downsample import Array, MinMaxBuckets
from .style import Span, count, dress, grown, helps, line, number, ticks

Box = tuple[float, float, float, float]  # x0, x1, y0, y1 in pixels


class Curve:
    """One column of the record against the step: a line, or for noisy losses a mean line on a light band."""

    stretches = 64  # of a noisy curve: their means are calm, and their band still shows the noise

    def __init__(self, ax: Axes, rows: MinMaxBuckets, color: str, sampled: bool, label: str = "") -> None:
        self.rows, self.sampled = rows, sampled
        self.steps: Array | None = None  # of each row, where they do not follow each other one by one
        self.line = line(ax, color, label)
        self.head = line(ax, color, marker="o", markersize=4.5, markeredgecolor=style.SURFACE, zorder=5, clip_on=False)
        self.band = Polygon(np.empty((0, 2)), closed=True, facecolor=color, alpha=0.18, linewidth=0, animated=True)
        ax.add_patch(self.band)
        self.x = self.low = self.high = np.empty(0)  # what is drawn, for the labels that keep clear of it

    def artists(self) -> list[Artist]:
        """What moves, lowest first."""
        return [self.band, self.line, self.head]

    def update(self, first: float) -> tuple[float, float, float]:
        """Redraw from the rows; the lowest, lowest positive and highest value drawn (inf, inf, −inf if none)."""
        if self.sampled:
            most = max(16, min(self.stretches, self.rows.rows // 8))  # a mean of eight rows or more, once there are
            x, y, self.low, self.high = self.rows.stretches(most)
        else:
            x, y = self.rows.extremes()
            self.low = self.high = y
        if self.steps is None:
            x = x + first
        else:  # of a thinned record
            x = self.steps[np.minimum(x, len(self.steps) - 1).astype(np.int64)]
        self.x = x
        self.line.set_data(x, y)
        self.head.set_data(x[-1:], y[-1:])
        if not len(y):
            return math.inf, math.inf, -math.inf
        positive = self.low[self.low > 0]
        return float(self.low.min()), float(positive.min(initial=math.inf)), float(self.high.max())

    def fill(self, floor: float) -> None:
        """Give the band its outline; nothing below ``floor``, which a log axis could not show."""
        if self.sampled:
            edge = np.concatenate((np.maximum(self.low, floor), np.maximum(self.high, floor)[::-1]))
            self.band.set_xy(np.column_stack((np.concatenate((self.x, self.x[::-1])), edge)))


class StepPanel:
    """Curves over the steps, with known references as thin dashed lines.

    Parameters
    ----------
    scale : "auto" | "log"
        ``auto`` takes a log axis when it helps; ``log`` always when there is a positive value.
    """

    def __init__(self, ax: Axes, title: str, curves: Sequence[Curve], scale: str = "auto", most: int = 5) -> None:
        self.ax, self.curves, self.scale, self.most, self.title = ax, list(curves), scale, most, title
        self.log = False
        self.limits: Span | None = None
        self.references: list[tuple[float, Line2D, Any]] = []
        dress(ax, title)
        wide = ax.get_window_extent().width > 250
        ax.xaxis.set_major_locator(MaxNLocator(5 if wide else 4, integer=True, steps=[1, 2, 2.5, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: count(v)))
        if len(self.curves) > 1:
            ax.legend(
                handles=[curve.line for curve in self.curves], ncols=3, frameon=False, loc="lower right",
                bbox_to_anchor=(1.01, 1.0), borderaxespad=0.3, handlelength=1.3, handletextpad=0.5, columnspacing=1.2,
                labelcolor=style.SOFT, prop={"size": style.SMALL, "family": style.FONT},
            )  # fmt: skip
        ax.set_xlabel("step", color=style.SOFT, fontsize=style.SMALL, fontfamily=style.FONT, labelpad=3)

    def artists(self) -> list[Artist]:
        """What moves, lowest first."""
        return [artist for curve in self.curves for artist in curve.artists()]

    def refer(self, references: Sequence[Any]) -> None:
        """Draw the known values of the loss, each labelled for what it is."""
        for reference in references:
            if not math.isfinite(reference.value):
                continue
            drawn = self.ax.axhline(
                reference.value, color=style.REFERENCE, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2
            )
            label = self.ax.annotate(
                reference.label, (0.98, reference.value), xycoords=self.ax.get_yaxis_transform(), xytext=(0, 3),
                textcoords="offset points", ha="right", va="bottom", color=style.SOFT, fontsize=style.SMALL,
                fontfamily=style.FONT, zorder=3, annotation_clip=False,
            )  # fmt: skip
            self.references.append((float(reference.value), drawn, label))

    def update(self, first: float, right: float, final: bool) -> bool:
        """The newest rows into the curves; whether axes or labels changed."""
        found = [curve.update(first) for curve in self.curves]
        low, positive, high = min(f[0] for f in found), min(f[1] for f in found), max(f[2] for f in found)
        changed = self._rescale(low, positive, high, final)
        if self.ax.get_xlim() != (first, first + right):
            self.ax.set_xlim(first, first + right)
            changed = True
        for curve in self.curves:
            curve.fill(self.ax.get_ylim()[0] if self.log else -math.inf)
        return self._place(changed) or changed

    def _rescale(self, low: float, positive: float, high: float, final: bool) -> bool:
        """Scale and limits of the y axis."""
        if high == -math.inf:
            return False
        if self.scale == "log":
            log = positive < math.inf
        else:
            means = np.concatenate([np.asarray(curve.line.get_ydata()) for curve in self.curves])
            means = means[means > 0]
            log = low >= 0 and helps(means.min(initial=math.inf), means.max(initial=0.0), self.log)
        floor = -0.03 if low >= 0 and not log else -math.inf  # of the height: no room below zero for what has none
        low = positive if log else low
        for value, _, _ in self.references:
            if (not log or low / 1e3 <= value) and value < high + 3 * (high - low or abs(high)):
                low, high = min(low, value), max(high, value)
        if any(value == low for value, _, _ in self.references):  # room for its label below it
            low = low * (low / high) ** 0.06 if log else low - 0.06 * (high - low)
        bottom, top = grown(low, high, self.limits if log == self.log else None, log, final)
        limits = max(bottom, floor * abs(top)), top
        if log == self.log and limits == self.limits:
            return False
        self.log, self.limits = log, limits
        self.ax.set_yscale("log" if log else "linear")
        self.ax.set_ylim(limits)
        self.ax.yaxis.label.set_text(self.title + (" (log scale)" if log and self.scale == "auto" else ""))
        ticks(self.ax, log, self.most)
        return True

    def _place(self, changed: bool) -> bool:
        """Move a reference's label to where it keeps clear of the curves and of other labels."""
        if not self.references or self.limits is None:
            return False
        moved = False
        taken: list[Box] = []
        for value, drawn, label in self.references:
            shown = self.limits[0] <= value <= self.limits[1]
            drawn.set_visible(shown)
            label.set_visible(shown)
            if not shown:
                continue
            box = label.get_window_extent()
            crowd = math.inf if changed else self._crowded(box.x0, box.x1, box.y0, box.y1, taken)
            if crowd > 0 and self._settle(value, label, box.width, box.height, taken, crowd / 2):
                moved, box = True, label.get_window_extent()
            taken.append((box.x0, box.x1, box.y0, box.y1))
        return moved

    def _settle(self, value: float, label: Any, width: float, height: float, taken: list[Box], crowd: float) -> bool:
        """Try places along the line, above it and below; take the clearest, of equals the rightmost.

        It must be clearer than ``crowd``: a label with no good place stays rather than wander.
        """
        frame, y = self.ax.get_window_extent(), self.ax.transData.transform((self.ax.get_xlim()[0], value))[1]
        gap = 3 * label.figure.dpi / 72
        place: tuple[float, bool] | None = None
        for right in np.linspace(frame.x1 - 2, min(frame.x0 + width + 2, frame.x1 - 2), 12):
            for above in (True, False):
                bottom = y + gap if above else y - gap - height
                if bottom < frame.y0 or bottom + height > frame.y1 + gap:
                    continue
                here = self._crowded(right - width, right, bottom, bottom + height, taken)
                if here < crowd:
                    crowd, place = here, ((right - frame.x0) / frame.width, above)
        if place is None or place == (label.xy[0], label.get_va() == "bottom"):
            return False
        label.xy = (place[0], value)
        label.set_position((0, 3 if place[1] else -3))
        label.set_va("bottom" if place[1] else "top")
        return True

    def _crowded(self, x0: float, x1: float, y0: float, y1: float, taken: list[Box]) -> float:
        """How many pixels of height in the box x0…x1, y0…y1 curves and earlier labels take up."""
        crowd = sum(1e3 for box in taken if box[0] < x1 and x0 < box[1] and box[2] < y1 and y0 < box[3])
        margin = 3.0
        for curve in self.curves:
            if not len(curve.x):
                continue
            left, right = self.ax.transData.inverted().transform([(x0 - margin, y0), (x1 + margin, y1)])[:, 0]
            inside = (curve.x >= left) & (curve.x <= right)
            if left > curve.x[-1]:
                continue
            ends = np.array([left, min(right, curve.x[-1])])
            low = np.concatenate((curve.low[inside], np.interp(ends, curve.x, curve.low))).min()
            high = np.concatenate((curve.high[inside], np.interp(ends, curve.x, curve.high))).max()
            floor = self.ax.get_ylim()[0]
            pixels = self.ax.transData.transform([(left, max(low, floor)), (left, max(high, floor))])[:, 1]
            crowd += max(0.0, min(y1 + margin, pixels[1]) - max(y0 - margin, pixels[0]))
        return crowd


class TaskPanel:
    """One held-out task on one-dimensional inputs: its support points, and the curve before and after adaptation."""

    def __init__(self, ax: Axes, shown: Any) -> None:
        self.ax = ax
        title = textwrap.shorten(f"held-out task: {shown.label}", 44, placeholder="…")
        dress(ax, title)
        ax.yaxis.label.set_fontsize(style.MEDIUM if len(title) < 36 else style.SMALL - 0.5)
        self.truth = line(ax, style.REFERENCE, "true curve", 1.2, linestyle=(0, (4, 3)), zorder=2)
        self.before = line(ax, style.VERMILLION, "before adapting", 1.4)
        self.after = line(ax, style.BLUE, "after adapting", 1.9)
        self.support = line(ax, style.INK, "support", linestyle="", marker="o", markersize=4, zorder=6,
                            markeredgecolor=style.SURFACE, markeredgewidth=0.8)  # fmt: skip
        self.limits: Span | None = None
        ax.set_xlim(float(np.min(shown.x)), float(np.max(shown.x)))
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))
        handles = [self.support, self.truth, self.before, self.after]
        ax.legend(
            handles=handles if shown.truth is not None else [handles[0], *handles[2:]], ncols=2, frameon=False,
            loc="upper left", bbox_to_anchor=(-0.02, -0.16), borderaxespad=0, handlelength=1.5, handletextpad=0.5,
            columnspacing=1.4, labelspacing=0.35, labelcolor=style.SOFT,
            prop={"size": style.SMALL, "family": style.FONT},
        )  # fmt: skip

    def artists(self) -> list[Artist]:
        """What moves, lowest first."""
        return [self.truth, self.before, self.after, self.support]

    def update(self, shown: Any, final: bool) -> bool:
        """The task at the present θ; whether the axes changed."""
        self.support.set_data(shown.x_support, shown.y_support)
        self.before.set_data(shown.x, shown.before)
        self.after.set_data(shown.x, shown.after)
        fixed = [np.ravel(shown.y_support)]
        if shown.truth is not None:
            self.truth.set_data(shown.x, shown.truth)
            fixed.append(np.ravel(shown.truth))
        known: Array = np.concatenate(fixed)
        known = known[np.isfinite(known)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        room = 1.5 * (high - low or abs(high) or 1.0)  # a wild curve may leave the panel; the task stays readable
        moving: Array = np.concatenate((np.ravel(shown.before), np.ravel(shown.after)))
        moving = moving[np.isfinite(moving)].clip(low - room, high + room)
        if len(moving):
            low, high = min(low, float(moving.min())), max(high, float(moving.max()))
        limits = grown(low, high, self.limits, False, final)
        if limits == self.limits:
            return False
        self.limits = limits
        self.ax.set_ylim(limits)
        ticks(self.ax, False, 4)
        return True
