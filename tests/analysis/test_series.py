"""Series as tasks and forecasts of them: windows that never look ahead, laws that are recovered, scores by hand."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb import charts
from metagd_nb.analysis.in_context import InContext
from metagd_nb.core.errors import MetagdError
from metagd_nb.sequences import (
    Forecaster,
    Scores,
    autoregression,
    conformal,
    drift,
    exponential_smoothing,
    forecasts,
    in_context,
    in_logs,
    naive,
    over_series,
    seasonal_naive,
    smape,
    unit_of,
)
from metagd_nb.tasks import m1_yearly, stocks
from metagd_nb.tasks.synthetic.series_generators import GENERATORS
from metagd_nb.tasks.user_data.series_tasks import Series

TIDY = {"v": np.arange(1, 25), "g": list("ab") * 12}
ROWS = np.arange(60.0).reshape(3, 20) ** 1.5


def draw(family: Any, n: int = 40, shots: int = 5, queries: int = 4, seed: int = 0) -> Any:
    return family.sample(np.random.default_rng(seed), 1, n, shots, queries)


# ---- windows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "horizon"), [(1, 1), (3, 1), (4, 2), (2, 5)])
def test_no_window_looks_ahead(window: int, horizon: int) -> None:
    """On y_t = t² a step from t is 2t + 1: it tells the time of every window. Queries ask for what nobody has seen."""
    made = mg.series(lambda rng, tasks, length: np.tile(np.arange(length) ** 2.0, (tasks, 1)), window, horizon)
    batch = draw(made, n=3)

    # The unit is known: the mean step of the values that teach, which begin at 0 and end at K + W + H − 2
    last = 5 + window + horizon - 2
    unit = np.diff(np.arange(last + 1) ** 2.0).mean()
    x, y = batch.support.x[0] * unit, batch.support.y[0] * unit
    t = np.rint((y[:, 0] - 1) / 2)  # the time of each window's last value
    np.testing.assert_array_equal(t, window - 1 + np.arange(5))
    qx, qy = batch.query.x[0] * unit, batch.query.y[0] * unit
    q = np.rint((qy[:, 0] - 1) / 2)
    np.testing.assert_array_equal(q, t[-1] + horizon + np.arange(4))
    assert q[0] == last  # the first forecast is of the very next value that nobody has seen
    for rows, ends in ((x, t), (qx, q)):
        expected = (ends[:, None] - np.arange(window - 1, -1, -1)) ** 2 - ends[:, None] ** 2
        np.testing.assert_allclose(rows, expected, atol=1e-9)
    np.testing.assert_allclose(qy, (q[:, None] + np.arange(1, horizon + 1)) ** 2 - q[:, None] ** 2)


def test_what_is_to_be_forecast_changes_no_unit() -> None:
    """The same past with another future: support and query inputs are the same to the bit."""
    rng = np.random.default_rng(0)
    past = rng.standard_normal((30, 12)).cumsum(axis=1)
    calm, wild = (np.hstack([past, size * rng.standard_normal((30, 2))]) for size in (1.0, 1000.0))
    one, other = (draw(mg.series(values, 3, 2), n=30, shots=8, queries=1) for values in (calm, wild))
    np.testing.assert_array_equal(one.support.x, other.support.x)
    np.testing.assert_array_equal(one.support.y, other.support.y)
    np.testing.assert_array_equal(one.query.x, other.query.x)
    assert np.abs(other.query.y).max() > 50 * np.abs(one.query.y).max()


def test_a_short_series_repeats_its_windows_and_never_reads_past_its_end() -> None:
    values = [np.arange(7.0) ** 2, np.arange(40.0) ** 2]
    batch = draw(mg.series(values, 3, 1), n=200, shots=6, queries=5)
    for t in range(200):
        teach, ask = batch.support.y[t, :, 0], batch.query.y[t, :, 0]
        assert ask.min() > teach.max()  # steps of t² grow: later is larger
    short = [t for t in range(200) if len(np.unique(batch.support.y[t])) < 6]
    assert 80 <= len(short) <= 120
    assert {len(np.unique(batch.support.y[t])) for t in short} == {3}  # 7 values: 4 windows, one of which asks
    assert {len(np.unique(batch.query.y[t].round(9))) for t in short} == {1}


def test_every_series_is_dealt_and_none_twice_too_soon() -> None:
    family = mg.series(np.random.default_rng(0).standard_normal((10, 20)), 2, 1)
    assert family.n_available == len(family) == 10
    first = draw(family, n=10, shots=17, queries=1)
    assert len(np.unique(first.query.x[:, 0, 0].round(9))) == 10


def test_a_frame_is_what_training_sees() -> None:
    family = mg.series(ROWS, 3, 2)
    batch = family.sample(np.random.default_rng(0), 1, 3, 14, 1)  # fills a series: 14 windows teach, one asks
    for row in ROWS:
        history = row[:18]
        x, y, scale = family.frame(history, 14)
        of = int(np.argmin(np.abs(batch.support.x - x).sum(axis=(1, 2))))
        np.testing.assert_allclose(batch.support.x[of], x, atol=1e-12)
        np.testing.assert_allclose(batch.support.y[of], y, atol=1e-12)
        assert scale == pytest.approx(np.abs(np.diff(history)).mean())
    with pytest.raises(MetagdError, match=r"^history: has 4 values; needs 5$"):
        family.frame(np.arange(4.0), 3)
    np.testing.assert_array_equal(mg.series(np.ones((2, 9)), 2).frame(np.ones(5), 2).x, 0)  # no step, no unit


def test_tables_and_lists_are_the_same_series() -> None:
    pandas = pytest.importorskip("pandas")
    columns = {
        "year": np.tile(np.arange(20), 3)[::-1],
        "firm": np.repeat(["c", "b", "a"], 20),
        "sales": ROWS[::-1, ::-1].ravel(),
    }
    plain = mg.series(ROWS, 3)
    listed = mg.series([list(row) for row in ROWS], 3)
    tables = [mg.series(t, 3, value="sales", group="firm", time="year") for t in (columns, pandas.DataFrame(columns))]
    for family in (listed, *tables):
        for one, other in zip(family.values, plain.values, strict=True):
            np.testing.assert_array_equal(one, other)
    assert tables[0].names.tolist() == ["a", "b", "c"]
    assert repr(plain) == "series(3 of 20–20 values, window=3, horizon=1)"


def test_split_chosen_and_without_last() -> None:
    family = mg.series([np.arange(10.0 + i) for i in range(12)], 2)
    one, other = family.split(0.75, seed=1)
    assert (len(one), len(other)) == (9, 3)
    assert sorted([*one.names, *other.names]) == list(range(12))
    assert [len(v) for v in family.without_last(3).values] == list(range(7, 19))
    assert family.subset([2, 0]).names.tolist() == [2, 0]
    assert family.with_horizon(2).outputs == 2
    for call in (lambda: mg.series("walk").split(), lambda: mg.series("walk").without_last(2)):
        with pytest.raises(MetagdError, match="is for series that are given; a generator makes new ones each time"):
            call()
    with pytest.raises(MetagdError, match=r"^fraction: 0\.01 of 12 series leaves one side empty$"):
        family.split(0.01)


@pytest.mark.parametrize("make", [
    lambda: mg.series("ar2", 2),
    lambda: mg.series([np.arange(9.0) ** i for i in (1, 2, 3)], 2, 2, names=["a", "b", "c"]),
    lambda: mg.series(TIDY, 2, value="v", group="g", log=True).without_last(2),
    lambda: mg.series(ROWS, 2).split(0.6)[1],
    lambda: mg.series(np.where(np.isclose(ROWS, ROWS[1, 9]), np.nan, ROWS), 2, gaps="split").split(0.6)[1],
])  # fmt: skip
def test_series_are_kept_in_a_file(make: Any, tmp_path: Any) -> None:
    run = mg.train("maml", model=mg.mlp(2, 4, make().outputs), tasks=make(), steps=3, shots=3)
    run.save(tmp_path / "run.metagd")
    again = mg.load(tmp_path / "run.metagd")
    np.testing.assert_array_equal(again.evaluate(n_tasks=3).mean, run.evaluate(n_tasks=3).mean)
    np.testing.assert_array_equal(again.plan.tasks.names, run.plan.tasks.names)


def test_names_are_one_a_series() -> None:
    assert mg.series(ROWS, 2, names=list("xyz")).subset([1]).names.tolist() == ["y"]
    with pytest.raises(MetagdError, match=r"^names: has 2 names for 3 series$"):
        mg.series(ROWS, 2, names=["x", "y"])


def test_logarithms() -> None:
    growth = mg.series([np.exp(0.1 * np.arange(20.0)), np.exp(0.5 * np.arange(20.0))], 2, log=True)
    batch = draw(growth, n=2)
    np.testing.assert_allclose(batch.query.y, 1.0)  # in logs, a share a step is one unit a step
    np.testing.assert_allclose(growth.inverse_transform(growth.transform(np.array([1.0, 7.0]))), [1, 7])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: mg.series("ar3"), r"^unknown generator 'ar3'; did you mean 'ar2'\?$"),
        (lambda: mg.series(3), r"^data: 3 is no array, list, table, generator or name$"),
        (
            lambda: mg.series(np.arange(9.0)),
            r"^data: must hold several series: an array \(S, L\), or a list",
        ),
        (lambda: mg.series([[1.0, np.nan]]), r"^data\[0\]: holds 1 values that are not finite"),
        (lambda: mg.series([np.ones((3, 2))]), r"^data\[0\]: has shape \(3, 2\); a series is one row of numbers$"),
        (
            lambda: mg.series([np.arange(4.0)], 3),
            r"^window: of 3 and horizon 1 need 5 values a series; 1 have fewer",
        ),
        (lambda: mg.series(ROWS, 0), r"^window: 0 is not allowed; needs a whole number ≥ 1"),
        (lambda: mg.series(ROWS, 3, -1), r"^horizon: -1 is not allowed"),
        (lambda: mg.series(-ROWS - 1, 3, log=True), r"^log: needs values > 0$"),
        (lambda: mg.series({"a": [1], "b": [2]}), r"^value: must name a column of the table: a, b$"),
        (lambda: mg.series({"alpha": [1], "b": [2]}, value="alpa", group="b"), r"^value: 'alpa' is no column; did you"),
        (
            lambda: mg.series({"a": [1], "b": [2]}, value="a", group="b", time="c"),
            r"^time: 'c' is no column; there",
        ),
        (
            lambda: mg.series(lambda rng, tasks, length: np.ones(3)),
            r"^generator: gives shape \(3, 1\); needs",
        ),
        (lambda: mg.series(mg.series("walk")), r"^data: is a family already$"),
    ],
)
def test_series_refuse(make: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line) as caught:
        make()
    assert "\n" not in str(caught.value)


# ---- missing rows, times and short series ---------------------------------------------------------------------------


def monthly(missing: tuple[int, ...] = (), n: int = 60, frequency: str = "MS", shuffled: bool = True) -> Any:
    """Two seasonal series in a long table, "a" without the rows ``missing``."""
    pandas = pytest.importorskip("pandas")
    t = np.arange(n)
    one = pandas.DataFrame({"when": pandas.date_range("2020-01-01", periods=n, freq=frequency), "y": t % 12.0})
    table = pandas.concat([one.drop(index=list(missing)).assign(id="a"), one.assign(id="b", y=t**2.0)])
    return table.sample(frac=1, random_state=0) if shuffled else table


def read(table: Any, gaps: str | None = None, **more: Any) -> Series:
    return mg.series(table, 3, value="y", group="id", time="when", gaps=gaps, **more)


@pytest.mark.parametrize("frequency", ["MS", "ME", "D", "B", "W", "h", "15min", "QS", "YE", "2W"])
def test_the_frequency_is_inferred_and_missing_rows_are_refused(frequency: str) -> None:
    np.testing.assert_array_equal(read(monthly(frequency=frequency)).values[0], np.arange(60) % 12)
    table = monthly((20, 21, 40), frequency=frequency)
    with pytest.raises(
        MetagdError, match=r"^when: rows are missing in 1 series \(2 of a between .* and .*\); gaps='sp"
    ):
        read(table)
    split, filled = read(table, "split"), read(table, "interpolate")
    assert split.names.tolist() == ["a", "a", "a", "b"]
    assert [len(one) for one in split.values] == [20, 18, 19, 60]
    np.testing.assert_array_equal(split.values[1], np.arange(22, 40) % 12)
    expected = np.arange(60) % 12.0
    expected[[20, 21, 40]] = [8, 9, 4]  # between 7 and 10, 3 and 5
    np.testing.assert_allclose(filled.values[0], expected)


@pytest.mark.parametrize("day", [15, 28])
def test_monthly_dates_may_lie_on_any_day(day: int) -> None:
    pandas = pytest.importorskip("pandas")
    table = monthly((7,))
    table["when"] += pandas.Timedelta(days=day - 1)
    assert [len(one) for one in read(table, "split").values] == [7, 52, 60]


@pytest.mark.parametrize("form", [
    lambda when: when.dt.to_period("M"),
    lambda when: when.dt.date,
    lambda when: when.dt.tz_localize("Europe/Berlin"),
    lambda when: when.dt.year + (when.dt.month - 1) / 12,
    lambda when: (when.dt.year + (when.dt.month - 1) / 12).round(3),
    lambda when: 12 * when.dt.year + when.dt.month,
    lambda when: 12 * (12 * when.dt.year + when.dt.month),
])  # fmt: skip
def test_times_of_other_kinds(form: Any) -> None:
    table = monthly((20, 21, 40))
    table["when"] = form(table["when"])
    assert [len(one) for one in read(table, "split").values] == [20, 18, 19, 60]


def test_durations_are_times() -> None:
    table = monthly((20,), frequency="h")
    table["when"] -= table["when"].min()
    assert [len(one) for one in read(table, "split").values] == [20, 39, 60]


def test_each_series_may_have_its_own_frequency() -> None:
    """Months of one kind and days of another, which the months' dates do not fit."""
    pandas = pytest.importorskip("pandas")
    one, other = monthly((20,)), monthly(frequency="D")
    other["when"] += pandas.Timedelta(hours=6)
    other["id"] += "2"
    assert [len(x) for x in read(pandas.concat([one, other]), "split").values] == [20, 39, 60, 60, 60]


