"""A loss or derivative that is no finite number at its start: the message names the operation and the line."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg


def helper(w: Any) -> Any:
    return np.where(w == 0, 1.0, np.sin(w) / w)


BRANCHES = {
    "log": (lambda w: np.where(w > 1, np.log(w), w**2), r"np\.log\(0\) \(line \d+"),
    "sqrt": (lambda w: np.where(w > 0, np.sqrt(w), 0.0), "a branch without a finite derivative"),
    "division in a helper": (lambda w: helper(w) + w, r"0/0 \(line \d+"),
    "vector": (lambda w: np.sum(np.where(w > 1, np.log(w), w**2)), r"np\.log\(0\) \(line \d+"),
}
VALUES = {
    "log": (lambda w: -np.log(w), r"loss is inf at .*: np\.log\(0\) \(line \d+"),
    "log of a negative number": (lambda w: np.log(w - 1), r"loss is nan at .*: np\.log of a negative number"),
    "entropy": (lambda w: w * np.log(w), r"np\.log\(0\)"),
    "division": (lambda w: 1 / w, "a division by 0"),
    "overflow": (lambda w: np.exp(w + 1000), r"np\.exp overflows"),
}
backends = pytest.mark.parametrize("backend", ["numpy", "jax"])


def refusal(loss: Any, start: Any, backend: str) -> str:
    if backend == "jax":
        pytest.importorskip("jax")
    with pytest.raises(mg.MetagdError) as caught:
        mg.train("gd", loss=loss, params={"w": start}, backend=backend)
    return str(caught.value)


@backends
@pytest.mark.parametrize("name", BRANCHES)
def test_the_trap_of_where_is_named(name: str, backend: str) -> None:
    loss, cause = BRANCHES[name]
    line = refusal(loss, np.array([2.0, 0.0]) if name == "vector" else 0.0, backend)
    for said in (
        r"derivative of loss in w(\[1\])? is nan",
        "np.where computes every branch",
        cause,
        "the np.where trap",
    ):
        assert re.search(said, line), line
    assert "\n" not in line


@backends
@pytest.mark.parametrize("name", VALUES)
def test_the_operation_is_named(name: str, backend: str) -> None:
    loss, said = VALUES[name]
    assert re.search(said, refusal(loss, 0.0, backend))


def test_a_root_at_zero_is_no_trap_of_where() -> None:
    line = refusal(lambda w: np.sqrt(w), 0.0, "numpy")
    assert "np.sqrt" in line
    assert "trap" not in line


def test_the_remedy_works() -> None:
    def loss(w: Any) -> Any:
        return np.where(w > 1, np.log(np.where(w > 1, w, 1.0)), (w - 1) ** 2)

    assert mg.train("gd", loss=loss, params={"w": 0.0}, lr=0.1, steps=100).params["w"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["x", "y"])
def test_sums_of_squares_that_overflow_are_refused(name: str) -> None:
    """LAPACK's least squares may never return from a matrix that is not finite."""
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(20, 3)), "y": rng.normal(size=20)}
    data[name] = data[name] * 1e200
    data["x"][3] *= 1.0 if name == "x" else 1e200
    with pytest.raises(mg.MetagdError, match=r"^[xy]: holds values so large that sums of their products overflow"):
        mg.train("gd", model=mg.linear(3), **data)
