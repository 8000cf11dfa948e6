"""Sweeps: what is tried, what is found, successive halving, processes, and a real cluster that loses a worker."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from cells import BODY, cell

import metagd_nb as mg
from metagd_nb.analysis.sweep import _rungs
from metagd_nb.analysis.sweep_result import Outcome, Sweep, Trial
from metagd_nb.analysis.sweep_values import parse_values
from metagd_nb.core.errors import MetagdError

ROOT = Path(__file__).resolve().parents[2]
LINEAR = dict(zip(("x", "y"), cases.table(), strict=True)) | {"model": mg.linear(3)}
META = cases.arguments("maml") | {"inner_steps": 1, "meta_batch_size": 3, "steps": 9}


def own(found: Sweep) -> dict[Trial, tuple[float, str, int, int]]:
    """What is the same each time: all but the seconds."""
    return {trial: outcome[:4] for trial, outcome in found.outcomes.items()}


def test_every_combination_on_every_seed() -> None:
    found = mg.sweep("maml", {"inner_lr": [0.01, 0.1], "meta_lr": [1e-3, 1e-2]}, seeds=2, jobs=1, n_tasks=20, **META)
    assert len(found.outcomes) == 8
    assert {t.values for t in found.outcomes} == {(a, b) for a in (0.01, 0.1) for b in (1e-3, 1e-2)}
    for trial, outcome in found.outcomes.items():
        options = dict(zip(("inner_lr", "meta_lr"), trial.values, strict=True))
        run = mg.train("maml", **{**META, **options}, seed=trial.seed)
        assert outcome.score == run.evaluate(n_tasks=20, seed=1 + trial.seed).mean[-1]
        assert (outcome.steps, outcome.stopped) == (9, "steps")
    total = {trial.values: 0.0 for trial in found.outcomes}
    for trial, outcome in found.outcomes.items():
        total[trial.values] += outcome.score
    best = min(total, key=lambda values: total[values])
    assert found.best == dict(zip(("inner_lr", "meta_lr"), best, strict=True))


def test_one_loss_is_judged_by_its_last() -> None:
    found = mg.sweep("gd", {"lr": [0.01, 0.1, 1e5]}, jobs=1, steps=20, **LINEAR)
    for trial, outcome in found.outcomes.items():
        run = mg.train("gd", lr=trial.values[0], steps=20, **LINEAR)
        assert outcome.score == (math.inf if trial.values[0] == 1e5 else run.loss)
    assert found.best == {"lr": 0.1}
    assert found.rows()[-1] == ("1e+05", "inf", "20", "1 of 1")


def test_halving_gives_all_steps_to_the_best_alone() -> None:
    assert _rungs(9, 90) == [(9, 10), (3, 30), (1, 90)]
    assert _rungs(10, 1000)[0] == (10, 37)
    assert _rungs(1, 50) == [(1, 50)]
    assert _rungs(27, 3) == [(27, 1), (9, 3)]
    rates = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1e5]
    found = mg.sweep("gd", {"lr": rates}, search="halving", jobs=1, steps=90, **LINEAR)
    assert sorted(t.steps for t in found.outcomes) == [10] * 9 + [30] * 3 + [90]
    short = {t.values: o.score for t, o in found.outcomes.items() if t.steps == 10}
    assert {t.values for t in found.outcomes if t.steps == 30} == set(sorted(short, key=lambda v: short[v])[:3])
    assert found.best["lr"] == next(t.values[0] for t in found.outcomes if t.steps == 90)


def test_groups_that_were_learned_from_are_called_so() -> None:
    rng = np.random.default_rng(0)
    table = (rng.standard_normal((80, 2)), rng.standard_normal(80), np.repeat(np.arange(8), 10))
    given: dict[str, Any] = {"model": mg.linear(2), "shots": 3, "queries": 3, "steps": 2}
    over = {"inner_lr": [0.01, 0.02]}
    found = mg.sweep("maml", over, jobs=1, seeds=2, tasks=mg.groups(*table), **given)
    assert found.rows()[0][1] == found.what == "loss on 8 training tasks"
    assert "every seed judges the same tasks, and the interval is over seeds alone" in found.caption
    assert "fewer than 10 tasks" in found.caption
    assert "learned from" in found.caption
    tasks = mg.groups(*table, test=0.25)
    found = mg.sweep("maml", over, jobs=1, seeds=2, tasks=tasks, **given)
    assert found.what == "loss on 2 held-out tasks"
    run = mg.train("maml", tasks=tasks, inner_lr=0.02, seed=1, **given)
    assert found.outcomes[Trial((0.02,), 1, 2)].score == run.evaluate(tasks.test, n_tasks=200, seed=2).mean[-1]
    assert mg.sweep("maml", over, jobs=1, n_tasks=20, **META).what == "loss on 20 held-out tasks"


def test_processes_find_the_same() -> None:
    over = {"inner_lr": [0.01, 0.1], "outer": ["sgd", "adam"]}
    here = mg.sweep("maml", over, seeds=2, jobs=1, n_tasks=20, **META)
    there = mg.sweep("maml", over, seeds=2, jobs=2, n_tasks=20, **META)
    assert here.outcomes.keys() == there.outcomes.keys()
    for trial, outcome in here.outcomes.items():  # a process of joblib's may have other BLAS threads
        assert there.outcomes[trial].score == pytest.approx(outcome.score, rel=1e-9)


def test_a_loss_of_ones_own_and_its_namespace_go_to_a_process() -> None:
    code = """
    import numpy as np, metagd_nb as mg
    x = np.arange(5.0)
    huge = (i for i in range(3))                       # what cannot be sent and is not asked for
    def loss(w, y): return np.mean((w * x - y) ** 2)
    given = {"loss": loss, "params": {"w": 0.0}, "steps": 7}
    found = [mg.sweep("gd", {"lr": [0.01, 0.02]}, jobs=jobs, namespace={**globals(), "y": 2 * x}, **given)
             for jobs in (1, 2)]
    print([sorted(o.score for o in one.outcomes.values()) for one in found])
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    one, two = json.loads(done.stdout)
    assert one == pytest.approx(two, rel=1e-9)


