"""Runs as files: kept, loaded, replayed, gone on with; killed writers, damaged and foreign files."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from cells import BODY, cell
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from strict import STRICT_PYTHON

import metagd_nb as mg
from metagd_nb.core.environment import environment
from metagd_nb.core.errors import MetagdError
from metagd_nb.core.provenance import rebuild, strip
from metagd_nb.models.builtin import MODELS
from metagd_nb.tasks import FAMILIES
from metagd_nb.training import drivers as driving
from metagd_nb.training.adaptation import held_out_panel
from metagd_nb.training.drivers import drive
from metagd_nb.training.persistence import checkpoint
from metagd_nb.training.persistence import format as store
from metagd_nb.training.persistence.contents import _storable, write_run
from metagd_nb.training.run import Run

ROOT = Path(__file__).resolve().parents[2]
X = np.linspace(-1.0, 1.0, 7)
SCALE = 2.0
FEW = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


def helper(w: Any) -> Any:
    return SCALE * w


def loss(w: Any) -> Any:
    return np.mean((helper(w) - X) ** 2)


def same(one: Run, other: Run) -> None:
    """All that a run is, but for the clock and what its file says of it."""
    cases.assert_same(one, other)
    for name, value in one.params.items():
        np.testing.assert_array_equal(value, other.params[name])
    assert (repr(one), one.note, one.loop.cell, one.loss) == (repr(other), other.note, other.loop.cell, other.loss)
    assert one.plan.references == other.plan.references


def another_process(code: str, *arguments: str) -> str:
    """What Python prints, started afresh."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}"}
    command = [*STRICT_PYTHON, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


# ---- there and back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", cases.METHODS)
def test_a_loaded_run_is_the_run(method: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "metagd_nb")
    run = cases.trained(method)
    run.save(tmp_path / "run.npz")
    loaded = mg.load(tmp_path / "run.npz")
    same(run, loaded)
    np.testing.assert_array_equal(loaded.record["seconds"], run.record["seconds"])
    assert loaded.rates == run.rates
    assert {n: v.tolist() for n, v in loaded.learned.items()} == {n: v.tolist() for n, v in run.learned.items()}
    same(run, loaded.replay())
    assert caplog.messages == [
        "metagd: to the bit: the machine, the versions and the BLAS threads are the same",
        f"metagd: replayed {run.iteration} steps: equal to the bit",
    ]
    assert run.iteration == 12 or method == "lbfgs"  # which ends at the minimum


@pytest.mark.parametrize("method", cases.META)
def test_a_loaded_run_adapts_and_is_evaluated(method: str, tmp_path: Path) -> None:
    run = cases.trained(method)
    run.save(tmp_path / "run.npz")
    loaded = mg.load(tmp_path / "run.npz")
    one, other = (r.evaluate(n_tasks=7, steps=2) for r in (run, loaded))
    np.testing.assert_array_equal(one.mean, other.mean)
    support = run.plan.batches(0).support
    x, y = support.x[0], support.y[0]
    np.testing.assert_array_equal(run.adapt(x, y)(x), loaded.adapt(x, y)(x))
    if held_out_panel(run.loop) is not None:
        np.testing.assert_array_equal(held_out_panel(run.loop).after, held_out_panel(loaded.loop).after)  # type: ignore[union-attr]


def test_the_plot_of_a_loaded_run_is_that_of_the_run(tmp_path: Path) -> None:
    run = cases.trained("maml")
    run.save(tmp_path / "run.npz")
    figures = [r.plot() for r in (run, mg.load(tmp_path / "run.npz"))]
    lines = [[line.get_xydata() for ax in figure.axes for line in ax.lines] for figure in figures]
    assert len(lines[0]) > 5
    for one, other in zip(*lines, strict=True):
        np.testing.assert_array_equal(one, other)


def from_file(thing: Any, table: Any, path: Path) -> Any:
    """A model or family, made again from what a file says of it."""
    store.write(path, {"it": strip(thing)})
    return rebuild(store.read(path)["it"]["recipe"], table)


RNG = np.random.default_rng(0)
TABLE = (RNG.normal(size=(40, 2)), RNG.normal(size=40), np.repeat([*"abcd"], 10))
FAMILY: dict[str, Callable[[], Any]] = {
    "sinusoid": lambda: mg.sinusoid((1, 2), noise=0.1),
    "quadratics": lambda: mg.quadratics(np.arange(1.0, 4), RNG.normal(size=(3, 2))),
    "regression": lambda: mg.regression(2, w0=[1.0, -1], spread=0.5, noise=0.1),
    "groups": lambda: mg.groups(*TABLE),
    "groups of classes": lambda: mg.groups(TABLE[0], np.tile(["no", "yes"], 20), TABLE[2]),
    "half of groups": lambda: mg.groups(TABLE[0], np.tile(["no", "yes"], 20), TABLE[2]).split(0.5, seed=3)[1],
    "episodes": lambda: mg.episodes(TABLE[0], TABLE[2], ways=3),
    "half of episodes": lambda: mg.episodes(TABLE[0], TABLE[2], ways=2).split(0.5)[0],
    "mixed": lambda: mg.mixed("sinusoid", "line", noise=0.2),
    "mixed of ones own": lambda: mg.mixed("line", wide=mg.sinusoid(x=(-9, 9))).only("wide"),
}


@pytest.mark.parametrize("family", dict.fromkeys([*FAMILIES, *FAMILY]))
def test_every_family_is_made_again(family: str, tmp_path: Path) -> None:
    if family in ("omniglot", "series"):  # a folder or a table of the person's: the session has it
        return
    if family == "curves":  # a function of one's own too
        tasks = mg.curves(lambda x, a: a * x, a=(1, 2))
        assert _storable(strip(tasks)) == store.SESSION
        return
    tasks = FAMILY[family]() if family in FAMILY else FAMILIES[family]()
    made = from_file(tasks, FAMILIES, tmp_path / "file")
    assert repr(made) == repr(tasks)
    assert made.loss == tasks.loss
    one, other = (t.sample(np.random.default_rng(1), 2, 2, 3, 5) for t in (tasks, made))
    for part in ("support", "query"):
        np.testing.assert_array_equal(getattr(one, part).x, getattr(other, part).x)
        np.testing.assert_array_equal(getattr(one, part).y, getattr(other, part).y)


@pytest.mark.parametrize(
    "model",
    [
        mg.linear(3),
        mg.linear(2, outputs=3, bias=False),
        mg.mlp(1, 4, 2, activation="tanh"),
        mg.mlp(2, 3, init_scale=0.1),
        mg.mlp(2, 3, 2, norm="batch"),
        mg.mlp(2, 3, 2, context=4),
        mg.conv(3, side=8, filters=2, blocks=2),
    ],
    ids=repr,
)
def test_every_model_is_made_again(model: Any, tmp_path: Path) -> None:
    made = from_file(model, MODELS, tmp_path / "file")
    one, other = (m.start(np.random.default_rng(2)) for m in (model, made))
    np.testing.assert_array_equal(one, other)
    assert (type(made), repr(made), made.layout.shapes) == (type(model), repr(model), model.layout.shapes)
    names = ("sizes", "activation", "bias", "norm", "context", "init_scale", "side", "blocks")
    assert [getattr(made, n, None) for n in names] == [getattr(model, n, None) for n in names]


def test_a_recipe_names_only_what_is_meant_to_be_named() -> None:
    base = {"name": "groups", "args": list(TABLE), "kwargs": {}}
    with pytest.raises(ValueError, match="sample"):
        rebuild({"of": base, "name": "sample", "args": [], "kwargs": {}, "part": None}, FAMILIES)
    with pytest.raises(KeyError):
        rebuild({"name": "eval", "args": ["1"], "kwargs": {}}, FAMILIES)


def test_labels_out_of_a_table_are_kept_as_text(tmp_path: Path) -> None:
    labels = np.repeat(np.array(["Leeds", "Oslo"], dtype=object), 8)
    tasks = mg.groups(np.arange(16.0), np.arange(16.0), labels)
    run = mg.train("maml", model=mg.linear(1), tasks=tasks, shots=3, queries=3, steps=3)
    run.save(tmp_path / "run.npz")
    same(run, mg.load(tmp_path / "run.npz").replay())


def test_a_family_of_ones_own_comes_from_the_session(tmp_path: Path) -> None:
    class Mine(type(mg.sinusoid())):  # type: ignore[misc]
        def sample(self, *args: Any) -> Any:
            batch = super().sample(*args)
            batch.support.y[...] *= 2
            return batch

    tasks = Mine((0.1, 5.0), (0.0, 3.0), (-5.0, 5.0), 0.0)
    run = mg.train("maml", model=mg.mlp(1, 4, 1), tasks=tasks, steps=3)
    run.save(tmp_path / "run.npz")
    loaded = mg.load(tmp_path / "run.npz")
    with pytest.raises(MetagdError, match="tasks is not in"):
        loaded.replay()
    same(run, loaded.replay(tasks=tasks))


def test_the_file_is_numpys_own(tmp_path: Path) -> None:
    run = mg.train("gd", loss=loss, params={"w": np.zeros(7)}, steps=5)
    run.save(tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz", allow_pickle=False) as bag:
        np.testing.assert_array_equal(bag["params.w"], run.params["w"])
        np.testing.assert_array_equal(bag["record"][:, 1], run.record["loss"])
        assert json.loads(bag["run.json"])["method"] == "gd"


def test_the_same_run_is_the_same_bytes(tmp_path: Path) -> None:
    run = cases.trained("adam")
    for name in ("a", "b"):
        run.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_data_can_be_left_out(tmp_path: Path) -> None:
    x, y = cases.table()
    x[3, 1] = 0.123456789
    run = mg.train("gd", model=mg.linear(3), x=x, y=y, steps=5)
    run.save(tmp_path / "with.npz")
    run.save(tmp_path / "without.npz", data=False)
    assert x.tobytes() in (tmp_path / "with.npz").read_bytes()
    assert x.tobytes() not in (tmp_path / "without.npz").read_bytes()
    loaded = mg.load(tmp_path / "without.npz")
    with pytest.raises(MetagdError, match=r"x and y are not in .*without.npz; give them from here: .*\(…, x=x, y=y\)$"):
        loaded.replay()
    same(run, loaded.replay(x=x, y=y))


def test_what_is_written_into_data_later_does_not_reach_the_run() -> None:
    x, y = cases.table()
    run, other = (mg.prepare("gd", model=mg.mlp(3, 4, 1), x=x, y=y, steps=5) for _ in range(2))
    drive(other)
    x[...] = 0
    same(other, drive(run))


# ---- values ---------------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    arrays(st.sampled_from(["f4", "f8", "i8", "?", "U3"]), array_shapes(min_dims=0, min_side=0, max_side=3)),
    st.floats(width=32).map(np.float32), st.integers(-9, 9).map(np.int64),
)  # fmt: skip
VALUES = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(), inner, max_size=3),
    ),
    max_leaves=12,
)


