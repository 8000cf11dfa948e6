"""What the plot's axes look like: colours, numbers as people write them, limits that grow in jumps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

# No ink has 4.5:1 on both JupyterLab themes (#ffffff and #111111): 4.34 is the most there can be. So the
# plot brings its own quiet surface, and is as legible in any theme, on paper and in a page's export.
SURFACE, EDGE, GRID = "#f7f8fa", "#dde1e6", "#e6e9ed"
INK, SOFT, REFERENCE, SPINE = "#1f2328", "#57606a", "#6b7480", "#c3c9d0"
# Okabe and Ito's colours, told apart by the colour-blind. All have 3:1 on the surface.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#008f68", "#b5588c"
WARN = "#a83e00"  # vermillion, dark enough for words
FONT = "DejaVu Sans"  # comes with matplotlib; a reader's own rcParams must not change the plot
SMALL, MEDIUM = 8.0, 9.0

Span = tuple[float, float]


def number(value: float) -> str:
    """A number as a person writes it: ``1,240``, ``0.0432``, ``3.2·10⁻⁷``."""
    if value == 0 or not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "nan" if value else "0")
    mantissa, _, power = f"{value:.3e}".partition("e")
    exponent = int(power)
    if -4 <= exponent < 6:
        text = f"{value:,.{max(0, 3 - exponent)}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
    power = "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    mantissa = mantissa[:-1].rstrip("0").rstrip(".").replace("-", "−")
    return power if mantissa == "1" else f"{mantissa}·{power}"


def count(value: float) -> str:
    """A tick of the step axis: ``1,500``, ``20k``, ``1.5M``."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:g}{unit}"
    return f"{value:,.0f}"


def steps_shown(last: float, total: float, now: float, final: bool) -> float:
    """The right end of the step axis: it grows in jumps, and never shows more than the steps asked for."""
    if final:
        return max(last, 1.0)
    if 0 < now >= last:
        return now
    ahead = max(20.0, 2.0 * last)
    if last <= total < ahead / 0.8:
        return float(total)
    return ahead


def helps(low: float, high: float, log: bool) -> bool:
    """Whether a log axis helps: nothing negative, more than 1.5 decades; kept until fewer than 1.2 remain."""
    if not 0 < low <= high < math.inf:
        return False
    return math.log10(high) - math.log10(low) > (1.2 if log else 1.5)


def grown(low: float, high: float, now: Span | None, log: bool, final: bool = False) -> Span:
    """Axis limits that hold ``low``…``high``: those of now if they do, else wider by a jump."""
    if log:
        held = None if now is None else (math.log10(now[0]), math.log10(now[1]))
        bottom, top = (
            grown(math.log10(low), math.log10(high), held, False, final)
            if low < high
            else (math.log10(low) - 0.5, math.log10(high) + 0.5)
        )
        return 10.0 ** max(bottom, -307.0), 10.0 ** min(top, 307.0)
    low, high = max(low, -1e307), min(high, 1e307)
    span = high - low or abs(high) or 1.0
    if final or now is None:
        return low - 0.13 * span, high + 0.07 * span
    bottom = now[0] if low >= now[0] else low - 0.35 * span
    top = now[1] if high <= now[1] else high + 0.35 * span
    return bottom, top


def card(figure: Figure) -> None:
    """The quiet surface under everything, with round corners: as a card lies on a page, light or dark."""
    width, height = figure.bbox.size
    figure.patch.set_alpha(0.0)
    figure.add_artist(FancyBboxPatch(
        (0.001, 0.002), 0.998, 0.996, transform=figure.transFigure, zorder=-10,
        facecolor=SURFACE, edgecolor=EDGE, linewidth=0.8,
        boxstyle=f"round,pad=0,rounding_size={10 / width}", mutation_aspect=width / height,
    ))  # fmt: skip


def dress(ax: Axes, title: str) -> None:
    """Quiet axes: no box, faint grid, the title in plain words where a reader starts, above the left corner."""
    ax.set_facecolor("none")
    ax.set_axisbelow(True)
    ax.set_autoscale_on(False)  # limits are ours
    for side, spine in ax.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=SPINE, linewidth=0.8)
    ax.grid(True, color=GRID, linewidth=0.8, linestyle="-", alpha=1.0)
    ax.tick_params(
        length=0, pad=4, labelsize=SMALL, labelcolor=SOFT, labelfontfamily=FONT, which="both",
        top=False, right=False, labeltop=False, labelright=False, direction="out",
    )  # fmt: skip
    ax.yaxis.set_major_locator(NullLocator())  # no numbers before there is something to number
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylabel(title, rotation=0, ha="left", va="bottom", color=INK, fontsize=MEDIUM, fontfamily=FONT)
    ax.yaxis.set_label_coords(0.0, 1.0 + 7 / 72 * ax.figure.dpi / ax.get_window_extent().height)


def ticks(ax: Axes, log: bool, most: int) -> None:
    """Few ticks, with plain numbers; on a log axis whole decades, and 3 or 2 and 5 between where there is room."""
    if not log:
        ax.yaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    else:
        bottom, top = np.log10(ax.get_ylim())
        tens = range(math.ceil(bottom - 1), math.floor(top) + 1)
        every = max(1, math.ceil((top - bottom) / most))
        marks = [10.0**k for k in tens if k % every == 0 and k > -308]
        for parts in ((1, 3), (1, 2, 5)):
            finer = [m * 10.0**k for k in tens for m in parts if k > -308 and bottom <= k + math.log10(m) <= top]
            marks = finer if len(finer) <= most else marks
        seen = sum(bottom <= math.log10(mark) <= top for mark in marks)
        even = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10])  # where the round numbers lie too far apart
        ax.yaxis.set_major_locator(FixedLocator(marks) if seen > 1 else even)
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))


def line(ax: Axes, color: str, label: str = "", width: float = 1.7, **style: Any) -> Line2D:
    """A curve without data yet."""
    style = {"solid_joinstyle": "round", "solid_capstyle": "round", "zorder": 4, **style}
    made = Line2D([], [], color=color, linewidth=width, label=label or "_", animated=True, **style)
    ax.add_line(made)
    return made
