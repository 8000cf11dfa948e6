"""Old names of what is now part of a run's plan or loop."""

from __future__ import annotations

import warnings
from typing import Any

_MOVED = {  # old name → the place of the same
    "algorithm": "loop.algorithm",
    "error": "loop.error",
    "method": "plan.method",
    "paused": "loop.paused",
    "peek": "loop.peek",
    "problem": "plan.problem",
    "references": "plan.references",
    "running": "loop.running",
    "settings": "plan.settings",
    "shown": "loop.snapshot",
    "theta": "loop.theta",
}


class OldNames:
    """Gives attributes of `Run` that have moved under their old names, with a warning."""

    def __getattr__(self, name: str) -> Any:
        """Give what has moved under its old name, with a warning."""
        if name not in _MOVED:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        warnings.warn(f"run.{name} is now run.{_MOVED[name]}", DeprecationWarning, stacklevel=2)
        part, _, attribute = _MOVED[name].partition(".")
        return getattr(getattr(self, part), attribute)
