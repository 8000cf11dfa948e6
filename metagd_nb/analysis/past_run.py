"""One remembered run, as a row of the database holds it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from ..problems.base import Array
from ..training.persistence.format import array_of
from .problem_features import ProblemFeatures


class Past(NamedTuple):
    """One remembered run.

    Attributes
    ----------
    id : int
    at : float
        Time of storing, in seconds since 1970.
    method : str
    choices : str
        The rules and forms that were chosen, as JSON; they decide what a rate means.
    problem : str
        Equal for runs on the same problem from the same start.
    features : ProblemFeatures
    settings : dict
        Numeric settings of the method.
    curve : array (n, 2)
        Gradient evaluations and loss, at evaluations about evenly spaced on a log axis.
    stopped : str
        Reason of the end.
    layout : str
        Names and shapes of the parameters, as JSON.
    theta : array (P,) or None
        Parameters at the end, unless the run diverged or they are too large.
    """

    id: int
    at: float
    method: str
    choices: str
    problem: str
    features: ProblemFeatures
    settings: dict[str, float]
    curve: Array
    stopped: str
    layout: str
    theta: Array | None


def past_of(row: tuple[Any, ...]) -> Past:
    """Return the run of a row of the database.

    Raises
    ------
    Exception
        Of any kind, for a row that holds anything else.
    """
    past = Past(*row)
    past = past._replace(
        features=ProblemFeatures(**json.loads(row[5])),
        settings=dict(json.loads(row[6])),
        curve=np.array(json.loads(row[7]), float).reshape(-1, 2),
        theta=None if past.theta is None else array_of(row[10]).astype(float),
    )
    numbers = [past.at, *past.features, *past.settings.values()]
    whole = len(past.curve) and np.isfinite(past.curve).all() and np.isfinite(np.array(numbers, float)).all()
    words = (past.method, past.choices, past.problem, past.stopped, past.layout)
    if not (whole and all(isinstance(word, str) for word in words) and not any(isinstance(n, str) for n in numbers)):
        raise ValueError
    if past.theta is not None and not (past.theta.ndim == 1 and np.isfinite(past.theta).all()):
        raise ValueError
    return past
