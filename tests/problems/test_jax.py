"""Source (c): the same methods on JAX, compiled in chunks, met step by step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from cases import METHODS, assert_same, deterministic, fitting, heaps, options, prepared, table

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.core.errors import MetagdError
from metagd_nb.problems.closed_form.least_squares import LeastSquares
from metagd_nb.tasks import Batch
from metagd_nb.training import backend_choice
from metagd_nb.training.adaptation import held_out_panel
from metagd_nb.training.drivers import background, drive
from metagd_nb.training.persistence.state import capture, restore
from metagd_nb.training.run import Run

jax = pytest.importorskip("jax")

from metagd_nb.problems.jax.problems import JaxSquares  # noqa: E402 — needs JAX
from metagd_nb.training.executors.jax import UncompiledExecutor  # noqa: E402 — needs JAX
from metagd_nb.training.executors.jax_chunks import ChunkedExecutor, LazySnapshot  # noqa: E402

pytestmark = pytest.mark.slow  # compiles

# Their own arithmetic asks for values: SciPy's line search.
ONE_BY_ONE = [name for name, kind in ALGORITHMS.items() if not kind.compiles]


# ---- the same run as on NumPy ---------------------------------------------------------------------------------------


def assert_alike(ours: Run, numpys: Run, rtol: float = 1e-10) -> None:
    """Equal rows, parameters and ends, but for rounding."""
    assert ours.loop.error is None
    assert numpys.loop.error is None
    assert len(ours.record) == len(numpys.record)
    for (name, left), (_, right) in zip(deterministic(ours), deterministic(numpys), strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=rtol * np.abs(right).max(), err_msg=name)
    scale = np.abs(numpys.loop.snapshot.theta).max()
    np.testing.assert_allclose(ours.loop.snapshot.theta, numpys.loop.snapshot.theta, rtol=rtol, atol=rtol * scale)
    assert ours.stopped == numpys.stopped


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_as_on_numpy(method: str) -> None:
    ours, numpys = (drive(prepared(method, steps=60, backend=backend)) for backend in ("jax", "numpy"))
    assert_alike(ours, numpys)
    assert isinstance(ours.loop.executor, UncompiledExecutor if method in ONE_BY_ONE else ChunkedExecutor)
    assert (ours.note is not None) == (method in ONE_BY_ONE)


def both(method: str, **given: Any) -> tuple[Run, Run]:
    """The same run on JAX and on NumPy."""
    more = fitting(method, options(method) | {"inner_steps": 1, "steps": 60, "horizon": 3})
    ours, numpys = (drive(mg.prepare(method, **(more | given | {"backend": b}))) for b in ("jax", "numpy"))
    return ours, numpys


def crooked(prediction, target):  # type: ignore[no-untyped-def]
    return np.mean(np.log(np.cosh(prediction - target))) + 0.1 * np.mean(prediction**4) ** 0.5


def two_layers(params, x):  # type: ignore[no-untyped-def]
    h = np.tanh(np.dot(x, params["W0"]) + params["b0"])
    return h.dot(params["W1"]) + params["b1"]


# Every method is run on nets above; here the kinds, by a method with Hessian·vectors and one without.
KINDS = [(name, kind) for kind in ("quadratics", "user's model", "user's loss") for name in ("meta-sgd", "reptile")]


@pytest.mark.parametrize(("method", "kind"), KINDS)
def test_meta_learning_from_every_kind_of_problem(method: str, kind: str) -> None:
    net = mg.mlp(1, 3, 1, activation="tanh")
    if kind == "quadratics":
        rng = np.random.default_rng(0)
        a = rng.standard_normal((5, 3, 3))
        given: dict[str, Any] = {
            "tasks": mg.quadratics(a @ a.transpose(0, 2, 1) + np.eye(3), rng.standard_normal((5, 3)))
        }
    elif kind == "user's loss":
        given = {"tasks": mg.sinusoid(), "model": net, "loss": crooked}
    else:
        start = net.layout.views(net.start(np.random.default_rng(0)))
        given = {"tasks": mg.sinusoid(), "model": two_layers, "params": start, "loss": crooked}
    assert_alike(*both(method, **given))


@pytest.mark.parametrize("kinds", ["learned", "told"])
def test_a_start_for_each_kind(kinds: str) -> None:
    tasks = mg.mixed("sinusoid", "line")
    given: dict[str, Any] = {"tasks": tasks, "model": mg.mlp(1, 4, 1, activation="tanh"), "meta_lr": 0.01}
    ours, numpys = both("multimodal", kinds=kinds, **given)
    assert isinstance(ours.loop.executor, ChunkedExecutor)
    assert np.abs(numpys.learned["starts"][0] - numpys.learned["starts"][1]).max() > 0.01
    assert_alike(ours, numpys)


def test_a_learned_optimizer_of_another_form() -> None:
    net = mg.mlp(1, 3, 1, activation="tanh")
    start = net.layout.views(net.start(np.random.default_rng(0)))
    given = {"cell": "linear", "query_loss": "last", "learn_start": "yes", "inner_steps": 3, "inner_lr": 0.05}
    assert_alike(*both("l2l", tasks=mg.sinusoid(), model=two_layers, params=start, **given))


def squashed(params, x):  # type: ignore[no-untyped-def]
    return np.tanh(np.dot(x, params["W0"]) + params["b0"])


def hinge(prediction, target):  # type: ignore[no-untyped-def]
    return np.mean(np.log(1 + np.exp(-prediction * (2 * target - 1))))


@pytest.mark.parametrize("kind", ["user's model", "user's loss"])
def test_prototypes_from_every_kind_of_problem(kind: str) -> None:
    given: dict[str, Any] = {"tasks": mg.episodes(*heaps(), ways=3), "meta_batch_size": 3}
    if kind == "user's model":
        given |= {"model": squashed, "params": {"W0": np.linspace(-1, 1, 8).reshape(2, 4), "b0": np.zeros(4)}}
    else:
        given |= {"model": mg.mlp(2, 4, 3), "loss": hinge}
    ours, numpys = both("protonet", meta_lr=0.01, **given)
    assert_alike(ours, numpys)
    scores = [run.evaluate(n_tasks=20, seed=3).mean for run in (ours, numpys)]
    np.testing.assert_allclose(*scores, rtol=1e-9)
    x, y = heaps()
    np.testing.assert_array_equal(*(run.adapt(x, y)(x[::7]) for run in (ours, numpys)))


def test_a_class_without_an_example_is_told_on_jax_too() -> None:
    tasks = mg.groups(np.ones((40, 2)), ["a", "b", "c", "a"] * 10, np.repeat([1, 2], 20))
    run = drive(prepared("protonet", tasks=tasks, shots=1, backend="jax"))
    assert run.stopped == "failed"
    assert "no example of some class" in str(run.note)


X, Y = table()
RNG = np.random.default_rng(0)


def logistic(w, b):  # type: ignore[no-untyped-def]
    z = X.dot(w) + b
    return np.mean(np.log(1 + np.exp(-np.sign(Y[:, 0]) * z))) + 0.01 * np.linalg.norm(w) ** 2


def logistic_gradient(w, b):  # type: ignore[no-untyped-def]
    s = np.sign(Y[:, 0])
    weight = -s / (1 + np.exp(s * (X @ w + b))) / len(X)
    return weight @ X + 0.02 * w, np.sum(weight)


@pytest.mark.parametrize("method", ["adam", "unroll"])  # without Hessian·vectors and with them
@pytest.mark.parametrize("kind", ["least squares", "net", "loss", "loss and gradient"])
def test_descent_from_every_kind_of_problem(method: str, kind: str) -> None:
    start = {"w": np.zeros(3), "b": 0.0}
    given: dict[str, dict[str, Any]] = {
        "least squares": {"model": mg.linear(3), "x": X, "y": Y},
        "net": {"model": mg.mlp(3, 4, 1), "x": X, "y": Y},
        "loss": {"loss": logistic, "params": start},
        "loss and gradient": {"loss": logistic, "params": start, "gradient": logistic_gradient},
    }
    assert_alike(*both(method, **given[kind]))


def test_float32_is_honoured() -> None:
    ours, numpys = both("maml", tasks=mg.sinusoid(), model=mg.mlp(1, 8, 1), dtype="float32")
    assert ours.loop.theta.dtype == np.float32
    assert_alike(ours, numpys, rtol=1e-4)
    assert np.float32(ours.record["loss"][5]) == ours.record["loss"][5]


@pytest.mark.parametrize("model", ["relu", "norm"])
def test_other_nets(model: str) -> None:
    net = mg.mlp(1, 6, 1) if model == "relu" else mg.mlp(1, 6, 1, norm="batch")
    assert_alike(*both("maml", tasks=mg.sinusoid(), model=net))


def test_a_convolutional_net_with_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 64)), np.repeat(list("abcd"), 10)
    net = mg.conv(3, side=8, filters=2, blocks=2)
    assert_alike(*both("maml", tasks=mg.episodes(x, y, ways=3), model=net, shots=2, queries=2, steps=10))


@pytest.mark.parametrize(
    ("method", "net"),
    [
        ("maml", mg.mlp(2, 5, 3, norm="batch", activation="tanh")),
        ("cavia", mg.mlp(2, 5, 3, context=2, activation="tanh")),
        ("anil", mg.conv(3, side=2, channels=1, filters=4, blocks=2)),
    ],
    ids=["norm", "context", "conv"],
)
def test_classes_and_nets_that_are_not_plain(method: str, net: Any) -> None:
    x, y = heaps()
    x = np.concatenate([x, x[:, ::-1]], axis=1) if net.inputs == 4 else x
    given: dict[str, Any] = {"model": net, "tasks": mg.episodes(x, y, ways=3), "shots": 3, "queries": 2}
    given |= {"adapted": "context"} if method == "cavia" else {}
    assert_alike(*both(method, **given, steps=20))


# ---- a chunk met step by step ---------------------------------------------------------------------------------------


def small(**given: Any) -> Run:
    return prepared("maml", **({"backend": "jax", "steps": 90} | given))


def test_parameters_within_a_chunk_are_those_of_their_row() -> None:
    chunked, stepped = small(), small()
    seen = []
    while chunked.stopped is None:
        chunked.loop.advance()
        if chunked.iteration in (7, 8, 33):
            assert isinstance(chunked.loop.snapshot, LazySnapshot)
            seen.append(chunked.loop.snapshot.theta.copy())
    assert chunked.loop.executor._quick > 1  # type: ignore[attr-defined]  # or there was no chunk to be within
    found = []
    for _ in range(34):
        stepped.loop.executor._quick = 1  # type: ignore[attr-defined]
        stepped.loop.advance()
        if stepped.iteration in (7, 8, 33):
            found.append(stepped.loop.theta.copy())
    np.testing.assert_array_equal(seen, found)
    np.testing.assert_array_equal(stepped.record["loss"], chunked.record["loss"][:34])


def test_a_first_chunk_of_several_steps_stays_for_one_look_alone() -> None:
    run = small(steps=9)
    run.loop.executor._quick = 5  # type: ignore[attr-defined]
    assert_alike(drive(run), drive(small(steps=9, backend="numpy")))


def test_nothing_is_drawn_that_no_step_needs() -> None:
    run, asked = small(steps=9), list[int]()
    engine: Any = run.loop.executor
    batches = engine.plan.batches
    engine.plan = engine.plan._replace(batches=lambda step: asked.append(step) or batches(step))
    engine._quick = 500
    drive(run)
    assert asked == list(range(10))


def test_least_squares_knows_the_slope_where_it_measures_from() -> None:
    """Rounding as a rule; here so large that nobody can overlook it."""
    rng, problems = np.random.default_rng(0), list[Any]()
    batch = Batch(rng.standard_normal((1, 30, 2)), rng.standard_normal((1, 30, 1)))
    for kind in (JaxSquares, LeastSquares):
        problems.append(kind(mg.linear(2), batch))
        problems[-1].slack = np.array([0.3, -0.2, 0.5])
    phi = rng.standard_normal(3)
    ours, theirs = problems
    loss = ours.task_loss(ours.layout.views(phi), None, None)
    np.testing.assert_allclose(loss, theirs.linearize(phi).loss[0], rtol=1e-5)


def test_a_rate_set_within_a_chunk_acts_on_the_next_step_and_compiles_nothing(monkeypatch: Any) -> None:
    runs = {backend: small(backend=backend) for backend in ("jax", "numpy")}
    monkeypatch.setattr(
        "metagd_nb.training.executors.jax_program.CompiledStep.__init__", None
    )  # another program could not be made
    for run in runs.values():
        while run.iteration < 41:
            run.loop.advance()
        run.loop.request("set", {"inner_lr": 0.05, "meta_lr": 0.002})
        run.loop.handle_requests()
        drive(run)
    assert_alike(runs["jax"], runs["numpy"])
    assert [(e.step, e.kind) for e in runs["jax"].events] == [(41, "set")]
    assert runs["jax"].record["inner_lr"][41:43].tolist() == [0.02, 0.05]
    assert_same(runs["jax"].replay(), runs["jax"])


@pytest.mark.parametrize(
    ("method", "changed"), [("hd", {"lr": 0.02}), ("meta-sgd", {"inner_lr": 0.03}), ("unroll", {"hyper_lr": 1e-4})]
)
def test_learned_rates_go_on_from_where_they_were_set(method: str, changed: dict[str, float]) -> None:
    runs = {backend: prepared(method, backend=backend, steps=50) for backend in ("jax", "numpy")}
    for run in runs.values():
        while run.iteration < 20:
            run.loop.advance()
        run.loop.request("set", changed)
        run.loop.handle_requests()
        assert run.rates[next(iter(changed))] == pytest.approx(next(iter(changed.values())))
        drive(run)
    assert_alike(runs["jax"], runs["numpy"])
    assert_same(runs["jax"].replay(), runs["jax"])


def test_a_rate_that_becomes_several() -> None:
    runs = {backend: small(backend=backend, steps=30) for backend in ("jax", "numpy")}
    for run in runs.values():
        while run.iteration < 10:
            run.loop.advance()
        run.loop.request("set", {"inner_lr": tuple(np.linspace(0, 0.05, run.plan.problem.layout.size))})
        run.loop.handle_requests()
        drive(run)
    assert_alike(runs["jax"], runs["numpy"])


def test_pause_step_and_stop_hold_at_their_step() -> None:
    run = background(small(steps=100_000))
    while run.iteration < 150:
        pass
    run.pause()
    at = run.iteration
    held = run.loop.snapshot
    assert len(run.record) == at + 1
    assert held.step == at
    run.step(3)
    assert run.iteration == at + 3
    run.stop()
    assert run.stopped == "user"
    assert run.iteration == at + 3
    alone = small(steps=at + 3)
    np.testing.assert_array_equal(drive(alone).loop.snapshot.theta, run.loop.snapshot.theta)
    assert_same(run.replay(), run)


@pytest.mark.parametrize(
    "stop", [{"loss_below": 2.5}, {"grad_below": 1.5}, {"patience": 9}, {"steps": 37}], ids=lambda s: next(iter(s))
)
def test_runs_end_at_the_same_step_as_on_numpy(stop: dict[str, Any]) -> None:
    ours, numpys = (small(**({"steps": 400, "backend": b} | stop)) for b in ("jax", "numpy"))
    assert_alike(drive(ours), drive(numpys))
    assert ours.stopped == next(iter(stop)).replace("_", "-")
    assert ours.iteration < 400


def test_divergence_keeps_the_best_parameters() -> None:
    ours, numpys = both("gd", model=mg.linear(3), x=X, y=Y, lr=3.0, steps=400)
    assert ours.stopped == "diverged"
    assert ours.note == numpys.note
    assert_alike(ours, numpys)


def test_time_is_told_by_the_row_and_ends_a_run() -> None:
    run = drive(small(steps=10_000_000, seconds=0.3))
    assert run.stopped == "seconds"
    seconds = run.record["seconds"]
    assert (np.diff(seconds) > 0).all()
    assert seconds[-1] >= 0.3 > seconds[-2]
    assert_same(run.replay(), run)


def test_what_a_method_refuses_is_said_in_words() -> None:
    run = drive(prepared("imaml", lam=1e-3, inner_lr=0.02, cg_tol=0.0, negative_curvature="refuse", backend="jax"))
    assert run.stopped == "failed"
    assert "is too weak: the loss curves down" in str(run.note)


@pytest.mark.parametrize("method", ["maml", "hd", "imaml"])
def test_replay_to_the_bit(method: str) -> None:
    run = drive(prepared(method, backend="jax", steps=40))
    assert_same(run.replay(), run)


def test_runs_of_one_kind_share_a_program() -> None:
    first, second = small(), small(inner_lr=0.03, seed=7)
    assert first.loop.executor._program is second.loop.executor._program  # type: ignore[attr-defined]
    other = small(inner_steps=1)
    assert other.loop.executor._program is not first.loop.executor._program  # type: ignore[attr-defined]


# ---- results --------------------------------------------------------------------------------------------------------


def test_evaluate_adapt_and_panel() -> None:
    ours, numpys = (drive(small(backend=b, steps=5)) for b in ("jax", "numpy"))
    scores = [run.evaluate(n_tasks=20, steps=2, seed=3) for run in (ours, numpys)]
    np.testing.assert_allclose(scores[0].mean, scores[1].mean, rtol=1e-10)
    adapted = [run.adapt([0.0, 1.0, 2.0], [0.5, 1.0, -1.0])(np.arange(4.0)) for run in (ours, numpys)]
    np.testing.assert_allclose(*adapted, rtol=1e-10)
    panels = [held_out_panel(run.loop) for run in (ours, numpys)]
    assert panels[0] is not None
    assert panels[1] is not None
    np.testing.assert_allclose(panels[0].after, panels[1].after, rtol=1e-10)


def test_a_model_written_for_jax_itself() -> None:
    import jax.numpy as jnp

    def model(params, x):  # type: ignore[no-untyped-def]
        return jnp.tanh(x @ params["w"]) @ params["v"]

    start = {"w": np.linspace(-1, 1, 4)[None], "v": np.ones((4, 1))}
    run = mg.train("maml", model=model, params=start, tasks=mg.sinusoid(), steps=5, backend="jax", inner_steps=1)
    assert run.loop.theta.dtype == np.float64
    predict = run.adapt([0.0, 1.0], [0.0, 1.0])
    assert predict([0.5]).dtype == np.float64
    by_hand = mg.train(
        "maml", model=lambda p, x: np.tanh(x @ p["w"]) @ p["v"], params=start, tasks=mg.sinusoid(), steps=5
    )
    np.testing.assert_allclose(run.record["loss"], by_hand.record["loss"], rtol=1e-10)


def test_parameters_reach_a_model_in_the_order_in_which_they_were_given() -> None:
    def model(params, x):  # type: ignore[no-untyped-def]
        first, second = params.values()
        return np.tanh(x @ first) @ second

    start = {"z": np.linspace(-1, 1, 4)[None], "a": np.ones((4, 1))}
    assert_alike(*both("fomaml", model=model, params=start, tasks=mg.sinusoid()))


# ---- the user's own JAX ---------------------------------------------------------------------------------------------


def test_the_users_settings_are_not_touched() -> None:
    before = {name: getattr(jax.config, name) for name in dir(jax.config) if name.startswith("jax_")}
    seen: list[Any] = []
    run = background(small(steps=3000))
    while run.loop.running:
        seen.append(jax.numpy.ones(2).dtype)  # in this thread, while the other computes in float64
    run.wait()
    run.evaluate(n_tasks=5)
    assert run.loop.theta.dtype == np.float64
    assert set(seen) == {np.dtype("float32")}
    assert {name: getattr(jax.config, name) for name in before} == before
    assert jax.numpy.ones(2).dtype == np.float32


def test_a_user_in_float64_gets_float32_where_they_ask_for_it() -> None:
    from metagd_nb.problems.jax import precise

    with precise("float64"):  # as if they had enabled it
        run = drive(small(dtype="float32", steps=3))
        assert run.loop.theta.dtype == np.float32
        assert jax.numpy.ones(2).dtype == np.float64


def test_float32_is_float32_within_the_users_function_too() -> None:
    """What it reads is float64; a run in float32 must not compute in float64 where the two meet."""
    seen = []

    def loss(w):  # type: ignore[no-untyped-def]
        off = X @ w - Y[:, 0]
        if isinstance(off, jax.core.Tracer):
            seen.append(off.dtype)
        return np.mean(off**2)

    run = mg.train("gd", loss=loss, params={"w": np.zeros(3)}, backend="jax", dtype="float32", steps=2)
    assert run.loop.theta.dtype == np.float32
    assert len(seen) > 1
    assert set(seen) == {np.dtype("float32")}


def test_two_runs_at_once_do_not_cross() -> None:
    alone = {dtype: drive(small(dtype=dtype)) for dtype in ("float32", "float64")}
    runs = {dtype: small(dtype=dtype) for dtype in alone}
    threads = [threading.Thread(target=drive, args=(run,)) for run in runs.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for dtype, run in runs.items():
        assert_same(run, alone[dtype])


# ---- what JAX cannot follow -----------------------------------------------------------------------------------------


def branching(w):  # type: ignore[no-untyped-def]
    if w[0] > 0:
        return np.sum(w**2)
    return np.sum(w**4)


def in_place(w):  # type: ignore[no-untyped-def]
    total = np.zeros(2)
    total[0] = w[0]
    return np.sum(total**2)


def by_math(w):  # type: ignore[no-untyped-def]
    import math

    return math.sqrt(w[0])


def with_float(w):  # type: ignore[no-untyped-def]
    return float(w[0]) ** 2


def users_mistake(w):  # type: ignore[no-untyped-def]
    return np.sum(w) + undefined_name  # noqa: F821


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (branching, r"^JAX cannot follow a choice by a value .*line \d+: if w\[0\] > 0.*np.where, or --backend numpy"),
        (in_place, r"^loss assigns into an array in place \(line \d+: total\[0\] = w\[0\]\)"),
        (by_math, r"^JAX cannot follow math.sqrt in loss \(line \d+.*use np.sqrt"),
        (with_float, r"^JAX cannot make a plain number of one that is being learned \(line \d+: return float"),
        (lambda w: w, r"^loss returns an array of shape \(2,\)"),
        (lambda w: RNG.standard_normal() * np.sum(w), r"inside the loss \(line \d+\) makes it another function"),
        (lambda w: np.sum(np.floor(w)), r"does not depend on w"),
    ],
)
def test_one_line_for_what_cannot_be_followed(loss: Any, words: str) -> None:
    with pytest.raises(MetagdError, match=words) as caught:
        mg.prepare("gd", loss=loss, params={"w": np.array([1.0, 2.0])}, backend="jax")
    assert "\n" not in str(caught.value)


def test_an_error_of_the_users_is_their_own() -> None:
    with pytest.raises(NameError, match="undefined_name"):
        mg.prepare("gd", loss=users_mistake, params={"w": np.ones(2)}, backend="jax")


def test_a_model_that_does_not_fit_is_refused() -> None:
    given: dict[str, Any] = {"params": {"w": np.ones((1, 2))}, "tasks": mg.sinusoid(), "backend": "jax"}
    with pytest.raises(MetagdError, match=r"gives shape \(10, 2\) for targets of shape \(10, 1\)"):
        mg.prepare("maml", model=lambda p, x: x @ p["w"], **given)


def test_auto_takes_jax_where_it_pays_off(monkeypatch: Any) -> None:
    def taken(method: str, **given: Any) -> str:
        run = mg.prepare(method, **({"backend": "auto"} | given))
        return run.plan.settings.backend

    own: dict[str, Any] = {"loss": lambda w: np.sum((w - 1) ** 2), "params": {"w": np.zeros(3)}}
    net: dict[str, Any] = {"tasks": mg.sinusoid(), "model": mg.mlp(1, 5, 1)}
    assert taken("gd", **own, steps=1000) == "numpy"  # compiling would take longer than the run
    assert taken("gd", **own, steps=100_000) == "jax"
    assert taken("lbfgs", **own, steps=100_000) == "numpy"
    assert taken("gd", loss=branching, params={"w": np.ones(2)}, steps=100_000) == "numpy"  # JAX cannot follow it
    assert taken("maml", **net, steps=1000) == "numpy"
    assert taken("maml", **net, steps=100_000) == "jax"
    assert taken("maml", **net | {"model": mg.mlp(1, 80, 80, 1)}, steps=100_000) == "numpy"  # large arrays
    assert taken("maml", **net, loss=crooked, steps=5000) == "jax"  # which NumPy would call task by task
    monkeypatch.setattr(backend_choice, "has_jax", lambda: False)
    assert taken("gd", **own, steps=100_000) == "numpy"


def test_without_jax_one_line(monkeypatch: Any) -> None:
    monkeypatch.setattr(backend_choice, "has_jax", lambda: False)
    with pytest.raises(MetagdError, match=r"backend: 'jax' is not installed here; pip install 'metagd-nb\[jax\]'"):
        small()


def test_numpy_needs_no_jax() -> None:
    code = (
        "import sys; sys.modules['jax'] = None\nimport metagd_nb as mg\n"
        "run = mg.train('maml', model=mg.mlp(1, 4, 1), tasks=mg.sinusoid(), steps=3)\n"
        "try:\n    import metagd_nb.training.executors.jax\n"
        "except mg.MetagdError as error:\n    print(run.stopped, str(error).startswith(\"backend: 'jax' is not inst\"))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("steps True", 0), done.stderr


# ---- devices --------------------------------------------------------------------------------------------------------

SPREAD = """
import json, sys
import numpy as np, metagd_nb as mg
import jax
rows = {}
for devices in (1, 2, 4):
    run = mg.prepare("maml", model=mg.mlp(1, 5, 1, activation="tanh"), tasks=mg.sinusoid(), inner_steps=2, steps=25,
                     meta_batch_size=8, backend="jax", devices=devices)
    from metagd_nb.training.drivers import drive
    drive(run)
    held = run.loop.executor._chunk._held if devices == 1 else run.loop.executor._program._placed(
        run.loop.executor._here, np.True_, np.int32(0), {}, run.loop.executor._chunk._held, np.ones(1))[4]
    x = held.support.x
    parts = 1 if devices == 1 else len({s.device for s in x.addressable_shards})
    rows[devices] = [run.record["loss"].tolist(), run.loop.theta.tolist(), parts]
    assert (run.replay().record["loss"] == run.record["loss"]).all()
print(json.dumps(rows))
"""


def test_tasks_are_spread_over_devices() -> None:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", SPREAD], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    for devices in ("2", "4"):
        assert rows[devices][2] == int(devices)
        np.testing.assert_allclose(rows[devices][0], rows["1"][0], rtol=1e-12)
        np.testing.assert_allclose(rows[devices][1], rows["1"][1], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        ("maml", {"devices": 2, "backend": "numpy"}, "devices: 2 need the backend jax"),
        ("maml", {"devices": 64}, r"devices: 64 is more than the \d+ that JAX has here"),
        ("gd", {"devices": 2}, "devices: gd has one task only"),
    ],
)
def test_devices_that_make_no_sense(method: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(MetagdError, match=words):
        prepared(method, **({"backend": "jax"} | given))


def test_a_run_goes_on_from_a_saved_state_within_a_chunk() -> None:
    whole, first, second = small(), small(), small()
    drive(whole)
    while first.iteration < 41:
        first.loop.advance()
    restore(second.loop, capture(first.loop), first.loop.algorithm, first.record)
    drive(second)
    assert_same(second, whole)
