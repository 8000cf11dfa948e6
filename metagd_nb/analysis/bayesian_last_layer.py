"""Bayesian last layer on the features that a run has learned: predictions with their uncertainty, in closed form.

Each task has its own weights w on the features h(x), drawn from a Gaussian prior that all tasks share;
y = w·h(x) + noise. The posterior of a task is then Gaussian, and the prior is fitted by expectation maximization. The
model is that of ALPaCA (Harrison, Sharma & Pavone 2018, eq. 5–8) with these differences: the features stay as learned,
the prior maximizes the evidence of whole tasks instead of the predictive likelihood, and outputs are independent.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import Meta
from ..core.errors import MetagdError
from ..core.hyperparameters import check_float, check_int
from ..tasks import Tasks
from ..tasks.validation import numbers_2d, refuse_unequal
from ..training.evaluation import check_tasks
from ..training.run import Run
from .fresh_tasks import family_of
from .gaussian_weights import Array, Belief, condition
from .held_out_scale import Features, Fit, held_out_scale, last_features
from .held_out_scale import predict as predict_targets


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
        from statistics import NormalDist  # deferred: slow to import

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
        Of all targets of the fit, in each iteration (`gaussian_weights.PriorFit`); it never falls.
    converged : bool
        False if the fit of the prior was ended by the number of iterations.
    scale : array (C,), optional
        Factor of the standard deviations, from held-out groups; it is contained in ``prior``.
    """

    features: Features
    inputs: int
    prior: Belief
    log_evidence: Array
    converged: bool = True
    scale: Array | None = None

    def __repr__(self) -> str:
        outputs, width = self.prior.mean.shape
        noise = ", ".join(f"{s:.4g}" for s in np.sqrt(self.prior.noise))
        text = f"Bayesian last layer: {width} features, {outputs} output{'s' * (outputs != 1)}, noise {noise}"
        if self.scale is not None:
            text += f", widened {', '.join(f'{s:.3g}' for s in self.scale)} times for held-out groups"
        return text if self.converged else f"{text}; not converged"

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
            mean, variance = predict_targets(posterior, self.features(new[None])[0])
            std = np.sqrt(variance)
            return Prediction(mean[:, 0], std[:, 0]) if flat else Prediction(mean, std)

        return predict


def _check_columns(array: Array, needed: int, name: str) -> None:
    if array.shape[1] != needed:
        raise MetagdError(f"has {array.shape[1]} columns; needs {needed}", name)


def _check(run: Run, tasks: Tasks | None) -> Tasks:
    """Return the family that the prior is fitted to, after checking that run and family suit a last layer."""
    net = run.plan.problem.net
    if net is None:
        raise MetagdError("has no features; needs a built-in model with a last layer", "run")
    if net.norm:
        raise MetagdError("normalizes over what is predicted together; needs a model without norm", "run")
    family = family_of(run, tasks)
    check_tasks(run.plan.problem, family)
    if family.loss != "mse":
        raise MetagdError(f"{family!r} is judged by {family.loss}; needs numbers to predict, judged by mse", "tasks")
    return family


def bayesian_last_layer(
    run: Run,
    tasks: Tasks | None = None,
    points: int | None = None,
    n_tasks: int = 300,
    seed: int = 2,
    iterations: int = 1000,
    folds: int = 4,
) -> BayesianLastLayer:
    """Fit a Bayesian last layer to the features of a trained run.

    Of a family that makes new tasks without end, the prior is fitted to tasks that the run has not seen. Where the
    tasks are limited in number, such as the groups of a table, they are used for the features and for the prior; the
    scale of its variances is then fitted to groups that were left out of both, fold by fold. This trains the run
    ``folds`` times more if ``tasks`` is the family that it has learned from.

    Parameters
    ----------
    run : Run
        Of a meta-learning method with `linear` or `mlp`.
    tasks : Tasks, optional
        The family that the prior is fitted to; by default that of training.
    points : int, optional
        Points of each task at most; by default 20, and of a group up to 200 rows. Groups with fewer rows give all.
    n_tasks : int
        Number of tasks that are drawn; every group is used once.
    seed : int
        Seed of the tasks drawn.
    iterations : int
        Largest number of iterations of the fit; a warning says if it has not converged.
    folds : int
        Parts that are held out in turn; 0 leaves the variances as fitted, which are too small for few groups.

    Returns
    -------
    BayesianLastLayer

    Raises
    ------
    MetagdError
        For a model without features, or tasks that do not fit it.
    """
    family = _check(run, tasks)
    fit = Fit(
        None if points is None else check_int(points, "points", 2),
        check_int(n_tasks, "n_tasks", 2),
        check_int(seed, "seed", 0),
        check_int(iterations, "iterations", 1),
    )
    folds, features = check_int(folds, "folds", 0), last_features(run)
    prior, evidence, converged = fit.prior(features, family)
    if not converged:
        warnings.warn(
            f"the prior of the last layer has not converged after {fit.iterations} iterations;"
            f" iterations={10 * fit.iterations} goes on",
            stacklevel=2,
        )
    plain = BayesianLastLayer(features, family.inputs, prior, evidence, converged)
    if folds < 2 or family.n_available is None:
        return plain
    if family.n_available < 2 or not family.divisible:
        warnings.warn(f"{family!r} cannot be divided: variances as fitted, too small for new tasks", stacklevel=2)
        return plain
    shots = run.loop.algorithm.shots if isinstance(run.loop.algorithm, Meta) else 1
    scale = held_out_scale(run, family, fit, folds, shots)
    wider = Belief(prior.mean, prior.covariance * scale[:, None, None] ** 2, prior.noise * scale**2)
    return replace(plain, prior=wider, scale=scale)
