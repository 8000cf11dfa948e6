"""A followed function is closed: the user's namespace is not changed, and later changes there do not reach it."""

from __future__ import annotations

import functools
import linecache
import math
import subprocess
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autograd
import numpy as np
import pytest
from cells import namespace_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from metagd_nb.core.errors import MetagdError
from metagd_nb.problems.capture.closure import capture
from metagd_nb.problems.capture.snapshot import DataSnapshot

X = np.array([[1.0, 2.0], [3.0, 4.0], [-1.0, 0.5]])
W = np.array([0.3, -0.7])


def slope(function: Callable[..., Any], at: np.ndarray = W) -> np.ndarray:
    return autograd.grad(capture(function).function)(at)


def numeric(function: Callable[..., Any], at: np.ndarray = W) -> np.ndarray:
    eye = np.eye(at.size) * 1e-6
    return np.array([(function(at + e) - function(at - e)) / 2e-6 for e in eye])


PASTED = {
    "np.dot": "import numpy as np\ndef loss(w): return np.mean((1 - np.dot(x, w)) ** 2)",
    "x.dot": "import numpy as np\ndef loss(w): return np.mean((1 - x.dot(w)) ** 2)",
    "x.T.dot": "import numpy as np\ndef loss(w): return np.sum(np.exp(x.T.dot(x).dot(w)) ** 0.1)",
    "lambda x.dot": "import numpy as np\nloss = lambda w: np.exp(x.dot(w)).sum()",
    "w.dot": "def loss(w): return w.dot(w) + w.copy().sum()",
    "nested def": (
        "import numpy as np\ndef loss(w):\n    def inner(v):\n        return x.dot(v)\n"
        "    return np.exp(inner(w)).sum()"
    ),
    "helpers": (
        "import numpy as np\ndef model(x, w): return np.dot(x, w)\ndef mse(a, b): return np.mean((a - b) ** 2)\n"
        "def loss(w): return mse(model(x, w), 1.0)"
    ),
    "from numpy": "from numpy import dot, mean\nfrom numpy.linalg import norm\n"
    "def loss(w): return mean(dot(x, w)) + norm(w)",
    "linalg": "import numpy.linalg as la\ndef loss(w): return la.norm(w) ** 2",
    "import inside": "def loss(w):\n    import numpy as np\n    return np.mean(np.dot(x, w) ** 2)",
    "from inside": "def loss(w):\n    from numpy import dot\n    return dot(x, w).sum() ** 2",
    "scipy": "from scipy.special import expit\nimport scipy.special as sp\n"
    "def loss(w): return expit(w).sum() * sp.erf(w[0])",
    "scipy stats": "from scipy.stats import norm\ndef loss(w): return norm.logpdf(w).sum()",
    "where": "import numpy as np\n"
    "def loss(w): return np.where(w > 0, w, 0.1 * w).sum() * (np.where([True, False], 2.0, 1.0) / 2.0)[0]",
    "lists": "import numpy as np\n"
    "def loss(w): return np.dot(x, [w[0], w[1]])[0] ** 2 + np.exp([w[0], w[1]]).sum() + np.sum([v ** 2 for v in w])",
    "norms": "import numpy as np\nfrom numpy.linalg import norm\ndef loss(w):\n"
    "    m = np.outer(w, [1.0, 3.0, w[0]])\n"
    "    return norm(w, 1) + norm(w) + norm(w, np.inf) + norm(m) + norm(m, axis=1).sum() + np.linalg.norm(m, 'nuc')",
    "broadcast_to": "import numpy as np\ndef loss(w): return (np.broadcast_to(w, (3, 2)) * x).sum() ** 2",
    "asarray": "import numpy as np\ndef loss(w): return np.asarray(w)[0] ** 2 + np.asarray([w[0], w[1]]).sum()",
    "average": "import numpy as np\ndef loss(w): return np.average(w ** 2, weights=[1.0, 3.0])",
    "median": "import numpy as np\ndef loss(w): return np.median(np.concatenate([w, w ** 2, [0.1]]))",
    "flip": "import numpy as np\ndef loss(w): return np.sum(np.flip(w) * np.array([1.0, 3.0]))",
    "polyval": "import numpy as np\ndef loss(w): return np.polyval([1.0, 2.0, 3.0], w).sum()",
    "trapezoid": "import numpy as np\ndef loss(w): return np.trapezoid(w ** 2)",
    "loop": "def loss(w):\n    total = 0.0\n    for row in x:\n        total += (row @ w) ** 2\n    return total",
    "defaults": "import numpy as np\ndef loss(w, x=x, *, f=np.tanh): return f(np.dot(x, w)).sum()",
    "closure": (
        "import numpy as np\ndef make(k):\n    def loss(w): return np.dot(k, w).sum() ** 2\n"
        "    return loss\nloss = make(x)"
    ),
    "partial": (
        "import functools, numpy as np\ndef f(x, w): return np.dot(x, w).sum() ** 2\nloss = functools.partial(f, x)"
    ),
    "recursion": (
        "import numpy as np\ndef power(w, n): return 1.0 if n == 0 else w * power(w, n - 1)\n"
        "def loss(w): return np.sum(power(w, 3))"
    ),
    "mutual recursion": (
        "import numpy as np\ndef even(w, n): return np.sum(w) if n == 0 else odd(w, n - 1)\n"
        "def odd(w, n): return even(w * w, n - 1)\ndef loss(w): return even(w, 2)"
    ),
    "table of functions": "import numpy as np\nact = {'f': np.tanh, 'g': [np.sin]}\n"
    "def loss(w): return act['g'][0](act['f'](w)).sum()",
    "method": ("import numpy as np\nclass M:\n    def loss(self, w): return np.dot(x, w).sum() ** 2\nloss = M().loss"),
    "decorated": ("import functools, numpy as np\n@functools.lru_cache\ndef loss(w): return np.dot(x, w).sum() ** 2"),
    "beginner": (
        "from metagd_nb.models.linear_regression import mse_loss, linear_regression_model\n"
        "def loss(w): return mse_loss(1.0, linear_regression_model(x, w))"
    ),
    "kit's module": "import metagd_nb as mg\ndef loss(w): return mg.mse_loss(1.0, mg.linear_regression_model(x, w))",
    "seeded": "import numpy as np\ndef loss(w):\n    rng = np.random.default_rng(0)\n    return rng.normal(size=2) @ w",
}