@pytest.mark.parametrize("gaps", [None, "split"])
def test_times_without_a_frequency_are_refused(gaps: str | None) -> None:
    pandas = pytest.importorskip("pandas")
    when = pandas.Timestamp("2020-01-01") + pandas.to_timedelta(np.cumsum([1, 3, 7, 2, 9, 4, 11]), unit="h")
    line = r"^when: has no regular frequency in series a \(steps of .* and .*\); resample it, or sort the table and"
    for times in (when, np.cumsum([1, 1.5, 7, 2.2, 9, 4, 11])):
        with pytest.raises(MetagdError, match=line):
            read({"when": times, "id": ["a"] * 7, "y": range(7)}, gaps)


@pytest.mark.parametrize(
    ("times", "line"),
    [
        (
            ["1/2020", "10/2020", "11/2020"],
            r"holds dates as text \('1/2020'\); convert them: .* = pd.to_datetime\(table",
        ),
        (["2020-01-01", "2020-02-01", "2020-03-01"], r"holds dates as text"),
        (["8", "9", "10"], r"holds numbers as text \('8'\); convert them: table\['when'\] = table\['when'\]\.astype"),
        ([20200131, 20200201, 20200202], r"holds dates as numbers \(20200131\); .*format='%Y%m%d'\)$"),
        ([202011, 202012, 202101], r"holds dates as numbers \(202011\); .*format='%Y%m'\)$"),
        ([1.0, np.nan, 2.0], r"has 1 missing labels"),
        ([1.0, 2.0, np.inf], r"holds times that are not finite"),
        ([1, 2, 2], r"1 rows repeat the series and time of another, as a at 2; keep one each$"),
    ],
)
def test_times_are_refused_by_name(times: Any, line: str) -> None:
    with pytest.raises(MetagdError, match="^when: " + line) as caught:
        read({"when": times, "id": ["a"] * 3, "y": range(3)}, "split")
    assert "\n" not in str(caught.value)


