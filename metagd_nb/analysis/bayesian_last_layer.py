"""How sure is an adapted model? A Bayesian last layer, in closed form, on features that a run has learned.

Each task has weights w of its own on the features h(x), drawn from a Gaussian that all tasks share; y = w·h(x) + noise.
Given that prior, everything about a new task is Gaussian and exact. The prior itself is fitted by expectation
maximisation, whose two steps are closed forms too. After ALPaCA (Harrison, Sharma & Pavone 2018, eq. 5–8), with these
differences: the features stay as the run has learned them, the prior maximises the evidence of whole tasks
where ALPaCA descends the predictive likelihood, and outputs are independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core.errors import MetagdError
from ..core.hyperparameters import check_float, check_int
from ..tasks import Batch, Tasks
from ..tasks.validation import numbers_2d, refuse_unequal
from ..training.evaluation import check_tasks as refuse_unfit

if TYPE_CHECKING:
    from ..training.run import Run

Array = np.ndarray
Features = Callable[[Array], Array]
FLOOR = 1e-9  # share of the targets' mean square below which noise is taken for rounding


class Prediction(NamedTuple):
    """What is believed of new targets: mean and standard deviation (noise included), (N,) or (N, C) as ``y`` was."""

    mean: Array
    std: Array

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """The ends, low and high, of the central interval that holds a target with this probability."""
        level = check_float(level, "level", 0)
        if not 0 < level < 1:
            raise MetagdError(f"{level:g} is not allowed; needs a number > 0 and < 1", "level")
        reach = NormalDist().inv_cdf((1 + level) / 2) * self.std
        return self.mean - reach, self.mean + reach


class Belief(NamedTuple):
    """A Gaussian over the last layer's weights, one an output, and its noise."""

    mean: Array  # (…, C, H)
    covariance: Array  # (…, C, H, H)
    noise: Array  # (C,) variance


def condition(prior: Belief, h: Array, y: Array) -> tuple[Belief, Array]:
    """The posterior given features ``h`` (T, K, H) and targets ``y`` (T, K, C), and the log evidence (T, C).

    G = h S hᵀ + σ²I is the covariance of the targets; with the gain S hᵀG⁻¹ no H×H matrix is inverted, so features
    that are always zero and more features than points do no harm.
    """
    mean, cov, noise = prior
    h = h[:, None]  # (T, 1, K, H)
    off = np.swapaxes(y, 1, 2)[..., None] - h @ mean[..., None]  # (T, C, K, 1)
    spread = h @ cov  # (T, C, K, H)
    gram = spread @ np.swapaxes(h, -1, -2) + noise[:, None, None] * np.eye(h.shape[-2])
    solved = np.linalg.solve(gram, np.concatenate([spread, off], axis=-1))  # G⁻¹(h S), G⁻¹(y − h m)
    gain, pulled = np.swapaxes(solved[..., :-1], -1, -2), solved[..., -1:]
    posterior = Belief(mean + (gain @ off)[..., 0], cov - gain @ spread, noise)
    logdet = 2 * np.log(np.diagonal(np.linalg.cholesky(gram), axis1=-2, axis2=-1)).sum(axis=-1)
    check_tasks = (off * pulled).sum(axis=(-1, -2))
    return posterior, -0.5 * (check_tasks + logdet + h.shape[-2] * np.log(2 * np.pi))


def fit_prior(h: Array, y: Array, iterations: int = 100, tol: float = 1e-6) -> tuple[Belief, Array]:
    """The prior under which the tasks ``h`` (T, K, H), ``y`` (T, K, C) are likeliest, and the log evidence on the way.

    Expectation maximisation (Dempster, Laird & Rubin 1977; the hierarchical linear model): the evidence never falls.
    It ends when the evidence of a target changes by less than ``tol``.
    """
    points, width = h.shape[0] * h.shape[1], h.shape[-1]
    flat_h, flat_y = h.reshape(points, width), y.reshape(points, -1)
    mean = np.linalg.lstsq(flat_h, flat_y, rcond=None)[0].T  # (C, H): all tasks pooled
    square = np.maximum(((flat_y - flat_h @ mean.T) ** 2).mean(axis=0), FLOOR)  # (C,)
    size = max(float((flat_h**2).sum(axis=1).mean()), FLOOR)
    floor = FLOOR * np.maximum((flat_y**2).mean(axis=0), FLOOR)
    belief = Belief(mean, square[:, None, None] / size * np.eye(width), np.maximum(0.1 * square, floor))
    evidence: list[float] = []
    for _ in range(iterations):
        posterior, found = condition(belief, h, y)
        evidence.append(float(found.sum()))
        if len(evidence) > 1 and evidence[-1] - evidence[-2] < tol * y.size:
            break
        belief = _likelier(posterior, h, y, floor)
    return belief, np.array(evidence)


