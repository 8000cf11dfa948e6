"""SQLite file of the run memory: schema, ownership, transactions, and replacement of a damaged file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator

from ..core.errors import MetagdError
from ..core.files import regular_file

BUSY = 30.0  # seconds that a writer waits for another
APPLICATION_ID = 0x6D676E62  # SQLite's application_id of a run memory
HEADER = 100  # bytes of an SQLite file's header; 68–71 are the application_id
SCHEMA = 1
TABLES = (
    "CREATE TABLE runs (id INTEGER PRIMARY KEY, at REAL NOT NULL, method TEXT NOT NULL, choices TEXT NOT NULL,"
    " problem TEXT NOT NULL, features TEXT NOT NULL, settings TEXT NOT NULL, curve TEXT NOT NULL,"
    " stopped TEXT NOT NULL, layout TEXT NOT NULL, theta BLOB)",
    "CREATE INDEX by_method ON runs (method, choices)",
)


class MemoryFile:
    """A database file, created when it does not exist, safe for several writers at once.

    Parameters
    ----------
    path : path

    Attributes
    ----------
    note : str or None
        One line when a damaged file was moved away.

    Raises
    ------
    MetagdError
        When the file belongs to another program or a newer version, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self.path = regular_file(path)
        except OSError as error:
            raise MetagdError(f"cannot be used ({error.strerror})", f"memory {os.fspath(path)}") from None
        self.note: str | None = None
        with self.connection():
            pass

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one transaction.

        A memory found damaged when it is opened is moved away, and a new one is created; damage found later also ends
        the transaction with an error. A file that is no memory stays as it is.
        """
        inode = self._inode()
        try:
            try:
                db = self._connect()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                self._move_damaged(error, inode)
                db = self._connect()
            with contextlib.closing(db), db:
                yield db
        except sqlite3.OperationalError as error:
            raise MetagdError(f"cannot be used ({error})", f"memory {self.path}") from None
        except sqlite3.DatabaseError as error:
            self._move_damaged(error, inode)
            raise MetagdError(self.note or "", "memory") from None

    def _connect(self) -> sqlite3.Connection:
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
        db.execute("BEGIN")  # consistent reads, whatever another writer does meanwhile
        empty = self._is_empty(db)
        db.execute("COMMIT")
        if empty:
            db.execute("BEGIN IMMEDIATE")
            if self._is_empty(db):  # another writer may have been first
                for statement in TABLES:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA}")
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("COMMIT")
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its pages do not fit together")

    def _is_empty(self, db: sqlite3.Connection) -> bool:
        """True for a new database; files of other programs and of newer versions are refused."""
        version, owner, tables = (
            int(db.execute(query).fetchone()[0])
            for query in ("PRAGMA user_version", "PRAGMA application_id", "SELECT count(*) FROM sqlite_master")
        )
        if owner != APPLICATION_ID and (tables or owner or version):
            raise MetagdError("is a database of another program; choose another file", f"memory {self.path}")
        if version > SCHEMA:
            raise MetagdError(
                f"was written by a newer metagd_nb (schema {version}, known here: {SCHEMA}); update, or choose another"
                " file",
                f"memory {self.path}",
            )
        return owner != APPLICATION_ID

    def _inode(self) -> int | None:
        """Identity of the file at the path, which differs for another file that took its place."""
        with contextlib.suppress(OSError):
            return self.path.stat().st_ino
        return None

    def _is_memory(self) -> bool:
        """True for a file whose header says that this class made it, whatever follows."""
        try:
            with self.path.open("rb") as file:
                header = file.read(HEADER)
        except FileNotFoundError:  # another writer has moved it
            return True
        return header.startswith(b"SQLite format 3\0") and header[68:72] == APPLICATION_ID.to_bytes(4, "big")

    def _move_damaged(self, error: Exception, inode: int | None) -> None:
        """Rename a damaged memory; nothing is deleted. A new file that another writer has put in its place stays.

        Raises
        ------
        MetagdError
            For a file whose header is not that of a memory: it is the user's own.
        """
        if self._inode() != inode:
            self.note = f"the memory was damaged ({error}); another program has moved it aside"
            return
        if not self._is_memory():
            raise MetagdError("is not a memory of runs; choose another file", f"memory {self.path}")
        number = 1
        while (target := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        with contextlib.suppress(FileNotFoundError):  # another writer was first, or there is no journal
            self.path.rename(target)
            # the journal may hold what was not yet written through
            self.path.with_name(f"{self.path.name}-journal").rename(target.with_name(f"{target.name}-journal"))
        self.note = f"the memory was damaged ({error}); it was moved to {target.name}, and a new one begun"
