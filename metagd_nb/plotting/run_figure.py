"""Figure of a run: still, or as live frames whose cost does not depend on the length of the record.

The static artists (axes, ticks, references) are drawn once and cached as pixels; a frame restores the pixels and draws
only the curves. Reading a run for a frame never waits for it.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.text import Text

from ..training.adaptation import held_out_panel
from ..training.headline import headline
from ..training.stopping import REASONS
from . import style
from .downsample import MinMaxBuckets
from .figures import HEIGHT, TALL, WIDTH, MimeBundle, RunFigure, bundle, crisp, drawing, png
from .panels import Curve, StepPanel
from .style import number
from .task_panel import TaskPanel

if TYPE_CHECKING:
    from ..training.run import Run

LOW = 112  # pixels that a panel below that of the loss takes up
CHUNK = 1 << 18  # rows read at once, so that reading a long record needs little memory


def words(rate: str) -> str:
    """Write out the name of a rate: ``inner learning rate`` for ``inner_lr``."""
    return re.sub(r"\blr$", "learning rate", rate.replace("_", " "))


def status(run: Run) -> str:
    """Describe the state of a run in one line; at its end why it stopped, its steps, the first and the last loss."""
    loss, losses, epochs = run.record.since("loss", 0), headline(run.loop), run.plan.epochs
    last = int(run.record.last("step")) if len(loss) else 0
    if run.stopped is not None:
        ends = f"loss {number(losses.first)} → {number(losses.last)}{losses.means}" if len(loss) else "no loss yet"
        passed = "" if epochs is None else f", {round(last / epochs.length, 1):g} epochs"
        return f"{REASONS.get(run.stopped, run.stopped)}  ·  {last:,} step{'s' * (last != 1)}{passed}  ·  {ends}"
    parts = [f"step {last:,} of {run.plan.settings.steps:,}"]
    if epochs is not None:
        parts.append(f"epoch {last // epochs.length:,} of {-(-run.plan.settings.steps // epochs.length):,}")
    if len(loss):
        parts.append(f"loss {number(losses.last if losses.rows else loss[-1])}{losses.mean}")
    progress = "  ·  ".join(parts)
    return f"paused at {progress}" if run.loop.paused else progress


class LiveRunFigure:
    """Live figure of one run.

    Parameters
    ----------
    run : Run
        Read, never changed.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.task = held_out_panel(run.loop)
        self.metrics = [] if run.plan.metrics is None else list(run.plan.metrics.functions)
        self.height = (HEIGHT if self.task is None else TALL) + (LOW if self.metrics else 0)
        self.redraws = 0  # of the static artists; few, or frames are not cheap
        self.rates = [name for name in run.rates if name in run.record]
        names = ("loss", "grad_norm", *run.plan.measured(), *self.rates)
        self.columns = {name: MinMaxBuckets() for name in names}
        self.rows = 0  # read so far
        self.right = 0.0  # steps shown
        self.moved: list[str] = []  # rates that have changed; they have a panel
        self.note = ""
        self.figure = RunFigure(WIDTH, self.height)
        self._background: Any = None
        self._compose()

    def _compose(self) -> None:
        """Lay out the panels: the loss wide on the left, the others narrow on the right."""
        self.figure.clear()
        style.add_card(self.figure)
        lines = textwrap.wrap(self.note, 116)[:2]
        method = self._text(
            20, self.height - 30, self.run.plan.method, style.INK, style.MEDIUM + 1.5, fontweight="bold"
        )
        start = 20 + method.get_window_extent().width + 12
        self.status = self._text(start, self.height - 30, "", style.SOFT, style.MEDIUM, animated=True)
        self._text(20, self.height - 42, "\n".join(lines), style.WARN, style.SMALL, va="top", linespacing=1.4)
        top = self.height - 68 - (6 + 14 * len(lines) if lines else 0)
        self.panels = self._left(top)
        more = LOW if self.metrics else 0  # height that the panel of the gradient takes
        ax = self._axes(490, 50, 204, (128 + more if self.task is not None else top) - 50)
        norm = Curve(ax, self.columns["grad_norm"], style.GREEN, self.run.loop.sampled)
        self.panels.append(StepPanel(ax, "gradient norm (log scale)", [norm], "log", most=4))
        self.held_out = None
        if self.task is not None:
            self.held_out = TaskPanel(self._axes(490, 212 + more, 204, top - 212 - more), self.task)
        self._background = None

    def _left(self, top: int) -> list[StepPanel]:
        """Make the panel of the loss, and under it those of the rates that have changed and of the user's metrics."""
        run, sampled = self.run, self.run.loop.sampled
        lower = [names for names in (self.metrics, self.moved) if names]
        base = 50 + LOW * len(lower)
        title = "query loss" if "meta_lr" in run.record else "loss"
        if sampled and "validation" not in self.columns:  # whose legend takes the room
            title += ": mean and range"
        ax = self._axes(62, base, 358, top - base)
        curves = [Curve(ax, self.columns["loss"], style.BLUE, sampled, "training")]
        if "validation" in self.columns:
            curves.append(Curve(ax, self.columns["validation"], style.VERMILLION, False, "validation"))
        panels = [StepPanel(ax, title, curves)]
        panels[0].add_references(run.plan.references)
        for place, names in reversed(list(enumerate(lower))):
            self._without_step_labels(panels[-1].ax)
            ax = self._axes(62, 50 + LOW * place, 358, 66)
            curves = [
                Curve(ax, self.columns[name], color, False, name)
                for name, color in zip(names, (style.VERMILLION, style.PURPLE, style.GREEN), strict=False)
            ]
            several = "metrics" if names is self.metrics else "learning rates"
            title = words(names[0]) if len(curves) == 1 else several
            panels.append(StepPanel(ax, title, curves, self._scale(names), most=3))
        if run.plan.epochs is not None:
            panels[-1].ax.set_xlabel(f"step ({run.plan.epochs.length:,} an epoch)")
        return panels

    def _scale(self, names: list[str]) -> str:
        """Return ``linear`` for a rate that a warm-up or a cosine takes from or to 0: in logarithms neither is seen."""
        options = self.run.plan.update_options
        schedule = None if options is None or names != [options.rate] else options.schedule
        return "linear" if schedule is not None and schedule.reaches_zero else "auto"

    @staticmethod
    def _without_step_labels(ax: Axes) -> None:
        """Leave the labels of the steps to the panel below."""
        ax.tick_params(labelbottom=False)
        ax.set_xlabel("")

    def _axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Add axes; positions and sizes are in pixels from the lower left."""
        return self.figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))

    def _text(self, x: float, y: float, text: str, color: str, size: float, **options: Any) -> Text:
        options |= {"color": color, "fontsize": size, "fontfamily": style.FONT, "parse_math": False}
        return self.figure.text(x / WIDTH, y / self.height, text, **options)

    def refresh(self, final: bool = False) -> bool:
        """Read the new rows into the artists; return True if the static ones must be drawn again."""
        record = self.run.record
        self._read_rows()
        moved = [name for name in self.rates if self.columns[name].low < self.columns[name].high]
        note = self.run.note or ""
        if (moved, note) != (self.moved, self.note):
            self.moved, self.note = moved, note
            self._compose()
        changed = self._update_steps(record.since("step", 0)[: self.rows], final)
        if self.held_out is not None and (task := held_out_panel(self.run.loop)) is not None:
            changed.append(self.held_out.update(task, final))
        self.status.set_text(status(self.run))
        titles = ", ".join(panel.title for panel in self.panels)
        self.figure.alt = f"{self.run.plan.method}: {titles}; {self.status.get_text()}"
        return any(changed)

    def _read_rows(self) -> None:
        """Add the new rows of the record to the columns."""
        record, n = self.run.record, len(self.run.record)
        for start in range(self.rows, n, CHUNK):
            for name, rows in self.columns.items():
                rows.extend(record.since(name, start)[: min(CHUNK, n - start)])
        self.rows = n

    def _update_steps(self, steps: np.ndarray, final: bool) -> list[bool]:
        """Draw the rows of these steps (n,); return for each panel True if it must be drawn again."""
        settings = self.run.plan.settings
        for curve in (curve for panel in self.panels for curve in panel.curves):
            curve.steps = steps if settings.record_every > 1 else None
        first, last = (float(steps[0]), float(steps[-1] - steps[0])) if len(steps) else (0.0, -1.0)
        self.right = style.steps_shown(last, settings.steps, self.right, final)
        return [panel.update(first, self.right, final) for panel in self.panels]

    def artists(self) -> list[Artist]:
        """Return the moving artists, lowest first."""
        held_out = [] if self.held_out is None else self.held_out.artists()
        return [*(artist for panel in self.panels for artist in panel.artists()), *held_out, self.status]

    def pixels(self) -> np.ndarray:
        """Draw the present frame (h, w, 4), RGBA; memory of the canvas, valid until the next frame."""
        with drawing:
            if self.refresh() or self._background is None:
                self.figure.agg.draw()
                self._background = self.figure.agg.copy_from_bbox(self.figure.bbox)
                self.redraws += 1
            else:
                self.figure.agg.restore_region(self._background)
            for artist in self.artists():
                self.figure.draw_artist(artist)
            return np.asarray(self.figure.agg.buffer_rgba())

    def still(self) -> RunFigure:
        """Return the figure in its present state, with static artists only and the axes fitted to the data."""
        with drawing:
            self.refresh(final=True)
            for artist in self.artists():
                artist.set_animated(False)
        return self.figure

    def show(self, final: bool = False) -> MimeBundle:
        """Return data and metadata of a display; the final one has a high resolution, and no frame follows it."""
        with drawing:
            image = crisp(self.still()) if final else png(self.pixels())
            return bundle(image, self.height, self.figure.alt)


def figure(run: Run) -> RunFigure:
    """Return the present figure of a run; it is not registered with pyplot, so there is nothing to close.

    Parameters
    ----------
    run : Run

    Returns
    -------
    RunFigure
    """
    return LiveRunFigure(run).still()