def told(value: Any) -> Any:
    """A value with its types and bits spelt out."""
    if isinstance(value, (np.ndarray, np.generic)):
        return type(value).__name__, value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [told(item) for item in value]
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    return type(value).__name__, repr(value)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES)
def test_values_come_back_to_the_bit(tmp_path: Path, value: Any) -> None:
    store.write(tmp_path / "file", {"value": value, "more": [value]})
    back = store.read(tmp_path / "file")
    assert told(back["value"]) == told(value)
    assert told(back["more"]) == told([value])


def test_one_array_in_two_places_is_kept_once(tmp_path: Path) -> None:
    array = np.arange(3.0)
    store.write(tmp_path / "file", {"a": array, "b": {"c": array}})
    back = store.read(tmp_path / "file")
    assert back["a"] is back["b"]["c"]


def test_names_that_would_meet_are_kept_apart(tmp_path: Path) -> None:
    value = {"a.b": np.zeros(1), "a": {"b": np.ones(1), "b ": np.ones(2)}, "../x": np.ones(3), "ä": np.ones(4)}
    store.write(tmp_path / "file", value)
    assert told(store.read(tmp_path / "file")) == told(value)
    with zipfile.ZipFile(tmp_path / "file") as bag:
        assert not any(name.startswith(("/", "..")) and "/" in name for name in bag.namelist())


