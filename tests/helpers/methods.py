"""Checks of the direction of any method: against its reference value, and against central differences.

They read ``ALGORITHMS``, so a new row is checked without a new test. A meta-learning method must give the gradient of
the query loss after adaptation, or the formula that it declares as ``direction``; a single-task method the gradient
of its loss.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import EXTRA, fitting, heaps, table

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.algorithms.reference import REFERENCE, Reference
from metagd_nb.core.hyperparameters import hyperparameters
from metagd_nb.core.parameters import ParameterLayout
from metagd_nb.tasks import Batch, TaskBatch
from metagd_nb.training.run import Run

STEP = 1e-5


def two_layers(params, x):  # type: ignore[no-untyped-def]
    return np.tanh(x.dot(params["W0"]) + params["b0"]).dot(params["W1"]) + params["b1"]


def crooked(prediction, target):  # type: ignore[no-untyped-def]
    return np.mean(np.log(np.cosh(prediction - target))) + 0.1 * np.mean(prediction**4) ** 0.5


def bowl(w, b):  # type: ignore[no-untyped-def]
    return np.sum(np.cosh(w - 1)) + w[0] * w[1] * b + np.exp(b)


NET = mg.mlp(1, 3, 1, activation="tanh")
META_SOURCES = ("quadratics", "built-in model", "user's model", "JAX: quadratics", "JAX: built-in model",
                "JAX: user's model")  # fmt: skip
SINGLE_SOURCES = ("built-in model", "least squares", "user's loss", "JAX: built-in model", "JAX: user's loss")


def variants(method: str) -> list[dict[str, str]]:
    """Settings that change what is computed: each choice of each field, one at a time; {} first."""
    declared = hyperparameters(ALGORITHMS[method]).values()
    return [
        {},
        *({d.name: choice} for d in declared if d.name != "outer" for choice in d.choices if choice != d.default),
    ]


def prepared(method: str, source: str, **variant: Any) -> Run:
    """A run on one source of problems, with rates that differ between parameters."""
    cls = ALGORITHMS[method]
    reference = REFERENCE.get(method)
    more: dict[str, Any] = {"dtype": "float64", "backend": "jax" if source.startswith("JAX") else "numpy"}
    source = source.removeprefix("JAX: ")
    if cls.setting == "single":
        x, y = table()
        given: dict[str, Any] = {
            "built-in model": {"model": mg.mlp(3, 2, 1, activation="tanh"), "x": x, "y": y},
            "least squares": {"model": mg.linear(3), "x": x, "y": y},
            "user's loss": {"loss": bowl, "params": {"w": np.array([0.3, -0.2]), "b": 0.1}, "data": {}},
        }[source]
        return mg.prepare(method, **given, **more, **fitting(method, {"lr": 0.05, "horizon": 3} | variant))
    settings = {"inner_steps": 2, "meta_batch_size": 3, "shots": 4, "queries": 3} | EXTRA.get(method, {}) | variant
    settings |= dict(reference.exact) if reference else {}
    rng = np.random.default_rng(0)
    size = NET.layout.size
    if getattr(cls, "embeds", False):
        classes = mg.mlp(2, 3, 3, activation="tanh")
        given = {"tasks": mg.episodes(*heaps(), ways=3)}
        given |= {"model": classes} if source == "built-in model" else {
            "model": two_layers, "params": classes.layout.views(classes.start(rng))
        }  # fmt: skip
    elif source == "quadratics":
        a, size = rng.standard_normal((3, 3, 3)), 3
        given = {"tasks": mg.quadratics(a @ a.transpose(0, 2, 1) + np.eye(3), rng.standard_normal((3, 3)))}
        settings |= {"adapted": "theta"} if "adapted" in settings else {}
    elif source == "built-in model":
        given = {"tasks": mg.mixed("sinusoid", "line"), "model": NET}
    else:
        params = NET.layout.views(NET.start(rng))
        given = {"tasks": mg.mixed("sinusoid", "line"), "model": two_layers, "params": params, "loss": crooked}
    settings["inner_lr"] = tuple(np.linspace(0.01, 0.02, size))
    return mg.prepare(method, **given, **more, **fitting(method, settings))


def slices(run: Run) -> dict[str, slice]:
    """Name → slice of all that is learned (M,); the parameters have the names of their layers."""
    layout, extra = run.plan.problem.layout, run.loop.algorithm.extra_layout(run.plan.problem)
    return layout.slices | {
        name: slice(part.start + layout.size, part.stop + layout.size) for name, part in extra.slices.items()
    }


def constants(run: Run) -> np.ndarray:
    """(M,) of bool, True where the method declares that nothing is learned."""
    held = np.zeros(len(run.loop.theta), bool)
    for name, part in slices(run).items():
        owner = "parameters" if name in run.plan.problem.layout.slices else name
        held[part] = owner in run.loop.algorithm.constants()
    return held


def objective(run: Run, theta: np.ndarray, batch: Any) -> float:
    """What the direction should be the gradient of: by the method's path alone, not by its ``meta_gradient``."""
    algorithm: Any = run.loop.algorithm
    if algorithm.setting == "single":
        return float(algorithm.evaluate(run.plan.problem, theta, algorithm.init(theta), batch).loss)
    phis = list(algorithm.path(run.plan.problem, theta, batch.support, algorithm.inner_steps))
    judged = phis[1:] if getattr(algorithm, "query_loss", "last") == "all" else phis[-1:]
    return float(np.mean([algorithm.loss(run.plan.problem, phi, batch.query).mean() for phi in judged]))