CLUSTER = """
import json, os, signal, sys, joblib, cases, metagd_nb as mg
from distributed import Client
workers = [int(pid) for pid in sys.argv[2:]]
client = Client(scheduler_file=sys.argv[1])
client.wait_for_workers(2, timeout=60)
seen = []
def watch(found, done, total):
    seen.append(done)
    if done == 3:
        os.kill(workers[0], signal.SIGKILL)
given = cases.arguments("maml") | {"inner_steps": 1, "meta_batch_size": 3, "steps": 300}
over = {"inner_lr": [0.01, 0.02, 0.05, 0.1], "meta_lr": [1e-3, 1e-2]}
with joblib.parallel_config(backend="dask"):
    found = mg.sweep("maml", over, seeds=3, n_tasks=20, watch=watch, **given)
here = mg.sweep("maml", over, seeds=3, n_tasks=20, jobs=1, **given)
pairs = [(found.outcomes[t].score, o.score) for t, o in here.outcomes.items()]
left = len(client.scheduler_info()["workers"])
print(json.dumps({"seen": seen, "trials": len(found.outcomes), "pairs": pairs, "left": left}))
"""


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_loses_nothing(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}",
        "OMP_NUM_THREADS": "1",
    }
    place = tmp_path / "scheduler.json"
    common = {"env": environment, "cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    base = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    processes = [subprocess.Popen([*base, "--no-dashboard", "--scheduler-file", str(place)], **common)]  # type: ignore[call-overload]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(place), "--nthreads", "1"]
    try:
        worker += ["--no-nanny", "--no-dashboard"]
        processes += [subprocess.Popen(worker, **common) for _ in range(2)]  # type: ignore[call-overload]
        command = [sys.executable, "-c", CLUSTER, str(place), *(str(p.pid) for p in processes[1:])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["left"] == 1  # one is really gone
    assert told["seen"] == list(range(1, 25))  # each counted once, none lost
    assert told["trials"] == 24
    for there, here in told["pairs"]:
        assert there == pytest.approx(here, rel=1e-9)


def test_an_interrupt_keeps_what_is_known() -> None:
    def watch(found: Sweep, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    found = mg.sweep("gd", {"lr": [0.01, 0.1, 0.2]}, jobs=1, steps=5, watch=watch, **LINEAR)
    assert not found.complete
    assert len(found.outcomes) == 2
    assert "interrupted: not all were tried" in repr(found)


@pytest.mark.parametrize(
    ("over", "more", "line"),
    [
        ({}, {}, "needs a setting and its values"),
        ({"lr": []}, {}, r"lr: \[\] is not allowed"),
        ({"lr": [0.1, 0.1]}, {}, "each of them once"),
        ({"lrr": [0.1]}, {}, "unknown option of gd 'lrr'"),
        ({"lr": [-1.0]}, {}, "lr: -1.0 is not allowed"),
        ({"seed": [1, 2]}, {}, "seed: cannot be swept"),
        ({"lr": [0.1]}, {"search": "random"}, "unknown search 'random'"),
        ({"lr": [0.1]}, {"seeds": 0}, "seeds: 0 is not allowed"),
        ({"lr": [0.1]}, {"y": [1.0]}, "need the same number"),
    ],
)
def test_mistakes_are_one_line(over: Any, more: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        mg.sweep("gd", over, jobs=1, steps=2, **{**LINEAR, **more})


# ---- what is typed ---------------------------------------------------------------------------------------------------


def test_texts_that_stand_for_values() -> None:
    assert parse_values("sweep:0.1,0.2", "--lr", float) == [0.1, 0.2]
    assert parse_values("log:1e-4:1:5", "--lr", float) == [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    assert parse_values("0.1,0.2", "--lr", float) is None
    for wrong in ("log:1:2", "log:0:1:3", "log:1:1:3", "log:1:2:1", "log:a:b:c", "log:1:2:2.5"):
        with pytest.raises(MetagdError, match="needs log:LOW:HIGH:N"):
            parse_values(wrong, "--lr", float)


def test_the_cell(ip: Any) -> None:
    done = cell(ip, f"%%metagd gd --lr sweep:0.01,0.1,0.2 --steps 9 --seeds 2 -o found\n{BODY}")
    assert done.error is None, done.text
    found = ip.user_ns["found"]
    assert found.axes == {"lr": [0.01, 0.1, 0.2]}
    assert len(found.outcomes) == 6
    assert "2 seeds" in done.text
    assert ip.user_ns["w"].tolist() == [0, 0, 0]
    done = cell(ip, "%metagd gd --lr log:1e-3:0.1:3 --steps 4 --search halving -o found")
    assert done.error is None, done.text
    assert ip.user_ns["found"].axes["lr"] == [0.001, 0.01, 0.1]


def test_a_comma_list_stays_one_setting(ip: Any) -> None:
    cell(ip, "tasks = quadratics(np.ones(2), np.ones((2, 2)))")
    assert cell(ip, "%metagd maml --inner-lr 0.1,0.2 --steps 3 --wait --no-plot").error is None
    assert ip.user_ns["run"].loop.algorithm.inner_lr == (0.1, 0.2)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gd --lr sweep:0.1,x", "--lr: 'x' is not a number"),
        ("gd --lr sweep:-1", "--lr: -1 is not allowed"),
        ("gd --lr log:1:0.1:3", "--lr: log:1:0.1:3 is not allowed; needs log:LOW:HIGH:N"),
        ("gd --lr 0.1 --seeds 3", "--seeds: is for a sweep"),
        ("gd --lr sweep:0.1,0.2 --search all", "--search: 'all' is not one of grid, halving"),
        ("gd --lr sweep:0.1,0.2 --seeds x", "--seeds: 'x' is not a number"),
    ],
)
def test_mistakes_on_the_line(ip: Any, line: str, said: str) -> None:
    assert said in cell(ip, f"%%metagd {line}\n{BODY}").line


# ---- what is shown ---------------------------------------------------------------------------------------------------


def made_up(axes: dict[str, list[Any]], score: Any, seeds: int = 2) -> Sweep:
    trials = [Trial(v, s, 10) for v in itertools.product(*axes.values()) for s in range(seeds)]
    return Sweep(
        "gd", tuple(axes), axes, {t: Outcome(score(*t.values) + t.seed, "steps", 10, 11, 0.1) for t in trials}, "loss"
    )


def test_the_table_and_the_frame() -> None:
    found = made_up({"lr": [0.1, 0.2], "outer": ["sgd", "adam"]}, lambda lr, outer: 10 * lr + 0.5 * (outer == "adam"))
    head, *lines = found.rows()
    assert head == ("lr", "outer", "loss", "steps", "diverged")
    assert lines[0] == ("0.1", "sgd", "1.5 ± 6.4", "10", "0 of 2")  # t = 12.706, s = .707
    assert [line[:2] for line in lines] == [("0.1", "sgd"), ("0.1", "adam"), ("0.2", "sgd"), ("0.2", "adam")]
    frame = found.frame()
    assert len(frame) == 8
    assert frame.groupby("lr").score.mean().tolist() == [1.75, 2.75]


def test_without_pandas_a_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    frame = made_up({"lr": [0.1, 0.2]}, lambda lr: lr).frame()
    assert frame["lr"] == [0.1, 0.1, 0.2, 0.2]
    assert frame["score"] == [0.1, 1.1, 0.2, 1.2]


def test_without_joblib_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "joblib" else real(name))
    assert len(mg.sweep("gd", {"lr": [0.1, 0.2]}, steps=2, **LINEAR).outcomes) == 2
    with pytest.raises(MetagdError, match=r'joblib is not installed; pip install "metagd-nb\[cluster\]"'):
        mg.sweep("gd", {"lr": [0.1, 0.2]}, steps=2, jobs=2, **LINEAR)


def test_the_heat_map_shows_every_mean() -> None:
    found = made_up(
        {"lr": [0.1, 0.2, 0.3], "meta_lr": [1.0, 2.0]}, lambda lr, other: math.inf if lr > 0.25 else lr * other
    )
    (ax,) = found.plot().axes
    shown = {(text.get_position(), text.get_text()) for text in ax.texts}
    assert shown == {
        ((0, 0), "0.6"),
        ((1, 0), "0.7"),
        ((0, 1), "0.7"),
        ((1, 1), "0.9"),
        ((2, 0), "diverged"),
        ((2, 1), "diverged"),
    }
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.1", "0.2", "0.3"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lr", "meta lr")


def test_the_heat_map_says_what_went_less_far() -> None:
    axes = {"lr": [0.1, 0.2], "meta_lr": [1.0]}
    scores = {Trial((0.1, 1.0), 0, 10): 3.0, Trial((0.2, 1.0), 0, 10): 2.0, Trial((0.2, 1.0), 0, 30): 1.0}
    outcomes = {trial: Outcome(score, "steps", trial.steps, 11, 0.1) for trial, score in scores.items()}
    (ax,) = Sweep("gd", tuple(axes), axes, outcomes, "loss").plot().axes
    assert [text.get_text() for text in ax.texts] == ["3\nat 10 steps", "1"]


def test_over_one_setting_a_curve() -> None:
    (ax,) = made_up({"lr": [0.1, 0.2, 0.4]}, lambda lr: lr).plot().axes
    np.testing.assert_allclose(np.array(ax.lines[0].get_ydata(), float), [0.6, 0.7, 0.9])


def test_over_three_the_best_of_the_third() -> None:
    found = made_up({"a": [1.0, 2.0], "b": [1.0], "c": [3.0, 5.0]}, lambda a, b, c: a + c)
    (ax,) = found.plot().axes
    assert [text.get_text() for text in ax.texts] == ["4.5", "5.5"]


@pytest.mark.parametrize(
    ("over", "more", "said"),
    [
        ({"lr": range(1, 10**8)}, {}, "lr: has more than 100,000 values"),
        ({"lr": itertools.count(1)}, {}, "lr: has more than 100,000 values"),
        (
            {"lr": [i / 1e5 for i in range(10**4)], "seconds": range(10**4)},
            {},
            "10,000 × 10,000 are 100,000,000 points",
        ),
        ({"lr": [0.1, 0.2]}, {"seeds": 60_000}, "2 on 60,000 seeds are 120,000 points"),
        ({"lr": [0.1, 0.2]}, {"seeds": 10**9}, "seeds: 1000000000 is not allowed"),
    ],
)
def test_a_sweep_without_end_is_refused_at_once(over: Any, more: dict[str, Any], said: str) -> None:
    start = time.perf_counter()
    with pytest.raises(MetagdError, match=re.escape(said)):
        mg.sweep("gd", over, loss=lambda w: w * w, params={"w": 1.0}, **more)
    with pytest.raises(MetagdError, match="lr: has more than 100,000 values"):
        parse_values("log:1e-4:1:1e8", "lr", float)
    assert time.perf_counter() - start < 1
