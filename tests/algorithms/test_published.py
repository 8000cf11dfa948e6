"""Papers' experiments in seconds: 200 steps of each against frozen values, and the table against its results.

Whole trainings: ``python -m tests.bench.claims.published``; results: tests/bench/claims/PUBLISHED.md.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.claims import published
from tests.bench.claims.published import DIVERGED, EXPERIMENTS, Score

FROZEN = {  # 200 meta-steps, seed 0, float64, 50 tasks: 5-shot 1 step, 10-shot 5 steps, 20-shot 10 steps
    "maml": (3.58765, 3.66096, 3.65254),
    "maml-0.01": (3.49842, 3.58574, 3.49726),
    "fomaml": (3.50183, 3.57415, 3.49306),
    "meta-sgd": (3.56092, 3.882, 3.80254),
    "pretrain": (3.43174, 3.51115, 3.42135),
    "scratch": (5.08937, 3.9934, 3.72527),
    "reptile": (3.82132, 3.88782, 3.96138),
    "anil": (3.54566, 3.62792, 3.61574),
    "cavia-1": (3.39999, 3.36054, 3.34636),
    "cavia-2": (3.48097, 3.56, 3.39754),
    "cavia-5": (3.47665, 3.54422, 3.32614),
}


def reached(name: str, steps: int) -> published.Scores:
    *_, entry = published.run_one(name, seed=0, steps=steps)
    assert entry["steps"] == steps
    return published.scores_of(entry)


@pytest.mark.slow
@pytest.mark.parametrize("name", FROZEN)
def test_the_first_steps_on_sinusoids(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(published.FINN, "dtype", "float64")
    monkeypatch.setattr(published, "N_TASKS", 50)
    scores = reached(name, 200)
    found = [scores[label].mean for label in ("5-shot, 1 step", "10-shot, 5 steps", "20-shot, 10 steps")]
    assert found == pytest.approx(FROZEN[name], rel=2e-4)


def test_hypergradient_descent_finds_its_rate() -> None:
    """Baydin et al.'s claims within 600 of the 4,690 steps: a rate many times larger at once, which then falls."""
    scores = reached("hypergradient", 600)
    assert scores["α after 15 steps, in multiples of α₀"].mean == pytest.approx(21.2739, rel=1e-4)
    assert scores["SGD, loss held out"].mean == pytest.approx(1.64136, rel=1e-4)
    assert scores["SGD-HD, loss held out"].mean == pytest.approx(0.189938, rel=1e-3)
    claim = EXPERIMENTS["hypergradient"].claim
    assert claim is not None
    assert claim[1](scores)


OMNIGLOT = {"omniglot-5-1", "omniglot-5-5"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OMNIGLOT))
def test_omniglot_is_looked_at_on_the_way(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 1,230 characters of noise: what is kept grows as training goes on, and nothing can be learned."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 256, (20 * 1230, 98), np.uint8)
    np.savez(tmp_path / "noise.npz", bits=bits, names=np.array([f"set/noise/{i:04}" for i in range(1230)]))
    monkeypatch.setenv("METAGD_OMNIGLOT", str(tmp_path / "noise.npz"))
    monkeypatch.setattr(published, "EVERY", 1)
    monkeypatch.setattr(published, "N_TASKS", 40)
    entries = list(published.run_one(name, seed=0, steps=2))
    assert [entry["steps"] for entry in entries] == [1, 2]
    assert list(entries[1]["scores"]) == ["3 steps, after 1 meta-steps", "3 steps, after 2 meta-steps", "3 steps"]
    first, last = (published.scores_of(entry)["3 steps"] for entry in entries)
    assert first == published.scores_of(entries[1])["3 steps, after 1 meta-steps"]
    assert last.mean == pytest.approx(20, abs=4)
    assert 0 < last.interval < 4


def test_omniglot_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAGD_OMNIGLOT", raising=False)
    with pytest.raises(SystemExit, match=r"^METAGD_OMNIGLOT names no folder or file of Omniglot"):
        next(published.run_one("omniglot-5-1", seed=0))


def test_every_experiment_has_a_quick_version() -> None:
    assert set(FROZEN) | {"hypergradient"} | OMNIGLOT == set(EXPERIMENTS)


# ---- the table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reached", "expected", "verdict"),
    [
        (Score(0.60, 0.05), Score(0.629, 0.057), "within the intervals"),
        (Score(0.70, 0.03), Score(0.66, 0.03), "within the intervals"),
        (Score(0.70, 0.03), Score(0.65, 0.03), "**worse**"),
        (Score(0.50, 0.03), Score(0.65, 0.03), "better"),
        (Score(0.37, 0.02), Score(0.36), "within the intervals"),
        (DIVERGED, DIVERGED, "within the intervals"),
        (DIVERGED, Score(0.5), "**worse**"),
        (Score(0.5, 0.1), DIVERGED, "better"),
    ],
)
def test_verdicts(reached: Score, expected: Score, verdict: str) -> None:
    assert published.judged(reached, expected) == verdict
    turned = {"better": "**worse**", "**worse**": "better"}.get(verdict, verdict)
    if reached != DIVERGED and expected != DIVERGED:
        assert published.judged(reached, expected, accuracy=True) == turned


def test_means_over_seeds() -> None:
    def entry(seed: int, mean: float | None, half: float) -> dict[str, Any]:
        return {"seed": seed, "scores": {"a": [mean, half]}}

    alone = published.over_seeds([entry(0, 0.5, 0.1)], "a")
    assert alone == (0.5, 0.1)
    close = published.over_seeds([entry(0, 0.50, 0.1), entry(1, 0.51, 0.1)], "a")
    assert close == pytest.approx((0.505, 0.1))
    apart = published.over_seeds([entry(0, 0.2, 0.1), entry(1, 0.8, 0.1)], "a")
    assert apart == pytest.approx((0.5, 12.7062047 * math.sqrt(0.18) / math.sqrt(2)))
    assert published.over_seeds([entry(0, 0.5, 0.1), entry(1, None, 0.1)], "a") == DIVERGED


def test_results_are_kept_one_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "RESULTS", tmp_path / "results.json")
    for seed, value in ((1, 0.5), (0, 0.4), (1, 0.6)):
        published.keep("maml", {"seed": seed, "steps": 7, "seconds": 1.0, "scores": {"5-shot, 1 step": [value, 0.1]}})
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [(e["seed"], e["scores"]["5-shot, 1 step"]) for e in kept["maml"]] == [(0, [0.4, 0.1]), (1, [0.6, 0.1])]
    assert list(tmp_path.iterdir()) == [tmp_path / "results.json"]
    text = published.table()
    assert "| 5-shot, 1 step | 0.500 ± 1.271 | 0.629 ± 0.057 | within the intervals |" in text
    assert "7 steps; seeds 0, 1; 1 s at most" in text
    assert "**Cut short: 7 of 70,000 meta-steps.**" in text


def test_the_committed_table_is_made_from_the_committed_results() -> None:
    assert published.TABLE.read_text(encoding="utf-8") == published.table()


@pytest.mark.parametrize("name", published.read())
def test_what_was_reached_is_what_is_printed(name: str) -> None:
    """Every training committed is whole, no figure is worse than the printed one, every claim held."""
    experiment, entries = EXPERIMENTS[name], published.read()[name]
    assert all(entry["steps"] == experiment.steps for entry in entries)
    for label, expected in experiment.expected.items():
        found = published.judged(published.over_seeds(entries, label), expected, experiment.accuracy)
        assert found != "**worse**", label
    if experiment.claim:
        assert all(experiment.claim[1](published.scores_of(entry)) for entry in entries)
