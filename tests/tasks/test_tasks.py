"""Families of tasks: what they deal out, what they know of themselves, what they refuse."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import drawings
import numpy as np
import pytest
from cases import heaps

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.tasks import FAMILIES, Batch, Sampler, TaskBatch, Tasks


def rows(batch: Batch) -> np.ndarray:
    """(T, K) of the row numbers that `labelled` hid in x."""
    return batch.x[..., 0].astype(int)


def labelled(sizes: list[int], seed: int = 0) -> tuple[Any, np.ndarray]:
    """A family of groups of these sizes, rows shuffled; x is the row's number, y the group's (and its square)."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(seed).shuffle(group)
    x = np.arange(len(group), dtype=float)
    return mg.groups(x, np.stack([group, group**2], axis=1), group), group


# ---- groups -------------------------------------------------------------------------------------------------------


def test_groups_deal_rows_of_one_group_and_never_the_same_twice() -> None:
    family, group = labelled([9, 4, 7, 12])
    batch = family.sample(np.random.default_rng(0), 50, 4, 3, 5)
    assert batch.support.x.shape == (200, 3, 1)
    assert batch.query.x.shape == (200, 5, 1)
    assert batch.support.y.shape == (200, 3, 2)
    support, query = rows(batch.support), rows(batch.query)
    for s, q in zip(support, query, strict=True):
        of = group[s[0]]
        assert (group[s] == of).all()
        assert (group[q] == of).all()
        assert len(set(s)) == 3
        assert not set(s) & set(q)
    for part in (batch.support, batch.query):
        np.testing.assert_array_equal(part.y[..., 0], group[rows(part)])
        np.testing.assert_array_equal(part.y[..., 1], group[rows(part)] ** 2)


def test_groups_reach_every_row() -> None:
    family, group = labelled([5, 8, 6])
    batch = family.sample(np.random.default_rng(0), 200, 3, 2, 3)
    for part in batch:
        assert set(rows(part).ravel()) == set(range(len(group)))


def test_a_group_short_of_queries_repeats_those_it_has() -> None:
    family, _ = labelled([4, 10])
    batch = family.sample(np.random.default_rng(1), 20, 2, 3, 6)
    for s, q in zip(rows(batch.support), rows(batch.query), strict=True):
        assert not set(s) & set(q)
        assert len(set(q)) in (1, 6)  # 4 − 3 rows, or all six different


def test_a_batch_holds_each_group_about_equally_often() -> None:
    family, group = labelled([4] * 6)
    for n, counts in ((4, {0, 1}), (6, {1}), (9, {1, 2}), (12, {2})):
        for one in range(5):
            batch = family.sample(np.random.default_rng(one), 1, n, 2, 2)
            assert len(batch) == n
            assert set(np.bincount(group[rows(batch.support)[:, 0]], minlength=6)) <= counts


def test_group_too_small_for_the_shots() -> None:
    family, _ = labelled([3, 10, 2])
    with pytest.raises(MetagdError, match=r"^shots: 3 needs groups of at least 4 rows; 2 have fewer \(0, 2"):
        family.sample(np.random.default_rng(0), 1, 2, 3, 1)


def test_split_keeps_groups_whole() -> None:
    x = np.arange(40.0)
    group = np.repeat([f"g{i}" for i in range(10)], 4)
    family = mg.groups(x, -x, group)
    train, held = family.split(0.7, seed=3)
    assert (len(train), len(held)) == (7, 3)
    assert not set(train.labels) & set(held.labels)
    assert set(train.labels) | set(held.labels) == set(group)
    assert sorted([*train.x[:, 0], *held.x[:, 0]]) == list(x)
    for part in (train, held):
        np.testing.assert_array_equal(part.y, -part.x)
        np.testing.assert_array_equal(part.group, [f"g{int(i) // 4}" for i in part.x[:, 0]])
    again = family.split(0.7, seed=3)[0]
    np.testing.assert_array_equal(train.x, again.x)
    assert not np.array_equal(train.labels, family.split(0.7, seed=4)[0].labels)
    for fraction in (0.0, 0.01, 1.0, -1.0, 2.0):
        with pytest.raises(MetagdError, match=r"^fraction: .* of 10 groups leaves one side empty$"):
            family.split(fraction)


