"""Parameters that stay in a range: projected steps and the projected L-BFGS, against SciPy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.core.bounds import as_text, parse_bounds
from metagd_nb.core.errors import MetagdError
from metagd_nb.core.parameters import ParameterLayout
from metagd_nb.training.run import Run

Array = np.ndarray


def table() -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 6))
    return x, x @ np.array([1.0, -1.0, 0.3, 0.5, -0.2, 2.0]) + rng.normal(size=60)


def fit(method: str, **options: Any) -> Run:
    x, y = table()
    return mg.train(method, model=mg.linear(6, bias=False), x=x, y=y, **({"bounds": "W0:0:0.7"} | options))


def rosenbrock(w: Array) -> Any:
    return 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2


# ---- against SciPy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("method", ["gd", "momentum", "adam"])
def test_projected_steps_reach_the_constrained_minimum(method: str, backend: str) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    if backend == "jax":
        pytest.importorskip("jax")
    x, y = table()
    best = optimize.lsq_linear(x, y, (0.0, 0.7), tol=1e-14).x
    assert 0 < ((best > 1e-6) & (best < 0.7 - 1e-6)).sum() < 6, "some coordinates are at a bound and some are not"
    run = fit(method, lr=0.05, steps=4000, grad_below=1e-10, backend=backend)
    assert run.stopped == "grad-below"
    np.testing.assert_allclose(run.params["W0"].ravel(), best, atol=1e-7)


def test_lbfgs_reaches_it_too() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    x, y = table()
    best = optimize.lsq_linear(x, y, (0.0, 0.7), tol=1e-14).x
    run = fit("lbfgs", steps=100)
    np.testing.assert_allclose(run.params["W0"].ravel(), best, atol=1e-6)


@pytest.mark.parametrize("start", [(-1.2, -0.5), (0.0, 0.0), (-2.0, 0.4)])
@pytest.mark.parametrize(("low", "high"), [(None, 0.5), (-1.5, 0.8), (0.2, None)])
def test_lbfgs_on_a_curved_valley(start: tuple[float, float], low: float | None, high: float | None) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    inside = np.clip(start, *(-np.inf if low is None else low, np.inf if high is None else high))
    known = optimize.minimize(rosenbrock, inside, method="L-BFGS-B", bounds=[(low, high)] * 2, tol=1e-12)
    run = mg.train("lbfgs", loss=rosenbrock, params={"w": np.array(start)}, bounds={"w": (low, high)}, steps=500)
    assert run.loss == pytest.approx(known.fun, abs=1e-7)
    np.testing.assert_allclose(run.params["w"], known.x, atol=1e-3)


# ---- what holds at every step -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gd", "adam", "lbfgs"])
def test_no_step_leaves_the_range(method: str) -> None:
    if method == "lbfgs":
        pytest.importorskip("scipy")
    seen: list[Array] = []
    fit(method, steps=30, callbacks=[lambda run: seen.append(run.params["W0"])], callback_every=1)
    assert len(seen) > 1
    assert all(((w >= 0) & (w <= 0.7)).all() for w in seen)


def test_the_start_is_moved_into_the_range() -> None:
    run = mg.train(
        "gd", loss=lambda w, b: (w**2).sum() + b**2, params={"w": -np.ones(2), "b": 3.0}, positive="w", steps=0
    )
    assert run.params["w"].tolist() == [0, 0]
    assert run.params["b"] == 3


def test_one_step_is_the_projection_of_a_free_one() -> None:
    given: dict[str, Any] = {"loss": rosenbrock, "params": {"w": np.array([-1.2, 1.0])}, "lr": 0.001, "steps": 1}
    free, held = mg.train("gd", **given).params["w"], mg.train("gd", **given, bounds="w:-1.1:1.05").params["w"]
    start = np.array([-1.1, 1.0])
    slope = np.array(
        [-400 * start[0] * (start[1] - start[0] ** 2) - 2 * (1 - start[0]), 200 * (start[1] - start[0] ** 2)]
    )
    np.testing.assert_allclose(held, np.clip(start - 0.001 * slope, -1.1, 1.05))
    assert not np.allclose(free, held)


def test_bounds_far_away_change_nothing() -> None:
    for method in ("gd", "adam"):
        free, held = (fit(method, steps=50, bounds=bounds) for bounds in (None, "W0:-1e9:1e9"))
        np.testing.assert_allclose(free.record["loss"], held.record["loss"], rtol=1e-12)


def test_in_single_precision() -> None:
    run = fit("gd", dtype="float32", steps=5)
    assert run.params["W0"].dtype == np.float32


def test_in_files_replay_and_scripts(tmp_path: Path) -> None:
    run = fit("adam", steps=60, positive=["W0"], bounds={"W0": (None, 0.7)})
    np.testing.assert_array_equal(run.replay().record["loss"], run.record["loss"])
    run.save(tmp_path / "run.metagd")
    again = mg.load(tmp_path / "run.metagd")
    again.resume(steps=90)
    again.wait()
    np.testing.assert_array_equal(again.record["loss"], fit("adam", steps=90).record["loss"])
    run.export(tmp_path / "run.py")
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == repr(run), done.stderr


def test_the_known_optimum_is_named_as_that_without_bounds() -> None:
    assert [known.label for known in fit("gd", steps=1).plan.references] == ["least squares (optimum), without bounds"]


# ---- reading and refusing -------------------------------------------------------------------------------------------


def test_reading() -> None:
    layout = ParameterLayout({"w": (2,), "b": ()})
    bounds = parse_bounds("w:-1:2, b::0.5", "w", layout)
    assert bounds is not None
    assert bounds.low.tolist() == [0, 0, -np.inf]
    assert bounds.high.tolist() == [2, 2, 0.5]
    assert as_text({"w": (0, None), "b": (None, 0.1)}) == "w:0.0:,b::0.1"
    assert parse_bounds(None, None, layout) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bounds": "w"}, r"^bounds: 'w' is not NAME:LOW:HIGH, as in w:0: or w:-1:1$"),
        ({"bounds": "v:0:"}, r"^unknown parameter 'v'; allowed: w$"),
        ({"bounds": "w:1:0"}, r"^bounds: w has the lowest value 1, which is not below 0$"),
        ({"bounds": "w:a:"}, r"^bounds: 'a' is not a number$"),
        ({"bounds": "w:nan:"}, r"^bounds: 'nan' is not a number$"),
        ({"bounds": {"w": 3}}, r"^bounds: 3 is not a pair \(low, high\) of numbers or None$"),
        ({"bounds": {"w": (None, "high")}}, r"is not a pair"),
        ({"positive": "v"}, r"^unknown parameter 'v'"),
        ({"positive": 3}, r"^positive: 3 is not allowed; needs text$"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(MetagdError, match=message):
        mg.train("gd", loss=rosenbrock, params={"w": np.zeros(2)}, **given)


def test_methods_that_keep_no_range() -> None:
    for method in ("hd", "unroll"):
        with pytest.raises(
            MetagdError, match=rf"^bounds: {method} keeps no parameters in a range; methods that do: gd"
        ):
            mg.train(method, loss=rosenbrock, params={"w": np.zeros(2)}, bounds="w:0:")
    with pytest.raises(MetagdError, match=r"^bounds: maml keeps no parameters in a range"):
        mg.train("maml", model=mg.mlp(1, 4, 1), tasks=mg.sinusoid(), positive="W0")
