"""Figures that display themselves: PNG encoding, and titled axes in the kit's style, and sketches of the chapters.

No function uses pyplot, so there is nothing to close and no backend to choose.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Container
from typing import Any

import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import AutoLocator, FuncFormatter, MaxNLocator, NullFormatter, ScalarFormatter

from . import style

WIDTH, HEIGHT, TALL = 720, 320, 420  # pixels as displayed
DPI = 100
TEXT = "metagd plot"  # the same for every frame, so that checks of stored outputs compare equal
Formats = Container[str] | None  # MIME types to include or exclude
MimeBundle = tuple[dict[str, Any], dict[str, Any]]  # data and metadata of a display
# Curves differ in color, in line style and in gray value: no reader depends on one of the three.
CYCLE = cycler(color=[style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.INK]) + cycler(
    linestyle=["-", "--", "-.", ":", (0, (6, 2))]
)
drawing = threading.RLock()  # matplotlib's text layout is shared by all figures, and runs draw in their own threads


def png(pixels: np.ndarray, level: int = 1) -> bytes:
    """Encode RGBA pixels (h, w, 4) as PNG; without row filters it takes a third of Pillow's time."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 4 * width), np.uint8)  # a leading 0 in each row: no filter
    rows[:, 1:] = pixels.reshape(height, 4 * width)
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0),
        b"IDAT": zlib.compress(rows.data, level),
        b"IEND": b"",
    }
    image = b"\x89PNG\r\n\x1a\n"
    for kind, data in parts.items():
        image += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
    return image


def bundle(image: bytes, height: int, alt: str, text: str = TEXT, width: int = WIDTH) -> MimeBundle:
    """Return data and metadata of a display: a PNG with its size in pixels and its description.

    Parameters
    ----------
    image : bytes
        A PNG.
    height, width : int
        Size in pixels as displayed.
    alt : str
        Description of the picture.
    text : str
        Text form of the display.

    Returns
    -------
    data, metadata : dict
    """
    return {"image/png": image, "text/plain": text}, {"image/png": {"width": width, "height": height, "alt": alt}}


class RunFigure(Figure):
    """Matplotlib figure that displays itself in high resolution under every backend.

    Parameters
    ----------
    width, height : int
        Size in pixels as displayed.
    alt : str
        Description of the figure, for screen readers.
    layout : bool
        True if matplotlib places the axes.
    """

    def __init__(self, width: int = WIDTH, height: int = HEIGHT, alt: str = TEXT, *, layout: bool = False) -> None:
        room = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12) if layout else None  # inches
        super().__init__((width / DPI, height / DPI), dpi=DPI, facecolor=style.SURFACE, layout=room)
        self.alt, self.agg = alt, FigureCanvasAgg(self)

    def _repr_mimebundle_(self, include: Formats = None, exclude: Formats = None) -> MimeBundle:
        width, height = (round(inches * DPI) for inches in self.get_size_inches())
        return bundle(crisp(self), height, self.alt, width=width)


def crisp(figure: RunFigure) -> bytes:
    """Encode a figure as PNG with twice the displayed resolution, in 256 colors: a third of the bytes."""
    from PIL import Image  # a dependency of matplotlib

    with drawing:
        before = figure.dpi
        figure.set_dpi(2 * DPI)
        figure.agg.draw()
        image = Image.fromarray(np.asarray(figure.agg.buffer_rgba()))
        few = image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        figure.set_dpi(before)
    file = io.BytesIO()
    few.save(file, "png", optimize=True)
    return file.getvalue()


def card(width: int, height: int) -> RunFigure:
    """Return an empty figure of that size in pixels, on a card with round corners, with a layout of its own."""
    figure = RunFigure(width, height, layout=True)
    style.add_card(figure)
    return figure


def titled(title: str, x: str, y: str, width: int = 680, height: int = 380) -> tuple[RunFigure, Axes]:
    """Return a figure on a card and its axes, with a title and labels.

    Parameters
    ----------
    title, x, y : str
        Title, and labels of the axes.
    width, height : int
        Size in pixels as displayed.

    Returns
    -------
    figure : RunFigure
    axes : Axes
    """
    figure = card(width, height)
    ax = figure.subplots()
    label(ax, title, x, y)
    return figure, ax


def label(ax: Axes, title: str, x: str, y: str) -> None:
    """Set title and labels of axes without a frame."""
    ax.set_facecolor("none")
    ax.set_title(title, loc="left", color=style.INK, fontsize=style.MEDIUM, fontfamily=style.FONT)
    for text in (ax.set_xlabel(x), ax.set_ylabel(y)):
        text.set(color=style.SOFT, fontsize=style.SMALL, fontfamily=style.FONT)
    ax.tick_params(colors=style.SOFT, labelsize=style.SMALL, length=0)
    ax.spines[:].set_visible(False)


def grid(ax: Axes, axis: str = "both") -> None:
    """Draw a faint grid below the data; ``axis`` is "both", "x" or "y"."""
    ax.grid(True, axis=axis, color=style.GRID, linewidth=0.8)  # type: ignore[arg-type,unused-ignore]
    ax.set_axisbelow(True)


def legend(ax: Axes, markerscale: float = 1.0) -> None:
    """Add a small legend without a frame, where it covers the least."""
    ax.legend(loc="best", frameon=False, fontsize=style.SMALL, labelcolor=style.SOFT, markerscale=markerscale)


# ---- figures of the chapters -------------------------------------------------------------------------------------


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
    for text in (ax.set_xlabel(xlabel), ax.set_ylabel(ylabel)):
        text.set(color=style.SOFT, fontsize=style.MEDIUM, fontfamily=style.FONT)


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
    if (box := ax.get_legend()) is not None:
        box.get_frame().set(facecolor=style.SURFACE, edgecolor="none", alpha=0.8)
        for text in [*box.get_texts(), box.get_title()]:
            text.set(color=style.SOFT, fontsize=style.MEDIUM, fontfamily=style.FONT)
