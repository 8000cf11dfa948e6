"""Figures printed in papers, reached with the kit: ``python -m tests.bench.claims.published NAME [--seed N]``.

An experiment is one training at a paper's setting and its evaluation on tasks that were not trained on. Its result is
added to ``published.json``, one entry an experiment and seed, as soon as it is known; ``--table`` writes PUBLISHED.md
from these entries. Without a name the experiments are listed. A whole training takes a minute or more on one core;
versions of seconds run in tests/test_published.py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import metagd_nb as mg
from metagd_nb.algorithms import HD, Algorithm
from metagd_nb.core.statistics import half_width
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.tasks import Batch
from metagd_nb.training.drivers import foreground
from metagd_nb.training.run import Plan, Run
from metagd_nb.training.settings import Settings

HERE = Path(__file__).resolve().parent
RESULTS, TABLE = HERE / "published.json", HERE / "PUBLISHED.md"


class Score(NamedTuple):
    """A mean over new tasks and the half-width of its 95 % interval; inf where it diverged, nan for no interval."""

    mean: float
    interval: float = math.nan

    def __str__(self) -> str:
        if not math.isfinite(self.mean):
            return "diverged"
        digits = 3 if abs(self.mean) < 10 else 1
        half = "" if math.isnan(self.interval) else f" ± {self.interval:.{digits}f}"
        return f"{self.mean:.{digits}f}{half}"

    def meets(self, other: Score) -> bool:
        """Whether two independent means may be the same: they differ by less than the intervals of both together."""
        if not (math.isfinite(self.mean) and math.isfinite(other.mean)):
            return not (math.isfinite(self.mean) or math.isfinite(other.mean))
        halves = [0.0 if math.isnan(score.interval) else score.interval for score in (self, other)]
        return abs(self.mean - other.mean) <= math.hypot(*halves)


Scores = dict[str, Score]
DIVERGED = Score(math.inf)


@dataclass(frozen=True)
class Experiment:
    """How a figure is reached, where it is printed, and what it should be.

    Attributes
    ----------
    title, source : str
        The setting in words; where ``expected`` comes from.
    reach : function of (seed, steps) → Iterator of (steps done, Scores)
        The last is the result; what comes before it is kept in case the machine is wanted for something else.
    steps : int
        Meta-steps of the whole training.
    expected : Scores
        Label → what is printed, or was reached by another implementation.
    claim : (str, function of Scores → bool), optional
        What a paper says in words.
    accuracy : bool
        Whether more is better.
    """

    title: str
    source: str
    reach: Callable[[int, int], Iterator[tuple[int, Scores]]]
    steps: int
    expected: Scores
    claim: tuple[str, Callable[[Scores], bool]] | None = None
    accuracy: bool = False


# ---- sinusoids ----------------------------------------------------------------------------------------------------

FINN: dict[str, Any] = {
    "model": mg.mlp(1, 40, 40, 1, init_scale=0.01),
    "meta_lr": 1e-3,
    "meta_batch_size": 25,
    "shots": 10,
    "queries": 10,
    "dtype": "float32",
}
N_TASKS = 600
LOOKED_AT = dict.fromkeys((5, 10, 20), (1, 2, 5, 10))  # shots → adaptation steps


def label(shots: int, steps: int) -> str:
    """``5-shot, 1 step``"""
    return f"{shots}-shot, {steps} step{'s' * (steps != 1)}"


def sinusoid(method: str, **options: Any) -> Callable[[int, int], Iterator[tuple[int, Scores]]]:
    """Train on sinusoids, then adapt to `N_TASKS` new ones, 5, 10 and 20 points and up to ten steps each."""

    def reach(seed: int, steps: int) -> Iterator[tuple[int, Scores]]:
        own = {name: value for name, value in FINN.items() if method != "scratch" or name != "meta_lr"}
        run = mg.train(method, tasks=mg.sinusoid(), seed=seed, steps=steps, **(own | options))
        scores = {}
        with np.errstate(all="ignore"):
            for shots, at in LOOKED_AT.items():
                found = run.evaluate(shots=shots, steps=max(at), n_tasks=N_TASKS, seed=1)
                for k in at:
                    far = not found.mean[k] < 100  # predicting 0 costs 4.25
                    scores[label(shots, k)] = (
                        DIVERGED if far else Score(*map(float, (found.mean[k], found.interval[k])))
                    )
        yield steps, scores

    return reach


def printed(shots: int, **by_step: Any) -> Scores:
    """``printed(5, s1=(.629, .057), s5=.359)``"""
    made = {}
    for step, value in by_step.items():
        made[label(shots, int(step[1:]))] = value if isinstance(value, Score) else Score(*np.atleast_1d(value).tolist())
    return made


BASE = "2×40 ReLU from truncated normal 0.01, 25 tasks a meta-step, 10 + 10 points, Adam 0.001, float32"
THEIRS = "reached by another implementation at this setting (600 tasks)"

EXPERIMENTS: dict[str, Experiment] = {
    "maml": Experiment(
        f"MAML on sinusoids, α = 0.001 as in the published code. {BASE}",
        f"Finn et al. 2017, §5.1: 5-shot .67/.38/.35 after 1/5/10 steps; the values shown were {THEIRS}",
        sinusoid("maml", inner_lr=0.001),
        70_000,
        printed(5, s1=(0.629, 0.057), s5=(0.359, 0.040), s10=(0.312, 0.035))
        | printed(10, s1=0.369, s5=0.134, s10=0.112)
        | printed(20, s1=0.233, s5=0.066, s10=0.048),
    ),
    "maml-0.01": Experiment(
        f"The same with α = 0.01 as the paper says. {BASE}",
        f"{THEIRS}; five steps diverge",
        sinusoid("maml", inner_lr=0.01),
        70_000,
        printed(5, s1=0.638, s5=DIVERGED) | printed(10, s1=0.360) | printed(20, s1=0.231),
    ),
    "fomaml": Experiment(
        f"First-order MAML on sinusoids, α = 0.01. {BASE}",
        f"{THEIRS}, 5-shot after 1 and 5 steps; there ten steps diverge",
        sinusoid("fomaml", inner_lr=0.01),
        70_000,
        printed(5, s1=0.912, s5=0.604),
    ),
    "meta-sgd": Experiment(
        f"Meta-SGD on sinusoids, rates from 0.01. {BASE}",
        f"{THEIRS}; more than one step diverges",
        sinusoid("meta-sgd", inner_lr=0.01),
        70_000,
        printed(5, s1=0.407, s5=DIVERGED) | printed(10, s1=0.221) | printed(20, s1=0.130),
    ),
    "pretrain": Experiment(
        f"Pretraining on all sinusoids pooled, fine-tuned with α = 0.01. {BASE}",
        f"Finn et al. 2017, §5.1: 2.41/2.23/2.19 after 1/5/10 steps; the values shown were {THEIRS}",
        sinusoid("pretrain", inner_lr=0.01, inner_steps=0),
        70_000,
        printed(5, s1=2.507, s5=2.301, s10=2.272),
    ),
    "scratch": Experiment(
        "Training from the random start on each sinusoid alone, α = 0.001. 2×40 ReLU, He et al. 2015's start, float32",
        "Finn et al. 2017, figure 2, in words",
        sinusoid("scratch", inner_lr=0.001, model=mg.mlp(1, 40, 40, 1)),
        0,
        {},
        ("ten steps on ten points stay far from MAML's: above 2", lambda s: s[label(10, 10)].mean > 2),
    ),
    "reptile": Experiment(
        f"Reptile on sinusoids, 5 inner steps of 0.01, ε = 0.1. {BASE.replace(', Adam 0.001', '')}",
        "Nichol et al. 2018, in words (no numbers are printed)",
        sinusoid("reptile", inner_lr=0.01, inner_steps=5, meta_lr=0.1, outer="sgd"),
        70_000,
        {},
        (
            "it learns a start that adapts: ten steps on 10 points end below 1.0, pretraining near 2",
            lambda s: s[label(10, 10)].mean < 1.0,
        ),
    ),
    "anil": Experiment(
        f"ANIL on sinusoids: the last layer alone adapts, α = 0.01. {BASE}",
        "Raghu et al. 2020, §4, in words (they print no regression)",
        sinusoid("anil", inner_lr=0.01),
        70_000,
        {},
        ("adapting the last layer only still adapts: 10-shot, 1 step below 1.0", lambda s: s[label(10, 1)].mean < 1.0),
    ),
}

CAVIA = {1: (0.862, 0.059, ".84 ± .06"), 2: (0.208, 0.018, ".21 ± .02"), 5: (0.171, 0.014, ".19 ± .02")}
for size, (mean, half, paper) in CAVIA.items():
    EXPERIMENTS[f"cavia-{size}"] = Experiment(
        f"CAVIA on sinusoids, {size} context parameter{'s' * (size > 1)}, α = 1. {BASE}".replace(
            " from truncated normal 0.01", ""
        ),
        f"Zintgraf et al. 2019: {paper}; the value shown was {THEIRS}",
        sinusoid("cavia", inner_lr=1.0, model=mg.mlp(1, 40, 40, 1, context=size)),
        50_000,
        printed(10, s1=(mean, half)),
    )


# ---- hypergradient descent ----------------------------------------------------------------------------------------


class Digits:
    """Batches of 128 of scikit-learn's 8×8 digits, scaled so that a row's mean square norm is about MNIST's (100)."""

    def __init__(self, seed: int) -> None:
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        order = np.random.default_rng(seed).permutation(len(x))
        x, y = x[order] / 6, np.eye(10)[y[order]]
        self.train, self.held = (x[:1500], y[:1500]), Batch(x[None, 1500:], y[None, 1500:])
        self.seed = seed

    def __call__(self, step: int) -> Batch:
        rows = np.random.default_rng([self.seed, step]).choice(1500, 128, replace=False)
        return Batch(*(part[rows][None] for part in self.train))


