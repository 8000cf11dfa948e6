"""The memory of past runs, what it holds of a problem, and the advice that rests on it."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import cell

import metagd_nb as mg
from metagd_nb.analysis import memory_file
from metagd_nb.analysis import run_memory as module
from metagd_nb.analysis.advice import PRIOR, advise
from metagd_nb.analysis.problem_features import LANCZOS, describe_problem, spectrum
from metagd_nb.analysis.run_memory import RunMemory, remember, remembered
from metagd_nb.analysis.similar_problems import score_curve
from metagd_nb.core.errors import MetagdError


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("METAGD_MEMORY", raising=False)
    yield
    module._chosen.clear()


def quadratic(seed: int, d: int = 12, top: float = 3.0, condition: float = 20.0) -> tuple[dict[str, Any], np.ndarray]:
    """A loss ½wᵀAw and its start; A has eigenvalues top/condition … top."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    a = q * np.geomspace(top / condition, top, d) @ q.T
    return {"loss": lambda w: 0.5 * w @ a @ w, "params": {"w": rng.standard_normal(d)}}, a


def described(run: mg.Run) -> Any:
    return describe_problem(run.plan.problem, run.plan.batches(0), run.plan.start)


def test_a_memory_file_of_the_version_before_is_read(tmp_path: Path) -> None:
    """Written at commit 6159cbb, before the packages: three runs of gd on one loss, one of maml."""
    path = shutil.copy(Path(__file__).parent / "saved" / "memory.sqlite", tmp_path)
    memory = remember(path)
    assert memory is not None
    past = memory.past()
    assert [(run.method, run.stopped, len(run.curve)) for run in past[:3]] == [("gd", "steps", 20)] * 3
    assert [run.settings["lr"] for run in past[:3]] == [0.02, 0.1, 0.3]
    assert past[3].method == "maml"
    assert past[3].settings["meta_batch_size"] == 2
    np.testing.assert_allclose(past[2].curve[-1], [31, 2.55415923e-06], rtol=1e-8)
    np.testing.assert_allclose(past[2].theta, [0, 0.99876206, 1.99752412], rtol=1e-7)
    advice = advise("gd", loss=lambda w: np.mean((w - np.arange(3.0)) ** 2), params={"w": np.zeros(3)}, steps=30)
    assert advice.rests_on == (3,)
    np.testing.assert_array_equal(advice.options["warm_start"], past[2].theta)


# ---- features -------------------------------------------------------------------------------------------------------


def test_the_spectrum_is_exact_once_the_space_is_exhausted() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 5, 5))
    a = a @ a.transpose(0, 2, 1)
    a[2] = np.diag([4.0, 4.0, 4.0, 1.0, 1.0])  # two eigenvalues: two steps exhaust it
    start = rng.standard_normal((3, 5))
    top, bottom, along = spectrum(lambda v: (a @ v[..., None])[..., 0], start, LANCZOS)
    values = np.linalg.eigvalsh(a)
    np.testing.assert_allclose(top, values[:, -1], rtol=1e-10)
    np.testing.assert_allclose(bottom, values[:, 0], rtol=1e-7)
    unit = start / np.linalg.norm(start, axis=1, keepdims=True)
    np.testing.assert_allclose(along, np.einsum("ti,tij,tj->t", unit, a, unit), rtol=1e-12)


def test_negative_curvature_is_not_taken_for_the_smallest() -> None:
    a = np.diag([5.0, 2.0, -3.0])[None]
    top, bottom, _ = spectrum(lambda v: (a @ v[..., None])[..., 0], np.ones((1, 3)), 3)
    np.testing.assert_allclose([top[0], bottom[0]], [5, 2], rtol=1e-12)


def test_features_of_a_quadratic_are_those_of_its_matrix() -> None:
    given, a = quadratic(1, d=6)
    found = described(mg.prepare("gd", **given))
    w = given["params"]["w"]
    g = a @ w
    assert found.size == 6
    np.testing.assert_allclose(
        [found.loss, found.grad_norm, found.top, found.bottom, found.along],
        [0.5 * w @ g, np.linalg.norm(g), 3.0, 0.15, g @ a @ g / (g @ g)],
        rtol=1e-7,
    )
    step = np.eye(6) - a / 3.0
    for told, power in ((found.one, 1), (found.two, 2)):
        v = np.linalg.matrix_power(step, power) @ w
        np.testing.assert_allclose(told, np.log10(v @ a @ v / (w @ a @ w)), rtol=1e-7)
    assert found.noise == 0.0
    assert found.grad_evals == 3
    assert found.hvps == 6


