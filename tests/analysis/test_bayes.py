"""The Bayesian last layer: dense Gaussian formulas, known risks, and intervals that cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.analysis.bayesian_last_layer import BayesianLastLayer
from metagd_nb.analysis.gaussian_weights import Belief, condition, fit_prior
from metagd_nb.core.errors import MetagdError
from metagd_nb.training.run import Run

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def a_prior(outputs: int, width: int, seed: int = 0) -> Belief:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((outputs, width, width))
    cov = root @ root.transpose(0, 2, 1) / width + 0.1 * np.eye(width)
    return Belief(rng.standard_normal((outputs, width)), cov, rng.uniform(0.1, 0.5, outputs))


def drawn(prior: Belief, tasks: int, points: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (T, K, H) ~ N(0, I) and targets (T, K, C) of tasks drawn from the prior."""
    rng = np.random.default_rng(seed)
    outputs, width = prior.mean.shape
    w = prior.mean + np.einsum(
        "chg,tcg->tch", np.linalg.cholesky(prior.covariance), rng.standard_normal((tasks, outputs, width))
    )
    h = rng.standard_normal((tasks, points, width))
    return h, h @ np.swapaxes(w, 1, 2) + np.sqrt(prior.noise) * rng.standard_normal((tasks, points, outputs))


# ---- exact --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [1, 3, 12])
def test_the_posterior_in_information_form(points: int) -> None:
    """Λ = S⁻¹ + hᵀh/σ², mean Λ⁻¹(S⁻¹m + hᵀy/σ²), task by task and output by output."""
    prior = a_prior(2, 4)
    h, y = drawn(prior, 3, points, 1)
    found, _ = condition(prior, h, y)
    for t, c in np.ndindex(3, 2):
        inverse, noise = np.linalg.inv(prior.covariance[c]), prior.noise[c]
        precision = inverse + h[t].T @ h[t] / noise
        mean = np.linalg.solve(precision, inverse @ prior.mean[c] + h[t].T @ y[t, :, c] / noise)
        np.testing.assert_allclose(found.mean[t, c], mean, **EXACT)
        np.testing.assert_allclose(found.covariance[t, c], np.linalg.inv(precision), **EXACT)


def test_evidence_and_prediction_from_the_joint_gaussian() -> None:
    """One big normal over seen and new targets: its density, and its conditional, by matrix algebra alone."""
    prior = a_prior(2, 4)
    h, y = drawn(prior, 3, 6, 1)
    _, evidence = condition(prior, h, y)
    layer = BayesianLastLayer(lambda x: x, 4, prior, np.zeros(1))
    new = np.random.default_rng(5).standard_normal((7, 4))
    for t in range(3):
        predicted = layer.adapt(h[t], y[t])(new)
        for c in range(2):
            both = np.concatenate([h[t], new])
            joint = both @ prior.covariance[c] @ both.T + prior.noise[c] * np.eye(13)
            seen, cross, unseen = joint[:6, :6], joint[6:, :6], joint[6:, 6:]
            off = y[t, :, c] - h[t] @ prior.mean[c]
            mean = new @ prior.mean[c] + cross @ np.linalg.solve(seen, off)
            variance = np.diag(unseen - cross @ np.linalg.solve(seen, cross.T))
            np.testing.assert_allclose(predicted.mean[:, c], mean, **EXACT)
            np.testing.assert_allclose(predicted.std[:, c], np.sqrt(variance), **EXACT)
            density = -0.5 * (off @ np.linalg.inv(seen) @ off + np.log(np.linalg.det(2 * np.pi * seen)))
            assert evidence[t, c] == pytest.approx(density, rel=1e-11)


