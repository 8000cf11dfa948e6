"""One display that follows a run: shown once by the cell, then updated in place by whoever trains.

Updating one display handle is right from any thread and in every kernel; the last picture is saved
in the notebook and stays there without a kernel. Its ``text/plain`` never changes, so that a check of
the notebook's outputs finds what it found before. The summary of a run that ended is part of the picture.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from IPython.core.displaypub import DisplayPublisher
from IPython.core.getipython import get_ipython
from IPython.display import display

from ..plotting.run_figure import LiveRunFigure, status


def shows_pictures() -> bool:
    """Whether displays go to a front end that shows pictures: a terminal's publisher prints their text."""
    shell = get_ipython()
    return shell is not None and type(shell.display_pub) is not DisplayPublisher


def unattended() -> bool:
    """Whether a program runs the cells, so that they must wait: nothing that comes after a cell would reach its page.

    ``METAGD_WAIT`` says so, or the opposite. Where it does not, a kernel that nbclient has started (papermill,
    ``nbconvert --execute``) is known by its history, which is kept nowhere, and by nobody being there to be asked.
    """
    told = os.environ.get("METAGD_WAIT", "")
    if told:
        return told != "0"
    shell: Any = get_ipython()
    if not hasattr(shell, "kernel"):
        return False
    asked = shell.get_parent().get("content", {}).get("allow_stdin", True)
    return not asked and str(shell.history_manager.hist_file) == ":memory:"


class LiveDisplay:
    """The frames of one run; drive the run with it: ``run.drive(live)``.

    In a terminal it is a line of progress on stderr instead.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Any) -> None:
        self.run = run
        self._plot: LiveRunFigure | None = None
        self._handle: Any = None
        self._terminal = not shows_pictures()

    def show(self) -> None:
        """Display the first frame; call it in the cell's own thread, once, so that it lands under the cell."""
        if self._terminal:
            self._line(final=False)
        elif self._handle is None:
            data, metadata = self._picture(final=False)
            self._handle = display(data, metadata=metadata, raw=True, display_id=True)  # type: ignore[no-untyped-call]

    def frame(self, final: bool = False) -> None:
        """Show how things stand; the final frame is crisp, and frees what the moving ones needed."""
        if self._terminal:
            self._line(final)
        elif self._handle is not None:
            data, metadata = self._picture(final)
            self._handle.update(data, metadata=metadata, raw=True)

    def _picture(self, final: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        plot = self._plot or LiveRunFigure(self.run)
        self._plot = None if final else plot
        return plot.show(final)

    def _line(self, final: bool) -> None:
        """One line, rewritten in place; where stderr is a file, only the last one."""
        moving = sys.stderr.isatty()
        if final or moving:
            text = f"metagd {self.run.plan.method}: {status(self.run)}"
            text += f"\n{self.run.note}" if final and self.run.note else ""
            sys.stderr.write(("\r\x1b[K" if moving else "") + text + ("\n" if final else ""))
            sys.stderr.flush()
