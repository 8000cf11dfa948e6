"""The ``%%metagd`` magic: parse the line, execute the body, and start a run that continues under the cell."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from ... import __version__
from ...core.errors import MetagdError, one_line
from ...training.control import reopen
from ...training.drivers import background, foreground
from ...training.pacing import Frame, render_lock
from ...training.prepare import prepare
from ...training.run import Run
from ..display import LiveDisplay, shows_pictures, unattended
from . import bind, help
from .body import Body, execution, trimmed_error
from .commands import FUNCTIONS, sweep
from .export_resume import run_to_resume
from .line import Line, as_typed, parse

PATIENCE = 1.0  # seconds that a cell waits for its former run to finish the current step


class Frames:
    """Several displays of one run as one `Frame`; a display that fails is removed, and the others continue.

    Parameters
    ----------
    run : Run
    *parts : Frame
    """

    def __init__(self, run: Run, *parts: Frame) -> None:
        self.run, self.parts = run, list(parts)

    def frame(self, final: bool = False) -> None:
        """Update each display."""
        for part in list(self.parts):
            try:
                part.frame(final)
            except Exception as error:  # a display that fails must not end the training
                self.parts.remove(part)
                name = type(part).__name__.removesuffix("Display").lower()
                self.run.loop.note = f"the {name} display stopped ({one_line(error)}); training went on"


class Cell:
    """The magic of one shell, with the runs that its cells have started.

    Parameters
    ----------
    ip : InteractiveShell
    first_names : mapping of str
        Names that a cell may use without defining or importing them.
    """

    def __init__(self, ip: InteractiveShell, first_names: Mapping[str, Any]) -> None:
        self.ip: Any = ip
        self.first_names = first_names
        self._started: dict[str | int, tuple[str | None, weakref.WeakSet[Run]]] = {}  # cell → last execution, its runs

    def metagd(self, line: str, cell: str | None = None) -> Run | None:
        """Execute ``%metagd LINE``, or ``%%metagd LINE`` with a body.

        Parameters
        ----------
        line : str
        cell : str, optional
            The body; None for a line magic.

        Returns
        -------
        Run or None
            The run, if the cell waited for it.
        """
        try:
            return self._execute(line, cell)
        except BaseException as error:  # the body may raise anything: an interrupt, an exit
            raise trimmed_error(self.ip, error) from None

    def _execute(self, text: str, cell: str | None) -> Run | None:
        line = parse(text)
        if line.version:
            print(f"metagd_nb {__version__}")
            return None
        if line.help or not line.word:
            display(help.manual(line.word) if line.word else help.listing())
            return None
        names = self._execute_body(text, cell)
        if line.word == "resume":
            return self._resume(line, text)
        if line.word in FUNCTIONS:
            FUNCTIONS[line.word](line, names)
        elif line.sweep:
            sweep(line, names)
        else:
            run = self._prepare(line, names, f"%metagd {text}" if cell is None else f"%%metagd {text}\n{cell}")
            return run and self._follow(run, line)
        return None

    def _execute_body(self, line: str, cell: str | None) -> bind.Names:
        """Execute the body and return the namespace with the names that the body defined."""
        self.supply()
        body = Body(self.ip, line, cell)
        return bind.Names(self.ip, body.run(), body.empty)

    def supply(self) -> None:
        """Add the first names to the namespace where the user has none of their own; ``%who`` does not list them."""
        for name, value in self.first_names.items():
            if self.ip.user_ns.setdefault(name, value) is value:
                self.ip.user_ns_hidden[name] = value

    # ---- training ----------------------------------------------------------------------------------------------

    def prepare(self, line: str, cell: str) -> Run | None:
        """Execute a cell's body and bind its run without starting it.

        Parameters
        ----------
        line, cell : str
            The text after ``%%metagd``, and the body.

        Returns
        -------
        Run or None
            None if the line only asks for advice.
        """
        return self._prepare(parse(line), self._execute_body(line, cell), f"%%metagd {line}\n{cell}")

    def _prepare(self, line: Line, names: bind.Names, text: str) -> Run | None:
        try:
            parts = bind.run_parts(line, names)
            if line.name in (parts.get("params") or {}):
                raise MetagdError(f"{line.name!r} is a parameter's starting value; choose another name", "-o")
            run = prepare(line.word, **{**line.options, **parts})
            if line.advise:
                from ...analysis.advice import advice_for
                from ...analysis.run_memory import remembered

                advice = advice_for(run, remembered(), set(line.options))
                print(advice)
                if line.only:
                    return None
                run = prepare(line.word, **{**advice.options, **line.options, **parts})
        except MetagdError as error:
            raise as_typed(error, line) from None
        run.loop.cell = text
        self._replace_former(run, text)
        self.ip.user_ns[line.name] = run
        return run

    def _resume(self, line: Line, text: str) -> Run | None:
        name, run = run_to_resume(line, self.ip.user_ns)
        self._replace_former(run, text)
        if run.loop.running:
            run.resume(**line.options)
            return None
        reopen(run.loop, line.options)
        self.ip.user_ns[name] = run
        return self._follow(run, line)

    def _follow(self, run: Run, line: Line) -> Run | None:
        """Train with displays under the cell; return the run if the cell waits for it."""
        if run.note:
            print(f"metagd: {run.note}")
        automatic = unattended()
        frame = _displays(run, line.plot, controls=not automatic)
        if not (line.wait or automatic):
            background(run, frame)
            return None
        return foreground(run, frame)

    def _replace_former(self, run: Run, text: str) -> None:
        """Stop the runs that an earlier execution of this cell has started."""
        cell, now = execution(self.ip)
        key = cell or hash(text)
        before, runs = self._started.get(key, (None, weakref.WeakSet[Run]()))
        if before is None or before != now:
            active = [former for former in runs if former.loop.running]
            for former in active:
                former.loop.request("stop")
            until = time.monotonic() + PATIENCE
            while any(former.loop.running for former in active) and time.monotonic() < until:
                time.sleep(0.005)
            runs = weakref.WeakSet()
        runs.add(run)
        self._started[key] = (now, runs)


def _displays(run: Run, plot: bool, controls: bool) -> Frame | None:
    """Show the displays of a run under the cell.

    The figure comes first, so that it keeps its place when the controls disappear. In each frame the controls come
    first: a button that was pressed is updated sooner than a curve is drawn.
    """
    makers: list[Callable[[], Any]] = [lambda: LiveDisplay(run)] if plot else []
    if controls and shows_pictures():
        makers.append(lambda: _controls(run, leave=plot))
    parts: list[Frame] = []
    for make in makers:
        try:
            with render_lock():
                part = make()
                part.show()
            parts.insert(0, part)
        except Exception as error:  # a display that fails must not end the training
            reason = f"a display cannot be made ({one_line(error)})"
            if isinstance(error, ModuleNotFoundError) and error.name == "ipywidgets":
                reason = "no controls: ipywidgets is not installed (pip install ipywidgets)"
            print(f"metagd: {reason}; the run goes on without")
    return Frames(run, *parts) if parts else None


def _controls(run: Run, leave: bool) -> Frame:
    from ..controls import Controls

    return Controls(run, leave=leave)
