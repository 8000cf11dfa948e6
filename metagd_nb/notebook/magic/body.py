"""The body of a cell: executed like any cell, with tracebacks that show only the user's own lines."""

from __future__ import annotations

import ast
import contextlib
import symtable
from types import CodeType
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from ...core.errors import one_line
from ...models.linear_regression import gradient
from ...problems.capture.errors import is_users, trimmed

DEFINITIONS = ("loss", "gradient", "model")  # names for which a cell reads only what its body defined


class Body:
    """Python code of a cell, compiled but not executed yet.

    Line numbers are those of the cell: line 1 is the line with ``%%metagd``.

    Parameters
    ----------
    ip : InteractiveShell
    line : str
        The text after ``%%metagd``.
    cell : str or None
        The body; None for a line magic, which has none.

    Attributes
    ----------
    empty : bool
        True if it has no statement.
    """

    def __init__(self, ip: InteractiveShell, line: str, cell: str | None) -> None:
        self.ip: Any = ip
        self._parts: list[CodeType] = []
        self._bound: set[str] = set()  # by assignment, definition or import
        self.empty = True
        try:
            self._compile(line, cell or "")
        except (ValueError, OverflowError, TypeError, MemoryError, RecursionError) as error:
            # Python's error for a null byte, or for a thousand brackets, names no line of the user's
            raise _substitute(error, [one_line(error)]) from None

    def _compile(self, line: str, cell: str) -> None:
        ip, source = self.ip, self._source(line, cell)
        parent = _parent(ip).get("content", {}).get("code", "")
        # the debugger identifies a cell by its text
        raw = parent if cell and parent.lstrip().startswith("%%metagd") else source
        file = ip.compile.cache(source, ip.execution_count, raw)
        tree = ip.transform_ast(ip.compile.ast_parse(source, filename=file))
        self.empty = not tree.body
        if self.empty:
            return
        last = tree.body[-1]
        silenced = DisplayHook.semicolon_at_end_of_expression(source)
        shows = isinstance(last, ast.Expr) and not silenced
        self._parts.append(ip.compile(ast.Module(tree.body[:-1] if shows else tree.body, []), file, "exec"))
        if shows:
            self._parts.append(ip.compile(ast.Interactive([last]), file, "single"))
        table = symtable.symtable(source, file, "exec")
        self._bound = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}

    def _source(self, line: str, cell: str) -> str:
        """Return the cell as Python, with a comment as its first line, so that every line keeps its number."""
        lines = cell.split("\n")
        blank = next((i for i, text in enumerate(lines) if text.strip()), len(lines))
        first = "".join(c for c in f"# %%metagd {line}" if c.isprintable())
        code: str = self.ip.transform_cell("\n".join(lines[blank:]))
        return f"{first}\n" + "\n" * blank + code

    def run(self) -> set[str]:
        """Execute the code in the user's namespace, and display the value of a last expression.

        Returns
        -------
        set of str
            The names that it defined: in its text, or in other ways (``%run``, ``import *``). The kit's own
            ``gradient`` from an ``import *`` is not the gradient of a loss.
        """
        space = self.ip.user_ns
        before = [space.get(name) for name in DEFINITIONS]
        with self.ip.builtin_trap, self.ip.display_trap:
            for part in self._parts:
                exec(part, self.ip.user_global_ns, space)
        changed = {name for name, old in zip(DEFINITIONS, before, strict=True) if space.get(name, old) is not old}
        if space.get("gradient") is gradient:
            changed.discard("gradient")
        return changed | self._bound


def _parent(ip: InteractiveShell) -> dict[str, Any]:
    """Return the message that requested the execution; {} where there are no messages, as in a terminal."""
    parent: Any = getattr(ip, "get_parent", dict)()
    return parent if isinstance(parent, dict) else {}


def execution(ip: InteractiveShell) -> tuple[str | None, str | None]:
    """Return the cell's id in its notebook, and the id of this execution of it; None where unknown."""
    parent = _parent(ip)
    return parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")


def trimmed_error(ip: InteractiveShell, error: BaseException) -> BaseException:
    """Return an error of the same type for the magic to raise, of which IPython shows only the user's own lines."""
    if hasattr(type(error), "_render_traceback_"):  # every MetagdError has it
        return error
    if isinstance(error, SyntaxError):
        return _substitute(
            error, ip.SyntaxTB.structured_traceback(type(error), error, None)
        )  # None: IPython 8.18 needs it
    if isinstance(error, UsageError):  # IPython would print it and leave no error in the notebook
        return _substitute(error, [f"UsageError: {error}"])
    error = trimmed(error)
    lines: list[str] = []
    if error.__traceback__ is not None and is_users(error.__traceback__):
        lines = ip.InteractiveTB.structured_traceback(type(error), error, error.__traceback__, tb_offset=0)
    elif isinstance(error, KeyboardInterrupt):
        lines = ["KeyboardInterrupt"]
    if lines:  # without any it is an error of the kit, and shown in full
        with contextlib.suppress(AttributeError):  # a type with slots
            error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    return error


def _substitute(error: BaseException, lines: list[str]) -> Exception:
    """Return an error with the same name and given lines, for a type that IPython displays in its own way."""
    made: Exception = type(type(error).__name__, (Exception,), {"__module__": "builtins"})(str(error))
    made._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    return made
