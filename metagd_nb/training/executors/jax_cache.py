"""Compiled steps that are kept for the next run of their kind."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any

import jax
import numpy as np

from ...problems.jax.methods import fingerprint
from ..plan import Plan
from .jax_program import Carry, CompiledStep, Held, short_shapes

MOST_PROGRAMS = 16
_programs: OrderedDict[Any, CompiledStep] = OrderedDict()


def compiled_step(plan: Plan, place: Carry, length: int, sampled: bool, batch: Held) -> CompiledStep:
    """Compiled steps for a run, anew or from a run of the same kind before."""
    live = plan.algorithm.live_rates()
    fixed = [
        (f.name, getattr(plan.algorithm, f.name)) for f in dataclasses.fields(plan.algorithm) if f.name not in live
    ]
    shapes = [(np.shape(a), str(np.asarray(a).dtype)) for a in jax.tree.leaves((place, batch))]
    rates = [np.shape(getattr(plan.algorithm, name)) for name in live]
    kind, options = type(plan.algorithm), plan.update_options
    changes = None if options is None else (options._replace(schedule=None), options.schedule is not None)
    bounds = None if plan.problem.bounds is None else tuple(end.tobytes() for end in plan.problem.bounds)
    key = (
        plan.problem.key,
        bounds,
        changes,
        kind,
        fingerprint(kind),
        *fixed,
        *shapes,
        *rates,
        length,
        sampled,
        plan.settings.devices,
        str(short_shapes(plan)),
    )
    found = _programs.pop(key, None)
    _programs[key] = found or CompiledStep(plan, place, length, sampled, batch)
    while len(_programs) > MOST_PROGRAMS:
        _programs.popitem(last=False)
    return _programs[key]
