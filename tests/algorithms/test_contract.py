"""What every method promises, for each row of the table."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np
import pytest
from cases import (
    BY_STEPS,
    DESCENT,
    META,
    METHODS,
    arguments,
    assert_same,
    deterministic,
    options,
    prepared,
    trained,
)

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.core.errors import MetagdError
from metagd_nb.core.hyperparameters import Hyperparameter, hyperparameters
from metagd_nb.problems.base import Embedding
from metagd_nb.training.adaptation import held_out_panel
from metagd_nb.training.costs import CountingProblem
from metagd_nb.training.drivers import background, drive
from metagd_nb.training.run import Run
from metagd_nb.training.settings import Settings

# ---- the table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_row_is_described(method: str) -> None:
    kind = ALGORITHMS[method]
    assert kind.setting in ("single", "meta")
    assert kind.source
    first = str(kind.__doc__).splitlines()[0]
    assert first.strip()
    assert dataclasses.is_dataclass(kind)
    fields = {f.name for f in dataclasses.fields(kind) if f.init and f.repr}  # the others: what `bind` keeps
    assert set(hyperparameters(kind)) == fields  # every field is declared, every declaration is a field
    assert kind.live_rates()
    for declared in hyperparameters(kind).values():
        assert declared.help
        assert declared.check(declared.default) == declared.default


# ---- same in, same out --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_record(method: str) -> None:
    assert_same(trained(method, seed=4), trained(method, seed=4))


@pytest.mark.parametrize("method", META)
def test_another_seed_another_start_and_other_tasks(method: str) -> None:
    a, b = trained(method, seed=4), trained(method, seed=5)
    assert (a.record["loss"] != b.record["loss"]).all()
    assert not np.array_equal(prepared(method, seed=4).loop.theta, prepared(method, seed=5).loop.theta)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_handed_over_stays_as_it_was(method: str) -> None:
    given = arguments(method)
    arrays = {name: value.copy() for name, value in given.items() if isinstance(value, np.ndarray)}
    for value in given.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    drive(mg.prepare(method, **given, **options(method), steps=5))
    for name, before in arrays.items():
        np.testing.assert_array_equal(given[name], before)


@pytest.mark.parametrize("method", DESCENT)
def test_starting_values_stay_as_they_were(method: str) -> None:
    w, b = np.array([1.0, 2.0]), np.array(3.0)

    def loss(w, b):  # type: ignore[no-untyped-def]
        return np.sum((w - 1) ** 2) + b**2

    run = mg.train(method, loss=loss, params={"w": w, "b": b}, steps=5)
    np.testing.assert_array_equal(w, [1.0, 2.0])
    assert b == 3.0
    assert not np.shares_memory(run.params["w"], w)
    run.params["w"][:] = 99.0  # a copy: the run keeps its own
    assert (run.params["w"] != 99.0).all()


@pytest.mark.parametrize("method", BY_STEPS)
def test_quadratic_tasks_stay_as_they_were(method: str) -> None:
    a, c = np.array([1.0, 3.0]), np.array([[0.0], [1.0]])
    family = mg.quadratics(a, c)
    kept = family.a.copy(), family.c.copy()
    mg.train(method, tasks=family, steps=5, **({"adapted": "theta"} if method == "cavia" else {}))
    np.testing.assert_array_equal(family.a, kept[0])
    np.testing.assert_array_equal(family.c, kept[1])
    np.testing.assert_array_equal(c, [[0.0], [1.0]])


@pytest.mark.parametrize("method", METHODS)
def test_look_and_move_change_nothing_in_place(method: str) -> None:
    """State is plain and never written into: looking or moving twice gives the same."""
    run = prepared(method)
    for _ in range(3):
        run.loop.advance()
    algorithm, look, theta = run.loop.algorithm, run.loop.executor.evaluation, run.loop.theta
    assert look is not None
    for array in (theta, look.grad, *[p for p in look.state if isinstance(p, np.ndarray)]):
        array.flags.writeable = False
    (first, state), (second, again) = (algorithm.update(theta, look) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert repr(state) == repr(again)
    one, other = (algorithm.evaluate(run.plan.problem, first, state, run.plan.batches(3)) for _ in range(2))
    assert one.loss == other.loss
    np.testing.assert_array_equal(one.grad, other.grad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", METHODS)
def test_precision_is_kept(method: str, dtype: str) -> None:
    run = trained(method, dtype=dtype)
    assert run.loop.theta.dtype == dtype
    assert all(values.dtype == dtype for values in run.params.values())


# ---- replay -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_replay_of_a_plain_run(method: str) -> None:
    run = trained(method)
    assert_same(run.replay(), run)


def halved(run: Run) -> dict[str, float]:
    return {name: value / 2 for name, value in run.rates.items()}


@pytest.mark.parametrize("method", METHODS)
def test_replay_with_rates_set_while_paused(method: str) -> None:
    run = prepared(method, steps=40)
    run.step(7)
    run.set(**halved(run))
    run.step(5)
    name = run.loop.algorithm.live_rates()[0]
    run.set(**{name: 0.005})
    run.set(**{name: 0.007})  # twice at one step: the last counts
    run.resume()
    drive(run)
    assert run.iteration == 40
    assert [(e.step, e.kind) for e in run.events if e.kind == "set"] == [(7, "set"), (12, "set"), (12, "set")]
    again = run.replay()
    assert_same(again, run)
    assert again.events == run.events
    assert_same(again.replay(), run)
    plain = trained(method, steps=40)
    assert not np.array_equal(plain.record["loss"], run.record["loss"])
    np.testing.assert_array_equal(plain.record["loss"][:8], run.record["loss"][:8])


@pytest.mark.parametrize("method", METHODS)
def test_a_rate_set_acts_on_the_next_step(method: str) -> None:
    """Row t shows the rate that row t's own step will use; a set after row t shows from the next row on."""
    run = prepared(method, steps=20)
    run.step(3)
    name = run.loop.algorithm.live_rates()[-1 if method in META else 0]
    before = run.record[name].copy()
    run.set(**{name: 0.0})
    stood = run.loop.theta.copy()
    run.step(2)
    np.testing.assert_array_equal(run.record[name][:4], before)
    if method not in ("hd", "unroll"):  # whose rate moves on by itself
        assert (run.record[name][4:] == 0).all()
        np.testing.assert_array_equal(run.loop.theta, stood)  # a rate of zero moves nothing
    assert run.rates[name] == run.record[name][-1]


