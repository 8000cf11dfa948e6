"""Recognising kinds of task, and starting each from a start of its own: the full tables, as markdown.

Sinusoid, line, quadratic, |x| and tanh with noise 0.3 (Vuorio et al. 2019, §5.1).

python -m tests.bench.claims.kinds [recognition | 2 | 3 | 5 | longer …] [--quick] [-o tests/bench/claims/kinds.md]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import metagd_nb as mg
from metagd_nb.core.statistics import half_width
from metagd_nb.tasks import Batch
from metagd_nb.tasks.synthetic.mixed import KINDS, Mixed

SEEDS, STEPS = 5, 1_500
MODES = {2: ("sinusoid", "line"), 3: ("sinusoid", "line", "quadratic"), 5: tuple(KINDS)}
NOVEL = {
    "jump": mg.curves(lambda x, a, c: a * np.sign(x - c), a=(1.0, 3.0), c=(-3.0, 3.0), noise=0.3),
    "four times as fast": mg.curves(lambda x, a, p: a * np.sin(4 * x + p), a=(1.0, 5.0), p=(0.0, 6.28), noise=0.3),
    "noise alone": mg.curves(lambda x: 0 * x, noise=2.0),
    "exponential": mg.curves(lambda x, a, b: a * np.exp(b * x), a=(0.5, 2.0), b=(0.3, 0.8), noise=0.3),
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def share(value: float, half: float) -> str:
    return f"{value:.3f} ± {half:.3f}"


# ---- recognition ----------------------------------------------------------------------------------------------------


def bayes(family: Mixed, shots: int, n_tasks: int, draws: int, seed: int) -> tuple[float, float]:
    """Accuracy, and half its interval, of who knows the law of every kind: the best there can be, by Monte Carlo.

    The likelihood of a support set under a kind is the mean over ``draws`` curves of that kind.
    """
    rng = np.random.default_rng([seed, shots])
    support = family.sample(rng, 1, n_tasks, shots, 1).support
    assert support.kind is not None
    likelihood = np.stack([_likelihood(one, support, draws, rng) for one in family.families.values()], axis=1)
    right = likelihood.argmax(axis=1) == support.kind
    return float(right.mean()), float(1.96 * right.std(ddof=1) / np.sqrt(n_tasks))


def _likelihood(family: Any, support: Batch, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Log of the mean likelihood (T,) of Gaussian noise 0.3."""
    if hasattr(family, "ranges"):
        numbers = {name: rng.uniform(*bounds, (draws, 1)) for name, bounds in family.ranges.items()}
        curve = family.function
    else:
        numbers = {"a": rng.uniform(*family.amplitude, (draws, 1)), "p": rng.uniform(*family.phase, (draws, 1))}

        def curve(x: np.ndarray, a: np.ndarray, p: np.ndarray) -> np.ndarray:
            return a * np.sin(x - p)

    found = []
    for x, y in zip(support.x[..., 0], support.y[..., 0], strict=True):
        log = -((curve(x[None], **numbers) - y) ** 2).sum(axis=1) / (2 * 0.3**2)
        found.append(log.max() + np.log(np.exp(log - log.max()).mean()))
    return np.array(found)


