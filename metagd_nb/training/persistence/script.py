"""A run as a Python script that stands alone: its data, its functions, its settings and what was done under way."""

from __future__ import annotations

import ast
import base64
import math
import textwrap
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from ...core.errors import MetagdError, one_line, shorten
from ...core.provenance import strip
from ...problems.capture.fingerprint import global_names
from ..loop import TrainingLoop
from ..plan import Plan
from ..settings import options_of
from ..stopping import RULES
from .code_names import identifier, is_name, keywords, plain
from .function_source import belongs_to_user, importable, is_own, missing_method, source

INLINE = 12  # entries of an array that are written out; longer ones are text in base 64
HELPER = '''
def _array(text, dtype, shape):
    """An array, exact to the bit."""
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape).copy()
'''


def script(loop: TrainingLoop) -> str:
    """Python code that trains the same again, without the magic: equal to the bit on the same machine and versions.

    Raises
    ------
    MetagdError
        Naming what cannot be written as code, such as a function whose text is not known.
    """
    loop.plan.check_available()
    parts = _Parts()
    call, steps = parts.call(loop), max(loop.snapshot.step, 0)
    head = [
        f'"""{plain(loop.plan.method)}, as it ran with metagd_nb: {steps:d} steps,'
        f' last loss {float(loop.snapshot.loss)!r}."""',
        "",
        "from __future__ import annotations",
        "",
    ]  # what a signature says of its types is never evaluated
    imports = {"import numpy as np", "import metagd_nb as mg", *parts.imports}
    if parts.packed:
        imports.add("import base64")
    data = [f"{name} = {text}" for name, text in parts.data.items()]
    method = _own_method(loop.plan)
    body = [*sorted(imports), *([HELPER] if parts.packed else []), "", *method, *data, *parts.functions.values(), ""]
    body += call
    code = "\n".join([*head, *body, "print(run)", ""])
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise MetagdError(f"the run cannot be written as code ({one_line(error)})", "script") from None
    return code


def _own_method(plan: Plan) -> list[str]:
    """Return the lines that import a method of the user's own, or that say to define it first."""
    name, kind = repr(plan.method), type(plan.algorithm)
    if not is_own(kind):
        return []
    if (found := importable(kind)) is not None:
        return [f"from {found[0]} import {found[1]}", "", f"mg.ALGORITHMS[{name}] = {found[1]}", ""]
    words = f"this script repeats a run of {missing_method(plan.method)}"
    return [f"if {name} not in mg.ALGORITHMS:", f"    raise SystemExit({words!r})", ""]