def test_ridge_with_the_true_prior_has_the_known_risk() -> None:
    """O8: E(x·w − x·ŵ)² = E tr σ²(XᵀX + σ²/τ²I)⁻¹ for x ~ N(0, I); the variance says so, and so do the errors."""
    d, n, sigma, tau, tasks = 5, 8, 0.5, 1.5, 20_000
    prior = Belief(np.zeros((1, d)), tau**2 * np.eye(d)[None], np.array([sigma**2]))
    rng = np.random.default_rng(3)
    w, x = tau * rng.standard_normal((tasks, d, 1)), rng.standard_normal((tasks, n, d))
    y = x @ w + sigma * rng.standard_normal((tasks, n, 1))
    found, _ = condition(prior, x, y)
    risk = np.trace(found.covariance[:, 0], axis1=1, axis2=2)
    gram = x.transpose(0, 2, 1) @ x + (sigma / tau) ** 2 * np.eye(d)
    np.testing.assert_allclose(risk, sigma**2 * np.trace(np.linalg.inv(gram), axis1=1, axis2=2), **EXACT)
    np.testing.assert_allclose(found.mean[:, 0, :, None], np.linalg.solve(gram, x.transpose(0, 2, 1) @ y), **EXACT)
    errors = ((found.mean[:, 0] - w[..., 0]) ** 2).sum(axis=1)
    assert errors.mean() == pytest.approx(risk.mean(), abs=4 * errors.std() / np.sqrt(tasks))
    assert 4 * errors.std() / np.sqrt(tasks) < 0.05 * risk.mean()


def test_a_vague_prior_is_least_squares() -> None:
    """O8's other end: as τ grows the risk becomes that of least squares, σ²d/(n−d−1) on average."""
    d, n, sigma, tasks = 3, 12, 0.5, 20_000
    prior = Belief(np.zeros((1, d)), 1e6 * np.eye(d)[None], np.array([sigma**2]))
    rng = np.random.default_rng(4)
    x = rng.standard_normal((tasks, n, d))
    found, _ = condition(prior, x, np.zeros((tasks, n, 1)))
    risk = np.trace(found.covariance[:, 0], axis1=1, axis2=2)
    assert risk.mean() == pytest.approx(sigma**2 * d / (n - d - 1), abs=4 * risk.std() / np.sqrt(tasks))


# ---- the prior ----------------------------------------------------------------------------------------------------


def test_the_fitted_prior_is_the_one_that_drew_the_tasks() -> None:
    prior = a_prior(2, 3)
    h, y = drawn(prior, 4000, 8, 2)
    found, evidence, _ = fit_prior(h, y, iterations=400)
    np.testing.assert_allclose(found.mean, prior.mean, atol=0.06)
    np.testing.assert_allclose(found.covariance, prior.covariance, atol=0.12)
    np.testing.assert_allclose(found.noise, prior.noise, rtol=0.03)
    assert (np.diff(evidence) >= -1e-9 * np.abs(evidence[:-1])).all()
    assert evidence[-1] >= condition(prior, h, y)[1].sum()  # likelier than the truth itself: it is the maximum


def test_the_fitted_prior_is_a_maximum() -> None:
    """No small change of any part makes the tasks likelier."""
    h, y = drawn(a_prior(1, 2, seed=1), 200, 6, 3)
    found, _, converged = fit_prior(h, y, iterations=5000, tol=1e-12)
    assert converged

    def evidence(changed: Belief) -> float:
        return float(condition(changed, h, y)[1].sum())

    best = evidence(found)
    rng = np.random.default_rng(0)
    for _ in range(20):
        turn = rng.standard_normal((2, 2))
        steps = (rng.standard_normal((1, 2)), (turn + turn.T)[None], rng.standard_normal(1))
        near, far = (evidence(Belief(*(part + s * step for part, step in zip(found, steps, strict=True))))
                     for s in (1e-3, -1e-3))  # fmt: skip
        assert max(near, far) < best
        assert abs(near - far) < 0.05 * (2 * best - near - far)  # the slope is nothing beside the curvature


def test_features_that_are_always_zero_do_no_harm() -> None:
    prior = a_prior(1, 2)
    h, y = drawn(prior, 100, 5, 2)
    dead = np.concatenate([h, np.zeros((100, 5, 3))], axis=-1)
    plain, wide = fit_prior(h, y, 50)[0], fit_prior(dead, y, 50)[0]
    np.testing.assert_allclose(wide.mean[:, :2], plain.mean, rtol=1e-6)
    np.testing.assert_allclose(wide.noise, plain.noise, rtol=1e-6)


