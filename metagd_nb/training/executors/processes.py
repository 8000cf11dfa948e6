"""Agreement of the processes of one run: what each of them knows reaches all, before all compute together.

Each process runs the same loop. A step is computed by all processes at once, so they must take the same steps in the
same order. Whatever depends on one process alone (its clock, its user, its errors) is therefore exchanged between two
chunks of steps. Everything else (reading, saving, checkpoints) is local to a process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ...core.errors import MetagdError, one_line
from ..stopping import RULES

if TYPE_CHECKING:
    from ..loop import TrainingLoop

Array = np.ndarray
TEXT = 4096  # bytes of a message
CLOSE = 1e-6  # relative difference of starting values and data that rounding may cause
ONE_AT_A_TIME = "another run on several processes is under way; end it, or wait for it, first"
_under_way: list[Processes] = []  # at most one: two would exchange in an order of their own on each process
_lock = threading.Lock()


class Processes:
    """The processes over which one run is spread.

    Attributes
    ----------
    rank, count : int
        Number of this process, and of all of them.
    """

    def __init__(self) -> None:
        self.rank, self.count = jax.process_index(), jax.process_count()
        firsts = [jax.local_devices(process_index=process)[0] for process in range(self.count)]
        self._own = firsts[self.rank]
        mesh = jax.sharding.Mesh(np.array(firsts), ("process",))
        part: Any = jax.sharding.PartitionSpec
        self._one_each = jax.sharding.NamedSharding(mesh, part("process"))
        everywhere = jax.sharding.NamedSharding(mesh, part())
        self._copied = jax.jit(lambda a: a, out_shardings=everywhere)
        self._over = False

    def begin(self) -> None:
        """Take the place of the one run that is under way on several processes.

        Raises
        ------
        MetagdError
            While another one holds it.
        """
        with _lock:
            if _under_way:
                raise MetagdError(ONE_AT_A_TIME, "devices")
            _under_way.append(self)

    def end(self, error: BaseException | None = None) -> None:
        """Leave; where only this process failed, the others learn why at their next exchange."""
        if error is not None and not self._over:
            with contextlib.suppress(Exception):  # they have gone
                self._gather(self._message("", None, error))
        self._over = False
        _under_way.remove(self)

    def exchange(self, subject: str, value: Any, error: BaseException | None = None) -> list[Any]:
        """Return the values of all processes, in the order of their numbers.

        Parameters
        ----------
        subject : str
            Occasion of the exchange; it must be the same everywhere.
        value : JSON value
        error : Exception, optional
            One that this process met; it then ends the run on all of them.

        Raises
        ------
        MetagdError
            For an error of another process, and for processes that are at different places of the run.
        Exception
            ``error`` itself.
        """
        received = [json.loads(bytes(row).rstrip(b"\0")) for row in self._gather(self._message(subject, value, error))]
        failed = [(number, one["error"]) for number, one in enumerate(received) if one["error"] is not None]
        self._over = bool(failed)
        if error is not None:
            raise error
        if failed:
            raise MetagdError(f"process {failed[0][0]} failed: {failed[0][1]}")
        if len({one["subject"] for one in received}) > 1:
            self._over = True
            where = ", ".join(f"process {number}: {one['subject']}" for number, one in enumerate(received))
            raise MetagdError(f"the processes are out of step ({where}); each must make the same calls")
        return [one["value"] for one in received]

    def of_first(self, times: tuple[float, float], rows: Array) -> tuple[tuple[float, float], Array]:
        """Return the times and the rows (n, columns) of a chunk as process 0 has them."""
        raw = np.concatenate([times, rows.ravel()])
        begin, end, *values = np.frombuffer(self._gather(raw.view(np.uint8))[0].tobytes()).tolist()
        return (begin, end), np.reshape(values, rows.shape)

    @staticmethod
    def _message(subject: str, value: Any, error: BaseException | None) -> Array:
        words = None if error is None else one_line(error)[:500]
        raw = json.dumps({"subject": subject, "value": value, "error": words}).encode()
        if len(raw) > TEXT:
            raise MetagdError(f"{len(raw)} bytes for the other processes are more than {TEXT}", subject)
        return np.frombuffer(raw.ljust(TEXT, b"\0"), np.uint8)

    def _gather(self, own: Array) -> Array:
        """Return the bytes (n,) of each process as rows (processes, n)."""
        if _under_way not in ([], [self]):
            raise MetagdError(ONE_AT_A_TIME, "devices")
        local = jax.device_put(own[None], self._own)
        shape = (self.count, len(own))
        return np.asarray(self._copied(jax.make_array_from_single_device_arrays(shape, self._one_each, [local])))


def agree_on_run(processes: Processes, loop: TrainingLoop) -> None:
    """Make sure that all processes train the same, and stop by the rules that process 0 was given.

    Parameters
    ----------
    processes : Processes
    loop : TrainingLoop
        At a place where it has driver and requests; its settings are changed.

    Raises
    ------
    MetagdError
        Names what differs.
    """
    plan = loop.plan
    settings = {name: getattr(loop.settings, name) for name in ("seed", "dtype", "devices", "record_every")}
    own = {"method": plan.method, "step": loop.snapshot.step, **settings}
    for field in dataclasses.fields(loop.algorithm):
        value = getattr(loop.algorithm, field.name)
        if value is None or isinstance(value, (int, float, str)):
            own[field.name] = value
    batch = jax.tree.leaves(plan.batches(0))
    numbers = {"start": _figures([loop.theta]), "tasks": _figures(batch)}
    rules = {name: getattr(loop.settings, name) for name in RULES.values()}
    received = processes.exchange("the start", [own, numbers, rules])
    known, known_numbers, rules = received[0]
    for number, (given, figures, _) in enumerate(received):
        for name in known:
            if given.get(name) != known[name]:
                raise MetagdError(f"process {number} has {given.get(name)}, process 0 has {known[name]}", name)
        for name, values in known_numbers.items():
            if len(values) != len(figures[name]) or not np.allclose(values, figures[name], rtol=CLOSE, atol=CLOSE):
                why = "all need the same; draw random values from a seed"
                raise MetagdError(f"process {number} has other values than process 0: {why}", name)
    loop.use(dataclasses.replace(loop.settings, **rules))


def _figures(arrays: list[Any]) -> list[float]:
    """Return some figures of arrays, by which processes see that theirs are the same but for rounding."""
    found = []
    for array in arrays:
        flat = np.nan_to_num(np.asarray(array, float).ravel())
        found += [float(flat.size), float(np.abs(flat).sum()), float(flat @ np.cos(np.arange(flat.size)))]
    return found


def processes_of(devices: int) -> Processes | None:
    """Return the processes of a run over so many devices; None where this process computes alone.

    Raises
    ------
    MetagdError
        For devices that are not an equal part of each process's.
    """
    count = jax.process_count()
    if devices == 1 or count == 1:
        return None
    if devices % count or devices // count > jax.local_device_count():
        raise MetagdError(
            f"{devices} are no equal share of {count} processes; take all {jax.device_count()}, or 1", "devices"
        )
    return Processes()


def devices_of(devices: int) -> list[Any]:
    """Return the devices of a run: as many of each process."""
    count = jax.process_count()
    return [d for process in range(count) for d in jax.local_devices(process_index=process)[: devices // count]]
