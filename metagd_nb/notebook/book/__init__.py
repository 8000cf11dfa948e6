"""Displays of the chapters: figures with sliders, source code of the kit, predictions beside outcomes.

Figures without sliders are in `plotting.figures`, the exercises in `exercises`.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np
from IPython.display import DisplayHandle, display

from ...core.tables import text_table
from ...plotting import style
from ...plotting.figures import WIDTH, prepare_axes, sketch
from ..display import shows_pictures, unattended

RIGHT = 0.1  # relative error up to which a predicted number counts as right

Outcome: TypeAlias = float | str
Guess: TypeAlias = Outcome | EllipsisType | None  # None and ... stand for no guess


def linked(
    draw: Callable[..., object],
    xlabel: str = "",
    ylabel: str = "",
    *,
    alt: str,
    panels: int = 1,
    **sliders: tuple[float, float, float],
) -> None:
    """Display a sketch with sliders; ``draw(axes, name=value, …)`` draws it, again after each move of a slider.

    The picture is stored in the notebook; the sliders are shown only in a running notebook.

    Parameters
    ----------
    draw : function
    xlabel, ylabel, alt, panels
        As in `sketch`; ``alt`` describes the picture at the starting values.
    **sliders : (low, high, start)
        By the name of the argument; a slider of whole numbers where all three are whole.
    """
    figure, axes = sketch(xlabel, ylabel, alt=alt, panels=panels)
    values = {name: start for name, (_, _, start) in sliders.items()}

    def picture(final: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        for ax in np.ravel(axes):
            ax.clear()
            prepare_axes(ax, xlabel, ylabel)
        try:
            draw(axes, **values)
        except Exception as error:  # ipywidgets shows no exception of a callback
            np.ravel(axes)[0].set_title(f"{type(error).__name__}: {error}", color=style.WARN, fontsize=style.MEDIUM)
        return figure.displayed(final)

    data, metadata = picture(final=True)
    handle: DisplayHandle = display(data, metadata=metadata, raw=True, display_id=True)
    if not shows_pictures() or unattended():
        return

    def move(name: str, value: float) -> None:
        values[name] = value
        data, metadata = picture(final=False)
        handle.update(data, metadata=metadata, raw=True)

    _show_sliders(sliders, move)


def _show_sliders(sliders: Mapping[str, tuple[float, float, float]], move: Callable[[str, float], None]) -> None:
    """Display one slider for each argument; ``move`` is called with the name and the new value."""
    import ipywidgets

    made = []
    for name, (low, high, start) in sliders.items():
        whole = all(isinstance(value, int) for value in (low, high, start))
        kind, step = (ipywidgets.IntSlider, 1) if whole else (ipywidgets.FloatSlider, _round_step(high - low))
        slider = kind(value=start, min=low, max=high, step=step, description=name.replace("_", " "))
        slider.layout.width = "340px"
        slider.observe(lambda event, name=name: move(name, event["new"]), names="value")
        made.append(slider)
    box = ipywidgets.HBox(made, layout={"flex_flow": "row wrap", "max_width": f"{WIDTH}px"})
    display(box)


def _round_step(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at most a hundredth of the span, so that readings are round."""
    power = 10.0 ** math.floor(math.log10(span / 100) + 1e-9)
    return power * max(part for part in (1, 2, 5) if part * power <= span / 100 * (1 + 1e-9))


class Source:
    """Python source that a notebook shows as code."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.text}\n```"


def source(*objects: type | Callable[..., object]) -> Source:
    """Return the source of functions and classes of the kit, without their docstrings.

    Parameters
    ----------
    *objects : function or class

    Returns
    -------
    Source
        Displayed as highlighted code.
    """
    return Source("\n\n\n".join(_without_docstrings(textwrap.dedent(inspect.getsource(it))) for it in objects))


def _without_docstrings(text: str) -> str:
    lines: list[str | None] = list(text.rstrip().splitlines())
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            first, last = docstring.lineno, docstring.end_lineno or docstring.lineno
            lines[first - 1 : last] = [None] * (last - first + 1)
    code = [line for line in lines if line is not None]
    return "\n".join(line for i, line in enumerate(code) if line or code[i - 1])  # one empty line where two met


class Predicted:
    """A table of predictions beside outcomes."""

    def __init__(self, rows: list[tuple[str, str, str, str]]) -> None:
        self.rows = rows

    def __repr__(self) -> str:
        return "\n".join(text_table([("", "you", "it", ""), *self.rows]))


def predicted(guess: Guess | Mapping[str, Guess], outcome: Outcome | Mapping[str, Outcome]) -> Predicted:
    """Compare a prediction with the outcome.

    Parameters
    ----------
    guess, outcome : number, word, or dict name → number or word
        A number within 10 % of the outcome counts as right; ``...`` is no guess.

    Returns
    -------
    Predicted
        Displays itself as a table.
    """
    outcomes = outcome if isinstance(outcome, Mapping) else {"": outcome}
    guesses = guess if isinstance(guess, Mapping) else {"": guess}
    return Predicted([(str(name), *_compared(guesses.get(name), it)) for name, it in outcomes.items()])


def _compared(guess: Guess, outcome: Outcome) -> tuple[str, str, str]:
    if guess is None or isinstance(guess, EllipsisType):
        return "–", _text(outcome), ""
    if isinstance(outcome, str) or isinstance(guess, str):
        return str(guess), _text(outcome), "✓" if guess == outcome else "✗"
    if abs(guess - outcome) <= RIGHT * abs(outcome):
        mark = "✓"
    elif guess * outcome > 0:
        ratio = abs(guess / outcome)
        mark = f"✗ {max(ratio, 1 / ratio):.2g} times too {'large' if ratio > 1 else 'small'}"
    else:
        mark = "✗"
    return _text(guess), _text(outcome), mark


def _text(value: Outcome) -> str:
    return str(value) if isinstance(value, (str, bool)) else style.number(float(value))
