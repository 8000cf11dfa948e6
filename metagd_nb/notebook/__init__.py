"""Notebook: the ``%%metagd`` magic, live displays and controls, the studio, the book, and the command ``metagd``.

`magic` starts runs, `display` and `controls` show and steer them under the cell, `studio` offers both as widgets.
`book` holds the displays and exercises of the chapters, `cli` hands the chapters out. Read `magic.cell` first, then
`display`.
"""
