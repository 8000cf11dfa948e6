"""The cell, sentence by sentence of what it promises, in a real shell."""

from __future__ import annotations

import html
import inspect
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import BODY, DATA, cell, mine
from interrupts import interrupt_training
from patience import best_of_three

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.analysis.recognition import WAYS
from metagd_nb.core.hyperparameters import Hyperparameter, hyperparameters
from metagd_nb.notebook import controls
from metagd_nb.notebook.magic import FIRST_NAMES
from metagd_nb.notebook.magic.cell import Frames
from metagd_nb.notebook.magic.line import parse
from metagd_nb.notebook.magic.options import allowed
from metagd_nb.training.settings import Settings


@pytest.fixture(autouse=True)
def plain(ip: Any) -> None:
    ip.run_line_magic("colors", "nocolor")


# ---- loading ----------------------------------------------------------------------------------------------------


def test_first_names_are_there_and_hidden(ip: Any) -> None:
    assert set(FIRST_NAMES) >= {"sinusoid", "quadratics", "groups", "regression", "linear", "mlp", "np"}
    assert set(FIRST_NAMES) >= {"mse_loss", "linear_regression_model", "meta_gradient_descent"}
    assert all(ip.user_ns[name] is value for name, value in FIRST_NAMES.items())
    assert not {"gradient", "train", "start"} & set(ip.user_ns)
    assert not set(mine(ip)) & set(FIRST_NAMES)
    assert "Interactive namespace is empty" in cell(ip, "%who").text


def test_a_persons_own_names_are_left_alone(ip: Any) -> None:
    ip.run_line_magic("unload_ext", "metagd_nb")
    assert not set(FIRST_NAMES) & set(ip.user_ns)
    ip.user_ns["linear"] = "mine"
    ip.run_line_magic("load_ext", "metagd_nb")
    assert ip.user_ns["linear"] == "mine"
    ip.run_line_magic("unload_ext", "metagd_nb")
    assert ip.user_ns["linear"] == "mine"


def test_unloading_takes_everything_away_and_loading_twice_adds_nothing(ip: Any) -> None:
    before = len(ip.Completer.custom_matchers), len(ip.input_transformers_cleanup)
    ip.run_line_magic("reload_ext", "metagd_nb")
    mg.load_ipython_extension(ip)
    assert (len(ip.Completer.custom_matchers), len(ip.input_transformers_cleanup)) == before
    ip.run_line_magic("unload_ext", "metagd_nb")
    assert len(ip.Completer.custom_matchers) == before[0] - 1
    assert len(ip.input_transformers_cleanup) == before[1] - 1
    assert ip.find_line_magic("metagd") is None
    assert ip.find_cell_magic("metagd") is None
    mg.unload_ipython_extension(ip)  # nothing to do


def test_first_names_come_back_after_a_reset(ip: Any) -> None:
    cell(ip, "%reset -f")
    assert "mlp" not in ip.user_ns
    assert cell(ip, "%%metagd maml --steps 2 --wait\ntasks = sinusoid()\nmodel = mlp(1, 4, 1)").error is None


def test_the_cells_help(ip: Any) -> None:
    for name in ("%metagd", "%%metagd"):
        doc = ip.object_inspect(name)["docstring"]
        assert "ordinary Python" in doc
        assert all(f"  {method} " in doc for method in ALGORITHMS)


# ---- the line ---------------------------------------------------------------------------------------------------


def test_options_come_from_the_declarations() -> None:
    for method, cls in ALGORITHMS.items():
        own = {h.option for h in (hyperparameters(cls) | hyperparameters(Settings)).values()}
        assert own <= set(allowed(method))
        assert {"-o", "--wait", "--no-plot", "--help"} <= set(allowed(method))
        assert ("--params" in allowed(method)) == ("--no-check" in allowed(method)) == (cls.setting == "single")
        for one in (hyperparameters(cls) | hyperparameters(Settings)).values():
            if one.default is not None:
                assert parse(f"{method} {one.option} {one.default}").options == {one.name: one.default}


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("gd --lr 0.1", {"lr": 0.1}),
        ("gd --lr=0.1 --steps=1e3", {"lr": 0.1, "steps": 1000}),
        ("gd --loss-below -3", {"loss_below": -3.0}),
        ("gd '--lr' \"0.1\"", {"lr": 0.1}),
        ("gd --lr 0.1  # half of what diverges", {"lr": 0.1}),
        ("maml --inner-lr '0.1, 0, 0.2' --outer sgd", {"inner_lr": (0.1, 0.0, 0.2), "outer": "sgd"}),
    ],
)
def test_how_options_are_written(line: str, options: dict[str, Any]) -> None:
    assert parse(line).options == options


def test_a_variable_may_stand_in_the_line(ip: Any) -> None:
    cell(ip, "eta, n = 0.05, 7")
    done = cell(ip, "%%metagd gd --lr {eta} --steps $n --wait" + BODY)
    assert (done.value.loop.algorithm.lr, done.value.plan.settings.steps) == (0.05, 7)


