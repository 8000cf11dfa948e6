"""The MAML meta-step of `bench_engine` against what people use on PyTorch: learn2learn, torch.func and higher.

Each is written as its own documentation writes it: learn2learn clones the model for each task, torch.func takes
``grad`` through ``vmap`` over the tasks, higher patches the model and optimizer for each task. All draw the same kind
of tasks with NumPy and move by ``torch.optim.Adam``. Before anything is timed, each takes the meta-gradient of one
batch of ours, from our start.

PyTorch need not be installed beside the kit: ``--python`` names an interpreter that has it. learn2learn imports far
more than its MAML needs (gym, torchvision, compiled data sets); where that fails, its pure-Python MAML is taken alone.

python -m tests.bench.speed.bench_peers [--python PATH] [--rounds N]
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .timing import Worker, machine, one_thread, per_step, serve

one_thread()

import numpy as np  # noqa: E402 — after one_thread

from .finn import ALPHA, BETA, HIDDEN, QUERIES, SHOTS, TASKS, numpy_sample  # noqa: E402

SHORT, LONG = 20, 120
MANY = 20  # of our steps for one of a peer's, so that both take long enough to be timed
TARGETS = {"learn2learn": 45.0, "torch.func": 8.0, "higher": None}  # times our time, at least
NEEDS = {"learn2learn": ("torch", "learn2learn"), "torch.func": ("torch",), "higher": ("torch", "higher")}
Array = np.ndarray
Batch = Sequence[Any]  # sx, sy, qx, qy


# ---- the peers: each leaves the meta-gradient in the parameters' ``grad``, and returns the loss ---------------------


def network() -> Any:
    """1-40-40-1, ReLU, from PyTorch's own start."""
    from torch import nn

    return nn.Sequential(nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))


def learn2learn_maml() -> Any:
    """Its class ``MAML``."""
    try:
        from learn2learn.algorithms import MAML
    except ImportError:
        for name in [name for name in sys.modules if name.split(".")[0] == "learn2learn"]:
            del sys.modules[name]
        (root,) = importlib.util.find_spec("learn2learn").submodule_search_locations  # type: ignore[union-attr, misc]
        for name in ("learn2learn", "learn2learn.algorithms"):  # packages without what their __init__ would import
            package = types.ModuleType(name)
            package.__path__ = [str(Path(root, *name.split(".")[1:]))]
            sys.modules[name] = package
        from learn2learn.algorithms.maml import MAML
    return MAML


def by_learn2learn(model: Any) -> Callable[[Batch], float]:
    """A clone for each task, whose losses flow back into the model."""
    from torch.nn.functional import mse_loss

    maml = learn2learn_maml()(model, lr=ALPHA, first_order=False)

    def meta_gradient(batch: Batch) -> float:
        total = 0.0
        for sx, sy, qx, qy in zip(*batch, strict=True):
            learner = maml.clone()
            learner.adapt(mse_loss(learner(sx), sy))
            loss = mse_loss(learner(qx), qy) / TASKS
            loss.backward()
            total += loss.item()
        return total

    return meta_gradient


def by_torch_func(model: Any) -> Callable[[Batch], float]:
    """One functional step, ``vmap``ped over the tasks."""
    from torch.func import functional_call, grad, grad_and_value, vmap
    from torch.nn.functional import mse_loss

    def loss(params: Any, x: Any, y: Any) -> Any:
        return mse_loss(functional_call(model, params, (x,)), y)

    def adapted(params: Any, sx: Any, sy: Any, qx: Any, qy: Any) -> Any:
        inner = grad(loss)(params, sx, sy)
        return loss({name: p - ALPHA * inner[name] for name, p in params.items()}, qx, qy)

    def objective(params: Any, *batch: Any) -> Any:
        return vmap(adapted, in_dims=(None, 0, 0, 0, 0))(params, *batch).mean()

    both = grad_and_value(objective)

    def meta_gradient(batch: Batch) -> float:
        params = {name: p.detach() for name, p in model.named_parameters()}
        grads, value = both(params, *batch)
        for name, p in model.named_parameters():
            p.grad = grads[name]
        return float(value)

    return meta_gradient


def by_higher(model: Any) -> Callable[[Batch], float]:
    """A patched model and a differentiable optimizer for each task."""
    import higher
    import torch
    from torch.nn.functional import mse_loss

    inner = torch.optim.SGD(model.parameters(), lr=ALPHA)

    def meta_gradient(batch: Batch) -> float:
        total = 0.0
        for sx, sy, qx, qy in zip(*batch, strict=True):
            with higher.innerloop_ctx(model, inner, copy_initial_weights=False) as (patched, rule):
                rule.step(mse_loss(patched(sx), sy))
                loss = mse_loss(patched(qx), qy) / TASKS
                loss.backward()
                total += loss.item()
        return total

    return meta_gradient


