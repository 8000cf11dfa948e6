"""metagd_nb: meta-learning and gradient descent, live in a notebook cell.

``%load_ext metagd_nb`` provides the ``%%metagd`` cell; the names below are the same kit from Python. Each name is
imported when it is first used, so that ``import metagd_nb`` itself costs next to nothing.

Nine packages, each of which imports only those before it: ``core``, ``tasks``, ``models``, ``problems``,
``algorithms``, ``training``, ``analysis``, ``plotting``, ``notebook``. Read ``problems/base.py`` and
``algorithms/maml.py`` first.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import charts, interpret, sequences
    from .algorithms import ALGORITHMS
    from .analysis.advice import advise
    from .analysis.bayesian_last_layer import bayesian_last_layer
    from .analysis.compare import compare
    from .analysis.cost_table import cost_table
    from .analysis.recognition import recognise
    from .analysis.run_memory import remember
    from .analysis.sweep import sweep
    from .core.errors import MetagdError
    from .models.builtin import conv, linear, mlp
    from .models.linear_regression import gradient, linear_regression_model, meta_gradient_descent, mse_loss
    from .notebook.book import linked, predicted, source
    from .notebook.book.exercises import exercise
    from .notebook.studio import studio
    from .plotting.figures import sketch
    from .tasks import (
        Tasks,
        curves,
        episodes,
        glyphs,
        groups,
        lung,
        m1_yearly,
        mixed,
        omniglot,
        quadratics,
        regression,
        series,
        sinusoid,
        stocks,
        tumours,
        words,
    )
    from .training.persistence.load import load
    from .training.prepare import prepare, start, train
    from .training.run import Run

__version__ = "0.1.0"

__all__ = [
    "ALGORITHMS",
    "MetagdError",
    "Run",
    "Tasks",
    "advise",
    "bayesian_last_layer",
    "charts",
    "compare",
    "conv",
    "cost_table",
    "curves",
    "episodes",
    "exercise",
    "glyphs",
    "gradient",
    "groups",
    "interpret",
    "linear",
    "linear_regression_model",
    "linked",
    "load",
    "lung",
    "m1_yearly",
    "meta_gradient_descent",
    "mixed",
    "mlp",
    "mse_loss",
    "omniglot",
    "predicted",
    "prepare",
    "quadratics",
    "recognise",
    "regression",
    "remember",
    "sequences",
    "series",
    "sinusoid",
    "sketch",
    "source",
    "start",
    "stocks",
    "studio",
    "sweep",
    "train",
    "tumours",
    "words",
]

# Module → the public names that it defines.
_DEFINED_IN = {
    "algorithms": "ALGORITHMS",
    "analysis.advice": "advise",
    "analysis.bayesian_last_layer": "bayesian_last_layer",
    "analysis.compare": "compare",
    "analysis.cost_table": "cost_table",
    "analysis.recognition": "recognise",
    "analysis.run_memory": "remember",
    "analysis.sweep": "sweep",
    "core.errors": "MetagdError",
    "models.linear_regression": "gradient linear_regression_model meta_gradient_descent mse_loss",
    "models.builtin": "conv linear mlp",
    "notebook.book": "linked predicted source",
    "notebook.book.exercises": "exercise",
    "notebook.studio": "studio",
    "plotting.figures": "sketch",
    "tasks": "Tasks curves episodes glyphs groups lung m1_yearly mixed omniglot "
    "quadratics regression series sinusoid stocks tumours words",
    "training.persistence.load": "load",
    "training.prepare": "prepare start train",
    "training.run": "Run",
}
_PLACE = {name: module for module, names in _DEFINED_IN.items() for name in names.split()}
_MODULES = ("charts", "interpret", "sequences")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562)."""
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        if name not in _PLACE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{_PLACE[name]}", __name__), name)
        globals()[name] = value
        return value

    if os.environ.get("METAGD_MEMORY", "0") != "0":
        importlib.import_module(".analysis.run_memory", __name__)  # registers itself

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


def load_ipython_extension(ip: Any) -> None:
    """Register the magics: called by ``%load_ext metagd_nb``, which imports widgets and matplotlib."""
    from .notebook.magic import register

    register(ip)


def unload_ipython_extension(ip: Any) -> None:
    """Remove the magics: called by ``%unload_ext metagd_nb``."""
    from .notebook.magic import unregister

    unregister(ip)