def test_targets_without_noise_are_believed_to_have_nearly_none() -> None:
    h = np.random.default_rng(0).standard_normal((50, 6, 2))
    y = h @ np.random.default_rng(1).standard_normal((50, 2, 1))
    found, evidence, _ = fit_prior(h, y, iterations=300)
    assert 0 < found.noise[0] < 1e-6
    assert np.isfinite(evidence).all()


# ---- from a run ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear_run() -> Run:
    family = mg.regression(3, w0=[1.0, -1.0, 0.5], spread=0.7, noise=0.4)
    return mg.train("maml", model=mg.linear(3), tasks=family, steps=0)


def test_a_familys_own_prior_is_found(linear_run: Run) -> None:
    """Features of a linear model are its inputs: w ~ N(w0, spread²·I), no bias, and the noise."""
    layer = mg.bayesian_last_layer(linear_run, points=12, n_tasks=2000)
    np.testing.assert_allclose(layer.prior.mean[0], [1.0, -1.0, 0.5, 0.0], atol=0.06)
    np.testing.assert_allclose(layer.prior.covariance[0, :3, :3], 0.49 * np.eye(3), atol=0.06)
    assert layer.prior.covariance[0, 3, 3] < 0.01
    assert layer.prior.noise[0] == pytest.approx(0.16, rel=0.05)
    assert repr(layer) == f"Bayesian last layer: 4 features, 1 output, noise {np.sqrt(layer.prior.noise[0]):.4g}"


@pytest.mark.parametrize("shots", [2, 10])
def test_intervals_cover(linear_run: Run, shots: int) -> None:
    """A new target lies in its interval as often as the level says: one target a task, so that they are independent."""
    layer = mg.bayesian_last_layer(linear_run, points=12, n_tasks=1000)
    batch = linear_run.plan.tasks.sample(np.random.default_rng(8), 1, 2000, shots, 1)  # type: ignore[union-attr]
    told = [
        layer.adapt(x, y[:, 0])(new) for x, y, new in zip(batch.support.x, batch.support.y, batch.query.x, strict=True)
    ]
    truth = batch.query.y[:, 0, 0]
    for level in (0.5, 0.8, 0.95):
        low, high = np.array([one.interval(level) for one in told])[..., 0].T
        inside = ((low < truth) & (truth < high)).mean()
        assert inside == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 2000))


def test_surer_with_more_points_and_nearer_to_them(linear_run: Run) -> None:
    run = mg.train("maml", model=mg.mlp(1, 16, 16, 1, activation="tanh"), tasks=mg.sinusoid(), inner_lr=0.01, steps=800)
    layer = mg.bayesian_last_layer(run, n_tasks=100)
    x = np.array([-2.5])  # one point leaves the phase open
    few, new = layer.adapt(x, 2 * np.sin(x)), np.array([-2.4, 4.0])
    near, far = few(new).std
    assert near < 0.5 * far
    more = np.linspace(-5, 5, 12)
    assert (layer.adapt(more, 2 * np.sin(more))(new).std < few(new).std).all()
    batch = mg.sinusoid().sample(np.random.default_rng(1), 1, 200, 10, 20)
    errors = [layer.adapt(x, y)(q).mean - t for x, y, q, t in zip(*(a for b in batch for a in (b.x, b.y)), strict=True)]
    assert np.mean(np.square(errors)) < run.evaluate(n_tasks=200, steps=1).mean[1]


def test_shapes_follow_y(linear_run: Run) -> None:
    layer = mg.bayesian_last_layer(linear_run, n_tasks=20)
    x, y = np.zeros((2, 3)), np.zeros(2)
    for targets, shape in ((y, (5,)), (y[:, None], (5, 1))):
        predicted = layer.adapt(x, targets)(np.ones((5, 3)))
        assert predicted.mean.shape == predicted.std.shape == shape
    low, high = predicted.interval(0.9)
    np.testing.assert_allclose((high - low) / predicted.std, 2 * 1.6448536269514722, rtol=1e-12)


# ---- few groups ---------------------------------------------------------------------------------------------------

SPREAD, NOISE = 0.7, 0.4


