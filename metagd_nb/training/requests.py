"""Queue of the user's requests to a running training loop: added by any thread, carried out between two steps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..algorithms import Algorithm
from ..core.errors import unknown_name
from ..core.hyperparameters import hyperparameters

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

    def notify(self) -> None:
        """Wake all threads in `wait_for`, which check their conditions again."""
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Block until ``condition()`` is true; it is checked again at each `notify`."""
        with self._changed:
            while not condition():
                self._changed.wait(timeout=0.5)  # the timeout only guards against a driver that died
