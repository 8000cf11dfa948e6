"""The listing of ``%metagd`` and the help of one method or command, as plain text and as HTML tables."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple, TypeAlias

from ...algorithms import ALGORITHMS
from ...core.hyperparameters import Hyperparameter, hyperparameters
from ...core.tables import html_table, text_table
from ...models.builtin import MODELS
from ...tasks import FAMILIES
from .options import COMMANDS, Extra, allowed

WIDTH = 100  # characters of a line of text

Row: TypeAlias = tuple[str, ...]
Default: TypeAlias = float | str | bool | tuple["Default", ...] | None


class Section(NamedTuple):
    """A heading and its rows; the first column holds code."""

    title: str
    rows: Sequence[Row]
    brief: bool = False  # plain text shows the first column only, so that the page fits a screen

    def lines(self) -> list[str]:
        """Return the rows as plain text."""
        if not self.brief:
            return text_table(self.rows, width=WIDTH - 2)
        names = textwrap.wrap("  ".join(row[0].replace(" ", "\0") for row in self.rows), WIDTH - 2)
        return [line.replace("\0", " ") for line in names]


class Page:
    """A page of help: a head, sections and a last line."""

    def __init__(self, head: Sequence[str], sections: Sequence[Section], foot: str = "") -> None:
        self.head, self.sections, self.foot = list(head), list(sections), foot

    def __repr__(self) -> str:
        lines = [part for text in self.head for part in textwrap.wrap(text, WIDTH)]
        for section in self.sections:
            lines += ["", section.title, *(f"  {line}" for line in section.lines())]
        return "\n".join([*lines, *(["", self.foot] if self.foot else [])])

    def _repr_html_(self) -> str:
        parts = [f"<b>{escape(self.head[0])}</b>", *(f"<br>{escape(text)}" for text in self.head[1:])]
        for title, rows, _ in self.sections:
            parts.append(f'<p style="margin:.6em 0 .2em">{escape(title)}</p>{html_table(rows, code=True)}')
        return "".join(parts) + (f"<p>{escape(self.foot)}</p>" if self.foot else "")


def first_line(declared: Callable[..., object]) -> str:
    """Return the first paragraph of a class's or function's docstring on one line."""
    paragraph = (declared.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`")


def shown(default: Default) -> str:
    """Return a default value as it is typed: ``0.001``, ``adam``; ``–`` where there is none."""
    if default is None:
        return "–"
    if isinstance(default, tuple):
        return ",".join(map(shown, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _call(name: str, function: Callable[..., object]) -> str:
    """Return the call of a function with its required arguments: ``quadratics(a, c)``."""
    needed = []
    for a in inspect.signature(function).parameters.values():
        if a.kind is a.VAR_POSITIONAL:
            needed.append("…")
        elif a.default is a.empty and a.kind is not a.VAR_KEYWORD:
            needed.append(a.name)
    return f"{name}({', '.join(needed)})"


def listing() -> Page:
    """Return the page of algorithms, task families, models and commands, which fits one screen."""
    titles = {
        "single": "one loss: define loss(w) and a starting value w",
        "meta": "many tasks: define tasks and a model",
    }
    sections = [
        Section(title, [(name, first_line(cls)) for name, cls in ALGORITHMS.items() if cls.setting == setting])
        for setting, title in titles.items()
    ]
    for title, table in (("task families", FAMILIES), ("models", MODELS)):
        sections.append(Section(title, [(_call(name, f), first_line(f)) for name, f in table.items()], brief=True))
    commands = [(f"%metagd {name} {one.usage}".rstrip(), one.help) for name, one in COMMANDS.items()]
    sections.append(Section("commands", commands))
    return Page(["%%metagd ALGORITHM [OPTIONS]"], sections, f"options of one: %metagd {next(iter(ALGORITHMS))} --help")


def manual(word: str) -> Page:
    """Return the help of one method or command: each option with its default, meaning and allowed values.

    Parameters
    ----------
    word : str
        A key of ``ALGORITHMS`` or ``COMMANDS``.
    """
    rows = {option: (option, *_described(one)) for option, one in allowed(word).items()}
    if word in COMMANDS:
        usage, description = COMMANDS[word]
        sections = [Section("options", list(rows.values()))] if rows else []
        return Page([f"%metagd {word} {usage}", description], sections)
    cls = ALGORITHMS[word]
    own = {one.option for one in hyperparameters(cls).values()}
    sections = [
        Section(f"options of {word}, with their defaults", [row for option, row in rows.items() if option in own]),
        Section("options of every method", [row for option, row in rows.items() if option not in own]),
    ]
    return Page([f"%%metagd {word} [OPTIONS]", first_line(cls), f"source: {cls.source}"], sections)


def _described(one: Hyperparameter | Extra) -> Row:
    """Return the default (or a name for the value) and the meaning of an option, with the allowed values."""
    if isinstance(one, Hyperparameter):
        return shown(one.default), f"{one.help} ({one.allowed})"
    return one.value, one.help
