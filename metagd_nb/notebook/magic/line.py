"""The first line of a cell, such as ``maml --inner-lr 0.01 -o first``, parsed by the declarations of its method."""

from __future__ import annotations

import keyword
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ...algorithms import ALGORITHMS
from ...core.errors import MetagdError, nearest, shorten
from ...core.hyperparameters import Hyperparameter
from .options import COMMANDS, Declared, Extra, allowed

READ = ("loss", "gradient", "model", "tasks", "params", "x", "y")  # the names from which a cell prepares its run


@dataclass(frozen=True)
class Line:
    """A parsed line.

    Attributes
    ----------
    word : str
        An algorithm, a command, or "" for the listing.
    options : dict
        Fields of the algorithm and of `Settings`, by name.
    words : tuple of str
        The positional arguments of a command.
    name : str
        The variable of the result.
    sweep : dict
        Setting → the values to try.
    only : bool
        Give advice without a run.
    """

    word: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    name: str = "run"
    params: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    callbacks: tuple[str, ...] = ()
    wait: bool = False
    plot: bool = True
    check: bool = True
    baselines: bool = True
    sweep: dict[str, list[Any]] = field(default_factory=dict)
    seeds: int = 1
    search: str = "grid"
    help: bool = False
    version: bool = False
    advise: bool = False
    only: bool = False


def parse(text: str) -> Line:
    """Parse a line and check everything that does not depend on the body.

    Raises
    ------
    MetagdError
        With the word or option as typed, and the nearest valid one.
    """
    words = split(text)
    if words in ([], ["--help"], ["help"]):
        return Line()
    if words == ["--version"]:
        return Line(version=True)
    if words[0] == "help" and words[1] != "--help":
        words = [*words[1:], "--help"]
    if words[0].startswith("-"):
        raise MetagdError(f"the algorithm comes first, then its options: %%metagd gd {words[0]} …")
    if words[0] == "advise" and words[1:] != ["--help"]:
        if len(words) == 1:
            raise MetagdError("advise takes a method: %%metagd advise gd")
        return replace(_parsed(words[1:], ALGORITHMS), advise=True, only=True)
    return _parsed(words, (*ALGORITHMS, *COMMANDS))


def _parsed(words: Sequence[str], names: Collection[str]) -> Line:
    """Parse a line that begins with one of ``names``."""
    word, *rest = words
    if word not in names:
        hint = nearest(word.lower(), names) or f"; allowed: {', '.join(names)}"
        raise MetagdError(f"unknown algorithm {word!r}{hint}")
    given, free = _collected(word, rest)
    if "--help" in given:
        return Line(word, help=True)
    values, sweep = _settings(word, given)
    line = Line(
        word,
        values,
        free,
        _result_name(given.get("-o", "tell" if word == "recognise" else "run")),
        params=_names(given, "--params"),
        data=_names(given, "--data"),
        metrics=_names(given, "--metrics"),
        callbacks=_names(given, "--callbacks"),
        wait="--wait" in given,
        plot="--no-plot" not in given,
        check="--no-check" not in given,
        baselines="--no-baselines" not in given,
        advise="--advise" in given,
    )
    return line if word in COMMANDS else _with_sweep(line, sweep, given)


