"""Is a user's own gradient the derivative of their loss? Each defect is named in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import MetagdError
from ..core.parameters import ParameterLayout
from .autograd.loss import LossProblem
from .base import Array
from .capture.errors import raised
from .capture.signature import data_names, flat_gradient, missing_arguments, namespace_of, reads_missing, similar

NEARBY = 2  # points beside the start, which may be stationary: there every gradient is zero and no sign can be seen
SPREAD = 0.1  # their distance from it, in units of each coordinate (at least 1)


@dataclass(frozen=True)
class GradientReport:
    """Result of a gradient check.

    Attributes
    ----------
    lines : tuple of str
        One a defect, in the order in which they are to be mended; or one that says the gradient is right.
    fatal : bool
        Whether descending with it would not descend.
    wrong : bool
        Whether it is not the derivative; one that is a positive multiple of it is wrong but not fatal.
    """

    lines: tuple[str, ...]
    fatal: bool
    wrong: bool

    def __str__(self) -> str:
        return "\n".join(self.lines)


def check_functions(
    loss: Callable[..., Any],
    gradient: Callable[..., Any],
    params: Mapping[str, Any],
    namespace: Mapping[str, Any] | None = None,
) -> GradientReport:
    """Check a gradient and report every visible defect, as `%metagd check` does.

    A name that ``gradient`` reads and that does not exist is reported, and the check goes on with
    the nearest one that does.
    """
    names = namespace_of(loss) if namespace is None else namespace
    lines: list[str] = []
    stand_ins: dict[str, Any] = {}
    for name in missing_arguments(gradient, list(params), names):
        candidates = [*params, *data_names(names)]
        lines.append(str(reads_missing("gradient", name, candidates)))
        meant = similar(name, candidates)
        if meant is None or meant in params:
            return GradientReport(tuple(lines), True, True)
        stand_ins[name] = names[meant]
    try:
        problem = LossProblem(loss, params, gradient, namespace={**names, **stand_ins})
        report = check_gradient(problem)
    except MetagdError as error:
        return GradientReport((*lines, str(error)), True, True)
    except Exception as error:
        return GradientReport((*lines, raised(error)), True, True)
    found = report.lines if report.wrong or not lines else ("otherwise the " + report.lines[0],)
    return GradientReport((*lines, *found), report.fatal or bool(lines), report.wrong or bool(lines))


def check_gradient(problem: LossProblem) -> GradientReport:
    """Compare the user's gradient with the true one at the starting point and two seeded points near it.

    Parameters
    ----------
    problem : LossProblem
        Made with a ``gradient``. The true one comes from automatic differentiation, and from central
        differences where that cannot follow the loss.
    """
    lines: list[str] = []
    true, own, exact = [], [], True
    with np.errstate(all="ignore"):
        for theta in _points(problem):
            expected, traced = _true_gradient(problem, theta)
            exact &= traced
            try:
                given = _given(problem, theta, lines)
            except MetagdError as error:
                return GradientReport((*lines, str(error)), True, True)
            if np.isfinite(expected).all():
                true.append(expected)
                own.append(given)
    if not true:
        return GradientReport((*lines, "the true gradient is not finite at the starting values"), True, True)
    found = _compared(np.array(own), np.array(true), problem.layout, exact)
    if not lines:
        return found
    return GradientReport((*lines, *(found.lines if found.wrong else ())), True, True)


def _points(problem: LossProblem) -> list[Array]:
    rng = np.random.default_rng(0)
    start = problem.start().astype(np.float64)
    points = [start]
    for _ in range(NEARBY):
        away = SPREAD * np.maximum(1.0, np.abs(start)) * rng.standard_normal(start.size)
        for shrink in (1.0, 0.1, 0.01, 0.001):  # the loss may not be defined that far off
            if np.isfinite(problem.value(start + shrink * away)):
                points.append(start + shrink * away)
                break
    return points


def _true_gradient(problem: LossProblem, theta: Array) -> tuple[Array, bool]:
    """The derivative (P,) of the loss, and whether it is exact."""
    try:
        return problem.layout.join(problem.traced(theta).grads, np.float64), True
    except MetagdError:
        steps = np.cbrt(np.finfo(np.float64).eps) * np.maximum(1.0, np.abs(theta))
        gradient = np.empty_like(theta)
        for i, step in enumerate(steps):
            ahead, behind = theta.copy(), theta.copy()
            ahead[i] += step
            behind[i] -= step
            gradient[i] = (problem.value(ahead) - problem.value(behind)) / (ahead[i] - behind[i])
        return gradient, False


def _given(problem: LossProblem, theta: Array, lines: list[str]) -> Array:
    """The user's gradient (P,) at a point; defects that need not end the check are added to ``lines``."""
    assert problem.own is not None
    while True:
        try:
            raw = problem.raw_gradient(theta)
            break
        except MetagdError as error:
            _note(lines, str(error))
            if not _supplied(problem, error):
                raise MetagdError(lines.pop()) from None
    try:
        return flat_gradient(raw, problem.layout)
    except MetagdError as error:
        try:
            flat = np.asarray(raw, np.float64).reshape(theta.shape)
        except (TypeError, ValueError):
            raise error from None
        _note(lines, str(error))
        return flat