@pytest.mark.parametrize("value", [{1, 2}, np.array([None]), lambda: 0, {1: 2}, 1j], ids=lambda v: type(v).__name__)
def test_what_cannot_be_kept_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(MetagdError, match="cannot be kept in a file"):
        store.write(tmp_path / "file", {"value": value})
    assert list(tmp_path.iterdir()) == []


# ---- replay, and going on -------------------------------------------------------------------------------------------

DEEDS = st.lists(
    st.one_of(st.tuples(st.just("step"), st.integers(1, 4)), st.tuples(st.just("set"), st.floats(1e-4, 0.02))),
    max_size=5,
)


def done(run: Run, deeds: list[tuple[str, Any]]) -> Run:
    """A run stepped by hand, its first rate changed now and then."""
    run.pause()
    name = next(iter(run.rates))
    for kind, value in deeds:
        if run.stopped is not None:  # lbfgs finds its minimum in a few steps
            break
        if kind == "step":
            run.step(value)
        else:
            run.set(**{name: value})
    return run


@FEW
@given(st.sampled_from(cases.METHODS), DEEDS, DEEDS, st.sampled_from(["float32", "float64"]))
def test_kept_in_the_middle_it_goes_on_as_if_nothing_had_been(
    tmp_path: Path, method: str, before: list[Any], after: list[Any], dtype: str
) -> None:
    whole, half = (done(cases.prepared(method, steps=10**6, dtype=dtype), before) for _ in range(2))
    assume(half.stopped is None)
    half.save(tmp_path / "half.npz")
    loaded = mg.load(tmp_path / "half.npz")
    assert loaded.loop.paused
    assert loaded.stopped is None
    done(whole, after)
    done(loaded, after)
    cases.assert_same(whole, loaded)
    same(loaded, loaded.replay())
    loaded.save(tmp_path / "later.npz")
    same(loaded, mg.load(tmp_path / "later.npz").replay())


