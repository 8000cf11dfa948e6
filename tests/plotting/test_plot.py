"""The plot tells the truth of the record, costs the same however long it is, and can be read by everyone."""

from __future__ import annotations

import gc
import io
import itertools
import math
import subprocess
import weakref
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from standin_run import StandInRun, held_out
from strict import STRICT_PYTHON

import metagd_nb as mg
from metagd_nb.plotting import run_figure as plot
from metagd_nb.plotting import style as axes
from metagd_nb.plotting.downsample import MinMaxBuckets
from metagd_nb.plotting.figures import png
from metagd_nb.plotting.run_figure import LiveRunFigure, figure
from metagd_nb.plotting.style import ticks
from metagd_nb.training.adaptation import held_out_panel

RNG = np.random.default_rng(0)


def decay(n: int, top: float = 30.0, floor: float = 1.0) -> np.ndarray:
    return floor + top * np.exp(-5 * np.arange(n) / n)


def noisy(n: int) -> np.ndarray:
    return decay(n, 3, 0.4) * np.exp(0.35 * np.random.default_rng(1).standard_normal(n))


def loss_panel(shown: LiveRunFigure) -> Any:
    return shown.panels[0]


# ---- decimation --------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 200), max_size=12), st.integers(0, 3))
def test_buckets_hold_what_a_look_at_all_rows_finds(chunks: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(sum(chunks))
    values[rng.random(len(values)) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    buckets = MinMaxBuckets(16)
    start = 0
    for n in chunks:
        buckets.extend(values[start : start + n])
        start += n
    rows, drawn = buckets.extremes()
    assert buckets.rows == len(values)
    assert len(rows) <= 32
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(drawn, values[rows])  # every point is a row
    for i in range(0, len(values), buckets.width):
        finite = values[i : i + buckets.width][np.isfinite(values[i : i + buckets.width])]
        inside = drawn[(rows >= i) & (rows < i + buckets.width)]
        assert set(inside) == ({finite.min(), finite.max()} if len(finite) else set())


@given(st.integers(1, 700), st.integers(0, 3))
def test_stretches_hold_means_and_bounds(n: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(n)
    buckets = MinMaxBuckets(64)
    buckets.extend(values)
    x, mean, low, high = buckets.stretches(16)
    assert len(x) <= 16
    assert n < 16 or len(x) >= 8
    assert x[-1] == n - 1
    assert (low.min(), high.max()) == (values.min(), values.max())
    first = values[: round(2 * x[0] + 1)] if len(x) > 1 else values
    np.testing.assert_allclose(mean[0], first.mean(), atol=1e-12)
    assert ((low <= mean) & (mean <= high)).all()


def test_each_row_is_looked_at_once_and_a_long_record_gives_no_more_points() -> None:
    class Counting(StandInRun):
        read = 0

    run = Counting(steps=10**6)
    since = run.record.since

    def counted(column: str, start: int) -> np.ndarray:
        rows = since(column, start)
        if column == "grad_norm":
            run.read += len(rows)
        return rows

    run.record.since = counted  # type: ignore[method-assign]
    shown = LiveRunFigure(run)
    for _ in range(40):
        run.fill(decay(500))
        shown.pixels()
    assert run.read == len(run.record) == 20_000
    assert len(loss_panel(shown).curves[0].line.get_xydata()) <= 1024


# ---- what the curves say -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 300, 5000])
def test_the_line_keeps_first_last_lowest_and_highest_row(n: int) -> None:
    losses = decay(n) + RNG.random(n)
    shown = LiveRunFigure(StandInRun().fill(losses))
    shown.pixels()
    xy = loss_panel(shown).curves[0].line.get_xydata()
    assert xy[:, 1].min() == losses.min()
    assert xy[:, 1].max() == losses.max()
    np.testing.assert_array_equal(xy[:, 1], losses[xy[:, 0].astype(int)])
    smooth = LiveRunFigure(StandInRun().fill(decay(n)))
    smooth.pixels()
    xy = loss_panel(smooth).curves[0].line.get_xydata()
    assert tuple(xy[-1]) == (n - 1, decay(n)[-1])
    assert tuple(xy[0]) == (0, decay(n)[0])


def test_a_noisy_run_is_a_mean_in_a_band_that_holds_every_row() -> None:
    losses = noisy(3000)
    shown = LiveRunFigure(StandInRun(sampled=True).fill(losses))
    shown.pixels()
    curve = loss_panel(shown).curves[0]
    x, mean = curve.line.get_xydata().T
    assert x[-1] == 2999
    assert 32 <= len(x) <= 64
    width = round(2 * x[0] + 1)
    np.testing.assert_allclose(mean[3], losses[3 * width : 4 * width].mean())
    outline = curve.band.get_xy()
    assert outline[:, 1].min() == losses.min()
    assert outline[:, 1].max() == losses.max()
    short = LiveRunFigure(StandInRun(sampled=True).fill(losses[:100]))
    short.pixels()
    assert len(loss_panel(short).curves[0].line.get_xydata()) <= 16  # not the raw noise
    still = LiveRunFigure(StandInRun().fill(losses))
    still.pixels()
    assert len(loss_panel(still).curves[0].band.get_xy()) <= 1  # a full-batch run has no band


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [math.nan],
        [math.inf, -math.inf],
        [0.0] * 5,
        [2.5] * 5,
        [3.0, 1.0, 0.0, 0.0],
        [-1.0, 5.0, 1e4],
        [1e-320, 1e-310, 1.0],
        [1e308, -1e308, 1e300],
        [*(1e9 ** np.arange(35)), math.inf, math.nan],
        [1e-300, 1e300],
    ],
)
@pytest.mark.parametrize("sampled", [False, True])
def test_no_value_breaks_a_frame(losses: list[float], sampled: bool) -> None:
    run = StandInRun(sampled=sampled, references=[(0.0, "optimum"), (math.nan, "unknown"), (-3.0, "below")])
    shown = LiveRunFigure(run)
    for loss in losses:
        run.add(loss, loss)
        shown.pixels()
    run.stopped = "steps"
    shown.show(final=True)


def test_zero_and_negative_values_are_left_out_of_a_log_axis() -> None:
    shown = LiveRunFigure(StandInRun().fill([1e3, 1.0, 1e-3, 0.0]))
    shown.pixels()
    panel = loss_panel(shown)
    assert panel.log
    assert panel.ax.get_yscale() == "log"
    assert panel.ax.get_ylim()[0] > 1e-5
    assert "log" in panel.ax.get_ylabel()
    shown.run.add(-1.0)
    shown.pixels()
    assert panel.ax.get_yscale() == "linear"


def test_the_log_axis_is_decided_with_hysteresis() -> None:
    assert not axes.log_axis_helps(1, 20, False)
    assert axes.log_axis_helps(1, 20, True)
    assert axes.log_axis_helps(1, 40, False)
    assert not axes.log_axis_helps(1, 10, True)
    assert not axes.log_axis_helps(0, 10, True)


# ---- frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampled", [False, True])
def test_limits_grow_in_jumps_and_hold_the_data(sampled: bool) -> None:
    run = StandInRun(steps=20_000, sampled=sampled, references=[(1.0, "optimum"), (0.4, "noise")])
    shown = LiveRunFigure(run)
    for part in np.array_split(noisy(20_000) if sampled else decay(20_000), 200):
        run.fill(part)
        shown.pixels()
        for panel in shown.panels:
            (x0, x1), (y0, y1) = panel.ax.get_xlim(), panel.ax.get_ylim()
            for curve in panel.curves:
                assert x0 <= curve.x.min() <= curve.x.max() <= x1
                assert y0 <= curve.low.min() <= curve.high.max() <= y1
    assert shown.redraws <= 30  # of 200 frames


@pytest.mark.parametrize(("bottom", "top"), [(110, 390), (2.1, 4.9), (0.31, 0.99), (1e-7, 1.0), (1, 9), (5.1, 5.2)])
def test_a_log_axis_has_two_numbers_or_more(bottom: float, top: float) -> None:
    """One number alone tells nobody how far apart two heights are."""
    ax = Figure().add_subplot()
    ax.set_yscale("log")
    ax.set_ylim(bottom, top)
    ticks(ax, True, 4)
    assert sum(bottom <= mark <= top for mark in ax.get_yticks()) >= 2


def test_a_loss_that_is_never_negative_has_no_axis_below_zero() -> None:
    run = StandInRun().fill([5.0, 4.9])
    plot = LiveRunFigure(run)
    plot.refresh()
    run.fill(np.linspace(4.9, 0.5, 50))
    plot.refresh()  # grows by a jump
    bottom, top = plot.panels[0].ax.get_ylim()
    assert -0.05 * top <= bottom <= 0.5
    run.fill(np.linspace(0.5, -1.0, 50))
    plot.refresh()
    assert plot.panels[0].ax.get_ylim()[0] < -1.0


def test_a_cached_frame_is_pixel_for_pixel_a_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "held_out_panel", lambda loop: held_out())
    run = StandInRun("maml", {"inner_lr": 0.1, "meta_lr": 0.01}, True, references=[(3.0, "best")])
    run.fill(noisy(300))
    shown = LiveRunFigure(run)
    shown.pixels()
    redraws = shown.redraws
    run.fill(noisy(300)[-20:])
    quick = shown.pixels().copy()
    assert shown.redraws == redraws
    shown._background = None
    np.testing.assert_array_equal(quick, shown.pixels())
    assert shown.redraws == redraws + 1


