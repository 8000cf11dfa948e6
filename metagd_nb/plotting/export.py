"""Export of a run, by the ending of the file: a table, a figure, an animation or a script."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..algorithms import Meta
from ..core.errors import MetagdError, unknown_name
from ..core.files import atomic_open
from ..training.adaptation import curve, held_out, held_out_panel
from ..training.pacing import render_lock
from ..training.persistence.script import script
from ..training.record import WHOLE
from . import style
from .figures import RunFigure, crisp
from .run_figure import figure
from .task_panel import TaskPanel

if TYPE_CHECKING:
    from ..training.run import Run

ROWS = 10_000  # of a table, written at a time
SMALL = (420, 340)  # pixels of an animation
FRAME, LAST_FRAME = 400, 1200  # milliseconds


def export(run: Run, path: str | os.PathLike[str], **options: int | None) -> Path:
    """Write a run to a file atomically; see `Run.export`.

    Parameters
    ----------
    run : Run
    path : path
        Its ending, a key of ``FORMATS``, decides the format.
    **options
        ``steps`` of the animation.

    Returns
    -------
    Path

    Raises
    ------
    MetagdError
        For an unknown ending, and a file that cannot be written.
    """
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


def _csv(run: Run, file: IO[bytes]) -> None:
    """Write the record, one row a line; numbers are read back to the bit."""
    record = run.record
    file.write((",".join(record.columns) + "\n").encode())
    whole = [column in WHOLE for column in record.columns]
    for start in range(0, len(record), ROWS):
        rows = record.rows[start : start + ROWS].tolist()
        lines = [",".join(str(int(v)) if w else repr(v) for v, w in zip(row, whole, strict=True)) for row in rows]
        file.write(("\n".join(lines) + "\n").encode())


def _png(run: Run, file: IO[bytes]) -> None:
    file.write(crisp(figure(run)))


def _svg(run: Run, file: IO[bytes]) -> None:
    with render_lock():
        figure(run).savefig(file, format="svg", metadata={"Date": None})  # the same run is the same picture


def _py(run: Run, file: IO[bytes]) -> None:
    file.write(script(run.loop).encode())


def _gif(run: Run, file: IO[bytes], steps: int | None = None) -> None:
    """Animate the inner loop: a held-out task, and the curve after each adaptation step."""
    from PIL import Image

    frames = [Image.fromarray(pixels[..., :3]) for pixels in inner_loop(run, steps)]
    durations = [FRAME] * (len(frames) - 1) + [LAST_FRAME]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def inner_loop(run: Run, steps: int | None = None) -> list[np.ndarray]:
    """Draw one held-out task before adaptation and after each adaptation step.

    Parameters
    ----------
    run : Run
    steps : int, optional
        Number of adaptation steps; by default that of training.

    Returns
    -------
    list of arrays (h, w, 4)

    Raises
    ------
    MetagdError
        If the tasks have no single input.
    """
    run.plan.problem.check_available()
    task, algorithm, problem = held_out_panel(run.loop), run.loop.algorithm, run.plan.problem
    if task is None or run.plan.tasks is None or not isinstance(algorithm, Meta):
        raise MetagdError("an animation shows adaptation to tasks with one input; this run has none", "export")
    steps = max(algorithm.inner_steps, 1) if steps is None else steps
    path = held_out(problem, algorithm, run.plan.tasks, run.loop.snapshot.theta, run.plan.settings.seed, steps)
    assert path is not None  # as held_out_panel
    curves = [curve(problem, algorithm, phi, task.x) for phi in path[1]]
    drawn = RunFigure(*SMALL)
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
            drawn.agg.draw()
            frames.append(np.asarray(drawn.agg.buffer_rgba()).copy())
    return frames


FORMATS: dict[str, Callable[..., None]] = {".csv": _csv, ".png": _png, ".svg": _svg, ".gif": _gif, ".py": _py}