@pytest.mark.parametrize("method", cases.METHODS)
@pytest.mark.parametrize("ending", ["user", "steps"])
def test_gone_on_with_equals_not_interrupted(method: str, ending: str, tmp_path: Path) -> None:
    whole = cases.trained(method, steps=15)
    for kept in (False, True):
        run = cases.prepared(method, steps=15 if ending == "user" else 6)
        for _ in range(7):
            run.loop.advance()
        run.stop()
        assert (run.stopped, run.iteration) == (ending, 6)
        if kept:
            run.save(tmp_path / "run.npz")
            run = mg.load(tmp_path / "run.npz")
        run.resume(**({} if ending == "user" else {"steps": 15}))
        run.wait()
        cases.assert_same(whole, run)
        assert run.loss == whole.loss
        assert run.events[-1][:2] == (6, "resume")
        same(run, run.replay())


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"loss_below": 1.0}, {"loss_below": 0.1}),
        ({"loss_below": 1.0}, {"loss_below": None}),
        ({"grad_below": 1.0}, {"grad_below": 0.1}),
        ({"patience": 2, "lr": 0.5}, {"patience": 30}),
        ({"seconds": 0.0}, {"seconds": None}),
    ],
)
def test_a_rule_that_ended_it_must_be_another_now(first: dict[str, Any], then: dict[str, Any]) -> None:
    def parabola(w: Any) -> Any:
        return (w - 3.0) ** 2

    run = drive(mg.prepare("gd", loss=parabola, params={"w": 0.0}, steps=50, **{"lr": 0.05, **first}))
    rule = next(iter(first))
    assert run.stopped == rule.replace("_", "-")
    with pytest.raises(
        MetagdError, match=rf"has ended \({run.stopped}\), by {rule}=[\d.e-]+; to go on: resume\({rule}=…"
    ):
        run.resume()
    before = run.iteration
    run.resume(**then)
    run.wait()
    assert run.iteration > before
    lr = first.get("lr", 0.05)
    whole = drive(mg.prepare("gd", loss=parabola, params={"w": 0.0}, steps=50, lr=lr, **then))
    cases.assert_same(whole, run)
    same(run, run.replay())


def test_what_cannot_go_on_says_why() -> None:
    run = cases.trained("gd", lr=1e6)
    assert run.stopped == "diverged"
    with pytest.raises(MetagdError, match=r"has ended \(diverged\); start a new one with a smaller rate"):
        run.resume()
    run = cases.trained("gd", steps=5)
    with pytest.raises(MetagdError, match=r"has ended \(steps\), by steps=5; to go on: resume\(steps=…\)"):
        run.resume()
    with pytest.raises(MetagdError, match=r"has ended \(steps\), by steps=5; to go on: resume\(steps=…\)"):
        run.resume(steps=4)
    with pytest.raises(MetagdError, match="unknown rule 'step'; did you mean 'steps'"):
        run.resume(step=4)
    run = mg.start("gd", loss=loss, params={"w": np.zeros(7)}, steps=10**8)
    try:
        with pytest.raises(MetagdError, match="the run is going on"):
            run.resume(steps=5)
    finally:
        run.stop()


