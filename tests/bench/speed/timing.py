"""How every measurement here is taken: one thread, contenders in turns, medians.

Call `one_thread` before NumPy (or JAX) is first imported: their thread pools are sized when they load.
The machine's speed drifts, so contenders take turns within a round, and it is the rounds' ratios whose
median counts; the least of all rounds stands beside it as a check that minds a busy machine less.
Seconds are those of the processor, not of the wall: on an idle machine a single thread spends the same of
both, and on a busy one the waits for a core belong to nobody.
"""

from __future__ import annotations

import functools
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

POOLS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS")


@functools.cache  # the second bench that a process imports asks again
def one_thread() -> None:
    """Hold this process to one core and every thread pool to one thread."""
    if "numpy" in sys.modules or "jax" in sys.modules:
        raise RuntimeError("one_thread comes before the first import of numpy or jax")
    os.environ.update(dict.fromkeys(POOLS, "1"))
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false " + os.environ.get("XLA_FLAGS", "")
    os.environ["JAX_PLATFORMS"] = "cpu"
    if hasattr(os, "sched_setaffinity"):  # JAX sizes its pools by the cores it may use
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Timing(NamedTuple):
    """Seconds of one contender, a value a round."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def least(self) -> float:
        """Seconds."""
        return min(self.seconds)

    def over(self, other: Timing) -> float:
        """Median over rounds of this one's time divided by the other's in the same round."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))


def taken(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def whole(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Whole calls, in turns; each round starts with another contender. One call each goes before, untimed."""
    for work in contenders.values():
        work()
    return _in_turns({name: lambda work=work: taken(work) for name, work in contenders.items()}, rounds)


def per_step(contenders: Mapping[str, Worker], short: int, long: int, rounds: int) -> dict[str, Timing]:
    """Seconds a step in the steady state: a long run less a short one, so that starting up does not count.

    Parameters
    ----------
    contenders : mapping name → worker
    short, long : int
        Steps of the two runs; each is also done once before, untimed.
    """
    for worker in contenders.values():
        worker(short)
        worker(long)

    def steady(worker: Worker) -> float:
        return (worker(long) - worker(short)) / (long - short)

    return _in_turns({name: lambda worker=worker: steady(worker) for name, worker in contenders.items()}, rounds)


class Worker:
    """A contender in a process of its own, where nothing but what it needs is loaded.

    What else a process has loaded is not neutral: with JAX beside it NumPy's large arrays come from memory that the
    process already holds, and without it each may cost fresh pages from the system.

    Parameters
    ----------
    module, name : str
        ``python -m MODULE --worker NAME`` answers with `serve`.
    python : str, optional
        Another interpreter than this one, where what the contender needs is installed.
    more : str
        Further arguments.

    Attributes
    ----------
    said : str
        The line with which it began.
    """

    def __init__(self, module: str, name: str, *more: str, python: str = sys.executable) -> None:
        command = [python, "-m", module, "--worker", name, *more]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.said = self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._process.args[1:])} broke off")  # type: ignore[index]
        return line.strip()

    def __call__(self, steps: int) -> float:
        """Seconds that ``steps`` steps took it."""
        assert self._process.stdin is not None
        print(steps, file=self._process.stdin)
        return float(self._answer())

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def serve(work: Callable[[int], object], said: str = "") -> None:
    """Be a `Worker`'s other end: for each number of steps on stdin, a line with the seconds they took."""
    print(said, flush=True)
    for line in sys.stdin:
        print(taken(lambda n=int(line): work(n)), flush=True)


def _in_turns(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Timing]:
    names = list(measures)
    found = {name: Timing([]) for name in names}
    for round_ in range(rounds):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            found[name].seconds.append(measures[name]())
    return found


def machine() -> str:
    """What kind of machine this is, as far as a reader of figures cares."""
    import numpy as np

    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, one thread; Python {platform.python_version()}, NumPy {np.__version__}"
