"""What chapters show with: drawings that say what they show, sliders, sources, guesses."""

from __future__ import annotations

import inspect
import io
from typing import Any

import ipywidgets
import numpy as np
import pytest
from PIL import Image

import metagd_nb as mg
from metagd_nb.algorithms.maml import pull_back
from metagd_nb.notebook import book
from metagd_nb.plotting import style


def test_a_sketch_says_what_it_shows() -> None:
    figure, ax = mg.sketch("step", "loss", alt="One line that falls.")
    ax.plot([0, 1], [1, 0])
    data, metadata = figure._repr_mimebundle_()
    assert data["text/plain"] == "One line that falls."
    assert metadata["image/png"] == {"width": 720, "height": 320, "alt": "One line that falls."}
    assert data["image/png"][:4] == b"\x89PNG"
    assert int.from_bytes(data["image/png"][16:20], "big") == 1440, "two pixels for each displayed"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")


def test_numbers_stand_as_people_write_them() -> None:
    figure, axes = mg.sketch(alt="two", panels=2)
    axes[0].plot([-300_000, 300_000], ["low", "high"])
    axes[1].loglog([1e-4, 1], [0, 1])
    axes[1].set_title("a title")
    figure._repr_mimebundle_()
    assert [t.get_text() for t in axes[0].get_xticklabels()][1:-1] == ["−200,000", "0", "200,000"]
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["low", "high"]
    assert "0.0001" in [t.get_text() for t in axes[1].get_xticklabels()]
    assert axes[1].title.get_color() == style.INK


def test_a_sketch_is_a_card_with_round_corners() -> None:
    figure, _ = mg.sketch(alt="empty")
    pixels = np.asarray(Image.open(io.BytesIO(figure._repr_mimebundle_()[0]["image/png"])).convert("RGBA"))
    assert pixels[0, 0, 3] == 0
    assert pixels[30, 30, 3] == 255


def test_panels() -> None:
    _, axes = mg.sketch(alt="two", panels=2)
    assert len(axes) == 2


def test_lines_differ_in_colour_and_in_style() -> None:
    _, ax = mg.sketch(alt="five lines")
    lines = [ax.plot([0, 1], [i, i])[0] for i in range(5)]
    assert len({line.get_color() for line in lines}) == 5
    assert len({str(line.get_linestyle()) for line in lines[:4]}) == 4


class Shown:
    """In place of ``display``: what was shown, and what it was replaced with."""

    def __init__(self) -> None:
        self.first: list[Any] = []
        self.later: list[Any] = []

    def __call__(self, data: Any, **options: Any) -> Shown:
        self.first.append(data)
        return self

    def update(self, data: Any, **options: Any) -> None:
        self.later.append(data)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    made = Shown()
    monkeypatch.setattr(book, "display", made)
    monkeypatch.setattr(book, "shows_pictures", lambda: True)
    monkeypatch.delenv("METAGD_WAIT", raising=False)
    return made


def test_a_slider_draws_again(shown: Shown) -> None:
    drawn = []

    def draw(ax: Any, rate: float, steps: int) -> None:
        drawn.append((rate, steps))
        ax.plot([0, rate], [0, steps])

    mg.linked(draw, alt="A line.", rate=(0.0, 1.0, 0.3), steps=(0, 9, 2))
    picture, box = shown.first
    assert picture["text/plain"] == "A line."
    rate, steps = box.children
    assert isinstance(rate, ipywidgets.FloatSlider)
    assert isinstance(steps, ipywidgets.IntSlider)
    rate.value = 0.5
    steps.value = 7
    assert drawn == [(0.3, 2), (0.5, 2), (0.5, 7)]
    assert len(shown.later) == 2
    assert shown.later[0]["image/png"] != shown.later[1]["image/png"]
    assert shown.later[1]["text/plain"] == "A line."


@pytest.mark.parametrize(
    ("low", "high", "step"),
    [(0.1, 10.0, 0.05), (0.0, 0.66, 0.005), (-4.0, 0.0, 0.02), (-5.0, 5.0, 0.1), (0.0, 1e-3, 1e-5)],
)
def test_a_slider_has_round_steps(shown: Shown, low: float, high: float, step: float) -> None:
    mg.linked(lambda ax, a: None, alt="empty", a=(low, high, low))
    assert shown.first[1].children[0].step == pytest.approx(step, rel=1e-12)


def test_a_mistake_in_the_drawing_is_seen(shown: Shown) -> None:
    drawn = []

    def draw(ax: Any, a: int) -> None:
        drawn.append(ax)
        ax.plot(1 / a)

    mg.linked(draw, alt="no line", a=(0, 9, 0))
    assert drawn[0].get_title() == "ZeroDivisionError: division by zero"
    assert drawn[0].title.get_color() == style.WARN


def test_no_sliders_where_nobody_is(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAGD_WAIT", "1")
    mg.linked(lambda ax, a: None, alt="empty", a=(0, 9, 1))
    assert len(shown.first) == 1


def test_source_is_the_kits_own() -> None:
    shown = repr(mg.source(pull_back))
    own = [line for line in inspect.getsource(pull_back).splitlines() if line.strip()]
    assert [line for line in shown.splitlines() if line not in own] == []
    assert "v = v - passed[j].hvp(rates[j] * v)" in shown
    assert "Parameters" not in shown
    assert mg.source(pull_back)._repr_markdown_() == f"```python\n{shown}\n```"
    space: dict[str, Any] = {"np": np}
    exec(repr(mg.source(mg.mse_loss, mg.linear_regression_model)), space)
    assert space["mse_loss"](np.ones(2), np.zeros(2)) == 1.0


def test_source_of_a_method() -> None:
    shown = repr(mg.source(mg.ALGORITHMS["reptile"].meta_gradient))
    assert shown.startswith("def meta_gradient(")


@pytest.mark.parametrize(
    ("guess", "outcome", "row"),
    [
        ("there", "slow", ("", "there", "slow", "✗")),
        ("there", "there", ("", "there", "there", "✓")),
        (0.5, 0.52, ("", "0.5", "0.52", "✓")),
        (1.0, 0.5, ("", "1", "0.5", "✗ 2 times too large")),
        (0.1, 0.5, ("", "0.1", "0.5", "✗ 5 times too small")),
        (1.0, 0.0, ("", "1", "0", "✗")),
        (1.0, -0.5, ("", "1", "−0.5", "✗")),
        (..., 0.5, ("", "–", "0.5", "")),
        (None, "there", ("", "–", "there", "")),
    ],
)
def test_a_guess_beside_the_outcome(guess: Any, outcome: Any, row: tuple[str, ...]) -> None:
    assert mg.predicted(guess, outcome).rows == [row]


def test_guesses_by_name() -> None:
    shown = repr(mg.predicted({"a": "slow", "longer": 2.0}, {"a": "slow", "longer": 3.0, "new": 1}))
    assert shown.splitlines() == [
        "        you   it",
        "a       slow  slow  ✓",
        "longer  2     3     ✗ 1.5 times too small",
        "new     –     1",
    ]
