"""One rule for failures on every backend: a blocking call raises, a run in the background ends as ``failed``."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.tasks import Batch, TaskBatch, Tasks

BACKENDS = [
    "numpy",
    pytest.param(
        "jax", marks=pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
    ),
]


class Lines(Tasks):
    """Lines through the origin; the data are gone after some draws."""

    inputs = outputs = 1
    full_batch = False

    def __init__(self, good: int) -> None:
        self.left = good

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        self.left -= 1
        if self.left < 0:
            raise OSError("the disk is gone")
        x = rng.normal(size=(batches * n, shots + queries, 1))
        y = x * rng.normal(size=(batches * n, 1, 1))
        return TaskBatch(Batch(x[:, :shots], y[:, :shots]), Batch(x[:, shots:], y[:, shots:]))


def given(backend: str, **more: Any) -> dict[str, Any]:
    return {"model": mg.linear(1), "tasks": Lines(3), "steps": 2000, "backend": backend, **more}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_blocking_call_raises_and_the_error_has_the_run(backend: str) -> None:
    with pytest.raises(OSError, match="the disk is gone") as raised:
        mg.train("maml", **given(backend))
    run = raised.value.run  # type: ignore[attr-defined]
    assert run.stopped == "failed"
    assert run.iteration == len(run.record) - 1 > 0
    assert run.loss == run.record.last("loss")
    assert "failed at step" in repr(run)


@pytest.mark.parametrize("backend", BACKENDS)
def test_in_the_background_the_run_ends_as_failed(backend: str) -> None:
    run = mg.start("maml", **given(backend)).wait()
    assert run.stopped == "failed"
    assert isinstance(run.loop.error, OSError)
    assert run.note == f"failed at step {run.iteration + 1}: OSError: the disk is gone"


@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_by_hand_raise_too(backend: str) -> None:
    run = mg.prepare("maml", **given(backend))
    with pytest.raises(OSError, match="the disk is gone") as raised:
        run.step(2000)
    assert raised.value.run is run  # type: ignore[attr-defined]
    assert run.stopped == "failed"
    assert run.loss == run.record.last("loss")


class Marks(Tasks):
    """Two classes; the last target of a step's tasks may be no distribution."""

    inputs, outputs, loss, full_batch = 1, 2, "cross-entropy", False

    def __init__(self, wrong: list[float], after: int, part: int) -> None:
        self.wrong, self.after, self.part = wrong, after, part

    def sample(self, rng: np.random.Generator, batches: int, n: int, shots: int, queries: int) -> TaskBatch:
        self.after -= 1
        both = []
        for points in (shots, queries):
            x = rng.normal(size=(batches * n, points, 1))
            both.append(Batch(x, np.concatenate([x > 0, x <= 0], axis=-1).astype(float)))
        if self.after < 0:
            both[self.part].y[-1, -1] = self.wrong
        return TaskBatch(*both)


@pytest.mark.parametrize("wrong", [[1.0, 1.0], [0.0, 0.0], [2.0, -1.0], [np.nan, 1.0]])
@pytest.mark.parametrize("part", ["support", "query"])
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_targets_that_are_no_distribution(wrong: list[float], part: str, after: int, dtype: str) -> None:
    tasks = Marks(wrong, after, ["support", "query"].index(part))
    with pytest.raises(mg.MetagdError, match=rf"tasks: row \d+ of a task's {part} targets is \[.*needs ≥ 0 and a sum"):
        mg.train("maml", model=mg.linear(1, 2), tasks=tasks, steps=1000, dtype=dtype)


def test_new_tasks_whose_targets_are_no_distribution() -> None:
    run = mg.train("maml", model=mg.linear(1, 2), tasks=Marks([1.0, 0.0], 10**6, 0), steps=5, dtype="float32")
    with pytest.raises(mg.MetagdError, match="needs ≥ 0 and a sum of 1"):
        run.evaluate(Marks([1.0, 1.0], 0, 1), n_tasks=5)
    assert np.isfinite(run.evaluate(Marks([0.3, 0.7], 0, 1), n_tasks=5).mean).all()
