"""The studio without a browser: choices become cells, clicks become runs, runs become pictures."""

from __future__ import annotations

import html
import re
import time
from typing import Any

import numpy as np
import pytest
from cells import cell

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.core.errors import MetagdError
from metagd_nb.notebook.magic.line import parse
from metagd_nb.notebook.studio import Studio, views
from metagd_nb.notebook.studio.form import EXAMPLES, Choice, declarations, examples, insertion
from metagd_nb.notebook.studio.layout import TABS
from metagd_nb.training.executors.base import Snapshot


@pytest.fixture
def studio(ip: Any) -> Any:
    """A studio on a fresh shell; its run is stopped afterwards."""
    made = Studio(ip._metagd[0])
    yield made
    made._stop()


def shown_cell(studio: Studio) -> str:
    """The cell that stands below, as a person would copy it."""
    found = re.search(r"<pre[^>]*>(.*?)</pre>", studio.equivalent.value, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def finished(studio: Studio) -> Any:
    """The run once its last frame is drawn."""
    assert studio.run is not None, studio.status.value
    studio.run.wait()
    until = time.monotonic() + 20
    while studio.run.loop.running and time.monotonic() < until:
        time.sleep(0.01)
    return studio.run


# ---- choices --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", list(ALGORITHMS))
def test_the_controls_are_the_declarations(studio: Studio, method: str) -> None:
    studio.method.value = method
    assert list(studio.options) == list(declarations(method))
    assert shown_cell(studio).split("\n")[0] == f"%%metagd {method}"  # all defaults: nothing to say
    assert studio.status.value == ""
    assert all(widget.description for widget in studio.options.values())
    shown = {*studio.own.children, *studio.every.children}
    assert shown == set(studio.options.values())


def test_what_is_set_is_said_and_is_what_the_cell_reads(studio: Studio) -> None:
    studio.options["inner_lr"].value = "0.02"
    studio.options["inner_steps"].value = 3
    studio.options["outer"].value = "sgd"
    studio.options["loss_below"].value = "0.5"
    line = shown_cell(studio).split("\n")[0]
    assert line == "%%metagd maml --inner-lr 0.02 --inner-steps 3 --outer sgd --loss-below 0.5"
    assert parse(line.removeprefix("%%metagd ")).options == {
        "inner_lr": 0.02, "inner_steps": 3, "outer": "sgd", "loss_below": 0.5,
    }  # fmt: skip
    studio.method.value = "fomaml"
    line = shown_cell(studio).split("\n")[0]
    assert line == "%%metagd fomaml --inner-lr 0.02 --inner-steps 3 --outer sgd --loss-below 0.5"  # it stays set
    studio.method.value = "gd"
    assert shown_cell(studio).startswith("%%metagd gd --loss-below 0.5\ndef loss(w):")


def test_rates_one_a_parameter_are_typed_with_commas() -> None:
    choice = Choice("maml", "tasks = 1", {"inner_lr": (0.1, 0.30000000000000004), "steps": 1000})
    assert choice.line == "maml --inner-lr 0.1,0.30000000000000004"
    assert parse(choice.line).options["inner_lr"] == (0.1, 0.30000000000000004)


def test_what_is_not_allowed_is_one_line(studio: Studio) -> None:
    studio.options["inner_lr"].value = "fast"
    assert "inner_lr" in studio.status.value.replace("-", "_")
    assert "is not a number" in studio.status.value
    studio.options["inner_lr"].value = "0.1"
    assert studio.status.value == ""
    studio.options["meta_lr"].value = ""
    assert "needs a value" in studio.status.value


def test_the_button_names_jupyterlabs_own_commands() -> None:
    text = "%%metagd gd\nw = 'a' # \"b\" <c>"
    found = re.search(r"data-commandlinker-args='([^']*)'", insertion(text))
    assert found is not None
    import json

    arguments = json.loads(html.unescape(found[1]))
    assert arguments["args"] == {"text": text}
    assert arguments["commands"] == ["notebook:insert-cell-below", "notebook:replace-selection"]


# ---- runs -----------------------------------------------------------------------------------------------------------

SMALL = [(setting, name) for setting, found in EXAMPLES.items() for name in found]


@pytest.mark.parametrize(("setting", "name"), SMALL, ids=[name for _, name in SMALL])
def test_every_example_runs_and_its_cell_gives_the_same_loss(ip: Any, studio: Studio, setting: str, name: str) -> None:
    studio.method.value = "gd" if setting == "single" else "maml"
    studio.example.value = name
    studio.options["steps"].value = 4
    if setting == "meta":
        studio.options["shots"].value = 2
        studio.options["queries"].value = 3
    studio.start()
    run = finished(studio)
    assert studio.status.value == ""
    assert run.stopped == "steps"
    text = shown_cell(studio)
    assert text == run.loop.cell
    again = cell(ip, text.replace("\n", " --wait --no-plot\n", 1)).value
    np.testing.assert_array_equal(again.record["loss"], run.record["loss"])


def test_a_run_is_seen_and_steered(studio: Studio) -> None:
    studio.options["steps"].value = 100_000
    studio.start()
    run = studio.run
    assert run is not None
    assert studio.hands.children
    controls = studio._controls
    assert controls is not None
    controls.sliders["inner_lr"].value = 0.02  # a rate is changed without a new start
    controls.stop.click()
    finished(studio)
    assert studio.run is run
    assert [e.kind for e in run.events] == ["set", "stop"]
    assert run.loop.algorithm.inner_lr == pytest.approx(0.02)
    assert "data:image/png;base64," in studio.views[0].value
    assert 'alt="maml' in studio.views[0].value
    assert not studio.hands.children
    assert "run.set(inner_lr=0.02" in shown_cell(studio)
    assert shown_cell(studio).split("\n")[0] == "%%metagd maml --steps 100000"


def test_another_run_ends_the_first_and_reset_ends_all(studio: Studio) -> None:
    studio.options["steps"].value = 100_000
    studio.start()
    first = studio.run
    studio.start()
    assert first is not None
    assert first.stopped == "user"
    assert studio.run is not first
    second = studio.run
    studio.options["inner_lr"].value = "0.5"
    studio.body.value = "tasks = nonsense"
    studio.reset()
    assert second is not None
    assert second.stopped == "user"
    assert studio.run is None
    assert shown_cell(studio) == "%%metagd maml\ntasks = sinusoid()\nmodel = mlp(1, 40, 40, 1)"
    assert all(view.value == "" for view in studio.views)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("tasks = sinusoid()\nmodel = mlp(2, 4, 1)", "takes 2 inputs"),
        ("tasks = 1/0", "ZeroDivisionError"),
        ("tasks = (", "SyntaxError"),
        ("model = mlp(1, 4, 1)\ntasks = None", "tasks"),
    ],
)
def test_a_body_that_fails_is_one_line(studio: Studio, body: str, line: str) -> None:
    studio.body.value = body
    studio.go.click()
    assert line in studio.status.value
    assert "Traceback" not in studio.status.value
    assert studio.run is None
    studio.example.value = "two parabolas"
    studio.options["steps"].value = 3
    studio.go.click()
    assert finished(studio).stopped == "steps"


