"""Mini-batches in a cell, in a real shell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cells import cell

import metagd_nb as mg

LOSS = "def loss(w, b, x, y):\n    return np.mean((x @ w + b - y) ** 2)"


@pytest.fixture
def table(ip: Any) -> Any:
    ip.run_line_magic("colors", "nocolor")
    ip.run_cell(
        "rng = np.random.default_rng(0)\nx = rng.normal(size=(90, 3))\ny = x @ np.array([1.0, 2.0, 3.0])\n"
        "w, b, weights = np.zeros(3), 0.0, np.ones(90)"
    )
    return ip


@pytest.mark.parametrize("options", ["", "--data x,y", "--params w,b", "--params w,b --data x,y"])
def test_a_loss_of_ones_own(table: Any, options: str) -> None:
    cell(table, f"%%metagd gd --wait --no-plot --lr 0.1 --batch-size 20 --epochs 3 {options}\n{LOSS}")
    space = table.user_ns
    given = {"params": {"w": np.zeros(3), "b": 0.0}, "data": {"x": space["x"], "y": space["y"]}}
    alone = mg.train("gd", loss=space["loss"], **given, lr=0.1, batch_size=20, epochs=3)
    np.testing.assert_array_equal(space["run"].record["loss"], alone.record["loss"])
    assert space["run"].iteration == 15
    assert np.array_equal(space["w"], np.zeros(3))  # the variables keep their values


def test_a_model(table: Any) -> None:
    shown = cell(table, "%%metagd adam --wait --no-plot --batch-size 20 --epochs 3\nmodel = mlp(3, 4, 1)").text
    assert "all steps done after 15 steps, 3 epochs of 90 rows in batches of 20" in shown
    assert "(means of an epoch, 5 rows)" in shown


@pytest.mark.parametrize(
    ("line", "body", "message"),
    [
        ("gd --batch-size 91", LOSS, "--batch-size: 91 is more than the 90 rows to train on"),
        ("gd --batch-size 0", LOSS, "--batch-size: 0 is not allowed; needs a whole number ≥ 1"),
        ("gd --batch-size 9 --epochs 2 --steps 9", LOSS, "--epochs: sets the number of steps; give either"),
        ("gd --batchsize 9", LOSS, "--batchsize is no option of gd; did you mean '--batch-size'?"),
        ("unroll --batch-size 9", LOSS, "--batch-size: unroll needs the same rows in every step"),
        (
            "gd --batch-size 9 --data x,y",
            "def loss(w, x, y):\n    return np.mean(weights * (x @ w - y) ** 2)",
            "--batch-size: loss reads weights as a global, whose 90 rows batches do not cut as those of x and y; "
            "make it data, def loss(…, weights) and --data x,y,weights, or a constant, def loss(…, weights=weights)",
        ),
        (
            "gd --batch-size 9 --data x,y",
            "y = y[:80]\ndef loss(w, x, y):\n    return np.mean((x @ w - y) ** 2)",
            "--data: have unlike numbers of rows (x 90, y 80)",
        ),
        (
            "maml --batch-size 9",
            "tasks, model = sinusoid(), mlp(1, 4, 1)",
            "--batch-size: is for single-task methods; a batch of tasks has meta_batch_size",
        ),
    ],
)
def test_one_line_says_what_is_wrong(table: Any, line: str, body: str, message: str) -> None:
    shown = cell(table, f"%%metagd {line} --wait --no-plot\n{body}").text
    assert message in shown
    assert "Traceback" not in shown


def test_the_help_explains_the_options(table: Any) -> None:
    shown = cell(table, "%metagd gd --help").text
    assert "rows of a mini-batch" in shown
    assert "passes over the rows" in shown
