"""A cold cell: everything imported, nothing built; then a run is made and trained for 1,000 meta-steps.

The setting is that of `bench_engine`. Compiling is what a cold cell on JAX waits for, and NumPy does not. Each figure
comes from a process of its own, as the second run of a process finds its program compiled.

python -m tests.bench.speed.bench_cold [--rounds N]
"""

from __future__ import annotations

import argparse
import importlib.util
import sys

from .timing import Timing, Worker, machine, one_thread, serve

one_thread()

from .bench_engine import jax_rival, ours  # noqa: E402 — after one_thread

STEPS = 1000
TARGET = 4.0  # times quicker than JAX


def worker(name: str) -> None:
    """One contender, with what it imports already imported."""
    if name == "ours":
        serve(ours)
        return
    import jax

    jax.numpy.zeros(3).block_until_ready()  # the import and the start of its devices are not counted
    if name == "ours on JAX":
        import metagd_nb.training.executors.jax  # noqa: F401

        serve(lambda steps: ours(steps, "jax"))
    else:
        serve(lambda steps: jax_rival()[1](steps))


def main() -> int:
    """Print the figures; exit code 1 over the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return 0
    has_jax = importlib.util.find_spec("jax") is not None
    found = {name: Timing([]) for name in ["ours"] + ["JAX", "ours on JAX"] * has_jax}
    for _ in range(options.rounds):
        for name, timing in found.items():
            one = Worker("tests.bench.speed.bench_cold", name)
            timing.seconds.append(one(STEPS))
            one.close()
    print(f"build and {STEPS} MAML meta-steps, cold; {machine()}")
    for name, timing in found.items():
        extra = "" if name == "ours" else f"; ours is {timing.over(found['ours']):.1f} times quicker"
        print(f"  {name:11} {timing.median:6.2f} s   (least {timing.least:.2f}){extra}")
    print(f"  median of {options.rounds} rounds; target: ours ≥ {TARGET} times quicker than JAX")
    if not has_jax:
        print("  JAX skipped: it is not installed here (pip install jax)")
    return int(has_jax and found["JAX"].over(found["ours"]) < TARGET)


if __name__ == "__main__":
    sys.exit(main())
