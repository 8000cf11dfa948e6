"""``%metagd export`` writes a run to a file; ``%metagd resume`` continues one that ended or that a file holds."""

from __future__ import annotations

import os
from typing import Any

from ...core.errors import MetagdError, nearest
from ...training.run import Run
from .bind import Names, instances
from .line import Line


def export(line: Line, names: Names) -> None:
    """Write a run to a file, in the format that the file's suffix names."""
    if len(line.words) != 2:
        raise MetagdError("export takes a run and a file: %metagd export run run.py")
    name, path = line.words
    runs = instances(names.space, Run)
    if name not in runs:
        raise MetagdError(f"{name} is not a run{nearest(name, runs)}")
    runs[name].export(path)
    print(f"metagd: {name} is in {path}")


def run_to_resume(line: Line, space: dict[str, Any]) -> tuple[str, Run]:
    """Return the run that ``resume`` names, and its variable: ``run`` for a file.

    The functions and arrays that a file cannot hold are taken from the namespace.

    Raises
    ------
    MetagdError
        If the line names neither a run nor a file.
    """
    if len(line.words) != 1:
        raise MetagdError("resume takes a run or a file: %metagd resume run --steps 2000")
    (word,) = line.words
    runs = instances(space, Run)
    if word in runs:
        return word, runs[word]
    if not os.path.exists(os.path.expanduser(word)):
        raise MetagdError(f"{word} is neither a run nor a file{nearest(word, runs)}")
    from ...training.persistence.load import load

    run = load(word)
    own = {name: space[name] for name in run.plan.problem.missing if space.get(name) is not None}
    return "run", load(word, **own, namespace=space) if own else run
