"""`%metagd compare a b`: the losses of runs laid over each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from .. import axes as look
from ..decimate import Buckets
from ..panels import Curve, StepPanel
from ..plot import DPI, HEIGHT, WIDTH, RunFigure
from ..run import Run

COLORS = (look.BLUE, look.VERMILLION, look.GREEN, look.PURPLE, look.INK, look.REFERENCE)


def overlay(runs: Mapping[str, Run]) -> RunFigure:
    """One figure with the loss of each run over its steps, named as the runs are; of noisy losses their means."""
    figure = RunFigure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    figure.alt = f"The losses of {', '.join(runs)} over their steps, laid over each other"
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor(look.SURFACE)
    ax = figure.add_axes((62 / WIDTH, 50 / HEIGHT, (WIDTH - 90) / WIDTH, (HEIGHT - 100) / HEIGHT))
    curves = [_curve(ax, i, name, run) for i, (name, run) in enumerate(runs.items())]
    title = "query loss" if all("meta_lr" in run.record for run in runs.values()) else "loss"
    noisy = any(run.sampled for run in runs.values())
    panel = StepPanel(ax, title + (": means" if noisy else ""), curves)
    panel.update(0.0, max([1.0, *(len(run.record) - 1.0 for run in runs.values())]), final=True)
    for artist in panel.artists():
        artist.set_animated(False)
    if noisy:  # bands over bands are mud; without them the axis need not hold them
        for curve in curves:
            curve.band.set_visible(False)
        drawn = np.concatenate([np.asarray(curve.line.get_ydata(), float) for curve in curves])
        drawn = drawn[np.isfinite(drawn)]
        if len(drawn):
            ax.set_ylim(look.grown(float(drawn.min()), float(drawn.max()), None, panel.log, True))
            look.ticks(ax, panel.log, panel.most)
    return figure


def _curve(ax: Axes, i: int, name: str, run: Run) -> Curve:
    rows = Buckets()
    rows.extend(run.record.since("loss", 0))
    curve = Curve(ax, rows, COLORS[i % len(COLORS)], run.sampled, name)
    curve.line.set_linestyle(("-", "--", ":")[i // len(COLORS) % 3])
    return curve