def test_a_rate_that_learns_goes_on_from_where_it_was_set() -> None:
    run = prepared("hd", steps=20)
    run.step(3)
    run.set(lr=0.004, hyper_lr=0.0)
    assert run.rates == {"lr": 0.004, "hyper_lr": 0.0}
    before, grad = run.loop.theta.copy(), run.loop.executor.evaluation.grad.copy()  # type: ignore[union-attr]
    run.step(2)
    assert run.record["lr"][4:].tolist() == [0.004, 0.004]
    run.set(hyper_lr=1e-4)  # the rate itself stays
    run.step(1)
    assert 0 < abs(run.record["lr"][-1] - 0.004) < 0.01
    short = prepared("hd", steps=20)
    short.step(3)
    short.set(lr=0.004)
    short.step(1)
    np.testing.assert_array_equal(short.loop.theta, before - 0.004 * grad)
    assert_same(run.replay(), run)


@pytest.mark.parametrize("method", ["meta-sgd", "unroll"])
def test_learned_rates_go_on_from_where_they_were_set(method: str) -> None:
    run = prepared(method, steps=20, **({"meta_lr": 1e-4} if method == "meta-sgd" else {"hyper_lr": 1e-6}))
    name = run.loop.algorithm.live_rates()[0]
    run.step(3)
    run.set(**{name: 0.0123})
    assert run.rates[name] == pytest.approx(0.0123, rel=1e-12)
    run.step(1)
    assert run.record[name][-1] == pytest.approx(0.0123, abs=2e-4)
    assert run.record[name][-1] != run.record[name][-2]
    assert_same(run.replay(), run)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_learned_shows_a_rate_as_soon_as_it_is_set(method: str) -> None:
    """A pause, a new rate, and a look: `rates`, `learned`, what adapts and what is saved speak of the same."""
    run = prepared(method, steps=20)
    run.step(3)
    before, loss = run.params, run.loss
    run.set(**halved(run))
    learned = run.learned
    for name in set(learned) & set(run.rates):  # an optimizer's weights are learned and no rates
        assert learned[name].mean() == pytest.approx(run.rates[name], rel=1e-12)
    assert all("lr" not in name for name in set(learned) - set(run.rates))
    assert (run.loss, len(run.record)) == (loss, 4)  # neither moves before the next step
    for name, array in before.items():
        np.testing.assert_array_equal(array, run.params[name])
    again = run.replay()
    for name, several in learned.items():
        np.testing.assert_array_equal(several, again.learned[name])
    assert again.rates == run.rates
    assert again.step(2) is run.step(2) is None
    assert_same(again, run)


