"""A run in other people's formats: a table, a picture, a moving one, a script; the file's ending says which."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ..algorithms import Meta
from ..core.errors import MetagdError, unknown_name
from ..core.files import atomic_open
from ..training.adaptation import curve, held_out, held_out_panel
from ..training.pacing import render_lock
from ..training.persistence.script import script
from ..training.record import WHOLE
from . import style
from .figures import DPI, RunFigure, crisp
from .panels import TaskPanel
from .run_figure import figure

ROWS = 10_000  # of a table, written at a time
SMALL = (420, 340)  # pixels of an animation
LINGER = 1200  # milliseconds that its last frame stays
PACE = 400  # milliseconds of each other frame


def export(run: Any, path: str | os.PathLike[str], **options: Any) -> Path:
    """Write a run to ``path``, whole or not at all; see `Run.export`."""
    place = Path(path)
    ending = place.suffix.lower()
    if ending not in FORMATS:
        raise unknown_name("ending", ending, FORMATS)
    try:
        with atomic_open(place) as file:
            FORMATS[ending](run, file, **options)
    except OSError as error:
        raise MetagdError(f"{place} cannot be written ({error.strerror or error})") from None
    return place


def _csv(run: Any, file: Any) -> None:
    """The record, one row a line; numbers read back to the bit."""
    record = run.record
    file.write((",".join(record.columns) + "\n").encode())
    whole = [column in WHOLE for column in record.columns]
    for start in range(0, len(record), ROWS):
        rows = record.rows[start : start + ROWS].tolist()
        lines = [",".join(str(int(v)) if w else repr(v) for v, w in zip(row, whole, strict=True)) for row in rows]
        file.write(("\n".join(lines) + "\n").encode())


def _png(run: Any, file: Any) -> None:
    file.write(crisp(figure(run)))


def _svg(run: Any, file: Any) -> None:
    with render_lock():
        figure(run).savefig(file, format="svg", metadata={"Date": None})  # the same run is the same picture


def _py(run: Any, file: Any) -> None:
    file.write(script(run.loop).encode())


def _gif(run: Any, file: Any, steps: int | None = None) -> None:
    """The inner loop: a held-out task, and the curve after each adaptation step."""
    from PIL import Image

    frames = [Image.fromarray(pixels[..., :3]) for pixels in inner_loop(run, steps)]
    buffer = io.BytesIO()
    durations = [PACE] * (len(frames) - 1) + [LINGER]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    file.write(buffer.getvalue())


def inner_loop(run: Any, steps: int | None = None) -> list[np.ndarray]:
    """Pictures (h, w, 4) of one held-out task: before adaptation, and after each of its steps."""
    run.plan.problem.check_available()
    task, algorithm, problem = held_out_panel(run.loop), run.loop.algorithm, run.plan.problem
    if task is None or not isinstance(algorithm, Meta):
        raise MetagdError("an animation shows adaptation to tasks with one input; this run has none", "export")
    steps = max(algorithm.inner_steps, 1) if steps is None else steps
    found = held_out(problem, algorithm, run.plan.tasks, run.loop.snapshot.theta, run.plan.settings.seed, steps)
    assert found is not None  # or there were no panel
    curves = [curve(problem, algorithm, phi, task.x) for phi in found[1]]
    drawn = RunFigure((SMALL[0] / DPI, SMALL[1] / DPI), dpi=DPI, facecolor=style.SURFACE)
    canvas = FigureCanvasAgg(drawn)
    panel = TaskPanel(drawn.add_axes((0.1, 0.28, 0.86, 0.58)), task)
    label = drawn.text(0.96, 0.93, "", ha="right", color=style.SOFT, fontsize=style.MEDIUM, fontfamily=style.FONT)
    for after in (curves[0], curves[-1]):
        panel.update(task._replace(before=curves[0], after=after), False)
    for artist in panel.artists():
        artist.set_animated(False)
    frames = []
    for step, after in enumerate(curves):
        with render_lock():
            panel.update(task._replace(before=curves[0], after=after), False)
            label.set_text(f"after {step} of {steps} step{'s' * (steps != 1)}")
            canvas.draw()
            frames.append(np.asarray(canvas.buffer_rgba()).copy())
    return frames


FORMATS: dict[str, Callable[..., None]] = {".csv": _csv, ".png": _png, ".svg": _svg, ".gif": _gif, ".py": _py}
