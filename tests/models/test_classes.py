"""Learning classes: cross-entropy in closed form, labels as targets, accuracy, and labels as predictions."""

from __future__ import annotations

from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from cases import BY_STEPS, EXTRA, differences

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.core.errors import MetagdError
from metagd_nb.models.losses import LOSSES, cross_entropy, one_hot
from metagd_nb.problems.autograd.model import ModelProblem, UserOutputLoss
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.tasks import Batch, TaskBatch
from metagd_nb.tasks.validation import LOSS_NAMES

CLOSE = {"rtol": 1e-12, "atol": 1e-14}
NET = mg.mlp(2, 5, 3, activation="tanh")


def outputs(tasks: int = 4, points: int = 6, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions (T, K, C), numbers of classes (T, K), and a direction (T, K, C)."""
    rng = np.random.default_rng(1)
    shape = (tasks, points, classes)
    return 2 * rng.standard_normal(shape), rng.integers(classes, size=shape[:2]), rng.standard_normal(shape)


# ---- the loss -----------------------------------------------------------------------------------------------------


def test_cross_entropy_is_minus_the_log_of_the_right_classes_share() -> None:
    prediction, number, _ = outputs()
    share = np.exp(prediction) / np.exp(prediction).sum(axis=-1, keepdims=True)
    by_hand = [np.mean([-np.log(share[t, k, number[t, k]]) for k in range(6)]) for t in range(4)]
    np.testing.assert_allclose(cross_entropy.linearize(prediction, one_hot(number, 3)).loss, by_hand, **CLOSE)
    np.testing.assert_allclose(cross_entropy.linearize(prediction, number).loss, by_hand, **CLOSE)


def test_a_uniform_guess_costs_the_log_of_the_number_of_classes() -> None:
    point = cross_entropy.linearize(np.full((2, 3, 7), 4.2), np.zeros((2, 3), int))
    np.testing.assert_allclose(point.loss, np.log(7), **CLOSE)


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_of_losses_by_automatic_differentiation(name: str) -> None:
    prediction, number, v = outputs()
    target = one_hot(number, 3)
    target[0, 0] = 0.2, 0.5, 0.3  # a distribution, not a class

    def one(p: Any, y: np.ndarray) -> Any:
        if name == "mse":
            return anp.mean((p - y) ** 2)
        return -anp.mean(anp.sum(y * anp.log(anp.exp(p) / anp.sum(anp.exp(p), axis=1, keepdims=True)), axis=1))

    point = LOSSES[name].linearize(prediction, target)
    bent = point.hvp(v)
    for t in range(4):
        args = (prediction[t], target[t])
        np.testing.assert_allclose(point.loss[t], one(*args), **CLOSE)
        np.testing.assert_allclose(LOSSES[name].of_one_task(*args), one(*args), **CLOSE)
        np.testing.assert_allclose(point.grad[t], autograd.grad(one)(*args), **CLOSE)
        np.testing.assert_allclose(bent[t], autograd.make_hvp(one)(*args)[0](v[t]), **CLOSE)


def test_cross_entropy_of_very_sure_predictions_is_finite() -> None:
    prediction = np.array([[[1000.0, 0.0], [0.0, 1000.0]]])
    point = cross_entropy.linearize(prediction, np.array([[0, 0]]))
    assert point.loss[0] == 500.0
    np.testing.assert_array_equal(point.grad[0], [[0, 0], [-0.5, 0.5]])
    assert cross_entropy.of_one_task(prediction[0], one_hot(np.array([0, 0]), 2)) == 500.0


@pytest.mark.parametrize("name", LOSSES)
def test_losses_keep_float32(name: str) -> None:
    prediction, number, v = outputs()
    point = LOSSES[name].linearize(prediction.astype("f"), one_hot(number, 3, "f"))
    assert {point.loss.dtype, point.grad.dtype, point.hvp(v.astype("f")).dtype} == {np.dtype("f")}


def case(tasks: int = 5) -> tuple[np.ndarray, TaskBatch]:
    rng = np.random.default_rng(9)
    x, y = rng.standard_normal((tasks, 8, 2)), one_hot(rng.integers(3, size=(tasks, 8)), 3)
    theta = NET.start(rng) + 0.3 * rng.standard_normal(NET.layout.size)
    return theta, TaskBatch(Batch(x[:, :5], y[:, :5]), Batch(x[:, 5:], y[:, 5:]))


def test_gradient_and_hessian_of_a_net_that_tells_classes() -> None:
    theta, batch = case()
    problem = NetProblem(NET, cross_entropy)
    point = problem.linearize(theta, batch.support)
    grads = differences(lambda t: problem.linearize(t, batch.support).loss, theta)
    np.testing.assert_allclose(point.grad, grads.T, rtol=1e-7, atol=1e-9)
    v = np.random.default_rng(0).standard_normal(point.grad.shape)
    hessian = differences(lambda t: problem.linearize(t, batch.support).grad, theta)  # (P, T, P)
    np.testing.assert_allclose(point.hvp(v), np.einsum("ptq,tp->tq", hessian, v), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", BY_STEPS)
def test_cross_entropy_from_each_source(method: str) -> None:
    """The closed form, the same loss as a person writes it, and the same net and loss traced as a whole."""
    theta, batch = case()
    algorithm: Any = ALGORITHMS[method](inner_lr=0.1, inner_steps=2, **EXTRA.get(method, {}))

    def written(p, y):  # type: ignore[no-untyped-def]
        return -np.mean(np.sum(y * (p - np.log(np.sum(np.exp(p), axis=1))[:, None]), axis=1))

    def model(params, x):  # type: ignore[no-untyped-def]
        return np.tanh(x @ params["W0"] + params["b0"]) @ params["W1"] + params["b1"]

    problems = [
        NetProblem(NET, cross_entropy),
        NetProblem(NET, UserOutputLoss(written)),
        ModelProblem(model, "cross-entropy", NET.layout.views(theta)),
    ]
    made = [algorithm.meta_gradient(p, algorithm.init_parameters(p, theta), batch) for p in problems]
    for other in made[1:]:
        np.testing.assert_allclose(other.loss, made[0].loss, rtol=1e-10)
        np.testing.assert_allclose(other.grad, made[0].grad, rtol=1e-9, atol=1e-12)


# ---- one task -----------------------------------------------------------------------------------------------------


def test_fit_of_class_labels_reaches_their_frequencies() -> None:
    """Where x tells nothing, the best that logistic regression can do is the classes' entropy."""
    y = ["cat"] * 5 + ["dog"] * 3 + ["eel"] * 2
    run = mg.train("gd", model=mg.linear(1, 3), x=np.zeros(10), y=y, lr=1.0, steps=400)
    share = np.array([0.5, 0.3, 0.2])
    assert run.record["loss"][0] == pytest.approx(np.log(3), rel=1e-14)
    assert run.loss == pytest.approx(-np.sum(share * np.log(share)), abs=1e-12)
    bias = run.params["b0"]
    np.testing.assert_allclose(np.exp(bias) / np.exp(bias).sum(), share, atol=1e-6)
    numbers = {"cat": 7, "dog": 8, "eel": 9}
    again = mg.train(
        "gd", model=mg.linear(1, 3), x=np.zeros(10), y=[numbers[v] for v in y], loss="cross-entropy", lr=1.0, steps=400
    )
    np.testing.assert_array_equal(again.record["loss"], run.record["loss"])
    shares = mg.train("gd", model=mg.linear(1, 3), x=[0.0], y=share[None], loss="cross-entropy", lr=1.0, steps=400)
    assert shares.loss == pytest.approx(run.loss, abs=1e-12)


X = np.arange(6.0)


@pytest.mark.parametrize(
    ("y", "loss", "line"),
    [
        (list("aabbcc"), "mse", r"^y: holds values that are not numbers$"),
        (list("aaaaaa"), None, r"^loss: 'cross-entropy' compares classes and needs targets of two or more$"),
        (X, "cross-entropi", r"^unknown loss 'cross-entropi'; did you mean 'cross-entropy'\?$"),
        (np.ones((6, 2)), "cross-entropy", r"^y: has rows that are no distribution over the classes"),
        (np.tile([2.0, -1.0], (6, 1)), "cross-entropy", r"^y: has rows that are no distribution"),
        ([0, 1, 2, 0, 1, np.nan], "cross-entropy", r"^y: has 1 missing labels \(first in row 5\)"),
        (list("abcdab"), None, r"^model: linear\(1, .* gives 3 outputs, the data have 4 classes$"),
        (["a", 1, "b", 2, "c", 3], "cross-entropy", r"^model: |^y: holds labels that cannot be sorted"),
    ],
)
def test_labels_that_are_refused(y: Any, loss: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line) as caught:
        mg.train("gd", model=mg.linear(1, 3), x=X, y=y, loss=loss)
    assert "\n" not in str(caught.value)


def test_numbers_that_are_read_as_text_are_numbers() -> None:
    as_text = mg.train("gd", model=mg.linear(1), x=X, y=[str(v) for v in X], steps=5)
    as_numbers = mg.train("gd", model=mg.linear(1), x=X, y=X, steps=5)
    np.testing.assert_array_equal(as_text.record["loss"], as_numbers.record["loss"])
    assert mg.groups(X, list("123123"), list("aabbcc")).loss == "mse"
    assert mg.groups(X, list("12312x"), list("aabbcc")).outputs == 4


def test_a_name_is_no_loss_of_parameters() -> None:
    with pytest.raises(MetagdError, match=r"^loss: gd needs a loss of the parameters, or a model with x and y$"):
        mg.train("gd", loss="mse", params={"w": 1.0})


# ---- many tasks ---------------------------------------------------------------------------------------------------


def patients(seed: int = 3, count: int = 12, rows: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (n, 2), labels (n,) and group (n,): in every group the classes lie around a middle of its own."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(count), rows)
    number = rng.integers(3, size=len(group))
    middle = 2 * rng.standard_normal((count, 2))
    around = 1.5 * np.array([[0, 1], [1, -1], [-1, -1]])
    x = middle[group] + around[number] + 0.2 * rng.standard_normal((len(group), 2))
    return x, np.array(["high", "low", "none"])[number], group


def test_groups_of_class_labels() -> None:
    x, y, group = patients()
    family = mg.groups(x, y, group)
    assert (family.loss, family.outputs, family.inputs) == ("cross-entropy", 3, 2)
    assert list(family.classes) == ["high", "low", "none"]
    assert repr(family) == "groups(12 groups of 24–24 rows, D=2, 3 classes)"
    drawn = family.sample(np.random.default_rng(0), 2, 3, 5, 4)
    assert drawn.query.y.shape == (6, 4, 3)
    rows = {tuple(row): label for row, label in zip(x, y, strict=True)}
    for point, target in zip(drawn.support.x.reshape(-1, 2), drawn.support.y.reshape(-1, 3), strict=True):
        assert family.classes[target.argmax()] == rows[tuple(point)]
        assert sorted(target) == [0, 0, 1]
    codes = np.unique(y, return_inverse=True)[1]
    numbers = mg.groups(x, codes * 10, group, loss="cross-entropy")
    np.testing.assert_array_equal(numbers.y, family.y)
    assert list(numbers.classes) == [0, 10, 20]
    quantities = mg.groups(x, codes, group)  # numbers are quantities unless said otherwise
    assert (quantities.loss, quantities.outputs, quantities.classes) == ("mse", 1, None)
    assert quantities.references(0.1, 1, 5) == []


def test_a_split_keeps_classes_that_one_side_lacks() -> None:
    x, y, group = np.arange(12.0), list("aaaabbbbaaac"), np.repeat([1, 2, 3], 4)
    for side in mg.groups(x, y, group).split(0.5):
        assert (side.outputs, side.loss) == (3, "cross-entropy")
        assert list(side.classes) == ["a", "b", "c"]


def test_the_reference_of_classes_is_the_best_constant_prediction() -> None:
    x, y, group = patients()
    family = mg.groups(x, np.where(group < 3, "low", y), group)
    (known,) = family.references(0.1, 1, 5)
    model = mg.linear(2, 3)

    def entropy(logits: np.ndarray) -> float:
        """The mean over groups of what a constant prediction costs."""
        theta = np.concatenate([np.zeros(6), logits])
        problem = NetProblem(model, cross_entropy)
        return float(np.mean([problem.linearize(theta, Batch(family.x[None, r], family.y[None, r])).loss[0]
                              for r in (family.group == g for g in family.labels)]))  # fmt: skip

    share = np.mean([family.y[family.group == g].mean(axis=0) for g in family.labels], axis=0)
    assert known.value == pytest.approx(entropy(np.log(share)), rel=1e-12)
    for nudge in 0.1 * np.eye(3):
        assert entropy(np.log(share) + nudge) > known.value
    run = mg.prepare("maml", model=model, tasks=family, steps=1)
    assert run.plan.references == (known,)
    assert mg.prepare("maml", model=model, tasks=family, steps=1, loss="mse").plan.references == ()


def test_adaptation_learns_a_groups_own_classes() -> None:
    x, y, group = patients()
    tasks, held = mg.groups(x, y, group).split(0.7)
    run = mg.train("maml", model=mg.mlp(2, 20, 3, activation="tanh"), tasks=tasks, inner_lr=1.0, inner_steps=3,
                   meta_lr=0.01, shots=15, queries=9, steps=300)  # fmt: skip
    scored = run.evaluate(held, metric="accuracy", n_tasks=100)
    assert scored.mean[-1] > scored.mean[0] + 0.1
    assert scored.mean[-1] > 0.85
    mine = held.group == held.labels[0]
    number = held.y[mine].argmax(axis=1)
    told = run.adapt(held.x[mine][:15], held.classes[number][:15])(held.x[mine][15:])  # type: ignore[index]
    assert set(told) <= {"high", "low", "none"}
    assert np.mean(told == held.classes[number][15:]) > 0.7  # type: ignore[index]
    raw = run.adapt(held.x[mine][:15], held.y[mine][:15])(held.x[mine][15:])
    assert raw.shape == (9, 3)
    np.testing.assert_array_equal(held.classes[raw.argmax(axis=1)], told)  # type: ignore[index]
    with pytest.raises(MetagdError, match=r"^y: holds .*'lo'.*, which is no class; did you mean 'low'\?$"):
        run.adapt([[0.0, 0.0]], ["lo"])
    with pytest.raises(MetagdError, match=r"^y: holds .*3.*, which is no class; allowed: high, low, none$"):
        run.adapt([[0.0, 0.0]], [3])


def test_accuracy_is_the_share_of_queries_whose_class_is_told() -> None:
    x, y, group = patients()
    family = mg.groups(x, y, group)
    run = mg.train("maml", model=mg.linear(2, 3), tasks=family, inner_steps=0, steps=5, meta_lr=0.3)
    scored = run.evaluate(metric="accuracy", n_tasks=12, queries=14)
    drawn = family.sample(np.random.default_rng([1, 12, 0xE]), 1, 12, 10, 14)
    told = (drawn.query.x @ run.params["W0"] + run.params["b0"]).argmax(axis=2)
    assert scored.mean[0] == pytest.approx(np.mean(told == drawn.query.y.argmax(axis=2)), rel=1e-14)


def test_classes_in_a_cell(ip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAGD_WAIT", "1")
    x, y, group = patients()
    ip.user_ns.update(table=x, labels=y, group=group)
    cell = "tasks = groups(table, labels, group)\nmodel = mlp(2, 5, 3)"
    ip.run_cell_magic("metagd", "maml --steps 5 --no-plot", cell)
    here = mg.train("maml", model=mg.mlp(2, 5, 3), tasks=mg.groups(x, y, group), steps=5)
    np.testing.assert_array_equal(ip.user_ns["run"].record["loss"], here.record["loss"])
    ip.run_cell_magic("metagd", "maml --steps 5 --no-plot", cell + "\nloss = 'mse'")
    assert ip.user_ns["run"].record["loss"][0] != here.record["loss"][0]
    codes = np.unique(y, return_inverse=True)[1]
    fit = "x, y = table, codes\nmodel = linear(2, 3)\nloss = 'cross-entropy'"
    ip.user_ns["codes"] = codes
    ip.run_cell_magic("metagd", "gd --steps 5 --no-plot", fit)
    alone = mg.train("gd", model=mg.linear(2, 3), x=x, y=y, steps=5)
    np.testing.assert_array_equal(ip.user_ns["run"].record["loss"], alone.record["loss"])
    ip.user_ns["run"] = None
    ip.run_line_magic("metagd", "gd --steps 5 --no-plot")  # the names of the cell before
    np.testing.assert_array_equal(ip.user_ns["run"].record["loss"], alone.record["loss"])


def test_the_losses_of_tasks_are_the_rows_of_the_table() -> None:
    assert set(LOSS_NAMES) == set(LOSSES)
