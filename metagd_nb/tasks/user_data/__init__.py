"""Task families of the user's own data.

``groups.py`` takes a table whose rows belong to groups, ``episodes.py`` labelled examples (N-way K-shot), and
``series.py`` time series.
"""
