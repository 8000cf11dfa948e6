"""Comparisons: seeds in pairs, intervals, verdicts, baselines, the table and the picture."""

from __future__ import annotations

from typing import Any

import cases
import numpy as np
import pytest
from cells import cell
from hypothesis import given
from hypothesis import strategies as st

import metagd_nb as mg
from metagd_nb.analysis.comparison import Comparison
from metagd_nb.analysis.comparison_entry import Entry
from metagd_nb.core.errors import MetagdError
from metagd_nb.core.statistics import half_width, t_point
from metagd_nb.tasks.identity import Judged


@pytest.fixture(scope="module")
def stats() -> Any:
    return pytest.importorskip("scipy.stats")


def scored(**scores: list[float]) -> Comparison:
    """A comparison of made-up scores."""
    entries = tuple(Entry(name, (), np.array(values)) for name, values in scores.items())
    return Comparison(entries, tuple(range(len(next(iter(scores.values()))))), "loss")


# ---- arithmetic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [*range(1, 41), 60, 100, 1000])
def test_the_points_of_students_t(freedom: int, stats: Any) -> None:
    assert t_point(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=3e-8)


@given(st.lists(st.integers(-1000, 1000), min_size=3, max_size=12, unique=True))
def test_intervals_are_scipys(stats: Any, values: list[int]) -> None:
    off = np.array(values) / 100
    low, high = stats.t.interval(0.95, len(off) - 1, off.mean(), stats.sem(off))
    assert half_width(off) == pytest.approx((high - low) / 2, rel=1e-7)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=2, max_size=8))
def test_better_is_what_a_paired_t_test_finds(stats: Any, pairs: list[tuple[float, float]]) -> None:
    one, other = (list(side) for side in zip(*pairs, strict=True))
    found = scored(one=one, other=other).difference("one", "other")
    off = np.subtract(one, other)
    if np.ptp(off) < 1e-9:  # the test divides by a spread that is rounding
        return
    p = stats.ttest_rel(one, other).pvalue
    if abs(p - 0.05) > 1e-6:
        assert (found.verdict != "no significant difference") == (p < 0.05)
        if p < 0.05:
            assert found.verdict == ("better" if off.mean() < 0 else "worse")


def test_pairs_tell_apart_what_the_scores_alone_do_not() -> None:
    rng = np.random.default_rng(0)
    hard = 10 * rng.random(6)  # what the seeds differ in
    a, b = hard + 0.01 * rng.random(6), hard + 0.5 + 0.01 * rng.random(6)
    found = scored(a=list(a), b=list(b))
    assert found.difference("a", "b").verdict == "better"
    assert found.difference("b", "a").verdict == "worse"
    assert half_width(a) > abs(a.mean() - b.mean())


def test_one_seed_tells_nothing_apart() -> None:
    assert scored(a=[1.0], b=[100.0]).difference("a", "b").verdict == "no significant difference"


def test_higher_may_be_better() -> None:
    low = scored(a=[1.0, 1.1, 1.0], b=[2.0, 2.1, 2.2])
    high = Comparison(low.entries, low.seeds, "accuracy", higher=True)
    assert (low.difference("a", "b").verdict, high.difference("a", "b").verdict) == ("better", "worse")


# ---- training on seeds -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def meta() -> Comparison:
    runs = [cases.prepared("maml", steps=40), cases.prepared("reptile", steps=40)]
    return mg.compare(runs, seeds=3, n_tasks=50)


def test_every_method_has_every_seed(meta: Comparison) -> None:
    assert [entry.name for entry in meta.entries] == ["maml", "reptile", "scratch", "pretrain"]
    assert [entry.baseline for entry in meta.entries] == [False, False, True, True]
    for entry in meta.entries:
        assert [run.plan.settings.seed for run in entry.runs] == [0, 1, 2]
        assert [run.stopped for run in entry.runs] == ["steps"] * 3
    for seed in range(3):  # the same tasks for all
        first = [entry.runs[seed].plan.batches(7).support.x for entry in meta.entries[:2]]
        np.testing.assert_array_equal(*first)


