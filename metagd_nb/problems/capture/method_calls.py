"""``X.dot(w)`` as pasted from a text: the methods of a plain array that lose the trace.

``ndarray.dot`` with a traced argument does not ask that argument: it takes it apart, entry by
entry. No name can be exchanged there, as the receiver is the user's own array; so the call is
written as a function call, in the same place of the same line.
"""

from __future__ import annotations

import ast
import inspect
import linecache
from types import CodeType, FunctionType

METHODS = {"dot": "__metagd_dot__", "copy": "__metagd_copy__"}  # method → the global that takes its place


class _Calls(ast.NodeTransformer):
    """``a.dot(b)`` → ``__metagd_dot__(a, b)``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr in METHODS:
            name = ast.copy_location(ast.Name(METHODS[called.attr], ast.Load()), called)
            node.func, node.args = name, [called.value, *node.args]
        return node


def _uses_methods(code: CodeType) -> bool:
    nested = (c for c in code.co_consts if isinstance(c, CodeType))
    return not METHODS.keys().isdisjoint(code.co_names) or any(_uses_methods(c) for c in nested)


def rewritten(function: FunctionType) -> CodeType:
    """The function's code with those calls exchanged; its own code when there are none, or no source is kept."""
    code = function.__code__
    if not _uses_methods(code):
        return code
    try:
        return _exchanged(code)
    except (SyntaxError, IndexError, ValueError, OSError):
        return code


def _exchanged(code: CodeType) -> CodeType:
    block = inspect.getblock(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :])
    indented = block[0][:1].isspace()
    tree = ast.parse(("if 1:\n" if indented else "") + "".join(block))  # under `if` the columns stay as they are
    ast.increment_lineno(tree, code.co_firstlineno - 1 - indented)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)) and getattr(node, "name", "<lambda>") == code.co_name:
            compiled = _compiled(node, code)  # the file may have changed since, and a line may hold two lambdas
            if compiled is not None and _words(compiled) == _words(code):
                _Calls().visit(node)
                return _compiled(node, code) or code
    return code


def _words(code: CodeType) -> tuple[object, ...]:
    """Return the parts that two compilations of one definition share (instructions for a method call may differ)."""
    plain = [repr(c) for c in code.co_consts if not isinstance(c, (CodeType, frozenset))]
    return code.co_names, code.co_varnames, code.co_freevars, code.co_argcount, plain


def _compiled(node: ast.FunctionDef | ast.Lambda, code: CodeType) -> CodeType | None:
    """The code of one definition, compiled where its free variables are free variables."""
    args = node.args
    args.defaults = [ast.copy_location(ast.Constant(None), d) for d in args.defaults]
    args.kw_defaults = [d and ast.copy_location(ast.Constant(None), d) for d in args.kw_defaults]
    outer = ast.parse(f"def outer({', '.join(code.co_freevars)}): pass").body[0]
    assert isinstance(outer, ast.FunctionDef)
    if isinstance(node, ast.Lambda):
        outer.body = [ast.Return(node)]
    else:
        node.decorator_list, node.returns = [], None
        outer.body = [node] if node.name in code.co_freevars else [ast.Global([node.name]), node]
    module = ast.fix_missing_locations(ast.Module([outer], []))
    inside = compile(module, code.co_filename, "exec", dont_inherit=True).co_consts[0]
    made = next((c for c in inside.co_consts if isinstance(c, CodeType) and c.co_name == code.co_name), None)
    if made is None or set(made.co_freevars) != set(code.co_freevars):
        return None
    return made.replace(co_qualname=code.co_qualname)
