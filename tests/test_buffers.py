"""A step asks nothing new of the system, and nothing but the record grows. Counted, not timed."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys
import textwrap
import tracemalloc
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg

GNU = platform.libc_ver()[0] == "glibc"


def alone(code: str) -> str:
    """What a fresh interpreter prints: no other test has shaped its memory."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(not GNU, reason="page faults are counted, and avoided, with the GNU C library")
@pytest.mark.parametrize("where", ["train", "start"])
def test_a_step_asks_for_no_fresh_pages(where: str) -> None:
    faults = alone(f"""
        import resource
        import metagd_nb as mg

        def work(steps):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            run = mg.{where}("maml", model=mg.mlp(1, 40, 40, 1), tasks=mg.sinusoid(), steps=steps, dtype="float32")
            assert run.wait().stopped == "steps"
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        work(200)
        print((work(600) - work(200)) / 400)
    """)
    assert float(faults) < 1


def run_of(**given: Any) -> mg.Run:
    return mg.prepare(
        "maml", **{"model": mg.mlp(1, 40, 40, 1), "tasks": mg.sinusoid(), "dtype": "float32", "inner_lr": 1e-4} | given
    )


def peak_of_steps(run: mg.Run, steps: int) -> tuple[int, int]:
    """Bytes that ``steps`` steps leave behind, and the most they held at a time above where they began."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(steps):
        run.advance()
    gc.collect()
    now, peak = tracemalloc.get_traced_memory()
    return now - before, peak - before


@pytest.mark.parametrize("given", [{}, {"inner_steps": 3}, {"learn_rates": "parameter"}], ids=str)
def test_nothing_grows_but_the_record(given: dict[str, Any]) -> None:
    tracemalloc.start()
    try:
        run = run_of(steps=10**6, **given)
        peak_of_steps(
            run, 210
        )  # two chunks of tasks drawn ahead, every buffer made, two sets of parameters (the best's)
        rows = run.record._rows
        left, _ = peak_of_steps(run, 30)
    finally:
        tracemalloc.stop()
    assert run.record._rows is rows, "the record grew meanwhile; choose other steps"
    assert left < 3000, "of 30 steps: small objects that replace each other, not one array a step"
    assert rows.itemsize * rows.shape[1] <= 64


@pytest.mark.parametrize("steps", [1, 5, 10])
@pytest.mark.parametrize("learn_rates", ["no", "parameter"])
def test_a_step_holds_few_copies_of_phi(steps: int, learn_rates: str) -> None:
    """At most (inner_steps + 5) arrays (T, P), and the activations of the points on the way."""
    tasks, hidden, points = 50, 64, 2
    net = mg.mlp(1, hidden, hidden, 1)
    run = run_of(
        model=net, inner_steps=steps, shots=points, queries=points, learn_rates=learn_rates, meta_batch_size=tasks
    )
    copy = 4 * tasks * net.layout.size
    activations = (steps + 3) * 12 * 4 * tasks * points * (hidden + 1)
    tracemalloc.start()
    try:
        run.advance()
        _, peak = peak_of_steps(run, 2)
    finally:
        tracemalloc.stop()
    assert peak < (steps + 5) * copy + activations
    assert np.isfinite(run.record["loss"]).all()