def test_scores_are_those_of_fresh_tasks(meta: Comparison) -> None:
    for entry in meta.entries:
        by_hand = [run.evaluate(n_tasks=50, seed=1 + run.plan.settings.seed).mean[-1] for run in entry.runs]
        np.testing.assert_array_equal(entry.scores, by_hand)
    same = cases.trained("maml", steps=40, seed=2)
    cases.assert_same(same, meta["maml"].runs[2])


def test_baselines_take_over_what_they_have_in_common() -> None:
    run = cases.prepared("maml", steps=2, inner_lr=0.037, shots=7, inner_steps=3)
    found = mg.compare([run], seeds=1, n_tasks=5)
    for name in ("scratch", "pretrain"):
        own = found[name].runs[0].loop.algorithm
        assert (own.inner_lr, own.shots, own.inner_steps) == (0.037, 7, 3)
    assert found["scratch"].runs[0].plan.settings.steps == 2


@pytest.mark.filterwarnings("ignore:a few tasks carry")
def test_a_finished_run_is_taken_as_it_is() -> None:
    run = cases.trained("maml", seed=1)
    found = mg.compare({"mine": run}, seeds=2, n_tasks=5, baselines=False)
    assert found["mine"].runs[1] is run
    assert found["mine"].runs[0] is not run
    stopped = cases.prepared("maml", seed=0, steps=50)
    stopped.step(3)
    stopped.stop()
    found = mg.compare({"mine": stopped}, seeds=1, n_tasks=5, baselines=False)
    assert found["mine"].runs[0].iteration == 50  # one that was stopped by hand is trained to the end


