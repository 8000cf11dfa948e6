"""The record: rows that only grow, views without copies, readers without locks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

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
