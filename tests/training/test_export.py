"""A run as a table, a picture, an animation and a script."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from cells import BODY, cell
from PIL import Image
from strict import STRICT_PYTHON

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.plotting.export import inner_loop
from metagd_nb.training.requests import Event
from metagd_nb.training.run import Run

ROOT = Path(__file__).resolve().parents[2]
X = np.random.default_rng(0).normal(size=(20, 3))
Y = X @ np.array([1.0, 2.0, 3.0])
HALF = 0.5


def errors(w: Any) -> Any:
    return X @ w - Y


def loss(w: Any, power: int = 2) -> Any:
    return HALF * np.mean(errors(w) ** power)


def gradient(w: Any) -> Any:
    return np.transpose(X) @ errors(w) / len(X)


def test_the_table_reads_back_to_the_bit(tmp_path: Path) -> None:
    run = cases.trained("maml")
    run.export(tmp_path / "loss.csv")
    head, *lines = (tmp_path / "loss.csv").read_text().splitlines()
    assert head.split(",") == list(run.record.columns)
    np.testing.assert_array_equal(np.loadtxt(lines, delimiter=","), run.record.rows)
    assert lines[3].startswith("3,")
    pandas = pytest.importorskip("pandas")
    found = pandas.read_csv(tmp_path / "loss.csv", float_precision="round_trip")
    np.testing.assert_array_equal(found["loss"], run.record["loss"])


def test_the_pictures(tmp_path: Path) -> None:
    run = cases.trained("maml")
    for name in ("a.png", "a.svg", "b.svg"):
        run.export(tmp_path / name)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (1440, 840)
    svg = (tmp_path / "a.svg").read_text()
    assert svg.startswith("<?xml")
    assert "<svg" in svg


def test_the_animation_shows_each_step(tmp_path: Path) -> None:
    run = cases.trained("maml", inner_lr=0.05)
    run.export(tmp_path / "inner.gif", steps=4)
    with Image.open(tmp_path / "inner.gif") as moving:
        assert moving.n_frames == 5
        frames = []
        for i in range(5):
            moving.seek(i)
            frames.append(np.asarray(moving.convert("RGB")))
    assert all((one != other).any() for one, other in itertools.pairwise(frames))
    assert len(inner_loop(run)) == 3  # its own two steps
    with pytest.raises(MetagdError, match="an animation shows adaptation"):
        cases.trained("gd").export(tmp_path / "no.gif")
    assert not (tmp_path / "no.gif").exists()


def test_other_endings_are_refused(tmp_path: Path) -> None:
    run = cases.trained("gd")
    with pytest.raises(MetagdError, match=r"unknown ending '.pngg'; did you mean '.png'"):
        run.export(tmp_path / "a.pngg")
    with pytest.raises(MetagdError, match="cannot be written"):
        run.export(Path("/proc/nowhere/a.csv"))


# ---- the script ------------------------------------------------------------------------------------------------------


def ran(*paths: Path) -> list[dict[str, Any]]:
    """What the runs of scripts give, in a Python that knows nothing of these tests."""
    code = (
        "import runpy, sys, pickle\n"
        f"runs = [runpy.run_path(path)['run'] for path in {[*map(str, paths)]!r}]\n"
        "found = [{'losses': run.record['loss'], 'params': run.params, 'loss': run.loss} for run in runs]\n"
        "sys.stdout.buffer.write(b'@@' + pickle.dumps(found))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*STRICT_PYTHON, "-c", code], env=environment, capture_output=True, cwd="/")
    assert done.returncode == 0, done.stderr.decode() + "\n".join(path.read_text() for path in paths)
    import pickle

    found: list[dict[str, Any]] = pickle.load(io.BytesIO(done.stdout.partition(b"@@")[2]))  # our own child's
    return found


def equal(run: Run, found: dict[str, Any]) -> None:
    np.testing.assert_array_equal(found["losses"], run.record["loss"], err_msg=run.plan.method)
    assert found["loss"] == run.loss
    for name, value in run.params.items():
        np.testing.assert_array_equal(found["params"][name], value, err_msg=run.plan.method)


def same(run: Run, path: Path) -> None:
    run.export(path)
    equal(run, *ran(path))


def test_a_script_of_every_method_trains_the_same_again(tmp_path: Path) -> None:
    runs = [cases.trained(method, seed=3) for method in cases.METHODS]
    paths = [tmp_path / f"{run.plan.method}.py" for run in runs]
    for run, path in zip(runs, paths, strict=True):
        run.export(path)
    for run, found in zip(runs, ran(*paths), strict=True):
        equal(run, found)


def own_model(params: Any, x: Any) -> Any:
    return np.tanh(x @ params["a"]) * HALF + params["b"]


def absolute(prediction: Any, target: Any) -> Any:
    return np.mean(np.abs(prediction - target))


def test_a_script_has_a_model_and_a_loss_of_ones_own(tmp_path: Path) -> None:
    start = {"a": np.full((1, 1), 0.3), "b": np.zeros(1)}
    given = {"tasks": mg.sinusoid(), "meta_batch_size": 2, "steps": 4}
    same(mg.train("maml", model=own_model, loss=absolute, params=start, **given), tmp_path / "again.py")


@pytest.mark.parametrize("own", [None, gradient])
def test_a_script_has_the_functions_and_the_data(own: Any, tmp_path: Path) -> None:
    run = mg.train("gd", loss=loss, params={"w": np.zeros(3)}, gradient=own, steps=8, lr=0.05, loss_below=0.5)
    same(run, tmp_path / "again.py")
    text = (tmp_path / "again.py").read_text()
    assert "def errors(w" in text
    assert "HALF = 0.5" in text
    assert "%" not in text


def test_a_script_has_what_was_done_under_way(tmp_path: Path) -> None:
    run = cases.prepared("maml", steps=500)
    run.set(meta_lr=0.02)
    run.step(3)
    run.set(inner_lr=0.01)
    run.set(meta_lr=0.001)
    run.step(4)
    run.stop()
    same(run, tmp_path / "again.py")


def test_a_script_has_data_as_it_was_at_the_start(tmp_path: Path) -> None:
    x = np.arange(30.0)
    text = "def loss(w):\n    return np.mean((w - x) ** 2)\n"
    path = tmp_path / "own.py"
    path.write_text(text)
    space = {"np": np, "x": x}
    exec(compile(text, str(path), "exec"), space)
    run = mg.train("gd", loss=space["loss"], params={"w": 0.0}, steps=4)
    x[...] = 7
    same(run, tmp_path / "again.py")


def test_closures_lambdas_and_names_from_the_namespace(tmp_path: Path) -> None:
    def make(scale: float) -> Any:
        def inner(w: Any, x: Any) -> Any:
            return scale * np.sum((w - x) ** 2)

        return inner

    run = mg.train("gd", loss=make(0.25), params={"w": 0.0}, namespace={"x": X}, steps=4)
    same(run, tmp_path / "again.py")
    same(mg.train("momentum", loss=lambda w: HALF * (w - 3.0) ** 2, params={"w": 0.0}, steps=4), tmp_path / "two.py")


def test_a_script_of_tasks_out_of_a_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    tasks, _ = mg.groups(rng.normal(size=(60, 2)), rng.normal(size=60), np.repeat(list("abcdef"), 10)).split(
        0.5, seed=2
    )
    same(mg.train("maml", model=mg.mlp(2, 4, 1), tasks=tasks, shots=3, queries=3, steps=4), tmp_path / "again.py")


def test_a_script_of_a_cell(ip: Any, tmp_path: Path) -> None:
    assert cell(ip, f"%%metagd gd --lr 0.1 --steps 9 --wait --no-plot\n{BODY}").error is None
    same(ip.user_ns["run"], tmp_path / "again.py")
    text = (tmp_path / "again.py").read_text()
    assert "from metagd_nb import mse_loss" in text


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    text = {"np": np}
    exec("def loss(w): return np.sum(w * w)", text)  # no file, no cell: its text is gone
    run = mg.train("gd", loss=text["loss"], params={"w": 1.0}, steps=1)
    with pytest.raises(MetagdError, match="the text of loss is not known"):
        run.export(tmp_path / "a.py")
    assert list(tmp_path.iterdir()) == []


# ---- names that are no names ----------------------------------------------------------------------------------------

ODD = ["my line", "a\nb", "class", "x=1); open('sprung', 'w'); (y", '"""\nopen("sprung", "w")\n"""', "é\u2028z"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_data_and_never_code(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = mg.mixed("line", **{name: mg.sinusoid()}).only(name)
    run = mg.train("maml", model=mg.mlp(1, 4, 1), tasks=tasks, steps=2)
    run.export("x.py")
    space: dict[str, Any] = {}
    exec(compile(Path("x.py").read_text(), "x.py", "exec"), space)
    cases.assert_same(run, space["run"])
    assert os.listdir() == ["x.py"]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_of_a_method_or_a_rate(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(mg.ALGORITHMS, name, mg.ALGORITHMS["gd"])
    run = mg.train(name, model=mg.linear(3), x=X, y=Y, steps=2)
    run.export("x.py")
    exec(compile(Path("x.py").read_text(), "x.py", "exec"), {})
    assert os.listdir() == ["x.py"]
    run.loop.events.append(Event(1, "set", {name: 0.5}))
    try:
        run.export("x.py")
    except MetagdError:
        pass
    else:
        with pytest.raises((MetagdError, TypeError)):
            exec(compile(Path("x.py").read_text(), "x.py", "exec"), {})
    assert os.listdir() == ["x.py"]
