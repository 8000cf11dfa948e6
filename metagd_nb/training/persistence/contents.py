"""Contents of a saved run: its plan, record, events and state; only hashes of the user's functions."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from ...algorithms.schedules import FUNCTION
from ...core.environment import environment
from ...core.errors import MetagdError
from ...core.hyperparameters import Checked, hyperparameters
from ...core.provenance import strip
from ...problems.capture.fingerprint import LIMIT, Parts, array_digest, digest_of, joined_parts, take_apart
from ..loop import TrainingLoop
from ..plan import Plan
from .format import SESSION, pack, write
from .state import capture

Array = np.ndarray


class Source(NamedTuple):
    """Origin of a run.

    Attributes
    ----------
    origin : dict
        Inputs, shapes of the parameters and their starting values, as far as a file can hold them.
    fingerprints : dict
        Hashes of the code and of the data, by name.
    """

    origin: dict[str, Any]
    fingerprints: Parts


def source(loop: TrainingLoop) -> Source:
    """Return the origin of a run; for a run from a file, the origin that the file holds."""
    if loop.saved is not None:
        return Source(loop.saved["origin"], loop.saved["prints"])
    return Source(_origin(loop.plan), fingerprints(loop.plan))


def write_run(loop: TrainingLoop, path: str | os.PathLike[str], data: bool = True, found: Source | None = None) -> None:
    """Write a run to a file as it is now; for the thread that takes its steps, between two of them.

    Parameters
    ----------
    loop : TrainingLoop
    path : str or path
    data : bool
        False leaves out the user's data.
    found : Source, optional
        Origin of the run, if it is computed already.

    Raises
    ------
    MetagdError
        If the path cannot be written to.
    """
    write(path, contents(loop, data, found or source(loop)))


def contents(loop: TrainingLoop, data: bool, found: Source) -> dict[str, Any]:
    """Return the contents of a run's file."""
    plan, record, here = loop.plan, loop.record, environment()
    return {
        "kit": here["metagd_nb"],
        "method": plan.method,
        "algorithm": fields(plan.algorithm),
        "present": fields(loop.algorithm),  # with the rates that the user has set since
        "settings": fields(plan.settings),
        "encoding": None if plan.encoding is None else tuple(plan.encoding),
        "origin": _without_data(found.origin, LIMIT if data else 0),
        "prints": found.fingerprints,
        "environment": here,
        "references": [tuple(reference) for reference in plan.references],
        "sampled": loop.sampled,
        "columns": list(record.columns),
        "record": record.all_rows(),
        "events": [tuple(event) for event in loop.events],
        "stopped": loop.stopped,
        "note": loop.note,
        "cell": loop.cell,
        "state": capture(loop),
        "params": loop.peek()["params"],
    }


def fields(declared: Checked) -> dict[str, Any]:
    """Hyperparameters of an algorithm, or settings, by name."""
    return {name: getattr(declared, name) for name in hyperparameters(declared)}


def _origin(plan: Plan) -> dict[str, Any]:
    """Inputs, shapes and start of a run; what a file cannot hold is marked `SESSION`."""
    inputs = plan.inputs
    own: dict[str, Any] = {}
    for name in ("loss", "gradient", "model", "tasks"):
        thing = getattr(inputs, name)
        if isinstance(thing, str):
            own[name] = thing
        elif thing is not None:
            own[name] = _storable(strip(thing))
    for name in ("x", "y"):
        if getattr(inputs, name) is not None:
            own[name] = _storable(getattr(inputs, name))
    if inputs.data:
        own["data"] = _storable(dict(inputs.data))
    if inputs.validation is not None:
        own["validation"] = _storable(inputs.validation)
    if plan.metrics is not None:
        own["metrics"] = tuple(plan.metrics.functions)  # the functions come from the session
    if inputs.columns is not None:
        own["columns"] = inputs.columns
    if plan.settings.schedule == FUNCTION:
        own["schedule"] = SESSION
    if inputs.warm_start is not None:
        own["warm_start"] = plan.start
    shapes = {name: list(shape) for name, shape in plan.problem.layout.shapes.items()}
    rows = {} if plan.epochs is None else {"rows": plan.epochs.n}  # of the mini-batches, known without the data
    return {"given": own, "shapes": shapes, "start": plan.start, **rows}


def _storable(value: Any) -> Any:
    """Return ``value`` if a file can hold it, else `SESSION`."""
    if isinstance(value, np.ndarray) and value.dtype.hasobject:  # labels out of a table
        value = np.array(value.tolist())
    try:
        pack(value, "", {})
    except MetagdError:
        return SESSION
    return value


def _without_data(origin: dict[str, Any], limit: int) -> dict[str, Any]:
    """An origin whose arrays of data hold at most ``limit`` bytes each; larger ones are left to the session."""
    given = dict(origin["given"])
    for name, value in given.items():
        arrays: dict[str, Array] = {}
        pack(value, name, arrays)
        if sum(array.nbytes for array in arrays.values()) > limit:
            given[name] = SESSION
    return {**origin, "given": given}


def fingerprints(plan: Plan) -> Parts:
    """Hashes of the code and of the data behind a run, by name."""
    data: dict[str, str] = {}
    if plan.tasks is not None:  # the batch of the first step identifies the family, built in or the user's
        batch: Any = plan.batches(0)
        both = [a for part in (batch.support, batch.query) for a in (part.x, part.y)]
        data["tasks"] = "".join(array_digest(np.asarray(a)) for a in both)
    for name in ("x", "y"):
        if getattr(plan.inputs, name) is not None:
            data[name] = digest_of(getattr(plan.inputs, name))
    if plan.epochs is not None:  # a loss knows the first batch of its data
        data |= {name: digest_of(value) for name, value in (plan.inputs.data or {}).items()}
    own: Parts = {"code": {}, "data": {}}
    if plan.inputs.schedule is not None:
        take_apart("schedule", plan.inputs.schedule, own)
    return joined_parts([plan.problem.parts, own, {"code": {}, "data": data}])


def changed(before: Parts, now: Parts) -> list[str]:
    """``code of loss``, ``data x``: names of the parts whose hashes differ."""
    words = {"code": "code of {}", "data": "data {}"}
    return [
        words[kind].format(name)
        for kind in words
        for name in sorted(before[kind].keys() | now[kind].keys())
        if before[kind].get(name) != now[kind].get(name)
    ]