def _note(lines: list[str], line: str) -> None:
    if line not in lines:
        lines.append(line)


def _supplied(problem: LossProblem, error: MetagdError) -> bool:
    """Replace a missing global of the gradient by the one probably meant; return True if that was possible."""
    assert problem.own is not None
    for name in problem.own.missing:
        if str(error).startswith(f"gradient reads {name},"):
            meant = similar(name, problem.known_names)
            if meant is None or meant in problem.layout.shapes:  # a parameter changes from point to point
                return False
            problem.own.supply(name, problem.namespace[meant])
            return True
    return False


def _compared(own: Array, true: Array, layout: ParameterLayout, exact: bool) -> GradientReport:
    """The verdict on gradients (points, P)."""
    if not np.isfinite(own).all():
        i = int(np.argmin(np.isfinite(own).all(0)))
        bad = own[:, i][~np.isfinite(own[:, i])][0]
        return GradientReport((f"gradient is {bad} at {layout.where(i)}, where the true one is finite",), True, True)
    tolerance, floor = (1e-6, 1e-7) if exact else (1e-5, 1e-2)
    largest = float(_relative(own, true, floor).max())
    if largest < tolerance:
        how = f"{len(own)} points" if exact else f"{len(own)} points, by central differences"
        return GradientReport(
            (f"gradient is right (largest relative difference {number(largest, '.0e')}, at {how})",), False, False
        )
    return _defects(own, true, layout, tolerance, floor)


def _defects(own: Array, true: Array, layout: ParameterLayout, tolerance: float, floor: float) -> GradientReport:
    """Report on a wrong gradient (points, P): its sign, a factor, or the worst coordinate."""
    lines = []
    factor = float((own * true).sum() / max(float((true * true).sum()), np.finfo(float).tiny))
    norms = float(np.linalg.norm(own) * np.linalg.norm(true))
    cosine = float((own * true).sum()) / norms if norms else 0.0
    if uphill := cosine < -0.5:
        lines.append(f"gradient points uphill (cosine {number(cosine, '.2f')}): its sign is flipped")
    if factor and float(_relative(own / factor, true, floor).max()) < tolerance:
        if abs(abs(factor) - 1) > tolerance:
            spec = ".2f" if 0.1 <= abs(factor) < 1000 else ".2g"
            lines.append(f"gradient is {number(abs(factor), spec)} times the true one: a factor is missing")
    else:
        lines.append(_worst(own, true, layout, floor, -1.0 if uphill else 1.0))
    return GradientReport(tuple(lines), uphill or "wrong at" in lines[-1], True)


def _relative(own: Array, true: Array, floor: float) -> Array:
    """Differences in units of each coordinate's own size: a small coordinate that is wrong must not hide."""
    size = np.maximum(np.abs(true), np.abs(own)).max(0)
    whole = float(np.abs(true).max()) or 1.0
    scaled: Array = np.abs(own - true) / np.maximum(size, floor * whole)
    return scaled


def _worst(own: Array, true: Array, layout: ParameterLayout, floor: float, sign: float) -> str:
    point, i = np.unravel_index(int(np.argmax(_relative(sign * own, true, floor))), own.shape)
    given, expected = float(own[point, i]), float(true[point, i])
    for digits in range(2, 17):
        a, b = number(given, f".{digits}g"), number(expected, f".{digits}g")
        if a != b:
            break
    return f"gradient is wrong at {layout.where(int(i))}: it gives {a}, the true one is {b}"


def number(value: float, spec: str) -> str:
    """A number with a true minus sign."""
    text = format(value, spec) if value else "0"
    return text.replace("-", "−")
