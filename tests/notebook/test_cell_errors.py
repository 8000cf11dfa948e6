"""Bad input to a cell: one line (or the person's own lines), a real error, a kernel that lives, names untouched."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from typing import Any

import pytest
from cells import BODY, DATA, Done, cell, mine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.core.errors import MetagdError
from metagd_nb.notebook.magic.line import parse
from metagd_nb.notebook.magic.options import allowed


@pytest.fixture(autouse=True)
def plain(ip: Any) -> None:
    ip.run_line_magic("colors", "nocolor")


def alive(ip: Any) -> bool:
    return bool(cell(ip, "40 + 2").value == 42)


# ---- lines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mamal", "unknown algorithm 'mamal'; did you mean 'maml'?"),
        ("GD", "unknown algorithm 'GD'; did you mean 'gd'?"),
        ("chek", "unknown algorithm 'chek'; did you mean 'check'?"),
        ("zzzzzz", f"unknown algorithm 'zzzzzz'; allowed: {', '.join(ALGORITHMS)}, check, compare"),
        ("--lr 0.1", "the algorithm comes first, then its options: %%metagd gd --lr …"),
        ("gd --rl 0.1", "--rl is no option of gd; did you mean '--lr'?"),
        ("gd --loss_below 1", "--loss_below is no option of gd; did you mean '--loss-below'?"),
        ("gd -lr 0.1", "-lr is no option of gd; did you mean '--lr'?"),
        ("gd --learning-rate 0.1", "--learning-rate is no option of gd; did you mean '--lr'?"),
        ("maml --learning_rate 1", "--learning_rate is no option of maml; did you mean '--inner-lr' or '--meta-lr'?"),
        ("gd lr 0.1", "unexpected 'lr' after gd; did you mean '--lr'?"),
        ("gd 0.1", "unexpected '0.1' after gd; allowed: --lr"),
        ("gd --shots 3", "--shots is no option of gd, only of maml, fomaml"),
        ("maml --params w", "--params is no option of maml, only of gd"),
        ("gd --lr", "--lr: needs a value: a number ≥ 0 and ≤ 1,000,000"),
        ("gd --lr --steps 3", "--lr: needs a value"),
        ("gd --lr fast", "--lr: 'fast' is not a number; needs a number ≥ 0 and ≤ 1,000,000"),
        ("gd --lr nan", "--lr: nan is not allowed; needs"),
        ("gd --lr -0.1", "--lr: -0.1 is not allowed; needs a number ≥ 0"),
        ("gd --lr 0.1,0.2", "--lr: '0.1,0.2' is not allowed"),
        ("gd --steps 1.5", "--steps: 1.5 is not allowed; needs a whole number"),
        ("gd --lr 1 --lr 2", "--lr: is given twice"),
        ("gd --wait=yes", "--wait: takes no value, but has 'yes'"),
        (
            "maml --outer sgdd",
            "--outer: 'sgdd' is not one of sgd, momentum, nesterov, rmsprop, adam; did you mean 'sgd'?",
        ),
        ("gd -o 3x", "-o: '3x' cannot be the name of a variable"),
        ("gd -o for", "-o: 'for' cannot be the name of a variable"),
        ("gd -o loss", "-o: 'loss' is a name that cells read"),
        ("gd -o w", "-o: 'w' is a parameter's starting value"),
        ("gd --params w,3", "--params: '3' is not a name"),
        ("gd --params wu", "wu has no starting value; define it, such as wu = np.zeros(3); did you mean w?"),
        ("gd --lr 'a", "a quote is not closed: gd --lr 'a"),
        ("compare", "compare needs two runs or more; there are none yet"),
        ("compare a b", "a is not a run; there are none yet"),
        ("recognise", "tasks is not a family of tasks; there are none yet"),
        ("recognise a b", "recognise takes one family of tasks: %metagd recognise tasks"),
        ("recognise a --by eye", "--by: 'eye' is not one of features, curvature"),
        ("recognise a --shots 0", "--shots: 0 is not allowed; needs a whole number ≥ 1 and ≤ 1,000"),
        ("check a b c", "check takes a loss and a gradient, not 3 names"),
        ("check los", "los does not exist; did you mean loss?"),
        ("check loss", "gradient does not exist"),
        ("check w", "w must be a function, not ndarray"),
    ],
)
def test_a_bad_line_is_one_line(ip: Any, line: str, said: str) -> None:
    done = cell(ip, f"%%metagd {line}{BODY}")
    assert isinstance(done.error, MetagdError)
    assert done.line.startswith(f"metagd: {said}")
    assert "run" not in ip.user_ns
    late = "gd -o w", "gd --params wu", "compare", "check", "recognise a b"
    known_before_the_body = not (line.startswith(late) or line == "recognise")
    assert set(mine(ip)) == (set() if known_before_the_body else {"x", "y", "w", "loss"})
    assert alive(ip)


WORDS = st.one_of(
    st.sampled_from(
        [*ALGORITHMS, "check", "compare", "--help", "=", "--", "-", "-o", "--wait", "--no-plot", "w", "''"]
    ),
    st.sampled_from(sorted({option for name in ALGORITHMS for option in allowed(name)})),
    st.sampled_from(["0", "-1", "1e-3", "1e400", "nan", "inf", "0.1,0.2", ",", "1,", "--lr=", "--lr=0.1", "--steps=3"]),
    st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=8),
)


def parsed(line: str) -> tuple[str, str]:
    """The first word as understood, or what was said instead."""
    try:
        return parse(line).word, ""
    except MetagdError as error:
        return "", str(error)


@given(st.lists(WORDS, max_size=6).map(" ".join))
def test_any_line_is_understood_or_refused_in_one_line(line: str) -> None:
    word, refused = parsed(line)
    assert word in ("", "check", "compare", *ALGORITHMS)
    assert len(refused.splitlines()) <= 1 or len(line.splitlines()) > 1


@given(st.sampled_from(sorted(ALGORITHMS)), st.data())
def test_any_value_of_an_option_is_taken_or_refused_by_its_name(method: str, data: st.DataObject) -> None:
    option = data.draw(st.sampled_from([o for o, one in allowed(method).items() if getattr(one, "default", "") != ""]))
    value = data.draw(
        st.one_of(st.floats().map(repr), st.integers().map(str), st.from_regex(r"[a-z0-9.,]+", fullmatch=True))
    )
    _, refused = parsed(f"{method} {option} {value}")
    assert not refused or refused.startswith(f"{option}: ")


# ---- bodies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "body", "said"),
    [
        ("gd", "", "nothing is defined below the line; gd needs a function loss of the parameters"),
        ("gd", "# words only", "nothing is defined below the line; gd needs a function loss"),
        ("gd", "w = 1.0", "gd needs a function loss of the parameters, or a built-in model with x and y"),
        (
            "gd",
            "def los(w): return w",
            "gd needs a function loss of the parameters, or a built-in model with x and y; did",
        ),
        ("gd", "loss = 3.0", "loss must be a function, not float"),
        ("gd", "def loss(): return 1.0", "loss has no argument to train"),
        ("gd", "def loss(w=1.0): return w", "loss has no argument to train"),
        ("gd", "def loss(w): return w ** 2", "w has no starting value; define it, such as w = np.zeros(3)"),
        ("gd", "def loss(w): return w ** 2\nw0 = 1.0", "w has no starting value; define it, such as w = np.zeros(3)"),
        (
            "gd",
            "def loss(weights): return 1\nweight = 1.0",
            "weights has no starting value; define it, such as weights =",
        ),
        (
            "gd",
            "def loss(w): return w * np.ones(3)\nw = 1.0",
            "loss returns an array of shape (3,); it needs one number",
        ),
        ("gd", "def loss(w): w * 2\nw = 1.0", "loss returns nothing; it needs a `return` with one number"),
        ("gd", "def loss(w): return 'low'\nw = 1.0", "loss returns a str; it needs one number"),
        ("gd", "def loss(w): return w\nw = 'text'", "w must be made of real numbers, not str"),
        ("gd", "def loss(w): return w\nw = np.array([])", "w is empty, of shape (0,)"),
        (
            "gd",
            "def loss(w): return w.sum()\nw = np.array([1, np.nan])",
            "w[1] starts at nan; it needs a finite number",
        ),
        (
            "gd",
            "x = np.array([1, np.nan])\ndef loss(w): return np.mean(w * x)\nw = 1.0",
            "loss is nan at the starting values",
        ),
        (
            "gd",
            "def loss(w):\n  a = np.zeros(2)\n  a[0] = w\n  return a.sum()\nw = 1.0",
            "loss assigns into an array in place",
        ),
        ("gd", "model = linear(2)", "gd with a model needs x and y; x does not exist"),
        (
            "gd",
            "model = linear(2)\nX = np.ones((3, 2)); y = np.ones(3)",
            "gd with a model needs x and y; x does not exist",
        ),
        ("gd", "model = linear(2)\nx, y = np.ones((3, 2)), np.ones(4)", "x, y: have 3 and 4 rows"),
        ("gd", "model = linear(2)\nx, y = np.ones((3, 1)), np.ones(3)", None),
        ("gd", "model = linear(2)\nx, y = np.ones((3, 2)), ['a', 'b', 'c']", "model"),
        ("gd", "model = linear(1)\nx, y = np.array([1, np.nan]), np.ones(2)", "x"),
        ("gd --params w", DATA + "model = linear(3)", "--params: names arguments of a loss"),
        ("gd --params w,v", "def loss(w): return w ** 2\nw = v = 1.0", "--params: v is not an argument of loss"),
        ("gd --params w", "def loss(w, x): return w * x\nw = 1.0", "loss reads x, which does not exist"),
        ("gd", "mlp(1)", "sizes: (1,) is not allowed"),
        ("maml", "", "nothing is defined below the line; maml needs tasks, a family such as tasks = sinusoid()"),
        ("maml", "model = mlp(1, 4, 1)", "maml needs tasks, a family such as tasks = sinusoid()"),
        ("maml", "tasks = sinusoid()", "maml needs a model, such as model = mlp(1, 40, 40, 1)"),
        ("maml", "tasks = 3\nmodel = mlp(1, 4, 1)", "tasks: 3 is not one; maml needs a family"),
        ("maml", "tasks = sinusoid()\nmodel = 3", "model: 3 is not one; maml needs mlp"),
        (
            "maml",
            "tasks = sinusoid()\ndef model(params, x): return x",
            "maml with a model that is a function needs params",
        ),
        ("maml", "tasks = sinusoid()\nmodel = mlp(2, 4, 1)", None),
        (
            "maml --inner-lr 0.1,0.2",
            "tasks = sinusoid()\nmodel = mlp(1, 4, 1)",
            "--inner-lr: has 2 rates for 13 parameters",
        ),
        ("maml", "tasks = sinusoid()\nmodel = mlp(1, 4, 1)\nloss = 3", "loss must be a function, not int"),
    ],
)
def test_a_bad_body_is_one_line(ip: Any, method: str, body: str, said: str | None) -> None:
    done = cell(ip, f"%%metagd {method}\n{body}")
    assert isinstance(done.error, MetagdError)
    assert done.line.startswith("metagd: " + (said or ""))
    assert "run" not in ip.user_ns
    assert alive(ip)


def test_near_names_are_proposed(ip: Any) -> None:
    assert cell(ip, "%%metagd gd\ndef los(w): return w").line.endswith("did you mean los?")
    assert cell(ip, "%%metagd gd\ndef loss(weights): return 1\nweight = 1.0").line.endswith("did you mean weight?")
    assert cell(ip, "%%metagd maml\ntask = sinusoid()").line.endswith("did you mean task?")
    cell(ip, "%reset -f")
    assert "did you mean" not in cell(ip, "%%metagd gd\nq = 1.0").line  # mse_loss is the kit's


def frames(text: str) -> list[int]:
    """The numbers of the lines that a traceback points at."""
    return [int(n) for n in re.findall(r"^-+> (\d+) ", text, re.MULTILINE)]


@pytest.mark.parametrize(
    ("body", "name", "lines"),
    [
        ("\nq = 1\n1 / 0", "ZeroDivisionError", [4]),
        ("def helper():\n    return undefined\n\nhelper()", "NameError", [5, 3]),
        ("w = 1.0\ndef loss(w):\n    return w + missing", "NameError", [4]),
        ("w = np.zeros(3)\ndef loss(w):\n    return np.mean(np.ones((2, 2)) @ w)", "ValueError", [4]),
        ("q = 1\nraise KeyboardInterrupt", "KeyboardInterrupt", [3]),
        ("import os\nos.stat('/no/such/file')", "FileNotFoundError", [3]),
        ("class E(Exception):\n    __slots__ = ()\nraise E('mine')", "E", [4]),
        ("mse_loss(np.ones(2), np.ones(3))", "ValueError", [2]),
    ],
)
def test_a_persons_error_shows_their_lines_and_none_of_ours(ip: Any, body: str, name: str, lines: list[int]) -> None:
    done = cell(ip, f"%%metagd gd\n{body}")
    assert type(done.error).__name__ == name
    assert frames(done.text) == lines
    assert "metagd_nb" not in done.text
    assert "IPython" not in done.text
    assert "run" not in ip.user_ns
    assert alive(ip)


def test_what_ran_before_the_error_stays(ip: Any) -> None:
    cell(ip, "%%metagd gd\nkept = 1\n1 / 0\nlost = 2")
    assert set(mine(ip)) == {"kept"}


@pytest.mark.parametrize(
    ("body", "said", "line"),
    [
        ("q = 1\n\ndef f(:\n    pass", "SyntaxError", 4),
        ("if True:\nx = 1", "IndentationError", 3),
        ("\n\n\nreturn 3", "SyntaxError", 5),
        ("await something", "SyntaxError", 2),
        ("x = 'open", "SyntaxError", 2),
    ],
)
def test_a_syntax_error_is_short_and_runs_nothing(ip: Any, body: str, said: str, line: int) -> None:
    done = cell(ip, f"%%metagd gd\nmarker = 1\n{body}")
    assert type(done.error).__name__ == said
    assert not isinstance(done.error, SyntaxError)  # IPython would show that its own long way
    assert f"line {line + 1}" in done.text
    assert len(done.text.strip().splitlines()) <= 5
    assert "metagd_nb" not in done.text
    assert mine(ip) == {}
    assert alive(ip)


def test_what_python_cannot_even_read_is_one_line(ip: Any) -> None:
    for body in ("x = '\0'", "(" * 5000 + ")" * 5000):
        done = cell(ip, f"%%metagd gd\n{body}")
        assert done.error is not None
        assert "metagd_nb" not in done.text
        assert len(done.text.strip().splitlines()) <= 4
        assert alive(ip)


def test_a_syntax_error_met_while_running_is_short_too(ip: Any) -> None:
    done = cell(ip, "%%metagd gd\neval('1 +')")
    assert type(done.error).__name__ == "SyntaxError"
    assert "metagd_nb" not in done.text
    assert len(done.text.strip().splitlines()) <= 5


def test_a_bad_magic_in_the_body_is_a_real_error(ip: Any) -> None:
    done = cell(ip, "%%metagd gd\n%nosuchmagic")
    assert type(done.error).__name__ == "UsageError"
    assert done.line == "UsageError: Line magic function `%nosuchmagic` not found."


def test_errors_are_errors_to_a_front_end(ip: Any) -> None:
    """IPython gives a front end the rendered lines; a UsageError would give it none."""
    shown: list[tuple[str, list[str]]] = []
    ip._showtraceback = lambda etype, value, stb: shown.append((etype.__name__, stb))
    cell(ip, "%%metagd mamal\nw = 1")
    cell(ip, "%%metagd gd\ndef f(:")
    cell(ip, "%%metagd gd\n1/0")
    cell(ip, "%%metagd gd")
    assert [name for name, _ in shown] == ["MetagdError", "SyntaxError", "ZeroDivisionError", "MetagdError"]
    assert all(lines for _, lines in shown)


# ---- any body ---------------------------------------------------------------------------------------------------

PIECES = [
    "w = 1.0", "w = np.zeros(3)", "w = 'a'", "w = None", "w = [[1.0], [2.0, 3.0]]", "w = np.arange(3)", "b = np.inf",
    "def loss(w): return np.sum(w ** 2)", "def loss(w): return w", "def loss(w): pass", "def loss(w, b): return w * b",
    "def loss(*w): return 1.0", "def loss(w): raise KeyError('k')", "loss = lambda w: float(w)", "loss = np.sum",
    "loss = 3", "def loss(w): return {}[w]", "def gradient(w): return 2 * w", "def gradient(): return 0",
    "gradient = 3", "model = linear(3)", "model = mlp(3, 2, 1)", "model = 'm'",
    "def model(params, x): return params['a'] * x", "x = np.ones((4, 3))", "x = np.full((4, 3), np.nan)", "x = 'abc'",
    "y = np.ones(4)", "y = [1, 2]", "y = {}", "tasks = sinusoid()", "tasks = quadratics(np.ones(2), np.ones((2, 3)))",
    "tasks = 1", "params = {'a': np.ones(1)}", "params = {}", "import math", "1 / 0", "nosuch",
    "raise KeyboardInterrupt", "raise SystemError('s')", "del w", "assert False", "'value'", "", "# nothing", "\t",
    "class loss: pass", "class W(float): pass\nw = W(1)", "loss = property()",
]  # fmt: skip
BROKEN = ["def f(:", "if True:", "\\", "'''", ")", "\x00"]


@pytest.fixture(scope="module")
def lasting() -> Any:
    """One shell for many examples; each begins with an empty namespace."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell(config=config)
    made.run_line_magic("load_ext", "metagd_nb")
    made.run_line_magic("colors", "nocolor")
    return made