def test_repeated_rows_are_named() -> None:
    pandas = pytest.importorskip("pandas")
    table = monthly()
    with pytest.raises(MetagdError, match=r"^when: 2 rows repeat .* as \w at 20\d\d-\d\d-01; keep one each$"):
        read(pandas.concat([table, table[:2]]))


@pytest.mark.parametrize("dtype", ["float64", "Float64", "Int64", "object"])
def test_missing_values_are_gaps_too(dtype: str) -> None:
    table = monthly(shuffled=False)
    table.loc[table["y"] == 7, "y"] = np.nan
    table = table[table["id"] == "a"]
    table["y"] = table["y"].astype(dtype)
    with pytest.raises(MetagdError, match=r"^y: holds 5 values that are not finite \(first in row 7\); gaps='split'"):
        read(table)
    with pytest.warns(UserWarning, match=r"1 have fewer \(a has 4\), left out; 5 are used$"):
        assert [len(one) for one in read(table, "split").values] == [7, 11, 11, 11, 11]
    np.testing.assert_array_equal(read(table, "interpolate").values[0], np.arange(60) % 12)


def test_arrays_may_have_gaps() -> None:
    rows = np.array([[np.nan, 1, 2, 3, np.nan, 5, 6, 7, 8, np.nan], np.arange(10.0)])
    for data in (rows, [list(row) for row in rows]):
        with pytest.raises(MetagdError, match=r"^data\[0\]: holds 3 values that are not finite .*; gaps='split' cuts"):
            mg.series(data, 1)
        split, filled = mg.series(data, 1, gaps="split", names=["a", "b"]), mg.series(data, 1, gaps="interpolate")
        assert (split.names.tolist(), [len(one) for one in split.values]) == (["a", "a", "b"], [3, 4, 10])
        np.testing.assert_array_equal(filled.values[0], np.arange(1, 9))
    for gaps, line in (
        ("split", r"^data\[0\]: holds 1 values that are not finite \(first in row 1\)$"),
        ("fill", r"^unknown gaps 'fill'; allowed: split, interpolate$"),
    ):
        with pytest.raises(MetagdError, match=line):
            mg.series([[1.0, np.inf, 3.0, 4.0]], 1, gaps=gaps)


