"""What the summary says of a run whose result is not what it seems, of sampled losses and of rates set under way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.plotting.run_figure import status
from metagd_nb.training.run import Run

Array = np.ndarray
RNG = np.random.default_rng(0)
ROOMS = RNG.uniform(50, 300, (120, 3))
PRICES = ROOMS @ [1000, -500, 300.0] + 1e5
TOWNS = np.repeat(np.arange(6), 20)


def bowl(w: Array) -> Any:
    return (w**2).sum()


def uphill(w: Array) -> Array:
    return -2 * w


def fit(**options: Any) -> Run:
    return mg.train("gd", loss=bowl, params={"w": np.array([1.0, -2.0])}, **({"lr": 0.1, "steps": 60} | options))


# ---- runs that say what is wrong with them --------------------------------------------------------------------------


@pytest.mark.parametrize("model", [mg.linear(3), mg.mlp(3, 10, 1)])
def test_inner_steps_that_explode(model: Any) -> None:
    run = mg.train("maml", model=model, tasks=mg.groups(ROOMS, PRICES, TOWNS), steps=30)
    assert run.stopped == "steps"
    assert "the inner steps explode (query loss" in repr(run)
    assert repr(run).endswith("a smaller inner_lr, or inputs and targets of size 1")


def test_a_rate_too_small_for_the_data() -> None:
    run = mg.train("adam", model=mg.linear(3), x=ROOMS, y=PRICES, steps=300)
    assert (
        "\nhardly moved: 300 steps changed the loss by 1.2 %, one longer step along the gradient would lower"
        in repr(run)
    )
    assert "hardly moved" in repr(fit(lr=1e-9))


def test_a_loss_that_grew() -> None:
    run = fit(gradient=uphill, check=False, steps=10)
    assert "the loss grew from 5 to 192, 38.3 times as high: a smaller lr usually helps, or a correct gradient" in repr(
        run
    )


def test_a_loss_that_came_back_up() -> None:
    """The loss falls, then the rate is set too high."""
    run = mg.prepare("gd", loss=bowl, params={"w": np.array([1.0, -2.0])}, lr=0.1, steps=300)
    run.step(20)
    run.set(lr=1.2)
    run.step(12)
    run.stop()
    assert "\nthe loss was 0.000665 near step 20 and rose to 2.1" in repr(run)
    assert "again: a smaller lr usually helps" in repr(run)


# ---- runs that have nothing to say ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"steps": 0}, {"steps": 1}, {"steps": 2}, {"steps": 5000}, {"lr": 0.5}, {"lr": 0.99}, {"loss_below": 3.0}],
)
def test_healthy_runs(options: dict[str, Any]) -> None:
    assert fit(**options).note is None


@pytest.mark.parametrize("start", [0.0, 1e-160, 1.0, 1e150])
def test_the_size_of_the_loss_does_not_matter(start: float) -> None:
    assert mg.train("gd", loss=bowl, params={"w": np.full(2, start)}, lr=0.1, steps=50).note is None


def test_losses_below_zero_have_no_scale() -> None:
    run = mg.train("gd", loss=lambda w: bowl(w) - 3.0, params={"w": np.array([1.0, 0.0])}, lr=1e-9, steps=50)
    assert run.note is None


@pytest.mark.parametrize(
    "method", ["maml", "fomaml", "reptile", "anil", "boil", "meta-sgd", "imaml", "pretrain", "scratch"]
)
@pytest.mark.parametrize("steps", [5, 60])
def test_meta_learning_of_every_kind(method: str, steps: int) -> None:
    assert mg.train(method, model=mg.mlp(1, 20, 1), tasks=mg.sinusoid(), steps=steps).note is None


def test_a_run_at_its_minimum_says_nothing() -> None:
    x = RNG.normal(size=(50, 3))
    y = x @ [1.0, 2.0, 3.0] + RNG.normal(size=50)
    first = mg.train("gd", model=mg.linear(3), x=x, y=y, steps=500)
    again = mg.train("gd", model=mg.linear(3), x=x, y=y, steps=500, warm_start=first.params)
    assert again.note is None


def test_the_line_is_in_a_loaded_run_too(tmp_path: Path) -> None:
    run = fit(lr=1e-9)
    run.save(tmp_path / "run.metagd")
    assert "hardly moved" not in repr(mg.load(tmp_path / "run.metagd"))  # the loss is not there to be asked
    assert "hardly moved" in repr(mg.load(tmp_path / "run.metagd", loss=bowl))


# ---- headlines ------------------------------------------------------------------------------------------------------


def maml(steps: int, **options: Any) -> Run:
    return mg.train("maml", model=mg.mlp(1, 10, 1), tasks=mg.sinusoid(), steps=steps, **options)


def test_a_sampled_run_shows_means() -> None:
    run = maml(59)
    loss = run.record["loss"]
    line = f"loss {loss[:20].mean():.6g} → {loss[-20:].mean():.6g} (means of 20 steps)"
    assert line in repr(run)
    assert status(run).endswith("(means of 20 steps)")
    assert run.loss == loss[-1]


def test_a_short_one_shows_means_of_its_halves() -> None:
    run = maml(9)
    loss = run.record["loss"]
    assert f"loss {loss[:5].mean():.6g} → {loss[5:].mean():.6g} (means of 5 steps)" in repr(run)
    assert "mean" not in repr(maml(1))


def test_tasks_that_are_all_seen_have_no_means() -> None:
    run = mg.train("maml", tasks=mg.quadratics(np.ones(3), np.arange(3.0)), steps=50)
    assert f"loss {run.record['loss'][0]:.6g} → {run.loss:.6g}\n" in repr(run) + "\n"


def test_the_headline_of_a_thinned_record() -> None:
    whole, thin = maml(80), maml(80, record_every=10)
    assert repr(whole).split("→")[1] == repr(thin).split("→")[1]


# ---- rates set during training --------------------------------------------------------------------------------------


def test_a_rate_that_was_set_is_shown(tmp_path: Path) -> None:
    run = mg.prepare("gd", loss=bowl, params={"w": np.ones(2)}, lr=0.1, steps=40)
    run.step(10)
    run.set(lr=0.2)
    run.step(14)
    run.set(lr=0.05)
    run.step(16)
    assert repr(run).startswith("metagd gd: lr=0.1 → 0.05 (step 24)\n")
    run.export(tmp_path / "run.py")
    done = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith("metagd gd: lr=0.1 → 0.05 (step 24)\n"), done.stderr
    np.testing.assert_array_equal(run.replay().record["loss"], run.record["loss"])
