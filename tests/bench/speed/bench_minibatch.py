"""Mini-batch logistic regression against a loop by hand, and against PyTorch's eager loop where it is installed.

100,000 × 50 in float64, two classes, batches of 256, gradient descent. All contenders shuffle each epoch alike, compute
the same softmax, and keep the same row for each step: its number, the loss, the norm of the gradient, the evaluations,
the seconds, the rate and the epoch. Seconds a step in the steady state; the losses are compared first.

PyTorch's loop is that of its tutorials, with a DataLoader of a TensorDataset; the same loop with its batches cut from
tensors stands beside it without a target.

python -m tests.bench.speed.bench_minibatch [ROUNDS]
"""

from __future__ import annotations

import importlib.util
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from .timing import machine, one_thread, per_step, taken

one_thread()

import numpy as np  # noqa: E402 — after one_thread

import metagd_nb as mg  # noqa: E402
from metagd_nb.training.minibatches import STREAM  # noqa: E402

ROWS, WIDTH, CLASSES, SIZE, LR = 100_000, 50, 2, 256, 0.1
SHORT, LONG = 400, 4_400
TARGET, TARGET_TORCH = 1.0, 5.0
LENGTH = -(-ROWS // SIZE)  # steps of an epoch

Array = np.ndarray


def data() -> tuple[Array, Array]:
    """Inputs (n, D) and labels (n,)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, WIDTH))
    return x, (x @ rng.standard_normal(WIDTH) + rng.standard_normal(ROWS) > 0).astype(int)


def order_of(epoch: int) -> Array:
    """The order of the rows in an epoch."""
    return np.random.default_rng([0, epoch, STREAM]).permutation(ROWS)


def by_hand(x: Array, targets: Array, start: Array, steps: int) -> Array:
    """Rows of the record: a loop as one writes it."""
    w, b = start[:-CLASSES].reshape(WIDTH, CLASSES).copy(), start[-CLASSES:].copy()
    record, begin = np.empty((steps + 1, 8)), time.perf_counter()
    for step in range(steps + 1):
        epoch, i = divmod(step, LENGTH)
        if i == 0:
            order = order_of(epoch)
        rows = order[i * SIZE : (i + 1) * SIZE]
        inputs, wanted = x[rows], targets[rows]
        logits = inputs @ w + b
        off = logits - logits.max(axis=1, keepdims=True)
        shares = np.exp(off)
        total = shares.sum(axis=1, keepdims=True)
        loss = (np.log(total)[:, 0] - (wanted * off).sum(axis=1)).mean()
        delta = (shares / total - wanted) / len(rows)
        grad_w, grad_b = inputs.T @ delta, delta.sum(axis=0)
        norm = math.sqrt((grad_w * grad_w).sum() + (grad_b * grad_b).sum())
        record[step] = step, loss, norm, step + 1, 0, time.perf_counter() - begin, LR, epoch
        w -= LR * grad_w
        b -= LR * grad_b
    return record


def ours(x: Array, y: Array, steps: int) -> mg.Run:
    """The public path."""
    model = mg.linear(WIDTH, outputs=CLASSES)
    return mg.train("gd", model=model, x=x, y=y, loss="cross-entropy", batch_size=SIZE, lr=LR, steps=steps)


def loader(x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
    """Batches of a DataLoader."""
    from torch.utils.data import DataLoader, TensorDataset

    rows, epoch = TensorDataset(x, y), 0
    while True:
        yield from DataLoader(rows, batch_size=SIZE, sampler=order_of(epoch).tolist())
        epoch += 1


def indexed(x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
    """Batches cut from tensors."""
    import torch

    epoch = 0
    while True:
        order = torch.from_numpy(order_of(epoch))
        for i in range(LENGTH):
            rows = order[i * SIZE : (i + 1) * SIZE]
            yield x[rows], y[rows]
        epoch += 1


def torch_loop(batches: Callable[[Any, Any], Iterator[Any]], x: Array, y: Array, start: Array, steps: int) -> Array:
    """Rows of the record: PyTorch's eager loop, its own loss and optimizer."""
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Linear(WIDTH, CLASSES, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(start[:-CLASSES].reshape(WIDTH, CLASSES).T))
        model.bias.copy_(torch.from_numpy(start[-CLASSES:]))
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    record, begin = np.empty((steps + 1, 8)), time.perf_counter()
    for step, (inputs, wanted) in zip(
        range(steps + 1), batches(torch.from_numpy(x), torch.from_numpy(y)), strict=False
    ):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), wanted)
        loss.backward()
        norm = math.sqrt(sum(float((p.grad * p.grad).sum()) for p in model.parameters()))
        record[step] = step, float(loss), norm, step + 1, 0, time.perf_counter() - begin, LR, step // LENGTH
        optimizer.step()
    return record


def main() -> int:
    """Print the figures; exit code 1 below a target."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    x, y = data()
    start = mg.prepare("gd", model=mg.linear(WIDTH, outputs=CLASSES), x=x[:9], y=y[:9], loss="cross-entropy").plan.start
    targets = np.eye(CLASSES)[y]
    losses = ours(x, y, SHORT).record["loss"]
    contenders = {"by hand": lambda steps: by_hand(x, targets, start, steps)}
    if importlib.util.find_spec("torch") is not None:
        contenders["torch, eager"] = lambda steps: torch_loop(loader, x, y, start, steps)
        contenders["torch, indexed"] = lambda steps: torch_loop(indexed, x, y, start, steps)
    apart = max(float(np.abs(loop(SHORT)[:, 1] / losses - 1).max()) for loop in contenders.values())
    assert apart < 1e-9, f"not the same work: losses {apart:.1e} apart"
    workers = {name: lambda steps, loop=loop: taken(lambda: loop(steps)) for name, loop in contenders.items()}
    found = per_step({"ours": lambda steps: taken(lambda: ours(x, y, steps)), **workers}, SHORT, LONG, rounds)
    print(f"logistic regression {ROWS:,} × {WIDTH}, batches of {SIZE}, float64; {machine()}")
    missed = False
    for name, timing in found.items():
        ratio = timing.over(found["ours"])
        target = {"by hand": TARGET, "torch, eager": TARGET_TORCH}.get(name)
        words = "" if target is None else f"   ours {ratio:.2f} times as many steps a second (target ≥ {target:g})"
        missed |= target is not None and ratio < target
        print(f"  {name:14} {1e6 * timing.median:7.1f} µs a step   (least {1e6 * timing.least:.1f}){words}")
    if "torch, eager" not in found:
        print("  torch, eager: skipped, PyTorch is not installed here")
    print(f"  medians of {rounds} rounds; losses {apart:.0e} apart")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
