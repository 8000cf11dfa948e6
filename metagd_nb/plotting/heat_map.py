"""The picture of a sweep: a heat map over two settings, or a curve over one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle

from . import style
from .figures import DPI, HEIGHT, WIDTH, RunFigure

if TYPE_CHECKING:
    from ..analysis.sweep_result import Sweep


def heat_map(found: Sweep, done: int = 0, total: int = 0) -> RunFigure:
    """Mean scores over the first two settings that were swept (the best over all others), low ones light.

    Parameters
    ----------
    done, total : int
        Trials made and to make, for a bar of progress; none without a total.
    """
    figure = RunFigure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    style.card(figure)
    figure.alt = f"Scores of {found.method} over {' and '.join(found.names[:2])}"
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0.16, 0.2, 0.78, 0.6))
    ax.set_facecolor("none")
    (_one if len(found.names) == 1 else _two)(ax, found)
    ax.set_title(f"{found.method}: {found.what}", loc="left", color=style.INK, fontsize=style.MEDIUM, family=style.FONT)
    ax.tick_params(colors=style.SOFT, labelsize=style.SMALL, length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if total:
        _progress(figure, done, total)
    return figure


def _progress(figure: RunFigure, done: int, total: int) -> None:
    for width, color in ((1.0, style.EDGE), (done / total, style.BLUE)):
        bar = Rectangle((0.16, 0.93), 0.64 * width, 0.025, transform=figure.transFigure, facecolor=color)
        figure.add_artist(bar)
    figure.text(
        0.94, 0.928, f"{done} of {total}", ha="right", color=style.SOFT, fontsize=style.SMALL, family=style.FONT
    )


def _best(found: Sweep) -> dict[tuple[Any, ...], tuple[float, float, int]]:
    """Mean, half interval and steps by the first one or two settings: of what went furthest, the best of the others."""
    best: dict[tuple[Any, ...], tuple[int, float, float]] = {}
    for values, steps, mean, half in found.ranked():
        now = (-steps, mean, half)
        if values[:2] not in best or now[:2] < best[values[:2]][:2]:
            best[values[:2]] = now
    return {values: (mean, half, -steps) for values, (steps, mean, half) in best.items()}


def _one(ax: Axes, found: Sweep) -> None:
    axis, best = found.axes[found.names[0]], _best(found)
    at = [i for i, value in enumerate(axis) if (value,) in best and math.isfinite(best[value,][0])]
    mean = [best[axis[i],][0] for i in at]
    half = [0.0 if math.isnan(best[axis[i],][1]) else best[axis[i],][1] for i in at]
    ax.errorbar(at, mean, half, color=style.BLUE, marker="o", markersize=4.5, linewidth=1.5, capsize=3)
    if mean and min(mean) > 0 and max(mean) > 30 * min(mean):
        ax.set_yscale("log")
    ax.set_xlim(-0.5, len(axis) - 0.5)
    ax.grid(True, color=style.GRID, linewidth=0.8)
    _labels(ax, "x", found.names[0], axis)


def _two(ax: Axes, found: Sweep) -> None:
    (x, y), best = found.names[:2], _best(found)
    most = max((steps for _, _, steps in best.values()), default=0)
    steps = np.full((len(found.axes[y]), len(found.axes[x])), most)
    grid = np.full((len(found.axes[y]), len(found.axes[x])), np.nan)
    for (i, a), (j, b) in ((p, q) for p in enumerate(found.axes[x]) for q in enumerate(found.axes[y])):
        if (a, b) in best:
            grid[j, i], _, steps[j, i] = best[a, b]
    finite = grid[np.isfinite(grid)]
    ranks = np.searchsorted(np.sort(finite), grid) / max(len(finite) - 1, 1)  # ranks: one bad corner must not hide all
    shown = np.where(np.isfinite(grid), ranks, np.nan)
    ax.imshow(shown, cmap="cividis_r", aspect="auto", origin="lower", vmin=0, vmax=1)
    for (j, i), value in np.ndenumerate(grid):
        if not np.isnan(value):
            ink = "white" if np.isfinite(value) and ranks[j, i] > 0.55 else style.INK
            text = style.number(float(value)) if np.isfinite(value) else "diverged"
            text += f"\nat {steps[j, i]:,} steps" if steps[j, i] < most else ""  # halving: it went no further
            ax.text(i, j, text, ha="center", va="center", fontsize=style.SMALL, color=ink, family=style.FONT)
    _labels(ax, "x", x, found.axes[x])
    _labels(ax, "y", y, found.axes[y])


def _labels(ax: Axes, which: str, name: str, axis: list[Any]) -> None:
    put = ax.set_xticks if which == "x" else ax.set_yticks
    put(range(len(axis)), [style.number(v) if isinstance(v, float) else str(v) for v in axis], family=style.FONT)
    label = ax.set_xlabel if which == "x" else ax.set_ylabel
    label(name.replace("_", " "), color=style.SOFT, fontsize=style.SMALL, family=style.FONT)
