"""Planning of what is done at each update: clipping, weight decay, a schedule of the rate, and bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..algorithms import ALGORITHMS, Algorithm
from ..algorithms.schedules import FUNCTION, Schedule, not_given, parse_schedule
from ..algorithms.update_options import UpdateOptions
from ..core.bounds import Bounds, parse_bounds
from ..core.errors import MetagdError
from ..problems.base import Problem
from ..tasks import Reference
from .plan import Inputs
from .settings import Settings

NONE: dict[str, Any] = {
    "clip": None,
    "weight_decay": 0.0,
    "schedule": "constant",
}  # settings with which an update is left as it is


def update_options(
    method: str, algorithm: Algorithm, settings: Settings, inputs: Inputs, problem: Problem
) -> tuple[UpdateOptions | None, Settings]:
    """Clipping, weight decay and schedule of a run, and the settings with the schedule written out."""
    rate, schedule = algorithm.scheduled_rate, None
    chosen = [name for name, none in NONE.items() if getattr(settings, name) != none]
    if not chosen:
        return None, settings
    if not rate:
        alike = {name: kind for name, kind in ALGORITHMS.items() if kind.setting == algorithm.setting}
        able = ", ".join(name for name, kind in alike.items() if kind.scheduled_rate)
        raise MetagdError(f"{method} takes no {chosen[0]}; methods that do: {able}", chosen[0])
    if "weight_decay" in chosen and "parameters" in algorithm.constants():
        raise MetagdError(
            f"{method} does not change the parameters, so that none can decay; leave it out", "weight_decay"
        )
    if "schedule" in chosen:
        if callable(inputs.schedule):
            schedule = Schedule(FUNCTION, inputs.schedule)
        elif settings.schedule == FUNCTION:
            schedule = Schedule(FUNCTION, not_given)
        else:
            schedule = parse_schedule(settings.schedule, settings.steps)
        settings = replace(settings, schedule=schedule.text)
    return UpdateOptions(problem.layout.size, rate, settings.clip, settings.weight_decay, schedule), settings


def without_update_options(settings: Settings, inputs: Inputs) -> tuple[Settings, Inputs]:
    """Return settings and inputs without clipping, weight decay and schedule, for a method that takes none of them."""
    return replace(settings, **NONE), inputs._replace(schedule=None)


def bounded(
    method: str, algorithm: Algorithm, settings: Settings, problem: Problem, references: tuple[Reference, ...]
) -> tuple[Reference, ...]:
    """Give the problem its bounds; return its references, named as what they are."""
    bounds = parse_bounds(settings.bounds, settings.positive, problem.layout)
    if bounds is None:
        return references
    if not algorithm.takes_bounds:
        able = ", ".join(name for name, kind in ALGORITHMS.items() if kind.takes_bounds)
        raise MetagdError(f"{method} keeps no parameters in a range; methods that do: {able}", "bounds")
    problem.bounds = Bounds(bounds.low.astype(problem.dtype), bounds.high.astype(problem.dtype))
    return tuple(Reference(known.value, f"{known.label}, without bounds") for known in references)