# ---- the body ---------------------------------------------------------------------------------------------------


def test_a_cell_trains_in_the_background_and_returns_nothing(ip: Any) -> None:
    done = cell(ip, "%%metagd gd --lr 0.1 --steps 500 --loss-below 1e-6" + BODY)
    assert (done.value, done.error) == (None, None)
    run = ip.user_ns["run"]
    assert run.loss < 1e-6
    assert run.stopped == "loss-below"
    np.testing.assert_allclose(run.params["w"], [1, 2, 3], atol=1e-2)


def test_definitions_persist_and_starting_values_are_not_overwritten(ip: Any) -> None:
    cell(ip, "%%metagd gd --steps 50 --wait" + BODY)
    assert {"x", "y", "w", "loss", "run"} == set(mine(ip))
    assert (ip.user_ns["w"] == 0).all()


def test_a_waiting_cell_returns_the_run(ip: Any) -> None:
    done = cell(ip, "%%metagd gd --lr 0.1 --steps 20 --wait" + BODY)
    assert done.value is ip.user_ns["run"]
    assert repr(done.value) in done.text
    assert not done.value.loop.running


@pytest.mark.parametrize(("value", "waits"), [("1", True), ("0", False), ("", False)])
def test_the_environment_makes_cells_wait(ip: Any, monkeypatch: pytest.MonkeyPatch, value: str, waits: bool) -> None:
    monkeypatch.setenv("METAGD_WAIT", value)
    assert (cell(ip, "%%metagd gd --steps 20" + BODY).value is not None) == waits


def test_the_result_has_the_name_asked_for(ip: Any) -> None:
    cell(ip, "%%metagd gd --steps 20 -o slow" + BODY)
    assert isinstance(ip.user_ns["slow"], mg.Run)
    assert "run" not in ip.user_ns


def test_the_last_expression_is_displayed_and_the_lines_before_run(ip: Any) -> None:
    done = cell(ip, "%%metagd gd --steps 5" + BODY + "!echo from the shell\n%who_ls\n'the last expression'")
    assert "from the shell" in done.text
    assert "'the last expression'" in done.text
    assert "'again'" not in cell(ip, "%%metagd gd --steps 5\n'again';").text


def test_a_body_may_follow_blank_lines_and_be_indented(ip: Any) -> None:
    body = "\n\n    w = 1.0\n    def loss(w):\n        return w ** 2\n"
    assert cell(ip, "%%metagd gd --steps 5 --wait" + body).error is None


def test_a_line_will_do_where_nothing_needs_defining(ip: Any) -> None:
    cell(ip, BODY)
    assert cell(ip, "%metagd gd --lr 0.1 --steps 5 --wait").value.iteration == 5
    assert cell(ip, "%%metagd gd --lr 0.1 --steps 6 --wait").value.iteration == 6
    assert cell(ip, "%%metagd gd --lr 0.1 --steps 7 --wait\n\n# the same loss\n").value.iteration == 7
    assert cell(ip, "result = %metagd gd --steps 8 --wait").value is None
    assert ip.user_ns["result"].iteration == 8


def test_a_run_keeps_what_it_read_at_its_start(ip: Any) -> None:
    cell(ip, "%%metagd gd --lr 0.1 --steps 100000000 --loss-below 1e-20" + BODY)
    cell(ip, "y[:] = 0\nx = None\ndef linear_regression_model(x, w): 1/0")
    ip.user_ns["run"].wait()
    np.testing.assert_allclose(ip.user_ns["run"].params["w"], [1, 2, 3], atol=1e-8)


# ---- what a single-task cell reads ------------------------------------------------------------------------------


def test_arguments_are_parameters_and_those_with_defaults_are_data(ip: Any) -> None:
    done = cell(
        ip,
        """
        %%metagd gd --steps 400 --lr 0.1 --wait
        t = np.linspace(-1, 1, 30)
        def loss(w, b, t=t, *, scale=1.0):
            return np.mean((scale * (w * t + b) - (2 * t + 5)) ** 2)
        w, b = 0.0, 0
        """,
    )
    assert set(done.value.params) == {"w", "b"}
    assert done.value.params["b"] == pytest.approx(5)


@pytest.mark.parametrize("options", ["--params w", "--data x,y", "--data x,y --params w", ""])
def test_data_and_params_name_the_roles_of_arguments(ip: Any, options: str) -> None:
    body = BODY.replace("def loss(w):", "def loss(w, x, y):")
    done = cell(ip, f"%%metagd gd --lr 0.1 --steps 500 {options} --wait" + body)
    assert set(done.value.params) == {"w"}
    assert done.value.loss < 1e-6
    assert ("metagd: data: x, y; trained: w" in done.text) == (not options)


