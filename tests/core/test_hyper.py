"""One declaration a setting: what it allows, how it is checked and parsed, and its words."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.core.errors import SYNONYMS, MetagdError, nearest, shorten, unknown_name
from metagd_nb.core.hyperparameters import Checked, Hyperparameter, hyperparameter, hyperparameters
from metagd_nb.notebook.magic.options import allowed


@dataclass(frozen=True)
class Sample(Checked):
    """Every kind of setting."""

    rate: float = hyperparameter(0.1, "a rate", low=0, above=True, high=10, scale="log", live=True)
    rates: float | tuple[float, ...] = hyperparameter(0.5, "several", low=0, high=1, vector=True)
    count: int = hyperparameter(3, "a count", low=1, high=100)
    limit: float | None = hyperparameter(None, "a limit", kind=float)
    most: int | None = hyperparameter(None, "at most", low=0, kind=int)
    rule: str = hyperparameter("sgd", "a rule", choices=("sgd", "momentum", "adam"))
    flag: bool = hyperparameter(False, "a flag")


FIELDS = hyperparameters(Sample)


def test_declarations_in_the_order_written() -> None:
    assert list(FIELDS) == ["rate", "rates", "count", "limit", "most", "rule", "flag"]
    assert FIELDS["rate"].name == "rate"
    assert FIELDS["rate"].live
    assert FIELDS["limit"].kind is float
    assert FIELDS["limit"].optional
    assert not FIELDS["count"].optional
    assert hyperparameters(Sample()) == FIELDS
    assert FIELDS["most"].option == "--most"
    assert hyperparameters(type("S", (Sample,), {})) == FIELDS


def test_a_subclass_may_change_a_default() -> None:
    @dataclass(frozen=True)
    class Other(Sample):
        count: int = hyperparameter(7, "another count", low=2)

    assert hyperparameters(Other)["count"].default == 7
    assert Other().count == 7
    with pytest.raises(MetagdError):
        Other(count=1)


def test_option_names() -> None:
    @dataclass(frozen=True)
    class Long(Checked):
        inner_lr: float = hyperparameter(0.1, "x")

    assert hyperparameters(Long)["inner_lr"].option == "--inner-lr"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0, 1e6, "a number ≥ 0 and ≤ 1,000,000"),
        (0, 2**32 - 1, "a number ≥ 0 and ≤ 4,294,967,295"),
        (-1000, 1e9, "a number ≥ -1,000 and ≤ 1,000,000,000"),
        (1e-6, 0.25, "a number ≥ 0.000001 and ≤ 0.25"),
        (1e-300, 1e300, "a number ≥ 1e-300 and ≤ 1e300"),
    ],
)
def test_bounds_as_a_person_writes_them(low: float, high: float, words: str) -> None:
    assert Hyperparameter("a", float, 1.0, "", low=low, high=high).allowed == words


def test_what_is_allowed_in_words() -> None:
    assert {name: one.allowed for name, one in FIELDS.items() if name != "flag"} == {
        "rate": "a number > 0 and ≤ 10",
        "rates": "a number ≥ 0 and ≤ 1 (or several, comma-separated)",
        "count": "a whole number ≥ 1 and ≤ 100",
        "limit": "a number",
        "most": "a whole number ≥ 0",
        "rule": "sgd | momentum | adam",
    }


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("rate", 10, 10.0),
        ("rate", np.float32(0.5), 0.5),
        ("rate", np.float64(0.5), 0.5),
        ("rate", Fraction(1, 4), 0.25),
        ("rates", [0, 1], (0.0, 1.0)),
        ("rates", np.array([0.25, 0.5]), (0.25, 0.5)),
        ("rates", (0.5,), (0.5,)),
        ("rates", 1, 1.0),
        ("count", 1, 1),
        ("count", 100.0, 100),
        ("count", np.int64(7), 7),
        ("limit", None, None),
        ("limit", -1e300, -1e300),
        ("most", 0, 0),
        ("rule", "adam", "adam"),
        ("flag", True, True),
    ],
)
def test_accepted(name: str, value: Any, kept: Any) -> None:
    made = getattr(Sample(**{name: value}), name)
    assert made == kept
    assert type(made) is type(kept)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("rate", v) for v in (0, -1, 10.000001, "0.1", None, True, 1j, [0.1], np.nan, np.inf, -np.inf)],
        *[("rate", v) for v in (np.array([0.1]), np.bool_(True), object(), 10**400, 10**5000, np.zeros((9, 9)))],
        *[("rates", v) for v in ([0.5, 1.5], [0.5, "a"], "0.5", {"a": 1}, [[0.5]], np.array(0.5j), None, [np.nan])],
        *[("count", v) for v in (0, 101, 2.5, "3", None, False, np.nan, 10**400, -(10**400))],
        *[("limit", v) for v in ("x", True, np.inf, [1.0])],
        *[("most", v) for v in (-1, 0.5)],
        *[("rule", v) for v in ("sdg", 3, None, ("sgd",), "")],
        *[("flag", v) for v in (1, "yes", None)],
    ],
    ids=lambda v: v if isinstance(v, str) else shorten(v).partition(" object at")[0],
)
def test_refused_in_one_line_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(MetagdError) as caught:
        Sample(**{name: value})
    line = str(caught.value)
    assert line.startswith(f"{name}: ")
    assert "\n" not in line
    assert len(line) < 150
    assert caught.value.option == name
    if name != "flag":
        assert any(word in line for word in ("needs a", "is not one of"))


def test_no_rates_at_all_are_refused() -> None:
    with pytest.raises(MetagdError, match=r"^rates: "):
        Sample(rates=())


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("rate", "1e-3", 1e-3),
        ("rates", "0.1,0.2", (0.1, 0.2)),
        ("rates", " 0.1 , 0 ", (0.1, 0.0)),
        ("rates", "0.1", 0.1),
        ("count", "7", 7),
        ("count", "1e2", 100),
        ("rule", "adam", "adam"),
    ],
)
def test_parse(name: str, text: str, kept: Any) -> None:
    assert FIELDS[name].parse(text) == kept
    assert type(FIELDS[name].parse(text)) is type(kept)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("rate", "fast", r"^rate: 'fast' is not a number; needs a number > 0 and ≤ 10$"),
        ("rate", "0.1,0.2", r"^rate: '0.1,0.2' is not allowed; needs a number > 0 and ≤ 10$"),
        ("rate", "nan", r"^rate: nan is not allowed"),
        ("rate", "", r"^rate: '' is not a number"),
        ("rates", "0.1,", r"^rates: '0.1,' is not a number"),
        ("rates", "0.1,2", r"^rates: 2.0 is not allowed"),
        ("count", "2.5", r"^count: 2.5 is not allowed; needs a whole number ≥ 1 and ≤ 100$"),
        ("count", "1e999", r"^count: inf is not allowed"),
        ("rule", "adm", r"^rule: 'adm' is not one of sgd, momentum, adam; did you mean 'adam'\?$"),
    ],
)
def test_parse_refuses(name: str, text: str, line: str) -> None:
    with pytest.raises(MetagdError, match=line):
        FIELDS[name].parse(text)


@given(st.text(max_size=12))
def test_parse_never_fails_otherwise(text: str) -> None:
    for declared in FIELDS.values():
        if declared.kind is not bool:
            try:
                value = declared.parse(text)
            except MetagdError:
                continue
            assert declared.check(value) == value


@given(st.one_of(st.integers(), st.floats(), st.none(), st.text(max_size=5), st.lists(st.floats(), max_size=3)))
def test_check_gives_a_value_in_bounds_or_refuses(value: Any) -> None:
    for declared in FIELDS.values():
        try:
            kept = declared.check(value)
        except MetagdError:
            continue
        for number in kept if isinstance(kept, tuple) else (kept,):
            if declared.kind in (int, float) and number is not None:
                assert type(number) is declared.kind
                assert declared.low is None or number >= declared.low
                assert declared.high is None or number <= declared.high


def test_fields_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Sample().rate = 1.0  # type: ignore[misc]


def test_nearest_names() -> None:
    assert nearest("mamel", ["gd", "maml"]) == "; did you mean 'maml'?"
    assert nearest("zzz", ["gd", "maml"]) == ""
    assert str(unknown_name("algorithm", "mamel", ["gd", "maml"])) == "unknown algorithm 'mamel'; did you mean 'maml'?"
    assert str(unknown_name("algorithm", "zzz", ["gd", "maml"])) == "unknown algorithm 'zzz'; allowed: gd, maml"


@pytest.mark.parametrize(
    ("name", "allowed", "expected"),
    [
        ("--learning-rate", ["--lr", "--steps", "--learn-rates"], "; did you mean '--lr'?"),
        ("learning_rate", ["inner_lr", "meta_lr"], "; did you mean 'inner_lr' or 'meta_lr'?"),
        ("--lr", ["--inner-lr", "--meta-lr"], "; did you mean '--inner-lr' or '--meta-lr'?"),
        ("--clip", ["--help", "--lr"], ""),
        ("--rl", ["--help", "--lr"], "; did you mean '--lr'?"),
        ("--loss_below", ["--loss-below"], "; did you mean '--loss-below'?"),
        ("--epochs", ["--steps", "--epochs"], "; did you mean '--epochs'?"),
        ("--epochs", ["--steps"], "; did you mean '--steps'?"),
        ("batch_size", ["meta_batch_size"], "; did you mean 'meta_batch_size'?"),
    ],
)
def test_nearest_settings(name: str, allowed: list[str], expected: str) -> None:
    assert nearest(name, allowed) == expected


def test_synonyms_name_settings_and_none_twice() -> None:
    words = [word for group in SYNONYMS for word in group.split()]
    assert len(words) == len(set(words))
    known = {option.lstrip("-") for method in ALGORITHMS for option in allowed(method)} | {"o", "batch-size"}
    assert {name.lstrip("-") for names in SYNONYMS.values() for name in names} <= known


def test_an_error_is_one_line_in_the_notebook() -> None:
    error = MetagdError("is missing", "tasks")
    assert error._render_traceback_() == ["metagd: tasks: is missing"]
    assert (error.what, error.option) == ("is missing", "tasks")
    assert isinstance(error, ValueError)
    assert MetagdError("plain").option is None
