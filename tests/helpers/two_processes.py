"""Runs spread over two processes on this machine: the script that each of them runs, and how to start them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

COMMON: dict[str, Any] = {"meta_lr": 0.003, "meta_batch_size": 4, "inner_lr": 0.02, "seed": 3}
LONG = 1_000_000


def problem() -> dict[str, Any]:
    """Return model and tasks of every run."""
    import metagd_nb as mg

    return {"model": mg.mlp(1, 8, 1), "tasks": mg.sinusoid(), **COMMON}


def outcome(run: Any) -> dict[str, Any]:
    """Return what a run came to, as JSON values."""
    return {
        "stopped": run.stopped,
        "losses": run.record.since("loss", 0).tolist(),
        "seconds": run.record.since("seconds", 0).tolist(),
        "params": {name: value.tolist() for name, value in run.params.items()},
        "events": [list(event) for event in run.events],
        "note": run.note,
    }


def checkpoint_on_one(rank: int, folder: Path) -> Any:
    """Process 0 alone writes checkpoints, as often as it can."""
    import metagd_nb as mg

    own = {"checkpoint": str(folder / "checkpoint.metagd"), "checkpoint_every": 0} if rank == 0 else {}
    return mg.train("maml", **problem(), **own, backend="jax", devices=2, steps=700)


def seconds_on_one(rank: int, folder: Path) -> Any:
    """Process 0 alone has a limit of time."""
    import metagd_nb as mg

    own = {"seconds": 1.0} if rank == 0 else {}
    return mg.train("maml", **problem(), **own, backend="jax", devices=2, steps=LONG)


def read_on_one(rank: int, folder: Path) -> Any:
    """The run ends within a chunk; process 1 alone looks at it under way, and process 0 alone saves it."""
    import metagd_nb as mg

    run = mg.start("maml", **problem(), backend="jax", devices=2, steps=LONG, loss_below=2.5)
    while rank == 1 and run.stopped is None:
        run.loop.peek()
        run.plot()
    if rank == 0:
        run.save(folder / "saved.metagd")
    return run


def controls_on_both(rank: int, folder: Path) -> Any:
    """Both make the same calls, at times of their own."""
    import metagd_nb as mg

    run = mg.start("maml", **problem(), backend="jax", devices=2, steps=LONG)
    time.sleep(0.5 if rank else 1.0)
    run.pause()
    shown = run.loss
    if rank == 0:
        run.save(folder / "paused.metagd")
        time.sleep(0.5)
    run.set(meta_lr=0.001)
    run.resume()
    time.sleep(0.2)
    run.step(7)
    at = run.iteration
    run.set(meta_lr=0.002, inner_lr=0.01)
    run.step(30)
    assert run.iteration == at + 30
    run.resume()
    if rank == 1:
        run.stop()
    run.wait()
    run.extra = {"shown": shown, "at": at}
    again = run.replay()
    run.extra["replayed"] = again.record.since("loss", 0).tolist() == run.record.since("loss", 0).tolist()
    run.extra["same params"] = all((again.params[name] == run.params[name]).all() for name in run.params)
    return run


def controls_on_one(rank: int, folder: Path) -> Any:
    """Process 0 alone makes requests; process 1 waits."""
    import metagd_nb as mg

    run = mg.start("maml", **problem(), backend="jax", devices=2, steps=LONG)
    if rank == 0:
        time.sleep(0.5)
        run.pause()
        run.set(meta_lr=0.001)
        run.save(folder / "one.metagd")
        time.sleep(0.3)
        run.resume()
        time.sleep(0.3)
        run.stop()
    run.wait()
    run.resume(steps=run.iteration + 40)
    return run.wait()


def other_seed(rank: int, folder: Path) -> Any:
    """Each process has a seed of its own."""
    import metagd_nb as mg

    return mg.train("maml", **{**problem(), "seed": rank}, backend="jax", devices=2, steps=20)


def other_start(rank: int, folder: Path) -> Any:
    """Each process begins elsewhere."""
    import metagd_nb as mg

    start = np.random.default_rng(rank).normal(size=25)
    return mg.train("maml", **problem(), warm_start=start, backend="jax", devices=2, steps=20)


def failing_tasks(rank: int, folder: Path) -> Any:
    """The tasks of process 1 fail at some step."""
    import metagd_nb as mg

    run = mg.prepare("maml", **problem(), backend="jax", devices=2, steps=LONG)
    batches = run.plan.batches

    def failing(step: int) -> Any:
        if rank == 1 and step == 150:
            raise OSError("the disk is gone")
        return batches(step)

    run.loop.executor.plan = run.plan._replace(batches=failing)
    from metagd_nb.training.drivers import foreground

    return foreground(run)


def two_at_once(rank: int, folder: Path) -> Any:
    """A second run is started before the first has ended."""
    import metagd_nb as mg

    first = mg.start("maml", **problem(), backend="jax", devices=2, steps=LONG)
    while first.iteration < 20:
        time.sleep(0.01)
    second = mg.start("maml", **problem(), backend="jax", devices=2, steps=20)
    while second.stopped is None:
        time.sleep(0.01)
    first.stop()
    return second


SCENARIOS = [
    *(checkpoint_on_one, seconds_on_one, read_on_one, controls_on_both, controls_on_one, other_seed, other_start),
    *(failing_tasks, two_at_once),
]


def one_process(rank: int, port: str, folder: Path, names: list[str]) -> None:
    """Go through the scenarios, and write their outcomes to ``folder``."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, rank)
    for scenario in SCENARIOS:
        if names and scenario.__name__ not in names:
            continue
        try:
            run = scenario(rank, folder)
            found = {**outcome(run), "extra": getattr(run, "extra", None)}
        except Exception as error:
            found = {"raised": f"{type(error).__name__}: {error}"}
        (folder / f"{scenario.__name__}.{rank}.json").write_text(json.dumps(found))


def both(folder: Path, *names: str, timeout: float = 240) -> dict[str, list[dict[str, Any]]]:
    """Run the scenarios in two processes; return the outcomes of both, by scenario."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, __file__]
    logs = [(folder / f"log.{rank}").open("wb") for rank in range(2)]
    pair = [
        subprocess.Popen(
            [*command, str(rank), port, str(folder), *names],
            env=environment,
            cwd=root,
            stdout=logs[rank],
            stderr=logs[rank],
        )
        for rank in range(2)
    ]
    end = time.monotonic() + timeout
    try:
        for process in pair:
            process.wait(max(end - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        pass  # the outcomes that are missing say where
    finally:
        for process in pair:
            process.kill()
            process.wait()
        for log in logs:
            log.close()
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        found.setdefault(path.name.split(".")[0], []).append(json.loads(path.read_text()))
    return found


if __name__ == "__main__":
    one_process(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
