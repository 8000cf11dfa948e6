"""``%metagd export`` and ``%metagd resume``: a run into a file, and on with one that had ended or was saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.errors import MetagdError, nearest
from ...training.run import Run
from .line import Line


def runs_of(space: Mapping[str, Any]) -> dict[str, Run]:
    """The runs in a person's namespace, by name."""
    return {name: value for name, value in space.items() if isinstance(value, Run) and name[0] != "_"}


def export(line: Line, space: Mapping[str, Any]) -> None:
    """Write a run as the ending of the file says."""
    if len(line.words) != 2:
        raise MetagdError("export takes a run and a file: %metagd export run run.py")
    name, path = line.words
    runs = runs_of(space)
    if name not in runs:
        raise MetagdError(f"{name} is not a run{nearest(name, runs)}")
    runs[name].export(path)
    print(f"metagd: {name} is in {path}")


def found(line: Line, space: dict[str, Any]) -> tuple[str, Run]:
    """The run to go on with, and its name; out of a file it becomes ``run``, with what the session has of its loss."""
    if len(line.words) != 1:
        raise MetagdError("resume takes a run or a file: %metagd resume run --steps 2000")
    (word,) = line.words
    runs = runs_of(space)
    if word in runs:
        return word, runs[word]
    if not Path(word).exists():
        raise MetagdError(f"{word} is neither a run nor a file{nearest(word, runs)}")
    from ...training.persistence.load import load

    run = load(word)
    if not run.plan.problem.available():
        own = {name: space[name] for name in run.plan.problem.missing if space.get(name) is not None}
        run = load(word, **own, namespace=space) if own else run
    return "run", run