def emptied(shell: Any) -> Any:
    for name in mine(shell):
        del shell.user_ns[name]
    return shell


def bound(body: str) -> set[str]:
    """The names that a body may bind."""
    try:
        tree = ast.parse(body)
    except (SyntaxError, ValueError):
        return set()
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    defined = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))}
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    return stored | defined | imported


def judged(shell: Any, body: str, done: Done) -> None:
    """What holds of any cell."""
    assert "metagd_nb/" not in done.text, done.text  # no line of ours in any traceback
    assert "run_cell_magic" not in done.text, done.text
    if done.error is None:
        assert shell.user_ns["run"].stopped is not None
    else:
        assert "run" not in shell.user_ns or shell.user_ns["run"].stopped == "failed"
        if isinstance(done.error, MetagdError):
            displayed = [
                line for line in done.text.strip().splitlines() if not line.startswith(("Out[0]: '", 'Out[0]: "'))
            ]
            assert len(displayed) == 1, done.text
    assert set(mine(shell)) <= bound(body) | {"run"}
    assert alive(shell)


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["gd", "adam", "hd", "maml", "fomaml", "check"]),
    st.lists(st.sampled_from(PIECES * 5 + BROKEN), max_size=7).map("\n".join),
)
def test_any_body_is_run_or_refused(lasting: Any, method: str, body: str) -> None:
    options = "" if method == "check" else " --steps 2 --wait --no-plot"
    with contextlib.redirect_stderr(io.StringIO()):
        done = cell_as_is(emptied(lasting), f"%%metagd {method}{options}\n{body}")
    if method == "check" and done.error is None:
        assert "run" not in lasting.user_ns
    else:
        judged(lasting, body, done)


SAFE = st.characters(exclude_characters="!%?", exclude_categories=["Cs"])  # these three could call a shell or a magic


@pytest.mark.filterwarnings("ignore:`make_tokens_by_line` received")  # IPython's own, on odd ends of lines
@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(st.text(SAFE, max_size=40))
def test_any_text_is_refused_without_a_line_of_ours(lasting: Any, body: str) -> None:
    done = cell_as_is(emptied(lasting), f"%%metagd gd --steps 2 --wait --no-plot\n{body}")
    assert done.error is not None
    assert "metagd_nb/" not in done.text
    assert "run" not in lasting.user_ns
    assert alive(lasting)


def cell_as_is(ip: Any, text: str) -> Done:
    """A cell whose text is not tidied up first."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        result = ip.run_cell(text)
    return Done(result.result, result.error_before_exec or result.error_in_exec, out.getvalue())
