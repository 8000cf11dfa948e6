"""The listing of `%metagd` and the help of one method: plain text, and a table where there are pages."""

from __future__ import annotations

import html
import inspect
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...algorithms import ALGORITHMS
from ...core.hyperparameters import Hyperparameter
from ...models.net import MODELS
from ...tasks import FAMILIES
from .line import COMMANDS, Extra, allowed
from .table import first_line, shown

WIDTH = 100  # characters of a line of text

Row = tuple[str, ...]


class Section(NamedTuple):
    """A heading and rows; the first column is what a person types."""

    title: str
    rows: Sequence[Row]
    brief: bool = False  # of plain text: what a person types alone, so that a screen holds it all


class Page:
    """What is shown of a list of sections; the same text each time."""

    def __init__(self, head: Sequence[str], sections: Sequence[Section], foot: str = "") -> None:
        self.head, self.sections, self.foot = list(head), list(sections), foot

    def __repr__(self) -> str:
        lines = [part for text in self.head for part in textwrap.wrap(text, WIDTH)]
        for title, rows, brief in self.sections:
            lines += ["", title] if title else [""]
            if brief:
                names = textwrap.wrap("  ".join(row[0].replace(" ", "\0") for row in rows), WIDTH - 2)
                lines += [f"  {line}".replace("\0", " ") for line in names]
                continue
            widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
            for row in rows:
                start = "  " + "".join(f"{cell:<{w}}  " for cell, w in zip(row, widths, strict=False))
                room = WIDTH - len(start)
                told = textwrap.wrap(row[-1], room, break_on_hyphens=False)
                lines += [f"{start}{told[0]}".rstrip(), *(" " * len(start) + more for more in told[1:])]
        return "\n".join([*lines, *(["", self.foot] if self.foot else [])])

    def _repr_html_(self) -> str:
        parts = [f"<b>{html.escape(self.head[0])}</b>", *(f"<br>{html.escape(text)}" for text in self.head[1:])]
        for title, rows, _ in self.sections:
            body = "".join(f"<tr>{''.join(map(_cell, row, range(len(row))))}</tr>" for row in rows)
            parts.append(f'<p style="margin:.6em 0 .2em">{html.escape(title)}</p><table>{body}</table>')
        return "".join(parts) + (f"<p>{html.escape(self.foot)}</p>" if self.foot else "")


def _cell(text: str, column: int) -> str:
    told = html.escape(text)
    told = told if column else f'<code style="white-space:nowrap">{told}</code>'
    return f'<td style="text-align:left;vertical-align:top">{told}</td>'


def _called(name: str, function: Any) -> str:
    """``quadratics(a, c)``: how a function is called, without what may be left out."""
    needed = []
    for a in inspect.signature(function).parameters.values():
        if a.kind is a.VAR_POSITIONAL:
            needed.append("…")
        elif a.default is a.empty and a.kind is not a.VAR_KEYWORD:
            needed.append(a.name)
    return f"{name}({', '.join(needed)})"


def listing() -> Page:
    """Algorithms, task families and models, on one screen."""
    titles = {
        "single": "one loss: define loss(w) and a starting value w",
        "meta": "many tasks: define tasks and a model",
    }
    sections = [
        Section(title, [(name, first_line(cls)) for name, cls in ALGORITHMS.items() if cls.setting == setting])
        for setting, title in titles.items()
    ]
    sections += [
        Section("task families", [(_called(name, f), first_line(f)) for name, f in FAMILIES.items()], True),  # type: ignore[arg-type]
        Section("models", [(_called(name, f), first_line(f)) for name, f in MODELS.items()], True),  # type: ignore[arg-type]
        Section("commands", [(f"%metagd {name} {told.partition('  ')[0]}", told.partition("  ")[2])
                             for name, told in COMMANDS.items()]),
    ]  # fmt: skip
    return Page(["%%metagd ALGORITHM [OPTIONS]"], sections, f"options of one: %metagd {next(iter(ALGORITHMS))} --help")


def manual(word: str) -> Page:
    """Help for one method or command: its options with default, what is allowed, and what for."""
    options = allowed(word)
    if word in COMMANDS:
        usage, _, told = COMMANDS[word].partition("  ")
        rows = [(o, *_told(one)) for o, one in options.items()]
        return Page([f"%metagd {word} {usage}", told], [Section("options", rows)] if rows else [])
    cls = ALGORITHMS[word]
    own = {o for o, one in options.items() if isinstance(one, Hyperparameter) and hasattr(cls, one.name)}
    sections = [
        Section(
            f"options of {word}, with their defaults", [(o, *_told(one)) for o, one in options.items() if o in own]
        ),
        Section("options of every method", [(o, *_told(one)) for o, one in options.items() if o not in own]),
    ]
    return Page([f"%%metagd {word} [OPTIONS]", first_line(cls), f"source: {cls.source}"], sections)


def _told(one: Hyperparameter | Extra) -> Row:
    """The default (or what stands for a value), what the option does, and what it allows."""
    if isinstance(one, Hyperparameter):
        return shown(one.default), f"{one.help} ({one.allowed})"
    return one.value, one.help
