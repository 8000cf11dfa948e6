"""Running on JAX: the same methods, compiled, in float32 or float64, on processors, GPUs and TPUs.

An extra: ``pip install 'metagd-nb[jax]'``; nothing else in the kit imports it. ``--backend jax`` (``backend="jax"``
from Python) chooses it, and JAX's own default device computes. ``--devices 4`` spreads the tasks of a step over four
of them. The user's own JAX settings are neither needed nor changed.

On several machines every process runs the same script, and begins it with ::

    import jax
    jax.distributed.initialize()          # or with coordinator_address, num_processes, process_id
    run = metagd_nb.train("maml", …, backend="jax", devices=jax.device_count())

A batch is a function of seed and step, so each process draws the same tasks and hands its devices their part of them;
parameters and rows are the same everywhere. The processes stop at the same step, by the rules and the clock of process
0. They carry out a request (pause, set, …) when each has made it, or one has while the others wait for the run; a stop
counts at once. Reading, saving and checkpoints are up to each process. An error of one ends the run on all.
"""

from __future__ import annotations

import numpy as np

from ...algorithms import Meta
from ...algorithms.theta import State
from ...core.errors import MetagdError
from ..plan import Plan
from .base import Executor, StepExecutor

try:
    import jax
except ImportError:
    raise MetagdError("'jax' is not installed here; pip install 'metagd-nb[jax]'", "backend") from None

from .jax_chunks import ChunkedExecutor


def jax_executor(plan: Plan, theta: np.ndarray, state: State) -> Executor:
    """Return the executor of a run on JAX: whole steps compiled, or single evaluations if a method cannot be compiled.

    Raises
    ------
    MetagdError
        For a user's function that JAX cannot follow, and for devices that are not there or do not divide the tasks.
    """
    batch = plan.batches(0)
    meta = isinstance(plan.algorithm, Meta)
    embeds = isinstance(plan.algorithm, Meta) and plan.algorithm.embeds
    plan.problem.check(batch.support if meta else batch, embeds)
    devices = plan.settings.devices
    if devices > 1:
        _spreads(plan, len(batch) if meta else 1, devices)
    if plan.algorithm.compiles:
        return ChunkedExecutor(plan, theta, state)
    if devices > 1:
        raise MetagdError(f"{plan.method} cannot be compiled, and so not spread", "devices")
    return UncompiledExecutor(plan, theta, state)


class UncompiledExecutor(StepExecutor):
    """A method in NumPy, of a problem whose derivatives JAX computes."""

    note = "the method's own arithmetic is NumPy's, one step at a time"


def _spreads(plan: Plan, tasks: int, devices: int) -> None:
    if plan.algorithm.setting != "meta":
        raise MetagdError(f"{plan.method} has one task only: there is nothing to spread", "devices")
    if devices > len(jax.devices()):
        raise MetagdError(f"{devices} is more than the {len(jax.devices())} that JAX has here", "devices")
    if tasks % devices:
        raise MetagdError(f"{tasks} tasks do not spread evenly over {devices}", "devices")
