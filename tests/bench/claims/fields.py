"""Small data in vision, language and medicine: the data-need curves of FIELDS.md.

    python -m tests.bench.claims.fields [--write] [FIELD …]

Meta-learning against traditional learning on the very same support and query points, and against traditional
optimizers on the same network. Every number is a function of the seeds written here.
"""

from __future__ import annotations

import os
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
from metagd_nb.core.statistics import half_width
from metagd_nb.models.logistic import softmax
from metagd_nb.tasks import Batch, TaskBatch, Tasks
from metagd_nb.tasks.user_data.episodes import Episodes

from .calibration import COMMONER, POOLED, Told, calibration, limits

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
HONEST = (TRADITIONAL["logistic regression"], TRADITIONAL["random forest"])  # that give probabilities
CLASS_ONLY = ("nearest class mean", "ridge")
CALIBRATED_AT = 10  # patients known


HEAD = f"""# Small data in three fields

`python -m tests.bench.claims.fields --write`. Accuracy in percent on tasks held out (scripts, languages, hospitals),
with 95 % intervals, Student's t: over tasks; for hospitals over the hospitals, each held out once. Shots count the
examples of a class for characters and words, all patients that are known for lung and tumours. Meta-learners adapt by
5 steps; networks have hidden layers of {HIDDEN[0]} and {HIDDEN[1]}. *network, …* is that network from a random start,
{OPTIMIZER_STEPS} steps, at the best of three rates.

What they say. Characters: learning to learn pays, most of all with one example (92.6 against 75.0; drawn by hand,
87.3 against 50.9) and still with twenty (98.3 against 96.3). Words: it does not; logistic regression on the n-grams
of the task alone is ahead of it at every number of shots, clearly from ten on. Patients: five to ten patients of a
hospital tell nearly nothing by themselves; what helps is what other hospitals know, and there one logistic regression
on all of them pooled does as well as anything that adapts.

Calibration. On lung nothing is better than to say how often patients elsewhere live: the pooled regression's Brier
score differs from that by −0.003 ± 0.057. What adapts there is far too sure of itself: MAML's Brier score is 0.779
against 0.483, its calibration error 0.365. On tumours MAML, ANIL, pretraining and the pooled regression are nearly
honest and are not told apart (Brier 0.040 to 0.045, each ± 0.03); MAML is slightly too sure (error 0.020, where 0.005
is chance).

What forty patients tell. On lung an accuracy to ± 15 points; and a calibration error below 0.13 to 0.21 says nothing,
for so much is seen where the probabilities are true. Two methods must lie 24 points apart to be found different in
four of five studies. On tumours an accuracy of 97 may show as anything from 92 to 100, and methods that are right on
the same 98 % of the patients must lie 6 points apart. An accuracy of 65 to ± 5 points takes 350 patients. All of lung
is 112 patients of six hospitals: no method's lead there is more than chance."""


class Field(NamedTuple):
    """A family, how its tasks are learned from, and how many are judged."""

    make: Callable[[], Any]
    shots: int  # support points (of a class, where tasks have classes of their own) in training
    queries: int
    steps: int
    tasks: int
    judged: tuple[int, ...]  # shots to judge at
    inner_lr: float
    why: str = ""  # what must be said below the table


LUNG = (
    "No column of twenty: one of the six hospitals has more than twenty patients, and over one hospital there is no\n"
    "interval."
)
OMNIGLOT = (
    "Hand-drawn characters of 784 pixels, through the loader: 1,200 characters and their rotations are learned from,\n"
    "the other 423 judged. There are twenty drawings of a character, so ten are the most that can be known when ten\n"
    "are judged. Made only where `METAGD_OMNIGLOT` names the data set."
)


def omniglot() -> Any:
    return mg.omniglot(os.environ["METAGD_OMNIGLOT"], ways=5)


FIELDS = {
    "glyphs (5-way)": Field(lambda: mg.glyphs(examples=30), 2, 6, 2000, 150, SHOTS, 0.3),
    "words (5-way)": Field(mg.words, 5, 6, 2000, 150, SHOTS, 0.3),
    "lung": Field(mg.lung, 5, 8, 300, 40, SHOTS, 0.05, LUNG),
    "tumours": Field(mg.tumours, 5, 10, 300, 40, SHOTS, 0.05),
}
if "METAGD_OMNIGLOT" in os.environ:
    FIELDS["omniglot (5-way)"] = Field(omniglot, 1, 6, 2000, 150, (1, 2, 5, 10), 0.3, OMNIGLOT)


