"""What each method costs and what it learned, on one family of tasks: the tables of COSTS.md.

    python -m tests.bench.claims.costs [--write]

Evaluations and Hessian·vectors are counted, and the same at each run; seconds are those of one run on the machine of
README.md and tell no more than an order; memory is measured anew at each run and hardly differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import metagd_nb as mg
from metagd_nb import interpret
from metagd_nb.core.errors import MetagdError

from .kinds import table

STEPS, SHOTS = 1000, 10
METHODS: dict[str, dict[str, Any]] = {
    "scratch": {},
    "pretrain": {},
    "maml": {},
    "fomaml": {},
    "reptile": {"inner_steps": 5},
    "anil": {},
    "meta-sgd": {},
    "imaml": {"lam": 1000.0, "inner_lr": 0.0008},  # a weaker pull meets non-positive curvature
    "multimodal": {"tasks": mg.mixed("sinusoid", "line")},  # it needs kinds to tell apart
    "l2l": {"inner_lr": 0.01},
    "cavia": {"inner_lr": 1.0, "model": mg.mlp(1, 40, 40, 1, context=4)},
}


def trained(method: str) -> mg.Run:
    """1-40-40-1 ReLU on sinusoids, one inner step of 0.01 unless the method asks for another."""
    given = {"tasks": mg.sinusoid(), "model": mg.mlp(1, 40, 40, 1), "inner_lr": 0.01, "dtype": "float32"}
    run = mg.train(method, **(given | METHODS[method]), steps=STEPS, shots=SHOTS, seed=0)
    assert run.stopped == "steps", (method, run.stopped)
    return run


def learned(runs: dict[str, mg.Run]) -> list[list[str]]:
    """One row a method: score, what moves, what stays alike, rates."""
    rows = []
    for name, run in runs.items():
        steps = run.loop.algorithm.inner_steps
        score = run.evaluate(shots=SHOTS, steps=steps, n_tasks=600)
        before, after = (f"{score.mean[i]:.3f} ± {score.interval[i]:.3f}" for i in (0, -1))
        try:
            moves = interpret.movement(run)
            most = max(zip(moves.moved, moves.names, strict=True))
            moved, alike = f"{most[1]} ({most[0]:.2f})", " / ".join(f"{s:.2f}" for s in moves.same) or "–"
        except MetagdError:
            moved = alike = "–"
        try:
            rates = interpret.layer_rates(run)
            low, high = min(r[1] for r in rates.values()), max(r[2] for r in rates.values())
            told = f"{low:.3f}…{high:.3f}"
        except MetagdError:
            told = "–"
        rows.append([f"`{name}`", str(steps), before, after, moved, alike, told])
    return rows


def tables() -> Iterator[str]:
    """The lines of COSTS.md."""
    runs = {name: trained(name) for name in METHODS}
    found = mg.cost_table(runs)
    yield "# What each method costs, and what it learned\n"
    yield f"`python -m tests.bench.claims.costs --write`. Sinusoids, 1-40-40-1 ReLU, {STEPS:,} meta-steps of 25 tasks,"
    yield f"{SHOTS} + {SHOTS} points, seed 0, float32, one thread. Counts are the same at each run; seconds are of"
    yield "one run, with other work on the machine. `multimodal` learns from sinusoids and lines, which are other"
    yield "tasks: its losses do not compare with the others'. The same for runs of your own:"
    yield "`mg.cost_table([run, other])`, and `metagd_nb.charts.costs` draws it.\n"
    head, *rows = found.rows()
    yield table(list(head), [[f"`{row[0]}`", *row[1:]] for row in rows])
    yield "\nOn 600 new tasks, before adapting and after as many steps as in training, with 95 % intervals. Which part"
    yield "moves most when adapting (‖φ − θ‖/‖θ‖); how alike the activations of the hidden layers and the output stay"
    yield "(CKA, 1: the same); the least and the greatest learned rate. From `metagd_nb.interpret`.\n"
    yield table(["method", "inner steps", "before", "after", "moves most", "stays alike", "rates"], learned(runs))


if __name__ == "__main__":
    text = "\n".join(tables()) + "\n"
    print(text)
    if "--write" in sys.argv:
        Path(__file__).with_name("COSTS.md").write_text(text, encoding="utf-8")