# ---- views ----------------------------------------------------------------------------------------------------------


def test_each_view_shows_or_says_why_not(studio: Studio) -> None:
    studio.method.value = "meta-sgd"
    studio.options["steps"].value = 30
    studio.start()
    finished(studio)
    for index in (1, 2, 3):
        studio.tabs.selected_index = index
        assert "data:image/png" in studio.views[index].value, TABS[index]
    assert len(studio.when.options) == len(studio.history.shots) > 1
    last = studio.views[1].value
    studio.when.value = 0
    assert studio.views[1].value != last
    assert studio.when.options[0] == ("0 steps", 0)
    studio.method.value = "gd"
    studio.options["steps"].value = 30
    studio.options["lr"].value = "0.01"
    studio.start()
    finished(studio)
    said = {}
    for index in (2, 1, 3):
        studio.tabs.selected_index = index
        said[index] = studio.views[index].value
    assert "data:image/png" in said[2]
    assert "has one task and no inner loop" in said[1]
    assert "needs a meta-learning method" in said[3]


def test_views_follow_a_run_and_an_older_iteration_stays_chosen(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metagd_nb.training.pacing.SHARE", 1.0)  # frame upon frame
    studio.method.value = "meta-sgd"
    studio.options["steps"].value = 100_000
    studio.tabs.selected_index = 3
    studio.start()
    run = studio.run
    assert run is not None
    until = time.monotonic() + 20
    seen: set[str] = set()

    def grows(look: Any, to: int) -> None:
        while look() < to:
            assert time.monotonic() < until
            time.sleep(0.01)

    grows(lambda: seen.add(studio.views[3].value) or len(seen), 4)  # type: ignore[func-returns-value]
    studio.tabs.selected_index = 1
    grows(lambda: len(studio.when.options), 4)
    assert studio.when.value >= studio.when.options[-2][1]  # it follows the newest
    studio.when.value = chosen = studio.when.options[0][1]
    grows(lambda: len(studio.history.shots), len(studio.history.shots) + 3)
    assert studio.when.value == chosen  # until a person looks back
    assert run.stopped is None


def test_history_keeps_a_few_evenly_and_the_last() -> None:
    history = views.History()
    for step in range(5001):
        history.add(Snapshot(step, np.array([float(step)]), 0.0), last=step == 5000)
    steps = [shot.step for shot in history.shots]
    assert len(steps) <= views.LIMIT + 1
    assert steps[0] == 0
    assert steps[-1] == 5000
    assert max(np.diff(steps)) <= 5000 / (views.LIMIT / 2) + 1


def test_a_landscape_of_two_parameters_is_the_loss_itself() -> None:
    given = {"loss": lambda w: w[0] ** 2 + 20 * w[1] ** 2, "params": {"w": np.array([3.0, 1.0])}}
    run = mg.train("gd", **given, lr=0.02, steps=20)
    history = views.retraced(run)
    assert [shot.step for shot in history.shots] == list(range(21))
    np.testing.assert_array_equal([shot.loss for shot in history.shots], run.record["loss"])
    where = views.plane(history.shots)
    assert where.exact
    a, b, loss = views.heights(run, where, 9)
    np.testing.assert_allclose(loss, a[None, :] ** 2 + 20 * b[:, None] ** 2, rtol=1e-12)
    assert a.min() < where.path[:, 0].min()
    assert a.max() > where.path[:, 0].max()
    with pytest.raises(MetagdError, match="when the run has moved"):
        views.plane(history.shots[:1])


def test_a_corner_that_explodes_leaves_the_valley_its_contours() -> None:
    given = {"loss": lambda w: w[0] ** 2 + w[1] ** 2 + np.exp(20 * w[0]), "params": {"w": np.array([0.9, 1.0])}}
    run = mg.train("adam", **given, lr=0.05, steps=40)
    figure = views.landscape(run, views.retraced(run).shots)
    filled = figure.axes[0].collections[0]
    low, high = filled.get_clim()  # powers of ten
    assert high - low < np.log10(views.STEEP / 1e-3) + 0.5
    assert len([p for p in filled.get_paths() if len(p.vertices)]) >= 8  # steps of colour


def test_a_plane_through_the_path_holds_its_losses() -> None:
    """At the path's own points the plane of the main directions has the path's losses, when the path lies in it."""
    rng = np.random.default_rng(0)
    start, one, two = rng.standard_normal((3, 5))
    spots = [(0.0, 0.0), (1.0, 0.0), (0.5, 1.0), (2.0, 1.0)]
    shots = [views.Shot(i, start + u * one + v * two, 0.0) for i, (u, v) in enumerate(spots)]
    where = views.plane(shots)
    assert not where.exact
    for shot, (u, v) in zip(shots, where.path, strict=True):
        np.testing.assert_allclose(where.origin + u * where.across + v * where.up, shot.theta, atol=1e-12)


def test_outside_a_notebook_it_says_what_it_needs(ip: Any) -> None:
    assert "the studio needs a notebook" in cell(ip, "%metagd studio").line
    assert list(examples("maml")) == list(EXAMPLES["meta"])