class _Parts:
    """Parts of a script: imports, data, functions and the call."""

    def __init__(self) -> None:
        self.imports: dict[str, None] = {}
        self.data: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        self.packed = False
        self._met: dict[str, Any] = {}

    def call(self, loop: TrainingLoop) -> list[str]:
        """The lines that make and train the run."""
        plan, inputs, problem = loop.plan, loop.plan.inputs, loop.plan.problem
        arguments = self._sources(plan)
        if inputs.tasks is not None:
            arguments["tasks"] = self.made(inputs.tasks, "tasks")
        for name in ("x", "y"):
            if getattr(inputs, name) is not None:
                arguments[name] = self.value(getattr(inputs, name), name)
        if inputs.params:
            start = problem.layout.views(problem.start(np.random.default_rng(plan.settings.seed)))
            arguments["params"] = self.value({name: np.asarray(v) for name, v in start.items()}, "params")
        if inputs.warm_start is not None:
            arguments["warm_start"] = self.value(plan.start, "warm_start")
        if inputs.validation is not None:
            arguments["validation"] = self.value(inputs.validation, "validation")
        if inputs.schedule is not None:
            arguments["schedule"] = self.function(inputs.schedule, "schedule")
        if inputs.gradient is not None:
            arguments["check"] = "False"
        for name, value in {**problem.user_data(), **(inputs.data or {})}.items():
            self.name(name, value)
        if inputs.data is not None:
            arguments["data"] = "{" + ", ".join(f"{name!r}: {name}" for name in inputs.data) + "}"
        return self._lines(loop, arguments)

    def _sources(self, plan: Plan) -> dict[str, str]:
        """Take in the loss, the gradient and the model; return the arguments that name them."""
        arguments, copies = {}, plan.problem.user_functions()
        for name in ("loss", "gradient", "model"):
            value = getattr(plan.inputs, name)
            if isinstance(value, str):
                arguments[name] = repr(value)
            elif callable(value) and getattr(value, "provenance", None) is None:
                arguments[name] = self.function(copies.get(name, value), name)
            elif value is not None:
                arguments[name] = self.made(value, name)
        return arguments

    def _lines(self, loop: TrainingLoop, arguments: dict[str, str]) -> list[str]:
        plan, last = loop.plan, loop.record.last_step
        changes = [event for event in loop.events if event.kind == "set"]
        settings = _settings(loop, bool(changes))
        written = {n: self.value(v, n) for n, v in settings.items() if v is not None} | arguments
        written_out = "".join(f"    {line},\n" for line in keywords(written))
        if not changes:
            return [f"run = mg.train(\n    {plan.method!r},\n{written_out})"]
        lines, at = [f"run = mg.prepare(\n    {plan.method!r},\n{written_out})"], 0
        for event in changes:
            lines += [f"run.step({event.step - at:d})"] if event.step > at else []
            lines.append(f"run.set({', '.join(keywords({n: self.value(v, n) for n, v in event.value.items()}))})")
            at = max(at, event.step)
        return [*lines, *([f"run.step({last - at:d})"] if last > at else [])]

    # ---- values as code --------------------------------------------------------------------------------------------

    def value(self, value: Any, what: str) -> str:
        """An expression that gives the value, exact to the bit."""
        if value is None or type(value) in (bool, int, str):
            return repr(value)
        if type(value) is float:
            return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
        if isinstance(value, np.generic) and value.dtype.kind in "fiub":
            return f"np.{value.dtype.name}({self.value(value.item(), what)})"
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiubU":
            return self._array(value)
        return self._items(value, what)

    def _items(self, value: Any, what: str) -> str:
        if type(value) in (list, tuple):
            inside = ", ".join(self.value(item, what) for item in value)
            return f"[{inside}]" if type(value) is list else f"({inside}{',' * (len(value) == 1)})"
        if type(value) is dict:
            pairs = (f"{self.value(k, what)}: {self.value(v, f'{what}[{k!r}]')}" for k, v in value.items())
            return "{" + ", ".join(pairs) + "}"
        raise MetagdError(f"{what} is {shorten(value)}; a script can hold numbers, text and arrays", "script")

    def _array(self, value: np.ndarray) -> str:
        if value.size <= INLINE and value.size and (value.dtype.kind != "f" or np.isfinite(value).all()):
            return f"np.array({value.tolist()!r}, {value.dtype.str!r})"
        self.packed = True
        text = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        wrapped = "\n        ".join(f'"{line}"' for line in textwrap.wrap(text, 100)) or '""'
        return f"_array(\n        {wrapped},\n        {value.dtype.str!r}, {value.shape})"

    def made(self, thing: Any, what: str) -> str:
        """The call that makes a model or a family of the kit."""
        if getattr(thing, "provenance", None) is None:
            raise MetagdError(f"{what} is {shorten(thing)}, which no function of metagd_nb made", "script")
        return self._provenance(strip(thing)["recipe"], what)

    def _provenance(self, provenance: dict[str, Any], what: str) -> str:
        def one(value: Any) -> str:
            inner = isinstance(value, dict) and "recipe" in value
            return self._provenance(value["recipe"], what) if inner else self.value(value, what)

        inside = [*map(one, provenance["args"]), *keywords({n: one(v) for n, v in provenance["kwargs"].items()})]
        call = f"{identifier(provenance['name'], what)}({', '.join(inside)})"
        if "of" not in provenance:
            return f"mg.{call}"
        part = "" if provenance["part"] is None else f"[{provenance['part']:d}]"
        return f"{self._provenance(provenance['of'], what)}.{call}{part}"

    # ---- functions -------------------------------------------------------------------------------------------------

    def function(self, function: Any, name: str) -> str:
        """Take in a function of the person's and all that it reads; the name that the script knows it by."""
        if not isinstance(function, FunctionType):
            raise MetagdError(f"{name} is {shorten(function)}; a script can hold a function written with def", "script")
        own = function.__name__
        called = own if is_name(own) else name
        self.name(called, function)
        return called

    def name(self, name: str, value: Any) -> None:
        """Take in what a name stands for."""
        if name in self._met:
            if self._met[name] is not value and not isinstance(value, (ModuleType, FunctionType)):
                raise MetagdError(f"{name} stands for two different things; give one of them another name", "script")
            return
        self._met[identifier(name, "script")] = value
        if isinstance(value, ModuleType):
            for part in value.__name__.split("."):
                identifier(part, name)
            self.imports[f"import {value.__name__} as {name}" if name != value.__name__ else f"import {name}"] = None
        elif isinstance(value, FunctionType) and belongs_to_user(value):
            self._definition(name, value)
        elif (found := importable(value)) is not None:
            identifier(found[1], name)
            self.imports[f"from {found[0]} import {found[1]}" + (f" as {name}" if name != found[1] else "")] = None
        else:
            self.data[name] = self.value(value, name)

    def _definition(self, name: str, function: FunctionType) -> None:
        """Take in the text of a function, and all that it reads."""
        for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self.name(free, cell.cell_contents)
        text, reads = source(function, name)
        for read in (*global_names(function.__code__), *reads):
            if read in function.__globals__:
                self.name(read, function.__globals__[read])
        self.functions[name] = f"\n\n{text}"


def _settings(loop: TrainingLoop, changed: bool) -> dict[str, Any]:
    """Return the options of the method and of `Settings` that repeat the run up to its last row."""
    plan = loop.plan
    own, others = options_of(type(plan.algorithm))
    settings = {n: getattr(plan.algorithm, n) for n in own}
    shared = [n for n in others if not n.startswith("checkpoint")]
    settings |= {n: getattr(plan.settings, n) for n in shared} | {"seconds": None}
    by_rule = loop.stopped == "diverged" or (loop.stopped in RULES and loop.stopped != "seconds")
    if changed or not by_rule:
        settings |= dict.fromkeys(RULES.values()) | {"steps": max(loop.record.last_step, 0)}
    return settings
