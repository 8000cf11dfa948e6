"""Tables of text cells: as aligned lines, and as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from textwrap import wrap

Rows = Sequence[Sequence[str]]


def text_table(rows: Rows, side: Callable[[str, int], str] = str.ljust, width: int = 0) -> list[str]:
    """Align the cells of a table in columns.

    Parameters
    ----------
    rows : sequence of rows, each a sequence of str
        The head first, if there is one; every row has the same number of cells.
    side : function (str, int) → str
        Fills a cell up: ``str.ljust`` or ``str.rjust``.
    width : int
        Most characters of a line; the last column is wrapped to keep within it. 0: no limit.

    Returns
    -------
    list of str
        The lines, without spaces at their ends.
    """
    if width:
        room = width - sum(max(map(len, column)) + 2 for column in zip(*(row[:-1] for row in rows), strict=True))
        rows = [
            (*(cells if not i else [""] * len(cells)), part)
            for *cells, last in rows
            for i, part in enumerate(wrap(last, room, break_on_hyphens=False) or [""])
        ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(side, row, widths)).rstrip() for row in rows]


def html_table(rows: Rows, caption: str = "", *, code: bool = False) -> str:
    """Return the same table as HTML; every cell is escaped.

    Parameters
    ----------
    rows : sequence of rows, each a sequence of str
        The first row is the head, except with ``code``.
    caption : str
        A line above the table.
    code : bool
        Set the first column as code and align all cells to the left; such a table has no head.
    """
    if code:
        cell = '<td style="text-align:left;vertical-align:top">{}</td>'
        first = cell.format('<code style="white-space:nowrap">{}</code>')
        marked = [[first.format(escape(row[0])), *(cell.format(escape(text)) for text in row[1:])] for row in rows]
    else:
        tags = ("th", *("td",) * (len(rows) - 1))
        marked = [[f"<{tag}>{escape(text)}</{tag}>" for text in row] for tag, row in zip(tags, rows, strict=True)]
    head = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{head}{''.join('<tr>' + ''.join(row) + '</tr>' for row in marked)}</table>"
