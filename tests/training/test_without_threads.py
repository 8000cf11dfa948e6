"""Where threads cannot start, as in a browser (Pyodide): threads are taken away."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg

LONG = 10_000_000


@pytest.fixture(autouse=True)
def _without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


def parabola(w: Any) -> Any:
    return (w - 3.0) ** 2


def given(**more: Any) -> dict[str, Any]:
    return {"loss": parabola, "params": {"w": 0.0}, "lr": 1e-6, "steps": LONG, **more}


@pytest.mark.parametrize(
    "read",
    [
        lambda run: run.loss,
        lambda run: run.params,
        lambda run: run.wait(),
        lambda run: run.replay(),
        lambda run: run.costs,
        lambda run: run.save("never"),
        lambda run: run.export("never.csv"),
    ],
)
@pytest.mark.parametrize("pauses", [0, 3])
def test_a_read_that_would_have_to_wait_says_so(read: Any, pauses: int) -> None:
    async def main() -> None:
        run = mg.start("gd", **given())
        for _ in range(pauses):
            await asyncio.sleep(0.01)
        with pytest.raises(
            mg.MetagdError, match="without threads it cannot go on while a cell waits; write `await run`"
        ):
            read(run)
        assert run.stopped is None
        run.stop()
        assert await run is run
        assert run.loss == run.record.last("loss")

    asyncio.run(asyncio.wait_for(main(), 20))


def test_awaited_it_comes_to_the_same_as_elsewhere() -> None:
    async def main() -> mg.Run:
        return await mg.start("gd", **given(lr=0.1, steps=3000))

    run, other = asyncio.run(asyncio.wait_for(main(), 20)), mg.train("gd", **given(lr=0.1, steps=3000))
    assert run.stopped == other.stopped == "steps"
    assert run.params == other.params
    np.testing.assert_array_equal(run.record["loss"], other.record["loss"])


def test_a_paused_run_can_be_read_and_stepped() -> None:
    async def main() -> None:
        run = mg.start("gd", **given())
        await asyncio.sleep(0.05)
        run.pause()
        at = run.iteration
        assert run.loss == run.record.last("loss")
        run.step(7)
        assert run.iteration == at + 7
        await asyncio.sleep(0.05)
        assert run.iteration == at + 7
        run.set(lr=1e-3)
        run.resume()
        await asyncio.sleep(0.05)
        assert run.iteration > at + 7
        run.stop()
        await run

    asyncio.run(asyncio.wait_for(main(), 20))


def test_without_an_event_loop_it_trains_at_once() -> None:
    run = mg.start("gd", **given(steps=500))
    assert run.stopped == "steps"
    assert run.loss == run.record.last("loss")


def test_sweeps_run_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    joblib = pytest.importorskip("joblib")
    monkeypatch.setattr(joblib, "Parallel", None)
    given = {"loss": parabola, "params": {"w": 0.0}, "steps": 20}
    for jobs in (None, 2, 1):
        found = mg.sweep("gd", {"lr": [0.01, 0.02]}, jobs=jobs, **given)
        assert len(found.outcomes) == 2


def test_meta_learning_is_evaluated_too() -> None:
    run = mg.train("maml", model=mg.mlp(1, 4, 1), tasks=mg.sinusoid(), steps=5)
    assert np.isfinite(run.evaluate(n_tasks=10).mean).all()