PEERS = {"learn2learn": by_learn2learn, "torch.func": by_torch_func, "higher": by_higher}


# ---- the processes --------------------------------------------------------------------------------------------------


def lacks(name: str) -> str | None:
    """What a peer needs and this interpreter has not."""
    return next((need for need in NEEDS[name] if importlib.util.find_spec(need) is None), None)


def peer(name: str, ours: str) -> None:
    """Serve one of them; ``ours`` is a file with a batch, our start and our meta-gradient."""
    if missing := lacks(name):
        print(f"skipped: {missing} is not installed there")
        return
    import torch

    torch.set_num_threads(1)
    model = network()
    meta_gradient = PEERS[name](model)
    distance = apart(model, meta_gradient, ours)

    def train(steps: int) -> list[float]:
        rng, losses = np.random.default_rng(0), []
        rule = torch.optim.Adam(model.parameters(), lr=BETA)
        for _ in range(steps):
            batch = [torch.from_numpy(np.ascontiguousarray(part)) for part in numpy_sample(rng)]
            rule.zero_grad()
            losses.append(meta_gradient(batch))
            rule.step()
        return losses

    serve(train, f"meta-gradients {distance:.0e} apart; torch {torch.__version__}")


def apart(model: Any, meta_gradient: Callable[[Batch], float], ours: str) -> float:
    """Largest distance of a peer's meta-gradient from ours, as a part of the largest entry.

    Raises
    ------
    AssertionError
        Where it is more than float32 explains: then it would not be the same work.
    """
    import torch

    with np.load(ours, allow_pickle=False) as kept, torch.no_grad():
        held = dict(kept)
        for i, layer in enumerate(model[::2]):  # ours: a matrix a layer, inputs first, with the bias as last row
            layer.weight.copy_(torch.from_numpy(held[f"start{i}"][:-1].T.copy()))
            layer.bias.copy_(torch.from_numpy(held[f"start{i}"][-1].copy()))
    meta_gradient([torch.from_numpy(held[part]) for part in ("sx", "sy", "qx", "qy")])
    grads = [np.concatenate([layer.weight.grad.numpy().T, layer.bias.grad.numpy()[None]]) for layer in model[::2]]
    other = np.concatenate([g.ravel() for g in grads])
    distance = float(np.abs(held["grad"] - other).max() / np.abs(other).max())
    assert distance < 1e-5, f"not the same work: meta-gradient {distance:.1e} apart"
    return distance


def write_ours(path: str) -> None:
    """A batch, our start and our meta-gradient there, for the peers to compare with."""
    from .bench_engine import prepared, start

    run = prepared()
    batch = run.plan.batches(0)
    grad = run.loop.algorithm.evaluate(run.plan.problem, run.loop.theta, (), batch).grad
    parts = {"sx": batch.support.x, "sy": batch.support.y, "qx": batch.query.x, "qy": batch.query.y}
    starts = {f"start{i}": w for i, w in enumerate(start())}
    np.savez(path, grad=grad, **starts, **{name: np.ascontiguousarray(part) for name, part in parts.items()})


def worker(name: str, given: str) -> None:
    """One contender, in this process."""
    if name == "ours":
        from .bench_engine import ours

        serve(lambda steps: ours(MANY * steps))
    else:
        peer(name, given)


def main() -> int:
    """Print the figures; exit code 1 under a target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="an interpreter with torch, learn2learn, higher")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("given", nargs="?", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.given)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        given = str(Path(folder, "ours.npz"))
        write_ours(given)
        workers = {"ours": Worker("tests.bench.speed.bench_peers", "ours")}
        for name in PEERS:
            workers[name] = Worker("tests.bench.speed.bench_peers", name, given, python=options.python)
    return report(workers, options.rounds)


def report(workers: dict[str, Worker], rounds: int) -> int:
    """Time those that run, say why the others do not."""
    there = {name: one for name, one in workers.items() if not one.said.startswith("skipped")}
    found = per_step(there, SHORT, LONG, rounds)
    print(f"MAML meta-step, {TASKS} tasks, {SHOTS}+{QUERIES} points, 1-{HIDDEN}-{HIDDEN}-1, float32; {machine()}")
    missed = 0
    for name, one in workers.items():
        if name not in found:
            print(f"  {name:11} {one.said}")
            continue
        timing, target = found[name], TARGETS.get(name)
        many = MANY if name == "ours" else 1
        line = f"  {name:11} {1e3 * timing.median / many:7.3f} ms   (least {1e3 * timing.least / many:.3f})"
        if name != "ours":
            ratio = MANY * timing.over(found["ours"])
            line += f"; {ratio:.1f} times ours" + (f", target ≥ {target:g}" if target else "")
            line += f"; {one.said}"
            missed += bool(target and ratio < target)
        print(line)
        one.close()
    print(f"  median of {rounds} rounds")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
