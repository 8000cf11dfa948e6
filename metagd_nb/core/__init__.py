"""Tools without machine learning: errors, hyperparameter declarations, named parameters, statistics, files.

Every other package imports from here. Read ``errors.py`` (the one exception), ``hyperparameters.py`` (a setting is
declared once, as a dataclass field) and ``parameters.py`` (names for the slices of a flat vector) first.
"""
