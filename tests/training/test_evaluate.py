"""Results of meta-learning: scores on new tasks, predictors for one's own data, the panel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import META, assert_same, trained

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.tasks import Batch, TaskBatch, Tasks
from metagd_nb.training import evaluation as module
from metagd_nb.training.adaptation import held_out_panel
from metagd_nb.training.run import Run


@pytest.fixture(scope="module")
def run() -> Run:
    return trained("maml", steps=60, meta_lr=0.02, shots=5)


# ---- evaluate -----------------------------------------------------------------------------------------------------


def test_mean_and_interval_are_what_they_say(run: Run) -> None:
    """Recomputed task by task: adapt on the support set, judge on the query set, t·s/√n."""
    found = run.evaluate(shots=7, steps=3, n_tasks=25, seed=4, queries=9)
    drawn = mg.sinusoid().sample(np.random.default_rng([4, 25, 0xE]), 1, 25, 7, 9)
    theta = run.plan.problem.layout.flatten(run.params)
    scores = np.empty((4, 25))
    for t in range(25):
        phi = theta
        support, query = drawn.support[t : t + 1], drawn.query[t : t + 1]
        for step in range(4):
            scores[step, t] = ((run.plan.problem.predict(phi, query.x) - query.y) ** 2).mean()
            phi = phi - 0.02 * run.plan.problem.linearize(phi, support).grad
    np.testing.assert_allclose(found.mean, scores.mean(axis=1), rtol=1e-10)
    deviation = np.sqrt(((scores - scores.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / 24)
    np.testing.assert_allclose(found.interval, 2.0638985616 * deviation / 5, rtol=1e-8)  # t of 24 degrees of freedom
    np.testing.assert_allclose(found.median, np.median(scores, axis=1), rtol=1e-10)
    assert list(found.quantiles) == [0.05, 0.25, 0.5, 0.75, 0.95]
    for share, values in found.quantiles.items():
        np.testing.assert_allclose(values, np.quantile(scores, share, axis=1), rtol=1e-10)
    assert (found.metric, found.n_tasks) == ("loss", 25)
    assert repr(found).startswith("loss after 0…3 steps on 25 held-out tasks: ")


def test_steps_and_shots_default_to_those_of_training(run: Run) -> None:
    default, told = run.evaluate(n_tasks=10), run.evaluate(mg.sinusoid(), 5, 2, 10, 1)
    assert default.mean.shape == (3,)  # 0, 1, 2 steps
    np.testing.assert_array_equal(default.mean, told.mean)
    assert run.evaluate(steps=0, n_tasks=10).mean.shape == (1,)
    assert run.evaluate(n_tasks=10).n_tasks == 10
    assert run.evaluate().n_tasks == 600


def test_seed_decides_the_tasks(run: Run) -> None:
    a, b, c = (run.evaluate(n_tasks=20, seed=s).mean for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).all()
    assert (run.evaluate(n_tasks=20, seed=0).mean != run.evaluate(n_tasks=21, seed=0).mean).all()


def test_test_tasks_are_not_those_of_training(run: Run) -> None:
    seen = run.plan.batches(0).support.x
    drawn = mg.sinusoid().sample(np.random.default_rng([run.plan.settings.seed, 4, 0xE]), 1, 4, 5, 10)
    assert not np.isin(drawn.support.x, seen).any()


@pytest.mark.parametrize("method", META)
def test_chunks_change_nothing(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(method)
    whole = run.evaluate(n_tasks=23, steps=3)
    for size in (1, 40_000):
        monkeypatch.setattr(module, "CHUNK_BYTES", size)
        parts = run.evaluate(n_tasks=23, steps=3)
        np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-10)
        np.testing.assert_allclose(parts.interval, whole.interval, rtol=1e-9)


def test_evaluating_changes_nothing_in_the_run(run: Run) -> None:
    before = {name: values.copy() for name, values in run.params.items()}
    rows, cost = len(run.record), run.record.last("grad_evals")
    run.evaluate(n_tasks=5)
    run.adapt([0.0, 1.0], [0.0, 1.0])(np.zeros(2))
    assert len(run.record) == rows
    assert run.record.last("grad_evals") == cost
    for name, values in run.params.items():
        np.testing.assert_array_equal(values, before[name])
    assert_same(run.replay(), run)


def test_one_task_has_no_interval(run: Run) -> None:
    assert np.isnan(run.evaluate(n_tasks=1).interval).all()
    assert np.isfinite(run.evaluate(n_tasks=1).mean).all()


def test_full_families_are_judged_on_all_they_have() -> None:
    run = mg.train("maml", tasks=mg.quadratics((1.0, 3.0), (0.0, 1.0)), inner_lr=0.1, steps=0)
    found = run.evaluate(steps=1, n_tasks=500)
    assert found.n_tasks == 2
    np.testing.assert_allclose(found.mean, [0.75, 0.5 * 3 * 0.7**2 / 2])


class Sides(Tasks):
    """Two classes by the sign of x, as one-hot targets; a share of the query targets is turned round."""

    inputs, outputs, test_queries = 1, 2, 8

    def __init__(self, wrong: int) -> None:
        self.wrong = wrong

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        x = rng.uniform(0.5, 1, (batches * n, shots + queries, 1)) * rng.choice([-1, 1], (batches * n, 1, 1))
        y = np.concatenate([x > 0, x < 0], axis=-1).astype(float)
        query = y[:, shots:].copy()
        query[:, : self.wrong] = query[:, : self.wrong, ::-1]
        return TaskBatch(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], query))


@pytest.mark.parametrize("wrong", [0, 2, 8])
def test_accuracy(wrong: int) -> None:
    """One step on points of one side tells the side; what is turned round is wrong."""
    run = mg.train("maml", model=mg.linear(1, 2, bias=False), tasks=Sides(wrong), inner_lr=0.1, steps=0)
    found = run.evaluate(n_tasks=30, metric="accuracy")
    assert found.metric == "accuracy"
    assert found.mean[1] == pytest.approx(1 - wrong / 8)
    assert found.interval[1] == pytest.approx(0, abs=1e-12)
    assert "accuracy after 0…1 steps on 30 held-out tasks" in repr(found)


def test_adapting_helps_where_it_was_learned(run: Run) -> None:
    found = run.evaluate(n_tasks=300, steps=2)
    assert found.mean[2] < found.mean[0]
    fresh = trained("maml", steps=0, shots=5).evaluate(n_tasks=300, steps=2)
    assert found.mean[2] < fresh.mean[2]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"metric": "acuracy"}, r"^unknown metric 'acuracy'; did you mean 'accuracy'\?$"),
        ({"metric": "accuracy"}, r"^metric: 'accuracy' compares classes and needs two or more outputs$"),
        ({"n_tasks": 0}, r"^n_tasks: 0 is not allowed; needs a whole number ≥ 1"),
        ({"n_tasks": 2.5}, r"^n_tasks: 2\.5 is not allowed"),
        ({"steps": -1}, r"^steps: -1 is not allowed; needs a whole number ≥ 0"),
        ({"steps": "3"}, r"^steps: '3' is not allowed"),
        ({"shots": 0}, r"^shots: 0 is not allowed; needs a whole number ≥ 1"),
        ({"queries": 0}, r"^queries: 0 is not allowed; needs a whole number ≥ 1"),
        ({"seed": -1}, r"^seed: -1 is not allowed; needs a whole number ≥ 0"),
        ({"tasks": mg.regression(3)}, r"^model: mlp\(1, .* takes 1 inputs, the tasks have 3$"),
        ({"tasks": mg.quadratics((1.0,), (1.0,))}, r"^tasks: quadratics\(1 tasks, d=1\) is not of the kind"),
        ({"tasks": 3}, r"^tasks: 3 is not a family such as sinusoid\(\)"),
    ],
)
def test_evaluate_refuses(run: Run, given: dict[str, Any], line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        run.evaluate(**given)


# ---- adapt --------------------------------------------------------------------------------------------------------


def test_adapt_is_descent_on_the_points_given(run: Run) -> None:
    rng = np.random.default_rng(0)
    x, y, new = rng.uniform(-5, 5, 6), rng.standard_normal(6), np.linspace(-5, 5, 11)
    phi = run.plan.problem.layout.flatten(run.params)
    for steps in range(4):
        expected = run.plan.problem.predict(phi, new[:, None])[:, 0]
        np.testing.assert_allclose(run.adapt(x, y, steps=steps)(new), expected, rtol=1e-10)
        if steps == 2:  # as in training
            np.testing.assert_array_equal(run.adapt(x, y)(new), run.adapt(x, y, steps=2)(new))
        phi = (phi - 0.02 * run.plan.problem.linearize(phi, Batch(x[None, :, None], y[None, :, None])).grad)[0]


def test_shapes_are_given_back_as_they_came(run: Run) -> None:
    x, y, new = np.arange(4.0), np.arange(4.0), np.arange(7.0)
    flat = run.adapt(x, y)
    assert flat(new).shape == (7,)
    assert flat(new[:, None]).shape == (7,)
    column = run.adapt(x[:, None], y[:, None])
    assert column(new).shape == (7, 1)
    np.testing.assert_array_equal(column(new)[:, 0], flat(new))
    assert run.adapt([0, 1], [1, 2])([1, 2, 3]).shape == (3,)
    many = trained("maml", model=mg.mlp(2, 3, 2), tasks=mg.groups(*table_of_groups()), shots=3)
    assert many.adapt(np.ones((4, 2)), np.ones((4, 2)))(np.ones((5, 2))).shape == (5, 2)


def table_of_groups() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((40, 2)), rng.standard_normal((40, 2)), np.repeat(np.arange(5), 8)


def test_a_predictor_keeps_its_own_adaptation() -> None:
    """A run that trains on does not change a predictor that was made before."""
    run = trained("maml", steps=3)
    predict = run.adapt([0.0, 1.0], [0.0, 1.0])
    before = predict(np.arange(3.0))
    run.loop.theta[...] += 1.0
    np.testing.assert_array_equal(predict(np.arange(3.0)), before)


def test_each_group_is_judged_once() -> None:
    """Six hundred scores of five patients are five patients: the interval must say so."""
    tasks = mg.groups(*table_of_groups())
    run = mg.train("maml", model=mg.linear(2, outputs=2), tasks=tasks, shots=4, queries=4, steps=3)
    every, more = run.evaluate(), run.evaluate(n_tasks=5)
    assert (every.n_tasks, more.n_tasks, run.evaluate(n_tasks=3).n_tasks) == (5, 5, 3)
    assert "on 5 training tasks (few: the interval may be too short)" in repr(every)
    np.testing.assert_array_equal(every.mean, more.mean)
    np.testing.assert_array_equal(every.interval, more.interval)
    seen: list[Any] = []
    tasks.sample = lambda *given: seen.append(type(tasks).sample(tasks, *given)) or seen[-1]  # type: ignore[method-assign]
    run.evaluate()
    firsts = {tuple(map(float, row)) for task in seen[0].support.x for row in task}
    assert len(firsts) == 5 * 4  # four rows of each group, no group twice


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_are_in_the_runs_precision(dtype: str) -> None:
    assert trained("maml", dtype=dtype).adapt([0.0], [1.0])([2.0]).dtype == dtype


@pytest.mark.parametrize("method", META)
def test_every_method_adapts_and_is_evaluated(method: str) -> None:
    run = trained(method)
    x = np.array([[0.0, 0.5], [1.0, 1.5]])[:, : run.plan.tasks.inputs]  # type: ignore[union-attr]
    assert np.isfinite(run.adapt(x, [1.0, 2.0])(x[:1])).all()
    found = run.evaluate(n_tasks=5)
    assert found.mean.shape == (run.loop.algorithm.inner_steps + 1,)  # type: ignore[attr-defined]
    assert np.isfinite(found.mean).all()


def test_a_users_model_adapts_and_is_evaluated() -> None:
    def model(params, x):  # type: ignore[no-untyped-def]
        return np.dot(np.tanh(np.dot(x, params["a"])), params["b"])

    params = {"a": np.ones((1, 3)), "b": np.ones((3, 1))}
    run = mg.train("maml", model=model, params=params, tasks=mg.sinusoid(), meta_batch_size=2, shots=4, steps=2)
    assert run.adapt([0.0, 1.0], [1.0, 2.0])(np.arange(3.0)).shape == (3,)
    assert run.evaluate(n_tasks=4).mean.shape == (2,)


@pytest.mark.parametrize(
    ("x", "y", "more", "line"),
    [
        ([1.0, 2.0], [1.0], {}, r"^x, y: have 2 and 1 points; need the same number$"),
        ([1.0, np.nan], [1.0, 2.0], {}, r"^x: holds 1 values that are not finite"),
        ([1.0, 2.0], ["a", "b"], {}, r"^y: holds values that are not numbers$"),
        ([], [], {}, r"^x: has shape \(0,\)"),
        (np.ones((2, 3)), [1.0, 2.0], {}, r"^model: mlp\(1, .* takes 1 inputs, the data have 3$"),
        ([1.0, 2.0], np.ones((2, 2)), {}, r"^model: mlp\(1, .* gives 1 outputs, the data have 2 targets$"),
        ([1.0], [1.0], {"steps": -1}, r"^steps: -1 is not allowed; needs a whole number ≥ 0"),
        ([1.0], [1.0], {"steps": 1.5}, r"^steps: 1\.5 is not allowed"),
    ],
)
def test_adapt_refuses(run: Run, x: Any, y: Any, more: dict[str, Any], line: str) -> None:
    with pytest.raises(MetagdError, match=line) as caught:
        run.adapt(x, y, **more)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("new", "line"),
    [
        (np.ones((2, 2)), r"^x_new: has 2 columns; was adapted on 1$"),
        ([np.inf], r"^x_new: holds 1 values that are not finite"),
        ("abc", r"^x_new: holds values that are not numbers$"),
        (0.5, r"^x_new: has shape \(\); needs \(n,\) or \(n, D\)"),
    ],
)
def test_predictors_refuse(run: Run, new: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        run.adapt([1.0], [1.0])(new)


def test_quadratics_have_nothing_to_predict() -> None:
    run = mg.train("maml", tasks=mg.quadratics((1.0, 3.0), (0.0, 1.0)), steps=1)
    with pytest.raises(MetagdError, match=r"^adapt: quadratics have no inputs to predict from$"):
        run.adapt([1.0], [1.0])
    with pytest.raises(MetagdError, match=r"^tasks: sinusoid.* is not of the kind that was learned from$"):
        run.evaluate(mg.sinusoid())
    with pytest.raises(MetagdError, match=r"^tasks: quadratics\(1 tasks, d=2\) is not of the kind"):
        run.evaluate(mg.quadratics((1.0,), [[1.0, 2.0]]))
    flat = mg.train("maml", tasks=mg.quadratics((1.0,), [[1.0, 2.0]]), steps=0)
    with pytest.raises(MetagdError, match=r"^metric: 'accuracy' compares classes"):
        flat.evaluate(metric="accuracy")
    assert held_out_panel(run.loop) is None


# ---- panel --------------------------------------------------------------------------------------------------------


def test_panel_is_one_held_out_task_before_and_after(run: Run) -> None:
    panel, again = held_out_panel(run.loop), held_out_panel(run.loop)
    assert panel is not None
    assert again is not None
    np.testing.assert_array_equal(panel.after, again.after)
    assert panel.x_support.shape == panel.y_support.shape == (5,)
    assert panel.x.shape == panel.before.shape == panel.after.shape == (201,)
    theta = run.plan.problem.layout.flatten(run.params)
    np.testing.assert_allclose(panel.before, run.plan.problem.predict(theta, panel.x[:, None])[:, 0], rtol=1e-12)
    np.testing.assert_allclose(panel.after, run.adapt(panel.x_support, panel.y_support)(panel.x), rtol=1e-12)
    fresh = held_out_panel(trained("maml", steps=0, shots=5).loop)
    assert fresh is not None
    np.testing.assert_array_equal(fresh.x_support, panel.x_support)  # the same task all along
    assert not np.array_equal(fresh.before, panel.before)


def test_no_panel_where_inputs_have_more_dimensions() -> None:
    run = mg.train("maml", model=mg.linear(2), tasks=mg.regression(2), steps=1)
    assert held_out_panel(run.loop) is None


def test_adaptation_that_diverges_says_so_in_numbers_alone() -> None:
    """Warnings are errors here: none may come out of the kit's own arithmetic."""
    run = mg.prepare("maml", model=mg.mlp(1, 20, 1), tasks=mg.sinusoid(), inner_lr=1e3)
    with pytest.warns(UserWarning, match="the largest score makes up") as caught:
        found = run.evaluate(steps=60, n_tasks=5)
    assert len(caught) == 1
    assert np.isfinite(found.mean[0])
    assert not np.isfinite(found.mean[-1])