def test_one_loss(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = cases.table()
    runs = [mg.prepare(m, model=mg.linear(3), x=x, y=y, steps=60, lr=0.05) for m in ("gd", "adam")]
    found = mg.compare(runs, seeds=2)
    assert [entry.name for entry in found.entries] == ["gd", "adam", "lbfgs"]
    gd = mg.train("gd", model=mg.linear(3), x=x, y=y, steps=60, lr=0.05)
    np.testing.assert_array_equal(found["gd"].scores, [gd.loss, gd.loss])
    assert found.difference("gd", "lbfgs").verdict == "worse"
    assert "least squares (optimum)" in repr(found)


def test_methods_of_one_name_are_told_apart() -> None:
    runs = [cases.prepared("maml", steps=1, inner_lr=rate) for rate in (0.01, 0.1)]
    found = mg.compare(runs, seeds=1, n_tasks=2, baselines=False)
    assert [entry.name for entry in found.entries] == ["maml inner_lr=0.01", "maml inner_lr=0.1"]
    runs = [cases.prepared("maml", steps=1) for _ in range(2)]
    found = mg.compare(runs, seeds=1, n_tasks=2, baselines=False)
    assert [entry.name for entry in found.entries] == ["maml 1", "maml 2"]


@pytest.mark.parametrize(
    ("runs", "line"),
    [
        (list, "needs a run or more"),
        (lambda: [cases.prepared("gd"), cases.prepared("maml")], "only methods of one kind can be compared"),
        (lambda: [3], "3 is not a run"),
        (lambda: {"a": "b"}, "'b' is not a run"),
    ],
)
def test_mistakes_are_one_line(runs: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        mg.compare(runs())


def test_a_loss_that_fails_ends_the_comparison() -> None:
    def loss(w: Any) -> Any:
        if loss.calls > 4:  # type: ignore[attr-defined]
            raise RuntimeError("enough")
        loss.calls += 1  # type: ignore[attr-defined]
        return w * w

    loss.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(MetagdError, match="enough"):
        mg.compare([mg.prepare("gd", loss=loss, params={"w": 1.0}, steps=40)], seeds=1, baselines=False)


# ---- curves, table, picture ------------------------------------------------------------------------------------------


def test_curves_are_medians_and_quartiles() -> None:
    runs = tuple(
        mg.train("gd", loss=lambda w, c=c: c * w * w, params={"w": 1.0}, lr=0.1 / c, steps=64) for c in (1, 2, 9)
    )
    curves = Entry("gd", runs, np.zeros(3)).curves()
    one = runs[0].record["loss"]
    np.testing.assert_array_equal(curves.x, np.arange(65))
    np.testing.assert_allclose(curves.median, 2 * one, rtol=1e-12)
    np.testing.assert_allclose(curves.low, 1.5 * one, rtol=1e-12)
    np.testing.assert_allclose(curves.high, 5.5 * one, rtol=1e-12)


def test_noisy_curves_are_means_of_stretches() -> None:
    run = cases.trained("maml", steps=79)
    curves = Entry("maml", (run,), np.zeros(1)).curves()
    losses = run.record["loss"]
    edges = np.linspace(0, 79, 11)
    step = np.arange(80)
    for i, median in enumerate(curves.median):
        inside = (step >= edges[i]) & ((step < edges[i + 1]) | (i == 9))
        assert median == pytest.approx(losses[inside].mean(), rel=1e-12)


@pytest.mark.parametrize(("x", "end"), [("steps", 40), ("evaluations", None), ("seconds", None)])
def test_the_axis_may_be_what_it_costs(meta: Comparison, x: str, end: float | None) -> None:
    column = {"steps": "step", "evaluations": "grad_evals", "seconds": "seconds"}[x]
    curves = meta["maml"].curves(x)
    assert curves.x[-1] <= min(run.record.last(column) for run in meta["maml"].runs)
    figure = meta.plot(x)
    (ax,) = figure.axes
    assert [line.get_label() for line in ax.lines] == ["maml", "reptile", "scratch", "pretrain"]
    np.testing.assert_array_equal(ax.lines[0].get_xydata()[:, 1], curves.median)
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 4
    assert len({line.get_linestyle() for line in ax.lines}) == 4  # no colour alone
    assert (
        ax.get_xlabel() == {"steps": "step", "evaluations": "gradient evaluations", "seconds": "seconds of training"}[x]
    )
    assert len(ax.collections) == 4
    with pytest.raises(MetagdError, match="unknown axis 'step'; did you mean 'steps'"):
        meta.plot("step")


def test_the_table_says_what_it_is(meta: Comparison) -> None:
    head, *lines = meta.rows()
    baseline = min(("scratch", "pretrain"), key=lambda name: meta[name].scores.mean())
    assert head == (
        "", "loss on 50 held-out tasks", "against maml", f"against {baseline}", "steps", "gradient evaluations",
        "seconds",
    )  # fmt: skip
    assert [line[0] for line in lines] == ["maml", "reptile", "scratch (baseline)", "pretrain (baseline)"]
    assert lines[0][2] == "–"
    found = meta.difference("reptile", "maml")
    assert lines[1][2].endswith(f": {found.verdict}")
    assert f"{found.mean:.4g} ± {found.interval:.2g}" in lines[1][2]
    text = repr(meta)
    assert text.endswith("3 seeds; mean ± half-width of the 95 % interval, differences paired by seed")
    assert "seconds" not in text  # a check of the notebook compares what is the same each time
    assert "<table>" in meta._repr_mimebundle_()["text/html"]


def test_what_diverges_is_counted_and_hides_nobody() -> None:
    runs = {"well": cases.prepared("gd", lr=0.05), "wild": cases.prepared("gd", lr=40.0)}
    found = mg.compare(runs, seeds=2, baselines=False)
    assert found.rows()[2][0] == "wild, 2 of 2 diverged"
    (ax,) = found.plot().axes
    low, high = ax.get_ylim()
    assert low < found["well"].runs[0].loss < high


def test_the_cell(ip: Any) -> None:
    done = cell(ip, "tasks = sinusoid()\nmodel = mlp(1, 5, 1)")
    for name in ("maml", "reptile"):
        done = cell(ip, f"%metagd {name} --steps 5 --meta-batch-size 2 --wait --no-plot -o {name}")
        assert done.error is None, done.text
    done = cell(ip, "%metagd compare maml reptile --seeds 2 --over evaluations --no-baselines")
    assert done.error is None, done.text
    assert "against maml" in done.text
    assert "scratch" not in done.text
    assert "2 seeds" in done.text
    assert cell(ip, "%metagd compare maml reptile").error is None
    assert cell(ip, "%metagd compare maml reptile --over sec").line == (
        "metagd: --over: 'sec' is not one of steps, evaluations, seconds; did you mean 'seconds'?"
    )
    assert "--seeds" in cell(ip, "%metagd compare --help").text


# ---- the same few tasks for every seed ------------------------------------------------------------------------------


def crossed(seeds: int, tasks: int, rng: np.random.Generator, of_seed: float, of_task: float, of_both: float) -> Any:
    """Differences (seeds, tasks) that have a part of the seed, a part of the task and a rest; the mean is 0."""
    return (
        of_seed * rng.standard_normal((seeds, 1))
        + of_task * rng.standard_normal(tasks)
        + of_both * rng.standard_normal((seeds, tasks))
    )


def on_fixed_tasks(off: Any, aligned: bool = True) -> Comparison:
    """A comparison of two methods that differ by ``off`` (seeds, tasks)."""
    told = Judged(off.shape[1], "training", False, True)
    one, other = (np.nanmean(by, axis=1) for by in (1 + off, 1 + 0 * off))
    entries = (
        Entry("a", (), one, False, told, None, 1 + off, aligned),
        Entry("b", (), other, False, told, None, 1 + 0 * off, aligned),
    )
    return Comparison(entries, tuple(range(len(off))), "loss")


def test_more_seeds_do_not_tell_of_other_hospitals() -> None:
    """Three hospitals that differ by ±1: two hundred seeds narrow the seeds' part alone."""
    rng = np.random.default_rng(0)
    hospital = np.array([0.2, 1.0, 1.9])
    for seeds in (5, 20, 200):
        found = on_fixed_tasks(hospital + 0.1 * rng.standard_normal((seeds, 3))).difference("a", "b")
        assert found.verdict == "no significant difference"
        assert found.over_seeds < 0.2 < 1.5 < found.over_tasks
        assert found.interval == pytest.approx(np.hypot(found.over_seeds, found.over_tasks))
    assert found.over_seeds < 0.02
    assert on_fixed_tasks(1 + 0.01 * rng.standard_normal((5, 3))).difference("a", "b").verdict == "worse"


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("parts", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.2, 1, 0.3), (1, 1, 1), (0, 1, 3)])
def test_false_alarms_are_one_in_twenty_at_most(parts: tuple[float, float, float], aligned: bool) -> None:
    rng = np.random.default_rng(0)
    for seeds, tasks in ((5, 3), (20, 3), (4, 12)):
        called = 0
        for _ in range(200):
            off = crossed(seeds, tasks, rng, *parts)
            off = off if aligned else rng.permuted(off, axis=1)
            called += on_fixed_tasks(off, aligned).difference("a", "b").verdict != "no significant difference"
        assert called <= 20  # of 200; 10 are expected where one source alone makes the difference


