"""The body of a cell: run as any cell is, and its errors shown as any cell's are, without a line of ours."""

from __future__ import annotations

import ast
import contextlib
import symtable
from types import CodeType
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.error import UsageError

from ...core.errors import one_line
from ...problems.capture.errors import is_users, trimmed


class Body:
    """Python code of a person, compiled but not run yet.

    Lines are counted as in the cell: line 1 is the one that says ``%%metagd``.

    Parameters
    ----------
    ip : InteractiveShell
    line : str
        What follows ``%%metagd``.
    cell : str or None
        The body; None for a line magic, which has none.

    Attributes
    ----------
    empty : bool
        Whether there is no statement in it.
    names : set of str
        What it binds: by assignment, definition or import.
    """

    def __init__(self, ip: Any, line: str, cell: str | None) -> None:
        self.ip = ip
        self._parts: list[CodeType] = []
        self.names: set[str] = set()
        self.empty = True
        try:
            self._compile(line, cell or "")
        except (ValueError, OverflowError, TypeError, MemoryError, RecursionError) as error:
            # what Python says of a null byte, or of a thousand brackets: no line of the person's to point at
            raise _stand_in(error, [one_line(error)]) from None

    def _compile(self, line: str, cell: str) -> None:
        ip, source = self.ip, self._source(line, cell)
        parent = _parent(ip).get("content", {}).get("code", "")
        raw = parent if cell and parent.lstrip().startswith("%%metagd") else source  # the debugger knows cells by it
        file = ip.compile.cache(source, ip.execution_count, raw)
        tree = ip.transform_ast(ip.compile.ast_parse(source, filename=file))
        self.empty = not tree.body
        if self.empty:
            return
        last = tree.body[-1]
        shows = isinstance(last, ast.Expr) and not _silenced(source)
        self._parts.append(ip.compile(ast.Module(tree.body[:-1] if shows else tree.body, []), file, "exec"))
        if shows:
            self._parts.append(ip.compile(ast.Interactive([last]), file, "single"))
        table = symtable.symtable(source, file, "exec")
        self.names = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}

    def _source(self, line: str, cell: str) -> str:
        """The cell as Python, its first line a comment, so that every line keeps its number."""
        lines = cell.split("\n")
        blank = next((i for i, text in enumerate(lines) if text.strip()), len(lines))
        first = "".join(c for c in f"# %%metagd {line}" if c.isprintable())
        code: str = self.ip.transform_cell("\n".join(lines[blank:]))
        return f"{first}\n" + "\n" * blank + code

    def run(self) -> None:
        """Execute it in the person's namespace; a last expression is displayed."""
        with self.ip.builtin_trap, self.ip.display_trap:
            for part in self._parts:
                exec(part, self.ip.user_global_ns, self.ip.user_ns)


def _silenced(source: str) -> bool:
    return bool(DisplayHook.semicolon_at_end_of_expression(source))  # type: ignore[no-untyped-call]


def _parent(ip: Any) -> dict[str, Any]:
    """The message that asked for the cell's execution; {} where there are no messages, as in a terminal."""
    get = getattr(ip, "get_parent", None)
    found = get() if get is not None else None
    return found if isinstance(found, dict) else {}


def execution(ip: Any) -> tuple[str | None, str | None]:
    """The cell's own id in its notebook, and the id of this one execution of it; None where unknown."""
    parent = _parent(ip)
    return parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")


def shown(ip: Any, error: BaseException) -> BaseException:
    """The error to raise out of a magic: of the same type, and IPython shows only the person's own lines of it."""
    if hasattr(error, "_render_traceback_"):  # as every MetagdError has
        return error
    if isinstance(error, SyntaxError):
        return _stand_in(error, ip.SyntaxTB.structured_traceback(type(error), error, []))
    if isinstance(error, UsageError):  # IPython would print it and leave no error in the notebook
        return _stand_in(error, [f"UsageError: {error}"])
    error = trimmed(error)
    lines: list[str] = []
    if error.__traceback__ is not None and is_users(error.__traceback__):
        lines = ip.InteractiveTB.structured_traceback(type(error), error, error.__traceback__, tb_offset=0)
    elif isinstance(error, KeyboardInterrupt):
        lines = ["KeyboardInterrupt"]
    if lines:  # else it is a mistake of ours, to be seen whole
        with contextlib.suppress(AttributeError):  # a type with slots
            error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    return error


def _stand_in(error: BaseException, lines: list[str]) -> Exception:
    """An error of the same name for a type that IPython shows in a way of its own, whatever the error says."""
    made: Exception = type(type(error).__name__, (Exception,), {"__module__": "builtins"})(str(error))
    made._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    return made
