"""Tools without machine learning: errors, hyperparameter declarations, named parameters, statistics, files.

Every other package imports from here. Read ``errors.py`` (the one exception), ``hyperparameters.py`` (a setting is
declared once, as a dataclass field) and ``parameters.py`` (names for the slices of a flat vector) first.
"""

from .errors import MetagdError, nearest, one_line, shorten, unknown_name
from .hyperparameters import Checked, Hyperparameter, check_float, check_int, hyperparameter
from .provenance import rebuild, records_call, records_derivation, strip

__all__ = [
    "Checked",
    "Hyperparameter",
    "MetagdError",
    "check_float",
    "check_int",
    "hyperparameter",
    "nearest",
    "one_line",
    "rebuild",
    "records_call",
    "records_derivation",
    "shorten",
    "strip",
    "unknown_name",
]
