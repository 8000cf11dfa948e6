"""A step asks nothing new of the system, and nothing but the record grows. Counted, not timed."""

from __future__ import annotations

import copy
import gc
import platform
import subprocess
import sys
import textwrap
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.problems.closed_form.accelerated.buffers import ReplayCache
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.tasks import Batch, TaskBatch

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
        print(min((work(600) - work(200)) / 400 for _ in range(3)))  # the system may take pages back meanwhile
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
        run.loop.advance()
    gc.collect()
    now, peak = tracemalloc.get_traced_memory()
    return now - before, peak - before


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, {"inner_steps": 3}, {"learn_rates": "parameter"}], ids=str)
def test_nothing_grows_but_the_record(given: dict[str, Any]) -> None:
    tracemalloc.start()
    try:
        run = run_of(steps=10**6, **given)
        peak_of_steps(run, 210)  # two chunks of tasks drawn ahead, every buffer, two sets of parameters (the best's)
        rows = run.record._rows
        left, _ = peak_of_steps(run, 30)
    finally:
        tracemalloc.stop()
    assert run.record._rows is rows, "the record grew meanwhile; choose other steps"
    assert left < 3000, "of 30 steps: small objects that replace each other, not one array a step"
    assert rows.itemsize * rows.shape[1] <= 64


@pytest.mark.parametrize("steps", [1, 5])
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
        run.loop.advance()
        _, peak = peak_of_steps(run, 2)
    finally:
        tracemalloc.stop()
    assert peak < (steps + 5) * copy + activations
    assert np.isfinite(run.record["loss"]).all()


# ---- passes that are made again -----------------------------------------------------------------------------------


def fresh(run: mg.Run, theta: Any, batch: Any, algorithm: Any) -> np.ndarray:
    """The meta-gradient on a problem that has prepared nothing yet."""
    return algorithm.meta_gradient(copy.deepcopy(run.plan.problem), theta, batch).grad  # type: ignore[no-any-return]


@pytest.mark.parametrize("method", ["maml", "fomaml", "anil", "reptile", "meta-sgd", "pretrain"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_passes_made_again_find_what_new_ones_find(method: str, steps: int, activation: str) -> None:
    """Starts, tasks, numbers of tasks and rates change from step to step; more of them than are kept."""
    net, tasks = mg.mlp(1, 40, 40, 1, activation=activation), mg.sinusoid()
    run = mg.prepare(method, model=net, tasks=tasks, **({} if method == "pretrain" else {"inner_steps": steps}))
    rng = np.random.default_rng(0)
    for i in range(3 * ReplayCache.MOST):
        rate = 1e-3 * (1 + i // 2 % (ReplayCache.MOST + 2))
        algorithm = run.loop.algorithm if method == "pretrain" else replace(run.loop.algorithm, inner_lr=rate)
        theta = algorithm.init_parameters(run.plan.problem, 0.3 * rng.standard_normal(net.layout.size), tasks)
        batch = run.plan.batches(i)
        batch = TaskBatch(*(Batch(part.x[: 20 + i % 3], part.y[: 20 + i % 3]) for part in batch))
        found = algorithm.meta_gradient(run.plan.problem, theta, batch).grad
        np.testing.assert_array_equal(found, fresh(run, theta, batch, algorithm))


def test_what_a_point_left_stands_while_it_is_held() -> None:
    """Gradients, directions and means that somebody keeps are not overwritten by points on the same buffers."""
    net = mg.mlp(1, 40, 40, 1)
    problem, tasks, rng = NetProblem(net), mg.sinusoid(), np.random.default_rng(0)
    batches = [tasks.draw(rng, 1, 8, 5, 5, np.float64) for _ in range(6)]
    starts = [0.3 * rng.standard_normal(net.layout.size) for _ in batches]

    def parts(source: NetProblem, theta: np.ndarray, batch: TaskBatch) -> list[Any]:
        point = source.linearize(theta, batch.support)
        query = source.linearize(point.step(0.01), batch.query)
        bent = query.grad - point.hvp(0.5 * query.grad)
        other = source.linearize(point.step(0.02), batch.query).grad
        ways = point.hvp(query.grad), point.hvp(other)  # two directions at a time
        return [point.grad, query.grad, bent, bent.mean(axis=0), *(way.mean(axis=0) for way in ways), *ways, query.loss]

    held = [parts(problem, *given) for given in zip(starts, batches, strict=True)]
    means = [parts(problem, *given)[3:6] for given in zip(starts, batches, strict=True)]  # and nothing beside them
    weights = problem.linearize(starts[1], batches[0].support).at.layers  # held, where the rest is free again
    held += [[*found[:3], *given, *found[6:]] for found, given in zip(held, means, strict=True)]
    held += [parts(problem, *given) for given in zip(starts, batches, strict=True)]
    assert weights.number is not None
    plain = NetProblem(net)
    assert plain.accelerator is not None
    plain.accelerator.narrow = plain.accelerator.pairs = -1  # forms every array, and prepares little
    for found, theta, batch in zip(held, 3 * starts, 3 * batches, strict=True):
        for one, alone in zip(found, parts(plain, theta, batch), strict=True):
            np.testing.assert_allclose(np.asarray(one), np.asarray(alone), rtol=1e-11, atol=1e-13)


def test_a_pass_that_was_interrupted_is_made_anew() -> None:
    passes, out = ReplayCache(repeats=True), np.zeros(3)

    def make(do: Any, breaks: bool = False) -> np.ndarray:
        do(np.add, out, 1, out)
        if breaks:
            raise KeyboardInterrupt
        do(np.multiply, out, 2, out)
        return out

    with pytest.raises(KeyboardInterrupt):
        passes.run("pass", lambda do: make(do, breaks=True))
    out[:] = 0
    for expected in (2, 6, 14):  # made, then made again
        np.testing.assert_array_equal(passes.run("pass", make), expected)


def test_few_passes_are_kept() -> None:
    run = run_of(inner_lr=1e-4)
    tracemalloc.start()
    try:
        for i in range(40):
            run.loop.request("set", {"inner_lr": 1e-4 * (1 + i)})
            run.loop.handle_requests()
            run.loop.advance()
            run.loop.advance()
            if i == 20:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 2e6
    finally:
        tracemalloc.stop()