@pytest.mark.parametrize("name", PASTED)
def test_what_people_paste_simply_works(name: str) -> None:
    if name == "trapezoid" and not hasattr(np, name):
        pytest.skip("np.trapezoid came with NumPy 2")
    space = namespace_of(PASTED[name], x=X.copy())
    plain = space["loss"].__wrapped__ if name == "decorated" else space["loss"]
    np.testing.assert_allclose(slope(space["loss"]), numeric(plain), rtol=1e-6, atol=1e-8)


def test_the_users_namespace_is_not_changed() -> None:
    space = namespace_of(PASTED["x.dot"] + "\ndef g(w):\n    global seen\n    seen = 1\n    return loss(w)", x=X)
    before, loss, code = dict(space), space["loss"], space["loss"].__code__
    slope(space["g"])
    assert space == before
    assert space["loss"] is loss
    assert loss.__code__ is code
    assert space["np"] is np


def test_a_run_under_way_does_not_see_later_cells() -> None:
    space = namespace_of(
        "scale = 2.0\nrows = [x]\ndef h(w): return w * scale\ndef loss(w): return (rows[0] @ h(w)).sum()", x=X.copy()
    )
    followed = capture(space["loss"]).function
    before = followed(W)
    space["x"][:] = 0
    space["rows"].append(1)
    exec("scale = 100\ndef h(w): return 0 * w", space)
    assert followed(W) == before