class CrossEntropy:
    """Of logits (T, K, C) and one-hot targets: mean over points, with its derivatives in the logits."""

    class Point:
        """One evaluation."""

        def __init__(self, prediction: np.ndarray, target: np.ndarray) -> None:
            z = prediction - prediction.max(axis=-1, keepdims=True)
            log = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
            self.loss = -(target * log).sum(axis=-1).mean(axis=-1)
            self.grad = (np.exp(log) - target) / target.shape[1]

        def hvp(self, v: np.ndarray) -> np.ndarray:
            """Hypergradient descent needs none."""
            raise NotImplementedError

    def linearize(self, prediction: np.ndarray, target: np.ndarray) -> Point:
        """Evaluate."""
        return self.Point(prediction, target)


def logistic(algorithm: Algorithm, seed: int, steps: int) -> tuple[Run, float]:
    """Logistic regression on the digits: the run, and its loss on the rows held out."""
    digits, problem = Digits(seed), NetProblem(mg.linear(64, 10), CrossEntropy())
    start = problem.start(np.random.default_rng(seed))
    plan = Plan("hd", algorithm, problem, digits, Settings(steps=steps, seed=seed), start, start)
    run = foreground(Run(plan))
    return run, float(problem.linearize(run.loop.theta, digits.held).loss[0])


