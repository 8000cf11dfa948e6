"""Optimizers, clipping, weight decay and schedules: step by step against their definitions, optax and JAX."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import differences

import metagd_nb as mg
from metagd_nb.algorithms.schedules import parse_schedule
from metagd_nb.core.errors import MetagdError
from metagd_nb.training.run import Run

Array = np.ndarray
H = np.array([[2.0, 0.3], [0.3, 0.5]])
START = np.array([3.0, -4.0])


def loss(w: Array) -> Any:
    return 0.5 * w @ (H @ w) + np.sin(w).sum()


def slope(w: Array) -> Array:
    return H @ w + np.cos(w)


def run(method: str, steps: int = 25, **options: Any) -> Run:
    return mg.train(method, loss=loss, params={"w": START}, steps=steps, **options)


def path(method: str, steps: int = 25, **options: Any) -> Array:
    """The parameters (steps+1, 2) at every step."""
    seen: list[Array] = []
    run(method, steps, callbacks=[lambda run: seen.append(run.params["w"])], callback_every=1, **options)
    return np.array(seen)


# ---- against their definitions --------------------------------------------------------------------------------------


def by_hand(method: str, lr: float, steps: int = 25) -> Array:
    """The published rules, written out once more."""
    w, m, v, found = START.copy(), np.zeros(2), np.zeros(2), [START]
    for t in range(1, steps + 1):
        g = slope(w)
        if method == "nesterov":
            m = 0.8 * m + g
            w = w - lr * (g + 0.8 * m)
        elif method == "rmsprop":
            v = 0.9 * v + 0.1 * g**2
            w = w - lr * g / (np.sqrt(v) + 1e-6)
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            step = lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            w = w - step - lr * 0.1 * w
        found.append(w)
    return np.array(found)


OPTIONS: dict[str, dict[str, float]] = {
    "nesterov": {"lr": 0.1, "momentum": 0.8},
    "rmsprop": {"lr": 0.05, "decay": 0.9, "eps": 1e-6},
    "adamw": {"lr": 0.05, "weight_decay": 0.1},
}


@pytest.mark.parametrize("method", OPTIONS)
def test_new_optimizers_by_hand(method: str) -> None:
    np.testing.assert_allclose(path(method, **OPTIONS[method]), by_hand(method, OPTIONS[method]["lr"]), rtol=1e-12)


def along_optax(rule: Any, steps: int = 25) -> Array:
    import jax
    import optax

    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        w = jax.numpy.asarray(START)
        state, found = rule.init(w), [START]
        for _ in range(steps):
            step, state = rule.update(jax.numpy.asarray(slope(np.asarray(w))), state, w)
            w = optax.apply_updates(w, step)
            found.append(np.asarray(w))
    return np.array(found)


@pytest.mark.parametrize("method", OPTIONS)
def test_new_optimizers_against_optax(method: str) -> None:
    optax = pytest.importorskip("optax")
    rule = {
        "nesterov": lambda: optax.sgd(0.1, momentum=0.8, nesterov=True),
        "rmsprop": lambda: optax.rmsprop(0.05, decay=0.9, eps=1e-6, eps_in_sqrt=False),
        "adamw": lambda: optax.adamw(0.05, weight_decay=0.1),
    }[method]()
    np.testing.assert_allclose(path(method, **OPTIONS[method]), along_optax(rule), rtol=1e-12)


def _in_double(values: Array) -> Any:
    """The rates as an array of JAX's in double precision: optax computes its own schedules in single precision."""
    import jax

    return jax.numpy.asarray(values)


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_clipping_then_decay_then_the_schedule_against_optax(backend: str) -> None:
    optax = pytest.importorskip("optax")
    rates = np.array([t / 50 if t < 5 else 0.05 * (1 + math.cos(math.pi * (t - 5) / 20)) for t in range(26)])
    momentum = optax.sgd(lambda t: _in_double(rates)[t], momentum=0.9)
    rule = optax.chain(optax.clip_by_global_norm(1.5), optax.add_decayed_weights(0.2), momentum)
    given: dict[str, Any] = {"lr": 0.1, "clip": 1.5, "weight_decay": 0.2, "schedule": "warmup:5,cosine"}
    np.testing.assert_allclose(path("momentum", **given, backend=backend), along_optax(rule), rtol=1e-12)


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_decoupled_decay_follows_the_schedule_and_is_not_clipped(backend: str) -> None:
    optax = pytest.importorskip("optax")
    rates = np.array([0.05 * 0.5 ** (t // 4) for t in range(26)])
    adamw = optax.adamw(lambda t: _in_double(rates)[t], weight_decay=0.1)
    given: dict[str, Any] = {"clip": 0.3, "schedule": "step:4:0.5", "backend": backend}
    rule = optax.chain(optax.clip_by_global_norm(0.3), adamw)
    np.testing.assert_allclose(path("adamw", **OPTIONS["adamw"], **given), along_optax(rule), rtol=1e-12)


@pytest.mark.parametrize("method", ["gd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_every_optimizer_on_jax(method: str) -> None:
    pytest.importorskip("jax")
    given: dict[str, Any] = {"clip": 0.8, "weight_decay": 0.05, "schedule": "warmup:4,cosine"}
    one, other = (run(method, 20, **given, backend=backend) for backend in ("numpy", "jax"))
    np.testing.assert_allclose(one.record["loss"], other.record["loss"], rtol=1e-11)
    np.testing.assert_array_equal(one.record["lr"], other.record["lr"])
    single = run(method, 20, **given, backend="jax", dtype="float32")
    np.testing.assert_allclose(single.record["loss"], one.record["loss"], rtol=1e-4)
    np.testing.assert_array_equal(single.record["lr"], one.record["lr"])


def test_clipping_and_decay_by_hand() -> None:
    w, found = START.copy(), [START]
    for _ in range(25):
        g = slope(w)
        g = g * min(1.0, 1.5 / math.hypot(*g)) + 0.2 * w
        w = w - 0.1 * g
        found.append(w)
    np.testing.assert_allclose(path("gd", lr=0.1, clip=1.5, weight_decay=0.2), found, rtol=1e-12)


# ---- schedules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("constant", [1, 1, 1, 1, 1, 1]),
        ("cosine", [0.5 * (1 + math.cos(math.pi * t / 5)) for t in range(6)]),
        ("cosine:2", [1, 0.5, 0, 0, 0, 0]),
        ("step:2:0.1", [1, 1, 0.1, 0.1, 0.01, 0.01]),
        ("warmup:4", [0, 0.25, 0.5, 0.75, 1, 1]),
        ("warmup:1,cosine", [0, *(0.5 * (1 + math.cos(math.pi * t / 4)) for t in range(5))]),
        ("warmup:2,step:1:0.5", [0, 0.5, 1, 0.5, 0.25, 0.125]),
    ],
)
def test_factors(text: str, known: list[float]) -> None:
    schedule = parse_schedule(text, 5)
    np.testing.assert_allclose([schedule.at(t) for t in range(6)], known, atol=1e-15)
    assert parse_schedule(schedule.text, 77).text == schedule.text
    np.testing.assert_allclose([parse_schedule(schedule.text, 77).at(t) for t in range(6)], known, atol=1e-15)


@pytest.mark.parametrize(
    ("text", "make"),
    [
        ("cosine", lambda optax: optax.cosine_decay_schedule(0.1, 25)),
        ("step:7:0.5", lambda optax: optax.exponential_decay(0.1, 7, 0.5, staircase=True)),
        ("warmup:6", lambda optax: optax.linear_schedule(0.0, 0.1, 6)),
        ("warmup:6,cosine", lambda optax: optax.warmup_cosine_decay_schedule(0.0, 0.1, 6, 25)),
    ],
)
def test_factors_against_optax(text: str, make: Any) -> None:
    optax = pytest.importorskip("optax")
    known = make(optax)
    found = parse_schedule(text, 25)
    np.testing.assert_allclose([0.1 * found.at(t) for t in range(26)], [known(t) for t in range(26)], atol=1e-7)


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_the_record_holds_the_rate_that_led_to_a_row(backend: str) -> None:
    if backend == "jax":
        pytest.importorskip("jax")
    done = run("gd", 6, lr=0.4, schedule="step:2:0.5", backend=backend)
    np.testing.assert_array_equal(done.record["lr"], [0.4, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1])
    assert done.rates["lr"] == pytest.approx(0.05)  # of the next update


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_a_rate_that_is_set_stays_as_it_is_set(backend: str, tmp_path: Path) -> None:
    if backend == "jax":
        pytest.importorskip("jax")
    done = mg.prepare("gd", loss=loss, params={"w": START}, steps=20, lr=0.1, schedule="cosine", backend=backend)
    done.step(8)
    done.set(lr=0.03)
    assert done.rates["lr"] == 0.03
    done.step(12)
    assert done.record["lr"][8] < 0.1
    np.testing.assert_array_equal(done.record["lr"][9:], 0.03)
    np.testing.assert_array_equal(done.replay().record["loss"], done.record["loss"])
    done.save(tmp_path / "run.metagd")
    again = mg.load(tmp_path / "run.metagd", loss=loss)
    again.resume(steps=25)
    again.wait()
    np.testing.assert_allclose(again.record["lr"][9:], 0.03, rtol=1e-7)


def test_a_run_that_goes_on_keeps_its_schedule(tmp_path: Path) -> None:
    done = run("gd", 20, lr=0.1, schedule="cosine")
    done.save(tmp_path / "run.metagd")
    for again in (done, mg.load(tmp_path / "run.metagd", loss=loss)):
        again.resume(steps=24)
        again.wait()
        np.testing.assert_allclose(again.record["lr"][20:], [again.record["lr"][20], 0, 0, 0, 0], atol=1e-17)
        np.testing.assert_array_equal(again.replay().record["loss"], again.record["loss"])


def test_a_function() -> None:
    done = run("gd", 5, lr=0.2, schedule=lambda step: 0.5**step)
    np.testing.assert_array_equal(done.record["lr"], [0.2, 0.2, 0.1, 0.05, 0.025, 0.0125])
    assert "schedule=function" in repr(done)


# ---- meta-learning --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["maml", "reptile", "meta-sgd", "anil"])
def test_meta_learning_on_both_backends(method: str) -> None:
    pytest.importorskip("jax")
    given: dict[str, Any] = {"model": mg.mlp(1, 6, 1), "tasks": mg.sinusoid(), "steps": 12, "meta_batch_size": 4}
    options: dict[str, Any] = {"schedule": "warmup:3,cosine", "clip": 0.5, "weight_decay": 0.01}
    one, other = (mg.train(method, **given, **options, backend=backend) for backend in ("numpy", "jax"))
    np.testing.assert_allclose(one.record["loss"], other.record["loss"], rtol=1e-9)
    np.testing.assert_allclose(one.record["meta_lr"], other.record["meta_lr"], rtol=1e-12)
    assert not np.allclose(one.record["loss"][1:], mg.train(method, **given).record["loss"][1:])


def test_what_is_learned_besides_the_parameters_does_not_decay() -> None:
    given: dict[str, Any] = {"model": mg.mlp(1, 6, 1), "tasks": mg.sinusoid(), "steps": 1, "outer": "sgd"}
    plain, decayed = (mg.train("meta-sgd", **given, weight_decay=decay) for decay in (0.0, 10.0))
    np.testing.assert_array_equal(plain.learned["inner_lr"], decayed.learned["inner_lr"])
    assert not np.array_equal(plain.params["W0"], decayed.params["W0"])


def test_clipping_shortens_the_meta_gradient() -> None:
    """One plain meta-step of MAML, whose direction is found by central differences of its query loss."""
    given: dict[str, Any] = {"model": mg.mlp(1, 4, 1, activation="tanh"), "tasks": mg.sinusoid(), "outer": "sgd"}
    made = mg.prepare("maml", **given, meta_lr=0.1, inner_lr=0.05, meta_batch_size=3, steps=1, clip=0.5)
    plan, theta = made.plan, made.plan.theta.copy()

    def query(at: Array) -> float:
        return plan.algorithm.evaluate(plan.problem, at, plan.algorithm.init(at), plan.batches(0)).loss

    slope = differences(query, theta)
    assert np.linalg.norm(slope) > 0.6  # it is clipped
    made.step(2)
    np.testing.assert_allclose(made.loop.theta, theta - 0.1 * 0.5 * slope / np.linalg.norm(slope), atol=1e-9)
    np.testing.assert_allclose(made.record["grad_norm"][0], np.linalg.norm(slope), rtol=1e-7)  # before clipping


def test_only_what_is_learned_decays() -> None:
    given: dict[str, Any] = {"model": mg.mlp(1, 4, 1), "tasks": mg.sinusoid(), "steps": 2, "inner_steps": 2}
    with pytest.raises(MetagdError, match=r"^weight_decay: l2l does not change the parameters, so that none can decay"):
        mg.train("l2l", **given, weight_decay=0.1)
    mg.train("l2l", **given, weight_decay=0.1, learn_start="yes")
    mg.train("l2l", **given, clip=0.1, schedule="cosine")


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"schedule": "cos"},
            r"^schedule: 'cos' is not a schedule; did you mean 'cosine'\?; allowed: constant \| cosine",
        ),
        ({"schedule": "step:3"}, r"^schedule: 'step:3' has 1 numbers; allowed: "),
        ({"schedule": "warmup:0"}, r"^schedule: 'warmup:0' needs a whole number ≥ 1, not '0'$"),
        ({"schedule": "cosine,warmup:3"}, r"^schedule: 'cosine,warmup:3' is not a schedule; allowed"),
        ({"schedule": "warmup:3,warmup:3"}, r"is not a schedule; allowed"),
        ({"schedule": "step:2:-1"}, r"^schedule: 'step:2:-1' needs a factor ≥ 0, not '-1'$"),
        ({"clip": 0}, r"^clip: 0 is not allowed; needs a number > 0$"),
        ({"weight_decay": -1}, r"^weight_decay: -1 is not allowed"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MetagdError, match=message):
        run("gd", **given)


@pytest.mark.parametrize("given", [{"clip": 1.0}, {"weight_decay": 0.1}, {"schedule": "cosine"}])
@pytest.mark.parametrize("method", ["hd", "unroll", "lbfgs"])
def test_methods_that_take_none(method: str, given: dict[str, Any]) -> None:
    (name,) = given
    able = "gd, momentum, nesterov, rmsprop, adam, adamw"
    with pytest.raises(MetagdError, match=rf"^{name}: {method} takes no {name}; methods that do: {able}$"):
        run(method, **given)


@pytest.mark.parametrize("given", [{"clip": 1.0}, {"weight_decay": 0.1}, {"schedule": "cosine"}])
def test_training_from_scratch_takes_none(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(MetagdError, match=rf"^{name}: scratch takes no {name}; methods that do: maml, fomaml, "):
        mg.train("scratch", model=mg.linear(1), tasks=mg.regression(1), **given)


def test_full_batch_least_squares_with_options_takes_single_steps() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3))
    given: dict[str, Any] = {"model": mg.linear(3), "x": x, "y": x.sum(1), "steps": 30}
    one, other = mg.train("gd", **given, clip=1e9), mg.train("gd", **given)
    np.testing.assert_allclose(one.record["loss"], other.record["loss"], rtol=1e-12)