def test_a_learned_rate_that_was_set_is_what_adapts() -> None:
    run = prepared("meta-sgd", steps=20)
    run.step(3)
    run.set(inner_lr=0.0)
    assert not run.learned["inner_lr"].any()
    found = run.evaluate(steps=1, n_tasks=7)
    np.testing.assert_array_equal(found.mean[0], found.mean[1])  # a rate of zero does not adapt


@pytest.mark.parametrize("method", [method for method in METHODS if method != "lbfgs"])  # it soon ends by itself
def test_replay_of_a_background_run_with_hands_on_it(method: str) -> None:
    run = background(prepared(method, steps=1_000_000))
    for _ in range(3):
        time.sleep(0.01)
        run.loop.request("set", halved(run))
    run.pause()
    held = len(run.record)
    time.sleep(0.02)
    assert len(run.record) == held
    run.step(4)
    assert len(run.record) == held + 4
    run.set(**halved(run))
    run.resume()
    time.sleep(0.02)
    run.stop()
    assert run.stopped == "user"
    assert [e.kind for e in run.events] == ["set", "set", "set", "pause", "step", "set", "resume", "stop"]
    assert all(a.step <= b.step for a, b in zip(run.events, run.events[1:], strict=False))
    assert_same(run.replay(), run)


def test_replay_of_a_run_stopped_by_time_does_not_look_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained("gd", steps=1_000_000, seconds=0.05)
    assert run.stopped == "seconds"
    real, ticks = time.perf_counter, iter(range(10**9))
    monkeypatch.setattr(time, "perf_counter", lambda: real() + next(ticks))  # a machine that is much slower
    assert_same(run.replay(), run)


def test_replay_of_a_paused_run_and_of_a_diverged_one(caplog: pytest.LogCaptureFixture) -> None:
    run = mg.start("gd", **arguments("gd"), lr=0.05, steps=100_000_000)
    run.pause()
    again = run.replay()
    assert len(again.record) == len(run.record)
    np.testing.assert_array_equal(again.record["loss"], run.record["loss"])
    assert "paused at step" in caplog.text
    run.stop()
    diverged = trained("gd", lr=5.0, steps=1000)
    assert diverged.stopped == "diverged"
    assert_same(diverged.replay(), diverged)
    assert diverged.replay().note == diverged.note