def hypergradient(seed: int, steps: int) -> Iterator[tuple[int, Scores]]:
    """SGD and SGD-HD from the same small rate; how the rate moved."""
    _, plain = logistic(HD(lr=0.001, hyper_lr=0.0), seed, steps)
    run, learned = logistic(HD(lr=0.001, hyper_lr=0.001), seed, steps)
    rate = run.record["lr"]
    early = rate[: min(len(rate), 16)].max() / rate[0]
    peak = int(rate.argmax())
    yield (
        steps,
        {
            "SGD, loss held out": Score(plain),
            "SGD-HD, loss held out": Score(learned),
            "α after 15 steps, in multiples of α₀": Score(float(early)),
            "largest α, in multiples of α₀": Score(float(rate.max() / rate[0])),
            "step of the largest α": Score(float(peak)),
            "last α as a share of the largest": Score(float(rate[-200:].mean() / rate.max())),
        },
    )


EXPERIMENTS["hypergradient"] = Experiment(
    "SGD-HD against SGD: logistic regression, batches of 128, α₀ = β = 0.001; 8×8 digits in place of MNIST",
    "Baydin et al. 2018, in words (on MNIST: .288 against .374 after ten epochs)",
    hypergradient,
    4_690,
    {},
    (
        "α rises 15–50 times over in the first 15 iterations, later decays, and SGD-HD ends below SGD",
        lambda s: (
            15 <= s["α after 15 steps, in multiples of α₀"].mean <= 50
            and s["last α as a share of the largest"].mean < 1
            and s["step of the largest α"].mean < 4_000
            and s["SGD-HD, loss held out"].mean < s["SGD, loss held out"].mean
        ),
    ),
)


