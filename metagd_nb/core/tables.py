"""Tables that a result shows of itself: as lines of text, and as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

Rows = Sequence[Sequence[str]]


def text_table(rows: Rows, side: Callable[[str, int], str] = str.ljust) -> list[str]:
    """A line for each row, its head first, the columns as wide as their widest cell; ``side`` fills a cell up."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(side, row, widths)).rstrip() for row in rows]


def html_table(rows: Rows, caption: str = "") -> str:
    """The same as a table; the cells are text."""
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    tags = ("th", *("td",) * (len(rows) - 1))
    body = (
        f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in row)}</tr>"
        for tag, row in zip(tags, rows, strict=True)
    )
    return f"<table>{told}{''.join(body)}</table>"
