"""The display of a run: shown once by the cell, then updated in place by the thread that trains.

A display handle can be updated from any thread and in every kernel. The last picture, with the summary of the run, is
saved in the notebook and stays there without a kernel. Its ``text/plain`` never changes, so that a check of the
notebook's outputs finds the same text.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from IPython.core.displaypub import DisplayPublisher
from IPython.core.getipython import get_ipython
from IPython.display import DisplayHandle, display

from ..plotting.figures import MimeBundle
from ..plotting.run_figure import LiveRunFigure, status
from ..training.run import Run


def shows_pictures() -> bool:
    """Return True if displays reach a front end that shows pictures; a terminal's publisher prints their text."""
    shell = get_ipython()
    return shell is not None and type(shell.display_pub) is not DisplayPublisher


def unattended() -> bool:
    """Return True if a program executes the cells, so that each must wait for its run before the page is written.

    ``METAGD_WAIT`` decides where it is set. Otherwise a kernel started by nbclient (papermill, ``nbconvert
    --execute``) is recognized by its history, which is stored nowhere, and by a front end that allows no input.
    """
    setting = os.environ.get("METAGD_WAIT", "")
    if setting:
        return setting != "0"
    shell: Any = get_ipython()
    if not hasattr(shell, "kernel"):
        return False
    allows_input = shell.get_parent().get("content", {}).get("allow_stdin", True)
    return not allows_input and str(shell.history_manager.hist_file) == ":memory:"


class UpdatedDisplay:
    """One output of a cell that is displayed at the first call of `show` and updated at each further one."""

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None

    def show(self, content: MimeBundle) -> None:
        """Display data and metadata; the first call must come from the cell's own thread."""
        data, metadata = content
        if self._handle is None:
            self._handle = display(data, metadata=metadata, raw=True, display_id=True)
        else:
            self._handle.update(data, metadata=metadata, raw=True)


class LiveDisplay:
    """The live figure of one run, or in a terminal a line of progress on stderr.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._plot: LiveRunFigure | None = None
        self._picture = UpdatedDisplay() if shows_pictures() else None
        self._shown = False

    def show(self) -> None:
        """Display the first frame; call it once, in the cell's own thread, so that it appears under the cell."""
        if not self._shown:
            self._shown = True
            self.frame()

    def frame(self, final: bool = False) -> None:
        """Update the display; the final frame has a higher resolution and releases the figure.

        Parameters
        ----------
        final : bool
            True after the last step.
        """
        if self._picture is None:
            self._line(final)
        elif self._shown:
            plot = self._plot or LiveRunFigure(self.run)
            self._plot = None if final else plot
            self._picture.show(plot.show(final))

    def _line(self, final: bool) -> None:
        """Write one line in place of the last; where stderr is a file, only the final one."""
        interactive = sys.stderr.isatty()
        if final or interactive:
            text = f"metagd {self.run.plan.method}: {status(self.run)}"
            text += f"\n{self.run.note}" if final and self.run.note else ""
            sys.stderr.write(("\r\x1b[K" if interactive else "") + text + ("\n" if final else ""))
            sys.stderr.flush()
