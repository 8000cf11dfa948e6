"""Tasks of several kinds: the mixture that deals them, what a support set tells, and starts mixed by kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import assert_same, differences

import metagd_nb as mg
from metagd_nb.algorithms.multimodal import Multimodal, recogniser_layout
from metagd_nb.core.errors import MetagdError
from metagd_nb.models import logistic as softmax
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.tasks import Batch, Sampler
from metagd_nb.tasks import meta_features as supports
from metagd_nb.tasks.synthetic.mixed import KINDS
from metagd_nb.training.adaptation import held_out_panel

CLASSES = mg.groups(np.zeros(4), np.zeros(4), np.arange(4), loss="mse")
CLASSES.loss = "cross-entropy"
FIVE = ("sinusoid", "line", "quadratic", "absolute", "tanh")


def drawn(family: Any, n: int = 60, shots: int = 10, queries: int = 6, seed: int = 0, batches: int = 1) -> Any:
    return family.sample(np.random.default_rng(seed), batches, n, shots, queries)


# ---- mixed --------------------------------------------------------------------------------------------------------


def test_every_task_is_of_the_kind_it_says() -> None:
    """Without noise a formula of the kind goes through support and query alike, and no line through the others."""
    batch = drawn(mg.mixed(noise=0.0), n=400)
    x, y = (np.concatenate([getattr(part, a)[..., 0] for part in batch], axis=1) for a in "xy")
    np.testing.assert_array_equal(batch.support.kind, batch.query.kind)
    bases = {
        "line": lambda x: (np.ones_like(x), x),
        "quadratic": lambda x: (np.ones_like(x), x, x * x),
        "sinusoid": lambda x: (np.sin(x), np.cos(x)),
    }
    for name, basis in bases.items():
        of = batch.support.kind == FIVE.index(name)
        phi = np.stack(basis(x), axis=-1)
        off = np.abs(y - (phi @ (np.linalg.pinv(phi) @ y[..., None]))[..., 0]).max(axis=1)
        assert off[of].max() < 1e-9
        assert np.median(off[~of & (batch.support.kind != 1)]) > 0.1  # a line is a quadratic too
    coefficients = np.polynomial.polynomial.polyfit
    bent = [coefficients(a, b, 2) for a, b in zip(x[batch.query.kind == 2], y[batch.query.kind == 2], strict=True)]
    sizes = np.abs([c[2] for c in bent])
    assert sizes.min() >= 0.02 - 1e-9
    assert sizes.max() <= 0.15 + 1e-9
    assert 0.3 < np.mean([c[2] > 0 for c in bent]) < 0.7  # both ways up


def test_absolute_and_tanh_are_what_they_are_called() -> None:
    x, number = np.linspace(-5, 5, 11)[None, :, None], lambda v: np.full((1, 1, 1), v)
    told = {"slope": number(2.0), "center": number(1.0), "bias": number(-0.5)}
    families = mg.mixed(noise=0.0).families
    np.testing.assert_allclose(families["absolute"].function(x, **told), 2 * np.abs(x - 1) - 0.5)  # type: ignore[attr-defined]
    np.testing.assert_allclose(families["tanh"].function(x, **told), 2 * np.tanh(x - 1) - 0.5)  # type: ignore[attr-defined]


@pytest.mark.parametrize("n", [5, 7, 25])
def test_kinds_are_dealt_evenly_and_in_no_order(n: int) -> None:
    family = mg.mixed("sinusoid", "line", "tanh")
    kinds = drawn(family, n=n, batches=40).support.kind.reshape(40, n)
    counts = np.array([np.bincount(row, minlength=3) for row in kinds])
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()
    assert len({tuple(row) for row in kinds}) > 5
    assert len(np.unique(counts.argmax(axis=1))) > 1  # the one too many is of any kind


def test_only_deals_some_kinds_and_keeps_their_numbers() -> None:
    family = mg.mixed()
    assert family.only("tanh").kinds == family.kinds == FIVE
    assert set(drawn(family.only("tanh", "line")).support.kind) == {1, 4}
    assert repr(family.only("tanh")) == "mixed(…).only(tanh)"
    with pytest.raises(MetagdError, match=r"^unknown kind 'tan'; did you mean 'tanh'\?$"):
        family.only("tan")


def test_noise_is_on_support_and_query() -> None:
    for noise in (0.0, 0.5):
        batch = drawn(mg.mixed("line", noise=noise), n=300, shots=30, queries=30)
        for part in batch:
            basis = np.concatenate([np.ones_like(part.x), part.x], axis=-1)
            residual = part.y - basis @ (np.linalg.pinv(basis) @ part.y)
            assert np.sqrt((residual**2).sum() / (300 * 28)) == pytest.approx(noise, rel=0.03, abs=1e-9)
    assert mg.mixed(noise=0.5).references(0.1, 1, 5)[0].value == pytest.approx(0.25)
    assert mg.mixed(noise=0.0).references(0.1, 1, 5) == []


def test_your_own_kinds() -> None:
    steps = mg.curves(lambda x, height: height * (x > 0), height=(1.0, 2.0), x=(-1.0, 1.0))
    family = mg.mixed("line", mg.sinusoid(), jump=steps, noise=0.0)
    assert family.kinds == ("line", "sinusoid", "jump")
    batch = drawn(family)
    of = batch.support.kind == 2
    assert set(np.unique(batch.support.y[of] > 0)) == {False, True}
    assert np.abs(batch.support.x[of]).max() <= 1
    assert np.abs(batch.support.x[~of]).max() > 1
    own = mg.mixed(a=mg.regression(2), b=mg.regression(2, spread=3))
    assert (own.inputs, own.kinds) == (2, ("a", "b"))
    assert own.example(np.random.default_rng(0), 5) is None
    rows = mg.groups(np.arange(40.0), np.arange(40.0), np.arange(40) // 8)
    both = mg.mixed("line", mine=rows)
    assert drawn(both, shots=3, queries=3).support.x.shape == (60, 3, 1)
    assert both.n_available == 10  # as many lines as there are groups
    assert both.only("mine").n_available == 5
    assert both.only("line").n_available is None


def test_the_kind_stays_with_its_task() -> None:
    batch = Sampler(mg.mixed(), 10, 4, 4, 0, "float32")(7)
    whole = Sampler(mg.mixed(), 10, 4, 4, 0, "float64")(7)
    np.testing.assert_array_equal(batch.support.kind, whole.support.kind)
    part = batch.tasks(slice(3, 6))
    np.testing.assert_array_equal(part.query.kind, batch.query.kind[3:6])  # type: ignore[index]
    assert Batch(batch.support.x, batch.support.y)[:2].kind is None


def test_an_example_names_its_kind() -> None:
    labels = [mg.mixed().example(np.random.default_rng(s), 5).label for s in range(40)]  # type: ignore[union-attr]
    assert {label.partition(":")[0] for label in labels} == set(FIVE)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: mg.mixed("sine"), r"^unknown kind 'sine'; did you mean 'line'\?|'sinusoid'"),
        (lambda: mg.mixed("line", "line"), r"^mixed: line comes twice; name them: mixed\(one=…, other=…\)$"),
        (lambda: mg.mixed("line", other=3), r"^other: 3 is not a family such as sinusoid\(\) or curves\(…\)$"),
        (lambda: mg.mixed("line", wide=mg.regression(2)), r"^wide: 2 inputs and 1 outputs; line has 1 and 1$"),
        (
            lambda: mg.mixed(mg.quadratics((1.0,), (1.0,))),
            r"^quadratics: quadratics\(.*cannot be one kind of a mixture$",
        ),
        (lambda: mg.mixed(mg.mixed()), r"^mixed: mixed\(.*cannot be one kind"),
        (lambda: mg.mixed(a=CLASSES, b=mg.curves(np.sin)), r"^b: is learned with mse; a with cross-entropy$"),
        (lambda: mg.mixed(noise=-1), r"^noise: -1 is not allowed; needs a number ≥ 0$"),
        (lambda: mg.curves(3), r"^function: 3 is not a function"),
        (lambda: mg.curves(lambda x, a: a * x), r"^function: cannot be called with x and no numbers: missing"),
        (lambda: mg.curves(lambda x, a: a * x, b=(0, 1)), r"^function: cannot be called with x and b: "),
        (lambda: mg.curves(lambda x: 1.0), r"^function: must give a finite number for each x"),
        (lambda: mg.curves(lambda x: x * np.nan), r"^function: must give a finite number for each x"),
        (lambda: mg.curves(np.sin, x=(1, 1)), r"^x: \(1, 1\) is not a range"),
    ],
)
def test_mixtures_refuse(make: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_curves_draw_their_numbers() -> None:
    family = mg.curves(lambda x, a, b: a + b * x, a=(1.0, 2.0), b=(-4.0, -3.0), x=(0.0, 1.0))
    batch = drawn(family, n=200)
    slope = (batch.query.y[:, 0] - batch.query.y[:, 1]) / (batch.query.x[:, 0] - batch.query.x[:, 1])
    assert -4 <= slope.min() < -3.9
    assert -3.1 < slope.max() <= -3
    assert drawn(mg.curves(np.sin)).support.y.std() > 0
    example = mg.curves(np.cos, noise=0.1).example(np.random.default_rng(0), 4)
    np.testing.assert_allclose(example.truth, np.cos(example.x))


# ---- meta-features --------------------------------------------------------------------------------------------------


def by_hand(x: np.ndarray, y: np.ndarray) -> list[float]:
    """The meta-features of one task (K, D), (K, 1) as their names say, by leaving points out one by one."""
    found = []
    spread = np.sqrt(np.mean((y - y.mean()) ** 2) + 0.003)
    found += [np.log(spread), *(np.mean((y - y.mean()) ** p) / spread**p for p in (3, 4)), y.mean(), abs(y.mean())]
    terms, bends = [np.ones((len(x), 1)), x, x**2 - 1, x**3 - 2 * x], []
    for degree in range(4):
        phi = np.hstack(terms[: degree + 1])

        def ridge(rows: np.ndarray, phi: np.ndarray = phi) -> np.ndarray:
            return np.linalg.solve(phi[rows].T @ phi[rows] + 0.02 * np.eye(phi.shape[1]), phi[rows].T @ y[rows])

        every = np.arange(len(x))
        left_out = [(y[i] - phi[i] @ ridge(every[every != i])).item() ** 2 for i in every]
        coefficients = ridge(every)
        found += [np.log(np.mean(left_out) + 0.003), np.log(np.mean((y - phi @ coefficients) ** 2) + 0.003)]
        bends.append(np.log(np.linalg.norm(coefficients[-x.shape[1] :]) + np.sqrt(0.003)))
    found += bends[1:]
    for width in (0.35, 1.0):
        kernel = np.exp(-0.5 * ((x[:, None] - x[None]) ** 2).sum(-1) / width**2)
        errors = []
        for i in range(len(x)):
            rest = np.arange(len(x)) != i
            weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + 0.05 * np.eye(len(x) - 1), y[rest])
            errors.append((y[i] - kernel[i, rest] @ weights).item() ** 2)
        found.append(np.log(np.mean(errors) + 0.003))
    return found


@pytest.mark.parametrize("d", [1, 3])
def test_meta_features_are_what_their_names_say(d: int) -> None:
    rng = np.random.default_rng(0)
    batch = Batch(rng.uniform(-3, 5, (4, 40, d)), rng.standard_normal((4, 40, 1)) * 5 + 1)
    scale = supports.Standardizer.of(batch)
    x, y = scale.apply(batch)
    assert x.reshape(-1, d).std(0) == pytest.approx(np.ones(d))
    told = supports.support_meta_features(batch, scale)
    assert told.shape == (4, len(supports.NAMES))
    for t in range(4):
        np.testing.assert_allclose(told[t], by_hand(x[t], y[t]), rtol=1e-8, atol=1e-10)


def test_meta_features_do_not_depend_on_units_or_order() -> None:
    batch = drawn(mg.mixed()).support
    order = np.random.default_rng(1).permutation(10)
    other = Batch(7 - 3 * batch.x[:, order], 5 * batch.y[:, order])
    told, again = (supports.support_meta_features(b, supports.Standardizer.of(b)) for b in (batch, other))
    np.testing.assert_allclose(again, told, rtol=1e-9, atol=1e-9)  # a mirrored x has the same features


@pytest.mark.parametrize("shots", [1, 2])
def test_meta_features_of_hardly_any_points_are_finite(shots: int) -> None:
    batch = drawn(mg.mixed(), shots=shots).support
    assert np.isfinite(supports.support_meta_features(batch, supports.Standardizer.of(batch))).all()
    flat = Batch(np.ones((3, 4, 2)), np.ones((3, 4, 2)))
    assert np.isfinite(supports.support_meta_features(flat, supports.Standardizer.of(flat))).all()


def test_products_are_read_too() -> None:
    told = np.array([[1.0, 5.0], [-100.0, 0.0]])
    made = softmax.Classifier(np.array([1.0, 1.0]), np.array([1.0, 2.0]), np.zeros((6, 2))).read(told)
    np.testing.assert_array_equal(made, [[1, 0, 2, 0, 0, 4], [1, -4, -0.5, 16, 2, 0.25]])
    assert made.shape[1] == softmax.expansion(2)


# ---- the classifier -------------------------------------------------------------------------------------------------


def test_softmax_gradient_and_minimum() -> None:
    rng = np.random.default_rng(0)
    x, kind = rng.standard_normal((80, 4)), rng.integers(3, size=80)
    weights = rng.standard_normal((4, 3))

    def value(flat: np.ndarray) -> float:
        return softmax.objective(flat.reshape(4, 3), x, kind, 0.01)[0]

    grad = softmax.objective(weights, x, kind, 0.01)[1]
    np.testing.assert_allclose(grad.ravel(), differences(value, weights.ravel()), atol=1e-8)
    best = softmax.fit_logistic(x, kind, 3, decay=0.01, steps=2000, tol=1e-10)
    assert np.abs(softmax.objective(best, x, kind, 0.01)[1]).max() < 1e-10
    start = softmax.objective(np.zeros((4, 3)), x, kind, 0.01)[0]
    assert start == pytest.approx(np.log(3))
    assert value(best.ravel()) < start
    np.testing.assert_allclose(best.sum(axis=1), 0, atol=1e-9)  # of all equivalent weights those of least norm


def test_probabilities_of_a_known_law_are_found() -> None:
    """Two unit Gaussians at ±1: the log-odds are 2x exactly."""
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=40_000)
    x = np.stack([np.ones(40_000), rng.standard_normal(40_000) + 2.0 * kind - 1], axis=1)
    weights = softmax.fit_logistic(x, kind, 2, decay=1e-9, steps=500, tol=1e-9)
    np.testing.assert_allclose(weights[:, 1] - weights[:, 0], [0, 2], atol=0.05)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_temperature_is_found(true: float) -> None:
    rng = np.random.default_rng(1)
    logits = 2 * rng.standard_normal((50_000, 4))
    chance = softmax.softmax(logits / true)
    kind = (rng.random((50_000, 1)) > chance.cumsum(axis=1)).sum(axis=1)
    found = softmax.temperature(logits, kind)
    assert found == pytest.approx(true, rel=0.04)
    least = softmax.log_loss(logits / found, kind)
    for t in (0.97, 1.03):
        assert least < softmax.log_loss(logits / (found * t), kind)


def test_large_logits_overflow_nothing() -> None:
    logits = np.array([[1e4, 0.0], [0.0, -1e4]])
    np.testing.assert_array_equal(softmax.softmax(logits), [[1, 0], [1, 0]])
    assert softmax.log_loss(logits, np.array([1, 0])) == 5e3


# ---- multimodal -----------------------------------------------------------------------------------------------------

NET = mg.mlp(1, 4, 1, activation="tanh")
TWO = mg.mixed("sinusoid", "line")


def case(kinds: str, family: Any = TWO, **more: Any) -> tuple[Multimodal, NetProblem, np.ndarray, Any]:
    """A method, a problem, all that is learned — offsets no longer zero —, and a batch."""
    method = Multimodal(kinds=kinds, inner_lr=0.1, inner_steps=2, **more).bind(family)
    problem = NetProblem(NET)
    theta = method.init_parameters(problem, problem.start(np.random.default_rng(3)), family).copy()
    size = problem.layout.size * len(family.kinds)
    theta[problem.layout.size :][:size] += 0.3 * np.random.default_rng(4).standard_normal(size)
    return method, problem, theta, drawn(family, n=6, shots=8, queries=5, seed=2)


@pytest.mark.parametrize("kinds", ["recognised", "learned", "told"])
def test_meta_gradient_by_differences(kinds: str) -> None:
    method, problem, theta, batch = case(kinds)
    grad = method.meta_gradient(problem, theta, batch).grad
    starts = 3 * problem.layout.size
    layout = recogniser_layout(1, 1, 2)
    weights = slice(starts + layout.slices["weights"].start, starts + layout.slices["weights"].stop)
    chosen = np.r_[np.arange(starts), np.random.default_rng(0).integers(weights.start, weights.stop, 25)]

    def loss(values: np.ndarray) -> float:
        moved = theta.copy()
        moved[chosen] = values
        return float(method.meta_gradient(problem, moved, batch).loss.mean())

    numeric = differences(loss, theta[chosen])
    if kinds == "recognised":
        numeric[starts:] = 0  # what the recogniser weighs is given, not learned
    np.testing.assert_allclose(grad[chosen], numeric, atol=2e-8)
    assert np.abs(grad[:starts]).min() > 0
    rest = np.ones(len(theta), bool)
    rest[:starts] = rest[weights] = False
    assert not grad[rest].any()
    assert grad[weights].any() == (kinds == "learned")


def test_a_method_that_is_bound_to_other_tasks_is_refused() -> None:
    """The number of kinds belongs to the method; it is not guessed from the number of parameters."""
    method, problem, theta, _ = case("recognised")
    start = theta[: problem.layout.size]
    for other in (Multimodal(), method.bind(mg.mixed())):
        with pytest.raises(TypeError, match="bound to other tasks"):
            other.init_parameters(problem, start, TWO)
    assert method.bind(mg.sinusoid()) == Multimodal(inner_lr=0.1, inner_steps=2)


def test_a_task_starts_at_the_mean_of_the_starts() -> None:
    method, problem, theta, batch = case("recognised")
    p = method.recognise(problem, theta, batch.support)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    starts = method.learned(problem, theta)["starts"]
    first = next(iter(method.path(problem, theta, batch.support, 3)))
    np.testing.assert_allclose(first, p @ starts, rtol=1e-12)
    told, *_ = case("told")
    np.testing.assert_array_equal(told.recognise(problem, theta, batch.support), np.eye(2)[batch.support.kind])


@pytest.mark.filterwarnings("ignore:a few tasks carry")
@pytest.mark.parametrize("family", [mg.sinusoid(), mg.mixed("line"), mg.regression(1)])
def test_one_kind_is_maml(family: Any) -> None:
    given = {"model": NET, "tasks": family, "inner_lr": 0.05, "inner_steps": 2, "meta_batch_size": 4, "steps": 15}
    one, other = mg.train("multimodal", **given), mg.train("maml", **given)
    np.testing.assert_allclose(one.record["loss"], other.record["loss"], rtol=1e-12)
    assert one.learned == {}
    np.testing.assert_array_equal(one.evaluate(n_tasks=20).mean, other.evaluate(n_tasks=20).mean)


def test_told_each_kind_has_a_gradient_of_its_own() -> None:
    """With the kind told, the meta-gradient of an offset is MAML's over the tasks of that kind, by their share."""
    method, problem, theta, batch = case("told")
    size = problem.layout.size
    grad = method.meta_gradient(problem, theta, batch).grad
    starts = method.learned(problem, theta)["starts"]
    from metagd_nb.algorithms import ALGORITHMS

    maml = ALGORITHMS["maml"](inner_lr=0.1, inner_steps=2)
    for g in (0, 1):
        of = np.flatnonzero(batch.support.kind == g)
        part = type(batch)(*(Batch(p.x[of], p.y[of]) for p in batch))
        alone = maml.meta_gradient(problem, starts[g], part).grad  # type: ignore[attr-defined]
        np.testing.assert_allclose(grad[(g + 1) * size : (g + 2) * size], alone * len(of) / 6, rtol=1e-10)