# ---- rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_row_t_is_at_theta_t(method: str) -> None:
    """N steps have N+1 rows, and the parameters of a run of t steps are those of row t of a longer one."""
    whole = trained(method, steps=6)
    assert len(whole.record) == 7
    np.testing.assert_array_equal(whole.record["step"], np.arange(7))
    for steps in (0, 1, 4):
        short = trained(method, steps=steps)
        assert short.loss == whole.record["loss"][steps]
        look = whole.loop.algorithm.evaluate(
            whole.plan.problem, short.loop.theta, short.loop.executor.state, whole.plan.batches(steps)
        )
        assert look.loss == whole.record["loss"][steps]
        if method != "hd":  # looking twice would move its rate on
            np.testing.assert_allclose(np.linalg.norm(look.grad), whole.record["grad_norm"][steps], rtol=1e-12)
    assert whole.loss == whole.record["loss"][-1] == whole.loop.peek()["loss"]
    assert whole.loop.peek()["step"] == whole.iteration == 6


@pytest.mark.parametrize("method", DESCENT)
def test_the_last_row_is_the_loss_at_the_result(method: str) -> None:
    run = trained(method, steps=9)
    given = arguments(method)
    prediction = given["x"] @ run.params["W0"] + run.params["b0"]
    assert run.loss == pytest.approx(np.mean((prediction - given["y"]) ** 2), rel=1e-11)


@pytest.mark.parametrize("method", ["maml", "fomaml"])
def test_the_last_row_is_the_query_loss_at_the_result(method: str) -> None:
    run = trained(method, steps=9)
    batch = run.plan.batches(9)
    theta = run.plan.problem.layout.flatten(run.params)
    phi = theta
    for _ in range(2):
        phi = phi - 0.02 * run.plan.problem.linearize(phi, batch.support).grad
    assert run.loss == pytest.approx(run.plan.problem.linearize(phi, batch.query).loss.mean(), rel=1e-12)


class CountingEmbeddings(CountingProblem):
    """Count features as evaluations too: a method that embeds evaluates no loss."""

    def embed(self, theta: np.ndarray, x: np.ndarray) -> Embedding:
        self.grad_evals += len(x)
        return super().embed(theta, x)


@pytest.mark.parametrize("method", METHODS)
def test_costs_are_counted(method: str) -> None:
    """One a task and evaluation, cumulative; the record and the problem count the same."""
    run = prepared(method, steps=5)
    counting = CountingEmbeddings(run.plan.problem)
    run = drive(Run(run.plan._replace(problem=counting, first=None)))
    assert run.record["hvps"][-1] == counting.hvps
    assert run.record["grad_evals"][-1] == counting.grad_evals
    assert (np.diff(run.record["grad_evals"]) > 0).all()


@pytest.mark.parametrize(
    ("method", "inner_steps", "evaluations", "products"),
    [("maml", 3, 4, 3), ("fomaml", 3, 4, 0), ("maml", 0, 1, 0), ("fomaml", 0, 1, 0)],
)
def test_costs_of_maml(method: str, inner_steps: int, evaluations: int, products: int) -> None:
    run = trained(method, steps=5, inner_steps=inner_steps, meta_batch_size=4)
    np.testing.assert_array_equal(run.record["grad_evals"], 4 * evaluations * np.arange(1, 7))
    np.testing.assert_array_equal(run.record["hvps"], 4 * products * np.arange(1, 7))


@pytest.mark.parametrize("method", [method for method in DESCENT if method != "lbfgs"])  # it searches along lines
def test_costs_of_descent(method: str) -> None:
    run = trained(method, steps=5)
    horizon = getattr(run.loop.algorithm, "horizon", 0)
    np.testing.assert_array_equal(run.record["grad_evals"], (horizon + 1) * np.arange(1, 7))
    np.testing.assert_array_equal(run.record["hvps"], horizon * np.arange(1, 7))


@pytest.mark.parametrize("method", METHODS)
def test_columns(method: str) -> None:
    run = trained(method)
    live = tuple(name for name, one in hyperparameters(ALGORITHMS[method]).items() if one.live)
    assert run.record.columns == ("step", "loss", "grad_norm", "grad_evals", "hvps", "seconds", *live)
    assert tuple(run.rates) == live
    for name, column in deterministic(run):
        assert np.isfinite(column).all(), name


