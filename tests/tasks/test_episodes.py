"""N-way K-shot episodes: from a person's labelled rows, and from Omniglot in each form it comes in."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import drawings
import numpy as np
import pytest
from cases import heaps

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.tasks import Sampler, TaskBatch
from metagd_nb.tasks.user_data.episodes import distinct

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "omniglot28.npz"
REAL = Path(os.environ.get("METAGD_OMNIGLOT", BESIDE))


# ---- choosing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bound", "k"), [(5, 5), (5, 2), (20, 4), (1000, 20), (7, 1), (3, 2)])
def test_distinct_numbers_are_distinct_and_all_as_likely(bound: int, k: int) -> None:
    chosen = distinct(np.random.default_rng(0), bound, 20_000, k)
    assert chosen.shape == (20_000, k)
    assert (chosen.min(), chosen.max()) == (0, bound - 1)
    assert (np.diff(np.sort(chosen, axis=1), axis=1) > 0).all()
    for column in chosen.T:
        count = np.bincount(column, minlength=bound)
        assert ((count - 20_000 / bound) ** 2).sum() / (20_000 / bound) < bound + 6 * math.sqrt(2 * bound)  # χ²


# ---- a person's own classes ---------------------------------------------------------------------------------------


def test_an_episode_has_its_ways_shots_and_queries() -> None:
    x, y = heaps()
    family = mg.episodes(x, y, ways=3)
    label = {tuple(row): name for row, name in zip(x, y, strict=True)}
    drawn = family.sample(np.random.default_rng(0), 4, 5, 2, 6)
    assert drawn.support.x.shape == (20, 6, 2)
    assert drawn.query.y.shape == (20, 18, 3)
    met = set()
    for t in range(20):
        named: dict[int, set[str]] = {}
        seen = set()
        for part, each in ((drawn.support, 2), (drawn.query, 6)):
            np.testing.assert_array_equal(part.y[t].sum(axis=0), each)
            np.testing.assert_array_equal(part.y[t].sum(axis=1), 1)
            for row, target in zip(part.x[t], part.y[t], strict=True):
                named.setdefault(int(target.argmax()), set()).add(label[tuple(row)])
                assert tuple(row) not in seen  # no row twice in an episode
                seen.add(tuple(row))
        assert all(len(names) == 1 for names in named.values())
        assert len(set.union(*named.values())) == 3
        met |= {(number, *names) for number, names in named.items()}
    assert len(met) > 15  # a class is not always the same output


def test_classes_of_unlike_size_and_too_few_queries() -> None:
    number = np.repeat([3, 1, 2], [4, 9, 6])
    family = mg.episodes(np.arange(19.0), number, ways=3)
    drawn = family.sample(np.random.default_rng(0), 1, 200, 3, 5)
    for t in range(200):
        for c in range(3):
            support, query = (part.x[t, part.y[t, :, c] == 1, 0] for part in drawn)
            assert len(set(support)) == 3
            assert len(set(query)) == 1  # the smallest class has one row left; it comes again, and so do the others
            assert not set(support) & set(query)
            assert len(set(number[np.concatenate([support, query]).astype(int)])) == 1
    reached = np.unique(drawn.query.x)
    assert len(reached) == 19


def test_a_split_shares_no_class() -> None:
    x, y = heaps()
    family = mg.episodes(x, y, ways=2)
    label = {tuple(row): name for row, name in zip(x, y, strict=True)}
    train, held = family.split(0.6, seed=1)
    names = [{label[tuple(row)] for row in side.x} for side in (train, held)]
    assert [len(side) for side in names] == [5, 3]
    assert not names[0] & names[1]
    assert repr(held) == "episodes(2 ways of 3 classes, D=2)"
    np.testing.assert_array_equal(family.split(0.6, seed=1)[0].x, train.x)
    assert not np.array_equal(family.split(0.6, seed=2)[0].x, train.x)
    with pytest.raises(MetagdError, match=r"^fraction: 0.9 of 8 classes leaves a side with fewer than 2$"):
        family.split(0.9)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: mg.episodes([1.0, 2.0], ["a"], 2), r"^x, y: have 2 and 1 rows; need the same number$"),
        (lambda: mg.episodes([1.0, 2.0], ["a", "b"], 3), r"^ways: 3 needs as many classes; there are 2$"),
        (lambda: mg.episodes([1.0, 2.0], ["a", "b"], 1), r"^ways: 1 is not allowed; needs a whole number ≥ 2$"),
        (lambda: mg.episodes([1.0, np.nan], ["a", "b"], 2), r"^x: holds 1 values that are not finite"),
        (lambda: mg.episodes([1.0, 2.0], [1.0, np.nan], 2), r"^y: has 1 missing labels"),
        (
            lambda: mg.train("maml", model=mg.linear(1, 2), tasks=mg.episodes([1.0, 2.0, 3.0], ["a", "b", "b"], 2)),
            r"^shots: 10 a class needs classes of at least 11 rows; one has 1$",
        ),
    ],
)
def test_what_episodes_refuse(make: Callable[[], Any], line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        make()


def test_learning_from_episodes() -> None:
    x, y = heaps()
    tasks = mg.episodes(x, y, ways=3)
    run = mg.train("maml", model=mg.mlp(2, 20, 3, activation="tanh"), tasks=tasks, shots=5, inner_lr=0.5,
                   inner_steps=3, meta_lr=0.01, steps=100, meta_batch_size=8)  # fmt: skip
    assert [(round(r.value, 12), r.label) for r in run.plan.references] == [(round(math.log(3), 12), "guessing")]
    scored = run.evaluate(metric="accuracy", n_tasks=100)
    assert abs(scored.mean[0] - 1 / 3) < 0.1
    assert scored.mean[-1] > 0.6
    rows = np.flatnonzero(np.isin(y, ["b", "g"]))
    told = run.adapt(x[rows], y[rows])(x[rows])  # fewer classes than there are ways: none else is told
    assert set(told) <= {"b", "g"}
    with pytest.raises(MetagdError, match=r"^model: mlp\(.* gives 3 outputs, the data have 8 classes$"):
        run.adapt(x, y)


# ---- Omniglot -----------------------------------------------------------------------------------------------------


def turned(family: Any, shots: int = 1, queries: int = 2, n: int = 300) -> TaskBatch:
    made: TaskBatch = family.sample(np.random.default_rng(5), 1, n, shots, queries)
    return made


def test_every_form_is_the_same_family(tmp_path: Path) -> None:
    for name in ("folders", "zips", "large"):
        (tmp_path / name).mkdir()
    forms = [
        drawings.packed(tmp_path / "omniglot.npz"),
        drawings.folders(tmp_path / "folders"),
        drawings.zips(tmp_path / "zips"),
        drawings.zips(tmp_path / "large", side=112),  # averaged down
    ]
    families = [mg.omniglot(path, ways=3, train=8) for path in forms]
    first = turned(families[0])
    assert first.support.x.dtype == np.float32
    assert set(np.unique(first.support.x)) == {0, 1}
    for other in families[1:]:
        for a, b in zip(first, turned(other), strict=True):
            np.testing.assert_array_equal(a.x, b.x)
            np.testing.assert_array_equal(a.y, b.y)
        for a, b in zip(turned(families[0].test), turned(other.test), strict=True):
            np.testing.assert_array_equal(a.x, b.x)
        assert other.names.tolist() == families[0].names.tolist()
    background = mg.omniglot(tmp_path / "folders" / "images_background", ways=2, train=5)
    assert all(name.startswith("images_background/") for name in background.names.tolist())
    assert len(background.test.names.tolist()) == 3
    one = mg.omniglot(tmp_path / "zips" / "images_evaluation.zip", ways=2, train=2)
    assert sorted(one.names.tolist() + one.test.names.tolist()) == [
        f"images_evaluation/Mayan/character{i:02}" for i in range(4)
    ]


def sides(path: Path, **given: Any) -> tuple[Any, Any]:
    family = mg.omniglot(path, **given)
    assert family.train is family
    assert family.test.train is family
    assert family.test.test is family.test
    return family, family.test


def test_turned_characters_are_classes_of_their_own(tmp_path: Path) -> None:
    path = drawings.packed(tmp_path / "omniglot.npz")
    pixels = drawings.images(12)
    known = {np.rot90(one, turn).tobytes(): (c, turn)
             for c, drawn in enumerate(pixels) for one in drawn for turn in range(4)}  # fmt: skip
    train, test = sides(path, ways=3, train=8, seed=2)
    assert (train.n_classes, test.n_classes) == (32, 16)
    assert repr(test) == "omniglot(3 ways of 16 classes, D=784)"
    characters: list[set[int]] = []
    for side in (train, test):
        met = set()
        for part in turned(side):
            for t in range(300):
                for c in range(3):
                    mine = part.x[t, part.y[t, :, c] == 1].astype(np.uint8).reshape(-1, 28, 28)
                    classes = {known[one.tobytes()] for one in mine}
                    assert len(classes) == 1  # one character, turned one way
                    met |= classes
        assert len(met) == side.n_classes
        characters.append({c for c, _ in met})
    assert [len(c) for c in characters] == [8, 4]
    assert not characters[0] & characters[1]
    names = drawings.characters()
    assert [sorted(names[c] for c in side) for side in characters] == [train.names.tolist(), test.names.tolist()]
    upright, _ = sides(path, ways=3, train=8, rotations=False)
    assert upright.n_classes == 8
    assert {known[one.astype(np.uint8).tobytes()][1] for one in turned(upright).query.x.reshape(-1, 28, 28)} == {0}


def test_the_seed_decides_the_split(tmp_path: Path) -> None:
    path = drawings.packed(tmp_path / "omniglot.npz")
    one, again, other = (mg.omniglot(path, ways=2, train=8, seed=s).names.tolist() for s in (0, 0, 1))
    assert one == again
    assert one != other


def test_a_run_on_it_is_kept_in_a_file(tmp_path: Path) -> None:
    """A path in a file is not followed: the drawings are given again; without them one line says so."""
    path = drawings.packed(tmp_path / "omniglot.npz")
    train, test = sides(path, ways=2, train=8)
    for side in (train, test):
        run = mg.train("protonet", model=mg.conv(2, filters=3), tasks=side, shots=2, queries=2, steps=3)
        run.save(tmp_path / "run.metagd")
        back = mg.load(tmp_path / "run.metagd", tasks=side)
        np.testing.assert_array_equal(back.replay().record["loss"], run.record["loss"])
        assert back.plan.tasks.names.tolist() == side.names.tolist()  # type: ignore[union-attr]
        assert back.plan.tasks.test.names.tolist() == test.names.tolist()  # type: ignore[union-attr]
        assert back.evaluate(n_tasks=4).mean[1] == run.evaluate(n_tasks=4).mean[1]
    path.rename(tmp_path / "elsewhere.npz")
    gone = mg.load(tmp_path / "run.metagd")
    assert gone.record["loss"].shape == (4,)
    with pytest.raises(MetagdError, match=r"^tasks is not in .*; give it from here: metagd_nb.load\(…, tasks=tasks\)$"):
        gone.evaluate()


def test_what_the_loader_refuses(tmp_path: Path) -> None:
    path = drawings.packed(tmp_path / "omniglot.npz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.savez(tmp_path / "short.npz", bits=np.zeros((3, 98), np.uint8), names=np.array(["a"]))
    np.savez(tmp_path / "floats.npz", bits=np.zeros((20, 98)), names=np.array(["a"]))
    np.savez(tmp_path / "objects.npz", bits=np.zeros((20, 98), np.uint8), names=np.array([None]))
    (tmp_path / "pictures" / "a" / "b").mkdir(parents=True)
    (tmp_path / "pictures" / "a" / "b" / "1.png").write_bytes(b"no picture")
    for name, line in {
        "nowhere": r"is no folder, \.zip or \.npz of Omniglot's images$",
        "empty": r"has no \.png in it$",
        "bad.npz": "does not hold bits and names of packed images$",
        "other.npz": "does not hold bits and names",
        "floats.npz": "does not hold bits and names",
        "objects.npz": "does not hold bits and names",
        "short.npz": r"holds \(3, 784\) bits for \(1,\) names; needs 20 images of 784 a name$",
        "bad.zip": "is no zip$",
        "pictures": r"holds a \.png that is no picture$",
    }.items():
        with pytest.raises(MetagdError, match=rf"^path: .*{line}") as caught:
            mg.omniglot(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(MetagdError, match=r"^train: 1200 of 12 characters leaves a side with fewer than 5 classes$"):
        mg.omniglot(path)
    with pytest.raises(MetagdError, match=r"^ways: 1 is not allowed"):
        mg.omniglot(path, ways=1, train=8)


def test_the_data_set_itself() -> None:
    """Its size, and the nearest class mean of raw pixels against floors that were computed on their own."""
    if not REAL.exists():
        pytest.skip("no Omniglot here: METAGD_OMNIGLOT names its packed file")
    family = mg.omniglot(REAL, seed=1)
    assert (len(family.names.tolist()), len(family.test.names.tolist())) == (1200, 423)
    assert (family.n_classes, family.test.n_classes) == (4800, 1692)
    checksums = (zlib.crc32((side.x // 255).tobytes()) for side in (family, family.test))
    assert tuple(checksums) == (58721287, 1644425033)  # of pixels 0 and 1
    assert (len(family.x), len(family.test.x)) == (24_000, 8_460)
    sampler = Sampler(family, 32, 1, 1, 0, "float32")
    np.testing.assert_array_equal(sampler(7).query.x, Sampler(family, 32, 1, 1, 0, "float32")(7).query.x)
    for shots, floor, margin in ((1, 0.460, 0.011), (5, 0.744, 0.009)):
        run = mg.train("protonet", model=mg.linear(784, 5), tasks=family, shots=shots, steps=0, dtype="float32")
        scored = run.evaluate(family.test, metric="accuracy", n_tasks=300)
        assert abs(scored.mean[1] - floor) < 1.5 * (margin + scored.interval[1])