def test_a_list_that_a_loss_logs_to_stays_the_users() -> None:
    space = namespace_of("log = []\ndef loss(w):\n    log.append(1)\n    return w @ w")
    capture(space["loss"]).function(W)
    assert space["log"] == [1]


def test_lists_dicts_and_tuples_of_arrays_are_copied() -> None:
    space = namespace_of("def loss(w): return d['a'][0][1] @ w", d={"a": [(1, X[0].copy())]})
    followed = capture(space["loss"]).function
    before = followed(W)
    space["d"]["a"][0][1][:] = 9
    assert followed(W) == before


def test_a_container_that_holds_itself_ends() -> None:
    box: list[Any] = [X]
    box.append(box)
    assert capture(namespace_of("def loss(w): return (box[0] @ w).sum()", box=box)["loss"]).function(W) == (X @ W).sum()


def test_large_arrays_are_referenced_and_a_change_is_seen() -> None:
    space = namespace_of("def loss(w): return (x @ w).sum() + y.sum()", x=X.copy(), y=np.ones(3))
    snapshot = DataSnapshot(limit=X.nbytes - 1)
    followed = capture(space["loss"], snapshot=snapshot)
    assert followed.function.__globals__["x"] is space["x"]
    assert followed.function.__globals__["y"] is not space["y"]
    assert snapshot.changed() == []
    space["x"][0, 0] = 7
    assert snapshot.changed() == ["x"]


def test_functions_followed_together_share_their_data() -> None:
    space = namespace_of("def f(w): return x @ w\ndef g(w): return x.T @ w", x=X)
    snapshot = DataSnapshot()
    f, g = (capture(space[n], snapshot=snapshot, traced=n == "f").function for n in "fg")
    assert f.__globals__["x"] is g.__globals__["x"]
    assert snapshot.copied == X.nbytes


def test_missing_names_fail_only_when_their_line_is_reached() -> None:
    space = namespace_of("def loss(w, go=False):\n    if go:\n        return nowhere\n    return w @ w")
    followed = capture(space["loss"])
    assert followed.missing == ("nowhere",)
    assert followed.function(W) == W @ W
    with pytest.raises(NameError, match="nowhere"):
        followed.function(W, go=True)


def test_reads_names_globals_and_not_attributes() -> None:
    space = namespace_of(
        "def h(w): return w.y + k\ndef loss(w): return [h(v) for v in w] + [x.shape]", x=X, k=1, y=2, shape=3
    )
    assert capture(space["loss"]).reads == ("x", "h", "k")


def test_module_of_the_users_own_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_helpers_for_test.py").write_text("import numpy as np\ndef model(x, w):\n    return np.dot(x, w)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for source in (
        "import my_helpers_for_test as h\ndef loss(w): return h.model(x, w).sum() ** 2",
        "from my_helpers_for_test import model\ndef loss(w): return model(x, w).sum() ** 2",
    ):
        space = namespace_of(source, x=X)
        np.testing.assert_allclose(slope(space["loss"]), numeric(space["loss"]), rtol=1e-6)


@pytest.mark.parametrize("source", ["{}np.dot(x, w) + undefined", "{}x.dot(w) + undefined"])
def test_errors_point_at_the_users_own_line(source: str) -> None:
    space = namespace_of("import numpy as np\n\ndef loss(w):\n    a = 1\n" + source.format("    return "), x=X)
    with pytest.raises(NameError) as caught:
        capture(space["loss"]).function(W)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.name) == (space["loss"].__code__.co_filename, 5, "loss")
    assert last.colno == (source.format("    return ")).index("undefined")


def test_a_method_of_another_object_keeps_its_name() -> None:
    space = namespace_of(
        "class D:\n    def dot(self, w): return w[0] * 3\n    def copy(self): return self\nd = D()\n"
        "def loss(w): return d.copy().dot(w)"
    )
    assert slope(space["loss"])[0] == 3