def test_pieces_of_a_series_are_held_out_together() -> None:
    rows = np.tile(np.arange(24.0), (12, 1))
    rows[:, [7, 15]] = np.nan
    for seed in range(5):
        parts = mg.series(rows, 2, gaps="split").split(0.75, seed=seed)
        assert [len(np.unique(part.names)) for part in parts] == [9, 3]
        assert [len(part) for part in parts] == [27, 9]
        assert not set(parts[0].names) & set(parts[1].names)


def test_short_series_are_left_out_with_a_warning() -> None:
    values = [np.arange(n) ** 1.5 for n in (20, 4, 9, 3)]
    line = r"^window of 3 and horizon 1 need 5 values a series; 2 have fewer \(b has 4\), left out; 2 are used$"
    with pytest.warns(UserWarning, match=line) as caught:
        family = mg.series(values, 3, names=list("abcd"))
    assert caught[0].filename == __file__
    assert family.names.tolist() == ["a", "c"]
    assert family.n_available == len(family) == 2
    with pytest.warns(UserWarning, match=r"1 have fewer \(c has 4\), left out"):
        assert len(family.without_last(5)) == 1


# ---- generators -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(GENERATORS))
def test_generators(name: str) -> None:
    made = [GENERATORS[name](np.random.default_rng(s), 50, 30) for s in (0, 0, 1)]
    assert made[0].shape == (50, 30)
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).all()
    assert np.isfinite(made[0]).all()
    assert len(np.unique(made[0].std(axis=1))) == 50  # numbers of its own for each