def test_one_seed_or_one_task_tells_nothing_apart() -> None:
    for off in (5 + np.arange(4.0)[None], 5 + np.arange(4.0)[:, None]):
        found = on_fixed_tasks(off).difference("a", "b")
        assert np.isnan(found.interval)
        assert found.verdict == "no significant difference"
        assert not np.isnan([found.over_seeds, found.over_tasks]).all()


def test_tasks_that_a_seed_has_not_judged_count_for_the_others() -> None:
    off = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, 5.0]])
    found = on_fixed_tasks(off).difference("a", "b")
    assert found.over_tasks == pytest.approx(half_width(np.array([2.0, 2.0, 5.0])))


def hospitals(n: int = 3, test: float = 0.0, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n), 12)
    x = rng.standard_normal((12 * n, 2))
    return mg.groups(x, x @ [1.0, -1.0] + rng.standard_normal(n)[group], group, test=test)


def on_hospitals(tasks: Any, *methods: str) -> list[Any]:
    given: dict[str, Any] = {"model": mg.linear(2), "shots": 4, "queries": 4, "steps": 20, "inner_lr": 0.05}
    return [mg.prepare(method, tasks=tasks, **given) for method in methods]


def test_hospitals_that_were_learned_from_are_called_so() -> None:
    found = mg.compare(on_hospitals(hospitals(), "maml", "reptile"), seeds=4, baselines=False)
    text = repr(found)
    assert "loss on 3 training tasks" in text
    assert (
        "4 seeds; mean ± half-width of the 95 % interval, differences paired by seed; every seed judges the same"
        in text
    )
    assert "fewer than 10 tasks: it may be too short; the tasks were learned from" in text
    maml = found["maml"]
    assert maml.by_task is not None
    for row, run, seed in zip(maml.by_task, maml.runs, range(4), strict=True):
        np.testing.assert_array_equal(row, run.evaluate(seed=1 + seed).scores[-1])
    seeds, tasks = maml.sources
    assert seeds == pytest.approx(half_width(maml.scores))
    assert tasks == pytest.approx(half_width(maml.by_task.mean(axis=0)))
    assert f"{maml.scores.mean():.4g} ± {np.hypot(seeds, tasks):.2g} (seeds {seeds:.2g}, tasks {tasks:.2g})" in text
    only = repr(mg.compare(on_hospitals(hospitals(), "maml"), seeds=1, baselines=False))
    assert "(tasks " in only
    assert "±" not in only.splitlines()[1]


