"""Views of a run in the studio, beside its loss: the inner loop, the loss landscape, the learned rates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...algorithms import Meta
from ...analysis.adaptation_details import layer_rates
from ...core.errors import MetagdError
from ...plotting import style
from ...plotting.figures import RunFigure, titled
from ...plotting.interpretation import layer_rates as rates_figure
from ...training.adaptation import curve, held_out, origin
from ...training.executors.base import Snapshot
from ...training.loop import TrainingLoop
from ...training.persistence.replay import replay_into, replay_plan
from ...training.run import Run

Array = np.ndarray
LIMIT = 64  # snapshots of θ
FEW, QUICK = 12, 2000  # snapshots that are too few for the views; steps of a run that is repeated in a short time
GRID, META_GRID = 41, 25  # points of a side of the landscape
STEEP = 30  # the drawn range of losses, as a multiple of the median's height above the lowest loss


class Shot(NamedTuple):
    """θ (M,) at one iteration."""

    step: int
    theta: Array
    loss: float


class History:
    """Snapshots of a run's θ, spread about evenly over its iterations, at most `LIMIT`."""

    def __init__(self) -> None:
        self.shots: list[Shot] = []
        self._stride = 1

    def add(self, snapshot: Snapshot, last: bool = False) -> None:
        """Add a snapshot, unless it is too close to the one before; the last one is always added."""
        if snapshot.step < 0 or (self.shots and snapshot.step <= self.shots[-1].step):
            return
        if self.shots and not last and snapshot.step - self.shots[-1].step < self._stride:
            return
        self.shots.append(Shot(snapshot.step, np.array(snapshot.theta, float), snapshot.loss))
        if len(self.shots) > LIMIT:
            self.shots = self.shots[::2] if len(self.shots) % 2 else [*self.shots[::2], self.shots[-1]]
            self._stride = max(2 * self._stride, 1)


def retraced(run: Run) -> History:
    """Return the history of a run that ended too soon to be observed, by repeating it with its changes of rates."""
    again, history = TrainingLoop(replay_plan(run.loop, {})), History()
    replay_into(run.loop, again, history.add)
    history.add(again.snapshot, last=True)
    return history


def inner_loop(run: Run, shot: Shot) -> RunFigure:
    """Draw one held-out task: its support points, and the curve after each adaptation step from one snapshot.

    Parameters
    ----------
    run : Run
    shot : Shot
        The snapshot from which the task is adapted.

    Returns
    -------
    RunFigure

    Raises
    ------
    MetagdError
        If the run has no inner loop, or its tasks are no curves.
    """
    algorithm, problem, tasks = run.loop.algorithm, run.plan.problem, run.plan.tasks
    if not isinstance(algorithm, Meta):
        raise MetagdError(f"{run.plan.method} has one task and no inner loop")
    theta, steps = shot.theta.astype(problem.dtype), max(algorithm.inner_steps, 1)
    path = None if tasks is None else held_out(problem, algorithm, tasks, theta, run.plan.settings.seed, steps)
    if path is None or tasks is None:
        raise MetagdError("these tasks have no curve to draw: their inputs are not one number")
    (example, steps_taken), kind = path, origin(tasks)
    curves = [curve(problem, algorithm, phi, example.x) for phi in steps_taken]
    figure, ax = titled(f"{kind} task {example.label}, learned for {shot.step:,} steps", "x", "y")
    if example.truth is not None:
        ax.plot(
            example.x, example.truth, color=style.REFERENCE, linewidth=1.2, linestyle=(0, (4, 3)), label="true curve"
        )
    last = len(curves) - 1
    for j, y in enumerate(curves[1:-1], 1):
        ax.plot(example.x, y, color=style.BLUE, linewidth=0.9, alpha=0.25 + 0.5 * j / last)
    ax.plot(example.x, curves[0], color=style.VERMILLION, linewidth=1.9, label="before adapting")
    ax.plot(example.x, curves[-1], color=style.BLUE, linewidth=1.9, label=f"after {last} step{'s' * (last != 1)}")
    x, y = example.support.x.ravel(), example.support.y.ravel()
    ax.plot(x, y, linestyle="", marker="o", markersize=4.5, color=style.INK, label="support")
    known = np.concatenate([y, example.truth]) if example.truth is not None else y
    room = 0.6 * (known.max() - known.min() or 1.0)
    ax.set_ylim(known.min() - room, known.max() + room)
    ax.grid(True, color=style.GRID, linewidth=0.8)
    ax.legend(fontsize=style.SMALL, frameon=False, ncols=4, loc="upper left")
    figure.alt = f"{run.plan.method} on one {kind} task at step {shot.step}: the curve before and after adapting"
    return figure