@pytest.mark.parametrize(
    "values",
    [
        "np.zeros(2), np.ones((50, 2)), np.arange(50)",
        "np.zeros(2), np.ones((5, 2)), np.ones(5)",
        "np.zeros(2), np.ones((101, 2)), np.ones(101)",
        "np.zeros(2), [[0, 0], [1, 1]], np.ones(2)",
    ],
)
def test_data_is_not_trained(ip: Any, values: str) -> None:
    of = "def loss({}): return np.mean(({} @ w - {}) ** 2)"
    done = cell(ip, f"%%metagd gd --steps 5 --wait\nw, x, y = {values}\n" + of.format("x, y, w", "x", "y"))
    assert set(done.value.params) == {"w"}
    done = cell(ip, f"%%metagd gd --steps 5 -o other\nw, p, q = {values}\n" + of.format("w, p, q", "p", "q"))
    assert "p and q may be data or parameters" in done.line
    assert "name --data p,q, or what is trained: --params w (" in done.line
    assert "other" not in ip.user_ns
    assert set(cell(ip, "%%metagd gd --data p,q --wait --steps 5\n").value.params) == {"w"}


def test_data_options_are_checked(ip: Any) -> None:
    body = "\nw, a = 1.0, np.arange(3.0)\ndef loss(w, a, b=2.0): return np.mean((a - b * w) ** 2)"
    assert "q has no value" in cell(ip, "%%metagd gd --data q" + body).line
    cell(ip, "q = 1")
    assert cell(ip, "%%metagd gd --data q" + body).line.startswith("metagd: --data: q is not an argument of loss")
    assert cell(ip, "%%metagd gd --data w,a" + body).line.startswith("metagd: loss has no argument to train")
    assert "is named both" in cell(ip, "%%metagd gd --data w,a --params w" + body).line
    assert set(cell(ip, "%%metagd gd --data a --wait" + body).value.params) == {"w"}
    line = cell(ip, "%%metagd gd --params w,m" + body.replace("a, b=2.0", "m") + "\nm = a > 1").line
    assert line == "metagd: --params: m must be made of real numbers, not booleans; if it is data: --data m"
    model = "\nmodel, x, y = mlp(1, 2, 1), np.ones(3), np.ones(3)"
    assert cell(ip, "%%metagd gd --data x" + model).line.startswith("metagd: --data: names arguments of a loss")


def test_integers_start_a_parameter_with_one_line(ip: Any) -> None:
    body = "\nw = np.zeros(2, int)\ndef loss(w): return np.sum((w - 1) ** 2)"
    for options in ("", "--params w"):
        done = cell(ip, f"%%metagd gd --steps 50 {options} --wait" + body)
        assert done.value.params["w"].dtype == float
        assert "metagd: w starts at integers; trained as floats\n" in done.text


def test_check_finds_the_same_roles(ip: Any) -> None:
    body = "w, x, y = np.zeros(2), np.ones((5, 2)), np.ones(5)\ndef loss(x, y, w): return np.mean((x @ w - y) ** 2)\n"
    cell(ip, body + "def gradient(x, y, w): return 2 * x.T @ (x @ w - y) / len(y)")
    for options in ("", "--data x,y", "--params w"):
        assert "gradient is right" in cell(ip, f"%metagd check {options}").text


def test_a_gradient_is_used_only_where_the_body_defines_it(ip: Any) -> None:
    body = "\nw = 1.0\ndef loss(w): return w ** 2\n"
    own = "def gradient(w): calls.append(1); return 2 * w"
    cell(ip, "calls = []\n" + own)
    cell(ip, "%%metagd gd --steps 5 --wait" + body)
    assert ip.user_ns["calls"] == []
    cell(ip, "%%metagd gd --steps 5 --wait" + body + own)
    assert ip.user_ns["calls"]
    ip.user_ns["calls"].clear()
    cell(ip, "%%metagd gd --steps 5 --wait" + body + "gradient = gradient")  # the same object, and meant
    assert ip.user_ns["calls"]
    del ip.user_ns["gradient"]
    done = cell(ip, "%%metagd gd --steps 5 --wait\nfrom metagd_nb import *" + body)  # the kit's is of another loss
    assert done.error is None
    assert ip.user_ns["gradient"] is mg.gradient


def test_a_wrong_gradient_stops_the_cell_and_no_check_lets_it_through(ip: Any) -> None:
    body = "\nw = 1.0\ndef loss(w): return w ** 2\ndef gradient(w): return -2 * w"
    done = cell(ip, "%%metagd gd --steps 5" + body)
    assert done.line == "metagd: gradient points uphill (cosine −1.00): its sign is flipped"
    assert "run" not in ip.user_ns
    assert cell(ip, "%%metagd gd --steps 5 --no-check --wait" + body).value.loss > 1


