"""The choices of the studio as the text of the equivalent cell, without widgets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, TypeAlias

from ...algorithms import ALGORITHMS
from ...core.hyperparameters import Hyperparameter
from ...training.requests import Event
from ...training.settings import options_of

# Name → body. The studio begins with the first of each setting; every body may be edited.
EXAMPLES: dict[str, dict[str, str]] = {
    "single": {
        "a long valley": "def loss(w):\n    return w[0] ** 2 / 2 + 4 * w[1] ** 2\nw = np.array([3.0, 1.0])",
        "a bent valley": (
            "def loss(w):\n    return (1 - w[0]) ** 2 / 10 + (w[1] - w[0] ** 2) ** 2\nw = np.array([-1.0, 1.5])"
        ),
        "a line through forty points": (
            "rng = np.random.default_rng(0)\nx = rng.uniform(-2, 2, 40)\n"
            "y = 1.5 * x - 0.5 + 0.3 * rng.normal(size=40)\n"
            "def loss(slope, start):\n    return np.mean((y - slope * x - start) ** 2)\nslope, start = 0.0, 0.0"
        ),
        "a small network": (
            "rng = np.random.default_rng(0)\nx = rng.uniform(-3, 3, (60, 1))\ny = np.sin(2 * x)\n"
            'model = mlp(1, 20, 1, activation="tanh")\nloss = "mse"'
        ),
    },
    "meta": {
        "sine waves": "tasks = sinusoid()\nmodel = mlp(1, 40, 40, 1)",
        "two parabolas": "tasks = quadratics((1.0, 3.0), (0.0, 1.0))",
        "five kinds of curve": "tasks = mixed()\nmodel = mlp(1, 40, 40, 1)",
        "lines through a cloud": "tasks = regression(1, noise=0.3)\nmodel = linear(1)",
        "characters, five ways": "tasks = glyphs()\nmodel = mlp(256, 64, 5)",
        "which language is this word": "tasks = words()\nmodel = mlp(256, 64, 5)",
        "patients of six hospitals": "tasks = lung()\nmodel = mlp(7, 16, 2)",
    },
}
FIRST = ("steps", "seed")  # settings of every method that are shown first

Value: TypeAlias = float | str | bool | tuple["Value", ...]


@dataclass(frozen=True)
class Choice:
    """A method, the code of its problem, and its options.

    Attributes
    ----------
    options : mapping
        Values by Python name.
    """

    method: str
    body: str
    options: Mapping[str, Any]

    @property
    def line(self) -> str:
        """Text after ``%%metagd``: the method and the options that differ from their defaults."""
        declared = declarations(self.method)
        options = [
            f"{declared[name].option} {_typed(value)}"
            for name, value in self.options.items()
            if name in declared and value is not None and value != declared[name].default
        ]
        return " ".join([self.method, *options])

    @property
    def cell(self) -> str:
        """Text of the whole cell."""
        return f"%%metagd {self.line}\n{self.body}"


def _typed(value: Value) -> str:
    """Return a value as it is typed, with every digit that it needs, and no more."""
    if isinstance(value, tuple):
        return ",".join(map(_typed, value))
    return repr(value) if isinstance(value, float) else str(value)


def declarations(method: str) -> dict[str, Hyperparameter]:
    """Return name → declaration: the method's own options first, then those of every method."""
    own, shared = options_of(ALGORITHMS[method])
    order = [*FIRST, *(name for name in shared if name not in FIRST)]
    return own | {name: shared[name] for name in order}


def examples(method: str) -> dict[str, str]:
    """Return name → body of the examples that a method can learn."""
    return EXAMPLES[ALGORITHMS[method].setting]


def insertion(text: str) -> str:
    """Return the HTML of a button that inserts a cell below by JupyterLab's own commands.

    ``data-commandlinker-*`` is JupyterLab's documented way for a page to name a command; no code of the kit runs in
    the page. In other front ends the text can be copied.
    """
    commands = ["notebook:insert-cell-below", "notebook:replace-selection"]
    arguments = {"commands": commands, "args": {"text": text}}  # one for both: JupyterLab 4 passes no list of them on
    return (
        '<button class="lm-Widget jupyter-widgets jupyter-button widget-button" style="width:auto" '
        'data-commandlinker-command="apputils:run-all-enabled" '
        f"data-commandlinker-args='{escape(json.dumps(arguments), quote=True)}' "
        'title="Put this cell below">Insert cell</button>'
    )


def equivalent(cell: str, events: Iterable[Event]) -> str:
    """Return the HTML of the equivalent cell, followed by the changes to its run as comments.

    Parameters
    ----------
    cell : str
    events : iterable of Event

    Returns
    -------
    str
    """
    text = escape("\n".join([cell, *(f"# at step {event.step}: {_as_code(event)}" for event in events)]))
    code = f"<pre tabindex='0' style='white-space:pre-wrap;user-select:all;margin:4px 0'>{text}</pre>"
    return f"<div><b>equivalent cell</b> {insertion(cell)}{code}</div>"


def _as_code(event: Event) -> str:
    """Return the call that makes the same change to a run."""
    if event.kind == "set":
        return f"run.set({', '.join(f'{name}={value!r}' for name, value in event.value.items())})"
    return f"run.{event.kind}({event.value if event.kind == 'step' else ''})"