def recognition(quick: bool) -> str:
    """Accuracy, honesty and alarms of both ways over kinds and points."""
    rows, alarms = [], []
    for modes, names in MODES.items():
        family = mg.mixed(*names)
        for shots in (5, 10, 20):
            best = share(*bayes(family, shots, 200 if quick else 1000, 5_000 if quick else 40_000, 0))
            for by in ("features", "curvature"):
                tell = mg.recognise(family, by=by, shots=shots, n_tasks=1000 if quick else 4000)
                e = tell.evaluate(n_tasks=4000)
                honest = (f"{e.log_loss:.3f}", f"{e.ece:.3f}", f"{e.alarms:.1%}")
                rows.append([str(modes), str(shots), by, share(e.accuracy, e.interval), best, *honest])
                if modes == 5:
                    told = [f"{a:.0%} ± {h:.0%}" for a, h in (tell.alarms(one, 2000) for one in NOVEL.values())]
                    alarms.append([str(shots), by, f"{e.alarms:.1%}", *told])
                if (modes, shots, by) == (5, 10, "features"):
                    confusion = [
                        [kind, *(f"{n / row.sum():.0%}" for n in row)]
                        for kind, row in zip(e.kinds, e.confusion, strict=True)
                    ]
                    bins = [
                        [f"{c:.3f}", f"{r:.3f}", str(n)]
                        for c, r, n in zip(e.confidence, e.right, e.count, strict=True)
                        if n
                    ]
    head = ["kinds", "points", "by", "recognised", "best there can be", "log-loss", "calibration error", "alarms"]
    left_out = []
    for kind in KINDS:
        tell = mg.recognise(mg.mixed(*(k for k in KINDS if k != kind)), n_tasks=1000 if quick else 4000)
        a, h = tell.alarms(mg.mixed(kind), 2000)
        left_out.append([kind, f"{a:.0%} ± {h:.0%}"])
    return "\n\n".join(
        (
            table(head, rows),
            "Of five kinds, from ten points, by meta-features — row: what it is; column: what it was taken for:",
            table(["", *KINDS], confusion),
            "How sure, how often right, on how many tasks:",
            table(["probability of the likeliest", "share that was right", "tasks"], bins),
            "Called unlike anything seen, five kinds known; false alarms are set to 5 %:",
            table(["points", "by", "of the known kinds", *NOVEL], alarms),
            "The same, by meta-features from ten points, where the kind itself was left out of the five. A kind that"
            " resembles another is taken for it:",
            table(["left out", "called unlike anything seen"], left_out),
        )
    )


# ---- multimodal MAML ------------------------------------------------------------------------------------------------