def test_a_missing_factor_runs_with_one_line(ip: Any) -> None:
    body = "\nw = 1.0\ndef loss(w): return w ** 2\ndef gradient(w): return w"
    done = cell(ip, "%%metagd gd --steps 5" + body)
    assert "metagd: gradient is 0.50 times the true one: a factor is missing\n" in done.text
    assert ip.user_ns["run"].wait().stopped == "steps"


def test_a_gradient_with_other_arguments_is_bound_by_name(ip: Any) -> None:
    own = "def gradient(x, y, w): return 2 * x.T @ (x @ w - y) / len(x)"
    assert cell(ip, "%%metagd gd --steps 300 --lr 0.1 --wait" + BODY + own).value.loss < 1e-6
    wrong = own.replace("(x, y, w)", "(x, w)").replace("- y", "- y_true")
    assert cell(ip, "%%metagd gd" + BODY + wrong).line == (
        "metagd: gradient reads y_true, which does not exist; did you mean y?"
    )


def test_a_built_in_model_with_x_and_y(ip: Any) -> None:
    done = cell(ip, "%%metagd gd --lr 0.1 --steps 500 --wait" + DATA + "model = linear(3)")
    assert set(done.value.params) == {"W0", "b0"}
    assert done.value.loss < 1e-6
    cell(ip, "def loss(w): return w ** 2\nw = 1.0")
    assert set(cell(ip, "%%metagd gd --steps 5 --wait\nmodel = linear(3)").value.params) == {"W0", "b0"}
    assert set(cell(ip, "%metagd gd --steps 5 --wait").value.params) == {"w"}  # of both, the loss
    own = "\nmodel = mlp(3, 4, 1)\ndef loss(prediction, target): return np.mean(np.abs(prediction - target))"
    done = cell(ip, "%%metagd adam --steps 5 --wait" + own)
    assert set(done.value.params) == {"W0", "b0", "W1", "b1"}


def test_a_model_that_is_a_function_is_a_helper_of_the_loss(ip: Any) -> None:
    body = BODY.replace("def loss", "def model(x, w): return x @ w\ndef loss").replace(
        "linear_regression_model", "model"
    )
    assert set(cell(ip, "%%metagd gd --steps 5 --wait" + body).value.params) == {"w"}


# ---- meta-learning ----------------------------------------------------------------------------------------------


def test_tasks_and_a_model(ip: Any) -> None:
    line = "%%metagd maml --inner-lr 0.01 --inner-steps 1 --meta-lr 1e-3 --shots 10 --steps 20 --wait"
    run = cell(ip, line + "\ntasks = sinusoid()\nmodel = mlp(1, 40, 40, 1)").value
    assert (run.plan.method, run.iteration, run.loop.algorithm.shots) == ("maml", 20, 10)
    assert cell(ip, "%metagd fomaml --steps 3 --wait").value.plan.method == "fomaml"


def test_quadratics_need_no_model(ip: Any) -> None:
    body = "\ntasks = quadratics(np.array([1.0, 3.0]), np.array([[0.0], [1.0]]))"
    line = "%%metagd maml --inner-lr 0.1 --meta-lr 0.5 --outer sgd --steps 300 --wait"
    assert cell(ip, line + body).value.params["theta"] == pytest.approx(0.644737, abs=1e-6)


def test_its_own_loss_only_where_the_body_defines_it(ip: Any) -> None:
    cell(ip, "def loss(w): return w ** 2")  # of an earlier cell: nothing to do with tasks
    body = "\ntasks = sinusoid()\nmodel = mlp(1, 4, 1)\n"
    assert cell(ip, "%%metagd maml --steps 3 --wait" + body).error is None
    own = "def loss(prediction, target): return np.mean(np.abs(prediction - target))"
    first = cell(ip, "%%metagd maml --steps 3 --wait" + body + own).value.record["loss"][0]
    assert first < cell(ip, "%%metagd maml --steps 3 --wait\nmodel = mlp(1, 4, 1)").value.record["loss"][0]


def test_a_model_function_with_params(ip: Any) -> None:
    body = """
tasks = sinusoid()
params = {"a": np.zeros(1), "b": np.zeros(1)}
def model(params, x): return params["a"] * np.sin(x) + params["b"] * np.cos(x)
"""
    assert set(cell(ip, "%%metagd maml --steps 3 --wait" + body).value.params) == {"a", "b"}


# ---- several runs -----------------------------------------------------------------------------------------------

ENDLESS = "%%metagd gd --lr 1e-9 --steps 1000000000"


def test_two_runs_do_not_cross(ip: Any) -> None:
    cell(ip, ENDLESS + " -o a" + BODY)
    cell(ip, ENDLESS + " -o b\nw = np.ones(3)")
    a, b = ip.user_ns["a"], ip.user_ns["b"]
    assert a.loop.running
    assert b.loop.running
    b.stop()
    assert a.loop.running
    a.stop()
    assert a.record["loss"][0] != b.record["loss"][0]