# ---- Omniglot -----------------------------------------------------------------------------------------------------

EVERY = 5000  # meta-steps between two looks at what has been reached


def omniglot(ways: int, shots: int) -> Callable[[int, int], Iterator[tuple[int, Scores]]]:
    """MAML with the MLP; accuracy on held-out characters after three steps, looked at every so often."""

    def reach(seed: int, steps: int) -> Iterator[tuple[int, Scores]]:
        where = os.environ.get("METAGD_OMNIGLOT")
        if not where:
            raise SystemExit("METAGD_OMNIGLOT names no folder or file of Omniglot; see metagd_nb.omniglot")
        family = mg.omniglot(where, ways=ways)
        net = mg.mlp(784, 256, 128, 64, 64, ways, norm="batch", init_scale=0.01)  # as in the published code
        setting = {"inner_lr": 0.4, "inner_steps": 1, "meta_lr": 1e-3, "meta_batch_size": 32, "dtype": "float32"}
        run = mg.prepare("maml", model=net, tasks=family, shots=shots, queries=shots, seed=seed, steps=steps, **setting)
        scores: Scores = {}
        while run.iteration < steps:
            run.step(min(EVERY, steps - run.iteration))
            found = run.evaluate(family.test, steps=3, n_tasks=N_TASKS, metric="accuracy")
            now = Score(*(100 * float(part[3]) for part in (found.mean, found.interval)))
            scores[f"3 steps, after {run.iteration:,} meta-steps"] = now
            yield run.iteration, {**scores, "3 steps": now}

    return reach


for count, mean, half in ((1, 89.7, 1.1), (5, 97.5, 0.6)):
    EXPERIMENTS[f"omniglot-5-{count}"] = Experiment(
        f"MAML on Omniglot, 5-way {count}-shot, accuracy in %: MLP 256-128-64-64 with batch norm, from truncated"
        " normal 0.01, α = 0.4, one step in training and three in evaluation, 32 tasks, 1,200 characters and their"
        " rotations to learn from, float32",
        f"Finn et al. 2017, table 1: {mean} ± {half}",
        omniglot(5, count),
        60_000,
        {"3 steps": Score(mean, half)},
        accuracy=True,
    )


# ---- results ------------------------------------------------------------------------------------------------------


def run_one(name: str, seed: int, steps: int | None = None) -> Iterator[dict[str, Any]]:
    """Reach one figure; what goes into the file of results, as far as it is known, the last entry being the whole."""
    experiment, begun = EXPERIMENTS[name], time.perf_counter()
    for done, scores in experiment.reach(seed, experiment.steps if steps is None else steps):
        yield {
            "seed": seed,
            "steps": done,
            "seconds": round(time.perf_counter() - begun, 1),
            "numpy": np.__version__,
            "machine": platform.machine(),
            "scores": {name: [None if math.isnan(v) else v for v in score] for name, score in scores.items()},
        }