def test_units_do_not_move_a_problem() -> None:
    """The same problem in other units of the loss and of the parameters stands at the same place."""
    given, _ = quadratic(2)
    other = {
        "loss": lambda w: 7.0 * given["loss"](w / 100.0),
        "params": {"w": 100.0 * given["params"]["w"]},
    }
    one, two = (described(mg.prepare("gd", **g)) for g in (given, other))
    np.testing.assert_allclose(one.place(), two.place(), atol=1e-8)
    assert abs(one.top / two.top - 1e4 / 7) < 1


def test_features_of_tasks_are_of_their_support_losses() -> None:
    a, c = np.array([1.0, 3.0]), np.array([0.0, 1.0])
    found = described(mg.prepare("maml", tasks=mg.quadratics(a, c)))
    assert found.top == pytest.approx(2.0)  # median of 1 and 3
    theta = 0.0
    grads = a * (theta - c)
    assert found.noise == pytest.approx(np.std(grads) / abs(grads.mean()))
    assert found.loss == pytest.approx(np.mean(0.5 * a * (theta - c) ** 2))
    assert (found.grad_evals, found.hvps) == (12, 2)


# ---- the file -------------------------------------------------------------------------------------------------------


def test_nothing_is_remembered_unless_somebody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    mg.train("gd", **quadratic(0)[0], steps=3)
    assert remembered() is None
    assert not list(tmp_path.rglob("*"))


def test_a_run_is_kept_as_it_was(tmp_path: Path) -> None:
    memory = remember(tmp_path / "deep" / "memory.sqlite")
    given, _ = quadratic(0)
    run = mg.train("momentum", **given, lr=0.2, momentum=0.5, steps=40)
    assert memory is not None
    assert len(memory) == 1
    (past,) = memory.past()
    assert (past.method, past.stopped, past.layout) == ("momentum", "steps", '{"w": [12]}')
    assert past.settings == {"lr": 0.2, "momentum": 0.5}
    assert past.features == described(mg.prepare("gd", **given))
    assert past.theta is not None
    np.testing.assert_array_equal(past.theta, run.params["w"])
    np.testing.assert_array_equal(past.curve[[0, -1], 1], run.record["loss"][[0, -1]])
    np.testing.assert_array_equal(past.curve[[0, -1], 0], [1, 41])
    assert memory.past("gd") == []
    assert [p.id for p in memory.past("momentum")] == [1]


def test_the_environment_turns_it_on_and_a_call_turns_it_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.sqlite"
    monkeypatch.setenv("METAGD_MEMORY", str(path))
    mg.start("gd", **quadratic(0)[0], steps=3).wait()
    assert len(RunMemory(path)) == 1
    remember(False)
    mg.train("gd", **quadratic(0)[0], steps=3)
    assert len(RunMemory(path)) == 1


def test_a_diverged_run_is_remembered_without_its_parameters(tmp_path: Path) -> None:
    memory = remember(tmp_path / "m.sqlite")
    run = mg.train("gd", **quadratic(0)[0], lr=5.0, steps=500)
    assert run.stopped == "diverged"
    assert memory is not None
    (past,) = memory.past()
    assert past.stopped == "diverged"
    assert past.theta is None
    assert np.isfinite(past.curve).all()


def test_a_memory_that_cannot_be_written_costs_a_line_and_no_run(tmp_path: Path) -> None:
    memory = remember(tmp_path / "m.sqlite")
    assert memory is not None
    with sqlite3.connect(memory.path) as db:
        db.execute("DROP TABLE runs")
    db.close()
    run = mg.train("gd", **quadratic(0)[0], steps=5)
    assert run.stopped == "steps"
    assert run.note is not None
    assert re.fullmatch(r"not remembered: memory .*m\.sqlite: cannot be used \(no such table: runs\)", run.note)