def test_a_frame_moves() -> None:
    run = StandInRun().fill(decay(300)[:200])
    shown = LiveRunFigure(run)
    before = shown.pixels().copy()
    run.fill(decay(300)[200:240])
    assert (before != shown.pixels()).any()


def test_png_is_read_back_as_it_was() -> None:
    pixels = LiveRunFigure(StandInRun().fill(decay(50))).pixels()
    for level in (1, 9):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(pixels, level)))), pixels)


def test_the_final_frame_is_crisp_at_the_same_width() -> None:
    shown = LiveRunFigure(StandInRun().fill(decay(50)))
    (live, how), (final, finally_) = shown.show(), shown.show(final=True)
    assert how == finally_
    words = "gd: loss, gradient norm (log scale); step 49 of 500  ·  loss "
    assert how["image/png"].pop("alt").startswith(words)
    assert how == {"image/png": {"width": 720, "height": 320}}
    assert live["text/plain"] == final["text/plain"] == "metagd plot"
    assert Image.open(io.BytesIO(live["image/png"])).size == (720, 320)
    assert Image.open(io.BytesIO(final["image/png"])).size == (1440, 640)


def test_the_final_frame_draws_the_curves_and_fits_the_axes() -> None:
    run = StandInRun(steps=10_000).fill(decay(1200))
    run.stopped = "loss-below"
    still = figure(run)
    ax = still.axes[0]
    assert ax.get_xlim() == (0, 1199)
    canvas = FigureCanvasAgg(still)
    canvas.draw()
    blue = np.array([round(255 * c) for c in to_rgb(axes.BLUE)])
    assert (np.asarray(canvas.buffer_rgba())[..., :3] == blue).all(axis=-1).sum() > 200