@pytest.mark.parametrize("labels", [["b", "a", "b", "a"], [1.5, -2.0, 1.5, -2.0], [True, False, True, False]])
def test_labels_may_be_anything_that_can_be_sorted(labels: list[Any]) -> None:
    family = mg.groups([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], labels)  # type: ignore[arg-type]
    assert len(family) == 2
    assert family.sizes.tolist() == [2, 2]


def test_group_arrays_are_not_changed() -> None:
    x, y, group = np.arange(8.0), np.arange(8.0), np.array(list("aabbaabb"))
    for array in (x, y, group):
        array.flags.writeable = False
    family = mg.groups(x, y, group)
    family.sample(np.random.default_rng(0), 3, 2, 2, 2)
    assert (family.inputs, family.outputs) == (1, 1)
    assert repr(family) == "groups(2 groups of 4–4 rows, D=1)"


OK = np.arange(6.0)
LABELS = list("aabbcc")


@pytest.mark.parametrize(
    ("x", "y", "group", "line"),
    [
        (OK, OK[:5], LABELS, r"^x, y, group: have 6, 5 and 6 rows; need the same number$"),
        (OK, OK, LABELS[:2], r"^x, y, group: have 6, 6 and 2 rows; need the same number$"),
        (OK, OK, [[label] for label in LABELS], r"^group: has shape \(6, 1\); needs \(n,\), one label a row$"),
        (OK, OK, "a", r"^group: has shape \(\); needs \(n,\), one label a row$"),
        (OK, OK, ["a", 1, None, "b", 2, "c"], r"^group: holds labels that cannot be sorted"),
        (OK, OK, [["a"], ["a", "b"], "c", "d", "e", "f"], r"^group: "),
        (OK, OK, [1.0, 1.0, np.nan, 2.0, 2.0, np.nan], r"^group: .*missing"),
        (OK * np.nan, OK, LABELS, r"^x: holds 6 values that are not finite \(first in row 0\); drop or fill them$"),
        (OK, [1, 2, 3, np.inf, 5, 6], LABELS, r"^y: holds 1 values that are not finite \(first in row 3\)"),
        (list("abcdef"), OK, LABELS, r"^x: holds values that are not numbers$"),
        ([{}] * 6, OK, LABELS, r"^x: holds values that are not numbers$"),
        ([None] * 6, OK, LABELS, r"^x: holds "),
        (OK, np.ones((6, 2, 2)), LABELS, r"^y: has shape \(6, 2, 2\); needs \(n,\) or \(n, D\) with n ≥ 1$"),
        (OK, 3.0, LABELS, r"^y: has shape \(\); needs"),
        ([], [], [], r"^x: has shape \(0,\); needs"),
    ],
)
def test_groups_refuse(x: Any, y: Any, group: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line) as caught:
        mg.groups(x, y, group)
    assert "\n" not in str(caught.value)


# ---- quadratics ---------------------------------------------------------------------------------------------------