def sides(field: Field) -> Iterator[tuple[Any, Any]]:
    """What is learned from and what is held out; of hospitals each is held out once."""
    family = field.make()
    if getattr(family, "sides", None):
        yield family.sides
        return
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


def meta_probabilities(run: Any, batch: TaskBatch, steps: int) -> np.ndarray:
    """(T, Q, C), said by a meta-learner after ``steps`` adaptation steps."""
    algorithm, part = run.loop.algorithm, batch.cast(run.plan.problem.dtype)
    phi = algorithm.adapt(run.plan.problem, run.loop.snapshot.theta, part.support, steps)
    return _softmax(algorithm.predict(run.plan.problem, phi, part.query.x))


def _softmax(logits: np.ndarray) -> np.ndarray:
    flat = softmax(np.asarray(logits, float).reshape(-1, logits.shape[-1]))
    return flat.reshape(logits.shape)


def traditional(make: Callable[[], Any], batch: TaskBatch) -> np.ndarray:
    """(T, Q, C) of a scikit-learn classifier fitted to each support set alone; 0 and 1 where it gives a class only.

    Of support points of one class all that can be learned is how many they are: (n + 1)/(n + C), Laplace's rule.
    """
    found, outputs = [], batch.support.y.shape[-1]
    for x, y, x_new in zip(batch.support.x, batch.support.y, batch.query.x, strict=True):
        classes, said = y.argmax(-1), np.zeros((len(x_new), outputs))
        if len(np.unique(classes)) == 1:
            said += 1 / (len(x) + outputs)
            said[:, classes[0]] += len(x) / (len(x) + outputs)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of classes with one example
                fitted = make().fit(x, classes)
                if make in HONEST:
                    said[:, fitted.classes_] = fitted.predict_proba(x_new)
                else:
                    said[np.arange(len(x_new)), fitted.predict(x_new)] = 1
        found.append(said)
    return np.array(found)


def pooled(learn: Any, batch: TaskBatch) -> dict[str, np.ndarray]:
    """(T, Q, C) of what is known from the other hospitals alone, as if all hospitals were one."""
    fitted = LogisticRegression(max_iter=500).fit(learn.x, learn.y.argmax(-1))
    shape = (*batch.query.x.shape[:2], learn.outputs)
    return {
        POOLED: fitted.predict_proba(batch.query.x.reshape(-1, learn.inputs)).reshape(shape),
        COMMONER: np.broadcast_to(learn.y.mean(axis=0), shape),
    }


def optimized(method: str, options: dict[str, float], batch: TaskBatch, seed: int = 0) -> np.ndarray:
    """(T, Q, C) of the network trained from a random start on each support set alone."""
    found = []
    for t in range(min(len(batch), OPTIMIZER_TASKS)):
        model = mg.mlp(batch.support.x.shape[-1], *HIDDEN, batch.support.y.shape[-1])
        x, y = batch.support.x[t], batch.support.y[t]
        run = mg.train(
            method, model=model, x=x, y=y, loss="cross-entropy", steps=OPTIMIZER_STEPS, seed=seed + t, **options
        )
        found.append(_softmax(run.plan.problem.predict(run.loop.snapshot.theta, batch.query.x[t : t + 1]))[0])
    return np.array(found)


def right(probabilities: np.ndarray, batch: TaskBatch) -> np.ndarray:
    """Accuracy (T,) of probabilities (T, Q, C), of the first T tasks."""
    return (probabilities.argmax(-1) == batch.query.y[: len(probabilities)].argmax(-1)).mean(axis=1)


def dealt(tasks: Tasks, shots: int, count: int, hospitals: bool) -> TaskBatch:
    """The tasks that everything is judged on; of one hospital, ``count`` ways to choose whom one knows already."""
    rng = np.random.default_rng([SEED, shots])
    if not hospitals:
        return tasks.sample(rng, 1, count, shots, 10)
    parts = [tasks.sample(rng, 1, 1, shots, 30) for _ in range(count)]
    sides = [[getattr(p, side) for p in parts] for side in ("support", "query")]
    return TaskBatch(*(Batch(np.concatenate([b.x for b in s]), np.concatenate([b.y for b in s])) for s in sides))


Scores = dict[str, dict[int, list[np.ndarray]]]
Sayings = dict[str, list[Told]]