@pytest.mark.parametrize("method", METHODS)
def test_repr_says_the_same_each_time(method: str) -> None:
    a, b = trained(method), trained(method)
    assert repr(a) == repr(b)
    lines = repr(a).splitlines()
    assert lines[0].startswith(f"metagd {method}: ")
    ends = {"lbfgs": f"no lower point can be found after {a.iteration} steps"}
    assert lines[1].startswith("trained: ") == (mg.ALGORITHMS[method].setting == "single")
    lines = [line for line in lines if not line.startswith("trained: ")]
    assert lines[1] == ends.get(method, "all steps done after 12 steps")
    loss = a.record["loss"]
    means = f"loss {loss[:6].mean():.6g} → {loss[-6:].mean():.6g} (means of 6 steps)"
    assert lines[2] == (means if a.loop.sampled else f"loss {loss[0]:.6g} → {a.loss:.6g}")
    assert "0x" not in repr(a)


# ---- refusals -----------------------------------------------------------------------------------------------------


def edges(declared: Hyperparameter) -> tuple[list[Any], list[Any]]:
    """Values just inside and just outside what a declaration allows."""
    if declared.choices:
        return list(declared.choices), [declared.choices[0] + "x", "", 3, None]
    if declared.kind is str:
        return [], [3]
    inside: list[Any] = []
    outside: list[Any] = ["text", math.nan, math.inf, True] + ([] if declared.optional else [None])
    whole = declared.kind is int
    for bound, outwards in ((declared.low, -math.inf), (declared.high, math.inf)):
        if bound is None:
            continue
        beyond = bound + math.copysign(1, outwards) if whole else math.nextafter(bound, outwards)
        within = bound if whole else math.nextafter(bound, -outwards)
        open_end = declared.above and outwards < 0
        inside.append(within if open_end else bound)
        outside += [beyond, bound] if open_end else [beyond]
    return inside, [*outside, 0.5 * (1 + (declared.low or 0))] if whole and not (declared.low or 0) % 2 else outside


SETTINGS = [
    pytest.param(kind, name, declared, id=f"{label}-{name}")
    for label, kind in {**ALGORITHMS, "settings": Settings}.items()
    for name, declared in hyperparameters(kind).items()
]


@pytest.mark.parametrize(("kind", "name", "declared"), SETTINGS)
def test_edges_of_every_setting(kind: Any, name: str, declared: Hyperparameter) -> None:
    inside, outside = edges(declared)
    for value in inside:
        assert getattr(kind(**{name: value}), name) == value
    for value in outside:
        with pytest.raises(MetagdError) as caught:
            kind(**{name: value})
        assert str(caught.value).startswith(f"{name}: ")
        assert caught.value.option == name


BIG = {"steps", "meta_batch_size", "shots", "queries", "inner_steps", "cg_steps", "seed", "patience", "seconds"}


@pytest.mark.parametrize("method", METHODS)
def test_allowed_edges_run(method: str) -> None:
    """An allowed value may diverge; it may not break."""
    for name, declared in hyperparameters(ALGORITHMS[method]).items():
        for value in edges(declared)[0]:
            if name in BIG and value == declared.high:
                continue
            run = trained(method, **{name: value}, steps=4)
            assert run.stopped in ("steps", "diverged"), (name, value, run.note)


@pytest.mark.parametrize("method", METHODS)
def test_live_rates_keep_their_bounds(method: str) -> None:
    run = prepared(method)
    for name in run.loop.algorithm.live_rates():
        declared = hyperparameters(run.loop.algorithm)[name]
        for value in edges(declared)[1]:
            with pytest.raises(MetagdError, match=f"^{name}: "):
                run.set(**{name: value})
    with pytest.raises(MetagdError, match=r"^unknown rate 'steps'"):
        run.set(steps=3)
    with pytest.raises(MetagdError, match=r"^unknown request 'pose'; did you mean 'pause'\?$"):
        run.loop.request("pose")
    assert run.events == []
    assert not len(run.record)


