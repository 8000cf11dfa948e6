"""Validation of a file's contents: all that a run takes over has the type, the shape and the range that it needs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...algorithms import Algorithm, StepEvaluation
from ...core.parameters import ParameterLayout
from ..executors.base import Snapshot
from ..loop import TrainingLoop
from ..record import WHOLE
from ..requests import KINDS, validate
from ..stopping import REASONS, RULES

Array = np.ndarray
EXACT = 2.0**53  # whole numbers up to here are exact
INPUTS = "loss gradient model tasks x y data warm_start validation metrics columns schedule"
GIVEN = INPUTS.split()  # inputs that a file may name
TEXT = (str, type(None))
TYPES: dict[str, type | tuple[type, ...]] = {
    "kit": str, "method": str, "algorithm": dict, "present": dict, "settings": dict, "origin": dict, "prints": dict,
    "environment": dict, "references": list, "sampled": bool, "columns": list, "record": np.ndarray, "events": list,
    "stopped": TEXT, "note": TEXT, "cell": TEXT, "state": dict, "params": dict,
}  # fmt: skip


def require(holds: bool, what: str) -> None:
    """Raise a ValueError that names the part at fault, unless the condition holds."""
    if not holds:
        raise ValueError(what)


def check_contents(saved: Mapping[str, Any]) -> None:
    """Check the contents of a file as far as they can be checked by themselves, before anything is made from them.

    Parameters
    ----------
    saved : dict
        From `format.read`.

    Raises
    ------
    ValueError, KeyError, TypeError
        For contents that no run has.
    """
    for name, kind in TYPES.items():
        require(isinstance(saved[name], kind), name)
    require(saved["stopped"] is None or saved["stopped"] in REASONS, "stopped")
    for table in (saved["environment"], *(saved["prints"][kind] for kind in ("code", "data"))):
        require(isinstance(table, dict) and all(type(text) is str for text in table.values()), "prints")
    for value, label in saved["references"]:
        require(_number(value) and type(label) is str, "references")
    origin = saved["origin"]
    given, shapes, start = origin["given"], origin["shapes"], origin["start"]
    require(isinstance(given, dict) and set(given) <= set(GIVEN), "given")
    require(all(_whole(side) and side >= 0 for shape in shapes.values() for side in shape), "shapes")
    size = ParameterLayout({name: tuple(shape) for name, shape in shapes.items()}).size
    require(_vector(start, size), "start")
    require("rows" not in origin or (_whole(origin["rows"]) and origin["rows"] > 0), "rows")
    _check_model(given, len(shapes))


def _check_model(given: Mapping[str, Any], layers: int) -> None:
    """Check that a model in a file has no more layers than the file has parameters for: it may take long to make."""
    model = given.get("model")
    if not (isinstance(model, dict) and "recipe" in model):
        return
    provenance = model["recipe"]
    require("of" not in provenance and len(provenance["args"]) <= layers + 1 + 7, "layers")
    require(provenance["name"] != "conv" or _blocks(provenance) <= layers, "blocks")


def _blocks(provenance: Mapping[str, Any]) -> float:
    """Number of blocks of a convolutional net."""
    given = [*provenance["args"][4:5], provenance["kwargs"].get("blocks", 4)]
    return float(given[0])


def check_loop(loop: TrainingLoop, saved: Mapping[str, Any], present: Algorithm) -> None:
    """Check what a run takes over from a file: the record, the events, and the state for the next step.

    Parameters
    ----------
    loop : TrainingLoop
        Made from the plan in the file; still at its start.
    saved : dict
        From `format.read`.
    present : Algorithm
        With the rates of the last row.

    Raises
    ------
    ValueError, KeyError, TypeError, IndexError, AttributeError
        For contents that do not fit the plan.
    """
    last = _check_record(saved["record"], saved["columns"], loop.record.columns)
    for event in saved["events"]:
        _check_event(event, last, present)
    state = saved["state"]
    theta = state["theta"]
    size = loop.plan.problem.layout.size + present.extra_layout(loop.plan.problem).size
    require(_vector(theta, size) and theta.dtype == loop.plan.theta.dtype, "theta")
    require(_alike(state["state"], loop.executor.state, theta.size), "state")
    for one in (state["shown"], state["best"]):
        _check_snapshot(Snapshot(*one), loop, theta, last)
    require((state["shown"][0] < 0) == (last < 0), "shown")
    require((state["look"] is None) == (last < 0), "look")
    _check_stopping(state["verdict"], max(last, 0), loop.stopping.window)
    if state["look"] is not None:
        _try_update(present, theta, StepEvaluation(*copy.deepcopy(state["look"])), loop)
        _try_reading(present, loop, theta, copy.deepcopy(state["look"][4]))
    _try_reading(present, loop, theta, copy.deepcopy(state["state"]))
    for one in (state["shown"], state["best"]):
        _try_reading(present, loop, one[1], copy.deepcopy(one[3]))


def _check_record(rows: Array, columns: list[str], expected: tuple[str, ...]) -> int:
    """Check the rows (n, columns); the step of the last, −1 without any."""
    require(tuple(columns) == expected, "columns")
    require(rows.dtype == np.float64 and rows.ndim == 2 and rows.shape[1] == len(columns), "record")
    if not len(rows):
        return -1
    counts = rows[:, [i for i, name in enumerate(columns) if name in WHOLE]]
    require(bool(((counts >= 0) & (counts < EXACT) & (counts == np.floor(counts))).all()), "counts")
    steps = rows[:, columns.index("step")]
    require(bool((np.diff(steps) > 0).all()) and steps[0] == 0, "step")
    seconds = rows[:, columns.index("seconds")]
    require(bool((np.isfinite(seconds) & (seconds >= 0)).all()), "seconds")
    return int(steps[-1])


def _check_event(event: tuple[Any, ...], last: int, algorithm: Algorithm) -> None:
    step, kind, value = event
    require(_whole(step) and 0 <= step <= max(last, 0) and kind in KINDS, "event")
    if kind == "set":
        require(isinstance(value, dict), "set")
        validate(algorithm, kind, value)
    elif kind == "step":
        require(_whole(value) and 0 < value < EXACT, "step")
    elif kind == "resume":
        require(value is None or (set(value) <= {*RULES.values()} and all(map(_bound, value.values()))), "resume")
    else:
        require(type(value) in TEXT, "event")


def _check_snapshot(one: Snapshot, loop: TrainingLoop, theta: Array, last: int) -> None:
    require(_whole(one.step) and -1 <= one.step <= last and type(one.loss) is float, "snapshot")
    require(_vector(one.theta, theta.size) and one.theta.dtype == theta.dtype, "snapshot")
    require(_alike(one.state, loop.executor.state, theta.size), "state")


def _check_stopping(stopping: Mapping[str, Any], last: int, window: int) -> None:
    recent = stopping["recent"]
    require(type(recent) is list and len(recent) <= window and all(type(loss) is float for loss in recent), "recent")
    require(_number(stopping.get("sum", 0.0)) and _whole(stopping.get("added", 0)), "recent")
    require(_number(stopping["limit"]) and _number(stopping["best"]), "verdict")
    require(_whole(stopping["best_step"]) and 0 <= stopping["best_step"] <= last, "verdict")
    no_better = stopping.get("no_better", 0)  # evaluations on held-out rows
    require(_whole(no_better) and 0 <= no_better <= last + 1, "verdict")


def _try_update(algorithm: Algorithm, theta: Array, evaluation: StepEvaluation, loop: TrainingLoop) -> None:
    """Take the next update and drop it: the state is what the method needs."""
    require(type(evaluation.loss) is float and _whole(evaluation.grad_evals) and _whole(evaluation.hvps), "evaluation")
    require(_vector(evaluation.grad, theta.size), "gradient")
    require(_alike(evaluation.state, loop.executor.state, theta.size), "state")
    with np.errstate(all="ignore"):
        after, state = algorithm.update(theta.copy(), evaluation)
    require(after.shape == theta.shape and _alike(state, loop.executor.state, theta.size), "state")


def _try_reading(algorithm: Algorithm, loop: TrainingLoop, theta: Array, state: Any) -> None:
    """Read the results at a snapshot."""
    problem = loop.plan.problem
    with np.errstate(all="ignore"):
        require(algorithm.result(problem, theta, state).shape == (problem.layout.size,), "result")
        require(len(algorithm.rates(problem, theta, state)) == len(algorithm.live_rates()), "rates")
        algorithm.learned(problem, theta)
        algorithm.remark(state)
        algorithm.no_descent(state)
        algorithm.check_state(theta, state)


def _whole(value: object) -> bool:
    return type(value) is int


def _number(value: object) -> bool:
    return type(value) in (int, float) or isinstance(value, np.floating)


def _bound(value: object) -> bool:
    return value is None or _number(value)


def _vector(value: object, size: int) -> bool:
    """True for an array (size,) of float32 or float64."""
    return isinstance(value, np.ndarray) and value.shape == (size,) and value.dtype in (np.float32, np.float64)


def _alike(found: Any, initial: Any, size: int) -> bool:
    """True for a state of the form of the initial one of θ (size,); arrays grow along the first axis alone."""
    if found is None or initial is None:
        return _of_size(found, size)
    if isinstance(initial, tuple):
        same = type(found) is type(initial) and len(found) == len(initial)
        return (
            same and all(_alike(*pair, size) for pair in zip(found, initial, strict=True)) and _together(found, initial)
        )
    if isinstance(initial, np.ndarray) and initial.ndim:
        if not isinstance(found, np.ndarray) or found.dtype != initial.dtype or found.ndim != initial.ndim:
            return False
        return found.shape == initial.shape or (found.ndim > 1 and found.shape[1:] == initial.shape[1:])
    return _single(found)


def _together(found: tuple[Any, ...], initial: tuple[Any, ...]) -> bool:
    """True where the arrays of a state that begin with one shape still have one."""
    shapes = {
        (a.shape, b.shape) for a, b in zip(initial, found, strict=True) if isinstance(a, np.ndarray) and b is not None
    }
    return len(dict(shapes)) == len(shapes)


def _of_size(found: Any, size: int) -> bool:
    """True for what a method adds to its state under way: numbers, and arrays (size,)."""
    if isinstance(found, tuple):
        return all(_of_size(item, size) for item in found)
    if isinstance(found, np.ndarray) and found.ndim:
        return _vector(found, size)
    return found is None or _single(found)


def _single(found: Any) -> bool:
    return _number(found) or isinstance(found, (bool, np.generic)) or (isinstance(found, np.ndarray) and not found.ndim)
