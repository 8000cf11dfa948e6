"""State of a training: all that the next step depends on beside the plan, and the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...algorithms import Algorithm, StepEvaluation
from ..executors.base import Snapshot
from ..loop import TrainingLoop
from ..record import Record


def capture(loop: TrainingLoop) -> dict[str, Any]:
    """The state of a training between two steps, as a file holds it.

    Parameters
    ----------
    loop : TrainingLoop

    Returns
    -------
    dict
        Of numbers, text, arrays, and tuples of these.
    """
    evaluation = loop.executor.evaluation
    return {
        "theta": loop.theta,
        "state": loop.executor.state,
        "look": None if evaluation is None else tuple(evaluation),
        "shown": tuple(loop.snapshot),
        "best": tuple(loop.best),
        "verdict": loop.stopping.state(),
    }


def restore(loop: TrainingLoop, state: Mapping[str, Any], algorithm: Algorithm, record: Record) -> None:
    """Take a training to where another one of the same plan was.

    Parameters
    ----------
    loop : TrainingLoop
        Changed.
    state : dict
        From `capture`.
    algorithm : Algorithm
        With the rates of then.
    record : Record
        The rows up to then.
    """
    loop.algorithm, loop.record = algorithm, record
    evaluation = None if state["look"] is None else StepEvaluation(*state["look"])
    loop.executor.restore(state["theta"], state["state"], evaluation)
    loop.end_schedule_of_set_rates()
    loop.snapshot, loop.best = Snapshot(*state["shown"]), Snapshot(*state["best"])
    loop.stopping.restore(state["verdict"])
    if len(record):
        loop.grad_evals, loop.hvps = int(record.last("grad_evals")), int(record.last("hvps"))
        loop.clock.set(record.last("seconds"))
