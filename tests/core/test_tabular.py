"""Tables as text and as HTML."""

from __future__ import annotations

from metagd_nb.core.tables import html_table, text_table

ROWS = [("", "loss <b>"), ("maml", "1 & 2"), ("gd", "")]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert text_table(ROWS) == ["      loss <b>", "maml  1 & 2", "gd"]
    assert text_table(ROWS, str.rjust) == ["      loss <b>", "maml     1 & 2", "  gd"]


def test_cells_are_text_and_the_first_row_is_the_head() -> None:
    assert html_table(ROWS[:2], "of <two>") == (
        "<table><caption>of &lt;two&gt;</caption>"
        "<tr><th></th><th>loss &lt;b&gt;</th></tr><tr><td>maml</td><td>1 &amp; 2</td></tr></table>"
    )
    assert html_table([("a",)]) == "<table><tr><th>a</th></tr></table>"