def curves(field: Field) -> tuple[Scores, Sayings]:
    """Method → shots → accuracy of each held-out task, or of each hospital as the mean over its draws; and what the
    methods that give probabilities said of the hospitals' patients, with ``CALIBRATED_AT`` of them known."""
    found: Scores = {}
    said: Sayings = {}
    for learn, held in sides(field):
        hospitals = hasattr(learn, "group")
        runs = {m: learned(m, field, learn) for m in ("maml", "anil", "protonet", "pretrain") if _fits(m, learn)}
        best = {rule: _tuned(rule, field, learn) for rule in OPTIMIZERS}
        for shots in field.judged:
            if hospitals and shots >= field.make().sizes.min():
                continue
            batch = dealt(held, shots, field.tasks, hospitals)
            told = {f"`{method}`": meta_probabilities(run, batch, 5) for method, run in runs.items()}
            told |= {name: traditional(make, batch) for name, make in TRADITIONAL.items()}
            if hospitals:
                told |= pooled(learn, batch)
            told |= {f"network, {rule}": optimized(rule, options, batch) for rule, options in best.items()}
            for name, values in told.items():
                score = right(values, batch)
                found.setdefault(name, {}).setdefault(shots, []).append(
                    score.mean(keepdims=True) if hospitals else score
                )
                if hospitals and shots == CALIBRATED_AT and name not in CLASS_ONLY:
                    said.setdefault(name, []).append(of_patients(values, batch))
    return found, said


def of_patients(values: np.ndarray, batch: TaskBatch) -> Told:
    """Probabilities (T, Q, C) as one list, each with the number of its patient: rows of a table differ."""
    x = batch.query.x[: len(values)].reshape(-1, batch.query.x.shape[-1])
    came = batch.query.y[: len(values)].argmax(-1).reshape(-1)
    patient = np.unique(x, axis=0, return_inverse=True)[1].reshape(-1)
    return Told(values.reshape(-1, values.shape[-1]), came, patient)


def _fits(method: str, tasks: Any) -> bool:
    return method != "protonet" or isinstance(tasks, Episodes)


def _tuned(rule: str, field: Field, learn: Tasks) -> dict[str, float]:
    """The rate that does best on tasks that may be learned from."""
    batch = learn.sample(np.random.default_rng(SEED + 1), 1, 12, field.shots, 10)
    return max(OPTIMIZERS[rule], key=lambda options: right(optimized(rule, options, batch), batch).mean())


def table(name: str, field: Field, found: Scores) -> Iterator[str]:
    """The lines of one field's accuracies; intervals are Student's t."""
    yield f"## {name}\n"
    yield f"`{field.make()!r}`\n"
    yield f"| accuracy at shots | {' | '.join(map(str, SHOTS))} |"
    yield f"| --- |{' --- |' * len(SHOTS)}"
    for method, by in found.items():
        scores = {shots: 100 * np.concatenate(parts) for shots, parts in by.items()}
        cells = [f"{v.mean():.1f} ± {half_width(v):.1f}" if (v := scores.get(k)) is not None else "–" for k in SHOTS]
        yield f"| {method} | {' | '.join(cells)} |"
    yield ""
    if field.why:
        yield f"{field.why}\n"


def section(name: str) -> str:
    """One field: accuracies; of hospitals calibration too."""
    field = FIELDS[name]
    found, said = curves(field)
    lines = list(table(name, field, found))
    if said:
        lines += [*calibration(said, CALIBRATED_AT), *limits(said)]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print the sections; with ``--write`` put them into FIELDS.md, beside those that are there already."""
    path = Path(__file__).with_name("FIELDS.md")
    wanted = [a for a in arguments if a != "--write"]
    for name in wanted or FIELDS:
        text = section(name)
        print(text, flush=True)
        if "--write" in arguments:
            found = {part.split("\n", 1)[0].lstrip("# "): part for part in path.read_text().split("\n## ")[1:]}
            found[text.split("\n", 1)[0].lstrip("# ")] = text.lstrip("# ").rstrip() + "\n"
            order = [*FIELDS, *(title for title in found if title not in FIELDS)]
            parts = [found[title].rstrip() + "\n" for title in order if title in found]
            path.write_text("\n## ".join([HEAD.rstrip() + "\n", *parts]))


if __name__ == "__main__":
    main(sys.argv[1:])