def test_the_recogniser_it_starts_with_recognises() -> None:
    method, problem, theta, _ = case("recognised", mg.mixed())
    batch = drawn(mg.mixed(), n=2000, seed=9)
    p = method.recognise(problem, theta, batch.support)
    right = (p.argmax(axis=1) == batch.support.kind).mean()
    assert 0.80 < right < 0.90  # 0.90 is what the law of the tasks itself allows: see tests/bench/claims/kinds.md
    assert p.max(axis=1).mean() == pytest.approx(right, abs=0.03)  # as sure as it is right


def test_multimodal_beats_maml_and_hardly_needs_to_be_told() -> None:
    """The quick version of tests/bench/claims/kinds.md: two kinds, a small net, a few hundred steps."""
    given: dict[str, Any] = {"model": mg.mlp(1, 20, 20, 1), "tasks": TWO, "inner_lr": 0.02, "steps": 700}
    given |= {"dtype": "float32", "meta_lr": 0.003}
    maml, soft, told = (
        mg.train("maml", **given).evaluate(n_tasks=400),
        mg.train("multimodal", **given).evaluate(n_tasks=400),
        mg.train("multimodal", kinds="told", **given).evaluate(n_tasks=400),
    )
    assert soft.mean[1] + soft.interval[1] < maml.mean[1] - maml.interval[1]
    assert soft.mean[1] < 1.25 * told.mean[1]


