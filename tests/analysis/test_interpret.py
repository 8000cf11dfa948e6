"""What was learned and what a prediction rests on: against closed forms and against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb import charts, interpret
from metagd_nb.analysis.fresh_tasks import draw_tasks
from metagd_nb.core.errors import MetagdError
from metagd_nb.core.statistics import measure_calibration, wilson_interval
from metagd_nb.tasks import Batch


def trained(method: str = "maml", steps: int = 5, activation: str = "tanh", **options: Any) -> Any:
    options = {"inner_steps": 3, "inner_lr": 0.05, "shots": 6, "meta_batch_size": 4, **options}
    return mg.train(
        method, tasks=mg.sinusoid(), model=mg.mlp(1, 8, 8, 1, activation=activation), steps=steps, **options
    )


def one_task() -> Any:
    return mg.train("gd", loss=lambda w: w * w, params={"w": 1.0}, steps=1)


# ---- influence ------------------------------------------------------------------------------------------------------


def weighted(run: Any, x: np.ndarray, y: np.ndarray, x_new: np.ndarray, weights: np.ndarray, steps: int) -> np.ndarray:
    """The adapted prediction (N, C) with support point k counting ``weights[k]``: plain descent, spelt out."""
    phi = run.loop.snapshot.theta[: run.plan.problem.layout.size][None]
    rates = run.loop.algorithm.start(run.plan.problem, run.loop.snapshot.theta, steps)[1]
    for rate in rates:
        grads = [
            w * run.plan.problem.linearize(phi, Batch(x[None, k : k + 1], y[None, k : k + 1])).grad / len(x)
            for k, w in enumerate(weights)
        ]
        phi = phi - rate * np.sum(grads, axis=0)
    return np.asarray(run.plan.problem.predict(phi, x_new[None])[0])


@pytest.mark.parametrize("method", ["maml", "anil", "meta-sgd"])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_influence_is_the_slope_in_a_points_weight(method: str, steps: int) -> None:
    run = trained(method)
    rng = np.random.default_rng(3)
    x, y, new = rng.uniform(-4, 4, (5, 1)), rng.standard_normal((5, 1)), np.array([[-1.0], [0.3], [2.0]])
    found = interpret.influence(run, x, y, new, steps=steps)
    assert found.shape == (5, 3)
    for k in range(5):
        step = 1e-5 * np.eye(5)[k]
        up, down = (weighted(run, x, y, new, np.ones(5) + s, steps) for s in (step, -step))
        np.testing.assert_allclose(found[k], (up - down)[:, 0] / 2e-5, rtol=1e-6, atol=1e-9)
    assert (np.abs(found).max() > 1e-4) == (steps > 0)


def test_influence_of_several_outputs() -> None:
    x = np.random.default_rng(0).standard_normal((60, 2))
    tasks = mg.groups(x, np.stack([x[:, 0] * x[:, 1], x.sum(axis=1)], axis=1), np.repeat(np.arange(6), 10))
    run = mg.train("maml", tasks=tasks, model=mg.mlp(2, 5, 2, activation="tanh"), steps=3, shots=4, meta_batch_size=3)
    found = interpret.influence(run, x[:4], tasks.y[:4], x[10:13])
    assert found.shape == (4, 3, 2)
    steps = 1e-5 * np.eye(4)[2]
    up, down = (weighted(run, x[:4], tasks.y[:4], x[10:13], np.ones(4) + s, 1) for s in (steps, -steps))
    np.testing.assert_allclose(found[2], (up - down) / 2e-5, rtol=1e-6, atol=1e-9)


def test_the_linear_model_by_hand() -> None:
    """One step from θ = 0 on a linear model: f(x*) = 2α/K Σ y_k x_k x*, so point k's influence is its own term."""
    run = mg.train("maml", tasks=mg.regression(1), model=mg.linear(1, bias=False), inner_lr=0.1, steps=0)
    x, y = np.array([1.0, 2.0, -1.0]), np.array([1.0, 3.0, 2.0])
    found = interpret.influence(run, x, y, [0.5, -2.0])
    np.testing.assert_allclose(found, 0.2 / 3 * (y * x)[:, None] * np.array([0.5, -2.0]), rtol=1e-12)


# ---- movement -------------------------------------------------------------------------------------------------------


def test_only_what_adapts_moves() -> None:
    found = interpret.movement(trained("anil"), n_tasks=20)
    moved = dict(zip(found.names, found.moved, strict=True))
    assert {name for name, far in moved.items() if far > 0} == {"W2", "b2"}
    assert found.layers == ("hidden 1", "hidden 2", "output")
    np.testing.assert_allclose(found.same[:2], 1, atol=1e-12)
    assert found.same[2] < 1 - 1e-9


