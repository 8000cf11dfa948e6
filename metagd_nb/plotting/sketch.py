"""Figures of the chapters: axes in the kit's style, for matplotlib's own methods."""

from __future__ import annotations

from typing import Any

import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.ticker import AutoLocator, FuncFormatter, MaxNLocator, NullFormatter, ScalarFormatter

from . import style
from .figures import DPI, HEIGHT, WIDTH, Formats, MimeBundle, RunFigure, bundle, crisp, png

# Curves differ in color, in line style and in gray value: no reader depends on one of the three.
CYCLE = cycler(color=[style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.INK]) + cycler(
    linestyle=["-", "--", "-.", ":", (0, (6, 2))]
)


class Sketch(RunFigure):
    """Figure with quiet legends and ticks; its description is its text form too."""

    def _repr_mimebundle_(self, include: Formats = None, exclude: Formats = None) -> MimeBundle:
        return self.displayed(final=True)

    def displayed(self, final: bool) -> MimeBundle:
        """Return data and metadata of a display: in high resolution if it is the final one, else drawn quickly."""
        for ax in self.axes:
            _format_axes(ax)
        if not final:
            self.agg.draw()
        image = crisp(self) if final else png(np.asarray(self.agg.buffer_rgba()))
        return bundle(image, round(self.get_figheight() * DPI), self.alt, self.alt)


def sketch(
    xlabel: str = "", ylabel: str = "", *, alt: str, panels: int = 1, height: int = HEIGHT
) -> tuple[Sketch, Any]:
    """Return a figure in the kit's style and its axes; as the last value of a cell, the figure displays itself.

    Parameters
    ----------
    xlabel, ylabel : str
        Labels of every panel.
    alt : str
        Description of the picture in words.
    panels : int
        Panels side by side.
    height : int
        Height in pixels as displayed.

    Returns
    -------
    figure : Sketch
    axes : Axes or array of Axes
        An array where there are several panels.
    """
    figure = Sketch(WIDTH, height, alt, layout=True)
    style.add_card(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for ax in axes:
        prepare_axes(ax, xlabel, ylabel)
    return figure, axes[0] if panels == 1 else axes


def prepare_axes(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Style empty axes as those of the live plot, but with automatic limits.

    Parameters
    ----------
    ax : Axes
    xlabel, ylabel : str
    """
    style.quiet_axes(ax)
    ax.set_prop_cycle(CYCLE)
    for label in (ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)):
        label.set(color=style.SOFT, fontsize=style.MEDIUM, fontfamily=style.FONT)


def _format_axes(ax: Axes) -> None:
    """Set few ticks with plain numbers, and the fonts of legend and title."""
    few = 6 if len(ax.figure.axes) > 1 else 9
    for axis in (ax.xaxis, ax.yaxis):
        if type(axis.get_major_locator()) is AutoLocator:
            axis.set_major_locator(MaxNLocator(few, steps=[1, 2, 5, 10]))
        if axis.get_scale() == "log" or isinstance(axis.get_major_formatter(), ScalarFormatter):
            axis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))
            axis.set_minor_formatter(NullFormatter())
    if ax.get_yscale() == "log":
        style.ticks(ax, True, 6)
    ax.title.set(fontsize=style.MEDIUM, fontfamily=style.FONT)
    if ax.title.get_color() != style.WARN:
        ax.title.set_color(style.INK)
    if (legend := ax.get_legend()) is not None:
        legend.get_frame().set(facecolor=style.SURFACE, edgecolor="none", alpha=0.8)
        for text in [*legend.get_texts(), legend.get_title()]:
            text.set(color=style.SOFT, fontsize=style.MEDIUM, fontfamily=style.FONT)
