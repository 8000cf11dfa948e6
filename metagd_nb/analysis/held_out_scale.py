"""Scale of a fitted prior, from tasks that took no part in the fit, nor in the training of the features.

A prior that is fitted to few groups is too narrow for a new group twice over: the features were trained on the same
groups, and few groups leave the covariance of many weights uncertain. Both are measured by cross-fitting: for each
part of the groups, features and prior are made from the other groups, and the errors on that part are compared with
the standard deviations that were predicted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import MetagdError
from ..tasks import Tasks
from ..tasks.user_data.groups import Groups
from ..training.drivers import foreground
from ..training.run import Run
from ..training.stopping import RULES
from .gaussian_weights import Array, Belief, PriorFit, condition, fit_prior

Features = Callable[[Array], Array]
MOST_ROWS = 200  # of a group, unless the number of points is given
POINTS = 20  # of a task that is drawn
PSEUDO_TASKS = 3.0  # weight of an isotropic covariance where the tasks are limited in number
TOL = 1e-4  # change of the log evidence of a target at which the fit ends
REPEATS = 4  # random support sets of each held-out task


class TaskRows(NamedTuple):
    """Points of T tasks; tasks with fewer points are filled up.

    Attributes
    ----------
    x, y : array (T, K, D), array (T, K, C)
    inside : array (T, K) of bool
        False for rows that only fill up.
    """

    x: Array
    y: Array
    inside: Array


class Fit(NamedTuple):
    """Settings with which a prior is fitted.

    Attributes
    ----------
    points : int or None
        Points of each task at most; None for all of a group's, or 20.
    n_tasks, seed, iterations : int
        As in `bayesian_last_layer`.
    """

    points: int | None
    n_tasks: int
    seed: int
    iterations: int

    def rows(self, family: Tasks) -> TaskRows:
        """Return the rows of each group once, or points of tasks that are drawn.

        Parameters
        ----------
        family : Tasks

        Returns
        -------
        TaskRows
        """
        rng = np.random.default_rng([self.seed, self.n_tasks, 0xB])  # training and evaluation draw from other streams
        if isinstance(family, Groups):
            return TaskRows(*family.rows(rng, self.points or MOST_ROWS))
        drawn = family.sample(rng, 1, self.n_tasks, (self.points or POINTS) - 1, 1)
        x, y = (np.concatenate(parts, axis=1) for parts in zip(*((b.x, b.y) for b in drawn), strict=True))
        return TaskRows(x, y, np.ones(x.shape[:2], bool))

    def prior(self, features: Features, family: Tasks) -> PriorFit:
        """Fit the prior of the weights on the features of a family's tasks.

        Parameters
        ----------
        features : function
            (T, K, D) → (T, K, H).
        family : Tasks

        Returns
        -------
        PriorFit
        """
        x, y, inside = self.rows(family)
        there = inside[..., None]
        pseudo_tasks = 0.0 if family.n_available is None else PSEUDO_TASKS
        return fit_prior(features(x) * there, y * there, self.iterations, TOL, inside, pseudo_tasks)


def last_features(run: Run) -> Features:
    """Return the function (T, K, D) → (T, K, H) that computes the inputs of a run's last layer, with a 1 for a bias.

    Parameters
    ----------
    run : Run
        With a built-in model; waits for its end.

    Returns
    -------
    function
    """
    net = run.plan.problem.net
    assert net is not None
    flat = run.plan.problem.layout.flatten(run.params)  # float64

    def features(x: Array) -> Array:
        h = np.asarray(net.features(flat, x))
        return np.concatenate([h, np.ones_like(h[..., :1])], axis=-1) if net.bias else h

    return features


def held_out_scale(run: Run, family: Tasks, fit: Fit, folds: int, shots: int) -> Array:
    """Measure by how much the standard deviations of a fitted prior are too small for held-out groups.

    Parameters
    ----------
    run : Run
        Trained anew without each fold where it has learned from ``family``.
    family : Tasks
        With a limited number of tasks, which `Tasks.subset` divides.
    fit : Fit
    folds : int
        Number of parts, at most that of the tasks.
    shots : int
        Support points of a held-out task; one is left to predict at least.

    Returns
    -------
    array (C,)
        Root mean square of the standardized errors, 1 at least; every group counts the same.
    """
    size = family.n_available
    assert size is not None
    rng = np.random.default_rng([fit.seed, size, 0xC])
    order, squares = rng.permutation(size), []
    for k in range(min(folds, size)):
        held = np.isin(np.arange(size), order[k :: min(folds, size)])
        others, unseen = (family.subset(np.flatnonzero(part)) for part in (~held, held))
        features = last_features(_trained_anew(run, others) if family is run.plan.tasks else run)
        squares += _squared_errors(fit.prior(features, others).prior, features, fit.rows(unseen), shots, rng)
    return np.asarray(np.sqrt(np.maximum(np.mean(squares, axis=0), 1.0)))


def _trained_anew(run: Run, family: Tasks) -> Run:
    """Train as ``run`` was trained, for as many steps, on another family."""
    if run.plan.again is None:
        raise MetagdError("cannot be trained anew on a part of its groups; folds=0 fits to all of them", "run")
    plan = run.plan.again(tasks=family)
    rules: dict[str, Any] = dict.fromkeys(RULES.values()) | {"steps": max(run.record.last_step, 0)}
    again = foreground(Run(plan._replace(settings=replace(plan.settings, checkpoint=None, **rules))))
    if again.stopped == "interrupted":
        raise KeyboardInterrupt
    return again


def _squared_errors(
    prior: Belief, features: Features, rows: TaskRows, shots: int, rng: np.random.Generator
) -> list[Array]:
    """Return for each task the mean (C,) of the squared errors of its predictions, in predicted variances."""
    found = []
    for x, y, inside in zip(*rows, strict=True):
        h, targets = features(x[None, inside])[0], y[inside]
        seen, squares = min(shots, len(h) - 1), []
        for _ in range(REPEATS):
            order = rng.permutation(len(h))
            support, query = order[:seen], order[seen:]
            posterior, _ = condition(prior, h[None, support], targets[None, support])
            mean, variance = predict(posterior, h[query])
            squares.append(((targets[query] - mean) ** 2 / variance).mean(axis=0))
        found.append(np.mean(squares, axis=0))
    return found


def predict(posterior: Belief, h: Array) -> tuple[Array, Array]:
    """Predict the targets of one task.

    Parameters
    ----------
    posterior : Belief
        Of T = 1 task.
    h : array (N, H)

    Returns
    -------
    mean, variance : array (N, C)
        Noise included.
    """
    spread = np.einsum("nh,chg,ng->nc", h, posterior.covariance[0], h, optimize=True)
    return h @ posterior.mean[0].T, np.maximum(spread, 0) + posterior.noise
