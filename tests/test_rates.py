"""Who shares a learned rate: exact indices, starts, spreads and sums on a layout of two slices."""

from __future__ import annotations

import numpy as np
import pytest

from metagd_nb.algorithms.rates import gather, groups, shared_start, spread
from metagd_nb.layout import Layout

LAYOUT = Layout({"W0": (2,), "b0": ()})  # three parameters in two layers
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
