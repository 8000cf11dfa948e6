"""Evaluations say on which tasks they were made and how far their mean can be trusted."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import trained

import metagd_nb as mg
from metagd_nb.analysis.cost_table import cost_table
from metagd_nb.core.errors import MetagdError
from metagd_nb.tasks import Batch, TaskBatch, Tasks
from metagd_nb.tasks.identity import Judged
from metagd_nb.tasks.user_data.groups import Groups
from metagd_nb.training import evaluation
from metagd_nb.training.adaptation import held_out_panel
from metagd_nb.training.costs import Costs
from metagd_nb.training.evaluation_result import Evaluation
from metagd_nb.training.run import Run

Rng = np.random.Generator


def of_scores(scores: Any, metric: str = "loss") -> Evaluation:
    """An evaluation of made-up scores (steps+1, n)."""
    costs = (Costs(0, 0, 0.0),) * len(scores)
    return Evaluation(np.asarray(scores, float), metric, Judged(np.shape(scores)[1], "held-out"), costs)


def table(groups: int = 6, rows: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rows)
    x = rng.standard_normal((groups * rows, 2))
    return x, x @ [1.0, -1.0] + rng.standard_normal(groups)[group], group


def learned(tasks: Tasks, **more: Any) -> Run:
    options: dict[str, Any] = {"model": mg.linear(tasks.inputs, tasks.outputs), "shots": 3, "queries": 3, "steps": 2}
    return mg.train("maml", tasks=tasks, inner_lr=0.01, **(options | more))


# ---- the interval ---------------------------------------------------------------------------------------------------


def coverage(draw: Callable[[Rng, int], np.ndarray], mean: float, n: int, repeats: int = 1000) -> float:
    rng = np.random.default_rng(n)
    inside = 0
    for _ in range(repeats):
        found = of_scores(draw(rng, n)[None])
        inside += abs(found.mean[0] - mean) <= found.interval[0]
    return inside / repeats


@pytest.mark.parametrize("n", [4, 5, 8])
def test_coverage_where_losses_are_nearly_normal(n: int) -> None:
    """Mean of twenty squares or so: a little skewed. The normal interval would cover .85 to .91."""
    assert 0.93 <= coverage(lambda rng, n: rng.gamma(20, 1 / 20, n), 1.0, n) <= 0.97


@pytest.mark.parametrize(("n", "written"), [(4, 0.83), (8, 0.83), (50, 0.90)])
def test_coverage_where_losses_are_skewed_is_as_written(n: int, written: float) -> None:
    found = coverage(lambda rng, n: rng.lognormal(0, 1, n), math.exp(0.5), n)
    assert found == pytest.approx(written, abs=0.035)
    (row,) = [line.split() for line in (Evaluation.__doc__ or "").splitlines() if line.strip().startswith("log-normal")]
    assert written in map(float, row[-6:])


def test_fewer_than_ten_tasks_are_few() -> None:
    for n in (2, 9, 10, 50):
        found = of_scores(np.ones((1, n)))
        few = "(few: the interval may be too short)"
        assert (few in repr(found)) == (few in found._repr_mimebundle_()["text/html"]) == (n < 10)
        assert (few in found.table()) == (n < 10)


# ---- few tasks that carry the mean ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 20, 100, 600])
def test_ordinary_losses_are_no_heavy_tail(n: int) -> None:
    rng = np.random.default_rng(0)
    calm: tuple[Callable[[], np.ndarray], ...] = (
        lambda: rng.random(n), lambda: rng.exponential(size=n), lambda: 1 + 0.2 * rng.standard_normal(n),
        lambda: rng.uniform(0.1, 5, n) ** 2, lambda: np.ones(n),
    )  # fmt: skip
    for draw in calm:
        assert sum(of_scores(draw()[None]).few_carry is not None for _ in range(200)) <= 7  # one in a hundred
    assert of_scores(np.zeros((1, n))).few_carry is None
    assert of_scores(np.eye(1, n), "accuracy").few_carry is None


@pytest.mark.parametrize(("n", "k"), [(5, 1), (50, 1), (600, 6)])
def test_a_few_that_carry_the_mean_are_named(n: int, k: int) -> None:
    scores = np.ones((3, n))
    scores[2, :k] = 400.0
    found = of_scores(scores).few_carry
    assert found is not None
    assert found.startswith(
        f"a few tasks carry the mean: after 2 steps the {'largest score' if k == 1 else '6 largest'}"
    )
    share = 400 * k / (400 * k + n - k)
    assert f"{share:.0%} of the sum over {n} tasks (mean {scores[2].mean():.4g}, median 1)" in found
    assert of_scores(-scores).few_carry is not None  # scores such as r2


class Wild(Tasks):
    """The target is 1 in most tasks and 100 in one of a hundred."""

    inputs = outputs = 1
    test_queries = 2

    def sample(self, rng: Rng, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        y = np.where(np.arange(batches * n) % 100 == 0, 100.0, 1.0)[:, None, None]
        ones = np.ones((batches * n, shots + queries, 1))
        return TaskBatch(Batch(ones[:, :shots], y * ones[:, :shots]), Batch(ones[:, shots:], y * ones[:, shots:]))


def test_the_warning_names_the_users_line() -> None:
    run = learned(Wild(), steps=0)
    with pytest.warns(
        UserWarning, match=r"^a few tasks carry the mean: after 1 step the 2 largest scores make up 99%"
    ) as caught:
        found = run.evaluate(n_tasks=200)
    (one,) = caught
    assert Path(one.filename).name == Path(__file__).name
    assert found.median[0] < 2 < found.mean[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cost_table([run])  # costs are no scores


def test_compare_and_sweep_warn_once() -> None:
    given: dict[str, Any] = {"model": mg.linear(1), "tasks": Wild(), "shots": 3, "queries": 3, "steps": 1}
    with pytest.warns(UserWarning, match=r"^a few tasks carry the mean of maml, reptile; the intervals") as caught:
        mg.compare([mg.prepare(m, **given) for m in ("maml", "reptile")], seeds=2, baselines=False)
    assert len(caught) == 1
    assert Path(caught[0].filename).name == Path(__file__).name
    with pytest.warns(UserWarning, match=r"^a few tasks carry the mean of 2 of 2 trials") as caught:
        mg.sweep("maml", {"inner_lr": [0.01, 0.02]}, jobs=1, **given)
    assert len(caught) == 1


def test_a_diverged_task_is_the_worst() -> None:
    found = of_scores([[1.0, 2.0, np.nan, np.inf]])
    np.testing.assert_array_equal(found.median, [np.inf])
    np.testing.assert_array_equal(found.quantiles[0.25], [1.75])
    np.testing.assert_array_equal(found.quantiles[0.95], [np.inf])


# ---- held out, or learned from --------------------------------------------------------------------------------------


def test_new_draws_are_held_out_and_groups_are_not() -> None:
    found = trained("maml").evaluate(n_tasks=30)
    assert (found.tasks_judged, found.n_tasks) == ("held-out", 30)
    found = learned(mg.groups(*table())).evaluate()
    assert (found.tasks_judged, found.n_tasks) == ("training", 6)
    assert "on 6 training tasks (few" in repr(found)
    assert "6 training tasks" in found._repr_mimebundle_()["text/html"]


def test_groups_hold_some_out() -> None:
    tasks = mg.groups(*table(8), test=0.25)
    assert isinstance(tasks, Groups)
    assert repr(tasks) == "groups(6 groups of 8–8 rows, D=2; 2 held out)"
    assert tasks.test is not None
    assert sorted([*tasks.labels, *tasks.test.labels]) == list(range(8))
    run = learned(tasks)
    found = run.evaluate()
    assert (found.tasks_judged, found.n_tasks) == ("held-out", 2)
    np.testing.assert_array_equal(found.mean, run.evaluate(tasks.test).mean)
    assert run.evaluate(tasks).tasks_judged == "training"
    same, other = mg.groups(*table(8)).split(0.75)
    np.testing.assert_array_equal(same.labels, tasks.labels)
    np.testing.assert_array_equal(other.labels, tasks.test.labels)


@pytest.mark.parametrize("share", [0.05, 0.99, 1.0, 1.5])
def test_a_share_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(MetagdError, match=rf"^test: {share} of 8 groups leaves one side empty$"):
        mg.groups(*table(8), test=share)


@pytest.mark.parametrize("share", [-0.1, "x", math.nan])
def test_what_is_no_share_is_refused(share: Any) -> None:
    with pytest.raises(MetagdError, match=r"^test: "):
        mg.groups(*table(8), test=share)


def test_a_file_keeps_what_is_held_out(tmp_path: Path) -> None:
    tasks = mg.groups(*table(8), test=0.25)
    run = learned(tasks)
    run.save(tmp_path / "a.run")
    again = mg.load(tmp_path / "a.run")
    np.testing.assert_array_equal(again.evaluate().scores, run.evaluate().scores)
    assert again.evaluate().tasks_judged == "held-out"
    assert again.evaluate(tasks).tasks_judged == "training"  # another object with the same rows
    learned(tasks.test).save(tmp_path / "b.run")  # type: ignore[arg-type]
    assert mg.load(tmp_path / "b.run").evaluate(tasks).tasks_judged == "held-out"


def test_parts_of_groups() -> None:
    x, y, group = table()
    first, second = mg.groups(x, y, group).split(0.5)
    run = learned(first)
    assert run.evaluate(second).tasks_judged == "held-out"
    assert run.evaluate(first).tasks_judged == "training"
    every = run.evaluate(mg.groups(x, y, group))
    assert every.tasks_judged == "training"
    assert "on 6 tasks, some of them training tasks (few" in repr(every)


def test_groups_of_other_tables() -> None:
    x, y, group = table()
    run = learned(mg.groups(x, y, group))
    assert run.evaluate(mg.groups(*table(seed=1))).tasks_judged == "held-out"  # numbers 0…5 name nothing
    assert run.evaluate(mg.groups(x, y, group + 100)).tasks_judged == "training"  # the same rows by other labels
    shuffled = np.random.default_rng(0).permutation(len(x))
    assert run.evaluate(mg.groups(x[shuffled], y[shuffled], group[shuffled])).tasks_judged == "training"
    some = np.arange(len(x)) % 2 == 0
    assert run.evaluate(mg.groups(x[some], y[some], group[some])).tasks_judged == "training"  # some of their rows
    names = np.array(list("uvwxyz"))[group]
    run = learned(mg.groups(x[some], y[some], names[some]))
    assert run.evaluate(mg.groups(x[~some], y[~some], names[~some])).tasks_judged == "training"  # the same hospitals
    assert run.evaluate(mg.groups(x, y, np.char.add("new ", names))).tasks_judged == "held-out"


def test_quadratics_series_episodes_and_mixtures() -> None:
    a, c = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0])
    run = mg.train("maml", tasks=mg.quadratics(a, c), steps=1)
    assert run.evaluate().tasks_judged == run.evaluate(mg.quadratics(a, c)).tasks_judged == "training"
    assert "3 tasks, some of them training tasks" in repr(run.evaluate(mg.quadratics(a, c[::-1])))
    assert run.evaluate(mg.quadratics(a, c + 1)).tasks_judged == "held-out"

    rows = np.random.default_rng(0).standard_normal((6, 40)).cumsum(axis=1)
    series = mg.series(rows, window=3)
    run = learned(series.without_last(9))
    assert run.evaluate(series).tasks_judged == "training"  # the same series, later
    assert run.evaluate(mg.series(rows + np.arange(40), window=3)).tasks_judged == "held-out"
    assert learned(series).evaluate(mg.series(rows[::-1].copy(), window=3)).tasks_judged == "training"
    run = learned(series.subset([0, 1, 2]))
    assert run.evaluate(series.subset([3, 4, 5])).tasks_judged == "held-out"
    generated = learned(mg.series("ar2", window=3)).evaluate(n_tasks=20)
    assert (generated.tasks_judged, generated.n_tasks) == ("held-out", 20)

    x, kind = np.random.default_rng(0).standard_normal((80, 2)), np.repeat(np.arange(8), 10)
    episodes = mg.episodes(x, kind, ways=2)
    first, second = episodes.split(0.5)
    run = learned(first)
    assert run.evaluate(n_tasks=20).tasks_judged == run.evaluate(episodes, n_tasks=20).tasks_judged == "training"
    assert run.evaluate(second, n_tasks=20).tasks_judged == "held-out"

    one, other = (mg.groups(*table(seed=seed)) for seed in (0, 1))
    run = learned(mg.mixed(a=one, b=other))
    assert run.evaluate(mg.mixed(a=one, c=mg.groups(*table(seed=2)))).tasks_judged == "training"
    assert run.evaluate(other).tasks_judged == "training"
    assert run.evaluate(mg.groups(*table(seed=2))).tasks_judged == "held-out"
    numbers = run.evaluate().numbers
    assert numbers is not None
    assert len(set(numbers)) == 12


@pytest.mark.filterwarnings("ignore:a few tasks carry")
def test_scores_stand_in_the_order_of_the_family() -> None:
    tasks = mg.groups(*table(9))
    run = learned(tasks, shots=7)  # one row left to judge on, so a seed only changes which
    for seed in (1, 2):
        found = run.evaluate(seed=seed)
        np.testing.assert_array_equal(found.numbers, np.arange(9))
        drawn = tasks.sample(np.random.default_rng([seed, 9, 0xE]), 1, 9, 7, tasks.test_queries)
        for number, score in enumerate(found.scores[0]):
            (at,) = np.flatnonzero(drawn.support.number == number)
            assert set(map(tuple, drawn.support.x[at])) <= set(map(tuple, tasks.x[tasks.group == number]))
            given = run.plan.problem.layout.flatten(run.params)
            off = run.plan.problem.predict(given, drawn.query.x[at : at + 1]) - drawn.query.y[at : at + 1]
            assert score == pytest.approx((off**2).mean())


def test_the_panel_says_what_it_shows() -> None:
    rng = np.random.default_rng(0)
    x, y, group = rng.standard_normal(60), rng.standard_normal(60), np.repeat(np.arange(6), 10)
    for share, origin in ((0, "training"), (0.5, "held-out")):
        tasks = mg.groups(x, y, group, test=share)
        panel = held_out_panel(learned(tasks).loop)
        assert panel is not None
        assert panel.origin == origin
        assert (int(panel.label.split()[-1]) in tasks.labels) == (origin == "training")  # type: ignore[attr-defined]
    panel = held_out_panel(trained("maml").loop)
    assert panel is not None
    assert panel.origin == "held-out"


def test_an_interrupt_keeps_the_tasks_judged_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    run = mg.train("maml", model=mg.mlp(1, 5, 1), tasks=mg.sinusoid(), steps=2)
    whole = run.evaluate(n_tasks=600)
    asked = 0

    def interrupted(*given: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > 5:  # two steps of each 200 tasks
            raise KeyboardInterrupt
        return score(*given)

    score = evaluation._score
    monkeypatch.setattr(evaluation, "_score", interrupted)
    with pytest.warns(UserWarning, match="interrupted: the evaluation is that of 400 of 600 tasks"):
        part = run.evaluate(n_tasks=600)
    assert part.n_tasks == 400
    np.testing.assert_array_equal(part.scores, whole.scores[:, :400])
    asked = 5
    with pytest.raises(KeyboardInterrupt):
        run.evaluate(n_tasks=600)