WRITER = """
import sys, numpy as np, metagd_nb as mg
mg.remember(sys.argv[1])
for i in range(12):
    run = mg.train("gd", loss=lambda w: (w * w).sum(), params={"w": np.ones(3) + i}, lr=0.1, steps=3)
    assert run.note is None, run.note
"""


def test_several_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) for _ in range(4)]
    assert [w.wait(60) for w in writers] == [0] * 4
    memory = RunMemory(path)
    assert len(memory) == 48
    assert [p.id for p in memory.past()] == list(range(1, 49))
    assert len({p.problem for p in memory.past()}) == 12


def damaged(path: Path, start: int) -> None:
    """Make a memory of three runs, and overwrite it from byte ``start`` on."""
    remember(path)
    for seed in range(3):
        mg.train("gd", **quadratic(seed)[0], steps=50)
    remember(False)
    data = bytearray(path.read_bytes())
    data[start:] = b"\x07" * (len(data) - start)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("start", [100, 4096])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, start: int) -> None:
    path = tmp_path / "m.sqlite"
    (tmp_path / "other.txt").write_text("mine")
    damaged(path, start)
    before = path.read_bytes()
    memory = remember(path)
    assert memory is not None
    assert memory.note is not None
    assert re.fullmatch(
        r"the memory was damaged \(.+\); it was moved to m\.sqlite\.damaged-1, and a new one begun", memory.note
    )
    assert (tmp_path / "m.sqlite.damaged-1").read_bytes() == before
    assert len(memory) == 0
    run = mg.train("gd", **quadratic(0)[0], steps=3)
    assert run.note == memory.note  # told once more where the person looks
    assert len(memory) == 1
    assert (tmp_path / "other.txt").read_text() == "mine"


@pytest.mark.parametrize("content", ["mine\n" * 400, "mine", "SQLite format 3\0" + "mine" * 40])
def test_a_file_of_ones_own_is_refused_and_stays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(MetagdError, match=r"^memory .*notes.txt: is not a memory of runs; choose another file$"):
        remember(path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("notes.txt", content)]


def test_a_memory_in_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path):
        with pytest.raises(MetagdError, match="it is"):
            remember(place)


def test_a_damaged_files_journal_goes_along(tmp_path: Path) -> None:
    memory = RunMemory(tmp_path / "m.sqlite")
    (tmp_path / "m.sqlite-journal").write_bytes(b"not yet written through")
    memory._move_damaged(OSError("torn"), memory._inode())
    assert (tmp_path / "m.sqlite.damaged-1-journal").read_bytes() == b"not yet written through"
    assert not (tmp_path / "m.sqlite-journal").exists()


def test_a_writer_that_comes_second_leaves_the_new_file(tmp_path: Path) -> None:
    """Both saw the damage; the first has moved the file aside, begun a new one and kept a run in it."""
    path = tmp_path / "m.sqlite"
    damaged(path, 100)
    inode = path.stat().st_ino
    memory = remember(path)
    assert memory is not None
    mg.train("gd", **quadratic(0)[0], steps=3)
    memory._move_damaged(sqlite3.DatabaseError("file is not a database"), inode)
    assert len(memory) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.sqlite", "m.sqlite.damaged-1"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("features", '{"size": 3}'),
        ("curve", "[[1, 2], [3"),
        ("curve", "[]"),
        ("curve", "[[1, NaN]]"),
        ("curve", "[" * 100_000),
        ("theta", b"\x93NUMPY\x01"),
        ("theta", "text"),
        ("settings", "7"),
        ("settings", '{"lr": "fast"}'),
        ("settings", '{"lr": null}'),
        ("layout", b"x"),
        ("at", "yesterday"),
    ],
)
def test_a_row_that_cannot_be_read_loses_no_other(tmp_path: Path, column: str, value: object) -> None:
    memory = remember(tmp_path / "m.sqlite")
    assert memory is not None
    for lr in (0.1, 0.2, 0.3):
        mg.train("gd", **quadratic(0)[0], lr=lr, steps=5)
    with sqlite3.connect(memory.path) as db:
        db.execute(f"UPDATE runs SET {column} = ? WHERE id = 2", (value,))
    db.close()
    assert [past.id for past in memory.past()] == [1, 3]
    assert memory.note == "1 of 3 remembered runs cannot be read and are left out"
    assert set(advise("gd", **quadratic(0)[0]).rests_on) <= {1, 3}


