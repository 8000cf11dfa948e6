"""The commands of the magic, and the options of every command and method beyond the methods' own settings."""

from __future__ import annotations

from typing import NamedTuple

from ...algorithms import ALGORITHMS
from ...core.hyperparameters import Hyperparameter, hyperparameters
from ...training.control import REOPENING
from ...training.settings import Settings, options_of


class Command(NamedTuple):
    """A word that takes the place of a method."""

    usage: str
    help: str


COMMANDS = {
    "check": Command("[LOSS [GRADIENT]]", "compare your gradient with the true one"),
    "compare": Command(
        "RUN RUN …", "draw the losses of runs in one figure; with --seeds N train and evaluate them on N seeds"
    ),
    "advise": Command("METHOD [OPTIONS]", "propose settings for the problem below, with the evidence"),
    "recognise": Command("[TASKS]", "learn which kind of task a few points belong to, and draw the confusion matrix"),
    "studio": Command("", "choose, run and examine with widgets, and see the equivalent cell"),
    "export": Command(
        "RUN FILE", "write a run as .csv, .png, .svg, .gif (an animation of the inner loop) or .py (a script)"
    ),
    "resume": Command(
        "RUN | FILE", "continue a run that has ended, or one from a file, with another stopping rule: --steps 2000"
    ),
    "help": Command("[METHOD | COMMAND]", "this list, or the options of one method or command"),
    "remember": Command("[FILE | off]", "store the results of each run, for advice"),
}


class Extra(NamedTuple):
    """An option of the cell itself, which neither a method nor `Settings` declares."""

    option: str
    value: str  # a name for its value in the help; "" for a flag
    help: str
    setting: str = ""  # only for methods of this setting; "" for all


EXTRAS = (
    Extra("--params", "w,b", "the arguments of loss that are parameters; the others are data", "single"),
    Extra("--data", "x,y", "the arguments of loss that are data, never trained", "single"),
    Extra("--no-check", "", "use your own gradient without comparing it first", "single"),
    Extra("--metrics", "f,g", "your functions of params, a dict of arrays; each is a column of the record"),
    Extra("--callbacks", "f,g", "your functions of the run, called while it trains"),
    Extra("-o", "NAME", "the name of the result (default run)"),
    Extra("--wait", "", "block until the run is done"),
    Extra("--advise", "", "choose the settings that you leave open from past runs and closed forms"),
    Extra("--no-plot", "", "draw nothing"),
    Extra("--seeds", "N", "of a sweep (--lr sweep:0.01,0.1 or log:1e-4:1:9): seeds for each setting (default 1)"),
    Extra("--search", "HOW", "of a sweep: grid, or halving, which drops bad settings early (default grid)"),
    Extra("--help", "", "list the options"),
)

Declared = Hyperparameter | Extra

OF_COMMANDS: dict[str, tuple[Declared, ...]] = {
    "compare": (
        Hyperparameter("seeds", int, 0, "seeds to train and evaluate each on; 0: use the runs as they are", 0, 1000),
        Hyperparameter("over", str, "steps", "axis of the figure", choices=("steps", "evaluations", "seconds")),
        Extra("--no-baselines", "", "leave the traditional methods out"),
    ),
    "recognise": (
        Hyperparameter("by", str, "features", "properties used for recognition", choices=("features", "curvature")),
        Hyperparameter("shots", int, 10, "points of a task", 1, 1000),
        Hyperparameter("n_tasks", int, 4000, "tasks to learn from", 40, 100_000),
        Hyperparameter(
            "false_alarm", float, 0.05, "share of tasks of known kinds that are reported as unknown", 0, 1, above=True
        ),
        Hyperparameter("seed", int, 0, "seed of the tasks to learn from", 0),
        Extra("-o", "NAME", "the name of the recognizer (default tell)"),
    ),
    "resume": tuple(one for name, one in hyperparameters(Settings).items() if name in REOPENING),
}  # fmt: skip


def allowed(word: str) -> dict[str, Declared]:
    """Return option → declaration of a method or a command, in the order of the help."""
    if word in COMMANDS:
        own = {one.option: one for one in EXTRAS if word == "check" and one.option in ("--params", "--data")}
        return own | {one.option: one for one in OF_COMMANDS.get(word, ())}
    method = ALGORITHMS[word]
    fields, shared = options_of(method)
    declared: list[Declared] = list((fields | shared).values())
    declared += [one for one in EXTRAS if one.setting in ("", method.setting)]
    return {one.option: one for one in declared}