class Plane(NamedTuple):
    """The plane of parameter space that a landscape shows: θ = origin + a·across + b·up."""

    origin: Array
    across: Array
    up: Array
    exact: bool  # True if the coordinates are the two parameters
    path: Array  # (n, 2): coordinates of the snapshots


def plane(shots: list[Shot]) -> Plane:
    """Return the plane of the two parameters, or of the two main directions of the path where there are more.

    Parameters
    ----------
    shots : list of Shot
        The path.

    Returns
    -------
    Plane

    Raises
    ------
    MetagdError
        Before the first step, and for a single parameter.
    """
    thetas = np.array([shot.theta for shot in shots])
    thetas = thetas[np.isfinite(thetas).all(axis=1)]
    if len(thetas) < 2:
        raise MetagdError("the landscape appears when the run has moved")
    if thetas.shape[1] == 2:
        return Plane(np.zeros(2), np.array([1.0, 0.0]), np.array([0.0, 1.0]), True, thetas)
    if thetas.shape[1] == 1:
        raise MetagdError("one parameter has no plane; its loss curve says it all")
    origin = thetas[-1]
    _, _, directions = np.linalg.svd(thetas - origin, full_matrices=False)
    across, up = directions[0], directions[1]
    return Plane(origin, across, up, False, (thetas - origin) @ np.stack([across, up], axis=1))


def heights(run: Run, where: Plane, size: int) -> tuple[Array, Array, Array]:
    """Evaluate the loss on a grid around the path, on the tasks of step 0 where they vary.

    Parameters
    ----------
    run : Run
    where : Plane
    size : int
        Points of a side, n.

    Returns
    -------
    across, up : (n,) arrays
        Coordinates in the plane.
    loss : (n, n) array
    """
    low, high = where.path.min(axis=0), where.path.max(axis=0)
    reach = np.maximum(0.35 * (high - low), 0.15 * (high - low).max() + 1e-12)
    a, b = (np.linspace(lo - r, hi + r, size) for lo, hi, r in zip(low, high, reach, strict=True))
    batch, problem, algorithm = run.plan.batches(0), run.plan.problem, run.loop.algorithm
    loss = np.empty((size, size))
    with np.errstate(all="ignore"):
        for i, v in enumerate(b):
            for j, u in enumerate(a):
                theta = (where.origin + u * where.across + v * where.up).astype(problem.dtype)
                if isinstance(algorithm, Meta):
                    phi = algorithm.adapt(problem, theta, batch.support)
                    loss[i, j] = float(np.mean(algorithm.loss(problem, phi, batch.query)))
                else:
                    loss[i, j] = float(problem.linearize(theta, batch).loss[0])
    return a, b, loss


def landscape(run: Run, shots: list[Shot]) -> RunFigure:
    """Draw the loss around the path of a run, and the path."""
    where = plane(shots)
    a, b, loss = heights(run, where, META_GRID if isinstance(run.loop.algorithm, Meta) else GRID)
    title = "loss and path" if where.exact else "loss in the plane of the path's two main directions"
    names = _axis_names(run) if where.exact else ("first direction", "second direction")
    figure, ax = titled(title, *names)
    finite = loss[np.isfinite(loss)]
    if len(finite):
        low, usual = finite.min(), max(np.median(finite) - finite.min(), 1e-12)
        high = low + STEEP * usual  # so that one very high corner does not leave the rest in one color
        shown = np.log10(np.clip(loss, low, high) - low + 1e-3 * usual)
        ax.contourf(a, b, shown, levels=18, cmap="Blues_r", alpha=0.75)
        ax.contour(a, b, shown, levels=18, colors=style.GRID, linewidths=0.4)
    ax.plot(*where.path.T, color=style.VERMILLION, linewidth=1.4, marker="o", markersize=2.5)
    ax.plot(*where.path[0], marker="s", markersize=7, color=style.INK, linestyle="", label="start")
    ax.plot(*where.path[-1], marker="*", markersize=12, color=style.INK, linestyle="", label="now")
    ax.legend(fontsize=style.SMALL, frameon=True, facecolor=style.SURFACE, edgecolor="none")
    figure.alt = f"contours of the loss of {run.plan.method}, darker where it is lower, and the path from start to now"
    return figure


def _axis_names(run: Run) -> tuple[str, str]:
    """Return the names of the two parameters: ``w, b`` or ``w[0], w[1]``."""
    shapes = run.plan.problem.layout.shapes
    names = list(shapes) if len(shapes) == 2 else [f"{next(iter(shapes))}[{i}]" for i in (0, 1)]
    return names[0], names[1]


def rates(run: Run) -> RunFigure:
    """Draw the inner rates learned so far, by part of the model: their range and their mean.

    Raises
    ------
    MetagdError
        If the method learns no rates.
    """
    return rates_figure(layer_rates(run, wait=False))