def test_running_a_cell_again_stops_its_former_run(ip: Any) -> None:
    text = ENDLESS + BODY
    cell(ip, text)
    former = ip.user_ns["run"]
    cell(ip, ENDLESS + " -o other" + BODY)
    assert former.loop.running  # that was another cell
    cell(ip, text)
    assert former.stopped == "user"
    assert ip.user_ns["run"] is not former
    assert ip.user_ns["run"].loop.running
    cell(ip, text.replace("y = x", "y = 1 / 0 * x"))  # fails: then nothing is replaced
    assert ip.user_ns["run"].loop.running


def message(cell_id: str | None, msg_id: str) -> Any:
    metadata = {"cellId": cell_id} if cell_id else {}
    return lambda: {"metadata": metadata, "header": {"msg_id": msg_id}, "content": {"code": ""}}


def test_a_cell_is_known_by_its_id_in_the_notebook(ip: Any) -> None:
    ip.get_parent = message("one", "1")
    cell(ip, ENDLESS + " -o a" + BODY)
    ip.get_parent = message("two", "2")
    cell(ip, ENDLESS + " -o b" + BODY)
    assert ip.user_ns["a"].loop.running
    ip.get_parent = message("one", "3")
    cell(ip, ENDLESS + " -o c --seed 1" + BODY)  # edited, and still the same cell
    assert ip.user_ns["a"].stopped == "user"
    assert ip.user_ns["b"].loop.running
    assert ip.user_ns["c"].loop.running


def test_several_lines_in_one_cell_are_several_runs(ip: Any) -> None:
    cell(ip, BODY)
    ip.get_parent = message("one", "1")
    both = "%metagd gd --lr 1e-9 --steps 1000000000 -o a\n%metagd gd --lr 1e-9 --steps 1000000000 -o b"
    cell(ip, both)
    a, b = ip.user_ns["a"], ip.user_ns["b"]
    assert a.loop.running
    assert b.loop.running
    ip.get_parent = message("one", "2")
    cell(ip, both)
    assert (a.stopped, b.stopped) == ("user", "user")
    assert ip.user_ns["a"].loop.running


# ---- displays ---------------------------------------------------------------------------------------------------


class Told:
    """A display that remembers what it was told, and from which thread."""

    made: list[Told]

    def __init__(self, run: Any, **options: Any) -> None:
        self.run, self.options, self.calls = run, options, list[tuple[str, Any]]()
        type(self).made.append(self)

    def show(self) -> None:
        self.calls.append(("show", threading.current_thread()))

    def frame(self, final: bool = False) -> None:
        self.calls.append(("final" if final else "frame", threading.current_thread()))