def test_seconds_go_on_where_they_were(tmp_path: Path) -> None:
    run = cases.trained("gd", steps=5)
    before = run.record.last("seconds")
    run.save(tmp_path / "run.npz")
    loaded = mg.load(tmp_path / "run.npz")
    time.sleep(0.3)
    by_hand = mg.load(tmp_path / "run.npz")
    by_hand.loop.advance()
    loaded.resume(steps=8)
    loaded.wait()
    for gone_on in (loaded, by_hand):
        seconds = gone_on.record["seconds"]
        assert (np.diff(seconds) >= 0).all()
        assert seconds[5] == before
        assert before < seconds[-1] < before + 0.25


@pytest.mark.parametrize(
    ("method", "rules"),
    [("gd", {"patience": 6, "lr": 0.3}), ("maml", {"patience": 30}), ("maml", {"loss_below": 4.0})],
)
def test_what_ends_it_has_seen_the_rows_before(method: str, rules: dict[str, Any], tmp_path: Path) -> None:
    rules = {"steps": 400, **rules}
    whole = cases.trained(method, **rules)
    assert whole.stopped not in ("steps", "diverged")
    part = cases.prepared(method, **rules)
    for _ in range(whole.iteration - 2):  # what it has seen by now decides when it ends
        part.loop.advance()
    assert part.stopped is None
    part.save(tmp_path / "run.npz")
    loaded = mg.load(tmp_path / "run.npz")
    loaded.resume()
    loaded.wait()
    cases.assert_same(whole, loaded)


def test_replay_in_another_process(tmp_path: Path) -> None:
    for method in ("hd", "meta-sgd"):
        run = done(cases.prepared(method, steps=10**6, dtype="float32"), [("step", 3), ("set", 0.01), ("step", 4)])
        run.stop()
        run.save(tmp_path / "run.npz")
        out = another_process(
            """
            import logging, sys, metagd_nb as mg
            logging.basicConfig(stream=sys.stdout, format="%(message)s")
            logging.getLogger("metagd_nb").setLevel("INFO")
            run = mg.load(sys.argv[1])
            again = run.replay()
            print(again.loop.snapshot.theta.tobytes().hex(), again.record["loss"].tobytes().hex())
            """,
            str(tmp_path / "run.npz"),
        )
        first, second, bits = out.splitlines()
        assert first == "metagd: to the bit: the machine, the versions and the BLAS threads are the same"
        assert second == "metagd: replayed 7 steps: equal to the bit"
        assert bits == f"{run.loop.snapshot.theta.tobytes().hex()} {run.record['loss'].tobytes().hex()}"


def test_another_machine_is_said_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "metagd_nb")
    cases.trained("maml").save(tmp_path / "run.npz")
    loaded = mg.load(tmp_path / "run.npz")
    assert loaded.loop.saved is not None
    loaded.loop.saved["environment"] |= {"numpy": "1.0.0", "BLAS threads": "99"}
    loaded.replay()
    now = environment()
    assert caplog.messages[0] == (
        f"metagd: not to the bit but to 1e-9 relative, because of numpy 1.0.0 → {now['numpy']},"
        f" BLAS threads 99 → {now['BLAS threads']}"
    )


def test_blas_threads_are_those_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert int(environment()["BLAS threads"]) >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environment()["BLAS threads"] == "3"


# ---- what the file does not hold ------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> tuple[Run, Run]:
    """A run of a loss of one's own, and the same from a file."""
    run = mg.train("gd", loss=loss, params={"w": np.zeros(7)}, steps=9)
    run.save(tmp_path / "run.npz")
    return run, mg.load(tmp_path / "run.npz")


