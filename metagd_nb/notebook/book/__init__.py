"""What chapters show with: a drawing, a drawing with sliders, the kit's own source, a guess beside what came out."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from cycler import cycler
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import AutoLocator, FuncFormatter, MaxNLocator, NullFormatter, ScalarFormatter

from ...plotting import style
from ...plotting.run_figure import DPI, HEIGHT, WIDTH, RunFigure, bundle, crisp, png
from ..display import shows_pictures, unattended

# Told apart by colour, by line and in grey: no reader depends on one of them.
CYCLE = cycler(color=[style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.INK]) + cycler(
    linestyle=["-", "--", "-.", ":", (0, (6, 2))]
)
RIGHT = 0.1  # a guessed number this near counts as right


class Sketch(RunFigure):
    """A figure whose words are also its text, where no picture can be shown, and whose legends and ticks are quiet."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.displayed(final=True)

    def displayed(self, final: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Data and metadata of a display; crisp where it is the final one, and otherwise fast."""
        for ax in self.axes:
            _quieten(ax)
        if final:
            image = crisp(self)
        else:
            self.canvas.draw()
            image = png(np.asarray(self.canvas.buffer_rgba()))  # type: ignore[attr-defined]
        return bundle(image, round(self.get_figheight() * DPI), self.alt, self.alt)


def sketch(
    xlabel: str = "", ylabel: str = "", *, alt: str, panels: int = 1, height: int = HEIGHT
) -> tuple[Sketch, Any]:
    """A figure in the kit's look, to draw in with matplotlib's own words; the figure as a cell's value shows it.

    Parameters
    ----------
    xlabel, ylabel : str
        Of every panel.
    alt : str
        What the picture shows, in words.
    panels : int
        Side by side.
    height : int
        In pixels as displayed.

    Returns
    -------
    figure, axes
        ``axes`` is one, or an array of ``panels``.
    """
    room = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)  # inches
    figure = Sketch((WIDTH / DPI, height / DPI), dpi=DPI, layout=room)
    FigureCanvasAgg(figure)
    style.card(figure)
    figure.alt = alt
    drawn = figure.subplots(1, panels, squeeze=False)[0]
    for ax in drawn:
        _dress(ax, xlabel, ylabel)
    return figure, drawn[0] if panels == 1 else drawn


def _dress(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Quiet axes as those of the live plot, but with limits that matplotlib finds."""
    ax.set_facecolor("none")
    ax.set_axisbelow(True)
    ax.set_prop_cycle(CYCLE)
    for side, spine in ax.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color="#c3c9d0", linewidth=0.8)
    ax.grid(True, color=style.GRID, linewidth=0.8)
    ax.tick_params(length=0, labelsize=style.SMALL, labelcolor=style.SOFT, labelfontfamily=style.FONT, which="both")
    for name, text in (("x", xlabel), ("y", ylabel)):
        ax.set(**{f"{name}label": text})
        label = getattr(ax, f"{name}axis").label
        label.set(color=style.SOFT, fontsize=style.MEDIUM, fontfamily=style.FONT)


def _quieten(ax: Axes) -> None:
    """Numbers as people write them, few enough to stand apart; legend and title in the kit's letters."""
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