def test_generators_follow_their_laws() -> None:
    rng = np.random.default_rng(0)
    waves = GENERATORS["damped"](rng, 40, 60)
    for y in waves:  # a damped oscillation obeys a linear recursion of order 2, exactly
        a, b = np.linalg.lstsq(np.stack([y[1:-1], y[:-2]], 1), y[2:], rcond=None)[0]
        np.testing.assert_allclose(y[2:], a * y[1:-1] + b * y[:-2], atol=1e-9)
        assert np.exp(-2 / 10) - 1e-9 <= -b <= np.exp(-2 / 60) + 1e-9
    chaos = GENERATORS["logistic"](rng, 40, 60)
    r = chaos[:, 1:] / (chaos[:, :-1] * (1 - chaos[:, :-1]))
    np.testing.assert_allclose(r, r[:, :1] * np.ones_like(r), rtol=1e-6)
    assert 3.6 <= r.min() <= r.max() <= 4
    steps = np.diff(GENERATORS["walk"](rng, 4000, 101), axis=1)
    assert steps.std(axis=1).mean() == pytest.approx(1, rel=0.01)
    assert steps.mean(axis=1).std() == pytest.approx(np.sqrt(0.25 + 0.01), rel=0.05)
    noisy = GENERATORS["ar2"](rng, 500, 400)
    fits = [np.linalg.lstsq(np.stack([y[1:-1], y[:-2]], 1), y[2:], rcond=None) for y in noisy]
    assert np.mean([residual[0] / 398 for _, residual, *_ in fits]) == pytest.approx(1, rel=0.02)
    radius = np.sqrt([-fit[0][1] for fit in fits])
    assert 0.75 < radius.mean() < 0.82  # the mean of .6 … .98, a little less as estimates are


# ---- what needs no learning -----------------------------------------------------------------------------------------


def test_baselines_by_hand() -> None:
    y = np.array([1.0, 4.0, 2.0, 7.0])
    np.testing.assert_array_equal(naive(y, 3), [7, 7, 7])
    np.testing.assert_array_equal(drift(y, 3), [9, 11, 13])
    np.testing.assert_array_equal(seasonal_naive(2)(y, 5), [2, 7, 2, 7, 2])
    np.testing.assert_allclose(in_logs(drift)(np.array([1.0, 2.0, 4.0]), 2), [8, 16])
    with pytest.raises(MetagdError, match=r"^history: has 4 values; a season has 5$"):
        seasonal_naive(5)(y, 1)


