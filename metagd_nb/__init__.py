"""metagd_nb: learn how learning learns, one notebook cell at a time.

``%load_ext metagd_nb`` gives the ``%%metagd`` cell; the names below are the same kit from Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .algorithms import ALGORITHMS
from .beginner import gradient, linear_regression_model, meta_gradient_descent, mse_loss
from .errors import MetagdError
from .models import conv, linear, mlp
from .run import Run
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
from .train import prepare, start, train

if TYPE_CHECKING:
    from .advice import advise
    from .bayes import bayesian_last_layer
    from .book import linked, predicted, sketch, source
    from .comparison import compare
    from .exercises import exercise
    from .loading import load
    from .memory import remember
    from .recognition import recognise
    from .spending import cost_table
    from .sweeps import sweep
    from .workshop import studio

__version__ = "0.1.0"

__all__ = [
    "ALGORITHMS",
    "MetagdError",
    "Run",
    "Tasks",
    "advise",
    "bayesian_last_layer",
    "compare",
    "conv",
    "cost_table",
    "curves",
    "episodes",
    "exercise",
    "glyphs",
    "gradient",
    "groups",
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

# Name → module, imported when first used: matplotlib, a database, the texts of a book.
LATER = {
    "advise": "advice",
    "bayesian_last_layer": "bayes",
    "compare": "comparison",
    "cost_table": "spending",
    "exercise": "exercises",
    "linked": "book",
    "load": "loading",
    "predicted": "book",
    "recognise": "recognition",
    "remember": "memory",
    "sketch": "book",
    "source": "book",
    "studio": "workshop",
    "sweep": "sweeps",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(f".{LATER[name]}", __name__), name)


def load_ipython_extension(ip: Any) -> None:
    """What ``%load_ext metagd_nb`` calls; widgets and matplotlib are imported here and not before."""
    from .magic import register

    register(ip)


def unload_ipython_extension(ip: Any) -> None:
    """What ``%unload_ext metagd_nb`` calls."""
    from .magic import unregister

    unregister(ip)
