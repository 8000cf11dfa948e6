"""Memory of past runs in one SQLite file, written only when the user has turned it on.

``mg.remember()``, ``%metagd remember`` or the environment variable ``METAGD_MEMORY`` turns it on. Each run that ends is
then stored as features of its problem, settings and loss curve; `advise` reads them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
from pathlib import Path

import numpy as np

from ..algorithms import Algorithm
from ..core.errors import MetagdError, shorten
from ..core.hyperparameters import hyperparameters
from ..problems.base import Array, Problem
from ..training.callbacks import ON_END
from ..training.run import Run
from .memory_file import MemoryFile
from .past_run import Past, past_of
from .problem_features import ProblemFeatures, describe_problem

MEMORY = "METAGD_MEMORY"  # environment variable: the file of past runs, or 1 for the default one
THETA_BYTES = 4_000_000  # larger parameter vectors are not stored
POINTS = 40  # of a loss curve


def choices_of(algorithm: Algorithm) -> str:
    """Settings of an algorithm that are chosen from words, as JSON: runs are compared only where these agree."""
    names = [name for name, declared in hyperparameters(algorithm).items() if declared.choices]
    return json.dumps({name: getattr(algorithm, name) for name in names}, sort_keys=True)


def layout_of(problem: Problem) -> str:
    """Names and shapes of the parameters, as JSON."""
    return json.dumps(problem.layout.shapes)


class RunMemory(MemoryFile):
    """File of past runs; see `MemoryFile` for its creation and safety."""

    def __repr__(self) -> str:
        return f"memory of {len(self)} runs"

    def __len__(self) -> int:
        with self.connection() as db:
            return int(db.execute("SELECT count(*) FROM runs").fetchone()[0])

    def add(self, run: Run) -> None:
        """Store a run that has ended; a run without a finite loss at its start is left out.

        Parameters
        ----------
        run : Run
        """
        algorithm = run.plan.algorithm
        features = describe_problem(run.plan.problem, run.plan.batches(0), run.plan.start)
        if not np.isfinite([features.loss, features.grad_norm, features.top]).all() or len(run.record) < 2:
            return
        settings = {
            name: float(np.mean(getattr(algorithm, name)))
            for name, declared in hyperparameters(algorithm).items()
            if declared.kind in (int, float) and getattr(algorithm, name) is not None
        }
        flat = run.loop.algorithm.result(run.plan.problem, run.loop.snapshot.theta, run.loop.snapshot.state)
        row = (
            time.time(),
            run.plan.method,
            choices_of(algorithm),
            _problem_name(features),
            json.dumps(features._asdict()),
            json.dumps(settings),
            json.dumps(_curve(run).tolist()),
            run.stopped or "",
            layout_of(run.plan.problem),
            None if run.stopped == "diverged" else _packed(flat),
        )
        with self.connection() as db:
            db.execute(
                "INSERT INTO runs (at, method, choices, problem, features, settings, curve, stopped, layout, theta)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def past(self, method: str | None = None, choices: str | None = None) -> list[Past]:
        """Return the remembered runs, oldest first.

        Parameters
        ----------
        method : str, optional
            Only runs of this method.
        choices : str, optional
            Only runs with these choices (`choices_of`).

        Returns
        -------
        list of Past
            Rows that cannot be read are left out, and counted in `note`.
        """
        with self.connection() as db:
            rows = db.execute(
                "SELECT * FROM runs WHERE (?1 IS NULL OR method = ?1) AND (?2 IS NULL OR choices = ?2) ORDER BY id",
                (method, choices),
            ).fetchall()
        found = []
        for row in rows:
            with contextlib.suppress(Exception):  # whatever stands in a row, the others count
                found.append(past_of(row))
        if len(found) < len(rows):
            self.note = f"{len(rows) - len(found)} of {len(rows)} remembered runs cannot be read and are left out"
        return found


def _problem_name(features: ProblemFeatures) -> str:
    """Hash of the features to six digits, which agree for the same problem and start."""
    words = " ".join(f"{value:.6g}" for value in (features.size, features.loss, features.grad_norm, features.along))
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _packed(theta: Array) -> bytes | None:
    if theta.nbytes > THETA_BYTES:
        return None
    out = io.BytesIO()
    np.save(out, theta, allow_pickle=False)
    return out.getvalue()


def _curve(run: Run) -> Array:
    """Evaluations and loss (n, 2) at rows about evenly spaced on a log axis; sampled losses are averaged between."""
    loss, spent = run.record.since("loss", 0), run.record.since("grad_evals", 0)
    rows = np.unique(np.geomspace(1, len(loss), min(POINTS, len(loss))).round().astype(int)) - 1
    values = loss[rows]
    if run.loop.sampled:
        first = np.concatenate([[0], rows[:-1] + 1])
        values = np.add.reduceat(loss, first) / np.diff(np.append(first, len(loss)))
    return np.stack([spent[rows], np.where(np.isfinite(values), values, 1e300)], -1)


_chosen: list[RunMemory | None] = []  # set by `remember` in this process; empty: the environment decides


def remember(path: str | os.PathLike[str] | bool | None = True) -> RunMemory | None:
    """Turn the memory on or off for this process.

    Parameters
    ----------
    path : path or bool
        The file; True for the default path; False stores no further runs and deletes nothing.

    Returns
    -------
    RunMemory or None

    Raises
    ------
    MetagdError
        For what is no path, and for a file that holds something else.
    """
    _chosen[:] = [_opened(path)]
    return _chosen[0]


def _opened(path: str | os.PathLike[str] | bool | None) -> RunMemory | None:
    if path is False or path is None:
        return None
    if path is not True and not isinstance(path, (str, os.PathLike)):
        raise MetagdError(f"{shorten(path)} is not the path of a file, True or False", "remember")
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return RunMemory(home / "metagd" / "memory.sqlite" if path is True else path)


def remembered() -> RunMemory | None:
    """Return the memory that is on, or None."""
    if _chosen:
        return _chosen[0]
    path = os.environ.get(MEMORY, "")
    return _opened({"": False, "0": False, "1": True}.get(path, path))


def store(run: Run) -> None:
    """Add a run that has ended to the memory that is on; the run's note says if that fails.

    Parameters
    ----------
    run : Run
    """
    try:
        memory = remembered()
        if memory is None or run.stopped == "failed":
            return
        memory.add(run)
        note = memory.note
    except MetagdError as error:
        note = f"not remembered: {error}"
    except Exception as error:
        note = f"not remembered: {type(error).__name__}: {error}"
    run.loop.note = "\n".join(filter(None, [run.loop.note, note])) or None  # `run.note` adds lines on the result


ON_END.append(store)
