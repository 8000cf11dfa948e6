"""metagd_nb: learn how learning learns, one notebook cell at a time.

``%load_ext metagd_nb`` gives the ``%%metagd`` cell; the names below are the same kit from Python.
"""

from __future__ import annotations

from typing import Any

from .algorithms import ALGORITHMS
from .beginner import gradient, linear_regression_model, meta_gradient_descent, mse_loss
from .errors import MetagdError
from .models import linear, mlp
from .run import Run
from .tasks import Tasks, groups, quadratics, regression, sinusoid
from .train import prepare, start, train

__version__ = "0.1.0"

__all__ = [
    "ALGORITHMS",
    "MetagdError",
    "Run",
    "Tasks",
    "gradient",
    "groups",
    "linear",
    "linear_regression_model",
    "meta_gradient_descent",
    "mlp",
    "mse_loss",
    "prepare",
    "quadratics",
    "regression",
    "sinusoid",
    "start",
    "train",
]


def load_ipython_extension(ip: Any) -> None:
    """What ``%load_ext metagd_nb`` calls; widgets and matplotlib are imported here and not before."""
    from .magic import register

    register(ip)


def unload_ipython_extension(ip: Any) -> None:
    """What ``%unload_ext metagd_nb`` calls."""
    from .magic import unregister

    unregister(ip)