def test_source_that_has_changed_is_not_used() -> None:
    space = namespace_of("def loss(w): return x.dot(w).sum()", x=X)
    name = space["loss"].__code__.co_filename
    linecache.cache[name] = (1, None, ["def loss(w): return 5 * x.dot(w).sum()\n"], name)
    assert capture(space["loss"]).function(W) == pytest.approx(X.dot(W).sum())


@pytest.mark.parametrize(
    "line",
    [
        "np.random.randn(2) @ w",
        "rng.normal() * w[0]",
        "draw() * w[0]",
        "np.random.default_rng().normal() * w[0]",
        "random.random() * w[0]",
    ],
)
def test_random_numbers_in_a_loss_are_refused(line: str) -> None:
    rng = np.random.default_rng(0)
    space = namespace_of(f"import numpy as np, random\ndef loss(w):\n    return {line}", rng=rng, draw=rng.normal)
    with pytest.raises(MetagdError, match=r"line 3.*another function at each call"):
        capture(space["loss"]).function(W)
    capture(space["loss"], traced=False).function(W)  # a minibatch in one's own gradient is one's own affair


def test_scipy_without_a_derivative_is_named() -> None:
    space = namespace_of("from scipy.special import xlogy\ndef loss(w):\n    return xlogy(w, w).sum()")
    with pytest.raises(MetagdError, match=r"scipy.special.xlogy \(line 3\) has no automatic derivative"):
        slope(space["loss"])
    assert np.isfinite(capture(space["loss"]).function(np.ones(2)))


def test_untraced_copy_is_plain_numpy() -> None:
    space = namespace_of(PASTED["np.dot"], x=X)
    assert capture(space["loss"], traced=False).function.__globals__["np"] is np


FINGERPRINT = """
import linecache, numpy as np
from metagd_nb.problems.capture.closure import capture
# {padding}
k = {{"a", "b", "c"}}
def h(w): return w * {factor} if "q" in {{"a", "b", "c"}} else w + scale
def loss(w): return np.sum(h(w) @ np.ones(2)) + x.sum()
scale, x = 2.0, np.arange({n})
print(capture(loss).fingerprint)
"""


def test_the_fingerprint_is_the_same_in_another_process_and_differs_with_code_and_data(tmp_path: Path) -> None:
    def of(name: str, seed: str, factor: str = "2", n: str = "5", padding: str = "") -> str:
        path = tmp_path / name
        path.write_text(FINGERPRINT.format(factor=factor, n=n, padding=padding))
        package = Path(__file__).resolve().parents[2]
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(package), "PATH": ""}
        return subprocess.run([sys.executable, path], env=env, capture_output=True, text=True, check=True).stdout

    first = of("one.py", "1")
    assert first == of("two.py", "2", padding="\n\n\n")
    assert len({first, of("3.py", "1", factor="3"), of("4.py", "1", n="6")}) == 3


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, st.integers(1, 5), elements=st.floats(-10, 10)), st.integers(0, 2**31))
def test_following_does_not_change_what_a_function_gives(w: np.ndarray, seed: int) -> None:
    m = np.random.default_rng(seed).normal(size=(3, w.size))
    space = namespace_of("import numpy as np\ndef loss(w): return np.tanh(np.dot(m, w)).sum() + m.dot(w).max()", m=m)
    for traced in (True, False):
        assert capture(space["loss"], traced=traced).function(w) == space["loss"](w)


def test_stand_ins_have_every_name_of_numpy() -> None:
    space = namespace_of("import numpy as np\ndef loss(w): return np")
    standing = capture(space["loss"]).function(W)
    assert isinstance(standing, types.ModuleType)
    for name in ("newaxis", "pi", "float64", "s_", "mgrid", "polynomial", "linalg", "ndarray", "errstate"):
        getattr(standing, name)
    assert standing.e == math.e
    assert functools.reduce(getattr, ["linalg", "LinAlgError"], standing) is np.linalg.LinAlgError
