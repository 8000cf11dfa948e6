"""Atomic writing of files: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

fcntl: Any
try:
    fcntl = importlib.import_module("fcntl")
except ImportError:  # Windows, where a file in use cannot be deleted
    fcntl = None

NAME = 50  # characters of a file's name in that of its temporary file: a name has at most 255 bytes


def regular_file(path: str | os.PathLike[str]) -> Path:
    """Return the place that a path names: ``~`` expanded, symbolic links followed.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Path
        Of a regular file, or of nothing yet.

    Raises
    ------
    OSError
        If a folder, a device, a FIFO or a socket is there, or there is no such user's home.
    """
    try:
        place = Path(os.path.realpath(Path(path).expanduser()))
        mode = place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return place
    except (RuntimeError, ValueError) as error:  # no such home; a name that no file can have
        raise OSError(errno.EINVAL, str(error)) from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return place


@contextmanager
def atomic_open(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces the file at ``path`` at the end; after an error the old file stays.

    The file keeps its mode and, where that is allowed, its owner; a new one has the mode that the umask gives. Symbolic
    links are followed. Temporary files that killed writers of the same file have left are deleted.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    OSError
        As `regular_file`, and when the place cannot be written to.
    """
    target = regular_file(path)
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is write-protected")
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name[:NAME]}."
    _delete_stale(target.parent, prefix)
    temporary, handle = _temporary(target.parent, prefix)
    try:
        with os.fdopen(handle, "wb") as file:
            _copy_mode(target, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:  # replaced while it is locked: until then nobody takes it for a stale one
                os.replace(temporary, target)
        if fcntl is None:
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_open(path) as file:
        file.write(data)


def _temporary(folder: Path, prefix: str) -> tuple[Path, int]:
    """Create a temporary file and lock it; its path and descriptor."""
    while True:
        place = folder / f"{prefix}{secrets.token_hex(8)}.tmp"
        handle = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
        if _locked(handle) and os.fstat(handle).st_nlink:  # else another writer has just deleted it as stale
            return place, handle
        os.close(handle)
        place.unlink(missing_ok=True)


def _locked(handle: int) -> bool:
    """Lock an open file; False where another process has locked it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _delete_stale(folder: Path, prefix: str) -> None:
    """Delete the temporary files of writers that no longer run: their locks are gone."""
    ours = re.compile(rf"{re.escape(prefix)}[0-9a-f]{{16}}\.tmp")
    for place in [place for place in folder.iterdir() if ours.fullmatch(place.name)]:
        with contextlib.suppress(OSError):
            if fcntl is None:
                place.unlink()
                continue
            handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                place.unlink()
            finally:
                os.close(handle)


def _copy_mode(target: Path, temporary: Path) -> None:
    """Give a temporary file the owner and the mode of the file that it will replace, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        found = target.stat()
        if hasattr(os, "chown"):
            with contextlib.suppress(OSError):  # only an administrator may
                os.chown(temporary, found.st_uid, found.st_gid)
        os.chmod(temporary, stat.S_IMODE(found.st_mode))