@pytest.mark.parametrize(("column", "value"), [("settings", "{}"), ("settings", '{"lr": -1e300}'), ("layout", "{}")])
def test_a_row_that_says_little_stops_no_advice(tmp_path: Path, column: str, value: object) -> None:
    memory = remember(tmp_path / "m.sqlite")
    assert memory is not None
    for lr in (0.1, 0.2, 0.3):
        mg.train("gd", **quadratic(0)[0], lr=lr, steps=5)
    with sqlite3.connect(memory.path) as db:
        db.execute(f"UPDATE runs SET {column} = ?", (value,))
    db.close()
    assert 0 < advise("gd", **quadratic(0)[0]).options["lr"] < 100


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    db = sqlite3.connect(path)
    with db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(MetagdError, match="is a database of another program; choose another file"):
        remember(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.sqlite"
    with monkeypatch.context() as later:
        later.setattr(memory_file, "SCHEMA", 2)
        RunMemory(path)
    before = path.read_bytes()
    with pytest.raises(MetagdError, match=r"was written by a newer metagd_nb \(schema 2, known here: 1\)"):
        RunMemory(path)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MetagdError, match="its folder cannot be made"):
        remember(tmp_path / "file" / "m.sqlite")


# ---- advice ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [3.0, 50.0])
def test_without_a_memory_it_is_the_closed_form(condition: float) -> None:
    given, _ = quadratic(3, d=6, top=40.0, condition=condition)
    low = 40.0 / condition
    advice = advise("gd", **given)
    assert advice.options["lr"] == pytest.approx(2 / (40.0 * 1.02 + low), rel=1e-6)
    assert "the run memory is off" in repr(advice)
    heavy = advise("momentum", **given).options
    top, low = np.sqrt(40.0 * 1.02), np.sqrt(low)
    assert heavy["lr"] == pytest.approx(4 / (top + low) ** 2, rel=1e-6)
    assert heavy["momentum"] == pytest.approx(((top - low) / (top + low)) ** 2, rel=1e-5)
    run = mg.train("gd", **given, **advice.options)
    assert run.record["loss"][-1] < 3e-6 * run.record["loss"][0]  # the advised steps do what they are for


def taught(path: Path, best: float, seeds: range) -> None:
    """A memory in which, of the rates tried on quadratics, ``best``/L always went best."""
    remember(path)
    for seed in seeds:
        given, _ = quadratic(seed)
        for c in (best / 8, best / 2, best):
            mg.train("gd", **given, lr=c / 3.0, steps=30)


def test_a_full_memory_speaks_louder_than_the_closed_form(tmp_path: Path) -> None:
    taught(tmp_path / "m", 0.8, range(10, 16))
    given, _ = quadratic(99)
    advice = advise("gd", memory=str(tmp_path / "m"), **given)
    closed = 2 / (3 * 1.02 + 0.15)  # × 3 = 1.87
    weight = advice.problems
    expected = np.exp((PRIOR * np.log(closed * 3) + weight * np.log(0.8)) / (PRIOR + weight)) / 3
    assert advice.options["lr"] == pytest.approx(expected, rel=1e-3)
    assert weight > 3
    assert abs(advice.options["lr"] * 3 - 0.8) < 0.15
    assert len(advice.rests_on) >= 6
    assert "based on 6 past problems" in repr(advice)


