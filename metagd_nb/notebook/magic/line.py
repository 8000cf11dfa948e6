"""The line of a cell: ``maml --inner-lr 0.01 -o first``, read by the declarations of the method it names."""

from __future__ import annotations

import keyword
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ...algorithms import ALGORITHMS
from ...analysis.sweep import SEARCHES, values
from ...core.errors import MetagdError, nearest
from ...core.hyperparameters import Hyperparameter, hyperparameters
from ...training.persistence.replay import RULES
from ...training.stopping import Settings

COMMANDS = {
    "check": "[LOSS [GRADIENT]]  compare your gradient with the true one",
    "compare": "RUN RUN …  lay the losses of runs over each other; with --seeds N train and judge them on N seeds",
    "advise": "METHOD [OPTIONS]  how to set a method for what stands below, and on what grounds",
    "recognise": "[TASKS]  learn which kind of task a few points belong to, and show how well it is told",
    "studio": "  choose, run and look with widgets, and see the cell that does the same",
    "export": "RUN FILE  write a run as .csv, .png, .svg, .gif (the inner loop moving) or .py (a script)",
    "resume": "RUN | FILE  go on with a run that has ended, or that a file keeps, under another rule: --steps 2000",
    "remember": "[FILE | off]  keep what each run teaches, for advice",
}
READ = ("loss", "gradient", "model", "tasks", "params", "x", "y")  # names in which a cell looks for its parts


class Extra(NamedTuple):
    """An option that no method and no setting declares: it concerns the cell, not the training."""

    option: str
    value: str  # what stands for its value in the help; "" for a flag
    help: str
    setting: str = ""  # only for methods of this setting; "" for all


EXTRAS = (
    Extra("--params", "w,b", "the arguments of loss that are parameters; the others are data", "single"),
    Extra("--no-check", "", "use your own gradient without comparing it first", "single"),
    Extra("-o", "NAME", "the name of the result (default run)"),
    Extra("--wait", "", "block until the run is done"),
    Extra("--advise", "", "let past runs and closed forms choose what you leave open"),
    Extra("--no-plot", "", "draw nothing"),
    Extra("--seeds", "N", "of a sweep (--lr sweep:0.01,0.1 or log:1e-4:1:9): seeds a setting is tried on (default 1)"),
    Extra("--search", "HOW", "of a sweep: grid, or halving, which soon drops what does badly (default grid)"),
    Extra("--help", "", "what the options are"),
)

OF_COMMANDS: dict[str, tuple[Hyperparameter | Extra, ...]] = {  # options that a command has to itself
    "compare": (
        Hyperparameter(
            "seeds", int, 0, "train each on so many seeds and judge it; 0: take the runs as they are", 0, 1000
        ),
        Hyperparameter(
            "over", str, "steps", "what the losses are drawn over", choices=("steps", "evaluations", "seconds")
        ),
        Extra("--no-baselines", "", "leave the traditional methods out"),
    ),
    "recognise": (
        Hyperparameter("by", str, "features", "what is looked at", choices=("features", "curvature")),
        Hyperparameter("shots", int, 10, "points of a task", 1, 1000),
        Hyperparameter("n_tasks", int, 4000, "tasks to learn from", 40, 100_000),
        Hyperparameter(
            "false_alarm", float, 0.05, "share of known kinds called unlike anything seen", 0, 1, above=True
        ),
        Hyperparameter("seed", int, 0, "of the tasks to learn from", 0),
        Extra("-o", "NAME", "the name of what tells the kinds (default tell)"),
    ),
    "resume": tuple(one for name, one in hyperparameters(Settings).items() if name in RULES.values()),
}


@dataclass(frozen=True)
class Line:
    """What a line asks for.

    Attributes
    ----------
    word : str
        An algorithm, a command, or "" for the listing.
    options : dict
        Fields of the algorithm and of `Settings`.
    words : tuple of str
        What follows a command.
    """

    word: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    name: str = "run"
    params: tuple[str, ...] = ()
    wait: bool = False
    plot: bool = True
    check: bool = True
    baselines: bool = True
    sweep: dict[str, list[Any]] = field(default_factory=dict)
    seeds: int = 1
    search: str = "grid"
    help: bool = False
    advise: bool = False
    only: bool = False  # the advice, without a run


def allowed(word: str) -> dict[str, Hyperparameter | Extra]:
    """Option → declaration, of an algorithm or a command, in the order of the help."""
    if word in COMMANDS:
        own = {one.option: one for one in EXTRAS if word == "check" and one.option == "--params"}
        return own | {one.option: one for one in OF_COMMANDS.get(word, ())}
    method = ALGORITHMS[word]
    found: dict[str, Hyperparameter | Extra] = {
        h.option: h for h in (hyperparameters(method) | hyperparameters(Settings)).values()
    }
    return found | {one.option: one for one in EXTRAS if one.setting in ("", method.setting)}


def parse(text: str) -> Line:
    """A line, understood and checked as far as it can be before the body has run.

    Raises
    ------
    MetagdError
        Naming the word or the option as it was typed, and the nearest right one.
    """
    words = split(text)
    if not words or words == ["--help"]:
        return Line()
    if words[0].startswith("-"):
        raise MetagdError(f"the algorithm comes first, then its options: %%metagd gd {words[0]} …")
    if words[0] == "advise" and words[1:] != ["--help"]:
        if len(words) == 1:
            raise MetagdError("advise takes a method: %%metagd advise gd")
        return replace(_read(words[1:], ALGORITHMS), only=True)
    return _read(words, (*ALGORITHMS, *COMMANDS))


