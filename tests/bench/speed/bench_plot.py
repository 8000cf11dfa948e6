"""What a live frame costs, and what watching a run costs the run. Both inside a real kernel, frames published.

Must reach: the mean frame, full redraws included, at most 1/6 of livelossplot's; training with the plot at most
1.10 times the time without it, for a run that goes on from a record of 10³, 10⁵, 10⁶ rows.

python -m tests.bench.speed.bench_plot [SECONDS]     # of training with the plot, and as many without; 10
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from .timing import machine, one_thread

CELL = "from tests.bench.speed.bench_plot import in_the_kernel\nin_the_kernel({seconds})"
WARM = 8.0  # seconds with the plot before what is measured: by then the pacer draws its share and no more
COLUMNS = ("step", "loss", "grad_norm", "lr")


def losses(start: int, n: int, scale: int) -> Any:
    """A noisy loss that falls for as long as anybody looks: limits have to grow."""
    import numpy as np

    t = np.arange(start, start + n)
    return (1 + 1000 / (1 + 50 * t / scale)) * np.exp(0.1 * np.random.default_rng(start).standard_normal(n))


# ---- a frame -----------------------------------------------------------------------------------------------------


def our_frames(rows: int) -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
    """(add rows, show a frame) of a run that already has ``rows`` rows."""
    from types import SimpleNamespace

    import numpy as np

    from metagd_nb.notebook.display import LiveDisplay
    from metagd_nb.training.record import Record

    def add(n: int) -> None:
        """As ``Record.append`` leaves it, without ten million calls."""
        values, start = losses(len(record), n, rows), len(record)
        if start + n > len(record._rows):
            grown = np.empty((max(start + n, start * 3 // 2), len(COLUMNS)))
            grown[:start] = record._rows[:start]
            record._rows = grown
        block = record._rows[start : start + n]
        block[:, 0], block[:, 1], block[:, 2], block[:, 3] = np.arange(start, start + n), values, values, 0.1
        record._n += n

    record = Record(COLUMNS)
    settings = SimpleNamespace(steps=10**9, record_every=1)
    references = [SimpleNamespace(value=1.0, label="optimum")]
    unused = dict.fromkeys(("tasks", "metrics", "epochs"))
    plan = SimpleNamespace(method="gd", settings=settings, references=references, measured=tuple, **unused)
    now = SimpleNamespace(loss=1.0)
    loop = SimpleNamespace(plan=plan, algorithm=None, sampled=False, paused=False, snapshot=now, record=record)
    run = SimpleNamespace(plan=plan, loop=loop, record=record, rates={"lr": 0.1}, stopped=None, note=None)
    add(rows)
    live = LiveDisplay(run)
    live.show()
    yield add, live.frame


def livelossplot_frames(rows: int) -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
    """The same of livelossplot, with the same two curves."""
    from livelossplot import PlotLosses
    from livelossplot.outputs import MatplotlibPlot

    def add(n: int) -> None:
        for value in losses(plot.logger.current_step + 1, n, rows).tolist():
            plot.update({"loss": value, "grad_norm": value})

    plot = PlotLosses(outputs=[MatplotlibPlot()], mode="notebook")
    add(rows)
    plot.send()
    yield add, plot.send


def frame_cost(frames: Iterator[tuple[Callable[[int], None], Callable[[], None]]], rows: int, n: int) -> float:
    """Mean milliseconds of ``n`` frames; between two the record grows by 2 %, 5,000 rows at most: axes have to."""
    add, show = next(frames)
    spent = 0.0
    for _ in range(n):
        add(min(rows // 50, 5000))
        start = time.perf_counter()
        show()
        spent += time.perf_counter() - start
    return 1e3 * spent / n


# ---- the slow-down of training -----------------------------------------------------------------------------------


class Timed:
    """The live display, and how long its frames took."""

    def __init__(self, live: Any) -> None:
        self.live, self.frames, self.spent = live, 0, 0.0

    def frame(self, final: bool = False) -> None:
        """One frame, timed."""
        start = time.perf_counter()
        self.live.frame(final)
        self.frames, self.spent = self.frames + 1, self.spent + time.perf_counter() - start


def long_run(rows: int) -> Any:
    """A run whose record already holds ``rows`` rows: a thousand true ones, then as many like them as it takes."""
    import numpy as np

    import metagd_nb as mg

    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 60))
    y = x @ rng.standard_normal(60) + rng.standard_normal(2000)
    run = mg.prepare("gd", model=mg.mlp(60, 20, 1), x=x, y=y, lr=1e-4, steps=10**9)
    while len(run.record) < min(rows, 1000):
        run.loop.advance()
    for row in range(len(run.record), rows):
        run.record.append((row, *(float(run.record.since(c, row % 1000)[0]) for c in run.record.columns[1:])))
    return run


def slow_down(rows: int, seconds: float) -> tuple[Any, Timed]:
    """Time of a step with the plot over that without: on the clock, and of the processor (all threads).

    The pacer's first seconds, in which it may draw more (`pace.ALLOWANCE`), are over when the measurement begins.
    One run goes on for ``seconds`` with the plot and as long without, in turns of a quarter of a second, for the
    machine's own speed drifts by more than what is to be seen. The frames are paced by the driver's own pacer,
    whose clock stands still in the turns without.
    """
    import numpy as np

    from metagd_nb.notebook.display import LiveDisplay
    from metagd_nb.training.pacing import FrameScheduler

    run = long_run(rows)
    live = Timed(LiveDisplay(run))
    live.live.show()
    pacer = FrameScheduler(run.loop, live)
    warm = time.perf_counter() + WARM
    while time.perf_counter() < warm:
        run.loop.advance()
        if run.loop.seconds() >= pacer.due:
            pacer.call()
    live.frames, live.spent = 0, 0.0
    spent, steps = np.zeros((2, 2)), [0, 0]
    for turn in range(round(8 * seconds)):
        plotted = turn % 4 in (0, 3)
        start = now = time.perf_counter()
        busy = time.process_time()
        while now < start + 0.25:
            run.loop.advance()
            now = time.perf_counter()
            if plotted and run.loop.seconds() >= pacer.due:
                pacer.call()
            steps[plotted] += 1
        now = time.perf_counter()
        spent[int(plotted)] += now - start, time.process_time() - busy
        if not plotted:
            run.loop.clock.exclude(now - start)
    return spent[1] / steps[1] * steps[0] / spent[0], live


# ---- report ------------------------------------------------------------------------------------------------------


def in_the_kernel(seconds: float) -> None:
    """Measure and print; runs as a cell."""
    one_thread()
    print(machine())
    try:
        import livelossplot
    except ImportError:
        livelossplot = None
        print("livelossplot is not installed here: no ratio")
    print("\nmean frame, ms, full redraws included\n    rows     ours  livelossplot   ratio (≤ 0.167)")
    for rows in (10**3, 10**5, 10**6, 10**7):
        ours = frame_cost(our_frames(rows), rows, 50)
        line = f"{rows:>8.0e} {ours:8.2f}"
        if livelossplot is not None and rows <= 10**6:  # ten million of its tuples do not fit
            theirs = frame_cost(livelossplot_frames(rows), rows, 8)
            line += f" {theirs:13.1f} {ours / theirs:7.3f}"
        print(line, flush=True)
    print(
        "\ntraining with the plot over without\n    rows   ratio (≤ 1.10)   by processor time   frames/s   ms a frame"
    )
    for rows in (10**3, 10**5, 10**6):
        (clock, busy), live = slow_down(rows, seconds)
        each = 1e3 * live.spent / live.frames
        print(f"{rows:>8.0e} {clock:16.3f} {busy:19.3f} {live.frames / seconds:10.1f} {each:12.2f}", flush=True)


def main(seconds: float = 10.0) -> int:
    """Start a kernel, run the cell in it, pass on what it prints."""
    from jupyter_client.manager import start_new_kernel

    failed = False

    def show(message: Any) -> None:
        nonlocal failed
        content = message["content"]
        if message["msg_type"] == "stream":
            print(content["text"], end="", flush=True)
        elif message["msg_type"] == "error":
            failed = True
            print("\n".join(content["traceback"]))

    manager, client = start_new_kernel()
    try:
        client.execute_interactive(CELL.format(seconds=seconds), output_hook=show, timeout=3600)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:2])))
