"""Queue of the user's requests to a running training loop: added by any thread, carried out between two steps."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..algorithms import Algorithm
from ..core.errors import MetagdError, unknown_name
from ..core.hyperparameters import hyperparameters

if TYPE_CHECKING:
    from .executors.processes import Processes

POLL = 0.05  # seconds between two exchanges of paused processes
KINDS = ("pause", "resume", "step", "stop", "set")


class Event(NamedTuple):
    """A request that was carried out, and the last step before it."""

    step: int
    kind: str
    value: Any = None


def validate(algorithm: Algorithm, kind: str, value: Any) -> Any:
    """Check a request and return its value; the rates ``{name: value}`` of a ``set`` are checked by their declarations.

    Raises
    ------
    MetagdError
        For an unknown request, an unknown rate, or a value that is not allowed.
    """
    if kind not in KINDS:
        raise unknown_name("request", kind, KINDS)
    if kind != "set":
        return value
    declared = {name: one for name, one in hyperparameters(algorithm).items() if one.live}
    for name in value:
        if name not in declared:
            raise unknown_name("rate", name, declared)
    return {name: declared[name].check(one) for name, one in value.items()}


class Requests:
    """Queue of requests, with a condition variable on which threads wait until theirs is carried out.

    Attributes
    ----------
    wake : threading.Event
        Set by each request: a driver with nothing to do waits for it.
    """

    def __init__(self) -> None:
        self._queue: deque[tuple[str, Any]] = deque()
        self._added = self._done = 0
        self._changed = threading.Condition()
        self.wake = threading.Event()

    @property
    def pending(self) -> bool:
        """True while a request has not been carried out."""
        return bool(self._queue)

    @property
    def answered(self) -> bool:
        """True where all that was requested has been carried out, and nothing else."""
        return not self._queue

    def add(self, kind: str, value: Any) -> int:
        """Queue a request and return its number, the argument of `done`."""
        with self._changed:
            self._added += 1
            self._queue.append((kind, value))
            number = self._added
        self.wake.set()
        return number

    def take(self) -> Iterator[tuple[str, Any]]:
        """Yield each request in turn; it counts as carried out once the next one is taken."""
        while self._queue:
            yield self._queue.popleft()
            self._done += 1

    def done(self, number: int) -> bool:
        """True once the request of this number has been carried out."""
        return self._done >= number

    def clear(self) -> None:
        """Discard the pending requests."""
        self._queue.clear()
        self._done = self._added

    def agree(self, waits: bool) -> None:
        """Exchange requests with the other processes: there are none."""

    def rest(self) -> None:
        """Wait for a request, with nothing else to do."""
        self.wake.clear()
        if not self.pending:
            self.wake.wait()

    def notify(self) -> None:
        """Wake all threads in `wait_for`, which check their conditions again."""
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Block until ``condition()`` is true; it is checked again at each `notify`."""
        with self._changed:
            while not condition():
                self._changed.wait(timeout=0.5)  # the timeout only guards against a driver that died


class AgreedRequests(Requests):
    """Requests of several processes that train together.

    One is carried out, by all at the same step, when every process has made it or only waits for the run. So a script
    that all of them run may make requests, and so may one process while the others wait. A stop counts at once.

    Parameters
    ----------
    processes : Processes
    """

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes
        self._proposed: deque[tuple[str, Any]] = deque()  # here, and not agreed on
        self._following = False  # the last one agreed on was not made here

    @property
    def answered(self) -> bool:
        """True where all that was requested here has been carried out, and nothing else since."""
        return not (self._queue or self._proposed or self._following)

    def add(self, kind: str, value: Any) -> int:
        """Queue a request until all agree on it; the number that `done` needs."""
        with self._changed:
            self._added += 1
            self._proposed.append(json.loads(json.dumps([kind, value])))
            number = self._added
        self.wake.set()
        return number

    def agree(self, waits: bool) -> None:
        """Exchange requests with the other processes; what they agree on is pending then.

        Parameters
        ----------
        waits : bool
            True while nobody here can make a request, because they wait for the run.

        Raises
        ------
        MetagdError
            For processes whose requests differ.
        """
        with self._changed:
            stops = [one for one in self._proposed if one[0] == "stop"]
            own = stops[:1] or list(self._proposed)[:1]
        received = self._processes.exchange("requests", [waits, *own])
        proposed = [(number, *rest) for number, (_, *rest) in enumerate(received) if rest]
        stops = [one for _, one in proposed if one[0] == "stop"]
        if not proposed or not (stops or all(waits or rest for waits, *rest in received)):
            return
        if not stops and any(one != proposed[0][1] for _, one in proposed):
            words = ", ".join(f"process {number}: {kind} {value or ''}".strip() for number, (kind, value) in proposed)
            raise MetagdError(f"the processes request different things ({words}); each must make the same calls")
        with self._changed:
            self._following = not own
            if own:
                self._proposed.popleft()
            else:
                self._added += 1
            self._queue.append(tuple(stops[0] if stops else proposed[0][1]))

    def rest(self) -> None:
        """Wait a moment: the other processes want to know of requests here."""
        self.wake.wait(POLL)
        self.wake.clear()

    def clear(self) -> None:
        """Forget the requests that are left."""
        self._proposed.clear()
        super().clear()
        self._following = False


def requests_of(processes: Processes | None) -> Requests:
    """Make the queue of a run that these processes train together, or that this one trains alone (None)."""
    return Requests() if processes is None else AgreedRequests(processes)