def _read(words: Sequence[str], names: Iterable[str]) -> Line:
    """A line that begins with one of ``names``."""
    word, *rest = words
    if word not in names:
        hint = nearest(word.lower(), names) or f"; allowed: {', '.join(names)}"
        raise MetagdError(f"unknown algorithm {word!r}{hint}")
    given, free = _collected(word, rest)
    if "--help" in given:
        return Line(word, help=True)
    params = _names("--params", given["--params"].split(",")) if "--params" in given else ()
    declared = {one: given[o] for o, one in allowed(word).items() if isinstance(one, Hyperparameter) and o in given}
    sweep = {one.name: several for one, text in declared.items() if (several := _swept(one, text)) is not None}
    options = {one.name: _value(one, text) for one, text in declared.items() if one.name not in sweep}
    if word in COMMANDS:
        name = _result_name(given.get("-o", "tell" if word == "recognise" else "run"))
        return Line(word, options, words=free, name=name, params=params, baselines="--no-baselines" not in given)
    return Line(
        word,
        options,
        name=_result_name(given.get("-o", "run")),
        params=params,
        wait="--wait" in given,
        plot="--no-plot" not in given,
        check="--no-check" not in given,
        advise="--advise" in given,
        **_searched(sweep, given),
    )


def split(text: str) -> list[str]:
    """The words of a line; quotes keep words together, and a ``#`` begins a comment as it does in Python."""
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        raise MetagdError(f"a quote is not closed: {text.strip()}") from None


def _collected(word: str, rest: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Option → text as typed ("" for a flag), and for a command the words that are no options."""
    known, given, free = allowed(word), dict[str, str](), list[str]()
    words = iter(rest)
    for typed in words:
        if word in COMMANDS and (not typed.startswith("-") or typed == "--help"):
            if typed == "--help":
                given[typed] = ""
            else:
                free.append(typed)
            continue
        option, equals, text = typed.partition("=")
        if option not in known:
            raise _unknown(word, option, known)
        if option in given:
            raise MetagdError("is given twice", option)
        one = known[option]
        if isinstance(one, Extra) and not one.value:
            if equals:
                raise MetagdError(f"takes no value, but has {text!r}", option)
        elif not equals:
            text = _next(words, option, one, known)
        given[option] = text
    return given, tuple(free)


def _next(words: Iterator[str], option: str, one: Hyperparameter | Extra, known: Iterable[str]) -> str:
    text = next(words, "")
    if not text or text.partition("=")[0] in known or text.startswith("--"):
        raise MetagdError(f"needs a value: {one.allowed if isinstance(one, Hyperparameter) else one.value}", option)
    return text


def _unknown(word: str, option: str, known: Iterable[str]) -> MetagdError:
    """For something that is no option of a method: the nearest one, and the methods that do have it."""
    plain = option.lower().replace("_", "-").lstrip("-")
    hint = nearest(f"--{plain}", known) if plain else ""
    owners = [name for name in ALGORITHMS if option in allowed(name)]
    if owners:
        hint = f", only of {', '.join(owners)}" + hint
    if not hint:
        hint = f"; allowed: {', '.join(known)}"
    if not option.startswith("-"):
        return MetagdError(f"unexpected {option!r} after {word}{hint}")
    return MetagdError(f"{option} is no option of {word}{hint}")


def _value(one: Hyperparameter, text: str) -> Any:
    """The value that a text stands for; a refused one is shown as it was typed."""
    try:
        return one.parse(text)
    except MetagdError as error:
        typed = "is not allowed" in error.what and "," not in text
        what = f"{text} is not allowed; needs {one.allowed}" if typed else error.what
        raise MetagdError(what, one.option) from None


def _swept(one: Hyperparameter, text: str) -> list[Any] | None:
    """The values of a sweep; None where the text is one value, be it a list."""
    return values(text, one.option, lambda part: _value(one, part))


def _searched(sweep: dict[str, list[Any]], given: dict[str, str]) -> dict[str, Any]:
    """What a sweep is told beside the values."""
    if not sweep:
        for option in ("--seeds", "--search"):
            if option in given:
                raise MetagdError("is for a sweep: --lr sweep:0.01,0.1 or --lr log:1e-4:1:9", option)
        return {}
    seeds = _value(Hyperparameter("seeds", int, 1, "", 1, 10_000), given.get("--seeds", "1"))
    search = _value(Hyperparameter("search", str, "grid", "", choices=SEARCHES), given.get("--search", "grid"))
    return {"sweep": sweep, "seeds": seeds, "search": search}


def _names(option: str, names: Sequence[str]) -> tuple[str, ...]:
    found = tuple(name.strip() for name in names)
    for name in found:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise MetagdError(f"{name!r} is not a name; names are separated by commas, as in w,b", option)
    return found


def _result_name(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise MetagdError(f"{name!r} cannot be the name of a variable", "-o")
    if name in READ:
        raise MetagdError(f"{name!r} is a name that cells read; choose another for the result", "-o")
    return name