def test_movement_is_what_adaptation_does() -> None:
    run = trained("maml")
    found = interpret.movement(run, n_tasks=30, seed=4)
    support, _ = draw_tasks(run, run.plan.tasks, 30, 4)
    phi = np.asarray(run.loop.algorithm.adapt(run.plan.problem, run.loop.snapshot.theta, support))
    w0 = run.plan.problem.layout.slices["W0"]
    far = np.linalg.norm((phi - run.loop.snapshot.theta)[:, w0], axis=1) / np.linalg.norm(run.loop.snapshot.theta[w0])
    np.testing.assert_allclose(found.moved[0], far.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.interval[0], 2.045229642 * far.std(ddof=1) / np.sqrt(30), rtol=1e-8)
    still = interpret.movement(run, n_tasks=10, steps=0)
    np.testing.assert_array_equal(still.moved, 0)
    np.testing.assert_allclose(still.same, 1, rtol=1e-12)


def test_cka() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((2, 50, 4))
    turn, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    np.testing.assert_allclose(interpret.cka(a, 3 * a @ turn + 7), 1, rtol=1e-12)
    b = rng.standard_normal((2, 50, 4))
    low = interpret.cka(a, b)
    assert (low < 0.3).all()
    # by the definition: HSIC of the linear kernels
    k, m = (u[0] @ u[0].T for u in (a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)))
    np.testing.assert_allclose(low[0], np.sum(k * m) / np.linalg.norm(k) / np.linalg.norm(m), rtol=1e-12)


# ---- rates and maps -------------------------------------------------------------------------------------------------


def test_layer_rates() -> None:
    run = trained("meta-sgd", steps=20, meta_lr=0.02)
    found = interpret.layer_rates(run)
    rates = run.learned["inner_lr"]
    part = run.plan.problem.layout.slices["W1"]
    assert found["W1"] == pytest.approx(
        (rates[part].mean(), rates[part].min(), rates[part].max(), (rates[part] < 0).mean())
    )
    assert list(found) == list(run.plan.problem.layout.slices)
    shared = trained("maml", learn_rates="layer", steps=5)
    for mean, low, high, negative in interpret.layer_rates(shared).values():
        assert low == high == pytest.approx(mean)
        assert negative == 0


def test_the_initial_function_is_the_start_and_what_points_make_of_it() -> None:
    run = trained("maml")
    found = interpret.initial_function(run, n_tasks=2, seed=3)
    theta, support = run.loop.snapshot.theta, draw_tasks(run, run.plan.tasks, 2, 3)[0]
    new = found.x[None, :, None]
    np.testing.assert_array_equal(found.start, np.tile(run.plan.problem.predict(theta[None], new)[0, :, 0], (2, 1)))
    one = Batch(support.x[:1], support.y[:1])
    adapted = run.plan.problem.predict(run.loop.algorithm.adapt(run.plan.problem, theta, one), new)[0, :, 0]
    np.testing.assert_allclose(found.adapted[0], adapted, rtol=1e-12)
    assert np.abs(found.adapted[0] - found.adapted[1]).max() > 1e-3
    figure = charts.initial_function(found)
    drawn = [line.get_ydata() for line in figure.axes[0].lines]
    assert [any(np.array_equal(y, curve) for y in drawn) for curve in (found.start[0], *found.adapted)] == [True] * 3
    assert len(drawn) == 3  # the start is one curve


def test_each_kind_has_an_initial_function_of_its_own() -> None:
    tasks = mg.mixed("line", "quadratic")
    run = mg.train("multimodal", tasks=tasks, model=mg.mlp(1, 8, 1), steps=30, kinds="told", meta_lr=0.02, seed=2)
    found = interpret.initial_function(run, n_tasks=4)
    assert found.support.kind is not None
    same = [np.array_equal(a, found.start[0]) for a in found.start]
    assert same == (found.support.kind == found.support.kind[0]).tolist()
    assert len(charts.initial_function(found).axes[0].lines) == 8


def test_calibration_is_that_of_the_adapted_probabilities() -> None:
    tasks = mg.tumours()
    model = mg.mlp(30, 8, 2)
    run = mg.train("maml", tasks=tasks, model=model, steps=20, inner_lr=0.05, shots=8, meta_batch_size=4)
    found = interpret.calibration(run, n_tasks=14)
    support, query = draw_tasks(run, run.plan.tasks, 14, 1)
    logits = np.asarray(
        run.loop.algorithm.predict(
            run.plan.problem, run.loop.algorithm.adapt(run.plan.problem, run.loop.theta, support), query.x
        )
    )
    p = np.exp(logits[..., 1]) / np.exp(logits).sum(axis=-1)
    y = query.y[..., 1]
    assert found.brier == pytest.approx(2 * np.mean((p - y) ** 2), rel=1e-12)
    assert found.log_loss == pytest.approx(-np.mean(np.log(np.where(y == 1, p, 1 - p))), rel=1e-9)
    assert found.count.sum() == y.size
    points = charts.reliability(found).axes[0].collections[-1].get_offsets()
    full = found.count > 0
    np.testing.assert_allclose(points, np.stack([found.confidence[full], found.right[full]], axis=1))


