"""A run as a figure: still, or as live frames that cost the same after a thousand rows and ten million.

What stands still (axes, ticks, references) is drawn once and kept as pixels; a frame puts those
back and draws only the curves on them. The plot knows a run by what it reads of it — ``record``,
``references``, ``rates``, ``panel()``, ``stopped`` … — and never asks it to wait.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from ..training.adaptation import held_out_panel
from ..training.stopping import REASONS
from . import style
from .downsample import Array, MinMaxBuckets
from .figures import DPI, HEIGHT, TALL, WIDTH, MimeBundle, RunFigure, bundle, crisp, drawing, png
from .panels import Curve, StepPanel, TaskPanel
from .style import number, steps_shown

CHUNK = 1 << 20  # rows read at once, so that reading a long record needs little memory


def words(rate: str) -> str:
    """``inner_lr`` in plain words."""
    return re.sub(r"\blr$", "learning rate", rate.replace("_", " "))


def status(run: Any) -> str:
    """One line: where the run is; at its end why it stopped, its steps, and the first and last loss."""
    loss = run.record.since("loss", 0)
    last = int(run.record.last("step")) if len(loss) else 0
    if run.stopped is not None:
        ends = f"loss {number(loss[0])} → {number(run.loop.snapshot.loss)}" if len(loss) else "no loss yet"
        return f"{REASONS.get(run.stopped, run.stopped)}  ·  {last:,} step{'s' * (last != 1)}  ·  {ends}"
    where = f"step {last:,} of {run.plan.settings.steps:,}"
    return ("paused at " if run.loop.paused else "") + where + (f"  ·  loss {number(loss[-1])}" if len(loss) else "")


class LiveRunFigure:
    """The moving picture of one run.

    Parameters
    ----------
    run : Run
        Read, never changed.
    """

    def __init__(self, run: Any) -> None:
        self.run = run
        self.task = held_out_panel(run.loop)
        self.height = HEIGHT if self.task is None else TALL
        self.redraws = 0  # of what stands still; few, or a frame is not cheap
        self.columns = {name: MinMaxBuckets() for name in ("loss", "grad_norm", *self._rates()) if name in run.record}
        self.rows = 0  # read so far
        self.right = 0.0  # steps shown
        self.moved: list[str] = []  # rates that have moved: they get a panel
        self.note = ""
        self.figure = RunFigure((WIDTH / DPI, self.height / DPI), dpi=DPI)
        self.canvas = FigureCanvasAgg(self.figure)
        self._background: Any = None
        self._compose()

    # ---- what stands where -------------------------------------------------------------------------------------

    def _compose(self) -> None:
        """Lay the panels out: the loss wide on the left, what explains it small on the right."""
        fig = self.figure
        fig.clear()
        style.card(fig)
        lines = textwrap.wrap(self.note, 116)[:2]
        self.name = self._text(
            20, self.height - 30, self.run.plan.method, style.INK, style.MEDIUM + 1.5, fontweight="bold"
        )
        start = 20 + self.name.get_window_extent().width + 12
        self.status = self._text(start, self.height - 30, "", style.SOFT, style.MEDIUM, animated=True)
        self._text(20, self.height - 42, "\n".join(lines), style.WARN, style.SMALL, va="top", linespacing=1.4)
        top = self.height - 68 - (6 + 14 * len(lines) if lines else 0)
        self.panels = self._left(top) + self._right(128 if self.task is not None else top)
        self.held_out = TaskPanel(self._axes(490, 212, 204, top - 212), self.task) if self.task is not None else None
        self._background = None

    def _left(self, top: int) -> list[StepPanel]:
        """The loss, and under it the rates once one has moved."""
        run, sampled = self.run, bool(self.run.loop.sampled)
        base = 50 + (112 if self.moved else 0)
        title = "loss" if not sampled else "loss: mean and range"
        if "meta_lr" in run.record:
            title = title.replace("loss", "query loss")
        ax = self._axes(62, base, 358, top - base)
        loss = StepPanel(ax, title, [Curve(ax, self.columns["loss"], style.BLUE, sampled)])
        loss.refer(run.plan.references)
        if not self.moved:
            return [loss]
        ax.tick_params(labelbottom=False)
        ax.set_xlabel("")
        ax = self._axes(62, 50, 358, 66)
        curves = [
            Curve(ax, self.columns[name], color, False, name)
            for name, color in zip(self.moved, (style.VERMILLION, style.PURPLE, style.GREEN), strict=False)
        ]
        title = words(self.moved[0]) if len(curves) == 1 else "learning rates"
        return [loss, StepPanel(ax, title, curves, most=3)]

    def _right(self, top: int) -> list[StepPanel]:
        """The gradient norm."""
        ax = self._axes(490, 50, 204, top - 50)
        curve = Curve(ax, self.columns["grad_norm"], style.GREEN, bool(self.run.loop.sampled))
        return [StepPanel(ax, "gradient norm (log scale)", [curve], "log", most=4)]

    def _axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes at a place in pixels from the lower left."""
        return self.figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))

    def _text(self, x: float, y: float, text: str, color: str, size: float, **options: Any) -> Text:
        options |= {"color": color, "fontsize": size, "fontfamily": style.FONT, "parse_math": False}
        return self.figure.text(x / WIDTH, y / self.height, text, **options)

    # ---- what it shows now -------------------------------------------------------------------------------------

    def _rates(self) -> list[str]:
        return [name for name in self.run.rates if name in self.run.record]

    def refresh(self, final: bool = False) -> bool:
        """Read the new rows into the artists; whether what stands still must be drawn again."""
        record, n = self.run.record, len(self.run.record)
        for start in range(self.rows, n, CHUNK):
            for name, rows in self.columns.items():
                rows.extend(record.since(name, start)[: min(CHUNK, n - start)])
        self.rows = n
        moved = [name for name in self._rates() if self.columns[name].low < self.columns[name].high]
        note = self.run.note or ""
        if (moved, note) != (self.moved, self.note):
            self.moved, self.note = moved, note
            self._compose()
        first = float(record.since("step", 0)[0]) if n else 0.0
        if self.run.plan.settings.record_every > 1:
            for panel in self.panels:
                for curve in panel.curves:
                    curve.steps = record.since("step", 0)
        last = float(record.since("step", 0)[n - 1]) - first if n else -1.0
        self.right = steps_shown(last, self.run.plan.settings.steps, self.right, final)
        changed = [panel.update(first, self.right, final) for panel in self.panels]
        if self.held_out is not None and (task := held_out_panel(self.run.loop)) is not None:
            changed.append(self.held_out.update(task, final))
        self.status.set_text(status(self.run))
        self.figure.alt = (
            f"{self.run.plan.method}: {', '.join(panel.title for panel in self.panels)}; {status(self.run)}"
        )
        return any(changed)

    def artists(self) -> list[Artist]:
        """Everything that moves, lowest first."""
        panels: list[Any] = [*self.panels, *([self.held_out] if self.held_out is not None else [])]
        return [artist for panel in panels for artist in panel.artists()] + [self.status]

    # ---- pixels ------------------------------------------------------------------------------------------------

    def pixels(self) -> Array:
        """The present frame (h, w, 4), RGBA; the canvas's own memory, valid until the next frame."""
        with drawing:
            if self.refresh() or self._background is None:
                self.canvas.draw()
                self._background = self.canvas.copy_from_bbox(self.figure.bbox)
                self.redraws += 1
            else:
                self.canvas.restore_region(self._background)
            for artist in self.artists():
                self.figure.draw_artist(artist)
            return np.asarray(self.canvas.buffer_rgba())

    def still(self) -> RunFigure:
        """The figure as it is now, with every artist drawn as part of it and the axes fitted."""
        with drawing:
            self.refresh(final=True)
            for artist in self.artists():
                artist.set_animated(False)
        return self.figure

    def show(self, final: bool = False) -> MimeBundle:
        """A display's data and metadata; the final one is crisp, and the last that this plot draws."""
        with drawing:
            image = crisp(self.still()) if final else png(self.pixels())
            return bundle(image, self.height, self.figure.alt)


def figure(run: Any) -> RunFigure:
    """A run as it is now, as a matplotlib figure that belongs to nobody: no pyplot, nothing to close."""
    return LiveRunFigure(run).still()
