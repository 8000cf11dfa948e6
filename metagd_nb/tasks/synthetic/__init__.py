"""Task families drawn from formulas, with as many tasks as needed.

``sinusoid.py`` is the family of the MAML paper; on ``quadratics.py`` and ``regression.py`` losses are known in closed
form. ``mixed.py`` combines several kinds, and ``series_generators.py`` generates time series.
"""
