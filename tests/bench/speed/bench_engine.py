"""A MAML meta-step at the setting of Finn et al. (2017), §5.1, against hand-written JAX and hand-written NumPy.

25 tasks, 10 + 10 points, 1-40-40-1 ReLU, one inner step, exact second order, Adam, float32, one thread.
Ours is what a person runs: ``mg.train("maml", …)``, sampling and record included. The others sample and apply Adam
too, and keep the losses. Each has a process of its own. One meta-gradient is compared first, so that the same work
is timed.

python -m tests.bench.speed.bench_engine [--rounds N] [--breakdown]
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from .timing import Timing, Worker, machine, one_thread, per_step, serve, taken

one_thread()

import numpy as np  # noqa: E402 — after one_thread

import metagd_nb as mg  # noqa: E402

from .finn import ALPHA, BETA, HIDDEN, QUERIES, SHOTS, TASKS, numpy_sample  # noqa: E402

SHORT, LONG = 200, 1200
TARGET = 1.0  # times JAX
Array = np.ndarray


def ours(steps: int, backend: str = "numpy") -> mg.Run:
    """The public path."""
    given: dict[str, Any] = {"model": mg.mlp(1, HIDDEN, HIDDEN, 1), "tasks": mg.sinusoid(), "backend": backend}
    run = mg.train("maml", inner_lr=ALPHA, meta_lr=BETA, steps=steps, dtype="float32", **given)
    assert run.stopped == "steps", run.note  # a run that broke off early would look fast
    return run


def start(hidden: int = HIDDEN) -> list[Array]:
    """Our starting parameters, a matrix a layer with the bias as last row."""
    model = mg.mlp(1, hidden, hidden, 1)
    return [w.astype(np.float32) for w in model.matrices(model.start(np.random.default_rng(0)))]


# ---- hand-written NumPy: the closed form as one writes it down, batched over tasks, nothing else done to it ---------


def forward(w: list[Array], x: Array, y: Array) -> tuple[list[Array], list[Array], Array]:
    """Layer inputs with ones, ReLU slopes, error."""
    ones = np.ones_like(x[..., :1])
    h, slope = [np.concatenate([x, ones], -1)], []
    for layer in w[:-1]:
        z = h[-1] @ layer
        slope.append(z > 0)
        h.append(np.concatenate([z * slope[-1], ones], -1))
    return h, slope, h[-1] @ w[-1] - y


def backward(w: list[Array], h: list[Array], slope: list[Array], error: Array) -> tuple[list[Array], list[Array]]:
    """Gradient, a matrix (T, i+1, o) a layer, and the deltas."""
    delta = [2 / error.shape[1] * error]
    for layer in (2, 1):
        delta.insert(0, delta[0] @ w[layer][..., :-1, :].swapaxes(-1, -2) * slope[layer - 1])
    return [a.swapaxes(1, 2) @ d for a, d in zip(h, delta, strict=True)], delta


def hessian_vector(
    w: list[Array], h: list[Array], slope: list[Array], delta: list[Array], v: list[Array]
) -> list[Array]:
    """R-operator (Pearlmutter 1994)."""
    moved = [np.zeros_like(h[0])]
    for layer in (0, 1, 2):
        dz = h[layer] @ v[layer] + moved[layer] @ w[layer]
        if layer < 2:
            moved.append(np.concatenate([dz * slope[layer], np.zeros_like(dz[..., :1])], -1))
    product, d_delta = [dz] * 3, 2 / dz.shape[1] * dz
    for layer in (2, 1, 0):
        product[layer] = h[layer].swapaxes(1, 2) @ d_delta + moved[layer].swapaxes(1, 2) @ delta[layer]
        if layer:
            inner, dv = (a[..., :-1, :].swapaxes(-1, -2) for a in (w[layer], v[layer]))
            d_delta = (d_delta @ inner + delta[layer] @ dv) * slope[layer - 1]
    return product


def numpy_meta_gradient(w: list[Array], sx: Array, sy: Array, qx: Array, qy: Array) -> tuple[float, list[Array]]:
    """Query loss after one inner step, and its gradient at the start."""
    h, slope, error = forward(w, sx, sy)
    grad, delta = backward(w, h, slope, error)
    phi = [a - ALPHA * g for a, g in zip(w, grad, strict=True)]
    qh, q_slope, q_error = forward(phi, qx, qy)
    v, _ = backward(phi, qh, q_slope, q_error)
    bent = hessian_vector(w, h, slope, delta, v)
    return float((q_error**2).mean()), [(a - ALPHA * b).mean(0) for a, b in zip(v, bent, strict=True)]


def numpy_train(steps: int) -> list[float]:
    """The losses."""
    rng, w, losses = np.random.default_rng(0), start(), []
    m, s = [np.zeros_like(a) for a in w], [np.zeros_like(a) for a in w]
    for t in range(1, steps + 1):
        loss, grad = numpy_meta_gradient(w, *numpy_sample(rng))
        losses.append(loss)
        m = [0.9 * a + 0.1 * g for a, g in zip(m, grad, strict=True)]
        s = [0.999 * a + 0.001 * g * g for a, g in zip(s, grad, strict=True)]
        c, d = 1 - 0.9**t, 1 - 0.999**t
        w = [a - BETA * (b / c) / (np.sqrt(q / d) + 1e-8) for a, b, q in zip(w, m, s, strict=True)]
    return losses


# ---- hand-written JAX: jit, scan over steps with sampling inside, vmap over tasks, grad through the inner step ------


def jax_rival(
    tasks: int = TASKS, hidden: int = HIDDEN, points: int = SHOTS, inner: int = 1, alpha: float = ALPHA
) -> tuple[Callable[..., Any], Callable[[int], Any]]:
    """Meta-gradient(w, sx, sy, qx, qy) and train(steps) → losses; with ``points`` + ``points`` points a task.

    Imported here and not above: the other contenders' processes stay without it.
    """
    import jax
    import jax.numpy as jnp

    def predict(w: Any, x: Any) -> Any:
        for layer in w[:-1]:
            x = jax.nn.relu(x @ layer[:-1] + layer[-1])
        return x @ w[-1][:-1] + w[-1][-1]

    def loss(w: Any, x: Any, y: Any) -> Any:
        return jnp.mean((predict(w, x) - y) ** 2)

    def adapted(w: Any, sx: Any, sy: Any, qx: Any, qy: Any) -> Any:
        for _ in range(inner):
            grad = jax.grad(loss)(w, sx, sy)
            w = [a - alpha * g for a, g in zip(w, grad, strict=True)]
        return loss(w, qx, qy)

    def objective(w: Any, *batch: Any) -> Any:
        return jnp.mean(jax.vmap(adapted, (None, 0, 0, 0, 0))(w, *batch))

    def sample(key: Any) -> tuple[Any, ...]:
        ka, kp, kx = jax.random.split(key, 3)
        amplitude = jax.random.uniform(ka, (tasks, 1, 1), minval=0.1, maxval=5.0)
        phase = jax.random.uniform(kp, (tasks, 1, 1), maxval=np.pi)
        x = jax.random.uniform(kx, (tasks, 2 * points, 1), minval=-5.0, maxval=5.0)
        y = amplitude * jnp.sin(x - phase)
        return x[:, :points], y[:, :points], x[:, points:], y[:, points:]

    def step(carry: Any, key: Any) -> tuple[Any, Any]:
        w, m, s, t = carry
        value, grad = jax.value_and_grad(objective)(w, *sample(key))
        t = t + 1
        m = [0.9 * a + 0.1 * g for a, g in zip(m, grad, strict=True)]
        s = [0.999 * a + 0.001 * g * g for a, g in zip(s, grad, strict=True)]
        c, d = 1 - 0.9**t, 1 - 0.999**t
        w = [a - BETA * (b / c) / (jnp.sqrt(q / d) + 1e-8) for a, b, q in zip(w, m, s, strict=True)]
        return (w, m, s, t), value

    @jax.jit
    def scan(keys: Any) -> Any:
        w = [jnp.asarray(a) for a in start(hidden)]
        zeros = [jnp.zeros_like(a) for a in w]
        return jax.lax.scan(step, (w, zeros, zeros, jnp.float32(0)), keys)[1]

    def train(steps: int) -> Any:
        return scan(jax.random.split(jax.random.key(0), steps)).block_until_ready()

    return jax.jit(jax.grad(objective)), train


# ---- the same work? -------------------------------------------------------------------------------------------------


def apart(gradient: Callable[..., Any]) -> float:
    """Largest distance of one meta-gradient of ours from a rival's, as a part of the largest entry.

    Raises
    ------
    AssertionError
        Where it is more than float32 explains.
    """
    run = prepared()
    batch = run.plan.batches(0)
    flat = run.loop.algorithm.evaluate(run.plan.problem, run.loop.theta, (), batch).grad
    found = gradient(start(), batch.support.x, batch.support.y, batch.query.x, batch.query.y)
    other = np.concatenate([np.ravel(g) for g in found])
    distance = float(np.abs(flat - other).max() / np.abs(other).max())
    assert distance < 1e-5, f"not the same work: meta-gradient {distance:.1e} apart"
    return distance


def worker(name: str) -> None:
    """One contender, in this process."""
    if name == "ours":
        serve(ours)
    elif name == "ours on JAX":
        serve(lambda steps: ours(steps, "jax"))
    elif name == "NumPy":
        serve(numpy_train, f"{apart(lambda *given: numpy_meta_gradient(*given)[1]):.0e}")
    else:
        gradient, train = jax_rival()
        serve(train, f"{apart(gradient):.0e}")


# ---- where our time goes --------------------------------------------------------------------------------------------


def prepared() -> mg.Run:
    """Our run, not started."""
    model, tasks = mg.mlp(1, HIDDEN, HIDDEN, 1), mg.sinusoid()
    return mg.prepare("maml", model=model, tasks=tasks, inner_lr=ALPHA, meta_lr=BETA, dtype="float32")


def breakdown(rounds: int, repeats: int = 200) -> dict[str, Timing]:
    """Seconds of each part of one step: the parts in turns, each repeated on the same values."""
    run = prepared()
    for _ in range(500):  # somewhere along the way, where some units are off
        run.loop.advance()
    problem, algorithm, theta, look = run.plan.problem, run.loop.algorithm, run.loop.theta, run.loop.executor.evaluation
    batch = run.plan.batches(500)
    point = problem.linearize(theta, batch.support)
    phi = point.step(ALPHA)
    v = problem.linearize(phi, batch.query).grad
    steps = iter(range(1_000, 10**9))

    def one(phi: Any, data: Any) -> Any:
        fresh = type(data)(data.x, data.y)  # so that the column of ones is made anew, as in a run
        return problem.linearize(phi, fresh)

    parts: dict[str, Callable[[], object]] = {
        "sampling": lambda: run.plan.batches(next(steps)),
        "support: loss, gradient": lambda: one(theta, batch.support).grad,
        "inner step": lambda: point.step(ALPHA),
        "query: loss, gradient": lambda: one(phi, batch.query).grad,
        "Hessian·vector": lambda: point.hvp(ALPHA * v),
        "v − H(αv), mean over tasks": lambda: (v - v).mean(axis=0),
        "outer rule": lambda: algorithm.update(theta, look),
        "whole step": run.loop.advance,
    }

    def many(part: Callable[[], object]) -> float:
        def work() -> None:
            for _ in range(repeats):
                part()  # dropped at once, as in a run: kept results would each need fresh pages

        return taken(work) / repeats

    found = {name: Timing([]) for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            found[name].seconds.append(many(part))
    return found


def print_breakdown(rounds: int) -> None:
    """A line a part; what no part explains is the record, the verdict, and pages asked of the system anew.

    A part repeated by itself finds its arrays' memory still there; a whole step may not.
    """
    found = breakdown(rounds)
    total = found["whole step"].median
    rest = total - sum(t.median for name, t in found.items() if name != "whole step")
    print("  of our step:")
    for name, timing in found.items():
        if name != "whole step":
            print(f"    {name:26} {1e6 * timing.median:6.1f} µs")
    print(f"    {'record, page faults, rest':26} {1e6 * rest:6.1f} µs\n    {'whole step':26} {1e6 * total:6.1f} µs")
    print(f"    {fresh_pages():.0f} page faults a step")


def fresh_pages(steps: int = 500) -> float:
    """Pages that one step asks of the system, in ``mg.train``; nan where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    ours(SHORT)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    ours(steps)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / steps


