"""Small runs that several test files share: one for each row of the table of methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.core.hyperparameters import hyperparameters
from metagd_nb.problems.base import Problem
from metagd_nb.tasks import Batch
from metagd_nb.training.run import Run

METHODS = list(ALGORITHMS)
DESCENT = [name for name, kind in ALGORITHMS.items() if kind.setting == "single"]
META = [name for name, kind in ALGORITHMS.items() if kind.setting == "meta"]
BY_STEPS = [name for name in META if name != "protonet"]  # that adapt by gradient steps, on tasks of any kind


def table(n: int = 30, d: int = 3, outputs: int = 1, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """x (n, d) and y (n, outputs) of a noisy linear relation."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, x @ rng.standard_normal((d, outputs)) + 0.3 * rng.standard_normal((n, outputs)) + 1.0


def heaps(classes: int = 8, rows: int = 20, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """x (n, 2) and class labels (n,): each class lies around a middle of its own."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(classes), rows)
    x = 2 * rng.standard_normal((classes, 2))[number] + rng.standard_normal((classes * rows, 2))
    return x, np.array(list("abcdefghijklmnop"))[number]


def arguments(method: str) -> dict[str, Any]:
    """What ``prepare`` needs for a small run of this method, without the options."""
    if method == "protonet":
        return {"model": mg.mlp(2, 5, 3, activation="tanh"), "tasks": mg.episodes(*heaps(), ways=3)}
    if method in META:
        return {"model": mg.mlp(1, 5, 1, activation="tanh"), "tasks": mg.sinusoid()}
    x, y = table()
    return {"model": mg.linear(3), "x": x, "y": y}


EXTRA: dict[str, dict[str, Any]] = {
    # more than a small net's loss curves down, and a start that stays near such, however many steps are made
    "imaml": {"lam": 40.0, "cg_tol": 0.0, "meta_lr": 1e-5},
    "cavia": {"adapted": "b0"},  # any parameters may be the context
}


def options(method: str) -> dict[str, Any]:
    """Settings under which the small run is short and moves."""
    if method not in META:
        return {}
    small = {"inner_lr": 0.02, "inner_steps": 2, "meta_batch_size": 4, "meta_lr": 0.01} | EXTRA.get(method, {})
    return fitting(method, small)


def fitting(method: str, given: dict[str, Any]) -> dict[str, Any]:
    """Of some settings, those that this method has; what is no method's setting stays."""
    foreign = {name for kind in ALGORITHMS.values() for name in hyperparameters(kind)} - set(
        hyperparameters(ALGORITHMS[method])
    )
    return {name: value for name, value in given.items() if name not in foreign}


def prepared(method: str, **given: Any) -> Run:
    """A small run that has not started."""
    return mg.prepare(method, **(arguments(method) | options(method) | {"steps": 12} | given))


def trained(method: str, **given: Any) -> Run:
    """A small run, finished in the calling thread."""
    from metagd_nb.training.drivers import drive

    return drive(prepared(method, **given))


def deterministic(run: Run) -> Iterator[tuple[str, np.ndarray]]:
    """The columns that the same run must give again: all but the clock."""
    return ((name, run.record[name]) for name in run.record.columns if name != "seconds")


def assert_same(a: Run, b: Run) -> None:
    """Equal to the bit: rows, parameters and reason."""
    assert len(a.record) == len(b.record)
    for (name, left), (_, right) in zip(deterministic(a), deterministic(b), strict=True):
        np.testing.assert_array_equal(left, right, err_msg=name)
    np.testing.assert_array_equal(a.loop.snapshot.theta, b.loop.snapshot.theta)
    assert a.stopped == b.stopped


def assert_derivatives(problem: Problem, theta: np.ndarray, batch: Batch, v: np.ndarray) -> Any:
    """Compare gradient and Hessian·vector at θ (P,) with central differences along v (T, P); return the point."""
    step = 1e-5
    point, many = problem.linearize(theta, batch), np.tile(theta, (len(v), 1))
    ahead, behind = (problem.linearize(many + sign * step * v, batch) for sign in (1, -1))
    along = (ahead.loss - behind.loss) / (2 * step)
    np.testing.assert_allclose((np.asarray(point.grad) * v).sum(axis=1), along, rtol=1e-7, atol=1e-8)
    second = (np.asarray(ahead.grad) - np.asarray(behind.grad)) / (2 * step)
    np.testing.assert_allclose(np.asarray(point.hvp(v)), second, rtol=1e-6, atol=1e-7)
    return point


def differences(f: Callable[[np.ndarray], Any], theta: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of ``f`` along every coordinate of θ (P,): (P, …)."""
    return np.array([(f(theta + step * e) - f(theta - step * e)) / (2 * step) for e in np.eye(len(theta))])
