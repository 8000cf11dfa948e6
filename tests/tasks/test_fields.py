"""Characters, words, patients: what the data are, and that no task sees what it is judged on."""

from __future__ import annotations

import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.core.errors import MetagdError
from metagd_nb.tasks.datasets.glyphs import FACES, LEAST, characters, fonts, script_of
from metagd_nb.tasks.datasets.words import ngrams, vocabulary
from metagd_nb.tasks.user_data.episodes import Episodes
from tests.bench.claims import calibration
from tests.bench.claims.calibration import Told


def test_a_split_shares_no_parent() -> None:
    x = np.arange(80.0)[:, None]
    names, parents = [f"c{c}" for c in range(16)], [f"p{c // 2}" for c in range(16)]
    family = Episodes(x, np.repeat(np.arange(16), 5), 3, names, parents)
    learn, held = family.split(0.75, seed=3)
    assert not set(learn.parents) & set(held.parents)
    assert sorted([*learn.names, *held.names]) == sorted(names)
    assert (len(learn.names), len(held.names)) == (12, 4)
    for side in (learn, held):
        batch = side.sample(np.random.default_rng(0), 1, 50, 1, 1)
        assert {f"c{int(row) // 5}" for row in np.unique(batch.support.x)} == set(side.names)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: mg.glyphs(size=4), "size: 4 is not allowed; needs a whole number ≥ 8"),
        (lambda: mg.glyphs(size=200), "size: 200 is not allowed; needs a whole number ≥ 8 and ≤ 105"),
        (lambda: mg.words(ways=1000), "ways: 1000 needs as many classes; there are"),
        (lambda: mg.tumours(clinics=1), "clinics: 1 is not allowed"),
        (lambda: mg.lung(least=40), "least: 40 is not allowed: it leaves 0 of 18 hospitals"),
    ],
)
def test_what_does_not_fit_is_one_line(call: Any, line: str) -> None:
    with pytest.raises(MetagdError) as refused:
        call()
    assert line in str(refused.value)


# ---- the data -------------------------------------------------------------------------------------------------------


def test_characters_of_some_thirty_scripts() -> None:
    found = characters()
    assert 30 <= len(found) <= 40
    assert {"latin", "greek", "hebrew", "georgian", "canadian", "fraktur", "braille"} <= set(found)
    assert all(len(drawn) >= LEAST for drawn in found.values())
    assert sum(map(len, found.values())) > 2500
    assert script_of("é") is None
    assert script_of("ж") == "cyrillic"
    assert script_of("7") is None
    every = [character for drawn in found.values() for character in drawn]
    assert len(set(every)) == len(every)


def test_no_script_shows_what_another_has_taught() -> None:
    """Greek Α and Cyrillic А are drawn as Latin A is: only one of them is there."""
    every = {character: script for script, drawn in characters().items() for character in drawn}
    assert every["A"] == "latin"
    assert not {"\N{GREEK CAPITAL LETTER ALPHA}", "\N{CYRILLIC CAPITAL LETTER A}"} & set(every)


def test_glyphs_are_upright_images_that_vary() -> None:
    family = mg.glyphs(per_script=6, examples=4, size=24)
    images = family.x.reshape(family.n_classes, 4, 24, 24)
    assert images.dtype == np.float32
    assert images.min() == 0
    assert 0.9 < images.max() <= 1
    ink = images.mean(axis=(2, 3))
    assert (ink > 0.004).all()
    assert (ink < 0.6).all()
    assert np.abs(images[:, 0] - images[:, 1]).mean() > 0.02
    assert len(fonts()) == len(FACES)


def test_a_letter_stands_on_its_feet() -> None:
    """T has its ink at the top, its stem in the middle: rows run downwards."""
    from metagd_nb.tasks.datasets.glyphs import _outline, draw

    face, _ = fonts()[0]
    shape = _outline(face, "T")
    assert shape is not None
    image = np.mean([draw(*shape, np.random.default_rng(i), 20) for i in range(8)], axis=0).reshape(20, 20)
    assert image[:7].sum() > 1.5 * image[13:].sum()
    assert image[10:, 8:12].sum() > 0.7 * image[10:].sum()


def test_glyphs_are_the_same_each_time_and_split_by_script() -> None:
    code = (
        "import zlib, metagd_nb as mg; "
        "print(zlib.crc32(mg.glyphs(per_script=2, examples=2, size=10).x.round(3).tobytes()))"
    )
    done = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)]
    assert done[0] == done[1]
    learn, held = mg.glyphs(per_script=5, examples=2).split()
    assert not set(learn.parents) & set(held.parents)
    assert len(set(held.parents)) >= 7


def test_words_of_languages_of_their_own() -> None:
    found = vocabulary(True)
    assert len(found) > 100
    assert "deutschland" in found["de"]
    assert "germany" in found["en"]
    assert "germany" not in found["fr"]
    assert not {"ru", "el", "zh"} & set(found)
    assert {"ru", "el"} <= set(vocabulary(False))
    assert not {"nb", "no"} <= set(found)  # the same words under two names


