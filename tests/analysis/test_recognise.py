"""Which kind of task is this: scores, honest probabilities, "unlike anything seen", and the figures of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import differences

import metagd_nb as mg
from metagd_nb.analysis.recognition import UNLIKE, Recognizer
from metagd_nb.analysis.recognition_scores import score_recognition
from metagd_nb.analysis.task_embedding import embed
from metagd_nb.core.errors import MetagdError
from metagd_nb.plotting import charts
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.tasks import Batch

SEEN = ("sinusoid", "line", "quadratic", "absolute")
FAST = mg.curves(lambda x, a, p: a * np.sin(4 * x + p), a=(2.0, 5.0), p=(0.0, 6.28), noise=0.3)


@pytest.fixture(scope="module")
def five() -> Recognizer:
    return mg.recognise(mg.mixed())


@pytest.fixture(scope="module")
def curved() -> Recognizer:
    return mg.recognise(mg.mixed(), by="curvature", n_tasks=1500)


def test_kinds_are_recognised_and_probabilities_are_honest(five: Recognizer) -> None:
    """The frozen figures of tests/bench/claims/kinds.md, within their intervals: ten points, five kinds, noise 0.3."""
    found = five.evaluate(n_tasks=2000)
    assert found.accuracy == pytest.approx(0.845, abs=0.02)
    assert found.ece < 0.03
    assert found.log_loss < 0.45
    assert found.confusion.sum() == 2000
    np.testing.assert_array_equal(found.confusion.sum(axis=1), 400)
    assert found.accuracy == np.trace(found.confusion) / 2000
    assert repr(found).startswith(f"{found.accuracy:.3f} ± ")


def test_more_points_tell_more(five: Recognizer) -> None:
    few, many = (mg.recognise(mg.mixed(), shots=k, n_tasks=2000).evaluate().accuracy for k in (5, 20))
    assert few + 0.05 < five.evaluate().accuracy < many - 0.03


def test_curvature_tells_kinds_too(curved: Recognizer) -> None:
    found = curved.evaluate(n_tasks=1000)
    assert 0.6 < found.accuracy < 0.85  # chance is 0.2; meta-features 0.85
    assert found.ece < 0.06


def test_false_alarms_are_as_many_as_was_said() -> None:
    for share in (0.01, 0.05, 0.2):
        found = mg.recognise(mg.mixed(), false_alarm=share, n_tasks=2000).evaluate(n_tasks=3000)
        assert found.alarms == pytest.approx(share, abs=3 * np.sqrt(share * (1 - share) / 1000))


def test_what_was_never_seen_is_called_so(five: Recognizer) -> None:
    alarms, interval = five.alarms(FAST)
    assert alarms > 0.4
    assert interval == pytest.approx(1.9623 * np.sqrt(alarms * (1 - alarms) / 999), rel=1e-3)
    twenty = mg.recognise(mg.mixed(), shots=20)
    assert twenty.alarms(FAST)[0] > 0.95  # more points, more certainty
    assert five.alarms(mg.mixed().only("line"))[0] < 0.1


def test_one_support_set() -> None:
    tell = mg.recognise(mg.mixed("sinusoid", "line", noise=0.0), shots=5, n_tasks=1000)
    line = tell([-4, -2, 0, 1, 4], [-4, -2, 0, 1, 4])
    assert line.kind == "line"
    assert line.probabilities["line"] > 0.99
    assert sum(line.probabilities.values()) == pytest.approx(1)
    assert line.distance < 1
    x = np.array([-4.0, -2.0, 0.0, 1.0, 3.0])
    wave = tell(x[:, None], 3 * np.sin(x - 1)[:, None])
    assert wave.kind == "sinusoid"
    odd = tell(x, [100, -2, 0, 50, 4])
    assert odd.kind == UNLIKE
    assert odd.distance > 1
    assert repr(odd).startswith("unlike anything seen (")


def test_same_seed_same_answer() -> None:
    one, same, other = (
        mg.recognise(mg.mixed("line", "tanh"), n_tasks=200, seed=s).evaluate().log_loss for s in (3, 3, 4)
    )
    assert one == same != other


def test_several_inputs_and_outputs() -> None:
    """Kinds of two-dimensional tasks with two outputs: a plane, and a bowl."""

    class Bowls(mg.Tasks):
        inputs, outputs = 2, 2

        def __init__(self, power: int) -> None:
            self.power = power

        def sample(self, rng: Any, batches: int, n: int, shots: int, queries: int) -> Any:
            from metagd_nb.tasks import TaskBatch

            x = rng.uniform(-1, 1, (batches * n, shots + queries, 2))
            y = x**self.power @ rng.uniform(0.5, 2, (batches * n, 2, 2))
            return TaskBatch(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))

    family = mg.mixed(plane=Bowls(1), bowl=Bowls(2))
    for by in ("features", "curvature"):
        assert mg.recognise(family, by=by, n_tasks=300).evaluate(n_tasks=200).accuracy > 0.95
    run = mg.train("multimodal", model=mg.mlp(2, 6, 2), tasks=family, steps=5)
    assert run.learned["starts"].shape[0] == 2


# ---- embeddings -----------------------------------------------------------------------------------------------------


def test_embedding_is_the_path_and_the_diagonal() -> None:
    net = mg.mlp(1, 3, 1, activation="tanh")
    problem, rng = NetProblem(net), np.random.default_rng(0)
    theta = rng.standard_normal(net.layout.size)
    support = Batch(rng.standard_normal((3, 6, 1)), rng.standard_normal((3, 6, 1)))
    found = embed(problem, theta, support, steps=2, rate=0.1, probes=0)
    assert found.loss.shape == (3, 3)
    for t in range(3):
        own, phi = support[t : t + 1], theta
        for step in range(2):
            point = problem.linearize(phi, own)
            assert found.loss[t, step] == pytest.approx(point.loss[0], rel=1e-12)
            phi = phi - 0.1 * point.grad[0]
        np.testing.assert_allclose(found.displacement[t], phi - theta, rtol=1e-10)
        hessian = differences(lambda p, own=own: problem.linearize(p, own).grad[0], phi)
        np.testing.assert_allclose(found.curvature[t], np.diag(hessian), atol=1e-8)
    many = embed(problem, theta, support, steps=2, rate=0.1, probes=4000)
    assert np.abs(many.curvature - found.curvature).max() < 0.15 * np.abs(found.curvature).max()


# ---- scores ---------------------------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    p = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.35, 0.65]])
    found = score_recognition(p, np.array([0, 1, 1, 1]), np.array([True, False, False, False]), ("a", "b"))
    np.testing.assert_array_equal(found.confusion, [[1, 0], [1, 2]])
    assert found.accuracy == 0.75
    assert found.interval == pytest.approx(3.182446305 * np.std([1, 0, 1, 1], ddof=1) / 2)
    assert found.log_loss == pytest.approx(-np.log([0.95, 0.05, 0.65, 0.65]).mean())
    assert found.ece == pytest.approx(0.5 * abs(0.95 - 0.5) + 0.5 * abs(0.65 - 1.0))
    assert found.alarms == 0.25
    np.testing.assert_array_equal(found.count, [0, 0, 0, 0, 0, 0, 2, 0, 0, 2])
    assert np.isnan(found.right[0])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: mg.recognise(mg.sinusoid()), r"^tasks: sinusoid\(.* does not have two kinds or more; mixed\(\) does$"),
        (lambda: mg.recognise(mg.mixed("line")), r"^tasks: mixed\(line\) does not have two kinds"),
        (lambda: mg.recognise(3), r"^tasks: 3 does not have two kinds"),  # type: ignore[arg-type]
        (lambda: mg.recognise(mg.mixed(), by="curve"), r"^unknown way 'curve'; did you mean 'curvature'\?$"),
        (
            lambda: mg.recognise(mg.mixed().only("line", "tanh")),
            r"^tasks: deals none of kind sinusoid: mixed\(…\)\.only",
        ),
        (lambda: mg.recognise(mg.mixed(), shots=0), r"^shots: 0 is not allowed"),
        (lambda: mg.recognise(mg.mixed(), n_tasks=50), r"^n_tasks: 50 is not allowed; needs a whole number ≥ 100$"),
        (
            lambda: mg.recognise(mg.mixed(), false_alarm=1.0),
            r"^false_alarm: 1\.0 is not allowed; needs a number > 0 and",
        ),
        (lambda: mg.recognise(mg.mixed(), by="curvature", model=mg.mlp(2, 3, 1)), r"^model: .* takes 2 inputs"),
    ],
)
def test_recognise_refuses(make: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        make()


def test_a_recogniser_refuses_what_does_not_fit(five: Recognizer) -> None:
    for x, y, line in [
        ([1.0], [1.0, 2.0], r"^x, y: have 1 and 2 points; need the same number$"),
        (np.ones((3, 2)), np.ones(3), r"^x: has 2 columns; the tasks have 1$"),
        ([1.0, np.nan], [1.0, 2.0], r"^x: holds 1 values that are not finite"),
    ]:
        with pytest.raises(MetagdError, match=line):
            five(x, y)
    with pytest.raises(MetagdError, match=r"^tasks: must deal tasks of the kinds sinusoid, line, quadratic"):
        five.evaluate(mg.sinusoid())
    with pytest.raises(MetagdError, match=r"^tasks: regression\(2.* is no family with the inputs and outputs of mixed"):
        five.alarms(mg.regression(2))


# ---- figures --------------------------------------------------------------------------------------------------------


def test_figures_show_the_numbers(five: Recognizer) -> None:
    import matplotlib.pyplot as plt

    found = five.evaluate(n_tasks=500)
    (table,) = charts.confusion(found).axes
    words = {text.get_text() for text in table.texts}
    assert f"{found.confusion[0, 0] / 100:.0%}" in words
    assert [label.get_text() for label in table.get_yticklabels()] == list(five.kinds)
    (diagram,) = charts.reliability(found).axes
    points = np.asarray(diagram.collections[-1].get_offsets())
    full = found.count > 0
    np.testing.assert_allclose(points, np.stack([found.confidence[full], found.right[full]], axis=1))
    assert f"{found.ece:.3f}" in diagram.get_title(loc="left")
    assert plt.get_fignums() == []