def _likelier(posterior: Belief, h: Array, y: Array, floor: Array) -> Belief:
    """The maximisation step: moments of the tasks' weights, and of what they leave unexplained."""
    mean = posterior.mean.mean(axis=0)  # (C, H)
    off = posterior.mean - mean
    cov = posterior.covariance.mean(axis=0) + np.einsum("tch,tcg->chg", off, off) / len(off)
    left = y - h @ np.swapaxes(posterior.mean, 1, 2)  # (T, K, C)
    unsure = np.einsum("thg,tchg->c", np.swapaxes(h, 1, 2) @ h, posterior.covariance)
    noise = ((left**2).sum(axis=(0, 1)) + unsure) / (h.shape[0] * h.shape[1])
    return Belief(mean, cov, np.maximum(noise, floor))


@dataclass(frozen=True)
class BayesianLastLayer:
    """Features, and what is believed of the last layer before any point of a task is seen; see `bayesian_last_layer`.

    Attributes
    ----------
    features : function
        (T, K, D) → (T, K, H).
    inputs : int
        D.
    prior : Belief
        Mean (C, H), covariance (C, H, H) and noise variance (C,) of the last layer's weights.
    log_evidence : array
        Of all targets it was fitted on, iteration by iteration; it never falls.
    """

    features: Features
    inputs: int
    prior: Belief
    log_evidence: Array

    def __repr__(self) -> str:
        outputs, width = self.prior.mean.shape
        noise = ", ".join(f"{s:.4g}" for s in np.sqrt(self.prior.noise))
        return f"Bayesian last layer: {width} features, {outputs} output{'s' * (outputs != 1)}, noise {noise}"

    def adapt(self, x: Any, y: Any) -> Callable[[Any], Prediction]:
        """What a new task's points ``x`` (K,) or (K, D), ``y`` (K,) or (K, C) tell: ``f(x_new)`` → `Prediction`.

        Raises
        ------
        MetagdError
            For points that do not fit each other or the features.
        """
        inputs, targets = numbers_2d(x, "x"), numbers_2d(y, "y")
        refuse_unequal("points", x=inputs, y=targets)
        for name, array, needed in (("x", inputs, self.inputs), ("y", targets, len(self.prior.noise))):
            if array.shape[1] != needed:
                raise MetagdError(f"has {array.shape[1]} columns; needs {needed}", name)
        flat = np.ndim(y) == 1
        posterior, _ = condition(self.prior, self.features(inputs[None]), targets[None])

        def predict(x_new: Any) -> Prediction:
            new = numbers_2d(x_new, "x_new")
            if new.shape[1] != self.inputs:
                raise MetagdError(f"has {new.shape[1]} columns; needs {self.inputs}", "x_new")
            h = self.features(new[None])[0]  # (N, H)
            mean = h @ posterior.mean[0].T
            spread = np.einsum("nh,chg,ng->nc", h, posterior.covariance[0], h, optimize=True)
            std = np.sqrt(np.maximum(spread, 0) + self.prior.noise)
            return Prediction(mean[:, 0], std[:, 0]) if flat else Prediction(mean, std)

        return predict


def bayesian_last_layer(
    run: Run, tasks: Tasks | None = None, points: int = 20, n_tasks: int = 300, seed: int = 2, iterations: int = 100
) -> BayesianLastLayer:
    """A last layer that knows how sure it is, on the features of a trained run.

    Parameters
    ----------
    run : Run
        Of a meta-learning method with `linear` or `mlp`.
    tasks : Tasks, optional
        The family the prior is fitted to; by default that of training.
    points, n_tasks : int
        Points a task, and tasks, that the prior is fitted to.
    seed, iterations : int
        Of the drawing; of the expectation maximisation, at most.

    Raises
    ------
    MetagdError
        Where there are no features or no tasks, or they do not fit.
    """
    net = run.plan.problem.net
    if net is None:
        raise MetagdError("has no features; needs a built-in model with a last layer", "run")
    if net.norm:
        raise MetagdError("normalises over what is predicted together; needs a model without norm", "run")
    family = run.plan.tasks if tasks is None else tasks
    if family is None:
        raise MetagdError(f"is missing; {run.plan.method} was trained on one task only", "tasks")
    refuse_unfit(run.plan.problem, family)
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
