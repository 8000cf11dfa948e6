"""Figures of several runs: losses on common axes, medians with bands over the seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..training.run import Run
from . import style
from .downsample import MinMaxBuckets
from .figures import HEIGHT, WIDTH, RunFigure
from .panels import Curve, StepPanel

if TYPE_CHECKING:
    from ..analysis.comparison import Comparison

COLORS = (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.INK, style.REFERENCE)
STYLES = ("-", "--", ":", "-.")  # curves differ in color and in line style
TITLES = {"steps": "step", "evaluations": "gradient evaluations", "seconds": "seconds of training"}
MOST = 18.0  # powers of ten on an axis; a diverging seed must not hide the others


def _axes(alt: str) -> tuple[RunFigure, Axes]:
    figure = RunFigure(alt=alt)
    return figure, figure.add_axes((62 / WIDTH, 50 / HEIGHT, (WIDTH - 90) / WIDTH, (HEIGHT - 100) / HEIGHT))


def comparison_figure(comparison: Comparison, x: str = "steps") -> RunFigure:
    """Draw the loss of each method: the median over seeds, and the quartiles as a band.

    Parameters
    ----------
    comparison : Comparison
    x : "steps" | "evaluations" | "seconds"
        Horizontal axis.

    Returns
    -------
    RunFigure
    """
    names, seeds = [entry.name for entry in comparison.entries], len(comparison.seeds)
    alt = f"The losses of {', '.join(names)} over {TITLES.get(x, x)}, medians of {seeds} seeds with quartiles"
    figure, ax = _axes(alt)
    meta = all(entry.runs[0].loop.algorithm.setting == "meta" for entry in comparison.entries)
    style.live_axes(ax, ("query loss" if meta else "loss") + (": median, quartiles" if seeds > 1 else ""))
    spans, ends = [], []
    for i, entry in enumerate(comparison.entries):
        curves = entry.curves(x)
        color, dashes = COLORS[i % len(COLORS)], STYLES[i % len(STYLES)]
        ax.plot(curves.x, curves.median, color=color, linestyle=dashes, linewidth=1.7, label=entry.name, zorder=4)
        if seeds > 1:
            ax.fill_between(curves.x, curves.low, curves.high, color=color, alpha=0.18, linewidth=0)
        values = np.concatenate([curves.low, curves.high])
        values = values[np.isfinite(values)]
        if len(values):
            low = values.min()
            spans.append((low, min(values.max(), low + abs(low) * 10**MOST)))
        ends += [float(curves.x[0]), float(curves.x[-1])]
    low, high = np.transpose(spans or [(0.0, 1.0)])
    _fit_y(ax, float(low.min()), float(high.max()))
    left, right = min(ends), max(ends)
    ax.set_xlim(left, right if left < right else left + 1)
    numbers = style.number if x == "seconds" else style.step_number
    style.number_ticks(ax.xaxis, MaxNLocator(5, steps=style.ROUND), numbers)
    ax.set_xlabel(TITLES.get(x, x), color=style.SOFT, fontsize=style.SMALL, fontfamily=style.FONT, labelpad=3)
    ax.legend(
        frameon=False, loc="lower right", bbox_to_anchor=(1.01, 1.0), ncols=4, borderaxespad=0.3, handlelength=1.8,
        columnspacing=1.2, labelcolor=style.SOFT,
        prop={"size": style.SMALL, "family": style.FONT},
    )  # fmt: skip
    return figure


def _fit_y(ax: Axes, low: float, high: float) -> None:
    """Set the scale, the limits and the ticks of the y axis."""
    log = style.log_axis_helps(low, high, False)
    ax.set(yscale="log" if log else "linear", ylim=style.grow_limits(low, high, None, log, True))
    if log:
        ax.yaxis.label.set_text(ax.yaxis.label.get_text() + " (log scale)")
    style.ticks(ax, log, 5)


def overlaid_runs(runs: Mapping[str, Run]) -> RunFigure:
    """Draw the loss of each run over its steps on common axes; means of noisy losses.

    Parameters
    ----------
    runs : dict name → Run

    Returns
    -------
    RunFigure
    """
    figure, ax = _axes(f"The losses of {', '.join(runs)} over their steps, laid over each other")
    curves = [_curve(ax, i, name, run) for i, (name, run) in enumerate(runs.items())]
    title = "query loss" if all("meta_lr" in run.record for run in runs.values()) else "loss"
    noisy = any(run.loop.sampled for run in runs.values())
    panel = StepPanel(ax, title + (": means" if noisy else ""), curves)
    panel.update(0.0, max([1.0, *(run.record.last("step") for run in runs.values() if len(run.record))]), final=True)
    for artist in panel.artists():
        artist.set_animated(False)
    if noisy:
        _hide_bands(panel)
    return figure


def _hide_bands(panel: StepPanel) -> None:
    """Hide the bands, which cannot be distinguished where they overlap, and fit the axis to the means."""
    for curve in panel.curves:
        curve.band.set_visible(False)
    means = np.concatenate([np.asarray(curve.line.get_ydata(), float) for curve in panel.curves])
    means = means[np.isfinite(means)]
    if len(means):
        panel.ax.set_ylim(style.grow_limits(float(means.min()), float(means.max()), None, panel.log, True))
        style.ticks(panel.ax, panel.log, panel.most)


def _curve(ax: Axes, i: int, name: str, run: Run) -> Curve:
    rows = MinMaxBuckets()
    rows.extend(run.record.since("loss", 0))
    curve = Curve(ax, rows, COLORS[i % len(COLORS)], run.loop.sampled, name)
    if run.plan.settings.record_every > 1:
        curve.steps = run.record.since("step", 0)
    curve.line.set_linestyle(("-", "--", ":")[i // len(COLORS) % 3])
    return curve
