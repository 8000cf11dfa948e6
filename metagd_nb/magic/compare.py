"""`%metagd compare a b`: the losses of runs laid over each other."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.backends.backend_agg import FigureCanvasAgg

from .. import axes as look
from ..decimate import Buckets
from ..panels import Curve, StepPanel
from ..plot import DPI, HEIGHT, WIDTH, RunFigure
from ..run import Run

COLORS = (look.BLUE, look.VERMILLION, look.GREEN, look.PURPLE, look.INK, look.REFERENCE)


def overlay(runs: Mapping[str, Run]) -> RunFigure:
    """One figure with the loss of each run over its steps, named as the runs are."""
    figure = RunFigure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor(look.SURFACE)
    ax = figure.add_axes((62 / WIDTH, 50 / HEIGHT, (WIDTH - 90) / WIDTH, (HEIGHT - 100) / HEIGHT))
    curves = []
    for i, (name, run) in enumerate(runs.items()):
        rows = Buckets()
        rows.extend(run.record.since("loss", 0))
        curve = Curve(ax, rows, COLORS[i % len(COLORS)], run.sampled, name)
        curve.line.set_linestyle(("-", "--", ":")[i // len(COLORS) % 3])
        curves.append(curve)
    meta = {"meta_lr" in run.record for run in runs.values()}
    panel = StepPanel(ax, {frozenset({True}): "query loss"}.get(frozenset(meta), "loss"), curves)
    longest = max((len(run.record) - 1.0 for run in runs.values()), default=1.0)
    panel.update(0.0, max(longest, 1.0), final=True)
    for artist in panel.artists():
        artist.set_animated(False)
    return figure
