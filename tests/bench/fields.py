"""Small data in vision, language and medicine: the data-need curves of FIELDS.md.

    python -m tests.bench.fields [--write] [FIELD …]

Meta-learning against traditional learning on the very same support and query points, and against traditional
optimizers on the same network. Every number is a function of the seeds written here.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import NearestCentroid

import metagd_nb as mg
from metagd_nb.evaluate import _score
from metagd_nb.tasks import Batch, TaskBatch, Tasks
from metagd_nb.tasks.episodes import Episodes

SEED = 7
SHOTS = (1, 2, 5, 10, 20)
HIDDEN = (64, 64)
TRADITIONAL: dict[str, Callable[[], Any]] = {
    "nearest class mean": NearestCentroid,
    "ridge": RidgeClassifier,
    "logistic regression": lambda: LogisticRegression(max_iter=500),
    "random forest": lambda: RandomForestClassifier(60, random_state=0),
}
OPTIMIZERS = {  # the same network from a random start, at the rate that did best on tasks that may be learned from
    "gd": [{"lr": r} for r in (0.03, 0.1, 0.3)],
    "momentum": [{"lr": r, "momentum": 0.9} for r in (0.003, 0.01, 0.03)],
    "adam": [{"lr": r} for r in (0.001, 0.003, 0.01)],
}
OPTIMIZER_STEPS, OPTIMIZER_TASKS = 60, 60


class Field(NamedTuple):
    """A family, how its tasks are learned from, and how many are judged."""

    make: Callable[[], Any]
    shots: int  # support points (of a class, where tasks have classes of their own) in training
    queries: int
    steps: int
    tasks: int
    judged: tuple[int, ...]  # shots to judge at
    inner_lr: float


FIELDS = {
    "glyphs (5-way)": Field(mg.glyphs, 2, 6, 2000, 150, (1, 2, 5, 10), 0.3),
    "words (5-way)": Field(mg.words, 5, 6, 2000, 150, SHOTS, 0.3),
    "lung": Field(mg.lung, 5, 8, 300, 40, (1, 2, 5, 10), 0.05),
    "tumours": Field(mg.tumours, 5, 10, 300, 40, SHOTS, 0.05),
}


def sides(field: Field) -> Iterator[tuple[Any, Any]]:
    """What is learned from and what is held out; of hospitals each is held out once."""
    family = field.make()
    if not hasattr(family, "group"):
        yield family.split(0.75, seed=0)
        return
    for hospital in family.labels:
        rows = family.group == hospital
        yield family._part(~rows), family._part(rows)


def learned(method: str, field: Field, tasks: Tasks) -> Any:
    """A meta-learner trained on the side that may be learned from."""
    model = mg.mlp(tasks.inputs, *HIDDEN, tasks.outputs)
    options: dict[str, Any] = {"inner_lr": field.inner_lr, "meta_lr": 0.002, "meta_batch_size": 16}
    if method in ("maml", "anil"):
        options["inner_steps"] = 3
    if method == "protonet":
        options = {"meta_lr": 0.002, "meta_batch_size": 16}
    return mg.train(
        method, tasks=tasks, model=model, shots=field.shots, queries=field.queries, steps=field.steps, seed=SEED,
        dtype="float32", **options,
    )  # fmt: skip


def meta_scores(run: Any, batch: TaskBatch, steps: int) -> np.ndarray:
    """Accuracy (T,) of a meta-learner after ``steps`` adaptation steps."""
    algorithm, theta = run.algorithm, run.shown.theta
    part = batch.cast(run.problem.dtype)
    phi = algorithm.adapt(run.problem, theta, part.support, steps)
    return np.asarray(_score(run.problem, algorithm, phi, part.query, "accuracy"))


def traditional(make: Callable[[], Any], batch: TaskBatch) -> np.ndarray:
    """Accuracy (T,) of a scikit-learn classifier fitted to each support set alone."""
    found = []
    for x, y, x_new, y_new in zip(batch.support.x, batch.support.y, batch.query.x, batch.query.y, strict=True):
        classes = y.argmax(-1)
        if len(np.unique(classes)) == 1:
            guess = np.full(len(x_new), classes[0])
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of classes with one example
                guess = make().fit(x, classes).predict(x_new)
        found.append(np.mean(guess == y_new.argmax(-1)))
    return np.array(found)


def pooled(learn: Any, batch: TaskBatch) -> dict[str, np.ndarray]:
    """Accuracies (T,) of what is known from the other hospitals alone, as if all hospitals were one."""
    classes = learn.y.argmax(-1)
    fitted = LogisticRegression(max_iter=500).fit(learn.x, classes)
    right = batch.query.y.argmax(-1)
    guess = fitted.predict(batch.query.x.reshape(-1, learn.inputs)).reshape(right.shape)
    most = np.bincount(classes).argmax()
    return {
        "logistic regression, other hospitals pooled": (guess == right).mean(axis=1),
        "always the commoner class": (right == most).mean(axis=1),
    }


def optimized(method: str, options: dict[str, float], batch: TaskBatch, seed: int = 0) -> np.ndarray:
    """Accuracy (T,) of the network trained from a random start on each support set alone."""
    found = []
    for t in range(min(len(batch), OPTIMIZER_TASKS)):
        model = mg.mlp(batch.support.x.shape[-1], *HIDDEN, batch.support.y.shape[-1])
        x, y = batch.support.x[t], batch.support.y[t]
        run = mg.train(
            method, model=model, x=x, y=y, loss="cross-entropy", steps=OPTIMIZER_STEPS, seed=seed + t, **options
        )
        guess = run.problem.predict(run.shown.theta, batch.query.x[t : t + 1])[0].argmax(-1)
        found.append(np.mean(guess == batch.query.y[t].argmax(-1)))
    return np.array(found)


def dealt(tasks: Tasks, shots: int, count: int, hospitals: bool) -> TaskBatch:
    """The tasks that everything is judged on; of one hospital, ``count`` ways to choose whom one knows already."""
    rng = np.random.default_rng([SEED, shots])
    if not hospitals:
        return tasks.sample(rng, 1, count, shots, 10)
    parts = [tasks.sample(rng, 1, 1, shots, 30) for _ in range(count)]
    sides = [[getattr(p, side) for p in parts] for side in ("support", "query")]
    return TaskBatch(*(Batch(np.concatenate([b.x for b in s]), np.concatenate([b.y for b in s])) for s in sides))


def curves(field: Field) -> dict[str, dict[int, np.ndarray]]:
    """Method → shots → accuracy of each held-out task, or of each hospital as the mean over its draws."""
    found: dict[str, dict[int, list[np.ndarray]]] = {}
    for learn, held in sides(field):
        hospitals = hasattr(learn, "group")
        runs = {m: learned(m, field, learn) for m in ("maml", "anil", "protonet", "pretrain") if _fits(m, learn)}
        best = {rule: _tuned(rule, field, learn) for rule in OPTIMIZERS}
        for shots in field.judged:
            if hospitals and shots >= held.sizes.min():
                continue
            batch = dealt(held, shots, field.tasks, hospitals)
            scores = {method: meta_scores(run, batch, 5) for method, run in runs.items()}
            scores |= {name: traditional(make, batch) for name, make in TRADITIONAL.items()}
            if hospitals:
                scores |= pooled(learn, batch)
            scores |= {f"network, {rule}": optimized(rule, options, batch) for rule, options in best.items()}
            for name, values in scores.items():
                kept = values.mean(keepdims=True) if hospitals else values
                found.setdefault(name, {}).setdefault(shots, []).append(kept)
    return {name: {k: np.concatenate(v) for k, v in by.items()} for name, by in found.items()}


def _fits(method: str, tasks: Any) -> bool:
    return method != "protonet" or isinstance(tasks, Episodes)


def _tuned(rule: str, field: Field, learn: Tasks) -> dict[str, float]:
    """The rate that does best on tasks that may be learned from."""
    batch = learn.sample(np.random.default_rng(SEED + 1), 1, 12, field.shots, 10)
    return max(OPTIMIZERS[rule], key=lambda options: optimized(rule, options, batch).mean())


READING = (  # of the figures below; to be written anew when they are
    "What they say. Characters: learning to learn pays, most of all with one example (92.8 against 74.8). Words:",
    "it does not; logistic regression on the n-grams of the task alone is ahead at every number of shots, clearly",
    "from ten on. Patients: five to ten patients of a hospital tell nearly nothing by themselves; what helps is",
    "what other hospitals know, and there one logistic regression on all of them pooled does as well as anything",
    "that adapts. With six hospitals of 15 to 30 patients the intervals are ± 3 to 11 points: no method's lead on",
    "lung is more than chance.\n",
)


def table(name: str, field: Field) -> Iterator[str]:
    """The lines of one field."""
    found = curves(field)
    family = field.make()
    yield f"## {name}\n"
    yield f"`{family!r}`\n"
    yield f"| accuracy at shots | {' | '.join(map(str, field.judged))} |"
    yield f"| --- |{' --- |' * len(field.judged)}"
    for method, by in found.items():
        cells = []
        for shots in field.judged:
            values = by.get(shots)
            if values is None:
                cells.append("–")
                continue
            half = 196 * values.std(ddof=1) / np.sqrt(len(values))
            cells.append(f"{100 * values.mean():.1f} ± {half:.1f}")
        label = f"`{method}`" if method in mg.ALGORITHMS else method
        yield f"| {label} | {' | '.join(cells)} |"
    yield ""


def main(arguments: list[str]) -> None:
    """Print the tables; with ``--write`` put those of all fields into FIELDS.md."""
    chosen = [name for name in FIELDS if not (wanted := [a for a in arguments if a != "--write"]) or name in wanted]
    lines = [
        "# Small data in three fields\n",
        "Made by `python -m tests.bench.fields --write`. Accuracy in percent on tasks held out (scripts, languages,",
        "hospitals), with 95 % intervals: over tasks; for hospitals over the hospitals, each held out once. Shots",
        "count the examples of a class for glyphs and words, all patients that are known for lung and tumours.",
        f"Meta-learners adapt by 5 steps; networks have hidden layers of {HIDDEN[0]} and {HIDDEN[1]}. *network, …* is",
        f"that network from a random start, {OPTIMIZER_STEPS} steps, at the best of three rates.\n",
        *READING,
    ]
    print("\n".join(lines), flush=True)
    for name in chosen:
        for line in table(name, FIELDS[name]):
            print(line, flush=True)
            lines.append(line)
    if "--write" in arguments:
        Path(__file__).with_name("FIELDS.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