def test_where_a_run_leads_counts_more_than_its_first_steps(tmp_path: Path) -> None:
    """Curvatures 1 and 20: the rate 1/20 falls at once and then creeps; 1.8/20 bounces at first and ends far lower."""
    memory = remember(tmp_path / "m")
    assert memory is not None
    given: dict[str, Any] = {"loss": lambda w: (w[0] ** 2 + 20 * w[1] ** 2) / 2, "params": {"w": np.array([2.0, 4.0])}}
    for lr in (1 / 20, 1.8 / 20):
        mg.train("gd", **given, lr=lr, steps=60)
    quick, slow = memory.past()
    assert quick.curve[1, 1] < 0.2 * slow.curve[1, 1]
    assert quick.curve[-1, 1] > 2 * slow.curve[-1, 1]
    assert score_curve(slow, [quick, slow]) < score_curve(quick, [quick, slow])


def test_other_problems_have_no_vote(tmp_path: Path) -> None:
    taught(tmp_path / "m", 0.8, range(10, 12))
    far = {"loss": lambda w: ((w - 1.0) ** 2).sum() + 0.0 * w[0], "params": {"w": np.zeros(3000)}}
    advice = advise("gd", **far)
    assert advice.problems == 0
    assert "no similar problem is remembered" in repr(advice)


def test_other_choices_have_no_vote(tmp_path: Path) -> None:
    given, _ = quadratic(0)
    remember(tmp_path / "m")
    for lr in (0.1, 0.2):
        mg.train("hd", **given, lr=lr, steps=5, rule="adam")
    assert advise("hd", **given, rule="momentum").problems == 0
    assert advise("hd", **given, rule="adam").problems > 0


def test_what_is_given_is_not_advised() -> None:
    given, _ = quadratic(0)
    assert "lr" not in advise("gd", **given, lr=0.05).options
    assert "steps" not in advise("gd", **given, steps=5).options


def test_a_warm_start_is_taken_only_where_it_is_better(tmp_path: Path) -> None:
    remember(tmp_path / "m")
    target = np.arange(5.0)
    mg.train("gd", loss=lambda w: ((w - target) ** 2).sum(), params={"w": np.zeros(5)}, lr=0.3, steps=50)
    near = {"loss": lambda w: ((w - target - 0.1) ** 2).sum(), "params": {"w": np.zeros(5)}}
    advice = advise("gd", **near)
    np.testing.assert_allclose(advice.options["warm_start"], target, atol=1e-6)
    assert advice.tried == 2
    assert "start from run 1's parameters" in repr(advice)
    run = mg.train("gd", **near, **advice.options)
    assert run.record["loss"][0] == pytest.approx(0.05)
    np.testing.assert_array_equal(run.replay().params["w"], run.params["w"])
    away = {"loss": lambda w: ((w + target) ** 2).sum(), "params": {"w": np.zeros(5)}}
    assert "warm_start" not in advise("gd", **away).options


def test_meta_learning_is_advised_too(tmp_path: Path) -> None:
    remember(tmp_path / "m")
    given = {"tasks": mg.regression(4, w0=2.0, spread=0.2), "model": mg.linear(4), "shots": 8}
    mg.train("maml", **given, inner_lr=0.1, meta_lr=0.05, steps=200, seed=1)
    advice = advise("maml", **given, seed=2)
    assert {"inner_lr", "meta_lr", "warm_start"} <= set(advice.options)
    warm = mg.train("maml", **given, **advice.options | {"steps": 0}, seed=2)
    cold = mg.train("maml", **given, steps=0, seed=2)
    assert warm.loss < 0.2 * cold.loss