@pytest.fixture
def displays(monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    """Stand-ins for the plot and the controls, in the order made, as in a notebook."""
    made: list[Told] = []
    for where, name in (("metagd_nb.notebook.controls", "Controls"), ("metagd_nb.notebook.magic.cell", "LiveDisplay")):
        monkeypatch.setattr(f"{where}.{name}", type(name, (Told,), {"made": made}))
    monkeypatch.setattr("metagd_nb.notebook.magic.cell.shows_pictures", lambda: True)
    return made


def kinds(displays: list[Told]) -> list[str]:
    return [type(one).__name__ for one in displays]


def test_controls_under_the_plot_shown_by_the_cell_and_moved_by_the_run(ip: Any, displays: list[Told]) -> None:
    cell(ip, "%%metagd gd --steps 50" + BODY)
    ip.user_ns["run"].wait()
    assert kinds(displays) == ["LiveDisplay", "Controls"]
    for one in displays:
        assert one.run is ip.user_ns["run"]
        assert one.calls[0] == ("show", threading.main_thread())
        assert one.calls[-1][0] == "final"
        assert {thread for _, thread in one.calls[1:]}.isdisjoint({threading.main_thread()})


@pytest.mark.parametrize(
    ("options", "shown"),
    [("", ["LiveDisplay", "Controls"]), (" --wait", ["LiveDisplay", "Controls"]), (" --no-plot", ["Controls"])],
)
def test_what_is_shown(ip: Any, displays: list[Told], options: str, shown: list[str]) -> None:
    cell(ip, f"%%metagd gd --steps 5{options}" + BODY)
    assert kinds(displays) == shown


def test_no_controls_where_cells_wait_by_themselves_or_in_a_terminal(
    ip: Any, displays: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAGD_WAIT", "1")
    cell(ip, "%%metagd gd --steps 5" + BODY)
    cell(ip, "%%metagd gd --steps 5 --no-plot" + BODY)
    assert kinds(displays) == ["LiveDisplay"]
    monkeypatch.delenv("METAGD_WAIT")
    monkeypatch.setattr("metagd_nb.notebook.magic.cell.shows_pictures", lambda: False)
    cell(ip, "%%metagd gd --steps 5" + BODY)
    assert kinds(displays) == ["LiveDisplay", "LiveDisplay"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module", name="ipywidgets"), "ipywidgets is not installed"),
        (RuntimeError("no comm"), "a display cannot be made (RuntimeError: no comm)"),
    ],
)
def test_without_widgets_the_run_goes_on(
    ip: Any, displays: list[Told], monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(controls, "Controls", broken)
    done = cell(ip, "%%metagd gd --steps 5 --wait" + BODY)
    assert said in done.text
    assert done.value.stopped == "steps"
    assert kinds(displays) == ["LiveDisplay"]


def test_a_display_that_breaks_does_not_take_the_others_along(ip: Any, displays: list[Told]) -> None:
    cell(ip, "%%metagd gd --steps 5 --wait" + BODY)
    run, (first, second) = ip.user_ns["run"], displays
    first.frame = lambda final=False: 1 / 0  # type: ignore[assignment,method-assign]
    frames, told = Frames(run, first, second), len(second.calls)
    frames.frame()
    frames.frame(final=True)
    assert len(second.calls) == told + 2
    assert run.note == "the live display stopped (ZeroDivisionError: division by zero); training went on"


# ---- interrupts and failures under way --------------------------------------------------------------------------


def test_interrupting_a_waiting_cell_stops_the_run_and_keeps_its_state(ip: Any) -> None:
    hand = interrupt_training(0.4)
    done = cell(ip, ENDLESS + " --wait" + BODY)
    hand.join()
    assert done.error is None
    assert done.value.stopped == "interrupted"
    assert done.value.iteration > 0


LATE = """
w, count = 1.0, [0]
def loss(w):
    count[0] += 1
    if count[0] > 20:
        raise RuntimeError("the data is gone")
    return w ** 2
"""


def test_a_loss_that_fails_under_way_shows_the_persons_own_lines(ip: Any) -> None:
    done = cell(ip, "%%metagd gd --lr 0.01 --wait" + LATE)
    assert isinstance(done.error, RuntimeError)
    assert '----> 6     raise RuntimeError("the data is gone")' in done.text
    assert "metagd_nb" not in done.text
    assert ip.user_ns["run"].stopped == "failed"


@pytest.mark.parametrize("at", [0, 20])
@pytest.mark.parametrize("wait", ["--wait", ""])
def test_an_error_that_no_except_exception_sees(ip: Any, at: int, wait: str) -> None:
    body = LATE.replace("RuntimeError(", "Odd(").replace("20", str(at)) + "class Odd(BaseException): pass\n"
    done = cell(ip, f"%%metagd gd --lr 0.01 {wait}" + body)
    if wait or at == 0:
        assert '----> 6     raise Odd("the data is gone")' in done.text
        assert "metagd_nb" not in done.text
    assert ("run" in ip.user_ns) == (at > 0)
    if at:
        assert ip.user_ns["run"].wait().stopped == "failed"


def test_an_exit_in_a_loss_ends_the_run_and_not_the_shell(ip: Any) -> None:
    assert cell(ip, "%%metagd gd --lr 0.01" + LATE.replace("RuntimeError(", "SystemExit(")).error is None
    assert "SystemExit: the data is gone" in ip.user_ns["run"].wait().note
    assert ip.user_ns["run"].stopped == "failed"
    assert cell(ip, "1 + 1").value == 2


def test_a_loss_that_fails_in_the_background_is_told_in_the_note(ip: Any) -> None:
    assert cell(ip, "%%metagd gd --lr 0.01" + LATE).error is None
    assert "RuntimeError: the data is gone" in ip.user_ns["run"].wait().note


# ---- commands ---------------------------------------------------------------------------------------------------


def test_the_listing_fits_a_screen_and_names_everything(ip: Any) -> None:
    text = cell(ip, "%metagd").text
    assert text == cell(ip, "%metagd --help").text
    assert len(text.splitlines()) <= 60
    assert max(map(len, text.splitlines())) <= 100
    for name in (*ALGORITHMS, "sinusoid()", "groups(x, y, group)", "mlp(…)", "check", "compare"):
        assert f" {name}" in text or f"%metagd {name}" in text


def test_the_listing_says_everything_to_the_end() -> None:
    from metagd_nb.notebook.magic.help import listing

    page = listing()
    flat = " ".join(str(page).split())
    told = [row[-1] for section in page.sections for row in section.rows if not section.brief]
    assert [text for text in told if text not in flat] == []
    table = html.unescape(page._repr_html_())
    assert [row for section in page.sections for row in section.rows if not all(cell in table for cell in row)] == []


@pytest.mark.parametrize("method", list(ALGORITHMS))
def test_one_methods_help(ip: Any, method: str) -> None:
    text = cell(ip, f"%metagd {method} --help").text
    assert text == cell(ip, f"%%metagd {method} --help\nbroken(").text  # the body is not run
    cls = ALGORITHMS[method]
    flat = " ".join(text.split())
    assert cls.source in flat
    for one in (hyperparameters(Settings) | hyperparameters(cls)).values():
        assert one.option in text
        assert one.help in flat
        assert one.allowed in flat
    assert mine(ip) == {}


@pytest.mark.parametrize(("line", "same"), [("help", ""), ("help maml", "maml --help"), ("help check", "check --help")])
def test_help_is_a_command(ip: Any, line: str, same: str) -> None:
    assert cell(ip, f"%metagd {line}").text == cell(ip, f"%metagd {same}").text
    assert cell(ip, f"%metagd {line}").error is None


def test_help_of_an_unknown_word_is_one_line(ip: Any) -> None:
    assert cell(ip, "%metagd help mamal").line == "metagd: unknown algorithm 'mamal'; did you mean 'maml'?"
    assert cell(ip, "%metagd help gd adam").line.startswith("metagd: unexpected 'adam' after gd")


def test_the_version_is_printed(ip: Any) -> None:
    assert cell(ip, "%metagd --version").text == f"metagd_nb {mg.__version__}\n"


def test_what_a_python_call_logs_is_printed_under_its_cell(
    ip: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a notebook only, once: from a script it is for the script's own handlers."""
    run = mg.train("maml", model=mg.mlp(1, 4, 1), tasks=mg.sinusoid(), steps=3)
    run.save(tmp_path / "run.npz")
    ip.user_ns["run"] = mg.load(tmp_path / "run.npz")
    ip.run_line_magic("reload_ext", "metagd_nb")
    assert cell(ip, "again = run.replay()").text.splitlines() == [
        "metagd: to the bit: the machine, the versions and the BLAS threads are the same",
        "metagd: replayed 3 steps: equal to the bit",
    ]
    ip.run_line_magic("unload_ext", "metagd_nb")
    mg.load(tmp_path / "run.npz").replay()
    assert capsys.readouterr() == ("", "")


def test_pages_are_tables_in_a_notebook() -> None:
    from metagd_nb.notebook.magic.help import listing, manual

    for page in (listing(), manual("maml"), manual("check"), manual("compare")):
        html = page._repr_html_()
        assert html.count("<table>") == html.count("</table>") == len(page.sections)
        assert "<code " in html or not page.sections


def test_check_reports_every_defect_and_stops_nothing(ip: Any) -> None:
    flipped = "def gradient(x, w): return x.T @ (y_true - x @ w) / len(x)"
    cell(ip, BODY + flipped)
    done = cell(ip, "%metagd check")
    assert done.error is None
    assert done.text.splitlines() == [
        "gradient reads y_true, which does not exist; did you mean y?",
        "gradient points uphill (cosine −1.00): its sign is flipped",
        "gradient is 0.50 times the true one: a factor is missing",
    ]
    cell(ip, "def mended(x, y, w): return 2 * x.T @ (x @ w - y) / len(x)\ncost = loss")
    assert cell(ip, "%metagd check cost mended").text.startswith("gradient is right")
    assert "run" not in ip.user_ns


def test_check_takes_a_body_and_params(ip: Any) -> None:
    own = "def loss(w, t): return np.sum((w - t) ** 2)\ndef gradient(w, t): return 2 * np.sum(w - t)"
    body = f"\n{own}\nw, t = 1.0, np.arange(3)"
    assert cell(ip, "%%metagd check --params w" + body).text.startswith("gradient is right")
    assert "--params w" in cell(ip, "%%metagd check" + body).line


def test_compare_lays_losses_over_each_other(ip: Any) -> None:
    cell(ip, "%%metagd gd --lr 0.1 --steps 30 --wait -o slow" + BODY)
    cell(ip, "%metagd gd --lr 0.3 --steps 20 --wait -o fast")
    from metagd_nb.plotting.comparison import overlaid_runs as overlay

    runs = {"slow": ip.user_ns["slow"], "fast": ip.user_ns["fast"]}
    figure = overlay(runs)
    (ax,) = figure.axes
    drawn = {line.get_label(): line for line in ax.get_lines() if line.get_label() in runs}
    for name, run in runs.items():
        np.testing.assert_allclose(drawn[name].get_xydata()[:, 1], run.record["loss"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["slow", "fast"]
    data, metadata = figure._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert "slow, fast" in metadata["image/png"]["alt"]
    assert cell(ip, "%metagd compare slow fast").error is None


def test_recognise_learns_to_tell_kinds_apart_and_shows_it(ip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("metagd_nb.notebook.magic.commands.display", shown.append)
    said = cell(ip, "%%metagd recognise --shots 5 --n-tasks 400\ntasks = mixed('sinusoid', 'line', noise=0.0)")
    assert said.error is None
    tell, (figure,) = ip.user_ns["tell"], shown
    assert said.text.startswith("metagd: recogniser of sinusoid, line by features from 5 points, in tell; on new tasks")
    assert tell([-4, -2, 0, 1, 4], [-4, -2, 0, 1, 4]).kind == "line"
    share = float(said.text.split("on new tasks ")[1].split()[0])
    assert share == pytest.approx(tell.evaluate().accuracy, abs=5e-4)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["sinusoid", "line"]
    assert cell(ip, "%metagd recognise tasks --shots 5 --n-tasks 400 --by curvature -o other").error is None
    assert ip.user_ns["other"].by == "curvature"


def test_recognise_takes_what_the_function_takes() -> None:
    of_function = inspect.signature(mg.recognise).parameters
    for option, one in allowed("recognise").items():
        if isinstance(one, Hyperparameter):
            assert of_function[one.name].default == one.default, option
    assert allowed("recognise")["--by"].choices == WAYS


def test_compare_draws_means_of_noisy_losses_and_takes_a_run_under_way(ip: Any) -> None:
    cell(ip, "%%metagd maml --steps 200 --wait -o one\ntasks = sinusoid()\nmodel = mlp(1, 4, 1)")
    cell(ip, "%metagd fomaml --steps 100000000 -o two")
    from metagd_nb.plotting.comparison import overlaid_runs as overlay

    (ax,) = overlay({"one": ip.user_ns["one"], "two": ip.user_ns["two"]}).axes
    assert ax.yaxis.label.get_text().startswith("query loss: means")
    assert not any(patch.get_visible() for patch in ax.patches)
    assert ip.user_ns["two"].loop.running
    assert "three is not a run" in cell(ip, "%metagd compare one three").line
    assert cell(ip, "%metagd compare one tow").line == "metagd: tow is not a run; did you mean 'two'?"
    assert len(overlay({"new": mg.prepare("gd", loss=lambda w: w**2, params={"w": 1.0})}).axes) == 1  # no row yet


@best_of_three
def test_a_magics_code_is_quick_to_start(ip: Any) -> None:
    """What the cell itself adds to a run, without any display, is not felt."""
    cell(ip, "%%metagd gd --steps 1 --wait --no-plot" + BODY)
    start = time.perf_counter()
    for _ in range(10):
        cell(ip, "%%metagd gd --steps 1 --wait --no-plot" + BODY)
    assert (time.perf_counter() - start) / 10 < 0.2


def test_the_magic_is_documented_where_it_is_defined() -> None:
    from metagd_nb.notebook import magic

    assert inspect.getdoc(magic.register)


# ---- kept runs ------------------------------------------------------------------------------------------------------


def test_a_run_is_exported_and_gone_on_with_by_a_line(ip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cell(ip, f"%%metagd gd --lr 0.1 --steps 20 --wait --no-plot\n{BODY}").error is None
    assert cell(ip, "%metagd export run loss.csv").text == "metagd: run is in loss.csv\n"
    assert len((tmp_path / "loss.csv").read_text().splitlines()) == 22
    ip.user_ns["run"].save("run.npz")
    monkeypatch.setenv("METAGD_WAIT", "1")
    done = cell(ip, "%metagd resume run --steps 30")
    assert done.error is None, done.text
    assert done.value is ip.user_ns["run"]
    whole = cell(ip, f"%%metagd gd --lr 0.1 --steps 30 --no-plot -o whole\n{BODY}").value
    from_file = cell(ip, "%metagd resume run.npz --steps 30").value  # its loss is the session's
    assert from_file is ip.user_ns["run"] is not done.value
    for run in (done.value, from_file):
        np.testing.assert_array_equal(run.record["loss"], whole.record["loss"])
        assert (run.stopped, run.iteration) == ("steps", 30)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("export run", "export takes a run and a file: %metagd export run run.py"),
        ("export rum a.csv", "rum is not a run; did you mean 'run'?"),
        ("export run a.pdf", "unknown ending '.pdf'"),
        ("resume", "resume takes a run or a file"),
        ("resume nothing.npz", "nothing.npz is neither a run nor a file"),
        ("resume run", "the run has ended (steps), by steps=2; to go on: resume(steps=…)"),
        ("resume run --step 4", "--step is no option of resume; did you mean '--steps'?"),
    ],
)
def test_mistakes_about_kept_runs_are_one_line(ip: Any, line: str, said: str) -> None:
    assert cell(ip, f"%%metagd gd --lr 0.1 --steps 2 --wait --no-plot\n{BODY}").error is None
    assert said in cell(ip, f"%metagd {line}").line


def test_metrics_and_callbacks_by_name(ip: Any) -> None:
    ip.run_cell_magic(
        "metagd",
        "gd --lr 0.1 --steps 40 --metrics size --callbacks note --wait --no-plot",
        "seen = []\ndef loss(w): return (w ** 2).sum()\ndef size(params): return abs(params['w']).sum()\n"
        "def note(run): seen.append(run.iteration)\nw = np.ones(3)",
    )
    assert ip.user_ns["run"].record["size"][0] == 3.0
    assert ip.user_ns["seen"][-1] == 40