@pytest.mark.parametrize("method", METHODS)
def test_unknown_options_name_the_nearest(method: str) -> None:
    with pytest.raises(MetagdError, match=rf"^unknown option of {method} 'stepz'; did you mean 'steps'\?$"):
        prepared(method, stepz=3)
    with pytest.raises(MetagdError, match=r"^steps: -1 is not allowed; needs a whole number ≥ 0 and ≤ 1,000,000,000$"):
        prepared(method, steps=-1)


def test_unknown_method() -> None:
    with pytest.raises(MetagdError, match=r"^unknown algorithm 'mamal'; did you mean 'maml'\?$"):
        mg.train("mamal")


X, Y = np.ones((4, 3)), np.ones(4)
BAD = np.array([[1.0, 2.0, 3.0], [1.0, np.nan, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, np.inf]])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, r"^loss: gd needs a loss of the parameters, or a model with x and y$"),
        ({"loss": lambda w: w**2}, r"^params: needs a dict of starting values"),
        ({"loss": lambda w: w**2, "params": {}}, r"^params: needs a dict of starting values"),
        ({"model": mg.linear(3)}, r"^x, y: gd with a model needs both x and y$"),
        ({"model": mg.linear(3), "x": X}, r"^x, y: gd with a model needs both"),
        ({"model": mg.linear(3), "x": X, "y": Y[:3]}, r"^x, y: have 4 and 3 rows; need the same number$"),
        ({"model": mg.linear(2), "x": X, "y": Y}, r"^model: linear\(2, .*\) takes 2 inputs, the data have 3$"),
        ({"model": mg.linear(3, 2), "x": X, "y": Y}, r"^model: linear\(3, .*\) gives 2 outputs, the data have 1"),
        ({"model": mg.linear(3), "x": BAD, "y": Y}, r"^x: holds 2 values that are not finite \(first in row 1\)"),
        ({"model": mg.linear(3), "x": X, "y": Y * np.nan}, r"^y: holds 4 values that are not finite"),
        ({"model": mg.linear(3), "x": [["a", "b", "c"]] * 4, "y": Y}, r"^x: holds values that are not numbers$"),
        ({"model": mg.linear(3), "x": [[1, 2], [3]], "y": Y}, r"^x: holds values that are not numbers$"),
        ({"model": mg.linear(3), "x": X * 1j, "y": Y}, r"^x: holds values that are not numbers$"),
        ({"model": mg.linear(3), "x": X[None], "y": Y}, r"^x: has shape \(1, 4, 3\); needs \(n,\) or \(n, D\)"),
        ({"model": mg.linear(3), "x": X[:0], "y": Y[:0]}, r"^x: has shape \(0, 3\)"),
        ({"model": lambda p, x: x, "x": X, "y": Y}, r"^model: .* is not a built-in model"),
    ],
)
def test_what_gd_refuses(given: dict[str, Any], line: str) -> None:
    with pytest.raises(MetagdError, match=line) as caught:
        mg.train("gd", **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"model": mg.mlp(1, 3, 1)}, r"^tasks: is missing; maml needs a family such as sinusoid\(\)"),
        ({"model": mg.mlp(1, 3, 1), "tasks": [1]}, r"^tasks: \[1\] is not one; maml needs a family"),
        ({"tasks": mg.sinusoid()}, r"^model: is missing; maml needs mlp"),
        ({"tasks": mg.sinusoid(), "model": 3}, r"^model: 3 is not one; maml needs mlp"),
        ({"tasks": mg.sinusoid(), "model": mg.mlp(2, 3, 1)}, r"^model: mlp\(2, .* takes 2 inputs, the tasks have 1$"),
        ({"tasks": mg.sinusoid(), "model": mg.mlp(1, 3, 2)}, r"^model: mlp\(1, .* gives 2 outputs, the tasks have 1"),
        ({"tasks": mg.sinusoid(), "model": lambda params, x: x}, r"^params: needs a dict of starting arrays"),
        (
            {"tasks": mg.sinusoid(), "model": mg.linear(1), "inner_lr": (0.1, 0.2, 0.3)},
            r"^inner_lr: has 3 rates for 2 parameters$",
        ),
        (
            {"tasks": mg.groups(X[:, 0], Y, ["a", "a", "b", "b"]), "model": mg.linear(1), "shots": 2},
            r"^shots: 2 needs groups of at least 3 rows; 2 have fewer \(a, b",
        ),
    ],
)
def test_what_maml_refuses(given: dict[str, Any], line: str) -> None:
    with pytest.raises(MetagdError, match=line) as caught:
        mg.train("maml", **given)
    assert "\n" not in str(caught.value)