def test_autoregression_is_exact_where_the_law_is() -> None:
    for make in ("damped", "modulated"):
        y = GENERATORS[make](np.random.default_rng(3), 1, 80)[0]
        found = autoregression(2 if make == "damped" else 6)(y[:60], 20)
        np.testing.assert_allclose(found, y[60:], atol=1e-6)
    np.testing.assert_allclose(
        autoregression(1)(3 + 2 * np.arange(10.0), 3), [23, 25, 27], atol=1e-9
    )  # a constant step
    np.testing.assert_allclose(autoregression(3)(np.full(9, 5.0), 2), [5, 5])
    assert np.isfinite(autoregression(5)(np.array([1.0, 2.0, 4.0]), 3)).all()
    rng = np.random.default_rng(0)
    y = rng.standard_normal(300).cumsum()
    rows = np.stack([np.ones(298), y[1:-1], y[:-2]], 1)
    weights = np.linalg.lstsq(rows, y[2:], rcond=None)[0]
    one = weights @ [1, y[-1], y[-2]]
    np.testing.assert_allclose(autoregression(2)(y, 2), [one, weights @ [1, one, y[-1]]], rtol=1e-8)


def test_exponential_smoothing_is_statsmodels() -> None:
    holt = pytest.importorskip("statsmodels.tsa.holtwinters")
    y = np.random.default_rng(0).standard_normal(40).cumsum() + 0.5 * np.arange(40)
    unit = np.abs(y).max()
    model = holt.ExponentialSmoothing(y / unit, trend="add", damped_trend=True, initialization_method="estimated")
    np.testing.assert_allclose(exponential_smoothing()(y, 4), unit * model.fit().forecast(4))


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "statsmodels.tsa.holtwinters", None)
    with pytest.raises(MetagdError, match=r"needs statsmodels: pip install 'metagd-nb\[sequences\]'$"):
        exponential_smoothing()


# ---- in context (O3) ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5, 10, 19, 20])
def test_in_context_regression_has_the_errors_of_theory(k: int) -> None:
    """x, w ~ N(0, I_20): squared error of d after k examples, with least squares, averaging, one best step."""
    d, tasks = 20, 4000
    known = {"step": (d + 1) / (k + d + 1), "mean": (d + 1) / k, "least squares": max(0.0, 1 - k / d)}
    batch = draw(mg.regression(d), n=tasks, shots=k, queries=20, seed=k)
    x, y = batch.support.x, batch.support.y
    made = {
        "step": InContext(k / (k + d + 1) * np.eye(d), False).predict(x, y, batch.query.x),
        "mean": InContext(np.eye(d), False).predict(x, y, batch.query.x),
        "least squares": batch.query.x @ np.linalg.pinv(x) @ y,
    }
    for name, prediction in made.items():
        each = ((prediction - batch.query.y) ** 2).mean(axis=(1, 2)) / d
        assert abs(each.mean() - known[name]) < 4 * each.std() / np.sqrt(tasks) + 1e-12, name


def test_the_predictor_that_is_learned_is_the_best_step() -> None:
    d, k = 4, 6
    found = in_context(mg.regression(d), shots=k, n_tasks=60_000)
    np.testing.assert_allclose(found.gamma, k / (k + d + 1) * np.eye(d), atol=0.03)
    batch = draw(mg.regression(d), n=20_000, shots=k, queries=5)
    error = ((found.predict(batch.support.x, batch.support.y, batch.query.x) - batch.query.y) ** 2).mean() / d
    assert error == pytest.approx((d + 1) / (k + d + 1), rel=0.03)
    predict = found.adapt(batch.support.x[0], batch.support.y[0])
    by_hand = batch.query.x[0] @ found.gamma @ (batch.support.x[0].T @ batch.support.y[0]) / k
    np.testing.assert_allclose(predict(batch.query.x[0]), by_hand)


def test_gamma_is_the_least_squares_solution() -> None:
    """No other Γ has a smaller error on the tasks it was fitted to."""
    family = mg.series("ar2", 3)
    found = in_context(family, shots=5, n_tasks=300, bias=True, ridge=0.0, seed=4)
    rng = np.random.default_rng([4, 0x1C])
    support, query = family.sample(rng, 1, 300, 5, 5)

    def error(gamma: np.ndarray) -> float:
        made = InContext(gamma, True).predict(support.x, support.y, query.x)
        return float(((made - query.y) ** 2).mean())

    least = error(found.gamma)
    for _ in range(20):
        assert least < error(found.gamma + 1e-3 * rng.standard_normal(found.gamma.shape))


