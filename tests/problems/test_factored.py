"""Vectors kept as outer products say what the arrays say; buffers that are used again are nobody's result."""

from __future__ import annotations

import gc
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS, Meta
from metagd_nb.models.losses import mse
from metagd_nb.models.net import Net
from metagd_nb.problems.closed_form.accelerated.buffers import WorkspacePool
from metagd_nb.problems.closed_form.accelerated.low_rank import LayerWeights, LowRank
from metagd_nb.problems.closed_form.layer_chain import ChainPoint
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.tasks import Batch, TaskBatch

NETS = {
    "relu": mg.mlp(2, 9, 7, 2),
    "tanh": mg.mlp(2, 6, 5, 8, 1, activation="tanh"),
    "relu, no bias": Net((3, 8, 6, 2), "relu", False, None),
    "tanh, no bias": Net((1, 8, 1), "tanh", False, None),
    "linear": mg.linear(5, 2),
    "relu, norm": mg.mlp(2, 9, 7, 2, norm="batch"),
    "tanh, norm": mg.mlp(3, 6, 5, 1, norm="batch", activation="tanh"),
    "a layer of one": mg.mlp(2, 5, 1, 4, 1, activation="tanh"),
}
OWN_KIND = {"cavia", "protonet"}  # of net and of batch
META = {name: kind for name, kind in ALGORITHMS.items() if issubclass(kind, Meta) and name not in OWN_KIND}
OPTIONS: dict[str, dict[str, Any]] = {"imaml": {"lam": 40.0}}
TASKS = 4


def problem(net: Net, narrow: int | None = None) -> NetProblem:
    """A net whose vectors stay factored up to rank ``narrow``: −1 never, None as it decides itself."""
    made = NetProblem(net)
    if narrow is not None:
        assert made.accelerator is not None
        made.accelerator.narrow, made.accelerator.pairs = narrow, narrow
    return made


def batch_for(net: Net, seed: int = 0, tasks: int = TASKS) -> TaskBatch:
    rng = np.random.default_rng(seed)

    def data(points: int) -> Batch:
        shape = tasks, points
        return Batch(rng.standard_normal((*shape, net.inputs)), rng.standard_normal((*shape, net.outputs)))

    return TaskBatch(data(3), data(5))


def start(net: Net, seed: int = 1) -> np.ndarray:
    return 0.5 * np.random.default_rng(seed).standard_normal(net.layout.size)


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("method", META)
def test_every_method_finds_the_same(method: str, net: Net, steps: int) -> None:
    algorithm = META[method](inner_lr=0.03, inner_steps=steps, **OPTIONS.get(method, {}))
    batch, found = batch_for(net), []
    for narrow in (-1, 4, 10, 10_000):
        source = problem(net, narrow)
        found.append(algorithm.meta_gradient(source, algorithm.init_parameters(source, start(net)), batch))
    for other in found[1:]:
        np.testing.assert_allclose(other.loss, found[0].loss, rtol=1e-12)
        size = np.abs(found[0].grad).max()
        np.testing.assert_allclose(other.grad, found[0].grad, rtol=1e-12, atol=1e-12 * size)