@pytest.mark.parametrize(
    ("start", "line"),
    [
        ([1.0], r"warm_start: has shape \(1,\); needs \(12,\)"),
        ({"v": np.ones(12)}, "warm_start: has v; needs w"),
        ({"w": np.ones(3)}, "warm_start: does not hold the parameters of this problem"),
        (np.full(12, np.nan), "warm_start: holds values that are not finite"),
        ("best", "warm_start: does not hold the parameters"),
    ],
)
def test_a_warm_start_that_does_not_fit(start: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        mg.prepare("gd", **quadratic(0)[0], warm_start=start)


def test_a_warm_start_by_name() -> None:
    run = mg.train("gd", **quadratic(0)[0], warm_start={"w": np.zeros(12)}, steps=1)
    assert run.record["loss"].tolist() == [0.0, 0.0]


# ---- from the cell --------------------------------------------------------------------------------------------------

BODY = "\ndef loss(w):\n    return ((w - 2.0) ** 2).sum()\nw = np.zeros(4)\n"


def test_the_cell_asks_for_advice_and_follows_it(ip: Any) -> None:
    asked = cell(ip, "%%metagd advise gd" + BODY)
    assert asked.text.startswith("advice for gd: --lr 0.495")
    assert asked.value is None
    assert "run" not in ip.user_ns
    followed = cell(ip, "%%metagd gd --advise --wait --no-plot --steps 7" + BODY)
    assert followed.text.startswith("advice for gd: --lr 0.495\n")
    assert followed.value.plan.algorithm.lr == pytest.approx(1 / 2.02)
    assert followed.value.iteration == 7
    own = cell(ip, "%%metagd gd --advise --lr 0.1 --wait --no-plot --steps 7" + BODY)
    assert own.value.plan.algorithm.lr == 0.1


def test_the_cell_remembers(ip: Any, tmp_path: Path) -> None:
    path = tmp_path / "my runs.sqlite"
    assert cell(ip, f"%metagd remember '{path}'").text == f"metagd: memory of 0 runs in {path}\n"
    cell(ip, "%%metagd gd --wait --no-plot --steps 5" + BODY)
    assert cell(ip, "%metagd remember off").text == "metagd: runs are not remembered any more\n"
    cell(ip, "%%metagd gd --wait --no-plot --steps 5" + BODY)
    assert len(RunMemory(path)) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("advise", "advise takes a method: %%metagd advise gd"),
        ("advise gb", "unknown algorithm 'gb'; did you mean 'gd'?"),
        ("advise check", "unknown algorithm 'check'"),
        ("advise gd --lrr 1", "--lrr is no option of gd; did you mean '--lr'?"),
        ("remember a b", "remember takes one file, or off"),
    ],
)
def test_bad_lines(ip: Any, line: str, said: str) -> None:
    assert said in cell(ip, f"%metagd {line}").line


def test_the_package_brings_no_database(tmp_path: Path) -> None:
    code = (
        "import metagd_nb as mg, sys; mg.train('gd', loss=lambda w: w * w, params={'w': 1.0}, steps=2); "
        "assert 'sqlite3' not in sys.modules"
    )
    clean = {k: v for k, v in os.environ.items() if k != "METAGD_MEMORY"}
    subprocess.run([sys.executable, "-c", code], check=True, env=clean)


# ---- what it is worth -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_on_problems_not_seen_it_beats_the_default_and_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick version of tests/bench/claims/external.py, whose table is EXTERNAL.md."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    from tests.bench.claims import external

    monkeypatch.setattr(external, "TAUGHT", range(6))
    monkeypatch.setattr(external, "HELD_OUT", range(1000, 1008))
    rows = external.one_task("gd", "quadratics", tmp_path)
    for way in ("memory", "memory, warm start too"):
        for other in ("default rate", "random search"):
            saved = rows[other] - rows[way]
            assert saved.mean() > 1.96 * saved.std(ddof=1) / np.sqrt(len(saved)), (way, other, rows)
    assert rows["memory"].mean() < rows["the known best rate"].mean() + 25  # 19 of them are the look itself


def test_a_run_that_diverges_has_not_got_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    from tests.bench.claims import external

    given, target, best = external.quadratic(1000)
    first = mg.train("gd", **given, steps=0).loss
    needed = [external.needed("gd", given, target, first, lr=c * best["gd"]["lr"]) for c in (1.0, 1.1, 1e-6)]
    assert needed[0] < external.BUDGET == needed[1] == needed[2]


def test_what_is_no_path_is_refused_in_one_line() -> None:
    with pytest.raises(MetagdError, match=r"^remember: 3 is not the path of a file, True or False$"):
        mg.remember(3)  # type: ignore[arg-type]


def test_a_line_on_the_result_is_there_once(tmp_path: Path) -> None:
    mg.remember(tmp_path / "memory.sqlite")
    try:
        run = mg.train("gd", loss=lambda w: (w**2).sum(), params={"w": np.ones(2)}, lr=1e-9, steps=60)
    finally:
        mg.remember(False)
    assert repr(run).count("hardly moved") == 1
