"""Writing of files: modes, links, homes, what is no regular file, and temporary files that a killed writer left."""

from __future__ import annotations

import multiprocessing
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cases
import pytest

import metagd_nb as mg
from metagd_nb.core import files
from metagd_nb.core.errors import MetagdError
from metagd_nb.core.files import atomic_open, atomic_write
from metagd_nb.training.run import Run


@pytest.fixture(scope="module")
def run() -> Run:
    return cases.trained("maml")


WRITERS: dict[str, Callable[[Run, str], None]] = {
    "save": lambda run, path: run.save(path),
    **{f"export {ending}": lambda run, path: run.export(path) for ending in ("csv", "png", "svg", "gif", "py")},
}
EVERY = pytest.mark.parametrize("how", WRITERS)


def named(how: str, folder: Path | str) -> str:
    return f"{folder}/run.{how.split()[-1] if how.startswith('export') else 'npz'}"


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@EVERY
def test_the_mode_is_that_of_the_file_before_or_of_the_umask(how: str, run: Run, tmp_path: Path, umask: None) -> None:
    path = named(how, tmp_path)
    WRITERS[how](run, path)
    assert mode(path) == 0o640
    for kept in (0o600, 0o664):
        os.chmod(path, kept)
        WRITERS[how](run, path)
        assert mode(path) == kept


@EVERY
def test_a_link_is_followed(how: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    path, target = named(how, tmp_path), named(how, tmp_path / "there")
    os.symlink(target, path)
    for _ in range(2):  # first it points to nothing
        WRITERS[how](run, path)
        assert os.path.islink(path)
        assert os.stat(target).st_size > 100
    assert not Path(target).is_symlink()


@EVERY
@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "link to a fifo", "circle"])
def test_what_is_no_regular_file_is_refused_and_stays(how: str, kind: str, run: Run, tmp_path: Path) -> None:
    path = named(how, tmp_path)
    if kind == "folder":
        os.mkdir(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "circle":
        os.symlink(path, path)
    else:
        os.mkfifo(tmp_path / "pipe")
        os.symlink(tmp_path / "pipe", path)
    before = [(p.name, p.lstat().st_mode, p.lstat().st_ino) for p in sorted(tmp_path.iterdir())]
    with pytest.raises(MetagdError, match="cannot be written"):
        WRITERS[how](run, path)
    assert [(p.name, p.lstat().st_mode, p.lstat().st_ino) for p in sorted(tmp_path.iterdir())] == before


@EVERY
def test_a_home_is_expanded(how: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    WRITERS[how](run, named(how, "~"))
    assert os.stat(named(how, tmp_path)).st_size > 100
    assert os.listdir() == []
    with pytest.raises(MetagdError, match="cannot be written"):
        WRITERS[how](run, named(how, "~nobody-of-this-name"))


def test_a_checkpoint_is_written_as_every_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "there").touch(0o600)
    os.symlink(tmp_path / "there", tmp_path / "run.npz")
    cases.trained("gd", steps=3, checkpoint="~/run.npz")
    assert (tmp_path / "run.npz").is_symlink()
    assert mode(tmp_path / "there") == 0o600
    assert mg.load("~/run.npz").iteration == 3
    os.mkfifo(tmp_path / "pipe")
    run = cases.trained("gd", steps=3, checkpoint=str(tmp_path / "pipe"))
    assert run.note == f"no checkpoint: {tmp_path}/pipe cannot be written (it is not a regular file); training goes on"
    assert stat.S_ISFIFO(os.lstat(tmp_path / "pipe").st_mode)


def test_what_is_no_regular_file_is_not_loaded(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MetagdError, match=r"pipe cannot be read \(it is not a regular file\)"):
        mg.load(tmp_path / "pipe")


def test_a_write_protected_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda *_: False)  # an administrator may write anywhere
    with pytest.raises(PermissionError):
        atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_name_as_long_as_a_name_can_be(tmp_path: Path) -> None:
    for name in ("a" * 255, "ü" * 127, "𝜃" * 63, "a[b]*"):
        atomic_write(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"


# ---- temporary files ------------------------------------------------------------------------------------------------


def half_written(path: Path) -> None:
    with atomic_open(path) as file:
        file.write(b"half")
        file.flush()
        time.sleep(60)


def temporary(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.endswith(".tmp")]


def test_what_a_killed_writer_left_goes_with_the_next_save(tmp_path: Path) -> None:
    own = {".run.npz.mine.tmp", ".run.npz.0123456789abcdef", ".other.npz.0123456789abcdef.tmp", "run.npz.tmp"}
    for name in own:
        (tmp_path / name).touch()
    writer = multiprocessing.get_context("fork").Process(target=half_written, args=(tmp_path / "run.npz",))
    writer.start()
    while not (made := set(temporary(tmp_path)) - own):
        time.sleep(0.01)
    (name,) = made
    assert re.fullmatch(r"\.run\.npz\.[0-9a-f]{16}\.tmp", name)
    while (tmp_path / name).stat().st_size < 4:
        time.sleep(0.01)
    atomic_write(tmp_path / "run.npz", b"first")
    assert name in temporary(tmp_path)  # its writer still runs
    writer.kill()
    writer.join()
    atomic_write(tmp_path / "run.npz", b"second")
    assert {p.name for p in tmp_path.iterdir()} == {*own, "run.npz"}
    assert (tmp_path / "run.npz").read_bytes() == b"second"


def test_writers_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    def write(content: bytes) -> None:
        for _ in range(100):
            atomic_write(tmp_path / "a", content * 1000)

    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write, args=(content,)) for content in (b"a", b"b", b"c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert os.listdir(tmp_path) == ["a"]
    assert set((tmp_path / "a").read_bytes()) in ({97}, {98}, {99})


@pytest.mark.parametrize("locks", [True, False])
def test_an_error_leaves_the_old_file_alone(locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not locks:
        monkeypatch.setattr(files, "fcntl", None)  # as on Windows
    atomic_write(tmp_path / "a", b"old")

    def broken() -> None:
        with atomic_open(tmp_path / "a") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]
    atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
