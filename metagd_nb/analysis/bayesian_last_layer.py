"""Bayesian last layer on the features that a run has learned: predictions with their uncertainty, in closed form.

Each task has its own weights w on the features h(x), drawn from a Gaussian prior that all tasks share;
y = w·h(x) + noise. The posterior of a task is then Gaussian, and the prior is fitted by expectation maximization. The
model is that of ALPaCA (Harrison, Sharma & Pavone 2018, eq. 5–8) with these differences: the features stay as learned,
the prior maximizes the evidence of whole tasks instead of the predictive likelihood, and outputs are independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import MetagdError
from ..core.hyperparameters import check_float, check_int
from ..tasks import Batch, Tasks
from ..tasks.validation import numbers_2d, refuse_unequal
from ..training.evaluation import check_tasks
from ..training.run import Run
from .fresh_tasks import family_of
from .gaussian_weights import Array, Belief, condition, fit_prior

Features = Callable[[Array], Array]


class Prediction(NamedTuple):
    """Predictive distribution of new targets.

    Attributes
    ----------
    mean, std : array (N,) or (N, C)
        Mean and standard deviation, noise included; of the number of dimensions of the task's ``y``.
    """

    mean: Array
    std: Array

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Central prediction interval.

        Parameters
        ----------
        level : float
            Probability that a target lies in the interval, 0 < level < 1.

        Returns
        -------
        low, high : array (N,) or (N, C)

        Raises
        ------
        MetagdError
            For a level that is not > 0 and < 1.
        """
        level = check_float(level, "level", 0)
        if not 0 < level < 1:
            raise MetagdError(f"{level:g} is not allowed; needs a number > 0 and < 1", "level")
        reach = NormalDist().inv_cdf((1 + level) / 2) * self.std
        return self.mean - reach, self.mean + reach


@dataclass(frozen=True)
class BayesianLastLayer:
    """Features and prior of a Bayesian last layer; see `bayesian_last_layer`.

    Attributes
    ----------
    features : function
        (T, K, D) → (T, K, H).
    inputs : int
        D.
    prior : Belief
        Mean (C, H), covariance (C, H, H) and noise variance (C,) of the last layer's weights.
    log_evidence : array
        Of all targets of the fit, in each iteration; it never falls.
    """

    features: Features
    inputs: int
    prior: Belief
    log_evidence: Array

    def __repr__(self) -> str:
        outputs, width = self.prior.mean.shape
        noise = ", ".join(f"{s:.4g}" for s in np.sqrt(self.prior.noise))
        return f"Bayesian last layer: {width} features, {outputs} output{'s' * (outputs != 1)}, noise {noise}"

    def adapt(self, x: ArrayLike, y: ArrayLike) -> Callable[[ArrayLike], Prediction]:
        """Condition the prior on the points of a new task.

        Parameters
        ----------
        x : array (K,) or (K, D)
        y : array (K,) or (K, C)

        Returns
        -------
        function
            ``f(x_new)`` → `Prediction`, for x_new (N,) or (N, D).

        Raises
        ------
        MetagdError
            For points that do not fit each other or the features.
        """
        inputs, targets = numbers_2d(x, "x"), numbers_2d(y, "y")
        refuse_unequal("points", x=inputs, y=targets)
        _check_columns(inputs, self.inputs, "x")
        _check_columns(targets, len(self.prior.noise), "y")
        flat = np.ndim(y) == 1
        posterior, _ = condition(self.prior, self.features(inputs[None]), targets[None])

        def predict(x_new: ArrayLike) -> Prediction:
            new = numbers_2d(x_new, "x_new")
            _check_columns(new, self.inputs, "x_new")
            h = self.features(new[None])[0]  # (N, H)
            mean = h @ posterior.mean[0].T
            spread = np.einsum("nh,chg,ng->nc", h, posterior.covariance[0], h, optimize=True)
            std = np.sqrt(np.maximum(spread, 0) + self.prior.noise)
            return Prediction(mean[:, 0], std[:, 0]) if flat else Prediction(mean, std)

        return predict


def _check_columns(array: Array, needed: int, name: str) -> None:
    if array.shape[1] != needed:
        raise MetagdError(f"has {array.shape[1]} columns; needs {needed}", name)


def bayesian_last_layer(
    run: Run, tasks: Tasks | None = None, points: int = 20, n_tasks: int = 300, seed: int = 2, iterations: int = 100
) -> BayesianLastLayer:
    """Fit a Bayesian last layer to the features of a trained run.

    Parameters
    ----------
    run : Run
        Of a meta-learning method with `linear` or `mlp`.
    tasks : Tasks, optional
        The family that the prior is fitted to; by default that of training.
    points, n_tasks : int
        Points of each task, and number of tasks, that the prior is fitted to.
    seed : int
        Seed of the tasks drawn.
    iterations : int
        Largest number of iterations of the fit.

    Returns
    -------
    BayesianLastLayer

    Raises
    ------
    MetagdError
        For a model without features, or tasks that do not fit it.
    """
    net = run.plan.problem.net
    if net is None:
        raise MetagdError("has no features; needs a built-in model with a last layer", "run")
    if net.norm:
        raise MetagdError("normalizes over what is predicted together; needs a model without norm", "run")
    family = family_of(run, tasks)
    check_tasks(run.plan.problem, family)
    if family.loss != "mse":
        raise MetagdError(f"{family!r} is judged by {family.loss}; needs numbers to predict, judged by mse", "tasks")
    points, n_tasks = check_int(points, "points", 2), check_int(n_tasks, "n_tasks", 2)
    seed, iterations = check_int(seed, "seed", 0), check_int(iterations, "iterations", 1)
    flat = run.plan.problem.layout.flatten(run.params)  # float64, and waits for a run under way

    def features(x: Array) -> Array:
        h = np.asarray(net.features(flat, x))
        return np.concatenate([h, np.ones_like(h[..., :1])], axis=-1) if net.bias else h

    rng = np.random.default_rng([seed, n_tasks, 0xB])  # no stream that training or evaluation draws from
    drawn = family.sample(rng, 1, n_tasks, points - 1, 1)
    both = Batch(*(np.concatenate(pair, axis=1) for pair in zip(*((b.x, b.y) for b in drawn), strict=True)))
    prior, evidence = fit_prior(features(both.x), both.y, iterations)
    return BayesianLastLayer(features, net.inputs, prior, evidence)