def test_ngrams() -> None:
    cells = ngrams("aa", 10_000)
    # ^aa$: ^ a a $, ^a aa a$, ^aa aa$ — nine runs, "a" twice
    np.testing.assert_allclose(np.sort(cells[cells > 0]) * np.sqrt(11) / 100, [1] * 7 + [2], rtol=1e-6)
    assert ngrams("abc", 64).shape == (64,)
    np.testing.assert_allclose(np.linalg.norm(ngrams("schön", 64)), 8, rtol=1e-6)


def crc(array: Any) -> int:
    """Checksum of numbers as they were loaded."""
    return zlib.crc32(np.ascontiguousarray(array).astype("<f8").tobytes())


def test_the_tables_of_patients_are_those_that_were_measured() -> None:
    from lifelines.datasets import load_lung
    from sklearn.datasets import load_breast_cancer

    assert crc(load_lung().fillna(-1).to_numpy(float)) == 2218544808
    assert crc(load_breast_cancer().data) == 1775931888
    assert [(crc(family.group), crc(family.y)) for family in (mg.lung(), mg.tumours())] == [
        (2709541850, 4282460199),
        (2123767249, 2496398656),
    ]


def test_lung_counts() -> None:
    """228 patients; 185 of them were followed for a year or died within it, and have a hospital."""
    everyone = mg.lung(least=1)
    assert len(everyone.group) == 185
    assert int(everyone.y[:, 1].sum()) == 65  # outlived the year
    assert everyone.classes is not None
    assert everyone.classes.tolist() == ["dies", "lives"]
    family = mg.lung()
    assert len(family) == 6
    assert family.sizes.tolist() == [30, 17, 20, 15, 15, 15]
    np.testing.assert_allclose(everyone.x.mean(axis=0), 0, atol=1e-12)


def test_tumours_counts() -> None:
    family = mg.tumours()
    assert len(family.group) == 569
    assert family.classes is not None
    assert family.classes.tolist() == ["benign", "malignant"]
    assert int(family.y[:, 1].sum()) == 212
    assert set(family.sizes) == {40, 41}
    shares = [family.y[family.group == clinic, 0].mean() for clinic in family.labels]
    assert max(shares) - min(shares) > 0.3  # clinics see different cases


@pytest.mark.parametrize(
    ("family", "module", "extra"),
    [("words", "babel", "lab"), ("lung", "lifelines", "fields"), ("tumours", "sklearn", "tutorials")],
)
def test_a_missing_package_is_one_line_naming_the_extra(family: str, module: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "import metagd_nb as mg\n"
        f"try: mg.{family}()\n"
        "except mg.MetagdError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"metagd-nb[{extra}]" in done.stdout
    assert done.stdout.count("\n") == 1


# ---- what few patients tell -----------------------------------------------------------------------------------------


def said(patients: int, draws: int, seed: int = 0) -> Told:
    """True probabilities of patients, each asked ``draws`` times."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0, 1, patients)
    came = (rng.random(patients) < p).astype(int)
    patient = np.tile(np.arange(patients), draws)
    return Told(np.stack([1 - p, p], axis=1)[patient], came[patient], patient)


def test_true_probabilities_show_the_calibration_error_of_chance() -> None:
    few, many = said(40, 30), said(4000, 1)
    assert calibration.honest_ece([few]) > 0.08  # forty patients, however often they are asked
    assert calibration.honest_ece([many]) < 0.02
    assert calibration.ece([many])[0] < 0.02
    lying = many._replace(probability=np.where(many.probability > 0.5, 0.99, 0.01))
    assert calibration.ece([lying])[0] > 0.2
    assert len(calibration.once([few, few]).came) == 80


def test_what_forty_patients_show() -> None:
    found = calibration.forty(said(4000, 1))
    assert found.right[0] == pytest.approx(0.75, abs=0.02)
    assert found.right[2] - found.right[1] == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 40), abs=0.03)
    assert found.honest == pytest.approx(found.ece[2], abs=0.02)  # they are true, so both are chance
    assert calibration.needed(0.5) == 385
    one = said(1000, 1)
    other = one._replace(probability=one.probability[:, ::-1].copy())  # always the opposite: exactly one is right
    assert calibration.told_apart(one, other) == pytest.approx((1.0, 2.8 / np.sqrt(40), 2.8 / np.sqrt(400)))


# ---- learning on them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "shots", "inner_lr", "gain"),
    [
        (lambda: mg.glyphs(per_script=5, examples=6, size=10), 2, 0.4, 0.35),
        (lambda: mg.words(examples=20, inputs=128), 5, 0.4, 0.12),
        (mg.lung, 6, 0.05, 0.05),
        (mg.tumours, 8, 0.05, 0.3),
    ],
)
def test_a_meta_learner_learns_on_each(make: Any, shots: int, inner_lr: float, gain: float) -> None:
    tasks = make()
    given = {"tasks": tasks, "model": mg.mlp(tasks.inputs, 32, tasks.outputs), "shots": shots, "queries": 4}
    rates = {"inner_lr": inner_lr, "meta_lr": 0.003, "meta_batch_size": 12, "dtype": "float32"}
    runs = [mg.train("maml", **given, **rates, steps=steps) for steps in (0, 150)]
    before, after = (run.evaluate(n_tasks=80, metric="accuracy", steps=2) for run in runs)
    assert after.mean[2] > before.mean[0] + gain