def test_quadratics_deal_all_of_them() -> None:
    family = mg.quadratics((1.0, 3.0), (0.0, 1.0))
    assert (len(family.c), family.inputs, family.full_batch) == (2, 1, True)
    batch = family.sample(np.random.default_rng(0), 3, 99, 5, 5)
    assert len(batch) == 6
    for part in batch:
        np.testing.assert_array_equal(part.x[:, 0, 0], [1, 3] * 3)
        np.testing.assert_array_equal(part.y[:, 0], [0, 1] * 3)
    same = mg.quadratics(np.array([1.0, 3.0])[:, None, None] * np.eye(2), np.ones((2, 2)))
    np.testing.assert_array_equal(mg.quadratics((1.0, 3.0), np.ones((2, 2))).a, same.a)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_quadratics_adapted_curvature_with_a_rate_for_each(k: int) -> None:
    a = np.array([[[2.0, 1.0], [1.0, 3.0]]])
    r = np.linalg.matrix_power(np.eye(2) - np.diag([0.1, 0.2]) @ a[0], k)
    family = mg.quadratics(a, np.array([[1.0, -1.0]]))
    np.testing.assert_allclose(family.adapted(np.array([0.1, 0.2]), k)[0], r.T @ a[0] @ r, rtol=1e-12)
    theta, loss = family.optimum(np.array([0.1, 0.2]), k)
    np.testing.assert_allclose(theta, [1.0, -1.0])
    assert loss == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize(
    ("a", "c", "line"),
    [
        ((1.0, 2.0), (0.0,), r"^a: has shape \(2,\); needs \(1,\) or \(1, 1, 1\) for these c$"),
        ((1.0,), [[[1.0]]], r"^c: has shape \(1, 1, 1\); needs \(T, d\), one minimum a task$"),
        ((), (), r"^c: has shape \(0, 1\)"),
        (np.array([[[1.0, 2.0], [0.0, 1.0]]]), [[0.0, 0.0]], r"^a: is not symmetric"),
        ((1.0, np.nan), (0.0, 1.0), r"^a, c: hold values that are not finite$"),
        ((1.0, 1.0), (0.0, np.inf), r"^a, c: hold values that are not finite$"),
        (("x", "y"), (0.0, 1.0), r"^a: holds values that are not numbers$"),
        ((1.0, 1j), (0.0, 1.0), r"^a: holds values that are not numbers$"),
        ([[1.0], [1.0, 2.0]], (0.0, 1.0), r"^a: holds values that are not numbers$"),
    ],
)
def test_quadratics_refuse(a: Any, c: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        mg.quadratics(a, c)


# ---- sinusoid, regression -----------------------------------------------------------------------------------------


def test_sinusoids_are_sinusoids() -> None:
    family = mg.sinusoid(amplitude=(1.0, 2.0), phase=(0.5, 1.0), x=(-3.0, 2.0))
    batch = family.sample(np.random.default_rng(0), 20, 10, 5, 7)
    assert batch.support.x.shape == (200, 5, 1)
    assert batch.query.y.shape == (200, 7, 1)
    x, y = (np.concatenate([getattr(part, name)[..., 0] for part in batch], axis=1) for name in ("x", "y"))
    assert x.min() >= -3
    assert x.max() <= 2
    features = np.stack([np.sin(x), np.cos(x)], axis=-1)
    head = (np.linalg.pinv(features) @ y[..., None])[..., 0]  # A cos φ, −A sin φ
    np.testing.assert_allclose((features @ head[..., None])[..., 0], y, atol=1e-9)  # support and query: the same one
    amplitude, phase = np.hypot(*head.T), np.arctan2(-head[:, 1], head[:, 0])
    assert amplitude.min() >= 1
    assert amplitude.max() <= 2
    assert phase.min() >= 0.5
    assert phase.max() <= 1
    assert len(np.unique(amplitude.round(9))) == 200


@pytest.mark.parametrize("make", [mg.sinusoid, lambda noise: mg.regression(1, noise=noise)])
def test_noise_is_of_the_size_asked_for(make: Any) -> None:
    quiet, loud = (make(noise=noise).sample(np.random.default_rng(0), 1, 1, 4, 3000) for noise in (0.0, 0.5))
    if make is mg.sinusoid:
        assert (loud.query.y - quiet.query.y).std() == pytest.approx(0.5, rel=0.1)
    x, y = loud.query.x[0], loud.query.y[0]
    basis = np.concatenate([np.sin(x), np.cos(x)], axis=1) if make is mg.sinusoid else x
    assert (y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]).std() == pytest.approx(0.5, rel=0.05)


