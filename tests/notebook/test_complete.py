"""Tab on a line of the magic: asked of the shell's own completer, as a front end does."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from cells import BODY, cell
from IPython.core.completer import provisionalcompleter

import metagd_nb as mg
from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.algorithms.optimizers import OPTIMIZERS
from metagd_nb.notebook.magic.complete import candidates
from metagd_nb.notebook.magic.options import COMMANDS, allowed


@pytest.fixture
def complete(ip: Any) -> Any:
    """Text with ``|`` for the cursor → the text after each completion, in the order offered."""

    def offered(text: str) -> list[str]:
        cursor, text = text.index("|"), text.replace("|", "", 1)
        with provisionalcompleter(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # jedi's own
            return [text[: c.start] + c.text + text[c.end :] for c in ip.Completer.completions(text, cursor)]

    return offered


@pytest.mark.parametrize("magic", ["%metagd", "%%metagd"])
def test_algorithms_and_commands(complete: Any, magic: str) -> None:
    assert complete(f"{magic} |") == [f"{magic} {name}" for name in sorted([*ALGORITHMS, *COMMANDS])]
    assert complete(f"{magic} fo|") == [f"{magic} fomaml"]
    assert complete(f"{magic} --v|") == [f"{magic} --version"]
    assert complete(f"{magic} help fo|") == [f"{magic} help fomaml"]
    assert complete(f"{magic} mo|\nw = 1.0") == [f"{magic} momentum\nw = 1.0"]


def test_options_that_are_not_there_yet(complete: Any) -> None:
    assert complete("%%metagd maml --inner-l|") == ["%%metagd maml --inner-lr"]
    assert complete("%metagd gd --lr 0.1 --l|") == ["%metagd gd --lr 0.1 --loss-below"]
    assert complete("%metagd gd --lr=0.1 --l|") == ["%metagd gd --lr=0.1 --loss-below"]
    every = {f"%metagd gd {option}" for option in allowed("gd")}
    assert set(complete("%metagd gd --|")) == {o for o in every if "--" in o}
    assert set(complete("%metagd gd |")) == every


def test_choices_and_defaults(complete: Any) -> None:
    assert complete("%metagd maml --outer |") == [f"%metagd maml --outer {o}" for o in sorted(OPTIMIZERS)]
    assert complete("%metagd maml --outer=s|") == ["%metagd maml --outer=sgd"]
    assert complete("%metagd gd --dtype float3|") == ["%metagd gd --dtype float32"]
    assert complete("%metagd gd --lr |") == ["%metagd gd --lr 0.1"]


def test_runs_and_functions(ip: Any, complete: Any) -> None:
    cell(ip, "%%metagd gd --steps 2 --wait -o slow" + BODY)
    cell(ip, "%metagd gd --steps 3 --wait -o fast")
    assert complete("%metagd compare |") == ["%metagd compare fast", "%metagd compare slow"]
    assert complete("%metagd compare slow |") == ["%metagd compare slow fast"]
    assert complete("%metagd gd -o s|") == ["%metagd gd -o slow"]
    ip.user_ns["mine"] = mg.mixed()
    assert complete("%metagd recognise mi|") == ["%metagd recognise mine"]
    assert complete("%metagd recognise mine --by cu|") == ["%metagd recognise mine --by curvature"]
    assert complete("%metagd check lo|") == ["%metagd check loss"]
    assert complete("%metagd check --|") == ["%metagd check --data", "%metagd check --params"]
    assert complete("%metagd gd --params |") == ["%metagd gd --params w"]
    cell(ip, "def loss(w, bias, x): pass")
    assert complete("%metagd gd --params w,|") == ["%metagd gd --params w,bias", "%metagd gd --params w,x"]


def test_the_body_is_pythons_own(ip: Any, complete: Any) -> None:
    cell(ip, "learning_curve = 1")
    assert "%%metagd gd\nlearning_curve" in complete("%%metagd gd\nlearning_c|")
    assert not [text for text in complete("%%metagd gd\nx = %%metagd mam|") if "maml" in text]
    assert not [text for text in complete("%metagdx mam|") if "maml" in text]
    assert "run = %metagd maml" in complete("run = %metagd mam|")


@pytest.mark.parametrize("rest", ["nosuch --", "maml --nosuch ", "gd --lr=", "compare ", "check x y z ", "gd 'a ", ""])
def test_odd_lines_offer_something_or_nothing(rest: str) -> None:
    for space in ({}, {"loss": 3}, {"loss": print}, {"loss": type}):
        fragment, kind, offers = candidates(rest, space)
        assert isinstance(kind, str)
        assert rest.endswith(fragment)
        assert all(isinstance(offer, str) for offer in offers)


def test_forms_of_a_schedule(ip: Any, complete: Any) -> None:
    forms = ("constant", "cosine", "halves", "step:", "warmup:")
    ip.run_cell("def halves(step):\n    return 0.5**step")
    assert complete("%metagd gd --schedule |") == [f"%metagd gd --schedule {form}" for form in forms]
    assert complete("%metagd gd --schedule=w|") == ["%metagd gd --schedule=warmup:"]
