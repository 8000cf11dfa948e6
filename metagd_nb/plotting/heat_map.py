"""Figure of a sweep: a heat map over two settings, or a curve over one."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from . import style
from .figures import RunFigure, label

if TYPE_CHECKING:
    from ..analysis.sweep_result import Sweep

Best = dict[tuple[Any, ...], tuple[float, float, int]]


def heat_map(sweep: Sweep, done: int = 0, total: int = 0) -> RunFigure:
    """Draw mean scores over the first two settings of a sweep (the best over all others), low ones light.

    Parameters
    ----------
    sweep : Sweep
    done, total : int
        Trials done and all trials, for a progress bar; no bar if ``total`` is 0.

    Returns
    -------
    RunFigure
    """
    names = sweep.names[:2]
    figure = RunFigure(alt=f"Scores of {sweep.method} over {' and '.join(names)}")
    style.add_card(figure)
    ax = figure.add_axes((0.16, 0.2, 0.78, 0.6))
    (_curve if len(names) == 1 else _map)(ax, sweep, _best(sweep))
    label(ax, f"{sweep.method}: {sweep.what}", *(name.replace("_", " ") for name in [*names, ""][:2]))
    if total:
        for width, color in ((1.0, style.EDGE), (done / total, style.BLUE)):
            corner = (0.16, 0.93)
            figure.add_artist(Rectangle(corner, 0.64 * width, 0.025, transform=figure.transFigure, facecolor=color))
        text = figure.text(0.94, 0.928, f"{done} of {total}", ha="right", family=style.FONT)
        text.set(color=style.SOFT, fontsize=style.SMALL)
    return figure


def _best(sweep: Sweep) -> Best:
    """Return mean, half interval and steps by the first one or two settings: the best of those with most steps."""
    best: Best = {}
    for values, steps, mean, half in sweep.ranked():
        best.setdefault(values[:2], (mean, half, steps))
    return best


def _curve(ax: Axes, sweep: Sweep, best: Best) -> None:
    values = sweep.axes[sweep.names[0]]
    at = [i for i, value in enumerate(values) if (value,) in best and math.isfinite(best[value,][0])]
    mean = [best[values[i],][0] for i in at]
    half = np.nan_to_num([best[values[i],][1] for i in at])
    ax.errorbar(at, mean, half, color=style.BLUE, marker="o", markersize=4.5, linewidth=1.5, capsize=3)
    if mean and min(mean) > 0 and max(mean) > 30 * min(mean):
        ax.set_yscale("log")
    ax.set_xlim(-0.5, len(values) - 0.5)
    ax.grid(True, color=style.GRID, linewidth=0.8)
    ax.set_xticks(range(len(values)), _tick_labels(values), family=style.FONT)


def _map(ax: Axes, sweep: Sweep, best: Best) -> None:
    columns, rows = (sweep.axes[name] for name in sweep.names[:2])
    most = max((steps for _, _, steps in best.values()), default=0)
    scores, steps = np.full((len(rows), len(columns)), np.nan), np.full((len(rows), len(columns)), most)
    for (j, row), (i, column) in itertools.product(enumerate(rows), enumerate(columns)):
        if (column, row) in best:
            scores[j, i], _, steps[j, i] = best[column, row]
    finite = scores[np.isfinite(scores)]
    ranks = np.searchsorted(np.sort(finite), scores) / max(len(finite) - 1, 1)  # one bad corner must not hide the rest
    shades = np.where(np.isfinite(scores), ranks, np.nan)
    ax.imshow(shades, cmap="cividis_r", aspect="auto", origin="lower", vmin=0, vmax=1)
    for (j, i), score in np.ndenumerate(scores):
        if not np.isnan(score):
            text = style.number(float(score)) if np.isfinite(score) else "diverged"
            text += f"\nat {steps[j, i]:,} steps" if steps[j, i] < most else ""  # stopped early by halving
            drawn = ax.text(i, j, text, ha="center", va="center", fontsize=style.SMALL, family=style.FONT)
            drawn.set_color("white" if np.isfinite(score) and ranks[j, i] > 0.55 else style.INK)
    ax.set_xticks(range(len(columns)), _tick_labels(columns), family=style.FONT)
    ax.set_yticks(range(len(rows)), _tick_labels(rows), family=style.FONT)


def _tick_labels(values: list[Any]) -> list[str]:
    return [style.number(value) if isinstance(value, float) else str(value) for value in values]