def read() -> dict[str, list[dict[str, Any]]]:
    """All results kept so far: experiment → entries, one a seed."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def keep(name: str, entry: dict[str, Any]) -> None:
    """Add a result, in place of an earlier one with the same seed; the file is written whole."""
    kept = read()
    others = [one for one in kept.get(name, []) if one["seed"] != entry["seed"]]
    kept[name] = sorted([*others, entry], key=lambda one: int(one["seed"]))
    part = RESULTS.with_suffix(".part")
    part.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(RESULTS)


def scores_of(entry: dict[str, Any]) -> Scores:
    """The scores of an entry; a mean that was no number counts as diverged."""
    return {
        name: Score(math.inf if mean is None else mean, math.nan if half is None else half)
        for name, (mean, half) in entry["scores"].items()
    }


def over_seeds(entries: list[dict[str, Any]], name: str) -> Score:
    """The mean over seeds of trainings, with the larger of two intervals: over tasks, and over trainings."""
    found = [scores_of(entry)[name] for entry in entries]
    means = np.array([score.mean for score in found])
    if not np.isfinite(means).all():
        return DIVERGED
    over_tasks = float(np.mean([score.interval for score in found]))
    if len(found) < 2:
        return Score(float(means[0]), over_tasks)
    return Score(float(means.mean()), float(np.nanmax([over_tasks, half_width(means)])))


def rows(name: str, entries: list[dict[str, Any]]) -> Iterator[str]:
    """The lines of one experiment in PUBLISHED.md."""
    experiment = EXPERIMENTS[name]
    yield f"### `{name}`\n"
    yield f"{experiment.title}.\n\nExpected: {experiment.source}."
    if entries[0]["steps"] < experiment.steps:
        yield f"\n**Cut short: {entries[0]['steps']:,} of {experiment.steps:,} meta-steps.**"
    if experiment.claim:
        held = all(experiment.claim[1](scores_of(entry)) for entry in entries)
        yield f"\nClaim: {experiment.claim[0]} — **{'holds' if held else 'does not hold'}**."
    yield "\n| what | reached | expected | |\n| --- | --- | --- | --- |"
    for what in scores_of(entries[0]):
        reached, expected = over_seeds(entries, what), experiment.expected.get(what)
        verdict = "" if expected is None else judged(reached, expected, experiment.accuracy)
        yield f"| {what} | {reached} | {'–' if expected is None else expected} | {verdict} |"
    seeds, seconds = ", ".join(str(e["seed"]) for e in entries), max(e["seconds"] for e in entries)
    yield f"\n{entries[0]['steps']:,} steps; seeds {seeds}; {seconds:.0f} s at most, training and evaluation.\n"


def judged(reached: Score, expected: Score, accuracy: bool = False) -> str:
    """In words: equal within the intervals, better, or worse."""
    if reached.meets(expected):
        return "within the intervals"
    return "better" if (reached.mean > expected.mean) == accuracy else "**worse**"


def table() -> str:
    """PUBLISHED.md."""
    kept = read()
    parts = [HEAD, *(line for name in EXPERIMENTS if name in kept for line in rows(name, kept[name]))]
    return "\n".join(parts).rstrip() + "\n"


HEAD = """# Published figures: reached against printed

Made by `python -m tests.bench.claims.published --table` from `published.json`, which holds every figure with its seed.
`python -m tests.bench.claims.published NAME --seed N` reaches one again. All on one core.

Losses are mean squares over 600 new tasks with 100 query points each, with the half-width of their 95 % interval; with
several seeds, the mean over trainings and the larger of its interval (Student's t) and that over tasks. Two means agree
when they differ by less than √(a² + b²) of their half-widths.
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="experiments")
    parser.add_argument("--seed", type=int, action="append", help="seed, may be given several times")
    parser.add_argument("--steps", type=int, help="meta-steps, fewer than the paper's")
    parser.add_argument("--table", action="store_true", help="write PUBLISHED.md from the results kept")
    given = parser.parse_args()
    for name in given.names:
        if name not in EXPERIMENTS:
            parser.error(f"unknown experiment {name!r}; there are {', '.join(EXPERIMENTS)}")
    for name in given.names:
        for seed in given.seed or [0]:
            for entry in run_one(name, seed, given.steps):
                keep(name, entry)
                print(name, *(f"{what}: {score}" for what, score in scores_of(entry).items()), sep="\n  ", flush=True)
    if given.table:
        TABLE.write_text(table(), encoding="utf-8")
    elif not given.names:
        print(*(f"{name:14} {one.title}" for name, one in EXPERIMENTS.items()), sep="\n")


if __name__ == "__main__":
    main()