def test_the_calibration_error_by_hand() -> None:
    """Four answers at .75, three of them right, are honest; two at .95, one right, are off by .45."""
    p = np.array([0.75, 0.75, 0.75, 0.75, 0.95, 0.95])
    found = measure_calibration(np.stack([p, 1 - p], axis=1), np.array([0, 0, 0, 1, 0, 1]))
    assert found.ece == pytest.approx(2 / 6 * 0.45)
    assert found.brier == pytest.approx(2 * np.mean((p - [1, 1, 1, 0, 1, 0]) ** 2))
    assert found.count.tolist() == [0] * 7 + [4, 0, 2]
    np.testing.assert_allclose(found.right[[7, 9]], [0.75, 0.5])


def test_wilsons_interval_solves_its_equation() -> None:
    """Its ends are the p for which the share seen lies 1.96 standard deviations of p away."""
    for share, count, ends in ((0.3, 40, (0, 1)), (1.0, 5, (0,)), (0.0, 7, (1,))):
        found = wilson_interval(np.array(share), np.array(count))
        for p in (found[end] for end in ends):
            assert abs(share - p) / np.sqrt(p * (1 - p) / count) == pytest.approx(1.96)
        assert found[0] <= share <= found[1]
        assert found[1] - found[0] > 0.2


def test_a_map_tells_kinds_apart() -> None:
    tasks = mg.mixed("line", "quadratic", noise=0.0)
    run = mg.train("maml", tasks=tasks, model=mg.mlp(1, 16, 16, 1), steps=30, inner_lr=0.01, shots=20)
    found = interpret.task_map(run, n_tasks=80)
    assert found.points.shape == (80, 2)
    assert found.kinds == ("line", "quadratic")
    assert found.kind is not None
    assert 0 < found.share[1] <= found.share[0] <= 1
    np.testing.assert_allclose(found.points.mean(axis=0), 0, atol=1e-9)
    spread = [found.points[found.kind == g].std(axis=0).sum() for g in (0, 1)]
    assert max(spread) > 1.5 * min(spread)  # parabolas ask for more than lines do


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: interpret.layer_rates(trained()), "no inner rates were learned"),
        (lambda: interpret.movement(one_task()), "needs a meta-learning method"),
        (lambda: interpret.calibration(trained()), "needs tasks about classes"),
        (lambda: interpret.initial_function(one_task()), "needs a meta-learning method"),
        (lambda: interpret.influence(trained("imaml", steps=0, lam=2e2), [1.0], [1.0], [1.0]), "follows gradient"),
        (lambda: interpret.influence(trained(), [1.0, 2.0], [1.0], [1.0]), "have 2 and 1 points"),
    ],
)
def test_what_cannot_be_asked_is_one_line(call: Any, line: str) -> None:
    with pytest.raises(MetagdError) as refused:
        call()
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_pictures_show_the_numbers() -> None:
    run = trained("maml")
    found = interpret.movement(run, n_tasks=10)
    figure = charts.movement(found)
    bars = [patch.get_width() for patch in figure.axes[0].patches]
    np.testing.assert_allclose(bars, found.moved)
    x, y, new = np.linspace(-3, 3, 6), np.sin(np.linspace(-3, 3, 6)), np.linspace(-4, 4, 9)
    figure = charts.influence(x, y, new, interpret.influence(run, x, y, new), at=1.0)
    shown = np.concatenate([c.get_offsets() for c in figure.axes[0].collections])
    np.testing.assert_allclose(np.sort(shown[:, 0]), x)
    tasks = charts.task_map(interpret.task_map(run, n_tasks=12))
    assert len(tasks.axes[0].collections[0].get_offsets()) == 12
    rates = interpret.layer_rates(trained("meta-sgd", steps=20, meta_lr=0.02))
    lines = charts.layer_rates(rates).axes[0].lines
    assert [tuple(line.get_xdata()) for line in lines[:2]] == [rates["W0"][1:3], rates["W0"][:1]]
    data, how = tasks._repr_mimebundle_()
    width, height = (int.from_bytes(data["image/png"][at : at + 4], "big") for at in (16, 20))
    shape = how["image/png"]
    assert (width, height) == (2 * shape["width"], 2 * shape["height"]), (
        "shown as drawn, not stretched to a plot's width"
    )
