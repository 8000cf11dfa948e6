"""Edited, crafted and oversized files: one line at load, or a run that can be used."""

from __future__ import annotations

import contextlib
import json
import os
import random
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import edited
import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.training.persistence import contents
from metagd_nb.training.persistence import format as file_format
from metagd_nb.training.run import Run

CASES = int(os.environ.get("METAGD_EDITS", "60"))  # edits of each file
X = np.linspace(-1.0, 1.0, 7)
IMAGES: dict[str, Any] = {"x": X[:6].repeat(16).reshape(6, 16), "y": np.eye(2)[[0, 1] * 3]}


def loss(w: Any) -> Any:
    return np.mean((w - X) ** 2)


def set_under_way(run: Run) -> Run:
    run.step(3)
    run.set(**{next(iter(run.rates)): 0.01})
    run.step(2)
    return run


FILES: dict[str, Callable[[], Run]] = {
    **{method: lambda method=method: cases.trained(method, steps=3) for method in cases.METHODS},  # type: ignore[misc]
    "set": lambda: set_under_way(cases.prepared("maml", steps=9)),
    "own loss": lambda: mg.train("adam", loss=loss, params={"w": np.zeros(7)}, steps=3),
    "mixed": lambda: mg.train(
        "maml", model=mg.mlp(1, 4, 1), tasks=mg.mixed("line", own=mg.sinusoid()).only("own"), steps=2
    ),
    "images": lambda: mg.train("gd", model=mg.conv(2, side=4, filters=2, blocks=2, norm=None), **IMAGES, steps=2),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    place = tmp_path_factory.mktemp("files") / "run.npz"
    found = {}
    for name, make in FILES.items():
        make().save(place)
        found[name] = edited.members(place.read_bytes())
    return found


def used(run: Run, folder: Path) -> None:
    """Use a run in every way that does not take long."""
    for name in ("params", "loss", "learned", "rates", "note", "stopped", "iteration"):
        getattr(run, name)
    assert "\x1b" not in repr(run)
    run.save(folder / "again.npz")
    deeds: list[Callable[[], object]] = [
        lambda: run.export(folder / "a.csv"),
        lambda: run.export(folder / "a.py"),
        run.replay,
        lambda: run.step(1),
        lambda: run.resume(steps=run.record.last_step + 2),
        run.wait,
    ]
    small = getattr(run.loop.algorithm, "meta_batch_size", 1) * getattr(run.loop.algorithm, "shots", 1) < 10**4
    if run.iteration < 100 and small and getattr(run.loop.algorithm, "inner_steps", 1) < 100:
        for deed in deeds:
            with contextlib.suppress(MetagdError):
                deed()
        assert run.loop.error is None or isinstance(run.loop.error, MetagdError), run.note


@pytest.mark.parametrize("name", FILES)
def test_an_edited_file_is_one_line_or_a_run(
    name: str, saved: dict[str, dict[str, bytes]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "metagd_nb")
    rng = random.Random(f"{name} {os.environ.get('METAGD_SEED', '0')}")
    refused = 0
    for number in range(CASES):
        parts, what = edited.edited(saved[name], rng)
        path = edited.write(tmp_path / "run.npz", parts)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    run = mg.load(path)
                except MetagdError:
                    refused += 1
                    continue
                used(run, tmp_path)
        except Exception as error:
            raise AssertionError(f"{name}, edit {number}: {what}: {type(error).__name__}: {error}") from error
    assert 0.2 * CASES < refused < CASES
    assert "\x1b" not in caplog.text


# ---- crafted files ---------------------------------------------------------------------------------------------------


def with_header(parts: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    """A file whose header a function has changed."""
    header = json.loads(parts["run.json"])
    change(header)
    return parts | {"run.json": json.dumps(header).encode()}


def model_of(header: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = header["origin"]["dict"]["given"]["dict"]["model"]["dict"]["recipe"]["dict"]
    return found


def npy(shape: str, content: bytes = b"") -> bytes:
    """A ``.npy`` file whose header says any shape."""
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (63 - (len(head) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + content


WIDE = [10**6, 10**6, 1]
BOMBS: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "a wide model": lambda parts: with_header(parts, lambda h: model_of(h).update(args=WIDE)),
    "wide shapes": lambda parts: with_header(
        parts, lambda h: h["origin"]["dict"]["shapes"]["dict"].update(W0=[10**6, 10**6])
    ),
    "a deep model": lambda parts: with_header(parts, lambda h: model_of(h).update(args=[1] * 100_000)),
    "a deep conv": lambda parts: with_header(
        parts, lambda h: model_of(h).update(name="conv", args=[1], kwargs={"dict": {"blocks": 10**9}})
    ),
    "a record of 10^6 x 10^6": lambda parts: parts | {"record.npy": npy("(1000000, 1000000)")},
    "a record without columns": lambda parts: parts | {"record.npy": npy("(1000000000000, 0)")},
    "a huge member": lambda parts: parts | {"more.npy": bytes(200_000_000)},
    "deep lists": lambda parts: parts | {"run.json": b"[" * 100_000 + b"]" * 100_000},
    "many tasks": lambda parts: with_header(
        parts, lambda h: h["algorithm"]["dict"].update(meta_batch_size=100_000, shots=100_000, inner_steps=1000)
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_takes_little_memory(bomb: str, saved: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    path = edited.write(tmp_path / "run.npz", BOMBS[bomb](saved["maml"]), zipfile.ZIP_DEFLATED)
    mg.load(edited.write(tmp_path / "good.npz", saved["maml"], zipfile.ZIP_DEFLATED))  # all is imported
    tracemalloc.start()
    try:
        if bomb == "many tasks":  # the settings are allowed; nothing is drawn before it goes on
            assert mg.load(path).plan.algorithm.shots == 100_000  # type: ignore[attr-defined]
        else:
            with pytest.raises(MetagdError, match="is not a run that metagd saved, or it is damaged"):
                mg.load(path)
        spare = 40_000_000 if bomb == "many tasks" else 3_000_000  # a loop takes and frees 32 MB
        assert tracemalloc.get_traced_memory()[1] < spare + 30 * path.stat().st_size
    finally:
        tracemalloc.stop()


INJECTED = "x=0); open('sprung', 'w'); run.set(y"


def test_what_a_file_says_is_never_code(
    saved: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def event(header: dict[str, Any]) -> None:
        (one,) = [e["tuple"] for e in header["events"] if e["tuple"][1] == "set"]
        one[2] = {"dict": {INJECTED: 0.5}}

    def kind(header: dict[str, Any]) -> None:
        given = header["origin"]["dict"]["given"]["dict"]["tasks"]["dict"]["recipe"]["dict"]
        given["of"]["dict"]["kwargs"]["dict"][INJECTED] = given["of"]["dict"]["kwargs"]["dict"].pop("own")
        given["args"] = [INJECTED]

    def step(header: dict[str, Any]) -> None:
        header["state"]["dict"]["shown"]["tuple"][2] = '"""\nopen("sprung", "w")\n"""'

    for name, change in (("set", event), ("mixed", kind), ("set", step)):
        path = edited.write(tmp_path / "run.npz", with_header(saved[name], change))
        if change is kind:  # an odd name, but a name
            mg.load(path).export("x.py")
            exec(compile(Path("x.py").read_text(), "x.py", "exec"), {})
        else:
            with pytest.raises(MetagdError, match="or it is damaged"):
                mg.load(path)
    assert not Path("sprung").exists()


def test_escape_codes_of_a_file_are_spelt_out(
    saved: dict[str, dict[str, bytes]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "metagd_nb")

    def colour(header: dict[str, Any]) -> None:
        header["note"] = "\x1b]0;title\x07 \u202e and\nmore"
        header["environment"]["dict"]["numpy"] = "\x1b[2J"

    run = mg.load(edited.write(tmp_path / "run.npz", with_header(saved["gd"], colour)))
    assert run.note == "\\x1b]0;title\\x07 \\u202e and\nmore"
    assert run.note in repr(run)
    run.replay()
    assert "because of numpy \\x1b[2J → " in caplog.messages[0]


@pytest.mark.parametrize("where", ["state", "look", "shown", "best"])
@pytest.mark.parametrize(
    "ahead", [lambda a: (*a, 1.0), lambda a: a[:2], lambda a: (None, *a[1:]), lambda a: a[::-1] + a]
)
def test_the_search_ahead_of_lbfgs(where: str, ahead: Any, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    run = cases.prepared("lbfgs", steps=50)
    run.step(2)
    saved = contents.contents(run.loop, True, contents.source(run.loop))
    place = list(saved["state"][where])
    memory = saved["state"]["state"]
    changed = memory._replace(ahead=ahead(memory.ahead))
    saved["state"][where] = changed if where == "state" else (*place[:-1], changed)
    file_format.write(tmp_path / "run.metagd", saved)
    with pytest.raises(MetagdError, match="damaged"):
        mg.load(tmp_path / "run.metagd")
