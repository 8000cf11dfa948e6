"""Misuse of calls and functions: one line, or the user's own lines, and none of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from cells import Done, cell

import metagd_nb as mg
from metagd_nb.training.drivers import foreground


@pytest.fixture(autouse=True)
def names(ip: Any) -> None:
    ip.run_line_magic("colors", "nocolor")
    cell(ip, "import operator, numpy as np, metagd_nb as mg\nmodel, tasks = mg.mlp(1, 4, 1), mg.sinusoid()")


LOSS, MODEL = "here it is called as loss(prediction, target)", "here it is called as model(params, x)"
OWN = "params = {'a': np.zeros(1)}\ndef loss(p, t): return np.mean((p - t) ** 2)\n"
OF_SWEEP = "loss=lambda w: w ** 2, params={'w': 1.0})"

BODIES = {
    "def loss(w): return w ** 2": f"loss takes (w); {LOSS}",
    "loss = operator.neg": f"loss takes (a); {LOSS}",
    "def loss(prediction, target, weights): return 0.0": f"loss takes (prediction, target, weights); {LOSS}",
    "def loss(*, p, t): return 0.0": f"loss takes (p, t); {LOSS}",
    OWN + "def model(p): return p['a']": f"model takes (p); {MODEL}",
    OWN + "def model(p, x, z): return p['a'] * x": f"model takes (p, x, z); {MODEL}",
}
CALLS = {
    "mg.train('maml', model=model, tasks=tasks, loss=lambda w: w)": f"loss takes (w); {LOSS}",
    "mg.train('gd', model=model, x=np.ones((3, 1)), y=np.ones(3), loss=lambda w: w)": f"loss takes (w); {LOSS}",
    "mg.train('maml', model=lambda p: p, params={'a': 1.0}, tasks=tasks)": f"model takes (p); {MODEL}",
    f"mg.sweep('gd', decay=[0.1, 0.2], {OF_SWEEP}": "such as {'decay': [0.1, 0.2]}",
    f"mg.sweep('gd', {{'decay': [1, 2]}}, {OF_SWEEP}": "unknown option of gd 'decay'",
    f"mg.sweep('gd', {{'lr': [0.1]}}, decay=[0.1], {OF_SWEEP}": "unknown option of gd 'decay'",
    f"mg.sweep('gd', 'lr', {OF_SWEEP}": "over: needs a setting and its values, such as {",
    f"mg.sweep('gd', {{'lr': 0.1}}, {OF_SWEEP}": "lr: 0.1 is not a list of values",
    "mg.sweep('gd')": "over: needs a setting and its values, such as {",
    "mg.episodes('imgs')": "missing a required argument: 'y'; episodes takes (x, y, ways",
    "mg.sinusoid(nonsense=3)": "got an unexpected keyword argument 'nonsense'; sinusoid takes (",
    "mg.compare(mg.prepare('maml', model=model, tasks=tasks))": "is not a list of runs",
    "mg.load(mg.prepare('maml', model=model, tasks=tasks))": "is not the path of a file",
    **dict.fromkeys(["mg.load(3)", "mg.load(None)", "mg.load(b'x')", "mg.load([1])", "mg.load('')"], "is not the path"),
    "mg.load('/')": "is a folder",
    "mg.load('nothing.metagd')": "does not exist",
}


def shows_no_line_of_ours(done: Done) -> bool:
    return "metagd_nb/" not in done.text and "metagd_nb\\" not in done.text


@pytest.mark.parametrize("body", BODIES)
def test_functions_with_other_arguments(ip: Any, body: str) -> None:
    assert cell(ip, f"%%metagd maml --steps 2 --wait --no-plot\n{body}").line == f"metagd: {BODIES[body]}"


def test_a_leftover_model(ip: Any) -> None:
    cell(ip, OWN + "def model(p): return p['a']")
    assert cell(ip, "%%metagd maml --steps 2 --wait --no-plot\ntasks = mg.sinusoid()").line.endswith(MODEL)


@pytest.mark.parametrize("call", CALLS)
def test_calls(ip: Any, call: str) -> None:
    assert CALLS[call] in cell(ip, call).line


@pytest.mark.parametrize(
    "call",
    [
        "mg.train('gd', loss=fails, params={'w': 1.0})",
        "mg.train('maml', model=model, tasks=tasks, loss=lambda p, t: fails(p))",
        "mg.sweep('gd', {'lr': [0.1]}, loss=fails, params={'w': 1.0})",
    ],
)
def test_errors_of_the_users_functions_show_their_lines(ip: Any, call: str) -> None:
    cell(ip, "def fails(w):\n    here = {}\n    return here['mine']")
    done = cell(ip, call)
    assert isinstance(done.error, KeyError)
    assert "here['mine']" in done.text
    assert shows_no_line_of_ours(done)


BLOCKING = {
    "run.evaluate()": "metagd_nb.training.evaluation.evaluate",
    "run.export('/nowhere/run.csv')": "metagd_nb.plotting.export.export",
    "run.plot()": "metagd_nb.plotting.run_figure.figure",
    "run.replay()": "metagd_nb.training.persistence.replay.replay_plan",
    "run.save('/nowhere/run.metagd')": "metagd_nb.training.persistence.contents.write_run",
    "run.costs": "metagd_nb.training.costs.training_costs",
    "run.adapt(np.ones((3, 1)), np.ones(3))": "metagd_nb.training.adaptation.predictor",
    "mg.compare([run], seeds=0)": "metagd_nb.analysis.compare._check_comparable",
    f"mg.sweep('gd', {{'lr': [0.1]}}, {OF_SWEEP}": "metagd_nb.analysis.sweep._axes",
}


@pytest.mark.parametrize("call", BLOCKING)
def test_an_interrupt_shows_no_line_of_ours(ip: Any, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    cell(ip, "run = mg.train('maml', model=model, tasks=tasks, steps=2)")

    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(BLOCKING[call], interrupted)
    done = cell(ip, call)
    assert isinstance(done.error, KeyboardInterrupt)
    assert done.text.strip() == "KeyboardInterrupt"
    assert ip.user_ns["run"].loss > 0


def test_an_interrupted_comparison_keeps_the_seeds_that_are_complete() -> None:
    def until(n: int) -> Callable[[Iterable[mg.Run]], Iterable[mg.Run]]:
        def train(runs: Iterable[mg.Run]) -> Iterable[mg.Run]:
            for i, run in enumerate(runs):
                if i == n:
                    raise KeyboardInterrupt
                yield foreground(run)

        return train

    def given(lr: float) -> mg.Run:
        return mg.prepare("gd", loss=lambda w: np.sum(w**2), params={"w": np.ones(2)}, lr=lr, steps=3)

    both = {"a": given(0.1), "b": given(0.2)}
    with pytest.warns(UserWarning, match="interrupted: 2 of 5 seeds are compared"):
        found = mg.compare(both, 5, baselines=False, train=until(5))
    assert "2 seeds" in repr(found)
    with pytest.raises(KeyboardInterrupt):
        mg.compare(both, 5, baselines=False, train=until(1))
