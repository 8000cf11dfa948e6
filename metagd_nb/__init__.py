"""metagd_nb: learn how learning learns, one notebook cell at a time.

``%load_ext metagd_nb`` gives the ``%%metagd`` cell; the names below are the same kit from Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .algorithms import ALGORITHMS
from .beginner import gradient, linear_regression_model, meta_gradient_descent, mse_loss
from .errors import MetagdError
from .exercises import exercise
from .models import linear, mlp
from .run import Run
from .tasks import Tasks, groups, quadratics, regression, sinusoid
from .train import prepare, start, train

if TYPE_CHECKING:
    from .book import linked, predicted, sketch, source

__version__ = "0.1.0"

__all__ = [
    "ALGORITHMS",
    "MetagdError",
    "Run",
    "Tasks",
    "exercise",
    "gradient",
    "groups",
    "linear",
    "linear_regression_model",
    "linked",
    "meta_gradient_descent",
    "mlp",
    "mse_loss",
    "predicted",
    "prepare",
    "quadratics",
    "regression",
    "sinusoid",
    "sketch",
    "source",
    "start",
    "train",
]


DRAWING = (
    "linked",
    "predicted",
    "sketch",
    "source",
)  # what chapters show with: matplotlib comes with the first of them

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in DRAWING:
            from . import book

            return getattr(book, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(ip: Any) -> None:
    """What ``%load_ext metagd_nb`` calls; widgets and matplotlib are imported here and not before."""
    from .magic import register

    register(ip)


def unload_ipython_extension(ip: Any) -> None:
    """What ``%unload_ext metagd_nb`` calls."""
    from .magic import unregister

    unregister(ip)
