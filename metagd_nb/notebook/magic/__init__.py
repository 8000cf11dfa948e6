"""The ``%%metagd`` cell: a line, a body, and a run under the cell; see `cell` for what happens when.

A folder: `line` reads the options, `body` runs the code, `bind` finds the parts of a run in the namespace, `cell`
starts it, `pages` are the help, `complete` is Tab.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...models.linear_regression import linear_regression_model, meta_gradient_descent, mse_loss
from ...models.net import MODELS
from ...tasks import FAMILIES
from .cell import Cell
from .complete import completer
from .help import listing

NAME = "metagd"

# Not gradient, train and start: what a person calls so is theirs, and a cell reads `gradient`.
FIRST_NAMES: dict[str, Any] = {
    "linear_regression_model": linear_regression_model,
    "mse_loss": mse_loss,
    "meta_gradient_descent": meta_gradient_descent,
    **FAMILIES,
    **MODELS,
    "np": np,
}

HELP = """Learn, live: a loss and gradient descent, or tasks and learning to learn.

    %%metagd ALGORITHM [OPTIONS]
    ordinary Python: it runs as any cell does, and what it defines stays

{listing}

Without anything to define, a line does: %metagd gd --lr 0.1. The result is in `run`, or in the NAME of -o NAME.
"""


def register(ip: Any) -> None:
    """Give a shell the magic, its completion, and the first names."""
    if getattr(ip, "_metagd", None) is not None:
        return
    cell = Cell(ip)
    cell.first_names = FIRST_NAMES

    def metagd(line: str, cell_text: str | None = None) -> Any:
        return cell.metagd(line, cell_text)

    metagd.__doc__ = HELP.format(listing=listing())
    ip.register_magic_function(metagd, "line_cell", NAME)
    matcher = completer(ip)
    ip.Completer.custom_matchers.append(matcher)
    ip.input_transformers_cleanup.append(without_body)
    cell.supply()
    ip._metagd = (cell, matcher)


def unregister(ip: Any) -> None:
    """Take all of it away again; runs go on, and results stay."""
    if getattr(ip, "_metagd", None) is None:
        return
    cell, matcher = ip._metagd
    ip._metagd = None
    for kind in ("line", "cell"):
        ip.magics_manager.magics[kind].pop(NAME, None)
    ip.Completer.custom_matchers.remove(matcher)
    ip.input_transformers_cleanup.remove(without_body)
    for name, value in cell.first_names.items():
        if ip.user_ns.get(name) is value and ip.user_ns_hidden.get(name) is value:
            del ip.user_ns[name], ip.user_ns_hidden[name]


def without_body(lines: list[str]) -> list[str]:
    """A cell of one line is a line magic: IPython would refuse it before we see it."""
    words = lines[0].split() if lines else []
    if words[:1] == [f"%%{NAME}"] and not "".join(lines[1:]).strip():
        return [lines[0].replace("%%", "%", 1)]
    return lines
