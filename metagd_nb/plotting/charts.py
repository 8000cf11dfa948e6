"""Charts of results: confusion matrix, calibration, forecasts, costs.

Each function returns a figure; none uses pyplot. Charts of what a run has learned are in `interpretation`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..analysis.cost_table import CostTable
from ..analysis.forecasting import Scores
from ..analysis.recognition_scores import RecognitionScores
from ..core.statistics import Calibration, wilson_interval
from . import style
from .figures import WIDTH, RunFigure, card, grid, label, legend, titled

__all__ = ["confusion", "costs", "forecast", "reliability", "titled"]


def confusion(found: RecognitionScores) -> RunFigure:
    """Draw a confusion matrix: for each true kind (row), the share of tasks that was assigned to each kind (column).

    Parameters
    ----------
    found : RecognitionScores
        Result of `Recognizer.evaluate`.

    Returns
    -------
    RunFigure
    """
    size = 92 + 62 * len(found.kinds)
    figure = card(size + 60, size)
    ax = figure.subplots()
    rows = found.confusion.sum(axis=1, keepdims=True)
    share = found.confusion / np.maximum(rows, 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1.7)  # light enough for text in dark ink
    for (i, j), value in np.ndenumerate(share):
        if found.confusion[i, j]:
            text = ax.text(j, i, f"{value:.0%}", ha="center", va="center")
            text.set(fontsize=style.SMALL, color=style.INK, family=style.FONT)
    every = range(len(found.kinds))
    ax.set_xticks(every, found.kinds, rotation=30, ha="right", fontfamily=style.FONT)
    ax.set_yticks(every, found.kinds, fontfamily=style.FONT)
    label(ax, f"{found.accuracy:.0%} of {int(rows.sum()):,} tasks recognised", "recognised as", "true kind")
    return figure


def reliability(found: RecognitionScores | Calibration) -> RunFigure:
    """Draw accuracy against predicted probability; the area of a point is proportional to its number of tasks.

    Parameters
    ----------
    found : RecognitionScores or Calibration
        Result of `Recognizer.evaluate` or `interpret.calibration`.

    Returns
    -------
    RunFigure
    """
    figure = card(360, 320)
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color=style.REFERENCE, linewidth=0.8, linestyle="--", label="calibrated")
    full = found.count > 0
    sure, right, count = found.confidence[full], found.right[full], found.count[full]
    low, high = wilson_interval(right, count)
    ax.errorbar(sure, right, (right - low, high - right), fmt="none", ecolor=style.BLUE, elinewidth=1.0)
    ax.scatter(sure, right, 8 + 160 * count / count.sum(), color=style.BLUE, zorder=3)
    least = max(0.0, min(float(sure.min()), float(low.min())) - 0.05)
    ax.set(xlim=(least, 1.02), ylim=(least, 1.02))
    grid(ax)
    label(ax, f"calibration error {found.ece:.3f}", "largest predicted probability", "share of correct predictions")
    return figure


def forecast(
    history: np.typing.ArrayLike, found: Mapping[str, Scores], which: int, title: str = "", shown: int = 40
) -> RunFigure:
    """Draw one series: its history, the values that followed, and the forecast of each method with its interval.

    Parameters
    ----------
    history : array (n,)
        The values that the methods were given.
    found : dict name → Scores
        Result of `forecasts` for each method.
    which : int
        Number of the series.
    title : str
    shown : int
        Number of last values of the history to draw.

    Returns
    -------
    RunFigure
    """
    figure, ax = titled(title, "step", "", WIDTH, 300)
    past = np.asarray(history, float)
    time = np.arange(len(past))
    ax.plot(time[-shown:], past[-shown:], color=style.INK, linewidth=1.4)
    colors = (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE)
    for color, (name, scores) in zip(colors, found.items(), strict=False):
        made, half = scores.forecast[which], scores.half[which]
        ahead = len(past) - 1 + np.arange(len(made) + 1)
        ax.plot(ahead, np.r_[past[-1], made], color=color, linewidth=1.6, label=name)
        if np.isfinite(half).all():
            ax.fill_between(ahead[1:], made - half, made + half, color=color, alpha=0.15, linewidth=0)
    if found:
        actual = np.r_[past[-1], scores.actual[which]]
        ax.plot(ahead, actual, color=style.INK, linewidth=1.4, linestyle=":", label="actual values")
    grid(ax, "y")
    legend(ax)
    return figure


def costs(found: CostTable) -> RunFigure:
    """Draw four costs of training side by side, a bar for each method.

    Parameters
    ----------
    found : CostTable
        Result of `cost_table`.

    Returns
    -------
    RunFigure
    """
    names, every = list(found.training), list(found.training.values())
    alt = f"gradient evaluations, Hessian·vectors, seconds and memory of training {', '.join(names)}"
    figure = RunFigure(880, 110 + 30 * len(names), alt)
    figure.set_layout_engine("constrained")
    columns: tuple[tuple[str, str, list[float]], ...] = (
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
        ax.set(xlim=(0, 1.45 * max(np.nan_to_num(values).max(), 1e-12)), xticks=[])
        label(ax, title, "", "")
    ax.set_yticks(rows, names, fontfamily=style.FONT)
    ax.invert_yaxis()
    return figure