def _settings(word: str, given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return setting → value, and setting → values of a sweep, for the options that are given."""
    values, sweep = dict[str, Any](), dict[str, list[Any]]()
    for option, one in allowed(word).items():
        if isinstance(one, Hyperparameter) and option in given:
            several = _swept_values(one, given[option])
            if several is None:
                values[one.name] = _value(one, given[option])
            else:
                sweep[one.name] = several
    return values, sweep


def split(text: str) -> list[str]:
    """Return the words of a line; quotes keep words together, and ``#`` begins a comment as in Python."""
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        raise MetagdError(f"a quote is not closed: {text.strip()}") from None


def _collected(word: str, rest: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return option → text as typed ("" for a flag), and the positional arguments of a command."""
    known, given, free = allowed(word), dict[str, str](), list[str]()
    words = iter(rest)
    for typed in words:
        if word in COMMANDS and typed == "--help":
            given[typed] = ""
        elif word in COMMANDS and not typed.startswith("-"):
            free.append(typed)
        else:
            option, text = _option(typed, words, word, known)
            if option in given:
                raise MetagdError("is given twice", option)
            given[option] = text
    return given, tuple(free)


def _option(typed: str, words: Iterator[str], word: str, known: Mapping[str, Declared]) -> tuple[str, str]:
    """Return the option that a word begins, and its value: after ``=``, or the next word."""
    option, equals, text = typed.partition("=")
    if option not in known:
        raise _unknown(word, option, known)
    one = known[option]
    if isinstance(one, Extra) and not one.value:
        if equals:
            raise MetagdError(f"takes no value, but has {text!r}", option)
    elif not equals:
        text = next(words, "")
        if not text or text.partition("=")[0] in known or text.startswith("--"):
            needed = one.allowed if isinstance(one, Hyperparameter) else one.value
            raise MetagdError(f"needs a value: {needed}", option)
    return option, text


def _unknown(word: str, option: str, known: Iterable[str]) -> MetagdError:
    """Return the error for an unknown option: the nearest one, and the methods that have it."""
    hint = nearest(option, known) if option.strip("-") else ""
    owners = [name for name in ALGORITHMS if option in allowed(name)]
    if owners:
        hint = f", only of {', '.join(owners)}" + hint
    if not hint:
        hint = f"; allowed: {', '.join(known)}"
    if not option.startswith("-"):
        return MetagdError(f"unexpected {option!r} after {word}{hint}")
    return MetagdError(f"{option} is no option of {word}{hint}")


def _value(one: Hyperparameter, text: str) -> Any:
    """Return the value of an option; an error shows the text as typed."""
    try:
        return one.parse(text)
    except MetagdError as error:
        typed = "is not allowed" in error.what and "," not in text
        what = f"{text} is not allowed; needs {one.allowed}" if typed else error.what
        raise MetagdError(what, one.option) from None


def _swept_values(one: Hyperparameter, text: str) -> list[Any] | None:
    """Return the values of a sweep; None where the text is a single value, which may be a list."""
    if ":" not in text:
        return None
    from ...analysis.sweep_values import parse_values

    return parse_values(text, one.option, partial(_value, one))


def _with_sweep(line: Line, sweep: dict[str, list[Any]], given: Mapping[str, str]) -> Line:
    """Return the line with the options of its sweep, if it has one."""
    if not sweep:
        for option in ("--seeds", "--search"):
            if option in given:
                raise MetagdError("is for a sweep: --lr sweep:0.01,0.1 or --lr log:1e-4:1:9", option)
        return line
    from ...analysis.sweep import SEARCHES

    seeds = Hyperparameter("seeds", int, 1, "", 1, 10_000)
    search = Hyperparameter("search", str, "grid", "", choices=SEARCHES)
    return replace(
        line,
        sweep=sweep,
        seeds=_value(seeds, given.get("--seeds", "1")),
        search=_value(search, given.get("--search", "grid")),
    )


def _names(given: Mapping[str, str], option: str) -> tuple[str, ...]:
    """Return the names of variables that an option lists; none if it is not given."""
    if option not in given:
        return ()
    stripped = tuple(name.strip() for name in given[option].split(","))
    for name in stripped:
        if not _is_name(name):
            raise MetagdError(f"{shorten(name)} is not a name; names are separated by commas, as in w,b", option)
    return stripped


def _result_name(name: str) -> str:
    """Return the name of the result, which must not be one that cells read."""
    if not _is_name(name):
        raise MetagdError(f"{name!r} cannot be the name of a variable", "-o")
    if name in READ:
        raise MetagdError(f"{name!r} is a name that cells read; choose another for the result", "-o")
    return name


def as_typed(error: MetagdError, line: Line) -> MetagdError:
    """Return an error about a setting with the setting as it is typed on the line."""
    options = allowed(line.word)
    if error.option in ("params", "data") and f"--{error.option}" in options:
        given = line.params if error.option == "params" else line.data
        return MetagdError(error.what, f"--{error.option}" if given else None)
    option = f"--{error.option.replace('_', '-')}" if error.option else ""
    return MetagdError(error.what, option) if option in options else error


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)
