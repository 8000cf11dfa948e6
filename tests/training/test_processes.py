"""Runs spread over two processes: each comes to what one process alone comes to, whatever one of the two does more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import two_processes

import metagd_nb as mg

pytest.importorskip("jax")
pytestmark = pytest.mark.slow

Outcomes = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> Outcomes:
    """Outcomes of all scenarios in both processes, which start and compile once."""
    return two_processes.both(folder)


def both(outcomes: Outcomes, name: str) -> dict[str, Any]:
    """Return the outcome of a scenario, the same in both processes to the bit."""
    assert len(outcomes.get(name, [])) == 2, f"a process hung or died in {name}; it came to {sorted(outcomes)}"
    first, second = outcomes[name]
    assert first == second
    return first


def alone(outcome: dict[str, Any]) -> mg.Run:
    """Train the same in this process alone, with the same changes of rates at the same steps."""
    run = mg.prepare("maml", **two_processes.problem(), backend="numpy", steps=two_processes.LONG)
    run.step(1)
    for step, kind, value in outcome["events"]:
        if kind == "set":
            run.step(step - run.iteration) if step > run.iteration else None
            run.set(**value)
    run.step(len(outcome["losses"]) - 1 - run.iteration)
    return run


def check_equal(outcome: dict[str, Any]) -> None:
    """Losses and parameters are those of one process, to 1e-12 relative."""
    run = alone(outcome)
    np.testing.assert_allclose(outcome["losses"], run.record["loss"], rtol=1e-12)
    for name, value in run.params.items():
        np.testing.assert_allclose(outcome["params"][name], value, rtol=1e-10, atol=1e-12)


def test_checkpoints_of_one_process(outcomes: Outcomes, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    outcome = both(outcomes, "checkpoint_on_one")
    assert len(outcome["losses"]) == 701
    check_equal(outcome)
    loaded = mg.load(folder / "checkpoint.metagd")
    assert loaded.record["loss"].tolist() == outcome["losses"]
    assert "trained on 2 devices, which are not here; it goes on with 1" in caplog.text
    loaded.resume(steps=702)
    assert loaded.wait().stopped == "steps"


def test_a_limit_of_time_of_one_process(outcomes: Outcomes) -> None:
    outcome = both(outcomes, "seconds_on_one")
    assert outcome["stopped"] == "seconds"
    assert outcome["seconds"][-2] < 1 <= outcome["seconds"][-1]
    check_equal(outcome)


def test_reading_under_way_and_saving_on_one_process(outcomes: Outcomes, folder: Path) -> None:
    outcome = both(outcomes, "read_on_one")
    assert outcome["stopped"] == "loss-below"
    check_equal(outcome)
    loaded = mg.load(folder / "saved.metagd")
    assert {name: value.tolist() for name, value in loaded.params.items()} == outcome["params"]


def test_controls_of_both_processes(outcomes: Outcomes, folder: Path) -> None:
    outcome = both(outcomes, "controls_on_both")
    assert [kind for _, kind, _ in outcome["events"]] == [
        *("pause", "set", "resume", "pause", "step", "set", "step", "resume", "stop")
    ]
    check_equal(outcome)
    assert outcome["extra"]["shown"] == outcome["losses"][outcome["events"][0][0]]
    assert outcome["extra"]["replayed"]
    assert outcome["extra"]["same params"]
    paused = mg.load(folder / "paused.metagd")
    assert paused.record["loss"].tolist() == outcome["losses"][: paused.iteration + 1]


def test_controls_of_one_process_while_the_other_waits(outcomes: Outcomes) -> None:
    outcome = both(outcomes, "controls_on_one")
    assert [kind for _, kind, _ in outcome["events"]] == ["pause", "set", "resume", "stop", "resume"]
    check_equal(outcome)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("other_seed", "seed: process 1 has 1, process 0 has 0"),
        ("other_start", "start: process 1 has other values than process 0: all need the same"),
        ("two_at_once", "devices: another run on several processes is under way"),
    ],
)
def test_what_is_refused(outcomes: Outcomes, name: str, line: str) -> None:
    assert len(outcomes[name]) == 2
    assert all(line in (outcome.get("raised") or outcome["note"]) for outcome in outcomes[name])


def test_an_error_of_one_process_ends_both(outcomes: Outcomes) -> None:
    first, second = (one.get("raised") or one["note"] for one in outcomes["failing_tasks"])
    assert second.endswith("OSError: the disk is gone")
    assert first.endswith("process 1 failed: OSError: the disk is gone")