def test_regression_tasks() -> None:
    w0 = np.array([1.0, -2.0, 3.0])
    family = mg.regression(3, w0=w0, spread=0.5)
    batch = family.sample(np.random.default_rng(0), 1, 4000, 3, 4)
    w = np.linalg.solve(batch.support.x, batch.support.y)[..., 0]
    np.testing.assert_allclose((batch.query.x @ w[..., None]), batch.query.y, atol=1e-6)  # one w a task
    np.testing.assert_allclose(w.mean(0), w0, atol=0.05)
    np.testing.assert_allclose(np.cov(w.T), 0.25 * np.eye(3), atol=0.03)
    assert batch.query.x.std() == pytest.approx(1, rel=0.02)
    np.testing.assert_array_equal(mg.regression(2, w0=3).w0, [3, 3])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: mg.sinusoid(amplitude=(2.0, 1.0)), r"^amplitude: \(2\.0, 1\.0\) is not a range; needs low < high$"),
        (lambda: mg.sinusoid(phase=(1.0, 1.0)), r"^phase: \(1\.0, 1\.0\) is not a range"),
        (lambda: mg.sinusoid(x=(0.0, np.inf)), r"^x: \(0\.0, inf\) is not a range"),
        (lambda: mg.sinusoid(amplitude=3.0), r"^amplitude: 3\.0 is not a range"),  # type: ignore[arg-type]
        (lambda: mg.sinusoid(x=("a", "b")), r"^x: \('a', 'b'\) is not a range"),  # type: ignore[arg-type]
        (lambda: mg.sinusoid(x=(1, 2, 3)), r"^x: \(1, 2, 3\) is not a range"),  # type: ignore[arg-type]
        (lambda: mg.sinusoid(noise=-1.0), r"^noise: -1\.0 is not allowed; needs a number ≥ 0$"),
        (lambda: mg.sinusoid(noise=np.nan), r"^noise: nan is not allowed"),
        (lambda: mg.sinusoid(noise=np.inf), r"^noise: inf is not allowed"),
        (lambda: mg.sinusoid(noise="a"), r"^noise: 'a' is not allowed"),  # type: ignore[arg-type]
        (lambda: mg.regression(0), r"^d: 0 is not allowed; needs a whole number ≥ 1$"),
        (lambda: mg.regression(2.5), r"^d: 2\.5 is not allowed"),  # type: ignore[arg-type]
        (lambda: mg.regression(True), r"^d: True is not allowed"),
        (lambda: mg.regression(3, w0=[1.0, 2.0]), r"^w0: has shape \(2,\); needs a number or shape \(3,\)$"),  # type: ignore[arg-type]
        (lambda: mg.regression(3, w0="a"), r"^w0: "),  # type: ignore[arg-type]
        (lambda: mg.regression(3, w0=np.nan), r"^w0: "),
        (lambda: mg.regression(3, spread=-1), r"^spread: -1 is not allowed; needs a number ≥ 0$"),
        (lambda: mg.regression(3, spread="a"), r"^spread: 'a' is not allowed"),  # type: ignore[arg-type]
        (lambda: mg.regression(3, noise=np.inf), r"^noise: inf is not allowed"),
    ],
)
def test_families_refuse(make: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line) as caught:
        make()
    assert "\n" not in str(caught.value)


# ---- all families -------------------------------------------------------------------------------------------------


@functools.cache
def fake_omniglot() -> Tasks:
    with tempfile.TemporaryDirectory() as folder:
        return mg.omniglot(drawings.packed(Path(folder) / "small.npz"), ways=2, train=8)


def family(name: str) -> Tasks:
    if name == "omniglot":
        return fake_omniglot()
    if name == "episodes":
        return mg.episodes(*heaps(), ways=3)
    if name == "groups":
        return labelled([6, 7, 8, 9])[0]  # type: ignore[no-any-return]
    if name == "quadratics":
        return mg.quadratics((1.0, 3.0), (0.0, 1.0))
    given: dict[str, Any] = {"regression": (2,), "curves": (np.sin,), "mixed": ("sinusoid",), "series": ("ar2",)}
    return FAMILIES[name](*given.get(name, ()))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_sampling_is_a_function_of_the_generator(name: str) -> None:
    one, same, other = (family(name).sample(np.random.default_rng(s), 2, 3, 4, 2) for s in (0, 0, 1))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.y, b.y)
    if not family(name).full_batch:
        assert not np.array_equal(one.support.x, other.support.x)
        assert len(one) == 6


@pytest.mark.parametrize("name", list(FAMILIES))
def test_the_batch_of_a_step_depends_on_seed_and_step_alone(name: str) -> None:
    def sampler(seed: int = 7, dtype: str = "float64") -> Sampler:
        return Sampler(family(name), 3, 4, 2, seed, dtype)

    forward, backward = sampler(), sampler()
    steps = [0, 1, 99, 100, 250, 101, 3]
    dealt = {step: forward(step) for step in steps}
    for step in reversed(steps):
        for a, b in zip(backward(step), dealt[step], strict=True):
            np.testing.assert_array_equal(a.x, b.x)
            np.testing.assert_array_equal(a.y, b.y)
    short = sampler(dtype="float32")(1)
    assert short.support.x.dtype == short.query.y.dtype == np.float32
    np.testing.assert_allclose(short.support.y, dealt[1].support.y, rtol=1e-6)
    if not family(name).full_batch:
        assert len(dealt[0]) == 3
        assert not np.array_equal(dealt[0].support.x, dealt[1].support.x)
        assert not np.array_equal(dealt[0].support.x, dealt[100].support.x)
        assert not np.array_equal(sampler(8)(0).support.x, dealt[0].support.x)


