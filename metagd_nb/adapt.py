"""Adapting a learned start to one task: a predictor for the user, a panel for the plot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .algorithms import Meta
from .builtin import NetProblem, match
from .errors import MetagdError
from .hyper import whole
from .tasks import Batch, Tasks
from .tasks.groups import numbers_2d

Array = np.ndarray


def predictor(problem: Any, algorithm: Meta, theta: Array, x: Any, y: Any, steps: int | None) -> Callable[[Any], Array]:
    """``f(x_new)`` adapted from ``theta`` (P,) to the points ``x`` (K,) or (K, D), ``y`` (K,) or (K, C)."""
    if not hasattr(problem, "predict"):
        raise MetagdError("quadratics have no inputs to predict from", "adapt")
    inputs, targets = numbers_2d(x, "x"), numbers_2d(y, "y")
    if len(inputs) != len(targets):
        raise MetagdError(f"have {len(inputs)} and {len(targets)} points; need the same number", "x, y")
    if isinstance(problem, NetProblem):
        match(problem.net, inputs.shape[1], targets.shape[1], "the data")
    if steps is not None:
        steps = whole(steps, "steps", 0)
    flat_y = np.ndim(y) == 1
    support = Batch(inputs[None], targets[None]).cast(problem.dtype)
    phi = algorithm.adapt(problem, theta, support, steps)

    def predict(x_new: Any) -> Array:
        new = numbers_2d(x_new, "x_new").astype(problem.dtype)
        if new.shape[1] != inputs.shape[1]:
            raise MetagdError(f"has {new.shape[1]} columns; was adapted on {inputs.shape[1]}", "x_new")
        out = problem.predict(phi, new[None])[0]
        return np.asarray(out[:, 0] if flat_y else out)

    return predict


class Panel(NamedTuple):
    """One held-out task on one-dimensional inputs, before and after adaptation."""

    x_support: Array  # (K,)
    y_support: Array  # (K,)
    x: Array  # (N,)
    truth: Array | None  # (N,)
    before: Array  # (N,)
    after: Array  # (N,)
    label: str


def panel(problem: Any, algorithm: Meta, tasks: Tasks, theta: Array, seed: int) -> Panel | None:
    """One task at ``theta`` (P,): the same at every call, and from no stream that training draws from."""
    if not hasattr(problem, "predict"):
        return None
    example = tasks.example(np.random.default_rng([seed, 0, 0xA]), algorithm.shots)
    if example is None:
        return None
    grid = example.x[None, :, None].astype(problem.dtype)
    with np.errstate(all="ignore"):
        phi = algorithm.adapt(problem, theta, example.support.cast(problem.dtype))
        before, after = (problem.predict(p, grid).reshape(-1) for p in (theta, phi))
    support = example.support
    return Panel(support.x.ravel(), support.y.ravel(), example.x, example.truth, before, after, example.label)
