"""Predictions of a run that has fitted a built-in model to one table."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from . import prediction
from .loop import TrainingLoop
from .settled import settled
from .tracebacks import shows_users_lines

Array = np.ndarray


class Predictions:
    """Part of `Run` that predicts.

    Attributes
    ----------
    loop : TrainingLoop
    """

    loop: TrainingLoop

    @shows_users_lines
    def predict(self, x: ArrayLike) -> Array:
        """Predict by a built-in model that was fitted to x and y.

        Parameters
        ----------
        x : array (n, D), or (n,) where D is 1; a row (D,); a number where D is 1; or a data frame
            A data frame needs the columns that it was trained on, in their order.

        Returns
        -------
        array (n,) or (n, C)
            Labels where y was labels, otherwise numbers in the form of y; of a single row without its first axis.

        Raises
        ------
        MetagdError
            For a run without a model, and for rows of another form.
        """
        return prediction.predicted(settled(self, "predictions"), x)

    @shows_users_lines
    def predict_proba(self, x: ArrayLike) -> Array:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        x : array
            As for `predict`.

        Returns
        -------
        array (n, C)
            In the order of the sorted labels; of a single row (C,).

        Raises
        ------
        MetagdError
            As `predict`, and for a run that learned numbers.
        """
        return prediction.probabilities(settled(self, "probabilities"), x)

    @shows_users_lines
    def score(self, x: ArrayLike, y: ArrayLike, metric: str | None = None) -> float:
        """Score predictions on rows with known targets.

        Parameters
        ----------
        x, y : arrays
            As in training.
        metric : str, optional
            ``accuracy`` (default), ``log-loss``, ``brier`` for classes; ``r2`` (default), ``mse``, ``mae`` for numbers.

        Returns
        -------
        float

        Raises
        ------
        MetagdError
            As `predict`, and for a metric that does not suit the targets.
        """
        return prediction.score(settled(self, "scores"), x, y, metric)
