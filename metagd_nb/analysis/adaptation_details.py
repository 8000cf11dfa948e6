"""Details of the adaptation of a run: influence of each support point on a prediction, and learned rates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import Meta
from ..core.errors import MetagdError
from ..core.hyperparameters import check_int
from ..tasks import Batch
from ..tasks.validation import numbers_2d, refuse_unequal
from ..training.run import Run
from .fresh_tasks import trained_method

__all__ = ["influence", "layer_rates"]


def influence(run: Run, x: ArrayLike, y: ArrayLike, x_new: ArrayLike, steps: int | None = None) -> np.ndarray:
    """Derivative of an adapted prediction with respect to the weight of each support point.

    Support point k enters the support loss with weight 1 + ε. The result is d f(x_new)/dε at ε = 0, exact through all
    adaptation steps: u ← u − α(H u + g_k), with H the Hessian of the support loss and g_k the point's share of its
    gradient. Koh & Liang take the limit of this recurrence at a minimum. The negative of the derivative approximates
    the effect of leaving the point out.

    Parameters
    ----------
    run : Run
        Of a method that adapts by gradient steps, on a built-in model without batch norm.
    x, y : array (K,) or (K, D), array (K,) or (K, C)
        The support set; for classes y is one-hot.
    x_new : array (N,) or (N, D)
        Inputs of the predictions.
    steps : int, optional
        Adaptation steps; by default those of training.

    Returns
    -------
    array (K, N), or (K, N, C) where there are several outputs

    Raises
    ------
    MetagdError
        For another method or model, and for points that do not fit together.

    References
    ----------
    P. W. Koh and P. Liang (2017), Understanding black-box predictions via influence functions.
    """
    algorithm, problem = trained_method(run, "influence"), run.plan.problem
    net = problem.net
    if net is None or net.closed_form() != "plain" or type(algorithm).path is not Meta.path:
        raise MetagdError("influence follows gradient steps of linear(…) and mlp(…) without batch norm", "run")
    inputs, targets, new = (
        numbers_2d(a, name).astype(problem.dtype) for a, name in ((x, "x"), (y, "y"), (x_new, "x_new"))
    )
    refuse_unequal("points", x=inputs, y=targets)
    count = len(inputs)
    support, each = Batch(inputs[None], targets[None]), Batch(inputs[:, None], targets[:, None])
    copies = Batch(*(np.repeat(a, count, axis=0) for a in (support.x, support.y)))
    steps = algorithm.inner_steps if steps is None else check_int(steps, "steps", 0)
    phi, rates = algorithm.start(problem, run.loop.snapshot.theta, steps)
    u = np.zeros((count, problem.layout.size), problem.dtype)  # dφ/dε, one row for each support point
    for rate in rates:
        flat = np.repeat(np.array(problem.flat(phi, 1)), count, axis=0)
        share = np.asarray(problem.linearize(flat, each).grad) / count
        u = u - rate * (np.asarray(problem.linearize(flat, copies).hvp(u)) + share)
        phi = problem.linearize(phi, support).step(rate)
    end = np.repeat(np.array(problem.flat(phi, 1)), len(new), axis=0)
    slopes = np.empty((count, len(new), net.outputs), problem.dtype)
    for output in range(net.outputs):
        cotangent = np.zeros((len(new), 1, net.outputs), problem.dtype)
        cotangent[..., output] = 1
        slopes[..., output] = u @ net.vjp(end, new[:, None], cotangent)[0].T
    return slopes[..., 0] if net.outputs == 1 else slopes


def layer_rates(run: Run, wait: bool = True) -> dict[str, tuple[float, float, float, float]]:
    """Summarize the learned inner rates of each named slice of the parameters.

    Parameters
    ----------
    run : Run
        Of a method that learns its inner rates.
    wait : bool
        False reads the present rates of a run in training.

    Returns
    -------
    dict name → (mean, least, greatest, share that is negative)

    Raises
    ------
    MetagdError
        Where no rates were learned.
    """
    algorithm, problem = trained_method(run, "layer_rates", wait), run.plan.problem
    theta = run.loop.snapshot.theta  # read once: training may replace it at any moment
    if "inner_lr" not in algorithm.learned(problem, theta):
        raise MetagdError("no inner rates were learned; use --learn-rates, or meta-sgd", "run")
    _, rates = algorithm.start(problem, theta, max(algorithm.inner_steps, 1))
    every = np.stack([np.broadcast_to(rate, (problem.layout.size,)) for rate in rates])  # (S, P)
    parts = {name: every[:, part] for name, part in problem.layout.slices.items()}
    return {
        name: (float(part.mean()), float(part.min()), float(part.max()), float((part < 0).mean()))
        for name, part in parts.items()
    }