# ---- forecasters ----------------------------------------------------------------------------------------------------


def least_squares(x: np.ndarray, y: np.ndarray) -> Any:
    weights = np.linalg.lstsq(x, y, rcond=1e-10)[0]
    return lambda new: new @ weights


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_a_forecaster_forecasts_directly_and_recursively(horizon: int) -> None:
    """Adapted by least squares on a straight line, exact either way: 5 values at once, 2 and 2 and 1, one by one."""
    for log in (False, True):
        line = 5 + 3 * np.arange(13.0)
        family = mg.series([np.exp(0.1 * line) if log else line] * 2, 3, horizon, log=log)
        made = Forecaster(least_squares, family, 4)(family.values[0], 5)
        expected = 5 + 3 * np.arange(13, 18)
        np.testing.assert_allclose(made, np.exp(0.1 * expected) if log else expected, rtol=1e-9)


def test_a_recursive_forecast_feeds_on_itself() -> None:
    """y_{t+1} − y_t = (y_t − y_{t−1})/2: known steps halve."""
    y = np.cumsum(0.5 ** np.arange(10.0))
    family = mg.series([y, y], 2, 1)
    made = Forecaster(lambda x, t: lambda new: -0.5 * new[:, :1], family, 3)(y, 4)
    np.testing.assert_allclose(made, y[-1] + np.cumsum(0.5 ** np.arange(10.0, 14.0)))


@pytest.mark.parametrize("method", ["maml", "anil", "meta-sgd"])
def test_meta_learning_forecasts_better_than_the_last_value(method: str) -> None:
    """The quick version of tests/bench/claims/series.md, on damped oscillations."""
    family = mg.series("damped", window=4)
    run = mg.train(method, model=mg.mlp(4, 16, 1, activation="tanh"), tasks=family, inner_lr=0.05, shots=8,
                   steps=400, meta_lr=0.01)  # fmt: skip
    values = list(GENERATORS["damped"](np.random.default_rng(9), 60, 40))
    learned, last = (forecasts(m, values, 3) for m in (Forecaster(run.adapt, family, 8), naive))
    gain = last.mase - learned.mase
    assert over_series(gain)[0] > over_series(gain)[1]


def test_a_bayesian_last_layer_forecasts() -> None:
    from metagd_nb.analysis.bayesian_last_layer import bayesian_last_layer

    family = mg.series("damped", window=4)
    run = mg.train("maml", model=mg.mlp(4, 12, 1, activation="tanh"), tasks=family, steps=50)
    made = Forecaster(bayesian_last_layer(run, points=8, n_tasks=100).adapt, family, 8)
    values = list(GENERATORS["damped"](np.random.default_rng(9), 30, 40))
    assert forecasts(made, values, 3).mase.mean() < forecasts(naive, values, 3).mase.mean()


# ---- scores ---------------------------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    assert unit_of(np.array([1.0, 3.0, 2.0])) == 1.5
    assert unit_of(np.array([1.0, 3.0, 2.0, 7.0]), 2) == 2.5
    assert unit_of(np.ones(4)) == 1
    np.testing.assert_allclose(smape(np.array([100.0, 0.0]), np.array([50.0, 0.0])), [200 * 50 / 150, 0])
    found = forecasts(naive, [np.array([1.0, 3.0, 2.0, 5.0, 2.5]), np.array([0.0, 4.0, 8.0, 8.0, 9.0])], 2)
    np.testing.assert_allclose(found.mase, [[3 / 1.5, 0.5 / 1.5], [0, 1 / 4]])
    np.testing.assert_allclose(over_series(found.mase)[0], found.mase.mean())
    assert over_series(found.mase)[1] == pytest.approx(
        12.70620474 * np.std(found.mase.mean(axis=1), ddof=1) / np.sqrt(2)
    )
    assert np.isnan(found.half).all()
    assert repr(found).startswith("2 series, 2 ahead: MASE 0.646 ± ")
    both = found.joined(found)
    assert both.forecast.shape == (4, 2)


