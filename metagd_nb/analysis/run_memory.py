"""A memory of past runs: one SQLite file, written only when a person has asked for it.

``mg.remember()`` (or ``%metagd remember``, or ``METAGD_MEMORY`` in the environment) turns it on; each run that ends
is then kept as what its problem looked like (`features`), how it was set and how it went. `advise` reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import MetagdError
from ..core.hyperparameters import hyperparameters
from ..training.drivers import ON_END
from ..training.run import Run
from .problem_features import ProblemFeatures, describe_problem

Array = np.ndarray
MEMORY = "METAGD_MEMORY"  # environment variable: the file of past runs, or 1 for the default one
BUSY = 30.0  # seconds that a writer waits for another
OURS = 0x6D676E62  # SQLite's application_id: whose file it is
THETA_BYTES = 4_000_000  # parameters larger than this are not kept
POINTS = 40  # of a loss curve

MIGRATIONS = (  # the n-th takes a file from schema n to n+1
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, method TEXT NOT NULL, choices TEXT NOT NULL, problem TEXT NOT NULL,
        features TEXT NOT NULL, settings TEXT NOT NULL, curve TEXT NOT NULL, stopped TEXT NOT NULL,
        layout TEXT NOT NULL, theta BLOB
    );
    CREATE INDEX by_method ON runs (method, choices);
    """,
)


class Past(NamedTuple):
    """One remembered run.

    Attributes
    ----------
    choices : str
        What else decides what a rate means: the rules and forms that were chosen, as JSON.
    problem : str
        The same for runs on the same problem from the same start.
    settings : dict
        Numbers the method was set to.
    curve : array (n, 2)
        Gradient evaluations and loss, from the start on, at evaluations about evenly spaced on a log axis.
    layout : str
        Names and shapes of the parameters, as JSON.
    """

    id: int
    at: float
    method: str
    choices: str
    problem: str
    features: ProblemFeatures
    settings: dict[str, float]
    curve: Array
    stopped: str
    layout: str
    theta: Array | None


def choices_of(algorithm: Any) -> str:
    """The chosen words of an algorithm's fields, as JSON: runs are compared only where these agree."""
    return json.dumps(
        {n: getattr(algorithm, n) for n, h in hyperparameters(algorithm).items() if h.choices}, sort_keys=True
    )


def layout_of(problem: Any) -> str:
    """Names and shapes of the parameters, as JSON."""
    return json.dumps({name: list(shape) for name, shape in problem.layout.shapes.items()})


def default_path() -> Path:
    """Where the memory lies when nobody says where."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "metagd" / "memory.sqlite"


class RunMemory:
    """The file of past runs; made when it is not there yet, safe for several writers at once.

    Parameters
    ----------
    path : path

    Attributes
    ----------
    note : str or None
        One line when a damaged file was moved aside.

    Raises
    ------
    MetagdError
        When the file is somebody else's, from a newer version, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self.note: str | None = None
        with self._open():
            pass

    def __repr__(self) -> str:
        return f"memory of {len(self)} runs"

    def __len__(self) -> int:
        with self._open() as db:
            return int(db.execute("SELECT count(*) FROM runs").fetchone()[0])

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction; a damaged file is moved aside once, and a new one begun."""
        which = self._which()
        try:
            db = self._connected()
        except sqlite3.OperationalError as error:
            raise MetagdError(f"cannot be used ({error})", f"memory {self.path}") from None
        except sqlite3.DatabaseError as error:
            self._set_aside(error, which)
            db = self._connected()
        try:
            with db:
                yield db
        except sqlite3.OperationalError as error:
            raise MetagdError(f"cannot be used ({error})", f"memory {self.path}") from None
        except sqlite3.DatabaseError as error:
            db.close()
            self._set_aside(error, which)
            raise MetagdError(self.note or "", "memory") from None
        finally:
            db.close()

    def _connected(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MetagdError(f"its folder cannot be made ({error.strerror})", f"memory {self.path}") from None
        db = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN")  # what is read belongs together, whatever another writer does meanwhile
        version = self._version(db)
        db.execute("COMMIT")
        if version < len(MIGRATIONS):
            db.execute("BEGIN IMMEDIATE")
            for step in MIGRATIONS[self._version(db) :]:  # asked again: another writer may have been first
                for statement in filter(str.strip, step.split(";")):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            db.execute(f"PRAGMA application_id = {OURS}")
            db.execute("COMMIT")
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its pages do not fit together")

    def _version(self, db: sqlite3.Connection) -> int:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        owner = int(db.execute("PRAGMA application_id").fetchone()[0])
        empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if owner != OURS and not (empty and owner == version == 0):
            raise MetagdError("is a database of another program; choose another file", f"memory {self.path}")
        if version > len(MIGRATIONS):
            raise MetagdError(
                f"was written by a newer metagd_nb (schema {version}, known here: {len(MIGRATIONS)}); update, or "
                "choose another file",
                f"memory {self.path}",
            )
        return version

    def _which(self) -> int | None:
        """What tells the file at the path from another that took its place."""
        with contextlib.suppress(OSError):
            return self.path.stat().st_ino
        return None

    def _set_aside(self, error: Exception, which: int | None) -> None:
        """Move a damaged file away, under a name of its own; nothing is deleted.

        Another writer may have been first, and begun a new file in its place: that one stays.
        """
        if self._which() != which:
            self.note = f"the memory was damaged ({error}); another program has moved it aside"
            return
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        journal = self.path.with_name(f"{self.path.name}-journal")
        with contextlib.suppress(FileNotFoundError):  # another writer was first; mostly there is no journal
            self.path.rename(aside)
            journal.rename(aside.with_name(f"{aside.name}-journal"))  # goes along: what was not yet written through
        self.note = f"the memory was damaged ({error}); it was moved to {aside.name}, and a new one begun"

    def add(self, run: Run) -> None:
        """Keep a run that has ended; one without a finite loss at its start says nothing and is left out."""
        found = describe_problem(run.plan.algorithm, run.problem, run.plan.batches(0), run.beginning())
        if not np.isfinite([found.loss, found.grad_norm, found.top]).all() or len(run.record) < 2:
            return
        settings = {
            name: float(np.mean(getattr(run.plan.algorithm, name)))
            for name, declared in hyperparameters(run.algorithm).items()
            if declared.kind in (int, float) and getattr(run.plan.algorithm, name) is not None
        }
        flat = run.algorithm.result(run.problem, run.shown.theta, run.shown.state)
        row = (
            time.time(),
            run.method,
            choices_of(run.plan.algorithm),
            _name(found),
            json.dumps(found._asdict()),
            json.dumps(settings),
            json.dumps(_curve(run).tolist()),
            run.stopped or "",
            layout_of(run.problem),
            None if run.stopped == "diverged" else _packed(flat),
        )
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "INSERT INTO runs (at, method, choices, problem, features, settings, curve, stopped, layout, theta)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            db.execute("COMMIT")

    def past(self, method: str | None = None, choices: str | None = None) -> list[Past]:
        """The remembered runs, oldest first; of one method, and with the same choices, where these are given."""
        with self._open() as db:
            rows = db.execute(
                "SELECT * FROM runs WHERE (?1 IS NULL OR method = ?1) AND (?2 IS NULL OR choices = ?2) ORDER BY id",
                (method, choices),
            ).fetchall()
        found = [past for row in rows if (past := _past(row)) is not None]
        if len(found) < len(rows):
            self.note = f"{len(rows) - len(found)} of {len(rows)} remembered runs cannot be read and are left out"
        return found


def _past(row: tuple[Any, ...]) -> Past | None:
    """A row as a run; None where what stands in it cannot be read, which no check of the file's pages notices."""
    try:
        return _read(row)
    except (ValueError, TypeError, EOFError, OSError):
        return None