class Interrupted(type(mg.sinusoid())):  # type: ignore[misc]
    """Sinusoids whose sampler is used for another step whenever it looks at the family."""

    sampler: Sampler | None = None

    @property
    def full_batch(self) -> bool:  # type: ignore[override]
        sampler, self.sampler = self.sampler, None
        if sampler is not None:
            sampler(10_000)
            self.sampler = sampler
        return False


def test_a_sampler_may_be_shared() -> None:
    """A replay of a paused run shares its sampler with the run, which may go on meanwhile, in another thread."""
    family = Interrupted((0.1, 5.0), (0.0, np.pi), (-5.0, 5.0), 0.0)
    shared, plain = Sampler(family, 2, 3, 2, 0, "float64"), Sampler(mg.sinusoid(), 2, 3, 2, 0, "float64")
    family.sampler = shared
    for step in (0, 1, 150, 0):
        np.testing.assert_array_equal(shared(step).support.x, plain(step).support.x)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_an_example_only_on_one_dimensional_inputs(name: str) -> None:
    one = family(name).example(np.random.default_rng(0), 4)
    if name in ("sinusoid", "curves", "mixed"):
        assert one is not None
        assert one.support.x.shape == one.support.y.shape == (1, 4, 1)
        assert one.truth is not None
        noise = 1.2 if name == "mixed" else 0.01
        np.testing.assert_allclose(
            np.interp(one.support.x.ravel(), one.x, one.truth), one.support.y.ravel(), atol=noise
        )
    else:
        assert one is None
    line = mg.regression(1).example(np.random.default_rng(0), 4)
    assert line is not None
    assert line.truth is not None
    x = line.support.x.ravel()
    np.testing.assert_allclose(np.interp(x, line.x, line.truth), line.support.y.ravel(), atol=1e-9)
    table, group = mg.groups(OK, OK**2, ["a"] * 3 + ["b"] * 3), np.repeat(["a", "b"], 3)
    shown = table.example(np.random.default_rng(0), 2)
    assert shown is not None
    assert shown.truth is None
    rows_of = shown.support.x.ravel().astype(int)
    assert shown.label == f"group {group[rows_of[0]]}"
    assert len(set(group[rows_of])) == 1


def test_a_batch_casts_and_slices() -> None:
    batch = TaskBatch(Batch(np.zeros((4, 3, 2)), np.ones((4, 3, 1))), Batch(np.zeros((4, 5, 2)), np.ones((4, 5, 1))))
    assert len(batch) == 4
    assert batch.cast("float64").support is batch.support
    assert batch.cast("float32").query.x.dtype == np.float32
    assert len(batch.tasks(slice(1, 3))) == 2


def test_a_family_without_sample_says_so() -> None:
    with pytest.raises(TypeError, match="Tasks cannot draw tasks: it needs a method sample"):
        Tasks().sample(np.random.default_rng(0), 1, 1, 1, 1)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_sinusoids_drawn_in_single_precision_are_the_same_tasks(noise: float) -> None:
    family = mg.sinusoid(noise=noise)
    precise = family.sample(np.random.default_rng(3), 2, 5, 4, 6)
    single = family.draw(np.random.default_rng(3), 2, 5, 4, 6, np.float32)
    for part, other in zip(single, precise, strict=True):
        assert (part.x.dtype, part.y.dtype) == (np.float32, np.float32)
        np.testing.assert_allclose(part.x, other.x, rtol=1e-6)
        np.testing.assert_allclose(part.y, other.y, atol=5e-6)


def test_old_names_of_attributes_still_work() -> None:
    with pytest.warns(DeprecationWarning, match="there_are is now called n_available"):
        assert mg.quadratics([1.0, 2.0], [0.0, 1.0]).there_are == 2
    with pytest.warns(DeprecationWarning, match="full is now called full_batch"):

        class Own(mg.Tasks):
            full = True

    assert Own().full_batch
    with pytest.raises(AttributeError, match="'Own' object has no attribute 'inputs'"):
        Own().inputs  # noqa: B018
