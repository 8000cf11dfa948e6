"""The ``metagd`` magic: from a line and a body to a run that goes on under the cell."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

from IPython.display import display

from ...core.errors import MetagdError, nearest, one_line
from ...problems.gradient_check import check_functions
from ...tasks import Tasks
from ...training.control import reopen
from ...training.drivers import background, foreground
from ...training.pacing import Frame, render_lock
from ...training.prepare import prepare
from ...training.run import Run
from ..display import LiveDisplay, shows_pictures, unattended
from . import bind, help
from . import export_resume as kept
from .body import Body, execution, shown
from .line import READ, Line, parse
from .options import allowed

PATIENCE = 1.0  # seconds that a cell waits for its former run to do the step under way


class Frames:
    """Several frames as one; one that breaks is left out, and the others go on."""

    def __init__(self, run: Run, *parts: Frame) -> None:
        self.run, self.parts = run, list(parts)

    def frame(self, final: bool = False) -> None:
        """Show each."""
        for part in list(self.parts):
            try:
                part.frame(final)
            except Exception as error:  # a broken display must not cost the training
                self.parts.remove(part)
                name = type(part).__name__.removesuffix("Display").lower()
                self.run.loop.note = f"the {name} display stopped ({one_line(error)}); training went on"


class Cell:
    """The magic of one shell, and the runs that its cells have started."""

    def __init__(self, ip: Any) -> None:
        self.ip = ip
        self.first_names: dict[str, Any] = {}
        self._started: dict[Any, tuple[str | None, weakref.WeakSet[Run]]] = {}  # cell → its last execution and runs

    def metagd(self, line: str, cell: str | None = None) -> Run | None:
        """Learn, live: %%metagd ALGORITHM [OPTIONS], and below it what is to be learned."""
        try:
            return self._metagd(line, cell)
        except BaseException as error:  # an interrupt, an exit: whatever the body raises is the person's
            raise shown(self.ip, error) from None

    def _metagd(self, text: str, cell: str | None) -> Run | None:
        line = parse(text)
        if line.help or not line.word:
            display(help.manual(line.word) if line.word else help.listing())  # type: ignore[no-untyped-call]
            return None
        names = self._executed(text, cell)
        if line.word == "check":
            self._check(line, names)
        elif line.word == "compare":
            self._compare(line)
        elif line.word == "recognise":
            self._recognise(line)
        elif line.word == "remember":
            _remember(line)
        elif line.word == "export":
            kept.export(line, self.ip.user_ns)
        elif line.word == "resume":
            return self._resume(line, text)
        elif line.sweep:
            self._sweep(line, names)
        elif line.word == "studio":
            from ..studio import studio

            studio()
        else:
            return self._train(line, names, f"%metagd {text}" if cell is None else f"%%metagd {text}\n{cell}")
        return None

    def _executed(self, line: str, cell: str | None) -> bind.Names:
        """The namespace after the body has run."""
        space = self.ip.user_ns
        self.supply()
        body = Body(self.ip, line, cell)
        before = {name: space.get(name) for name in READ}
        body.run()
        return bind.Names(self.ip, bind.new_names(before, space, body.names), body.empty)

    def supply(self) -> None:
        """The first names, where the person has none of their own; %who does not list them."""
        for name, value in self.first_names.items():
            if self.ip.user_ns.setdefault(name, value) is value:
                self.ip.user_ns_hidden[name] = value

    # ---- training ----------------------------------------------------------------------------------------------

    def prepared(self, line: str, cell: str) -> Run | None:
        """The run of a cell, its body executed and its name bound, but not begun; None where only advice is asked."""
        return self._prepared(parse(line), self._executed(line, cell), f"%%metagd {line}\n{cell}")

    def _prepared(self, line: Line, names: bind.Names, text: str) -> Run | None:
        try:
            found = bind.given(line, names)
            if line.name in (found.get("params") or {}):
                raise MetagdError(f"{line.name!r} is a parameter's starting value; choose another name", "-o")
            run = prepare(line.word, **found, **line.options)
            if line.advise or line.only:
                advice = _advised(run, line)
                if line.only:
                    return None
                run = prepare(line.word, **found, **(advice.options | line.options))
        except MetagdError as error:
            raise _as_typed(error, line) from None
        run.loop.cell = text
        self._replace_former(run, hash(text))
        self.ip.user_ns[line.name] = run
        return run

    def _train(self, line: Line, names: bind.Names, text: str) -> Run | None:
        run = self._prepared(line, names, text)
        if run is None:
            return None
        return self._followed(run, line)

    def _resume(self, line: Line, text: str) -> Run | None:
        name, run = kept.found(line, self.ip.user_ns)
        self._replace_former(run, hash(text))
        if run.loop.running:
            run.resume(**line.options)
            return None
        reopen(run.loop, line.options)
        self.ip.user_ns[name] = run
        return self._followed(run, line)

    def _followed(self, run: Run, line: Line) -> Run | None:
        """Train with displays under the cell; the run, where the cell waits for it."""
        if run.note:
            print(f"metagd: {run.note}")
        by_itself = unattended()
        frame = self._shown(run, line.plot, hands=not by_itself)
        if not (line.wait or by_itself):
            background(run, frame)
            return None
        foreground(run, frame)
        if run.loop.error is not None:
            raise run.loop.error
        return run

    def _replace_former(self, run: Run, text: int) -> None:
        """Stop what an earlier execution of this cell has started."""
        cell, now = execution(self.ip)
        key = cell or text
        before, runs = self._started.get(key, (None, weakref.WeakSet[Run]()))
        if before is None or before != now:
            _stop(runs)
            runs = weakref.WeakSet()
        runs.add(run)
        self._started[key] = (now, runs)

    def _shown(self, run: Run, plot: bool, hands: bool) -> Frame | None:
        """The displays of a run, under the cell; controls only where somebody can use them.

        The picture stands first, so that it keeps its place when the controls leave. In each frame they come first:
        a button that was pressed is quicker to show than a curve.
        """
        wanted: list[Callable[[], Any]] = []
        if plot:
            wanted.append(lambda: LiveDisplay(run))
        if hands and shows_pictures():
            wanted.append(lambda: _controls(run, leave=plot))
        parts: list[Frame] = []
        for make in wanted:
            try:
                with render_lock():
                    part = make()
                    part.show()
                parts.insert(0, part)
            except Exception as error:  # a broken display must not cost the training
                print(f"metagd: {_missing(error)}; the run goes on without")
        return Frames(run, *parts) if parts else None

    def _sweep(self, line: Line, names: bind.Names) -> None:
        from ...analysis.sweep import sweep
        from .sweep_display import Watching

        try:
            found = bind.given(line, names)
            watching = Watching(line.plot)
            result = sweep(
                line.word, line.sweep, seeds=line.seeds, search=line.search, watch=watching, **found, **line.options
            )
        except MetagdError as error:
            raise _as_typed(error, line) from None
        watching.close()
        self.ip.user_ns[line.name] = result
        display(result)  # type: ignore[no-untyped-call]

    # ---- commands ----------------------------------------------------------------------------------------------

    def _check(self, line: Line, names: bind.Names) -> None:
        if len(line.words) > 2:
            raise MetagdError(
                f"check takes a loss and a gradient, not {len(line.words)} names: %metagd check loss gradient"
            )
        one, other = (*line.words, *("loss", "gradient")[len(line.words) :])
        loss, gradient = names.function(one), names.function(other)
        params = bind.starting_values(loss, names, line.params)
        print(*check_functions(loss, gradient, params, names.space).lines, sep="\n")

    def _compare(self, line: Line) -> None:
        from ...analysis.compare import compare
        from ...plotting.comparison import overlaid_runs

        runs = kept.runs_of(self.ip.user_ns)
        if len(line.words) < 2:
            raise MetagdError(f"compare needs two runs or more; there {_are(list(runs))}")
        for name in line.words:
            if name not in runs:
                raise MetagdError(f"{name} is not a run{nearest(name, runs) or f'; there {_are(list(runs))}'}")
        chosen = {name: runs[name] for name in line.words}
        seeds, over = line.options.get("seeds", 0), line.options.get("over", "steps")
        if not seeds and over == "steps":
            display(overlaid_runs(chosen))  # type: ignore[no-untyped-call]
            return
        found = compare(chosen, seeds, baselines=line.baselines)
        display(found.plot(over))  # type: ignore[no-untyped-call]
        display(found)  # type: ignore[no-untyped-call]

    def _recognise(self, line: Line) -> None:
        from ...analysis.recognition import recognise
        from ...plotting.charts import confusion

        if len(line.words) > 1:
            raise MetagdError("recognise takes one family of tasks: %metagd recognise tasks")
        families = [name for name, value in self.ip.user_ns.items() if isinstance(value, Tasks) and name[0] != "_"]
        name = (*line.words, "tasks")[0]
        if name not in families:
            raise MetagdError(
                f"{name} is not a family of tasks{nearest(name, families) or f'; there {_are(families)}'}"
            )
        try:
            tell = recognise(self.ip.user_ns[name], **line.options)
            found = tell.evaluate()
        except MetagdError as error:
            raise _as_typed(error, line) from None
        self.ip.user_ns[line.name] = tell
        print(f"metagd: {tell}, in {line.name}; on new tasks {found}")
        display(confusion(found))  # type: ignore[no-untyped-call]


def _advised(run: Run, line: Line) -> Any:
    """Advice for what a line leaves open, told."""
    from ...analysis.advice import advice_for
    from ...analysis.run_memory import remembered

    advice = advice_for(run, remembered(), set(line.options))
    print(advice)
    return advice


def _remember(line: Line) -> None:
    """Turn the memory of runs on, in the usual place or in a file, or off."""
    from ...analysis.run_memory import remember

    if len(line.words) > 1:
        raise MetagdError("remember takes one file, or off")
    one_line = line.words[0] if line.words else True
    memory = remember(False if one_line == "off" else one_line)
    if memory is None:
        print("metagd: runs are not remembered any more")
        return
    print(f"metagd: {memory} in {memory.path}")
    if memory.note:
        print(f"metagd: {memory.note}")


def _are(names: list[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {', '.join(names) or 'none yet'}"


def _as_typed(error: MetagdError, line: Line) -> MetagdError:
    """An error about a setting, with the setting as it is typed in a cell."""
    if error.option == "params" and "--params" in allowed(line.word):
        return MetagdError(error.what, "--params" if line.params else None)
    option = f"--{error.option.replace('_', '-')}" if error.option else ""
    return MetagdError(error.what, option) if option in allowed(line.word) else error


def _stop(runs: weakref.WeakSet[Run]) -> None:
    going = [run for run in runs if run.loop.running]
    for run in going:
        run.loop.request("stop")
    until = time.monotonic() + PATIENCE
    while any(run.loop.running for run in going) and time.monotonic() < until:
        time.sleep(0.005)


def _controls(run: Run, leave: bool) -> Any:
    from ..controls import Controls

    return Controls(run, leave=leave)


def _missing(error: Exception) -> str:
    """Why there is no display, in one line."""
    if isinstance(error, ModuleNotFoundError) and error.name == "ipywidgets":
        return "no controls: ipywidgets is not installed (pip install ipywidgets)"
    return f"a display cannot be made ({one_line(error)})"
