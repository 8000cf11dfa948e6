"""Prediction by a single-task run of a built-in model: labels in, labels out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.array_api import one_hot
from ..core.errors import MetagdError
from ..core.metrics import metric_of
from ..models.net import Net
from ..tasks.user_data.table_encoding import Encoding
from ..tasks.validation import class_indices, labels, numbers_2d
from .loop_state import LoopState

Array = np.ndarray


def predicted(loop: LoopState, x: ArrayLike) -> Array:
    """Return predictions for rows of x, as y was given."""
    outputs, single = _outputs(loop, x, "predict")
    return _encoding(loop, "predict").decoded(outputs, single)


def probabilities(loop: LoopState, x: ArrayLike, member: str = "predict_proba") -> Array:
    """Return the probability of each class, (n, C) in the order of the sorted labels."""
    encoding = _encoding(loop, member)
    if encoding.classes is None:
        raise MetagdError("this run learned numbers, which have no probabilities; predict(x) gives them", member)
    outputs, single = _outputs(loop, x, member)
    power = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    shares = power / power.sum(axis=1, keepdims=True)
    return np.asarray(shares[0] if single else shares)


def score(loop: LoopState, x: ArrayLike, y: ArrayLike, metric: str | None) -> float:
    """Return the score of the predictions for x against y."""
    encoding = _encoding(loop, "score")
    chosen = metric_of(metric, encoding.classes is not None)
    outputs = np.atleast_2d(_outputs(loop, x, "score")[0])
    if encoding.classes is None:
        truth = numbers_2d(np.atleast_1d(y), "y")
    else:
        given = labels(np.atleast_1d(y), "y")
        truth = one_hot(class_indices(given, encoding.classes, "y"), len(encoding.classes))
        outputs = np.atleast_2d(probabilities(loop, x, "score"))
    if len(truth) != len(outputs) or truth.shape[1] != outputs.shape[1]:
        raise MetagdError(f"has shape {np.shape(y)} for {len(outputs)} rows of x and {outputs.shape[1]} outputs", "y")
    return chosen.function(truth, outputs)


def _encoding(loop: LoopState, member: str) -> Encoding:
    """Return the encoding of a run of one task that fits a model.

    Raises
    ------
    MetagdError
        For other runs, with what to do instead.
    """
    plan = loop.plan
    if plan.algorithm.setting == "meta":
        raise MetagdError(f"{plan.method} learned from many tasks; run.adapt(x, y) gives a predictor for one", member)
    if plan.encoding is None or not isinstance(plan.inputs.model, Net):
        raise MetagdError("this run has a loss and no model; call your own function with run.params", member)
    return plan.encoding


def _outputs(loop: LoopState, x: ArrayLike, member: str) -> tuple[Array, bool]:
    """Return the model's outputs (n, C) for x, and True if x was a single row."""
    array, single = _encoding(loop, member).rows(x)
    net, result = loop.plan.inputs.model, loop.result
    assert isinstance(net, Net)
    theta = loop.algorithm.result(loop.plan.problem, result.theta, result.state)
    return net.predict(theta, array.astype(theta.dtype)[None])[0], single