def main() -> int:
    """Print the figures; exit code 1 over the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--breakdown", action="store_true", help="where our step's time goes")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return 0
    names, has_jax = ["ours", "NumPy"], importlib.util.find_spec("jax") is not None
    names += ["JAX", "ours on JAX"] * has_jax
    workers = {name: Worker("tests.bench.speed.bench_engine", name) for name in names}
    found = per_step(workers, SHORT, LONG, options.rounds)
    print(f"MAML meta-step, {TASKS} tasks, {SHOTS}+{QUERIES} points, 1-{HIDDEN}-{HIDDEN}-1, float32; {machine()}")
    for name, timing in found.items():
        compared = f"; ours / {name} {found['ours'].over(timing):.2f}, meta-gradients {workers[name].said} apart"
        extra = "" if name.startswith("ours") else compared
        if name == "ours on JAX":
            extra = f"; ours on JAX / JAX {timing.over(found['JAX']):.2f}"
        print(f"  {name:11} {1e3 * timing.median:6.3f} ms   (least {1e3 * timing.least:.3f}){extra}")
        workers[name].close()
    print(f"  median of {options.rounds} rounds; target: ours / JAX ≤ {TARGET}")
    if not has_jax:
        print("  JAX skipped: it is not installed here (pip install jax)")
    if options.breakdown:
        print_breakdown(options.rounds)
    return int(has_jax and found["ours"].over(found["JAX"]) > TARGET)


if __name__ == "__main__":
    sys.exit(main())