def test_hospitals_held_out_are_judged_and_called_so() -> None:
    tasks = hospitals(12, test=0.25)
    found = mg.compare(on_hospitals(tasks, "maml"), seeds=2)
    assert "loss on 3 held-out tasks" in repr(found)
    assert "learned from" not in repr(found)
    assert found["scratch"].tasks is tasks.test
    held = mg.compare(on_hospitals(tasks, "maml"), seeds=2, tasks=tasks.test)
    np.testing.assert_array_equal(found["maml"].scores, held["maml"].scores)
    assert "loss on 9 training tasks" in repr(mg.compare(on_hospitals(tasks, "maml"), seeds=2, tasks=tasks))


def test_methods_judged_on_other_tasks_are_not_compared() -> None:
    every, some = hospitals(8), hospitals(8).split(0.5)
    for a, b, tasks in ((every, some[0], some[1]), (every, hospitals(8, seed=1), None), (every, some[0], None)):
        runs = {"a": on_hospitals(a, "maml")[0], "b": on_hospitals(b, "maml")[0]}
        found = mg.compare(runs, seeds=2, tasks=tasks, baselines=False)
        assert found.difference("a", "b").verdict == "not comparable"
        assert found.rows()[2][2].endswith(": not comparable")
    head, first, second = mg.compare({"a": runs["a"], "b": runs["b"]}, seeds=2, baselines=False).rows()
    assert head[1] == "loss"
    assert first[1].endswith(" on 8 training tasks")
    assert second[1].endswith(" on 4 training tasks")
    twin = {"a": on_hospitals(every, "maml")[0], "b": on_hospitals(hospitals(8), "reptile")[0]}
    verdict = mg.compare(twin, seeds=2, baselines=False).difference("a", "b").verdict
    assert verdict != "not comparable"  # two objects of the same rows