def _read(row: tuple[Any, ...]) -> Past:
    identity, at, method, choices, problem, features, settings, curve, stopped, layout, theta = row
    kept = None if theta is None else np.load(io.BytesIO(theta), allow_pickle=False)
    pairs = np.array(json.loads(curve), float).reshape(-1, 2)
    known = ProblemFeatures(**json.loads(features))
    return Past(identity, at, method, choices, problem, known, dict(json.loads(settings)), pairs, stopped, layout, kept)


def _name(found: ProblemFeatures) -> str:
    """A problem's name: the same start of the same problem has the same features to six digits."""
    told = [f"{value:.6g}" for value in (found.size, found.loss, found.grad_norm, found.along)]
    return hashlib.sha256(" ".join(told).encode()).hexdigest()[:16]


def _packed(theta: Array) -> bytes | None:
    if theta.nbytes > THETA_BYTES:
        return None
    out = io.BytesIO()
    np.save(out, theta, allow_pickle=False)
    return out.getvalue()


def _curve(run: Run) -> Array:
    """(n, 2): evaluations and loss at rows about evenly spaced on a log axis; of noisy losses the mean since the
    last such row."""
    loss, spent = run.record.since("loss", 0), run.record.since("grad_evals", 0)
    rows = np.unique(np.geomspace(1, len(loss), min(POINTS, len(loss))).round().astype(int)) - 1
    if run.sampled:
        sums = np.concatenate([[0.0], np.cumsum(loss)])
        begin = np.concatenate([[0], rows[:-1] + 1])
        kept = (sums[rows + 1] - sums[begin]) / (rows + 1 - begin)
    else:
        kept = loss[rows]
    return np.stack([spent[rows], np.where(np.isfinite(kept), kept, 1e300)], -1)


_chosen: list[RunMemory | None] = []  # what `remember` has set in this process; empty: the environment decides


def remember(path: str | os.PathLike[str] | bool | None = True) -> RunMemory | None:
    """Turn the memory on for this process, or off.

    Parameters
    ----------
    path : path or bool
        The file; True for the usual place, False to forget nothing but keep nothing more.

    Returns
    -------
    Memory or None
    """
    made = None if path is False or path is None else RunMemory(default_path() if path is True else path)
    _chosen[:] = [made]
    return made


def remembered() -> RunMemory | None:
    """The memory that is on, or None."""
    if _chosen:
        return _chosen[0]
    told = os.environ.get(MEMORY, "")
    if told in ("", "0"):
        return None
    return RunMemory(default_path() if told == "1" else told)


def keep(run: Run) -> None:
    """Add a run that has ended to the memory that is on; if that fails, the run says so in its note."""
    try:
        memory = remembered()
        if memory is None or run.stopped == "failed":
            return
        memory.add(run)
        note = memory.note
    except Exception as error:
        why = str(error) if isinstance(error, MetagdError) else f"{type(error).__name__}: {error}"
        note = f"not remembered: {why}"
    run.note = "\n".join(filter(None, [run.note, note])) or None


ON_END.append(keep)
