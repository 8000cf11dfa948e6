"""The picture of a comparison: losses laid over each other, medians with bands over the seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..training.run import Run
from . import style
from .downsample import MinMaxBuckets
from .figures import DPI, HEIGHT, WIDTH, RunFigure
from .panels import Curve, StepPanel

if TYPE_CHECKING:
    from ..analysis.comparison import Comparison

COLORS = (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.INK, style.REFERENCE)
STYLES = ("-", "--", ":", "-.")  # no colour alone
TITLES = {"steps": "step", "evaluations": "gradient evaluations", "seconds": "seconds of training"}
MOST = 18.0  # powers of ten that an axis holds; a diverging seed must not hide the others


def _canvas(alt: str) -> tuple[RunFigure, Axes]:
    figure = RunFigure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    figure.alt = alt
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor(style.SURFACE)
    return figure, figure.add_axes((62 / WIDTH, 50 / HEIGHT, (WIDTH - 90) / WIDTH, (HEIGHT - 100) / HEIGHT))


def comparison_figure(found: Comparison, x: str = "steps") -> RunFigure:
    """Each method's loss over ``steps``, ``evaluations`` or ``seconds``: the median, and the quartiles as a band."""
    names = [entry.name for entry in found.entries]
    seeds = len(found.seeds)
    figure, ax = _canvas(
        f"The losses of {', '.join(names)} over {TITLES.get(x, x)}, medians of {seeds} seeds with quartiles"
    )
    meta = all(entry.runs[0].loop.algorithm.setting == "meta" for entry in found.entries)
    title = ("query loss" if meta else "loss") + (": median, quartiles" if seeds > 1 else "")
    style.dress(ax, title)
    lows, highs, right, left = [], [], 0.0, np.inf
    for i, entry in enumerate(found.entries):
        curves = entry.curves(x)
        color, dashes = COLORS[i % len(COLORS)], STYLES[i % len(STYLES)]
        ax.plot(curves.x, curves.median, color=color, linestyle=dashes, linewidth=1.7, label=entry.name, zorder=4)
        if seeds > 1:
            ax.fill_between(curves.x, curves.low, curves.high, color=color, alpha=0.18, linewidth=0)
        finite = np.concatenate([curves.low, curves.high])
        finite = finite[np.isfinite(finite)]
        lows += [finite.min()] if len(finite) else []
        highs += [min(finite.max(), finite.min() + abs(finite.min()) * 10**MOST)] if len(finite) else []
        right, left = max(right, float(curves.x[-1])), min(left, float(curves.x[0]))
    _finish(ax, lows, highs, (left, right), x)
    return figure


def _finish(ax: Axes, lows: list[Any], highs: list[Any], span: tuple[float, float], x: str) -> None:
    """Limits, ticks, legend."""
    low, high = (float(min(lows)), float(max(highs))) if lows else (0.0, 1.0)
    log = style.helps(low, high, False)
    ax.set_yscale("log" if log else "linear")
    ax.set_ylim(style.grown(low, high, None, log, True))
    if log:
        ax.yaxis.label.set_text(ax.yaxis.label.get_text() + " (log scale)")
    style.ticks(ax, log, 5)
    ax.set_xlim(span if span[0] < span[1] else (span[0], span[0] + 1))
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: style.number(v) if x == "seconds" else style.count(v)))
    ax.set_xlabel(TITLES.get(x, x), color=style.SOFT, fontsize=style.SMALL, fontfamily=style.FONT, labelpad=3)
    ax.legend(
        frameon=False, loc="lower right", bbox_to_anchor=(1.01, 1.0), ncols=4, borderaxespad=0.3, handlelength=1.8,
        columnspacing=1.2, labelcolor=style.SOFT,
        prop={"size": style.SMALL, "family": style.FONT},
    )  # fmt: skip


def overlaid_runs(runs: Mapping[str, Run]) -> RunFigure:
    """One figure with the loss of each run over its steps, named as the runs are; of noisy losses their means."""
    figure, ax = _canvas(f"The losses of {', '.join(runs)} over their steps, laid over each other")
    curves = [_curve(ax, i, name, run) for i, (name, run) in enumerate(runs.items())]
    title = "query loss" if all("meta_lr" in run.record for run in runs.values()) else "loss"
    noisy = any(run.loop.sampled for run in runs.values())
    panel = StepPanel(ax, title + (": means" if noisy else ""), curves)
    panel.update(0.0, max([1.0, *(run.record.last("step") for run in runs.values() if len(run.record))]), final=True)
    for artist in panel.artists():
        artist.set_animated(False)
    if noisy:  # bands over bands are mud; without them the axis need not hold them
        for curve in curves:
            curve.band.set_visible(False)
        drawn = np.concatenate([np.asarray(curve.line.get_ydata(), float) for curve in curves])
        drawn = drawn[np.isfinite(drawn)]
        if len(drawn):
            ax.set_ylim(style.grown(float(drawn.min()), float(drawn.max()), None, panel.log, True))
            style.ticks(ax, panel.log, panel.most)
    return figure


def _curve(ax: Axes, i: int, name: str, run: Run) -> Curve:
    rows = MinMaxBuckets()
    rows.extend(run.record.since("loss", 0))
    curve = Curve(ax, rows, COLORS[i % len(COLORS)], run.loop.sampled, name)
    if run.plan.settings.record_every > 1:
        curve.steps = run.record.since("step", 0)
    curve.line.set_linestyle(("-", "--", ":")[i // len(COLORS) % 3])
    return curve
