"""The studio's pictures of a run, beside its loss: the inner loop, the landscape, the learned rates."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...algorithms import Meta
from ...analysis.adaptation_details import layer_rates
from ...core.errors import MetagdError
from ...plotting import style
from ...plotting.figures import RunFigure, titled
from ...plotting.interpretation import layer_rates as drawn_rates
from ...training.adaptation import curve, held_out
from ...training.loop import TrainingLoop
from ...training.persistence.replay import replay_into, replay_plan

Array = np.ndarray
KEPT = 64  # snapshots of θ
FEW, QUICK = 12, 2000  # snapshots that are too few to be looked at; steps of a run that is quickly taken once more
GRID, META_GRID = 41, 25  # points of a side of the landscape
STEEP = 30  # times as far above the lowest loss as the median is: what lies higher is drawn as high as that


class Shot(NamedTuple):
    """θ (M,) at one iteration."""

    step: int
    theta: Array
    loss: float


class History:
    """Snapshots of a run's θ, about evenly spread over its iterations, never more than `KEPT`."""

    def __init__(self) -> None:
        self.shots: list[Shot] = []
        self._stride = 1

    def add(self, shown: Any, last: bool = False) -> None:
        """Keep what is shown, unless it is too near to what was kept before; the last is always kept."""
        if shown.step < 0 or (self.shots and shown.step <= self.shots[-1].step):
            return
        if self.shots and not last and shown.step - self.shots[-1].step < self._stride:
            return
        self.shots.append(Shot(shown.step, np.array(shown.theta, float), shown.loss))
        if len(self.shots) > KEPT:
            self.shots = self.shots[::2] if len(self.shots) % 2 else [*self.shots[::2], self.shots[-1]]
            self._stride = max(2 * self._stride, 1)


def retraced(run: Any) -> History:
    """The history of a run that was over before it could be watched: taken once more, with its changes of rates."""
    again, history = TrainingLoop(replay_plan(run.loop, {})), History()
    replay_into(run.loop, again, history.add)
    history.add(again.snapshot, last=True)
    return history


def inner_loop(run: Any, shot: Shot) -> RunFigure:
    """One held-out task: its support points, and the curve after each adaptation step from θ of that iteration.

    Raises
    ------
    MetagdError
        Where there is no such picture, saying why.
    """
    algorithm, problem, tasks = run.loop.algorithm, run.plan.problem, run.plan.tasks
    if not isinstance(algorithm, Meta):
        raise MetagdError(f"{run.plan.method} has one task and no inner loop")
    theta, steps = shot.theta.astype(problem.dtype), max(algorithm.inner_steps, 1)
    found = held_out(problem, algorithm, tasks, theta, run.plan.settings.seed, steps)
    if found is None:
        raise MetagdError("these tasks have no curve to draw: their inputs are not one number")
    example, path = found
    curves = [curve(problem, algorithm, phi, example.x) for phi in path]
    figure, ax = titled(f"held-out task {example.label}, learned for {shot.step:,} steps", "x", "y")
    if example.truth is not None:
        ax.plot(
            example.x, example.truth, color=style.REFERENCE, linewidth=1.2, linestyle=(0, (4, 3)), label="true curve"
        )
    for j, drawn in enumerate(curves):
        share = j / max(len(curves) - 1, 1)
        if j in (0, len(curves) - 1):
            color = style.VERMILLION if j == 0 else style.BLUE
            told = "before adapting" if j == 0 else f"after {j} step{'s' * (j != 1)}"
            ax.plot(example.x, drawn, color=color, linewidth=1.9, label=told)
        else:
            ax.plot(example.x, drawn, color=style.BLUE, linewidth=0.9, alpha=0.25 + 0.5 * share)
    x, y = example.support.x.ravel(), example.support.y.ravel()
    ax.plot(x, y, linestyle="", marker="o", markersize=4.5, color=style.INK, label="support")
    known = np.concatenate([y, example.truth]) if example.truth is not None else y
    room = 0.6 * (known.max() - known.min() or 1.0)
    ax.set_ylim(known.min() - room, known.max() + room)
    ax.grid(True, color=style.GRID, linewidth=0.8)
    ax.legend(fontsize=style.SMALL, frameon=False, ncols=4, loc="upper left")
    figure.alt = f"{run.plan.method} on one held-out task at step {shot.step}: the curve before and after adapting"
    return figure


