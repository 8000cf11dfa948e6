"""What a training and an adaptation cost: counted exactly, memory measured, times out of what is compared."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from cases import BY_STEPS, META, METHODS, assert_same, trained

import metagd_nb as mg
from metagd_nb import charts
from metagd_nb.analysis.cost_table import CostTable
from metagd_nb.training.costs import Costs, CountingProblem, Peak, peak_of
from metagd_nb.training.run import Run


@pytest.fixture(scope="module")
def run() -> Run:
    return trained("maml", steps=30, shots=5)


def test_peak_is_the_largest_moment_not_the_sum() -> None:
    kept = np.zeros(1 << 20)

    def work() -> None:
        for _ in range(3):
            one = np.zeros(1 << 18)  # 2 MB
            two = np.zeros(1 << 17)  # 1 MB beside it
            del one, two

    assert 3 << 20 <= peak_of(work) < (3 << 20) + 20_000
    assert kept.nbytes == 8 << 20  # what was there before is not counted
    assert not tracemalloc.is_tracing()


def test_peak_joins_a_tracing_under_way() -> None:
    tracemalloc.start()
    try:
        np.zeros(1 << 20)  # a higher peak, over before the work begins
        before = np.zeros(1 << 18)
        with Peak() as peak:
            assert peak.bytes() < 10_000
            more = np.zeros(1 << 17)
            assert 1 << 20 <= peak.bytes() < (1 << 20) + 10_000
        assert tracemalloc.is_tracing()
        assert before.size > more.size
    finally:
        tracemalloc.stop()


def test_a_counted_problem_is_what_it_was_and_counts(run: Run) -> None:
    counted, batch = CountingProblem(run.plan.problem), run.plan.batches(0).support
    point = counted.linearize(run.loop.theta, batch)
    plain = run.plan.problem.linearize(run.loop.theta, batch)
    v = np.ones((4, run.loop.theta.size))
    np.testing.assert_array_equal(np.asarray(point.hvp(v)), np.asarray(plain.hvp(v)))
    np.testing.assert_array_equal(np.asarray(point.grad), np.asarray(plain.grad))
    assert (counted.grad_evals, counted.hvps) == (4, 4)
    assert counted.layout is run.plan.problem.layout


def test_what_fails_aside_fails_here() -> None:
    with pytest.raises(ZeroDivisionError):
        peak_of(lambda: 1 / 0)
    assert not tracemalloc.is_tracing()


def test_memory_is_the_same_at_each_measurement() -> None:
    """Buffers that an earlier step left to be used again count as if they were made now."""
    given: dict[str, Any] = {"model": mg.mlp(1, 40, 40, 1), "tasks": mg.sinusoid(), "inner_lr": 0.001}
    run = mg.train("maml", steps=5, **given)
    first, second = run.costs.peak_bytes, run.costs.peak_bytes
    assert first == pytest.approx(second, rel=0.02)
    with Peak() as warm:
        run.loop.algorithm.evaluate(run.plan.problem, run.loop.theta, run.loop.executor.state, run.plan.batches(5))
        assert first > 2 * warm.bytes()


@pytest.mark.parametrize("method", METHODS)
def test_training_costs_are_those_of_the_record(method: str) -> None:
    run = trained(method)
    grad_evals, hvps, seconds, peak = run.costs
    assert (grad_evals, hvps) == (run.record["grad_evals"][-1], run.record["hvps"][-1])
    assert seconds == run.record["seconds"][-1] > 0
    assert run.loop.theta.nbytes < peak < 3e6  # a gradient at least
    assert_same(run.replay(), run)  # measuring changed nothing


def test_costs_of_a_run_that_has_not_started_are_none() -> None:
    assert mg.prepare("gd", loss=lambda w: w**2, params={"w": 1.0}).costs[:3] == (0, 0, 0.0)


def test_memory_of_a_step_grows_with_what_it_holds() -> None:
    """k inner steps of MAML keep k copies of (T, P) and their activations: twice the steps, about twice the peak."""
    given: dict[str, Any] = {"model": mg.mlp(1, 60, 60, 1), "tasks": mg.sinusoid(), "meta_batch_size": 20, "steps": 1}
    peaks = [mg.train("maml", inner_steps=k, inner_lr=1e-3, **given).costs.peak_bytes for k in (4, 8)]
    assert 1.4 < peaks[1] / peaks[0] < 2.1
    copy = 20 * mg.mlp(1, 60, 60, 1).layout.size * 8
    assert peaks[0] > 4 * copy


def test_adaptation_costs_step_by_step(run: Run) -> None:
    found = run.evaluate(steps=3, n_tasks=30)
    assert [(c.grad_evals, c.hvps) for c in found.adaptation] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert (np.diff([c.seconds for c in found.adaptation]) >= 0).all()
    assert found.adaptation[3].seconds > 0
    peaks = [c.peak_bytes for c in found.adaptation]
    assert 500 < peaks[1] <= peaks[2] <= peaks[3] < 1e6
    assert found.training is not None
    assert found.training[:3] == run.costs[:3]


@pytest.mark.parametrize("method", META)
def test_every_method_tells_what_adapting_costs(method: str) -> None:
    """One task, one evaluation a step — and what is evaluated is what `adapt` does. Prototypes take no gradient.

    iMAML evaluates where each step leads, to refuse one that goes up, and so once more than there are steps.
    """
    found = trained(method).evaluate(steps=2, n_tasks=5)
    two_steps = (2 + (method == "imaml")) if method in BY_STEPS else 0
    assert [c.grad_evals for c in found.adaptation][::2] == [0, two_steps]
    assert len(found.adaptation) == 3


def test_table_for_reading_and_for_comparing(run: Run) -> None:
    found, again = (run.evaluate(steps=2, n_tasks=30) for _ in range(2))
    assert repr(found) == repr(again)
    shown = found._repr_mimebundle_()
    assert shown == again._repr_mimebundle_()  # no time, no memory: a notebook's check compares it
    assert shown["text/plain"] == repr(found)
    assert shown["text/html"].count("<tr>") == 4
    assert (
        f"<td>{found.mean[1]:.4g} ± {found.interval[1]:.2g}</td><td>{found.median[1]:.4g}</td><td>1</td><td>0</td>"
        in shown["text/html"]
    )
    lines = found.table().splitlines()
    head = ["steps", "loss", "median", "gradient", "evaluations", "Hessian·vectors", "seconds", "peak", "MB"]
    assert lines[0].split() == head
    assert [line.split()[0] for line in lines[1:4]] == ["0", "1", "2"]
    assert len({len(line) for line in lines[:4]}) == 1  # aligned
    assert lines[4] == "on 30 held-out tasks; costs of adapting to one"
    assert lines[5].startswith(f"training: {run.costs.grad_evals:,} gradient evaluations, {run.costs.hvps:,} Hess")


def test_words() -> None:
    told = Costs(70_000, 3, 12.3456, 3 * 2**20).words()
    assert told == "70,000 gradient evaluations, 3 Hessian·vectors, 12.3 s, 3.00 MB at the peak"
    assert Costs(1, 0, 0.5).words() == "1 gradient evaluations, 0 Hessian·vectors, 0.5 s"


# ---- side by side ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> CostTable:
    given: dict[str, Any] = {"model": mg.mlp(1, 8, 1), "tasks": mg.sinusoid(), "steps": 5, "inner_steps": 2}
    return mg.cost_table([mg.train(name, **given) for name in ("maml", "fomaml")])


def test_costs_side_by_side_are_those_of_the_runs(table: CostTable) -> None:
    """Six rows of 25 tasks: two inner evaluations and the query's, and a Hessian·vector for each inner step."""
    assert table.training["maml"][:2] == (6 * 25 * 3, 6 * 25 * 2)
    assert table.training["fomaml"][:2] == (6 * 25 * 3, 0)
    assert table.adapting["maml"][:2] == (2, 0)
    assert table.training["maml"].peak_bytes > table.training["fomaml"].peak_bytes > 1000
    head, first, _ = table.rows()
    assert len(head) == len(first) == 9
    assert first[:3] == ("maml", "450", "300")
    assert "450" in repr(table)
    assert f"{table.training['maml'].seconds:.2g}" not in repr(table).split()  # times stay out of what is compared
    assert table._repr_mimebundle_()["text/html"].count("<tr>") == 3


def test_the_picture_of_costs_shows_them(table: CostTable) -> None:
    figure = charts.costs(table)
    drawn = [[bar.get_width() for bar in ax.patches] for ax in figure.axes]
    every = [table.training[name] for name in ("maml", "fomaml")]
    for i, unit in enumerate((1, 1, 1, 2**20)):
        np.testing.assert_allclose(drawn[i], [cost[i] / unit for cost in every])
    assert [text.get_text() for text in figure.axes[1].texts] == ["300", "0"]


def test_costs_of_one_task_and_of_no_run() -> None:
    found = mg.cost_table({"mine": mg.train("gd", loss=lambda w: w**2, params={"w": 1.0}, steps=3)})
    assert found.training["mine"][:2] == (4, 0)
    assert found.rows()[1][5:] == ("–",) * 4
    with pytest.raises(mg.MetagdError, match="needs a run"):
        mg.cost_table([])
