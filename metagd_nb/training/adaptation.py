"""Adaptation of learned parameters to one task: a predictor for the user, a panel for the plot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import Meta
from ..algorithms.inner_loop import Parameters
from ..core.array_api import one_hot
from ..core.errors import MetagdError
from ..core.hyperparameters import check_int
from ..problems.base import Problem
from ..problems.factory import check_shapes
from ..tasks import Batch, Example, Tasks
from ..tasks.identity import held_out_or, judged
from ..tasks.validation import class_indices, labels, numbers_2d, targets
from .loop import TrainingLoop

Array = np.ndarray


def predictor(
    problem: Problem,
    algorithm: Meta,
    theta: Array,
    x: ArrayLike,
    y: ArrayLike,
    steps: int | None,
    tasks: Tasks | None = None,
) -> Callable[[ArrayLike], Array]:
    """Adapt from ``theta`` (P,) to the points ``x`` (K,) or (K, D), ``y`` (K,) or (K, C); return ``f(x_new)``.

    For tasks of classification ``y`` (K,) are class labels, and so are the predictions.
    """
    problem.check_available()
    if not problem.predicts:
        raise MetagdError("quadratics have no inputs to predict from", "adapt")
    inputs, (wanted, classes) = numbers_2d(x, "x"), _wanted(y, tasks, algorithm.embeds)
    if len(inputs) != len(wanted):
        raise MetagdError(f"have {len(inputs)} and {len(wanted)} points; need the same number", "x, y")
    if problem.net is not None:
        what = "targets" if classes is None else "classes"
        check_shapes(problem.net, inputs.shape[1], None if algorithm.embeds else wanted.shape[1], "the data", what)
    if steps is not None:
        steps = check_int(steps, "steps", 0)
    flat_y = np.ndim(y) == 1
    support = Batch(inputs[None], wanted[None]).cast(problem.dtype)
    phi = algorithm.adapt(problem, theta, support, steps)

    def predict(x_new: ArrayLike) -> Array:
        new = numbers_2d(x_new, "x_new").astype(problem.dtype)
        if new.shape[1] != inputs.shape[1]:
            raise MetagdError(f"has {new.shape[1]} columns; was adapted on {inputs.shape[1]}", "x_new")
        out = algorithm.predict(problem, phi, new[None])[0]
        if classes is not None:
            return np.asarray(classes[out[:, : len(classes)].argmax(axis=1)])
        return np.asarray(out[:, 0] if flat_y else out)

    return predict


def _wanted(y: ArrayLike, tasks: Tasks | None, embeds: bool) -> tuple[Array, Array | None]:
    """Targets (K, C), and the labels of the outputs where class labels were given.

    Where each task has classes of its own, the labels that occur are the first of the C, or, if ``embeds``, all.
    """
    if tasks is None or tasks.loss != "cross-entropy" or np.ndim(y) != 1:
        return numbers_2d(y, "y"), None
    if tasks.classes is not None:
        found = targets(y, "y", tasks.loss, tasks.classes)
        return found.values, found.classes
    given = labels(y, "y")
    classes = np.unique(given)
    width = len(classes) if embeds else max(len(classes), tasks.outputs)
    return one_hot(class_indices(given, classes, "y"), width), classes


class Panel(NamedTuple):
    """One task on one-dimensional inputs, before and after adaptation; ``origin`` is that of `Judged`."""

    x_support: Array  # (K,)
    y_support: Array  # (K,)
    x: Array  # (N,)
    truth: Array | None  # (N,)
    before: Array  # (N,)
    after: Array  # (N,)
    label: str
    origin: str = "held-out"


def origin(tasks: Tasks) -> str:
    """Return if the tasks on which a learner of this family is judged are ``held-out`` or ``training`` ones."""
    return "held-out" if tasks.test is not None else judged(tasks, tasks, 1).origin


def held_out(
    problem: Problem, algorithm: Meta, tasks: Tasks, theta: Array, seed: int, steps: int
) -> tuple[Example, list[Any]] | None:
    """Draw one task on one-dimensional inputs; return it and φ after 0…``steps`` adaptation steps from ``theta`` (M,).

    The task is the same at every call, and from a stream that training does not use; of a finite family one that is
    held out, or where there are none one of those learned from (`origin` says which). None for other tasks.
    """
    if not problem.predicts:
        return None
    example = held_out_or(tasks).example(np.random.default_rng([seed, 0, 0xA]), algorithm.shots)
    if example is None:
        return None
    with np.errstate(all="ignore"):
        return example, list(algorithm.path(problem, theta, example.support.cast(problem.dtype), steps))


def curve(problem: Problem, algorithm: Meta, phi: Parameters, x: Array) -> Array:
    """Predict (N,) at φ on a grid ``x`` (N,) of one-dimensional inputs."""
    with np.errstate(all="ignore"):
        return np.asarray(algorithm.predict(problem, phi, x[None, :, None].astype(problem.dtype))).reshape(-1)


def held_out_panel(loop: TrainingLoop) -> Panel | None:
    """Adapt the present parameters to one task, held out if there is one; None for tasks that cannot be drawn."""
    plan, algorithm = loop.plan, loop.algorithm
    if plan.tasks is None or not isinstance(algorithm, Meta):
        return None
    problem, theta, steps = plan.problem, loop.snapshot.theta, algorithm.inner_steps
    found = held_out(problem, algorithm, plan.tasks, theta, plan.settings.seed, steps)
    if found is None:
        return None
    example, path = found
    before, after = (curve(problem, algorithm, phi, example.x) for phi in (path[0], path[-1]))
    support = example.support
    points = (support.x.ravel(), support.y.ravel(), example.x, example.truth)
    return Panel(*points, before, after, example.label, origin(plan.tasks))