# ---- panels ------------------------------------------------------------------------------------------------------


def test_the_rate_has_a_panel_only_when_it_moves() -> None:
    run = StandInRun().fill(decay(30))
    shown = LiveRunFigure(run)
    shown.pixels()
    assert [p.title for p in shown.panels] == ["loss", "gradient norm (log scale)"]
    run.rates["lr"] = 0.5
    run.fill(decay(10))
    shown.pixels()
    assert [p.title for p in shown.panels] == ["loss", "learning rate", "gradient norm (log scale)"]
    rate = shown.panels[1].curves[0].line.get_xydata()
    assert set(rate[:, 1]) == {0.1, 0.5}
    assert tuple(loss_panel(shown).curves[0].line.get_xydata()[-1]) == (39, decay(10)[-1])  # nothing is lost


def test_held_out_task_shows_support_truth_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "held_out_panel", lambda loop: held_out())
    run = StandInRun("maml", {"meta_lr": 1e-3}, True).fill(noisy(100))
    shown = LiveRunFigure(run)
    shown.pixels()
    assert shown.held_out is not None
    task = held_out()
    for drawn, y in (("truth", task.truth), ("before", task.before), ("after", task.after)):
        np.testing.assert_array_equal(getattr(shown.held_out, drawn).get_xydata()[:, 1], y)
    np.testing.assert_array_equal(shown.held_out.support.get_xydata()[:, 0], task.x_support)
    legend = [text.get_text() for text in shown.held_out.ax.get_legend().get_texts()]
    assert legend == ["support", "true curve", "before adapting", "after adapting"]
    monkeypatch.undo()
    assert LiveRunFigure(StandInRun()).held_out is None


