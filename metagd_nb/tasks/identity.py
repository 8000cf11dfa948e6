"""Identity of tasks: which tasks of one family are tasks of another one, and the words for tasks that are judged."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from .base import Tasks

FEW = 10  # tasks; below, an interval of their mean may be too short


class Judged(NamedTuple):
    """Tasks on which a learner is judged.

    Attributes
    ----------
    n_tasks : int
        Number of tasks judged.
    origin : "held-out" | "training"
        ``training`` if any task of the family was learned from.
    some : bool
        True if some of the family's tasks were learned from and others were not.
    fixed : bool
        True if the family has a finite number of tasks: other seeds judge the same ones.
    """

    n_tasks: int
    origin: str
    some: bool = False
    fixed: bool = False

    def __str__(self) -> str:
        plural = "s" * (self.n_tasks != 1)
        if self.some:
            return f"{self.n_tasks} task{plural}, some of them training tasks"
        return f"{self.n_tasks} {self.origin} task{plural}"


def judged(tasks: Tasks, trained: Tasks | None, n_tasks: int) -> Judged:
    """Describe the judgement of a learner on ``n_tasks`` tasks of a family, or on all that it has.

    Parameters
    ----------
    tasks : Tasks
        Family that is judged.
    trained : Tasks or None
        Family that was learned from.
    n_tasks : int
        Number of tasks to judge, at most.

    Returns
    -------
    Judged
    """
    count = min(n_tasks, tasks.n_available or n_tasks)
    if tasks.full_batch and tasks.n_available:
        count = tasks.n_available
    shared = 0 if trained is None else tasks.n_shared(trained)
    some = 0 < shared < (tasks.n_available or len(tasks.task_keys()))
    return Judged(count, "training" if shared else "held-out", some, tasks.n_available is not None)


def remarks(each: Iterable[Judged | None], sources: str) -> str:
    """Return what a reader of scores should know of the tasks, in words that follow a caption.

    Parameters
    ----------
    each : iterable of Judged or None
        Tasks of each method.
    sources : str
        What an interval is over where seeds judge the same tasks.

    Returns
    -------
    str
        Empty, or beginning with a semicolon.
    """
    known = [one for one in each if one is not None]
    text = ""
    if any(one.fixed for one in known):
        text += f"; every seed judges the same tasks, and the interval is over {sources}"
    if any(one.fixed and one.n_tasks < FEW for one in known):
        text += f"; fewer than {FEW} tasks: it may be too short"
    if any(one.origin == "training" for one in known):
        text += "; the tasks were learned from: others, as groups(…, test=0.25) holds out, may give another order"
    return text


def held_out_or(tasks: Tasks) -> Tasks:
    """Return the held-out tasks of a family, or the family itself where it holds none out."""
    return tasks if tasks.test is None else tasks.test


def rows_key(rows: np.ndarray) -> int:
    """Return a number that is the same for the same rows (n, D) in any order."""
    return hash(tuple(sorted(hash(row.tobytes()) for row in rows)))


def name_keys(names: np.ndarray) -> Iterator[set[Hashable]]:
    """Yield what the name of each task says of its identity: nothing where tasks are merely numbered 0, 1, 2 or 1, 2.

    Parameters
    ----------
    names : array (T,)

    Yields
    ------
    set
    """
    text = [str(name) for name in names]
    plain = any(text == [str(i) for i in range(start, start + len(text))] for start in (0, 1))
    for name in text:
        yield set() if plain else {("name", name)}
