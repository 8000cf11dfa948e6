"""Figures of sweeps, maps, sketches and several runs show the numbers that they are made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

import metagd_nb as mg
from metagd_nb import charts
from metagd_nb.analysis.sweep_result import Outcome, Sweep, Trial
from metagd_nb.analysis.task_embedding import TaskMap
from metagd_nb.plotting import style
from metagd_nb.plotting.comparison import overlaid_runs
from metagd_nb.plotting.heat_map import heat_map


def sweep_over(scores: dict[float, float]) -> Sweep:
    outcomes = {Trial((lr,), 0, 10): Outcome(score, "steps", 10, 10, 0.1) for lr, score in scores.items()}
    return Sweep("gd", ("lr",), {"lr": list(scores)}, outcomes, "loss", False)


@pytest.mark.parametrize(("scores", "scale"), [((4.0, 1.0, 2.0), "linear"), ((40.0, 1.0, 2.0), "log")])
def test_a_sweep_over_one_setting_is_a_curve(scores: tuple[float, ...], scale: str) -> None:
    figure = heat_map(sweep_over(dict(zip((0.1, 0.2, 0.5), scores, strict=True))))
    (ax,) = figure.axes
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.column_stack([(0, 1, 2), scores]))
    assert ax.get_yscale() == scale
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.1", "0.2", "0.5"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title(loc="left")) == ("lr", "", "gd: loss")


def test_a_sweep_under_way_has_a_bar_of_progress() -> None:
    sweep = sweep_over({0.1: 1.0, 0.2: 2.0})
    assert not [text for text in heat_map(sweep).texts if "of" in text.get_text()]
    figure = heat_map(sweep, 1, 4)
    assert "1 of 4" in [text.get_text() for text in figure.texts]
    whole, done = (patch for patch in figure.findobj(Rectangle) if patch.get_height() == 0.025)
    assert done.get_width() == pytest.approx(whole.get_width() / 4)
    assert done.get_facecolor() == to_rgba(style.BLUE)


def test_kinds_of_tasks_differ_in_color_and_marker_and_are_named() -> None:
    points = np.arange(12.0).reshape(6, 2)
    found = TaskMap(points, np.array([0.7, 0.2]), np.array([0, 1, 1, 0, 1, 0]), ("sinusoid", "line"))
    (ax,) = charts.task_map(found).axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sinusoid", "line"]
    one, other = ax.collections
    np.testing.assert_array_equal(one.get_offsets(), points[[0, 3, 5]])
    assert tuple(one.get_facecolor()[0]) != tuple(other.get_facecolor()[0])
    assert len(one.get_paths()[0]) != len(other.get_paths()[0])
    (ax,) = charts.task_map(found._replace(kind=None)).axes
    assert ax.get_legend() is None


def test_the_legend_of_a_sketch_has_the_fonts_of_the_kit() -> None:
    figure, ax = mg.sketch("x", "y", alt="a line")
    ax.plot([1, 2], label="line")
    ax.legend(title="curves")
    figure.displayed(final=False)
    for text in (*ax.get_legend().get_texts(), ax.get_legend().get_title()):
        assert (text.get_fontsize(), text.get_color()) == (style.MEDIUM, style.SOFT)


def test_runs_with_fewer_rows_are_drawn_at_their_steps() -> None:
    given = {"loss": lambda w: w**2, "params": {"w": 1.0}, "lr": 0.1, "steps": 20}
    every, fifth = mg.train("gd", **given), mg.train("gd", record_every=5, **given)
    curves = [line.get_xydata() for line in overlaid_runs({"every": every, "fifth": fifth}).axes[0].lines]
    drawn = {len(xy): xy for xy in curves if len(xy) > 1}
    np.testing.assert_array_equal(drawn[21][:, 0], np.arange(21))
    np.testing.assert_array_equal(drawn[5], drawn[21][::5])


@pytest.mark.parametrize(
    ("schedule", "scale"), [("warmup:5,cosine", "linear"), ("cosine", "linear"), ("step:50:0.01", "log")]
)
def test_the_panel_of_a_scheduled_rate(schedule: str, scale: str) -> None:
    given: dict[str, Any] = {"loss": lambda w: (w - 3.0) ** 2, "params": {"w": 0.0}, "steps": 200, "lr": 0.1}
    run = mg.prepare("gd", **given, schedule=schedule)
    run.step(198)
    run.set(lr=0.02)
    run.step(2)
    (ax,) = [ax for ax in run.plot().axes if "learning rate" in ax.yaxis.label.get_text()]
    assert ax.get_yscale() == scale
    (line,) = [line for line in ax.get_lines() if len(line.get_xdata()) == 201]
    np.testing.assert_allclose(line.get_ydata(), run.record["lr"])