def test_multimodal_from_the_cell(ip: Any) -> None:
    text = "%%metagd multimodal --steps 30 --wait --no-plot --kinds learned\n"
    ip.run_cell(text + "tasks = mixed('sinusoid', 'line')\nmodel = mlp(1, 8, 1)").raise_error()
    run = ip.user_ns["run"]
    assert run.learned["starts"].shape == (2, 25)
    assert run.adapt([0.0, 1.0, 2.0], [0.0, 1.0, 2.0])([3.0]).shape == (1,)
    assert run.evaluate(n_tasks=10).mean.shape == (2,)
    assert run.evaluate(mg.mixed("sinusoid", "line").only("line"), n_tasks=10).n_tasks == 10
    assert_same(run.replay(), run)
    assert held_out_panel(run.loop) is not None


def test_told_needs_to_be_told() -> None:
    run = mg.train("multimodal", kinds="told", model=NET, tasks=TWO, steps=3)
    with pytest.raises(MetagdError, match=r"^kinds: 'told' needs tasks that know their kind, such as mixed\(\)$"):
        run.adapt([0.0, 1.0], [0.0, 1.0])
    with pytest.raises(MetagdError, match=r"^kinds: 'told' needs tasks that know their kind"):
        run.evaluate(mg.sinusoid(), n_tasks=5)
    with pytest.raises(MetagdError, match=r"^kinds: 'told' of 2 kinds cannot be told of kind 5$"):
        run.evaluate(mg.mixed(), n_tasks=5)


def test_ready_kinds_are_five() -> None:
    assert tuple(KINDS) == FIVE == mg.mixed().kinds