def rows_of(group_sizes: list[int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of groups whose slopes and intercepts on three inputs are random effects."""
    group = np.repeat(np.arange(len(group_sizes)), group_sizes)
    x = rng.standard_normal((len(group), 3))
    slopes = np.array([1.0, -1.0, 0.5]) + SPREAD * rng.standard_normal((len(group_sizes), 3))
    intercept = 0.5 * rng.standard_normal(len(group_sizes))
    y = (x * slopes[group]).sum(axis=1) + intercept[group] + NOISE * rng.standard_normal(len(group))
    return x, y, group


def of_groups(seed: int, sizes: list[int], steps: int = 400) -> Run:
    family = mg.groups(*rows_of(sizes, np.random.default_rng([seed, 7])))
    return mg.train("maml", model=mg.mlp(3, 20, 20, 1, activation="tanh"), tasks=family, inner_lr=0.05, meta_lr=0.003,
                    meta_batch_size=12, shots=8, queries=8, steps=steps, seed=seed)  # fmt: skip


def coverage(layer: BayesianLastLayer, shots: int, groups: int = 150) -> float:
    """Share of targets of unseen groups, four of each, in their 95 % intervals."""
    x, y, group = rows_of([shots + 4] * groups, np.random.default_rng(99))
    inside = []
    for g in range(groups):
        a, b = x[group == g], y[group == g]
        low, high = layer.adapt(a[:shots], b[:shots])(a[shots:]).interval(0.95)
        inside.append((low < b[shots:]) & (b[shots:] < high))
    return float(np.mean(inside))


def test_intervals_cover_unseen_groups_where_few_groups_were_learned_from() -> None:
    """Of twelve groups: fitted to all of them, the variances are too small; scaled on held-out groups they are not."""
    found = []
    for seed in range(3):
        run = of_groups(seed, [25] * 12)
        plain, scaled = (mg.bayesian_last_layer(run, folds=folds) for folds in (0, 4))
        assert plain.scale is None
        assert scaled.scale is not None
        np.testing.assert_allclose(scaled.prior.noise, plain.prior.noise * scaled.scale**2, rtol=1e-12)
        np.testing.assert_array_equal(scaled.prior.mean, plain.prior.mean)
        found.append([coverage(layer, shots) for layer in (plain, scaled) for shots in (8, 3)])
    plain8, plain3, scaled8, scaled3 = np.mean(found, axis=0)
    assert max(plain8, plain3) < 0.9
    assert min(scaled8, scaled3) >= 0.9


def test_every_group_is_used_once_and_small_ones_give_all_their_rows() -> None:
    """Groups of 9 to 40 rows; the evidence is that of the groups one by one."""
    run = of_groups(0, [40, 9, 12, 25, 10, 9], steps=50)
    layer = mg.bayesian_last_layer(run, folds=3)
    assert layer.scale is not None
    assert np.isfinite(layer.scale).all()
    assert "widened" in repr(layer)
    tiny = mg.groups(*rows_of([1, 2, 30, 30], np.random.default_rng(0)))  # one row is no obstacle
    assert np.isfinite(mg.bayesian_last_layer(run, tiny, folds=2).prior.covariance).all()


def test_rows_that_fill_up_change_nothing() -> None:
    prior = a_prior(2, 3)
    h, y = drawn(prior, 6, 5, 4)
    more = [np.concatenate([a, np.zeros_like(a[:, :3])], axis=1) for a in (h, y)]
    inside = np.arange(8) < np.full((6, 1), 5)
    plain, filled = fit_prior(h, y, 30, 0.0), fit_prior(*more, 30, 0.0, inside)
    for one, other in zip((*plain.prior, plain.evidence), (*filled.prior, filled.evidence), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


def test_pseudo_tasks_keep_variance_where_few_tasks_show_none() -> None:
    """Three tasks span at most two directions of the mean-free weights; the penalized evidence never falls."""
    h, y = drawn(a_prior(1, 6), 3, 30, 5)
    bare, held = fit_prior(h, y, 400, 1e-9), fit_prior(h, y, 400, 1e-9, None, 3.0)
    least = [np.linalg.eigvalsh(fit.prior.covariance[0])[0] for fit in (bare, held)]
    assert least[0] < 0.01 * least[1]
    assert (np.diff(held.evidence) >= -1e-9 * np.abs(held.evidence[:-1])).all()


def test_a_held_out_family_trains_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from metagd_nb.analysis import held_out_scale

    run = of_groups(1, [20] * 6, steps=50)
    trained: list[Any] = []
    anew = held_out_scale._trained_anew
    monkeypatch.setattr(held_out_scale, "_trained_anew", lambda *given: trained.append(given[1]) or anew(*given))
    mg.bayesian_last_layer(run, mg.groups(*rows_of([20] * 6, np.random.default_rng(8))))
    assert not trained
    mg.bayesian_last_layer(run, folds=3)
    assert [len(family) for family in trained] == [4, 4, 4]
    left_out = [set(range(6)) - set(family.labels.tolist()) for family in trained]
    assert sorted(g for part in left_out for g in part) == list(range(6))


def test_a_family_that_cannot_be_divided_says_so() -> None:
    """One group, or a mixture whose tasks cannot be told apart: no held-out scale, and not without a word."""
    run = of_groups(1, [20] * 6, steps=5)
    with pytest.warns(
        UserWarning, match=r"^groups\(1 groups of 20.20 rows, D=3\) cannot be divided: variances as fitted"
    ):
        layer = mg.bayesian_last_layer(run, mg.groups(*rows_of([20], np.random.default_rng(8))))
    assert layer.scale is None


def test_training_anew_takes_as_many_steps() -> None:
    from metagd_nb.analysis.held_out_scale import _trained_anew

    run = of_groups(1, [20] * 6, steps=30)
    again = _trained_anew(run, run.plan.tasks)  # type: ignore[arg-type]
    assert again.iteration == 30
    np.testing.assert_array_equal(again.loop.theta, run.loop.theta)


def test_a_fit_that_has_not_converged_says_so(linear_run: Run) -> None:
    with pytest.warns(UserWarning, match=r"^the prior of the last layer has not converged after 3 iter"):
        layer = mg.bayesian_last_layer(linear_run, n_tasks=20, iterations=3)
    assert not layer.converged
    assert repr(layer).endswith("; not converged")
    assert mg.bayesian_last_layer(linear_run, n_tasks=20).converged


def a_line(pattern: str) -> Any:
    return pytest.raises(MetagdError, match=pattern)


def test_refusals(linear_run: Run) -> None:
    layer = mg.bayesian_last_layer(linear_run, n_tasks=20)
    with a_line(r"^x, y: have 2 and 3 points; need the same number$"):
        layer.adapt(np.zeros((2, 3)), np.zeros(3))
    with a_line(r"^x: has 2 columns; needs 3$"):
        layer.adapt(np.zeros((2, 2)), np.zeros(2))
    with a_line(r"^y: has 2 columns; needs 1$"):
        layer.adapt(np.zeros((2, 3)), np.zeros((2, 2)))
    predict = layer.adapt(np.zeros((2, 3)), np.zeros(2))
    with a_line(r"^x_new: has 1 columns; needs 3$"):
        predict(np.zeros(4))
    with a_line(r"^level: 1 is not allowed; needs a number > 0 and < 1$"):
        predict(np.zeros((1, 3))).interval(1.0)
    with a_line(r"^run: has no features"):
        mg.bayesian_last_layer(mg.train("maml", tasks=mg.quadratics([1.0], [0.0]), steps=0))
    with a_line(r"^run: normalizes over what is predicted together"):
        net = mg.mlp(1, 4, 1, norm="batch")
        mg.bayesian_last_layer(mg.train("maml", model=net, tasks=mg.sinusoid(), steps=0))
    with a_line(r"^model: linear\(3, .* takes 3 inputs, the tasks have 1$"):
        mg.bayesian_last_layer(linear_run, mg.sinusoid())
    with a_line(r"^points: 1 is not allowed"):
        mg.bayesian_last_layer(linear_run, points=1)
    fit = mg.train("gd", model=mg.mlp(1, 3, 1), x=np.zeros(3), y=np.zeros(3), steps=1)
    with a_line(r"^tasks: is missing; gd was trained on one task only$"):
        mg.bayesian_last_layer(fit)
