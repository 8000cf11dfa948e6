"""Who shares a learned rate: exact indices, starts, spreads and sums on a layout of two slices."""

from __future__ import annotations

import numpy as np
import pytest
from cases import differences, table

import metagd_nb as mg
from metagd_nb.algorithms.rate_sharing import gather, groups, shared_start, spread
from metagd_nb.algorithms.unrolled_hypergradient import Unroll
from metagd_nb.core.parameters import ParameterLayout
from metagd_nb.problems.closed_form.net import NetProblem
from metagd_nb.tasks import Batch

LAYOUT = ParameterLayout({"W0": (2,), "b0": ()})  # three parameters in two layers
STEPS = 2


@pytest.mark.parametrize(
    ("sharing", "index", "start", "summed"),
    [
        ("run", [[0, 0, 0]], [3], [21]),
        ("layer", [[0, 0, 1]], [2, 5], [12, 9]),
        ("parameter", [[0, 1, 2]], [1, 3, 5], [5, 7, 9]),
        ("step", [[0, 0, 0], [1, 1, 1]], [3, 3], [6, 15]),
        ("step-layer", [[0, 0, 1], [2, 2, 3]], [2, 5, 2, 5], [3, 3, 9, 6]),
    ],
)
def test_who_shares_a_rate(sharing: str, index: list[list[int]], start: list[float], summed: list[float]) -> None:
    np.testing.assert_array_equal(groups(LAYOUT, sharing, STEPS), index)
    np.testing.assert_array_equal(shared_start(LAYOUT, sharing, STEPS, np.array([1.0, 3, 5])), start)
    per_step = [np.array([1.0, 2, 3]), np.array([4.0, 5, 6])]  # those who share a rate add up
    np.testing.assert_array_equal(gather(LAYOUT, sharing, STEPS, per_step), summed)
    np.testing.assert_array_equal(gather(LAYOUT, sharing, STEPS, []), np.zeros(len(summed)))


def test_steps_beyond_those_that_learned_use_the_last_rate() -> None:
    rates = spread(LAYOUT, "step-layer", STEPS, np.array([1.0, 2, 3, 4]), 3)
    np.testing.assert_array_equal(rates, [[1, 1, 2], [3, 3, 4], [3, 3, 4]])
    assert spread(LAYOUT, "run", STEPS, np.array([1.0]), 0) == []


@pytest.mark.parametrize("sharing", ["run", "layer", "parameter", "step", "step-layer"])
def test_the_hypergradient_of_rates_that_differ(sharing: str) -> None:
    net = mg.mlp(3, 2, 1, activation="tanh")
    problem, algorithm = NetProblem(net), Unroll(horizon=3, sharing=sharing)
    rng = np.random.default_rng(4)
    start = algorithm.init_parameters(problem, net.start(rng))
    size, rates = net.layout.size, rng.uniform(0.05, 0.3, len(start) - net.layout.size)
    x, y = table()
    batch = Batch(x[None], y[None])

    def ends(rates: np.ndarray) -> float:
        theta = np.concatenate([start[:size], rates])
        return algorithm.evaluate(problem, theta, algorithm.init(theta), batch).loss

    theta = np.concatenate([start[:size], rates])
    look = algorithm.evaluate(problem, theta, algorithm.init(theta), batch)
    np.testing.assert_allclose(look.grad[size:], differences(ends, rates), rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(look.grad[:size], 0)