# ---- hands on a run -----------------------------------------------------------------------------------------------


def test_reading_waits_and_looking_does_not() -> None:
    run = background(prepared("gd", steps=3000))
    peeked = run.loop.peek()
    assert set(peeked) == {"step", "loss", "params"}
    assert run.loss == run.record["loss"][-1]  # waited
    assert run.stopped == "steps"
    assert not run.loop.running
    assert run.iteration == 3000


def test_peek_is_consistent_while_it_trains() -> None:
    def loss(x):  # type: ignore[no-untyped-def]
        return x * x

    run = mg.start("gd", loss=loss, params={"x": 1.0}, lr=1e-4, steps=100_000_000)
    for _ in range(200):
        seen = run.loop.peek()
        if seen["step"] >= 0:
            assert seen["loss"] == float(seen["params"]["x"]) ** 2
    run.stop()


def test_two_runs_at_once_do_not_cross() -> None:
    runs = [background(prepared("maml", seed=seed, steps=150)) for seed in (1, 2)]
    for run, seed in zip(runs, (1, 2), strict=True):
        assert_same(run.wait(), trained("maml", seed=seed, steps=150))


def test_pause_twice_and_resume_twice_are_one_event() -> None:
    run = prepared("gd")
    for call in (run.pause, run.pause, run.resume, run.resume):
        call()
    assert [(e.step, e.kind) for e in run.events] == [(0, "pause"), (0, "resume")]


def test_a_broken_frame_does_not_cost_the_training() -> None:
    class Broken:
        def frame(self, final: bool = False) -> None:
            raise RuntimeError("no screen")

    run = drive(prepared("gd"), Broken())
    assert run.stopped == "steps"
    assert run.note == "the plot stopped (RuntimeError: no screen); training went on"


@pytest.mark.parametrize("method", DESCENT)
def test_one_task_has_nothing_to_adapt(method: str) -> None:
    run = trained(method)
    with pytest.raises(MetagdError, match=f"^adapt: {method} has one task only"):
        run.adapt([1.0], [1.0])
    with pytest.raises(MetagdError, match=f"^evaluate: {method} has one task only"):
        run.evaluate()
    assert held_out_panel(run.loop) is None


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("method", [m for m, kind in ALGORITHMS.items() if kind.setting == "meta" and m != "protonet"])
def test_as_many_rates_as_parameters_wherever_the_tasks_come_from(method: str, backend: str) -> None:
    if backend == "jax":
        pytest.importorskip("jax")
    tasks = mg.quadratics(np.ones(3), np.arange(3.0))
    with pytest.raises(MetagdError, match=r"^inner_lr: has 2 rates for 1 parameters$|^model: |^tasks: "):
        mg.train(method, tasks=tasks, inner_lr=(0.1, 0.2), steps=1, backend=backend)