def test_a_loss_of_ones_own_comes_from_the_session(own: tuple[Run, Run], tmp_path: Path) -> None:
    run, loaded = own
    same(run, loaded)
    loaded.plot()
    for act in (loaded.replay, lambda: loaded.resume(steps=20), loaded.replay):
        with pytest.raises(MetagdError, match=r"^loss is not in .*run.npz; give it from here: .*\(…, loss=loss\)$"):
            act()
    same(run, loaded.replay(loss=loss))
    longer = mg.load(tmp_path / "run.npz", loss=loss)
    longer.resume(steps=20)
    longer.wait()
    cases.assert_same(mg.train("gd", loss=loss, params={"w": np.zeros(7)}, steps=20), longer)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("X", X + 1e-9, "data X"),
        ("SCALE", 2.5, "data SCALE"),
        ("helper", lambda w: w * SCALE, "code of helper"),
    ],
)
def test_what_differs_is_named(
    name: str, value: Any, said: str, own: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setitem(globals(), name, value)
    own[1].replay(loss=loss)
    expected = ("metagd_nb", logging.WARNING, f"metagd: not what was saved: {said}")
    assert caplog.record_tuples[0] == expected
    caplog.clear()
    mg.load(tmp_path / "run.npz", loss=loss)
    assert caplog.record_tuples == [expected]


def test_arguments_from_the_namespace_are_data_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fit(w: Any, x: Any) -> Any:
        return np.mean((w - x) ** 2)

    run = mg.train("gd", loss=fit, params={"w": 0.0}, namespace={"x": X}, steps=4)
    run.save(tmp_path / "run.npz")
    loaded = mg.load(tmp_path / "run.npz")
    same(run, loaded.replay(loss=fit, namespace={"x": X}))
    assert caplog.messages == []
    loaded.replay(loss=fit, namespace={"x": 2 * X})
    assert caplog.messages[0] == "metagd: not what was saved: data x"


def test_models_and_losses_of_ones_own(tmp_path: Path) -> None:
    def model(params: Any, x: Any) -> Any:
        return np.tanh(x @ params["a"]) + params["b"]

    def absolute(prediction: Any, target: Any) -> Any:
        return np.mean(np.abs(prediction - target))

    start = {"a": np.full((1, 1), 0.3), "b": np.zeros(1)}
    run = mg.train("maml", model=model, loss=absolute, params=start, tasks=mg.sinusoid(), meta_batch_size=2, steps=4)
    run.save(tmp_path / "run.npz")
    loaded = mg.load(tmp_path / "run.npz")
    with pytest.raises(MetagdError, match="loss and model are not in"):
        loaded.adapt([0.0], [1.0])
    same(run, loaded.replay(model=model, loss=absolute))
    run = mg.train("maml", model=mg.mlp(1, 3, 1), loss=absolute, tasks=mg.sinusoid(), meta_batch_size=2, steps=4)
    run.save(tmp_path / "run.npz")
    same(run, mg.load(tmp_path / "run.npz").replay(loss=absolute))


def test_an_unknown_thing_of_the_session_is_refused(own: tuple[Run, Run]) -> None:
    with pytest.raises(MetagdError, match="unknown argument 'losss'; did you mean 'loss'"):
        own[1].replay(losss=loss)


def test_the_cell_is_kept_as_text(ip: Any, tmp_path: Path) -> None:
    assert cell(ip, f"%%metagd gd --lr 0.1 --steps 7 --wait --no-plot\n{BODY}").error is None
    run = ip.user_ns["run"]
    run.save(tmp_path / "run.npz")
    loaded = mg.load(tmp_path / "run.npz")
    assert loaded.loop.cell is not None
    assert loaded.loop.cell.startswith("%%metagd gd --lr 0.1 --steps 7 --wait --no-plot\n")
    assert "def loss(w):" in loaded.loop.cell
    same(run, loaded.replay(loss=ip.user_ns["loss"]))


# ---- damaged and foreign files --------------------------------------------------------------------------------------


class Trap:
    """Leaves a trace where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    run = cases.trained("gd")
    for foreign in ("whole", "inside"):
        trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
        if foreign == "whole":
            np.savez(tmp_path / "bad.npz", record=trap)
        else:
            run.save(tmp_path / "bad.npz")
            with zipfile.ZipFile(tmp_path / "bad.npz") as bag:
                members = {name: bag.read(name) for name in bag.namelist()}
            buffer = io.BytesIO()
            np.save(buffer, trap, allow_pickle=True)
            with zipfile.ZipFile(tmp_path / "bad.npz", "w") as bag:
                for name, data in {**members, "record.npy": buffer.getvalue()}.items():
                    bag.writestr(name, data)
        with pytest.raises(MetagdError, match="is not a run that metagd saved"):
            mg.load(tmp_path / "bad.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Run]:
    """The bytes of a file, and its run."""
    path = tmp_path_factory.mktemp("saved") / "run.npz"
    run = cases.trained("adam", steps=3)
    run.save(path)
    return path.read_bytes(), run


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_one_line_or_does_no_harm(
    tmp_path: Path, saved: tuple[bytes, Run], place: float, bits: int, cut: bool
) -> None:
    data, run = saved
    at = int(place * len(data))
    path = tmp_path / "run.npz"
    path.write_bytes(data[:at] if cut else data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :])
    try:
        loaded = mg.load(path)
    except MetagdError:
        return
    same(run, loaded)  # a date, a flag: nothing of the run


HEADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another format": lambda h: h | {"format": "something"},
    "no method": lambda h: {k: v for k, v in h.items() if k != "method"},
    "an unknown method": lambda h: h | {"method": "os.system"},
    "an unknown setting": lambda h: h | {"settings": {"dict": {"stepz": 3}}},
    "a setting out of range": lambda h: h | {"settings": {"dict": {"steps": -3}}},
    "an unknown model": lambda h: h | {"origin": _with(h["origin"], name="eval")},
    "arguments that no model has": lambda h: h | {"origin": _with(h["origin"], kwargs={"dict": {"a": 1}})},
    "a list": lambda h: [h],
    "no state": lambda h: h | {"state": {"dict": {}}},
    "a foreign kind of value": lambda h: h | {"cell": {"python": "1+1"}},
    "an array that is not there": lambda h: h | {"record": {"array": "gone"}},
    "fewer columns": lambda h: h | {"columns": ["step", "loss"]},
}


def _with(origin: dict[str, Any], **changed: Any) -> dict[str, Any]:
    given = origin["dict"]["given"]["dict"]
    model = {"dict": {"recipe": {"dict": given["model"]["dict"]["recipe"]["dict"] | changed}}}
    return {"dict": origin["dict"] | {"given": {"dict": given | {"model": model}}}}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_does_not_fit_is_one_line(name: str, tmp_path: Path, saved: tuple[bytes, Run]) -> None:
    with zipfile.ZipFile(io.BytesIO(saved[0])) as bag:
        members = {member: bag.read(member) for member in bag.namelist()}
    members["run.json"] = json.dumps(HEADERS[name](json.loads(members["run.json"]))).encode()
    with zipfile.ZipFile(tmp_path / "bent.npz", "w") as bag:
        for member, data in members.items():
            bag.writestr(member, data)
    with pytest.raises(MetagdError, match="is not a run that metagd saved, or it is damaged"):
        mg.load(tmp_path / "bent.npz")


def test_a_later_version_is_told(tmp_path: Path, saved: tuple[bytes, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "VERSION", 2)
    saved[1].save(tmp_path / "later.npz")
    monkeypatch.undo()
    with pytest.raises(MetagdError, match="is of version 2; this metagd_nb reads up to 1: update it"):
        mg.load(tmp_path / "later.npz")


def test_other_files_are_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    np.savez(tmp_path / "b.npz", a=np.zeros(3))
    (tmp_path / "c").write_text("hello")
    (tmp_path / "d").write_bytes(b"")
    for name in ("a.npy", "b.npz", "c", "d"):
        with pytest.raises(MetagdError, match="is not a run that metagd saved, or it is damaged"):
            mg.load(tmp_path / name)
    with pytest.raises(MetagdError, match="does not exist"):
        mg.load(tmp_path / "e")
    with pytest.raises(MetagdError, match="cannot be read"):
        mg.load(tmp_path)
    with pytest.raises(MetagdError, match="cannot be written"):
        cases.trained("gd").save(tmp_path)


# ---- killed writers, checkpoints ------------------------------------------------------------------------------------

WRITER = """
import sys, numpy as np, metagd_nb as mg
from metagd_nb.training.record import Record
run = mg.train("gd", loss=lambda w: (w - 3.0) ** 2, params={"w": 0.0}, steps=5)
run.save(sys.argv[1])
rows = np.zeros((4_000_000, len(run.record.columns)))   # 224 MB: the writer is killed in the middle of it
rows[:, 0] = np.arange(len(rows))
run.loop.record = Record.of(run.record.columns, rows)
print("now", flush=True)
while True:
    run.save(sys.argv[1])
"""


def killed(process: subprocess.Popen[str], when: Callable[[], bool]) -> None:
    """Kill a process without warning once it has come so far."""
    deadline = time.monotonic() + 60
    try:
        while not when():
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, "it did not come so far"
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def started(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_writer_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"

    def in_the_middle() -> bool:
        return any(p.stat().st_size > 20_000_000 for p in tmp_path.glob(".run.npz.*"))

    killed(started(WRITER, str(path)), in_the_middle)
    assert any(tmp_path.glob(".run.npz.*"))  # half of the new one
    loaded = mg.load(path)
    assert (loaded.iteration, len(loaded.record), loaded.stopped) == (5, 6, "steps")


TRAINER = """
import sys, cases
from metagd_nb.training.drivers import drive
drive(cases.prepared("maml", steps=10**7, checkpoint=sys.argv[1], checkpoint_every=0.05))
"""


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    process = started(TRAINER, str(path))
    seen: set[int] = set()

    def written_often() -> bool:
        if path.exists():
            seen.add(path.stat().st_ino)
        return len(seen) > 2

    killed(process, written_often)
    loaded = mg.load(path)
    assert (loaded.stopped, loaded.loop.paused) == (None, True)
    reached = loaded.iteration
    loaded.resume(steps=reached + 30)
    loaded.wait()
    cases.assert_same(cases.trained("maml", steps=reached + 30), loaded)


def test_checkpoints_are_written_in_time_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    written: list[tuple[float, int]] = []

    def tick() -> float:
        now[0] += 0.25  # each look at the clock
        return now[0]

    monkeypatch.setattr(driving.time, "perf_counter", tick)
    run = cases.prepared("gd", steps=400, checkpoint=str(tmp_path / "run.npz"), checkpoint_every=60.0)

    def noted(*arguments: Any, **more: Any) -> None:
        written.append((now[0], run.iteration))
        write_run(*arguments, **more)

    monkeypatch.setattr(checkpoint, "write_run", noted)
    drive(run)
    assert written[-1][1] == 400
    gaps = np.diff([0.0, *(moment for moment, _ in written[:-1])])
    assert len(gaps) >= 3
    assert ((gaps >= 60) & (gaps < 63)).all()
    assert mg.load(tmp_path / "run.npz").stopped == "steps"


def test_a_path_in_a_file_is_not_written_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    victim = tmp_path / "victim"
    cases.trained("gd", steps=4, checkpoint=str(victim)).save(tmp_path / "run.npz")
    victim.write_text("mine")
    for goes_on in ({}, {"checkpoint": str(tmp_path / "mine.npz"), "checkpoint_every": 0.0}):
        loaded = mg.load(tmp_path / "run.npz")
        loaded.resume(steps=8, **goes_on)
        loaded.wait()
        loaded.replay()
        assert loaded.note is None
        assert victim.read_text() == "mine"
        assert loaded.events[-1].value == {"steps": 8}
        said = "metagd: no checkpoints are written; to write them again: resume(…, checkpoint=FILE)"
        assert caplog.messages.count(said) == (not goes_on)
        caplog.clear()
    assert mg.load(tmp_path / "mine.npz").iteration == 8
    again = mg.load(tmp_path / "mine.npz")
    again.save(tmp_path / "run.npz")
    assert b"victim" not in (tmp_path / "run.npz").read_bytes()


def test_a_path_in_a_file_is_not_read(tmp_path: Path) -> None:
    names = np.array([f"{i // 5}/{i}" for i in range(30)])
    bits = np.random.default_rng(0).integers(0, 256, (600, 98), np.uint8)
    np.savez(tmp_path / "images.npz", bits=bits, names=names)
    tasks = mg.omniglot(tmp_path / "images.npz", ways=2, train=20)
    run = mg.train("protonet", model=mg.mlp(784, 4), tasks=tasks, shots=1, queries=1, steps=2)
    run.save(tmp_path / "run.npz")
    loaded = mg.load(tmp_path / "run.npz")
    with pytest.raises(MetagdError, match="tasks is not in"):
        loaded.replay()
    same(run, loaded.replay(tasks=tasks))


def test_without_a_file_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cases.trained("gd", checkpoint_every=0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_does_not_cost_the_training(tmp_path: Path) -> None:
    run = cases.trained("gd", checkpoint=str(tmp_path), checkpoint_every=0.0)
    assert run.stopped == "steps"
    assert run.note is not None
    assert run.note.startswith("no checkpoint: ")
    assert run.note.endswith("training goes on")


def test_a_replay_writes_no_checkpoint(tmp_path: Path) -> None:
    run = cases.trained("gd", checkpoint=str(tmp_path / "run.npz"))
    (tmp_path / "run.npz").unlink()
    same(run, run.replay())
    assert list(tmp_path.iterdir()) == []