def linked(
    draw: Callable[..., Any],
    xlabel: str = "",
    ylabel: str = "",
    *,
    alt: str,
    panels: int = 1,
    **sliders: tuple[float, float, float],
) -> None:
    """A sketch with sliders: ``draw(axes, name=value, …)`` draws it, and draws it again whenever one is moved.

    The picture is display data, so it stays in the file; the sliders are there where somebody can use them.

    Parameters
    ----------
    draw : function
    xlabel, ylabel, alt, panels
        As `sketch`'s; ``alt`` tells of the picture at the starting values.
    **sliders : (low, high, start)
        By the name of the argument; whole numbers where all three are.
    """
    figure, axes = sketch(xlabel, ylabel, alt=alt, panels=panels)
    values = {name: start for name, (_, _, start) in sliders.items()}

    def picture(final: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        for ax in np.ravel(axes):
            ax.clear()
            _dress(ax, xlabel, ylabel)
        try:
            draw(axes, **values)
        except Exception as error:  # in a slider's callback it would be shown nowhere
            np.ravel(axes)[0].set_title(f"{type(error).__name__}: {error}", color=style.WARN, fontsize=style.MEDIUM)
        return figure.displayed(final)

    data, metadata = picture(final=True)
    handle: Any = display(data, metadata=metadata, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    if not shows_pictures() or unattended():
        return

    def moved(name: str) -> Callable[[Any], None]:
        def change(event: Any) -> None:
            values[name] = event["new"]
            data, metadata = picture(final=False)
            handle.update(data, metadata=metadata, raw=True)

        return change

    display(_sliders(sliders, moved))  # type: ignore[no-untyped-call]


def _sliders(sliders: Mapping[str, tuple[float, float, float]], moved: Callable[[str], Any]) -> Any:
    import ipywidgets

    made = []
    for name, (low, high, start) in sliders.items():
        whole = all(isinstance(value, int) for value in (low, high, start))
        kind, step = (ipywidgets.IntSlider, 1) if whole else (ipywidgets.FloatSlider, _round_step(high - low))
        slider = kind(value=start, min=low, max=high, step=step, description=name.replace("_", " "))
        slider.layout.width = "340px"
        slider.observe(moved(name), names="value")
        made.append(slider)
    return ipywidgets.HBox(made, layout={"flex_flow": "row wrap", "max_width": f"{WIDTH}px"})


def _round_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, a hundredth of the span or less: a slider then stands where it is put."""
    power = 10.0 ** math.floor(math.log10(span / 100) + 1e-9)
    return power * max(part for part in (1, 2, 5) if part * power <= span / 100 * (1 + 1e-9))


class Source:
    """The kit's own lines, as a notebook shows code."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.text}\n```"


def source(*objects: Any) -> Source:
    """The source of functions and classes as it stands in the kit, without their docstrings."""
    return Source("\n\n\n".join(_without_docstrings(textwrap.dedent(inspect.getsource(it))) for it in objects))


def _without_docstrings(text: str) -> str:
    lines: list[str | None] = list(text.rstrip().splitlines())
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            said = node.body[0]
            lines[said.lineno - 1 : said.end_lineno] = [None] * ((said.end_lineno or 0) - said.lineno + 1)
    kept = [line for line in lines if line is not None]
    return "\n".join(line for i, line in enumerate(kept) if line or kept[i - 1])  # one empty line where two met


class Predicted:
    """A guess beside what came out."""

    def __init__(self, rows: list[tuple[str, str, str, str]]) -> None:
        self.rows = rows

    def __repr__(self) -> str:
        table = [("", "you", "it", ""), *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(3)]
        lines = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in table
        ]
        return "\n".join(line.rstrip() for line in lines)


def predicted(guess: Any, outcome: Any) -> Predicted:
    """What you expected, beside what happened.

    Parameters
    ----------
    guess, outcome : number, word, or dict name → number or word
        A number within 10 % counts as right.
    """
    if not isinstance(outcome, Mapping):
        guess, outcome = {"": guess}, {"": outcome}
    return Predicted([(str(name), *_beside(guess.get(name), it)) for name, it in outcome.items()])


def _beside(guess: Any, outcome: Any) -> tuple[str, str, str]:
    if isinstance(outcome, str) or isinstance(guess, (str, type(None), type(...))):
        no_guess = guess is None or guess is ...
        return "–" if no_guess else str(guess), _told(outcome), "" if no_guess else "✓" if guess == outcome else "✗"
    if abs(guess - outcome) <= RIGHT * abs(outcome):
        mark = "✓"
    elif guess * outcome > 0:
        ratio = abs(guess / outcome)
        mark = f"✗ {max(ratio, 1 / ratio):.2g} times too {'large' if ratio > 1 else 'small'}"
    else:
        mark = "✗"
    return _told(guess), _told(outcome), mark


def _told(value: Any) -> str:
    return str(value) if isinstance(value, (str, bool)) else style.number(float(value))
