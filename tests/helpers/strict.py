"""A fresh Python in which each warning is an error, as in the tests themselves."""

from __future__ import annotations

import sys

# The exception is NumPy's on NPY_DISABLE_CPU_FEATURES, as in pyproject.toml: it is about the environment of the tests.
STRICT_PYTHON = [sys.executable, "-W", "error", "-W", "ignore:During parsing environment variable:ImportWarning"]