@pytest.mark.parametrize("query_loss", ["last", "all"])
@pytest.mark.parametrize("learn_rates", ["no", "run", "step-layer", "parameter"])
def test_every_form_of_maml_finds_the_same(learn_rates: str, query_loss: str) -> None:
    net = NETS["tanh"]
    algorithm = META["maml"](inner_lr=0.03, inner_steps=3, learn_rates=learn_rates, query_loss=query_loss)
    dense, factored = (
        algorithm.meta_gradient(s, algorithm.init_parameters(s, start(net)), batch_for(net))
        for s in (problem(net, -1), problem(net, 10_000))
    )
    np.testing.assert_allclose(factored.grad, dense.grad, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_points_at_every_kind_of_phi(net: Net) -> None:
    """θ shared, factored, one a task; directions of either kind; hvp twice, and after others took the buffers."""
    batch, v = batch_for(net), np.random.default_rng(2).standard_normal((TASKS, net.layout.size))
    found = []
    for narrow in (-1, 10_000):
        source, seen = problem(net, narrow), []
        phi: Any = start(net)
        for _ in range(3):
            point = source.linearize(phi, batch.support)
            along = source.linearize(phi, batch.query).grad
            first, second = point.hvp(along), point.hvp(v)
            third = point.hvp(0.5 * along)
            seen += [point.loss, np.array(point.grad), np.array(first), np.array(second), np.array(third)]
            seen += [source.flat(phi, TASKS), np.mean(point.grad, axis=0), first.mean(axis=0)]
            phi = point.step(0.1)
        found.append(seen)
    for dense, factored in zip(*found, strict=True):
        np.testing.assert_allclose(factored, dense, rtol=1e-11, atol=1e-13)
        assert np.abs(dense).max() > 0


@pytest.mark.parametrize("narrow", [-1, 10_000])
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_the_same_net_as_a_chain_of_layers(net: Net, narrow: int) -> None:
    """Another implementation, which shares no line with this one."""
    source, batch = problem(net, narrow), batch_for(net)
    phi: Any = start(net)
    for _ in range(2):
        point, other = (
            source.linearize(phi, batch.support),
            ChainPoint(net, mse, source.flat(phi, TASKS), batch.support),
        )
        along = source.linearize(phi, batch.query).grad
        np.testing.assert_allclose(point.loss, other.loss, rtol=1e-12)
        np.testing.assert_allclose(point.grad, other.grad, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(point.hvp(along), other.hvp(np.asarray(along)), rtol=1e-10, atol=1e-12)
        phi = point.step(0.1)


def test_factored_is_kept_where_it_pays() -> None:
    """Few points beside wide layers, θ shared by several tasks, one rate for all."""
    wide, thin = problem(mg.mlp(1, 40, 40, 1)), problem(mg.mlp(1, 3, 1))
    point = wide.linearize(start(wide.net), batch_for(wide.net).support)
    assert isinstance(point.grad, LowRank)
    assert isinstance(point.step(0.1), LowRank)
    assert isinstance(point.hvp(point.grad), LowRank)
    assert isinstance(point.step(np.full(wide.layout.size, 0.1)), np.ndarray)
    assert isinstance(point.hvp(np.asarray(point.grad)), np.ndarray)
    alone = wide.linearize(start(wide.net), batch_for(wide.net, tasks=1).support)
    assert isinstance(alone.grad, np.ndarray)
    assert isinstance(thin.linearize(start(thin.net), batch_for(thin.net).query).grad, np.ndarray)
    phi: Any = start(wide.net)
    for _ in range(300):  # ranks add up until the array is less
        phi = wide.linearize(phi, batch_for(wide.net).support).step(0.01)
    assert isinstance(phi, np.ndarray)


def vectors() -> tuple[LowRank, LowRank]:
    source = problem(mg.mlp(2, 9, 7, 2), 10_000)
    batch = batch_for(source.net)
    point = source.linearize(start(source.net), batch.support)
    return point.grad, point.hvp(source.linearize(point.step(0.1), batch.query).grad)


def test_arithmetic_is_that_of_arrays() -> None:
    a, b = vectors()
    x, y = np.array(a), np.array(b)
    rate = np.linspace(0.1, 1, x.shape[1])
    assert (len(a), a.shape, a.ndim, a.dtype) == (len(x), x.shape, x.ndim, x.dtype)
    pairs = {
        "number": (0.3 * a * 2, 0.3 * x * 2),
        "minus": (a - 0.3 * b, x - 0.3 * y),
        "plus": (a + b + a, x + y + x),
        "negative": (-a, -x),
        "array minus": (x - b, x - y),
        "minus array": (a - y, x - y),
        "number minus": (1 - a, 1 - x),
        "rates": (rate * a, rate * x),
        "times rates": (a * rate, x * rate),
        "product": (a * b, x * y),
        "scalar of NumPy": (np.float64(0.3) * a, 0.3 * x),
        "quotient": (a / 2, x / 2),
        "mean": ((a - 0.3 * b).mean(axis=0), (x - 0.3 * y).mean(axis=0)),
        "mean beside an array": (LowRank(a.net, a.terms, LayerWeights(a.net, y)).mean(axis=0), (x + y).mean(axis=0)),
        "mean of all": (a.mean(), x.mean()),
        "item": (a[0], x[0]),
        "function": (np.sqrt(np.abs(b)), np.sqrt(np.abs(y))),
        "cast": (np.asarray(a, np.float32), x.astype(np.float32)),
        "copy": (a.copy(), x),
    }
    for what, (ours, arrays) in pairs.items():
        np.testing.assert_allclose(ours, arrays, rtol=1e-12, atol=1e-13, err_msg=what)
    for kept in (0.3 * a, a - b, a + b, -a):
        assert isinstance(kept, LowRank)


def test_phi_is_an_array_to_whoever_looks() -> None:
    source = problem(mg.mlp(2, 9, 7, 2), 10_000)
    theta, batch = start(source.net), batch_for(source.net)
    point = source.linearize(theta, batch.support)
    phi, expected = point.step(0.1), theta - 0.1 * np.array(point.grad)
    np.testing.assert_allclose(np.asarray(phi), expected, rtol=1e-13)
    np.testing.assert_allclose(phi.mean(axis=0), expected.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(2 * phi - theta, 2 * expected - theta, rtol=1e-12)
    np.testing.assert_allclose(phi + point.grad, theta + 0.9 * np.array(point.grad), rtol=1e-12)
    np.testing.assert_allclose(source.predict(phi, batch.query.x), source.net.predict(expected, batch.query.x))


# ---- buffers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("narrow", [-1, 10_000])
def test_what_is_held_is_never_written_again(narrow: int) -> None:
    source = problem(mg.mlp(2, 9, 7, 2), narrow)
    held: list[tuple[Any, np.ndarray]] = []
    phi: Any = start(source.net)
    for seed in range(6):
        batch = batch_for(source.net, seed)
        point = source.linearize(phi, batch.support)
        after = point.step(0.1)
        query = source.linearize(after, batch.query)
        results = point.loss, point.grad, point.hvp(query.grad), point.hvp(point.grad), after, query.grad
        held += [(result, np.array(result)) for result in results]
        if seed % 2:
            phi = after
        del point, query  # their results alone must keep what they need
    for result, before in held:
        np.testing.assert_array_equal(np.asarray(result), before)


def test_a_workspace_let_go_is_taken_again_and_only_then() -> None:
    pool = WorkspacePool()
    first, second = pool.take(np.empty, 3), pool.take(np.empty, 3)
    assert first is not second
    view, known = first[:1], id(first)
    del first
    assert id(pool.take(np.empty, 3)) != known, "a view holds it"
    del view
    assert id(pool.take(np.empty, 3)) == known
    assert pool.take(np.empty, 4).shape == (4,)


def test_a_pool_forgets_old_shapes_and_is_no_part_of_a_copy() -> None:
    pool = WorkspacePool()
    for n in range(100):
        pool.take(np.empty, n)
    assert len(pool._workspaces) == WorkspacePool.KINDS
    assert pickle.loads(pickle.dumps(pool))._workspaces == {}


def test_points_leave_no_cycles_for_the_collector() -> None:
    """A cycle would hold buffers until the collector comes by, and every step would need new ones."""
    source = problem(mg.mlp(1, 40, 40, 1))
    algorithm, batch = META["maml"](inner_steps=2), batch_for(source.net)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            algorithm.meta_gradient(source, start(source.net), batch)
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert sum(map(len, source.accelerator.pool._workspaces.values())) <= 8


def test_threads_on_one_problem_do_not_meet() -> None:
    source = problem(mg.mlp(1, 20, 20, 1))
    algorithm = META["maml"](inner_steps=2, inner_lr=0.05)
    batches = [batch_for(source.net, seed) for seed in range(4)]
    expected = [algorithm.meta_gradient(source, start(source.net), batch).grad for batch in batches]
    wrong: list[int] = []

    def work(i: int) -> None:
        found = (algorithm.meta_gradient(source, start(source.net), batches[i]).grad for _ in range(150))
        wrong.extend(i for grad in found if not np.array_equal(grad, expected[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
