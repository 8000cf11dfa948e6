"""Figures for chapters: a table of mistakes, honesty of probabilities, forecasts with their intervals.

Each function returns a figure that belongs to nobody: no pyplot, nothing to close.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ..core.statistics import wilson_interval
from . import style
from .run_figure import DPI, WIDTH, RunFigure

__all__ = [
    "KINDS",
    "confusion",
    "costs",
    "forecast",
    "influence",
    "initial_function",
    "layer_rates",
    "movement",
    "reliability",
    "task_map",
    "titled",
]

KINDS = (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.INK)


def _figure(width: int, height: int, panels: int = 1) -> tuple[RunFigure, Any]:
    """A card of so many pixels, and its axes: an array of them where there are several."""
    room = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)  # inches
    figure = RunFigure((width / DPI, height / DPI), dpi=DPI, layout=room)
    style.card(figure)
    return figure, figure.subplots(1, panels)


def titled(title: str, x: str, y: str, width: int = 680, height: int = 380) -> tuple[RunFigure, Axes]:
    """A figure in the charts' look with its words, to be drawn in."""
    figure, ax = _figure(width, height)
    _words(ax, title, x, y)
    return figure, ax


def _words(ax: Axes, title: str, x: str, y: str) -> None:
    ax.set_facecolor("none")
    ax.set_title(title, loc="left", color=style.INK, fontsize=style.MEDIUM, fontfamily=style.FONT)
    for put, text in ((ax.set_xlabel, x), (ax.set_ylabel, y)):
        put(text, color=style.SOFT, fontsize=style.SMALL, fontfamily=style.FONT)
    ax.tick_params(colors=style.SOFT, labelsize=style.SMALL, length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def confusion(found: Any) -> RunFigure:
    """Share of the tasks of each kind (row) that were taken for each kind (column).

    Parameters
    ----------
    found : RecognitionScores
        What `Recognizer.evaluate` gives.
    """
    size = 92 + 62 * len(found.kinds)
    figure, ax = _figure(size + 60, size)
    rows = found.confusion.sum(axis=1, keepdims=True)
    share = found.confusion / np.maximum(rows, 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1.7)  # the darkest blue would leave no room for dark ink
    for (i, j), value in np.ndenumerate(share):
        if found.confusion[i, j]:
            ax.text(
                j, i, f"{value:.0%}", ha="center", va="center", fontsize=style.SMALL, color=style.INK, family=style.FONT
            )
    every = range(len(found.kinds))
    ax.set_xticks(every, found.kinds, rotation=30, ha="right", fontfamily=style.FONT)
    ax.set_yticks(every, found.kinds, fontfamily=style.FONT)
    _words(ax, f"{found.accuracy:.0%} of {int(rows.sum()):,} tasks recognised", "taken for", "is")
    return figure


def reliability(found: Any) -> RunFigure:
    """How often it was right, against how sure it was; the area of a point is its number of tasks.

    Parameters
    ----------
    found : RecognitionScores or Calibration
        What `Recognizer.evaluate` or `interpret.calibration` gives.
    """
    figure, ax = _figure(360, 320)
    ax.plot([0, 1], [0, 1], color=style.REFERENCE, linewidth=0.8, linestyle="--", label="honest")
    full = found.count > 0
    sure, right, count = found.confidence[full], found.right[full], found.count[full]
    low, high = wilson_interval(right, count)
    ax.errorbar(sure, right, (right - low, high - right), fmt="none", ecolor=style.BLUE, elinewidth=1.0)
    ax.scatter(sure, right, 8 + 160 * count / count.sum(), color=style.BLUE, zorder=3)
    least = max(0.0, min(float(sure.min()), float(low.min())) - 0.05)
    ax.set_xlim(least, 1.02)
    ax.set_ylim(least, 1.02)
    ax.grid(True, color=style.GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    _words(ax, f"calibration error {found.ece:.3f}", "probability of the likeliest", "share that was right")
    return figure


def forecast(history: Any, found: Mapping[str, Any], which: int, title: str = "", shown: int = 40) -> RunFigure:
    """One series: what was known, what came, and what each method expected, with its interval.

    Parameters
    ----------
    history : array (n,)
        The values that the methods saw.
    found : dict name → Scores
        What `forecasts` gives, for each method.
    which : int
        The number of the series.
    shown : int
        Values of the history that are drawn.
    """
    figure, ax = _figure(WIDTH, 300)
    past = np.asarray(history, float)
    time = np.arange(len(past))
    ax.plot(time[-shown:], past[-shown:], color=style.INK, linewidth=1.4)
    ahead = None
    for color, (name, scores) in zip(
        (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE), found.items(), strict=False
    ):
        made, half = scores.forecast[which], scores.half[which]
        ahead = len(past) - 1 + np.arange(len(made) + 1)
        ax.plot(ahead, np.r_[past[-1], made], color=color, linewidth=1.6, label=name)
        if np.isfinite(half).all():
            ax.fill_between(ahead[1:], made - half, made + half, color=color, alpha=0.15, linewidth=0)
        came = np.r_[past[-1], scores.actual[which]]
    if ahead is not None:
        ax.plot(ahead, came, color=style.INK, linewidth=1.4, linestyle=":", label="what came")
    ax.grid(True, axis="y", color=style.GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(loc="best", frameon=False, fontsize=style.SMALL, labelcolor=style.SOFT)
    _words(ax, title, "step", "")
    return figure


def movement(found: Any) -> RunFigure:
    """How far adaptation moves each part of a model, and how alike each layer's activations stay.

    Parameters
    ----------
    found : Movement
        What `interpret.movement` gives.
    """
    figure, (left, right) = _figure(WIDTH, 300, panels=2)
    rows = range(len(found.names))
    left.barh(rows, found.moved, xerr=found.interval, color=style.BLUE, ecolor=style.INK, height=0.62)
    left.set_yticks(rows, found.names, fontfamily=style.FONT)
    left.invert_yaxis()
    _words(left, "moved by adapting", "‖φ − θ‖ / ‖θ‖", "")
    layers = range(len(found.layers))
    right.barh(layers, found.same, color=style.GREEN, height=0.62)
    right.set_yticks(layers, found.layers, fontfamily=style.FONT)
    right.set_xlim(0, 1)
    right.invert_yaxis()
    _words(right, "sees the same as before", "likeness of activations (CKA)", "")
    return figure


def layer_rates(found: Mapping[str, tuple[float, float, float, float]]) -> RunFigure:
    """The inner rates that were learned, by part of the model: from the least to the greatest, and the mean.

    Parameters
    ----------
    found : dict name → (mean, least, greatest, share that is negative)
        What `interpret.layer_rates` gives.
    """
    figure, ax = titled("learned inner rates", "rate", "", height=120 + 34 * len(found))
    for row, (mean, low, high, _) in enumerate(found.values()):
        ax.plot([low, high], [row, row], color=style.BLUE, linewidth=5, alpha=0.35, solid_capstyle="round")
        ax.plot([mean], [row], marker="o", markersize=6, color=style.BLUE)
    ax.set_yticks(range(len(found)), list(found), fontfamily=style.FONT)
    ax.invert_yaxis()
    ax.axvline(0, color=style.REFERENCE, linewidth=0.8)
    ax.grid(True, axis="x", color=style.GRID, linewidth=0.8)
    figure.alt = "learned inner rates of each part of the model: least, mean and greatest"
    return figure


def initial_function(found: Any) -> RunFigure:
    """The function that was learned to begin with, and what each task's points make of it.

    Parameters
    ----------
    found : Beginning
        What `interpret.initial_function` gives.
    """
    figure, ax = titled("what adaptation begins with, and what it makes of it", "x", "y", 560, 320)
    same = np.ptp(found.start, axis=0).max() == 0
    for t, start in enumerate(found.start[: 1 if same else None]):
        label = "" if t else "start" if same else "starts"
        color, alpha = (style.INK, 0.85) if same else (KINDS[t % 4], 0.35)
        ax.plot(found.x, start, color=color, alpha=alpha, linewidth=2.6, label=label)
    for t, adapted in enumerate(found.adapted):
        points, values = found.support.x[t, :, 0], found.support.y[t, :, 0]
        ax.scatter(points, values, 22, color=KINDS[t % 4], marker="osD^"[t % 4], linewidths=0)
        dashes = ("-", "--", "-.", ":")[t % 4]
        ax.plot(found.x, adapted, color=KINDS[t % 4], linewidth=1.6, linestyle=dashes, label=f"adapted to task {t + 1}")
    ax.grid(True, color=style.GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(fontsize=style.SMALL, frameon=False, labelcolor=style.SOFT)
    figure.alt = f"the learned initial function and what {len(found.start)} tasks make of it"
    return figure


def costs(found: Any) -> RunFigure:
    """What each method has cost in training, four costs side by side.

    Parameters
    ----------
    found : CostTable
        What `cost_table` gives.
    """
    names, every = list(found.training), list(found.training.values())
    height = 110 + 30 * len(names)
    figure = RunFigure((880 / DPI, height / DPI), dpi=DPI, facecolor=style.SURFACE, layout="constrained")
    columns = (
        ("gradient evaluations", style.BLUE, [cost.grad_evals for cost in every]),
        ("Hessian·vectors", style.PURPLE, [cost.hvps for cost in every]),
        ("seconds", style.GREEN, [cost.seconds for cost in every]),
        ("MB at a step's peak", style.VERMILLION, [cost.peak_bytes / 2**20 for cost in every]),
    )
    rows = range(len(names))
    for ax, (title, color, values) in zip(figure.subplots(1, 4, sharey=True), columns, strict=True):
        ax.barh(rows, np.nan_to_num(values), color=color, height=0.62)
        for row, value in zip(rows, values, strict=True):
            ax.annotate(
                "not measured" if np.isnan(value) else f"{value:,}" if value == int(value) else f"{value:.3g}",
                (np.nan_to_num(value), row), (3, 0), textcoords="offset points", va="center", fontsize=style.SMALL,
                color=style.INK, family=style.FONT,
            )  # fmt: skip
        ax.set_xlim(0, 1.45 * max(np.nan_to_num(values).max(), 1e-12))
        ax.set_xticks([])
        _words(ax, title, "", "")
    ax.set_yticks(rows, names, fontfamily=style.FONT)
    ax.invert_yaxis()
    figure.alt = f"gradient evaluations, Hessian·vectors, seconds and memory of training {', '.join(names)}"
    return figure


def influence(x: Any, y: Any, x_new: Any, found: Any, at: float) -> RunFigure:
    """Support points on one-dimensional inputs, each as large as its influence on the prediction at ``at``.

    Parameters
    ----------
    x, y : arrays (K,)
        The support points.
    x_new : array (N,)
        Where the influence was taken.
    found : array (K, N)
        What `interpret.influence` gives.
    at : float
        The place of which the picture tells: the nearest of ``x_new``.
    """
    x, y, x_new = (np.asarray(a, float).ravel() for a in (x, y, x_new))
    column = np.asarray(found)[:, int(np.abs(x_new - at).argmin())]
    figure, ax = _figure(560, 320)
    area = 12 + 320 * np.abs(column) / max(float(np.abs(column).max()), 1e-300)
    for up, color, marker, word in ((True, style.BLUE, "^", "up"), (False, style.VERMILLION, "v", "down")):
        of = (column >= 0) == up
        ax.scatter(x[of], y[of], area[of], color=color, marker=marker, label=f"pulls the prediction {word}", alpha=0.85)
    ax.axvline(at, color=style.REFERENCE, linewidth=0.8, linestyle="--", label=f"the prediction at {at:g}")
    ax.grid(True, color=style.GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(fontsize=style.SMALL, frameon=False, markerscale=0.5)
    _words(ax, "what the prediction rests on", "x", "y")
    return figure


def task_map(found: Any) -> RunFigure:
    """Tasks as points in the plane of their two main directions; kinds by colour and by shape.

    Parameters
    ----------
    found : TaskMap
        What `interpret.task_map` gives.
    """
    figure, ax = _figure(480, 400)
    kind = np.zeros(len(found.points), int) if found.kind is None else found.kind
    for g, marker in zip(np.unique(kind), "osD^vPX*<>", strict=False):
        of = kind == g
        label = found.kinds[g] if found.kinds and found.kind is not None else None
        color = KINDS[int(g) % len(KINDS)]
        x, y = found.points[of].T
        ax.scatter(x, y, 22, color=color, marker=marker, label=label, alpha=0.75, linewidths=0)
    if found.kind is not None and found.kinds:
        ax.legend(fontsize=style.SMALL, frameon=False)
    one, two = found.share
    _words(ax, f"{len(found.points)} tasks", f"first direction ({one:.0%})", f"second direction ({two:.0%})")
    return figure
