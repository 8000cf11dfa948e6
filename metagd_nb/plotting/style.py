"""Style of axes: colors, number formats, tick positions, and limits that grow in jumps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FixedLocator, Locator, MaxNLocator, NullLocator

# No ink has a contrast of 4.5:1 on both JupyterLab themes (#ffffff and #111111): 4.34 is the maximum. So the
# plot has a surface of its own, and is legible in any theme, on paper and in an exported page.
SURFACE, EDGE, GRID = "#f7f8fa", "#dde1e6", "#e6e9ed"
INK, SOFT, REFERENCE, SPINE = "#1f2328", "#57606a", "#6b7480", "#c3c9d0"
# Okabe and Ito's colors, which color-blind readers can distinguish. All have 3:1 on the surface.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#008f68", "#b5588c"
WARN = "#a83e00"  # vermillion, dark enough for words
FONT = "DejaVu Sans"  # comes with matplotlib; the user's rcParams must not change the plot
SMALL, MEDIUM = 8.0, 9.0
ROUND = (1, 2, 2.5, 5, 10)  # steps between ticks, times powers of ten

Span = tuple[float, float]


def number(value: float) -> str:
    """Format a number: ``1,240``, ``0.0432``, ``3.2·10⁻⁷``."""
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


def step_number(value: float) -> str:
    """Format a tick of the step axis: ``1,500``, ``20k``, ``1.5M``."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:g}{unit}"
    return f"{value:,.0f}"


def steps_shown(last: float, total: float, now: float, final: bool) -> float:
    """Return the length of the step axis, which grows in jumps up to the total number of steps.

    Parameters
    ----------
    last : float
        Last step so far.
    total : float
        Number of steps of the whole run.
    now : float
        Present length.
    final : bool
        True to end at the last step.
    """
    if final:
        return max(last, 1.0)
    if 0 < now >= last:
        return now
    ahead = max(20.0, 2.0 * last)
    if last <= total < ahead / 0.8:
        return float(total)
    return ahead


def log_axis_helps(low: float, high: float, log: bool) -> bool:
    """Return True for positive data over more than 1.5 decades, or 1.2 decades if the axis is logarithmic now.

    Parameters
    ----------
    low, high : float
        Range of the data.
    log : bool
        True if the axis is logarithmic now.

    Returns
    -------
    bool
    """
    return 0 < low <= high < math.inf and math.log10(high) - math.log10(low) > (1.2 if log else 1.5)


def grow_limits(low: float, high: float, now: Span | None, log: bool, final: bool = False) -> Span:
    """Return axis limits that contain ``low``…``high``: the present ones if they do, otherwise wider by a jump.

    Parameters
    ----------
    low, high : float
        Range of the data.
    now : (low, high) or None
        Present limits.
    log : bool
        True for a logarithmic axis.
    final : bool
        True to fit the data.

    Returns
    -------
    (low, high)
    """
    if log:
        present = None if now is None else (math.log10(now[0]), math.log10(now[1]))
        bottom, top = (
            grow_limits(math.log10(low), math.log10(high), present, False, final)
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


def add_card(figure: Figure) -> None:
    """Draw the surface of a figure as a card with round corners."""
    width, height = figure.bbox.size
    figure.patch.set_alpha(0.0)
    figure.add_artist(FancyBboxPatch(
        (0.001, 0.002), 0.998, 0.996, transform=figure.transFigure, zorder=-10,
        facecolor=SURFACE, edgecolor=EDGE, linewidth=0.8,
        boxstyle=f"round,pad=0,rounding_size={10 / width}", mutation_aspect=width / height,
    ))  # fmt: skip


def quiet_axes(ax: Axes) -> None:
    """Set axes without a box, with a faint grid below the data and small tick labels."""
    ax.set(facecolor="none", axisbelow=True)
    ax.spines[:].set(visible=False, color=SPINE, linewidth=0.8)
    ax.spines["bottom"].set_visible(True)
    ax.grid(True, color=GRID, linewidth=0.8, linestyle="-", alpha=1.0)
    ax.tick_params(length=0, labelsize=SMALL, labelcolor=SOFT, labelfontfamily=FONT, which="both")


def live_axes(ax: Axes, title: str) -> None:
    """Set quiet axes with explicit limits, no ticks yet, and the title above the left corner."""
    quiet_axes(ax)
    ax.set_autoscale_on(False)
    ax.tick_params(
        pad=4, which="both", top=False, right=False, labeltop=False, labelright=False, direction="out"
    )  # fmt: skip
    ax.yaxis.set_major_locator(NullLocator())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylabel(title, rotation=0, ha="left", va="bottom", color=INK, fontsize=MEDIUM, fontfamily=FONT)
    ax.yaxis.set_label_coords(0.0, 1.0 + 7 / 72 * ax.figure.dpi / ax.get_window_extent().height)


def number_ticks(axis: Axis, locator: Locator, text: Callable[[float], str] = number) -> None:
    """Set the major ticks of an axis and the function that formats their numbers."""
    axis.set_major_locator(locator)
    axis.set_major_formatter(lambda value, _: text(value))


def ticks(ax: Axes, log: bool, most: int) -> None:
    """Set at most ``most`` ticks on the y axis, with plain numbers."""
    marks = _log_ticks(ax.get_ylim(), most) if log else []
    even = MaxNLocator(most, steps=ROUND)  # also where the round numbers of a log axis are too far apart
    number_ticks(ax.yaxis, FixedLocator(marks) if marks else even)
    ax.yaxis.set_minor_locator(NullLocator())


def _log_ticks(limits: Span, most: int) -> list[float]:
    """Return ticks of a log axis: decades, and 3 or 2 and 5 between them if there is room; none if too few are seen.

    Parameters
    ----------
    limits : (low, high)
    most : int
        Greatest number of ticks.
    """
    bottom, top = np.log10(limits)
    tens = [k for k in range(math.ceil(bottom - 1), math.floor(top) + 1) if k > -308]
    every = max(1, math.ceil((top - bottom) / most))
    marks = [10.0**k for k in tens if k % every == 0]
    for parts in ((1, 3), (1, 2, 5)):
        finer = [m * 10.0**k for k in tens for m in parts if bottom <= k + math.log10(m) <= top]
        marks = finer if len(finer) <= most else marks
    return marks if sum(bottom <= math.log10(mark) <= top for mark in marks) > 1 else []