def test_a_wild_prediction_does_not_take_the_task_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    def wild() -> Any:
        task = held_out()
        task.after = np.where(task.x > 0, 1e300, np.nan)
        task.truth = None
        return task

    monkeypatch.setattr(plot, "held_out_panel", lambda loop: wild())
    shown = LiveRunFigure(StandInRun("maml", {"meta_lr": 1e-3}, True).fill([1.0]))
    shown.pixels()
    assert shown.held_out is not None
    assert shown.held_out.ax.get_ylim()[1] < 40


def test_references_are_lines_labelled_for_what_they_are() -> None:
    run = StandInRun(references=[(1.0, "optimum"), (20.0, "best without adapting")]).fill(decay(400))
    shown = LiveRunFigure(run)
    shown.pixels()
    lines = {label.get_text(): (value, drawn) for value, drawn, label in loss_panel(shown).references}
    assert set(lines) == {"optimum", "best without adapting"}
    for value, drawn in lines.values():
        assert drawn.get_visible()
        assert set(drawn.get_ydata()) == {value}
    bottom, top = loss_panel(shown).ax.get_ylim()
    assert bottom < 1.0 < 20.0 < top


@pytest.mark.parametrize("losses", [decay(400), decay(400, 3e4), noisy(400), np.full(400, 4.0)])
def test_labels_keep_clear_of_the_curve_and_of_each_other(losses: np.ndarray) -> None:
    run = StandInRun(references=[(1.0, "optimum"), (4.25, "predicting 0"), (3.0, "best without adapting")])
    shown = LiveRunFigure(run)
    for part in np.array_split(losses, 20):
        run.fill(part)
        shown.pixels()
    panel = loss_panel(shown)
    curve = panel.ax.transData.transform(panel.curves[0].line.get_xydata())
    dense = np.linspace(0, len(curve) - 1, 20_000)
    curve = np.column_stack([np.interp(dense, np.arange(len(curve)), c) for c in curve.T])
    boxes = [label.get_window_extent() for _, _, label in panel.references if label.get_visible()]
    for box in boxes:
        inside = (curve > [box.x0, box.y0]) & (curve < [box.x1, box.y1])
        assert not inside.all(axis=1).any()
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


@pytest.mark.parametrize(
    ("stopped", "words"),
    [("steps", "all steps done"), ("loss-below", "loss low enough"), ("user", "stopped by hand"), ("odd", "odd")],
)
def test_the_summary_is_in_the_picture(stopped: str, words: str) -> None:
    run = StandInRun().fill([4.0, 2.0, 0.0312])
    assert plot.status(run) == "step 2 of 500  ·  loss 0.0312"
    run.loop.paused = True
    assert plot.status(run).startswith("paused at step 2")
    run.stopped, run.loop.note = stopped, "a line for the person"
    texts = [text.get_text() for text in figure(run).texts]
    assert f"{words}  ·  2 steps  ·  loss 4 → 0.0312" in texts
    assert run.note in texts
    assert run.plan.method in texts


# ---- for every eye -----------------------------------------------------------------------------------------------


def luminance(color: Any) -> float:
    channels = np.asarray(to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: Any, other: Any) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_no_single_ink_is_legible_on_both_themes_so_the_plot_has_its_own_surface() -> None:
    greys = [str(g) for g in np.linspace(0, 1, 256)]
    assert max(min(contrast(g, "#ffffff"), contrast(g, "#111111")) for g in greys) < 4.5
    for ink in (axes.INK, axes.SOFT, axes.WARN):
        assert contrast(ink, axes.SURFACE) >= 4.5
    for color in (axes.BLUE, axes.VERMILLION, axes.GREEN, axes.PURPLE, axes.REFERENCE):
        assert contrast(color, axes.SURFACE) >= 3


