"""Matplotlib figures of runs and results; none uses pyplot.

Read ``figures.py`` first (`RunFigure` displays itself in a notebook), then ``run_figure.py``, the live figure of one
run, whose panels are in ``panels.py`` and ``task_panel.py``. ``style.py`` holds colors, number formats and axis limits;
``charts.py`` and ``interpretation.py`` draw the results of analyses.
"""