def methods(modes: int, inner_steps: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name → method and what is special to it; with one inner step also one MAML with the parameters of all starts."""
    wide = {2: 71, 3: 82, 5: 101}[modes]  # (modes + 1) times the parameters, or a few more
    larger = {f"one MAML, net 1-{wide}-{wide}-1": ("maml", {"model": mg.mlp(1, wide, wide, 1)})}
    return {
        "one MAML": ("maml", {}),
        **(larger if inner_steps == 1 else {}),
        "kind recognised": ("multimodal", {}),
        "recogniser learned on": ("multimodal", {"kinds": "learned"}),
        "kind told (oracle)": ("multimodal", {"kinds": "told"}),
    }


def scores(run: mg.Run, n_tasks: int, steps: int) -> np.ndarray:
    """Query loss (n_tasks,) of each task after ``steps`` adaptation steps; the same tasks for every run."""
    assert run.plan.tasks is not None
    drawn = run.plan.tasks.sample(np.random.default_rng([7, n_tasks]), 1, n_tasks, run.loop.algorithm.shots, 100)
    drawn = drawn.cast(run.plan.problem.dtype)
    phi = run.loop.algorithm.adapt(run.plan.problem, run.loop.snapshot.theta, drawn.support, steps)
    return np.asarray(run.plan.problem.linearize(phi, drawn.query).loss, float)


def gap(one: np.ndarray, other: np.ndarray) -> str:
    """Mean difference (S, T), task by task; its 95 % interval is the wider of that over tasks and that over seeds."""
    off = one - other
    over_tasks = 1.96 * off.mean(axis=0).std(ddof=1) / np.sqrt(off.shape[1])  # the tasks are the same for every seed
    over_seeds = half_width(off.mean(axis=1)) if len(off) > 1 else 0.0
    return f"{off.mean():+.3f} ± {max(over_tasks, over_seeds):.3f}"


def won(one: np.ndarray, other: np.ndarray) -> str:
    """On how many seeds ``other`` had the smaller mean loss (S, T)."""
    return f"{int((one.mean(axis=1) > other.mean(axis=1)).sum())}/{len(one)}"


def losses_of(modes: int, inner_lr: float, inner_steps: int, steps: int, seeds: int, n_tasks: int) -> dict[str, Any]:
    """Method → query loss (S, T) on so many kinds."""
    losses = {}
    for name, (method, special) in methods(modes, inner_steps).items():
        given = {"model": mg.mlp(1, 40, 40, 1), "tasks": mg.mixed(*MODES[modes]), "dtype": "float32"} | special
        found = []
        for seed in range(seeds):
            run = mg.train(method, **given, inner_lr=inner_lr, inner_steps=inner_steps, steps=steps, seed=seed)
            assert run.stopped == "steps", run.note
            found.append(scores(run, n_tasks, inner_steps))
        losses[name] = np.array(found)
        print(modes, inner_steps, name, losses[name].mean(axis=1).round(3), flush=True)
    return losses


def gaps(losses: dict[str, np.ndarray], first: list[str]) -> list[list[str]]:
    """The rows of what knowing kinds gains and loses, each beginning with ``first``."""
    one, told = losses["one MAML"], losses["kind told (oracle)"]
    known = {name: loss for name, loss in losses.items() if name not in ("one MAML", "kind told (oracle)")}
    return [
        [*first, name, gap(one, loss), won(one, loss), gap(loss, told), won(loss, told)] for name, loss in known.items()
    ]


def multimodal(modes: int, quick: bool) -> str:
    """Query loss of every method on so many kinds, and the gaps."""
    steps, seeds, n_tasks = (300, 1, 400) if quick else (STEPS, SEEDS, 2000)
    rows, found = [], []
    for inner_lr, inner_steps in ((0.01, 1), (0.003, 5)):
        losses, setting = losses_of(modes, inner_lr, inner_steps, steps, seeds, n_tasks), f"{inner_steps} of {inner_lr}"
        rows += [[setting, name, gap(loss, np.zeros_like(loss)).lstrip("+")] for name, loss in losses.items()]
        found += gaps(losses, [setting])
    return "\n\n".join(
        (
            f"{', '.join(MODES[modes])}. 1-40-40-1 ReLU, 25 tasks a step, 10 + 10 points, Adam 0.001, {steps:,} steps,"
            f" float32, seeds 0…{seeds - 1}; {n_tasks:,} new tasks a seed, 100 query points each. Noise alone: 0.090.",
            table(["inner steps", "method", "query loss"], rows),
            "Gaps, paired by task and by seed of the training: what knowing kinds gains over one MAML (positive: better"
            " than it), and what it still loses to the oracle (negative: better than it). The 95 % interval is the"
            f" wider of that over tasks and Student's t over the {seeds} seeds; beside it, on how many seeds it beat"
            " one MAML, and the oracle beat it:",
            table(["inner steps", "method", "one MAML − it", "seeds", "it − oracle", "seeds"], found),
        )
    )


def longer(quick: bool) -> str:
    """Whether the gaps are those of the early steps only."""
    steps, seeds, n_tasks = (300, 1, 400) if quick else (4 * STEPS, SEEDS, 2000)
    rows = []
    for modes in MODES:
        losses = losses_of(modes, 0.003, 5, steps, seeds, n_tasks)
        mean = {name: gap(loss, np.zeros_like(loss)).lstrip("+") for name, loss in losses.items()}
        first = [str(modes), mean["one MAML"], mean["kind told (oracle)"]]
        rows += [[*row[:4], mean[row[3]], *row[4:]] for row in gaps(losses, first)]
    return "\n\n".join(
        (
            f"The same nets and tasks, five inner steps of 0.003, {steps:,} steps instead of {STEPS:,}, seeds"
            f" 0…{seeds - 1}: with longer training one MAML comes nearer.",
            table(
                ["kinds", "one MAML", "oracle", "method", "query loss", "one MAML − it", "seeds", "it − oracle",
                 "seeds"],
                rows,
            ),
        )
    )  # fmt: skip


READING = """\
What it says. Starts of their own for recognised kinds beat one MAML on two, three and five kinds, on each of five
seeds and by more than the interval, after 1,500 steps; trained four times as long they still do, but on five kinds
only where the recogniser is learned on (alone it won on four seeds of five, by less than the interval). One MAML with
as many parameters as all the starts together does not: it is no better than the small one. Being told the kind is
worth nothing that can be told apart from recognising it, except on five kinds with five steps, where what was
recognised once and for all loses 0.149 ± 0.070; learned on, the recogniser loses nothing that can be told apart."""
PARTS = {"recognition": "Recognition", **{str(modes): f"Multimodal MAML, {modes} kinds" for modes in MODES}}
PARTS["longer"] = "Trained four times as long"


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"which tables, of {', '.join(PARTS)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="a minute instead of half an hour, to see that it runs")
    parser.add_argument("-o", type=Path, help="file to write; by default the tables are printed")
    given = parser.parse_args()
    text = "" if given.parts else f"# Kinds of task\n\nWritten by `python -m tests.bench.claims.kinds`.\n\n{READING}\n"
    for part in given.parts or PARTS:
        own = {"recognition": recognition, "longer": longer}
        told = own[part](given.quick) if part in own else multimodal(int(part), given.quick)
        text += f"\n## {PARTS[part]}\n\n{told}\n"
    given.o.write_text(text, encoding="utf-8") if given.o else print(text)


if __name__ == "__main__":
    main()
