"""The record: rows that only grow, views without copies, readers without locks."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from metagd_nb.core.errors import MetagdError
from metagd_nb.training.record import Record


@pytest.fixture
def record() -> Record:
    made = Record(("step", "loss", "lr"))
    for t in range(1000):  # past the first buffer, twice
        made.append((t, 1.0 / (t + 1), 0.5))
    return made


def test_rows_survive_growth(record: Record) -> None:
    assert len(record) == 1000
    np.testing.assert_array_equal(record["step"], np.arange(1000))
    np.testing.assert_array_equal(record["loss"], 1 / np.arange(1.0, 1001.0))
    np.testing.assert_array_equal(record["lr"], np.full(1000, 0.5))


def test_counting_columns_are_whole_numbers(record: Record) -> None:
    assert record["step"].dtype == np.int64
    assert record["loss"].dtype == np.float64


def test_a_column_is_a_copy(record: Record) -> None:
    for name in ("loss", "step"):
        record[name][:] = 7
        assert (record[name] != 7).any()


def test_since_is_a_read_only_view(record: Record) -> None:
    view = record.since("loss", 990)
    assert view.shape == (10,)
    assert view.dtype == np.float64
    assert view.base is not None
    assert np.shares_memory(view, record.since("loss", 0))
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1.0
    record.append((1000, 0.0, 0.5))  # still allowed to write itself
    np.testing.assert_array_equal(record.since("loss", 1000), [0.0])


@pytest.mark.parametrize("start", [1000, 5000])
def test_since_the_end_is_empty(record: Record, start: int) -> None:
    assert record.since("loss", start).shape == (0,)


def test_a_view_keeps_its_rows_while_the_record_grows(record: Record) -> None:
    view = record.since("loss", 0)
    before = view.copy()
    for t in range(5000):
        record.append((t, -1.0, -1.0))
    np.testing.assert_array_equal(view, before)


def test_last(record: Record) -> None:
    assert record.last("step") == 999.0
    assert type(record.last("loss")) is float
    assert np.isnan(Record(("step",)).last("step"))


def test_names(record: Record) -> None:
    assert record.columns == ("step", "loss", "lr")
    assert list(record) == ["step", "loss", "lr"]
    assert "loss" in record
    assert "los" not in record
    assert repr(record) == "Record(1000 rows: step, loss, lr)"
    for read in (record.__getitem__, record.last, lambda name: record.since(name, 0)):
        with pytest.raises(MetagdError, match=r"^unknown column 'los'; did you mean 'loss'\?$"):
            read("los")


def test_an_empty_record() -> None:
    record = Record(("step", "loss"))
    assert len(record) == 0
    assert record["loss"].shape == (0,)


def test_row_costs_eight_bytes_a_value(record: Record) -> None:
    assert record._rows.itemsize * record._rows.shape[1] == 24
    assert len(record._rows) <= 1.5 * 1000


def test_reading_while_another_thread_appends() -> None:
    """Every reader sees whole rows, all of them, in order; column b is always ten times a."""
    record = Record(("a", "b"))
    rows, failures = 60_000, []
    done = threading.Event()

    def write() -> None:
        for t in range(rows):
            record.append((t, 10.0 * t))
        done.set()

    def read() -> Iterator[str]:
        seen = 0
        while not done.is_set():
            part = record.since("a", seen)
            if len(part) and (part[0] != seen or (np.diff(part) != 1).any()):
                yield f"rows {seen}… are {part[:3]}"
            other = record.since("b", seen)[: len(part)]
            if not np.array_equal(other, 10 * part):
                yield "columns of the same rows disagree"
            seen += len(part)
            if len(record) and record.last("a") < seen - 1:
                yield "the last row went back"

    readers = [threading.Thread(target=lambda: failures.extend(read())) for _ in range(2)]
    for thread in readers:
        thread.start()
    write()
    for thread in readers:
        thread.join()
    assert failures == []
    assert len(record) == rows


class Moving(Record):
    """A record to which, between any two reads of its length, another thread has appended past its buffer."""

    @property
    def _n(self) -> int:
        if self.moves and not self.growing:
            self.growing = True
            for _ in range(300):
                self.append((1.0,))
            self.growing = False
        return self.count

    @_n.setter
    def _n(self, value: int) -> None:
        self.count = value

    moves = growing = False


def test_last_row_while_the_buffer_is_outgrown() -> None:
    record = Moving(("a",))
    for _ in range(256):
        record.append((1.0,))
    record.moves = True
    assert record.last("a") == 1.0
    assert record.since("a", 0).shape[0] > 256


def test_a_record_is_a_mapping(record: Record) -> None:
    assert isinstance(record, Mapping)
    for found in (dict(record), {**record}, dict(record.items()), {c: record[c] for c in record.keys()}):  # noqa: SIM118
        assert list(found) == ["step", "loss", "lr"]
        np.testing.assert_array_equal(found["loss"], record["loss"])
    assert [values[3] for values in record.values()] == [3, 0.25, 0.5]
    assert (record.get("lr")[0], record.get("lrr"), record.get("lrr", 7)) == (0.5, None, 7)
    assert record == record
    assert record != Record.of(record.columns, record.rows)  # of itself alone
    assert len({record}) == 1
    for change in (
        lambda: record.__setitem__("loss", np.ones(1000)),
        lambda: record.update(loss=1),
        lambda: record.pop("loss"),
        record.clear,
    ):
        with pytest.raises(TypeError, match=r"^a record is written by its run only; dict\(run\.record\) is a copy"):
            change()


def test_a_record_is_a_data_frame(record: Record) -> None:
    pandas = pytest.importorskip("pandas")
    for frame in (pandas.DataFrame(record), record.to_pandas()):
        assert frame.columns.tolist() == ["step", "loss", "lr"]
        assert len(frame) == len(record)
        assert frame["step"].dtype == np.int64
        np.testing.assert_array_equal(frame["loss"], record["loss"])
    assert pandas.DataFrame(record, columns=["lr", "loss"]).iloc[0].tolist() == [0.5, 1.0]


def test_without_pandas_one_line_says_what_to_install(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MetagdError, match=r"^to_pandas: needs pandas: pip install pandas$"):
        record.to_pandas()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))])
def test_a_copy_has_the_rows_and_grows_by_itself(copied: Callable[[Record], Record], record: Record) -> None:
    again = copied(record)
    np.testing.assert_array_equal(again.rows, record.rows)
    again.append((1000, 0.0, 0.1))
    assert (len(again), len(record)) == (1001, 1000)