def by_formula(run: Run, theta: np.ndarray, batch: Any) -> np.ndarray:
    """(P,): the direction that the method declares."""
    algorithm: Any = run.loop.algorithm
    names = {
        "theta": theta,
        "phi": run.plan.problem.flat(algorithm.adapt(run.plan.problem, theta, batch.support), len(batch)),
        "support_grad": lambda at: run.plan.problem.linearize(at, batch.support).grad,
        "query_grad": lambda at: run.plan.problem.linearize(at, batch.query).grad,
        "shots": batch.support.x.shape[1],
        "queries": batch.query.x.shape[1],
    }
    found: np.ndarray = np.mean(eval(algorithm.direction, {}, names), axis=0)
    return found


def check_direction(method: str, source: str, **variant: Any) -> None:
    """Fail unless the direction of a method is what it claims, in every named slice of what it learns."""
    run = prepared(method, source, **variant)
    rng = np.random.default_rng(3)
    held = constants(run)
    size = run.plan.problem.layout.size
    theta = np.where(held, run.loop.theta, run.loop.theta + 0.1 * rng.standard_normal(len(run.loop.theta)))
    theta[:size] = run.plan.problem.start(np.random.default_rng(0)) + 0.3 * rng.standard_normal(size)
    batch = run.plan.batches(0)
    grad = run.loop.algorithm.evaluate(run.plan.problem, theta, run.loop.algorithm.init(theta), batch).grad
    assert np.isfinite(grad).all()
    assert not grad[held].any(), f"{method} moves what it declares constant"
    if getattr(run.loop.algorithm, "direction", ""):
        np.testing.assert_allclose(grad, by_formula(run, theta, batch), rtol=1e-10, atol=1e-12)
        return
    whole = {"theta": slice(0, len(theta))}
    for name, part in (whole if source.startswith("JAX") else slices(run)).items():  # an evaluation there takes longer
        along = np.zeros(len(theta))
        along[part] = np.where(held[part], 0, rng.standard_normal(part.stop - part.start))
        ends = (objective(run, theta + sign * STEP * along, batch) for sign in (1, -1))
        numeric = (next(ends) - next(ends)) / (2 * STEP)
        np.testing.assert_allclose(grad @ along, numeric, rtol=1e-5, atol=1e-7, err_msg=f"{method}: {name}")


def check_reference(method: str, row: Reference) -> None:
    """Fail unless a method gives the value of its row."""
    if row.problem == "parabola":
        h = row.h
        run = mg.prepare(method, loss=lambda x: 0.5 * h * x * x, params={"x": 1.0}, **row.settings, steps=20)
        if row.updates:
            run.step(row.updates)
            found = run.loop.snapshot.theta
        else:
            found = run.loop.algorithm.evaluate(
                run.plan.problem, run.loop.theta, run.loop.algorithm.init(run.loop.theta), None
            ).grad
    else:
        algorithm: Any = ALGORITHMS[method](**row.settings)
        if row.problem == "quadratic":
            a, zero = np.array([[[2.0, 1.0], [1.0, 3.0]]]), np.zeros((1, 2))
            problem = mg.prepare("maml", tasks=mg.quadratics(a, zero)).plan.problem
            problem.layout = ParameterLayout({"W0": (1,), "W1": (1,)})
            batch = TaskBatch(Batch(a, zero), Batch(a, zero))
        else:
            points, classes = heaps()
            x = np.array([[[1.0], [2.0]]])
            family = mg.episodes(points[:, :1], classes, ways=2)
            problem = mg.prepare("maml", model=mg.mlp(1, 1, 2), tasks=family).plan.problem
            batch = TaskBatch(Batch(x, np.eye(2)[None]), Batch(x[:, 1:], np.eye(2)[None, 1:]))
        theta = algorithm.init_parameters(problem, np.array(row.theta, float))
        found = algorithm.meta_gradient(problem, theta, batch).grad
    np.testing.assert_allclose(found, row.expected, rtol=1e-9, atol=2e-8 if method == "lbfgs" else 1e-11)