class Plane(NamedTuple):
    """The part of parameter space that a landscape shows: θ = origin + a·across + b·up."""

    origin: Array
    across: Array
    up: Array
    exact: bool  # whether these are the two parameters themselves
    path: Array  # (n, 2): where the run went


def plane(run: Any, shots: list[Shot]) -> Plane:
    """The two parameters themselves where there are two, else the plane of the two main directions of the path.

    Raises
    ------
    MetagdError
        Before the run has moved.
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


def heights(run: Any, where: Plane, size: int) -> tuple[Array, Array, Array]:
    """Coordinates (n,) and (n,) and the loss (n, n) on a grid around the path; the tasks of step 0 where they vary."""
    low, high = where.path.min(axis=0), where.path.max(axis=0)
    reach = np.maximum(0.35 * (high - low), 0.15 * (high - low).max() + 1e-12)
    a, b = (np.linspace(lo - r, hi + r, size) for lo, hi, r in zip(low, high, reach, strict=True))
    batch, problem, algorithm = run.plan.batches(0), run.plan.problem, run.loop.algorithm
    found = np.empty((size, size))
    with np.errstate(all="ignore"):
        for i, v in enumerate(b):
            for j, u in enumerate(a):
                theta = (where.origin + u * where.across + v * where.up).astype(problem.dtype)
                if isinstance(algorithm, Meta):
                    phi = algorithm.adapt(problem, theta, batch.support)
                    found[i, j] = float(np.mean(algorithm.loss(problem, phi, batch.query)))
                else:
                    found[i, j] = float(problem.linearize(theta, batch).loss[0])
    return a, b, found


def landscape(run: Any, shots: list[Shot]) -> RunFigure:
    """The loss around the path that the run took, and the path."""
    where = plane(run, shots)
    a, b, loss = heights(run, where, META_GRID if isinstance(run.loop.algorithm, Meta) else GRID)
    title = "loss and path" if where.exact else "loss in the plane of the path's two main directions"
    names = _two(run) if where.exact else ("first direction", "second direction")
    figure, ax = titled(title, *names)
    finite = loss[np.isfinite(loss)]
    if len(finite):
        low, usual = finite.min(), max(np.median(finite) - finite.min(), 1e-12)
        high = low + STEEP * usual  # one corner that explodes must not leave the rest in one colour
        shown = np.log10(np.clip(loss, low, high) - low + 1e-3 * usual)
        ax.contourf(a, b, shown, levels=18, cmap="Blues_r", alpha=0.75)
        ax.contour(a, b, shown, levels=18, colors=style.GRID, linewidths=0.4)
    ax.plot(*where.path.T, color=style.VERMILLION, linewidth=1.4, marker="o", markersize=2.5)
    ax.plot(*where.path[0], marker="s", markersize=7, color=style.INK, linestyle="", label="start")
    ax.plot(*where.path[-1], marker="*", markersize=12, color=style.INK, linestyle="", label="now")
    ax.legend(fontsize=style.SMALL, frameon=True, facecolor=style.SURFACE, edgecolor="none")
    figure.alt = f"contours of the loss of {run.plan.method}, darker where it is lower, and the path from start to now"
    return figure


def _two(run: Any) -> tuple[str, str]:
    shapes = run.plan.problem.layout.shapes
    names = list(shapes) if len(shapes) == 2 else [f"{next(iter(shapes))}[{i}]" for i in (0, 1)]
    return names[0], names[1]


def rates(run: Any) -> RunFigure:
    """The inner rates as learned up to now, by part of the model: from the least to the greatest, and the mean.

    Raises
    ------
    MetagdError
        Where none are learned.
    """
    return drawn_rates(layer_rates(run, wait=False))