def test_the_picture_does_not_depend_on_the_theme_behind_it() -> None:
    pixels = LiveRunFigure(StandInRun().fill(decay(50))).pixels()
    opaque = pixels[..., 3] == 255
    assert opaque[12:-12].mean() > 0.99
    assert opaque[1:-1, 12:-12].all()
    assert pixels[0, 0, 3] == 0  # a rounded corner
    common = np.unique(pixels[opaque][:, :3], axis=0, return_counts=True)
    assert tuple(common[0][common[1].argmax()]) == tuple(round(255 * c) for c in to_rgb(axes.SURFACE))


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(color: str, seen: Any) -> np.ndarray:
    channels = np.asarray(to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(seen) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", ["all", *BLIND])
def test_colours_side_by_side_differ_for_the_colour_blind(kind: str) -> None:
    seen = BLIND.get(kind, np.eye(3))
    for together in ((axes.BLUE, axes.VERMILLION, axes.REFERENCE), (axes.VERMILLION, axes.PURPLE)):
        for one, other in itertools.combinations(together, 2):
            assert np.linalg.norm(lab(one, seen) - lab(other, seen)) > 15, (one, other)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1240, "1,240"), (0.0432, "0.0432"), (3.2e-7, "3.2·10⁻⁷"), (1e-9, "10⁻⁹"), (-2.5, "−2.5"),
        (999_999.6, "10⁶"), (9.99999, "10"), (math.inf, "∞"), (math.nan, "nan"), (1e-310, "10⁻³¹⁰"), (100, "100"),
        (2859.69, "2,860"), (12345.0, "12,345"),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(value: float, text: str) -> None:
    assert axes.number(value) == text


# ---- a good guest ------------------------------------------------------------------------------------------------


def test_the_readers_own_settings_change_nothing() -> None:
    run = StandInRun(references=[(1.0, "optimum")]).fill(decay(80))
    before = LiveRunFigure(run).pixels().copy()
    with style.context(["dark_background", "ggplot"]), mpl.rc_context({"font.size": 22, "lines.linewidth": 9}):
        np.testing.assert_array_equal(LiveRunFigure(run).pixels(), before)


def test_a_plot_is_garbage_when_its_run_is() -> None:
    run = StandInRun().fill(decay(50))
    shown = LiveRunFigure(run)
    shown.pixels()
    still = figure(run)
    watched = [weakref.ref(x) for x in (run, shown, shown.figure, still)]
    del run, shown, still
    gc.collect()
    assert [ref() for ref in watched] == [None] * 4


def test_pyplot_and_widgets_stay_unloaded() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/helpers'); from standin_run import StandInRun\n"
        "from metagd_nb.plotting.run_figure import figure\n"
        "figure(StandInRun().fill([2, 1])); "
        "assert not {'matplotlib.pyplot', 'IPython', 'ipywidgets'} & set(sys.modules)"
    )
    subprocess.run([*STRICT_PYTHON, "-c", code], check=True)


def test_a_figure_shows_itself_in_a_notebook() -> None:
    data, metadata = figure(StandInRun().fill(decay(50)))._repr_mimebundle_()
    assert data["text/plain"] == "metagd plot"
    assert Image.open(io.BytesIO(data["image/png"])).width == 2 * metadata["image/png"]["width"]


# ---- real runs ---------------------------------------------------------------------------------------------------


def test_a_real_descent_plots_its_record() -> None:
    x = RNG.standard_normal((50, 3))
    run = mg.train("gd", model=mg.linear(3), x=x, y=x @ [1.0, 2.0, 3.0] + RNG.standard_normal(50), lr=0.1, steps=80)
    still = run.plot()
    line = max(still.axes[0].lines, key=lambda one: len(one.get_xydata()))
    np.testing.assert_array_equal(line.get_xydata()[:, 1], run.record["loss"])
    assert [r.label for r in run.plan.references] == [t.get_text() for t in still.axes[0].texts]


def test_a_real_maml_run_has_its_task_panel() -> None:
    run = mg.train("maml", model=mg.mlp(1, 8, 1), tasks=mg.sinusoid(), inner_lr=0.01, steps=30, seed=0)
    shown = LiveRunFigure(run)
    shown.show(final=True)
    panel = held_out_panel(run.loop)
    assert shown.held_out is not None
    np.testing.assert_array_equal(shown.held_out.after.get_xydata()[:, 1], panel.after)
    assert "query loss" in loss_panel(shown).ax.get_ylabel()
