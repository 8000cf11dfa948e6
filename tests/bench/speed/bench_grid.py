"""Our meta-gradient against plain batched NumPy over sizes: it must nowhere cost more than 1.5 times as much.

T tasks of K + K points, 1-H-H-1 ReLU, exact second order, float32, one thread. Both in one process, in turns; the least
of the rounds counts, since a busy machine only ever adds. Results are compared first.

With ``--auto``, what a person gets from ``mg.train(…, backend="auto")`` for 60,000 meta-steps, sampling, Adam and
record included, against the better of two: hand-written JAX (jit and scan, sampling and Adam included) and the
meta-gradient alone in plain NumPy.

python -m tests.bench.speed.bench_grid [--steps 1] [--seconds 0.1] [--auto]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from .timing import machine, one_thread, taken

one_thread()

import numpy as np  # noqa: E402 — after one_thread

import metagd_nb as mg  # noqa: E402

from .bench_engine import Array, backward, forward, hessian_vector, jax_rival  # noqa: E402

TASKS, HIDDEN, POINTS = (1, 5, 25, 100, 400), (10, 40, 160), (5, 10, 40)
TARGET = 1.5
ALPHA = 1e-4  # small, so that the widest net stays finite over several steps


def plain(w: list[Array], steps: int, sx: Array, sy: Array, qx: Array, qy: Array) -> list[Array]:
    """The meta-gradient as one writes it down, a matrix a layer."""
    passed, phi = [], w
    for _ in range(steps):
        h, slope, error = forward(phi, sx, sy)
        grad, delta = backward(phi, h, slope, error)
        passed.append((phi, h, slope, delta))
        phi = [a - ALPHA * g for a, g in zip(phi, grad, strict=True)]
    h, slope, error = forward(phi, qx, qy)
    v, _ = backward(phi, h, slope, error)
    for place in reversed(passed):
        bent = hessian_vector(*place, v)
        v = [a - ALPHA * b for a, b in zip(v, bent, strict=True)]
    return [a.mean(0) for a in v]


def contenders(tasks: int, hidden: int, points: int, steps: int) -> tuple[Callable[[], Array], Callable[[], Array]]:
    """Ours and plain, on the same batch."""
    run = mg.prepare(
        "maml",
        model=mg.mlp(1, hidden, hidden, 1),
        tasks=mg.sinusoid(),
        inner_lr=ALPHA,
        inner_steps=steps,
        meta_batch_size=tasks,
        shots=points,
        queries=points,
        dtype="float32",
    )
    batch: Any = run.plan.batches(0)
    w = run.plan.problem.net.matrices(run.loop.theta)
    data = (batch.support.x, batch.support.y, batch.query.x, batch.query.y)

    def ours() -> Array:
        return np.asarray(run.loop.algorithm.meta_gradient(run.plan.problem, run.loop.theta, batch).grad)

    return ours, lambda: np.concatenate([g.ravel() for g in plain(w, steps, *data)])


def compare(tasks: int, hidden: int, points: int, steps: int, seconds: float) -> tuple[float, float]:
    """Least seconds of ours, and of plain."""
    both = contenders(tasks, hidden, points, steps)
    ours, other = (work() for work in both)
    apart = np.abs(ours - other).max() / np.abs(other).max()
    assert apart < 1e-4, f"not the same work: {apart:.0e} apart"
    repeats = [max(1, int(seconds / 5 / max(taken(work), 1e-6))) for work in both]
    least = [np.inf, np.inf]
    for _ in range(5):
        for i, work in enumerate(both):
            times = range(repeats[i])
            least[i] = min(least[i], taken(lambda work=work, times=times: [work() for _ in times]) / repeats[i])
    return least[0], least[1]


def steady(train: Callable[[int], object], seconds: float) -> float:
    """Least seconds a step of three, a long run less a short one."""
    short = 20
    train(short)
    long = short + max(20, int(seconds / max(taken(lambda: train(short)) / short, 1e-6)))
    train(long)  # compiles
    return min((taken(lambda: train(long)) - taken(lambda: train(short))) / (long - short) for _ in range(3))


def automatic(tasks: int, hidden: int, points: int, steps: int, seconds: float) -> tuple[float, float, float, str]:
    """Seconds a step of the automatic choice, of JAX and of plain NumPy; and what was chosen."""
    sizes: dict[str, Any] = {"meta_batch_size": tasks, "shots": points, "queries": points, "inner_steps": steps}
    given: dict[str, Any] = {"model": mg.mlp(1, hidden, hidden, 1), "tasks": mg.sinusoid(), "dtype": "float32"} | sizes
    chosen = mg.prepare("maml", backend="auto", inner_lr=ALPHA, steps=60_000, **given).plan.settings.backend

    def train(count: int) -> None:
        run = mg.train("maml", backend=chosen, inner_lr=ALPHA, meta_lr=1e-3, steps=count, **given)
        assert run.stopped == "steps", run.note

    numpy_work = contenders(tasks, hidden, points, steps)[1]
    repeats = range(max(2, int(seconds / 5 / max(taken(numpy_work), 1e-6))))
    plain_s = min(taken(lambda: [numpy_work() for _ in repeats]) / len(repeats) for _ in range(5))
    rival = jax_rival(tasks, hidden, points, steps, ALPHA)[1]
    return steady(train, seconds), steady(rival, seconds), plain_s, chosen


def print_automatic(steps: int, seconds: float) -> float:
    """A line for each size; the worst ratio."""
    print("the automatic choice / the better of JAX and plain NumPy (ms: ours, JAX, NumPy)")
    worst = 0.0
    for tasks in TASKS:
        for hidden in HIDDEN:
            for points in POINTS:
                ours, jax, plain_s, chosen = automatic(tasks, hidden, points, steps, seconds)
                ratio = ours / min(jax, plain_s)
                worst = max(worst, ratio)
                times = ", ".join(f"{1e3 * t:.3f}" for t in (ours, jax, plain_s))
                print(f"  T {tasks:3}  H {hidden:3}  K {points:2}  {chosen:5}  {ratio:5.2f}  ({times})", flush=True)
    return worst


def main() -> int:
    """Print a line for each size; exit code 1 where one misses the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1, help="inner steps")
    parser.add_argument("--seconds", type=float, default=0.1, help="for each contender and size")
    parser.add_argument("--auto", action="store_true", help="whole steps, against JAX too")
    options = parser.parse_args()
    if options.auto:
        print(f"MAML meta-step, {options.steps} inner steps, float32; {machine()}")
        worst = print_automatic(options.steps, options.seconds)
        print(f"  worst {worst:.2f}; target ≤ {TARGET}")
        return int(worst > TARGET)
    print(f"MAML meta-gradient, {options.steps} inner steps, float32; {machine()}\nours / plain NumPy, K = {POINTS}")
    worst = 0.0
    for tasks in TASKS:
        for hidden in HIDDEN:
            found = [compare(tasks, hidden, points, options.steps, options.seconds) for points in POINTS]
            ratios = [ours / other for ours, other in found]
            worst = max(worst, *ratios)
            told = "   ".join(f"{a / b:5.2f} ({1e3 * a:8.3f} ms)" for a, b in found)
            print(f"  T {tasks:3}  H {hidden:3}   {told}", flush=True)
    print(f"  worst {worst:.2f}; target ≤ {TARGET}")
    return int(worst > TARGET)


if __name__ == "__main__":
    sys.exit(main())
