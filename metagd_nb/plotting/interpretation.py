"""Charts of learned results: moved parameters, learned rates, initial function, influence, tasks in a plane."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..analysis.interpret import InitialFunction, Movement
from ..analysis.task_embedding import TaskMap
from . import style
from .figures import WIDTH, RunFigure, card, grid, label, legend, titled

__all__ = ["KINDS", "influence", "initial_function", "layer_rates", "movement", "task_map"]

KINDS = (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.INK)  # colors of kinds of task


def movement(found: Movement) -> RunFigure:
    """Draw how far adaptation moves each part of a model, and how similar each layer's activations stay.

    Parameters
    ----------
    found : Movement
        Result of `interpret.movement`.

    Returns
    -------
    RunFigure
    """
    figure = card(WIDTH, 300)
    left, right = figure.subplots(1, 2)
    rows = range(len(found.names))
    left.barh(rows, found.moved, xerr=found.interval, color=style.BLUE, ecolor=style.INK, height=0.62)
    left.set_yticks(rows, found.names, fontfamily=style.FONT)
    label(left, "moved by adaptation", "‖φ − θ‖ / ‖θ‖", "")
    layers = range(len(found.layers))
    right.barh(layers, found.same, color=style.GREEN, height=0.62)
    right.set_yticks(layers, found.layers, fontfamily=style.FONT)
    right.set_xlim(0, 1)
    label(right, "activations before and after", "similarity (CKA)", "")
    for ax in (left, right):
        ax.invert_yaxis()
    return figure


def layer_rates(found: Mapping[str, tuple[float, float, float, float]]) -> RunFigure:
    """Draw the learned inner rates of each part of the model: their range and their mean.

    Parameters
    ----------
    found : dict name → (mean, least, greatest, share that is negative)
        Result of `interpret.layer_rates`.

    Returns
    -------
    RunFigure
    """
    figure, ax = titled("learned inner rates", "rate", "", height=120 + 34 * len(found))
    for row, (mean, low, high, _) in enumerate(found.values()):
        ax.plot([low, high], [row, row], color=style.BLUE, linewidth=5, alpha=0.35, solid_capstyle="round")
        ax.plot([mean], [row], marker="o", markersize=6, color=style.BLUE)
    ax.set_yticks(range(len(found)), list(found), fontfamily=style.FONT)
    ax.invert_yaxis()
    ax.axvline(0, color=style.REFERENCE, linewidth=0.8)
    grid(ax, "x")
    figure.alt = "learned inner rates of each part of the model: least, mean and greatest"
    return figure


def initial_function(found: InitialFunction) -> RunFigure:
    """Draw the learned initial function, and the function after adaptation to each task.

    Parameters
    ----------
    found : InitialFunction
        Result of `interpret.initial_function`.

    Returns
    -------
    RunFigure
    """
    figure, ax = titled("before and after adaptation", "x", "y", 560, 320)
    same = np.ptp(found.start, axis=0).max() == 0
    for t, start in enumerate(found.start[: 1 if same else None]):
        name = "" if t else "start" if same else "starts"
        color, alpha = (style.INK, 0.85) if same else (KINDS[t % 4], 0.35)
        ax.plot(found.x, start, color=color, alpha=alpha, linewidth=2.6, label=name)
    for t, adapted in enumerate(found.adapted):
        points, values = found.support.x[t, :, 0], found.support.y[t, :, 0]
        ax.scatter(points, values, 22, color=KINDS[t % 4], marker="osD^"[t % 4], linewidths=0)
        dashes = ("-", "--", "-.", ":")[t % 4]
        ax.plot(found.x, adapted, color=KINDS[t % 4], linewidth=1.6, linestyle=dashes, label=f"adapted to task {t + 1}")
    grid(ax)
    legend(ax)
    figure.alt = f"the learned initial function and the functions adapted to {len(found.start)} tasks"
    return figure


def influence(
    x: np.typing.ArrayLike, y: np.typing.ArrayLike, x_new: np.typing.ArrayLike, found: np.typing.ArrayLike, at: float
) -> RunFigure:
    """Draw one-dimensional support points, each with an area proportional to its influence on a prediction.

    Parameters
    ----------
    x, y : arrays (K,)
        The support points.
    x_new : array (N,)
        Inputs of the predictions.
    found : array (K, N)
        Result of `interpret.influence`.
    at : float
        Input of the prediction to show; the nearest of ``x_new`` is taken.

    Returns
    -------
    RunFigure
    """
    points, values, new = (np.asarray(a, float).ravel() for a in (x, y, x_new))
    column = np.asarray(found)[:, int(np.abs(new - at).argmin())]
    figure, ax = titled("influence on a prediction", "x", "y", 560, 320)
    area = 12 + 320 * np.abs(column) / max(float(np.abs(column).max()), 1e-300)
    for up, color, marker, word in ((True, style.BLUE, "^", "up"), (False, style.VERMILLION, "v", "down")):
        of = (column >= 0) == up
        name = f"pulls the prediction {word}"
        ax.scatter(points[of], values[of], area[of], color=color, marker=marker, label=name, alpha=0.85)
    ax.axvline(at, color=style.REFERENCE, linewidth=0.8, linestyle="--", label=f"the prediction at {at:g}")
    grid(ax)
    legend(ax, markerscale=0.5)
    return figure


def task_map(found: TaskMap) -> RunFigure:
    """Draw tasks as points in the plane of their two main directions, kinds by color and marker.

    Parameters
    ----------
    found : TaskMap
        Result of `interpret.task_map`.

    Returns
    -------
    RunFigure
    """
    one, two = found.share
    figure, ax = titled(
        f"{len(found.points)} tasks", f"first direction ({one:.0%})", f"second direction ({two:.0%})", 480, 400
    )
    kind = np.zeros(len(found.points), int) if found.kind is None else found.kind
    for g, marker in zip(np.unique(kind), "osD^vPX*<>", strict=False):
        name = found.kinds[g] if found.kinds and found.kind is not None else None
        x, y = found.points[kind == g].T
        color = KINDS[int(g) % len(KINDS)]
        ax.scatter(x, y, 22, color=color, marker=marker, label=name, alpha=0.75, linewidths=0)
    if found.kind is not None and found.kinds:
        legend(ax)
    return figure