def test_intervals_hold_what_they_promise() -> None:
    """The rank by hand, and coverage over fresh series at least the level, at each horizon."""
    errors = np.arange(1.0, 20.0)[:, None] * [1, -2]
    np.testing.assert_array_equal(conformal(errors, 0.9), [18, 36])  # ⌈20 × .9⌉ = 18
    assert np.isinf(conformal(errors[:5], 0.9)).all()
    rng = np.random.default_rng(0)
    walks = lambda n: list(rng.standard_normal((n, 30)).cumsum(axis=1))  # noqa: E731
    found = forecasts(naive, walks(2000), 4, calibrate=walks(400), level=0.8)
    np.testing.assert_allclose(found.covered.mean(axis=0), 0.8, atol=0.06)
    assert (np.diff(found.half / found.unit[:, None], axis=1) > 0).all()  # further ahead, less certain
    np.testing.assert_array_equal(found.covered, np.abs(found.actual - found.forecast) <= found.half)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: forecasts(naive, [np.arange(3.0)], 2), r"^series: of 3 values has no history before its last 2$"),
        (lambda: forecasts(lambda h, n: np.ones(3), [np.arange(9.0)], 2), r"^method: gives array\(.*needs 2 finite"),
        (lambda: forecasts(lambda h, n: np.full(2, np.nan), [np.arange(9.0)], 2), r"^method: gives .*needs 2 finite"),
        (lambda: conformal(np.ones((5, 1)), 1.0), r"^level: 1 is not allowed; needs a number > 0 and < 1$"),
        (lambda: autoregression(0), r"^order: 0 is not allowed"),
        (lambda: seasonal_naive(0), r"^period: 0 is not allowed"),
    ],
)
def test_forecasts_refuse(call: Any, line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        call()


# ---- real series ----------------------------------------------------------------------------------------------------


def test_m1_yearly_is_the_set_that_was_published() -> None:
    family = m1_yearly()
    assert (len(family), family.names[0], family.names[-1]) == (181, "T1", "T181")
    lengths = [len(v) for v in family.values]
    assert (min(lengths), max(lengths), sum(lengths)) == (15, 58, 4515)
    assert sum(v.sum() for v in family.values) == pytest.approx(2675823972.0, rel=1e-12)
    assert zlib.crc32(np.concatenate(family.values).astype("<f8").tobytes()) == 2465058615
    assert over_series(forecasts(naive, family, 6).smape)[0] == pytest.approx(22.43, abs=0.005)
    assert over_series(forecasts(drift, family, 6).smape)[0] == pytest.approx(16.66, abs=0.005)


def test_stocks_are_those_of_the_file() -> None:
    family = stocks()
    assert zlib.crc32(np.concatenate(family.values).astype("<f8").tobytes()) == 1536642315
    assert family.names[:3].tolist() == ["IBM", "AAPL", "MSFT"]
    assert len(family) == 10
    assert family.values[0][0] == pytest.approx(10.970438, rel=1e-7)
    assert all((v > 0).all() for v in family.values)


def test_real_series_from_the_cell(ip: Any) -> None:
    text = "%%metagd anil --steps 5 --wait --no-plot --shots 4\n"
    ip.run_cell(text + "tasks = m1_yearly().split(0.7)[0]\nmodel = mlp(3, 6, 1)").raise_error()
    assert len(ip.user_ns["run"].plan.tasks) == 127


def test_series_from_the_cell(ip: Any) -> None:
    text = "%%metagd maml --steps 20 --wait --no-plot --shots 4\n"
    ip.run_cell(text + "tasks = series('ar2', window=3)\nmodel = mlp(3, 6, 1)").raise_error()
    run = ip.user_ns["run"]
    assert isinstance(run.plan.tasks, Series)
    assert Forecaster(run.adapt, run.plan.tasks, 4)(np.arange(20.0), 5).shape == (5,)


# ---- the figure -----------------------------------------------------------------------------------------------------


def test_a_forecast_is_drawn_with_its_interval() -> None:
    import matplotlib.pyplot as plt

    history, actual = np.arange(10.0), np.array([10.0, 11.0])
    found = Scores(np.array([[9.0, 9.0]]), actual[None], np.array([1.0]), np.array([[1.0, 3.0]]))
    (ax,) = charts.forecast(history, {"naive": found}, 0, title="one").axes
    lines = {line.get_label(): np.asarray(line.get_xydata()) for line in ax.lines}
    np.testing.assert_array_equal(lines["naive"], [[9, 9], [10, 9], [11, 9]])
    np.testing.assert_array_equal(lines["actual values"][:, 1], [9, 10, 11])
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (6, 12)
    assert plt.get_fignums() == []
