"""Running cells in a real shell, for the tests of the magic."""

from __future__ import annotations

import contextlib
import io
import linecache
import textwrap
from typing import Any, NamedTuple

DATA = """
x = np.random.default_rng(0).normal(size=(20, 3))
y = x @ np.array([1.0, 2.0, 3.0])
"""
# A loss with one parameter and data of its own: at rate 0.1 below 1e-6 after some sixty steps.
BODY = (
    DATA
    + """def loss(w):
    return mse_loss(y, linear_regression_model(x, w))
w = np.zeros(3)
"""
)


class Done(NamedTuple):
    """What came of a cell."""

    value: Any
    error: BaseException | None
    text: str  # what it printed, the error included

    @property
    def line(self) -> str:
        """The error as it is shown, which must be one line."""
        assert self.error is not None, self.text
        lines = self.text.strip().splitlines()
        assert len(lines) == 1, self.text
        return lines[0]


def cell(ip: Any, text: str) -> Done:
    """Run a cell as a person would."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        result = ip.run_cell(textwrap.dedent(text).strip("\n") + "\n")
    return Done(result.result, result.error_before_exec or result.error_in_exec, out.getvalue())


def mine(ip: Any) -> dict[str, Any]:
    """The person's own names, as %who knows them."""
    hidden = ip.user_ns_hidden
    return {n: v for n, v in ip.user_ns.items() if not n.startswith("_") and hidden.get(n, hidden) is not v}


def namespace_of(source: str, **names: Any) -> dict[str, Any]:
    """A namespace in which a cell has been run, its source kept as IPython keeps it."""
    source = textwrap.dedent(source)
    name = f"<cell {abs(hash(source))}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    namespace: dict[str, Any] = {"__name__": "__main__", **names}
    exec(compile(source, name, "exec"), namespace)
    return namespace
