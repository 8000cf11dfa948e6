"""Files that commit 6159cbb wrote, before the packages: they load, they are replayed, and they go on."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.algorithms.lbfgs import Memory
from metagd_nb.training.persistence.format import read

SAVED = Path(__file__).parent / "saved"
LAST = {  # the step and the loss of the last row, as that version printed them
    "adam": (20, 0.22109243849487345),
    "hd": (6, 2.6848853128435564),
    "l2l": (2, 12.593506813049316),
    "lbfgs": (4, 0.19591819557618254),
    "maml": (3, 4.4495129511705755),
    "multimodal": (2, 6.495146751403809),
    "unroll": (6, 0.9906249299365615),
}


def loss(w: Any) -> Any:
    return np.mean((w - np.arange(3.0)) ** 2)


def loaded(method: str, path: Path | None = None) -> mg.Run:
    return mg.load(path or SAVED / f"{method}.npz", **({"loss": loss} if method in ("adam", "checkpoint") else {}))


def stored(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The record and the parameters in a file, read with NumPy alone."""
    with zipfile.ZipFile(path) as bag:
        assert "run.json" in bag.namelist()
    with np.load(path) as arrays:
        return arrays["record"], {n.removeprefix("params."): arrays[n] for n in arrays.files if n.startswith("params.")}


@pytest.mark.parametrize("method", LAST)
def test_a_file_of_the_version_before_loads(method: str) -> None:
    run = loaded(method)
    record, params = stored(SAVED / f"{method}.npz")
    step, last = LAST[method]
    np.testing.assert_array_equal(run.record["step"], np.arange(step + 1))
    np.testing.assert_array_equal(run.record["loss"], record[:, 1])
    assert (run.stopped, run.loss) == ("steps", pytest.approx(last, abs=1e-12))
    assert run.params.keys() == params.keys()
    for name, value in params.items():
        np.testing.assert_array_equal(run.params[name], value)


@pytest.mark.parametrize("method", LAST)
def test_a_file_of_the_version_before_is_replayed(method: str) -> None:
    """To rounding: the file comes from one machine, and the test runs on any."""
    run = loaded(method)
    again = run.replay(**({"loss": loss} if method == "adam" else {}))
    tolerance = 1e-4 if method in ("l2l", "multimodal") else 1e-8  # float32, float64
    np.testing.assert_allclose(again.record["loss"], run.record["loss"], rtol=tolerance)
    for name, value in run.params.items():
        np.testing.assert_allclose(again.params[name], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("method", LAST)
def test_a_file_of_the_version_before_goes_on(method: str) -> None:
    """It gets to where a run of so many steps gets, so the state of the method came out of the file whole."""
    run = loaded(method)
    run.resume(steps=LAST[method][0] + 3)
    longer = run.wait().replay()
    assert (run.stopped, len(run.record)) == ("steps", LAST[method][0] + 4)
    tolerance = 1e-4 if method in ("l2l", "multimodal") else 1e-8
    np.testing.assert_allclose(run.record["loss"], longer.record["loss"], rtol=tolerance)


def test_the_state_of_lbfgs_is_its_own_class_again() -> None:
    """Of all methods lbfgs alone keeps its state in a class; a file names it by module and class."""
    with zipfile.ZipFile(SAVED / "lbfgs.npz") as bag:
        assert b'"lbfgs.Memory"' in bag.read("run.json")
    assert isinstance(read(SAVED / "lbfgs.npz")["state"]["state"], Memory)


def test_a_checkpoint_of_the_version_before_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # it names its checkpoint file relative to where one works
    shutil.copy(SAVED / "checkpoint.npz", tmp_path)
    run = loaded("checkpoint", tmp_path / "checkpoint.npz")
    assert (run.stopped, run.record["step"][-1], run.loss) == (None, 7, pytest.approx(0.02706265153292887, abs=1e-12))
    run.resume()
    assert (run.wait().stopped, run.record["step"][-1]) == ("steps", 50)
    plain = mg.train("momentum", loss=loss, params={"w": np.zeros(3)}, lr=0.1, steps=50)
    np.testing.assert_allclose(run.record["loss"], plain.record["loss"], rtol=1e-9)
