"""The ``%%metagd`` magic: a line with a method and its options, a body of Python, and a run under the cell.

`line` parses the options that `options` declares, `body` executes the code, `bind` finds the parts of a run in the
namespace, `cell` starts the run. `commands` and `export_resume` hold the other commands, `help` their descriptions,
`complete` the Tab completion. Read `cell` first.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from IPython.core.interactiveshell import InteractiveShell

from ...core.messages import logger
from ...models.builtin import MODELS
from ...models.linear_regression import linear_regression_model, meta_gradient_descent, mse_loss
from ...tasks import FAMILIES
from .cell import Cell
from .complete import completer
from .help import listing

NAME = "metagd"

# Without gradient, train and start: these are common names of users' own functions, and a cell reads `gradient`.
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


class Printer(logging.Handler):
    """Prints what the package logs under the cell that called it, as a script's standard handler would not."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record))


PRINTER = Printer(logging.INFO)


def register(ip: InteractiveShell) -> None:
    """Add the magic, its completion and the first names to a shell; a second call does nothing."""
    shell: Any = ip
    if getattr(shell, "_metagd", None) is not None:
        return
    cell = Cell(ip, FIRST_NAMES)

    def metagd(line: str, cell_text: str | None = None) -> Any:
        return cell.metagd(line, cell_text)

    metagd.__doc__ = HELP.format(listing=listing())
    shell.register_magic_function(metagd, "line_cell", NAME)
    matcher = completer(ip)
    shell.Completer.custom_matchers.append(matcher)
    shell.input_transformers_cleanup.append(without_body)
    cell.supply()
    logger.addHandler(PRINTER)
    logger.setLevel(logging.INFO)
    shell._metagd = (cell, matcher)


def unregister(ip: InteractiveShell) -> None:
    """Remove the magic, its completion and the first names; runs continue, and results stay."""
    shell: Any = ip
    if getattr(shell, "_metagd", None) is None:
        return
    cell, matcher = shell._metagd
    shell._metagd = None
    logger.removeHandler(PRINTER)
    logger.setLevel(logging.NOTSET)
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop(NAME, None)
    shell.Completer.custom_matchers.remove(matcher)
    shell.input_transformers_cleanup.remove(without_body)
    for name, value in cell.first_names.items():
        if shell.user_ns.get(name) is value and shell.user_ns_hidden.get(name) is value:
            del shell.user_ns[name], shell.user_ns_hidden[name]


def without_body(lines: list[str]) -> list[str]:
    """Return a cell magic without a body as a line magic, since IPython refuses a cell magic of a single line."""
    words = lines[0].split() if lines else []
    if words[:1] == [f"%%{NAME}"] and not "".join(lines[1:]).strip():
        return [lines[0].replace("%%", "%", 1)]
    return lines
