"""The studio: choose, run and examine with widgets, with the equivalent cell below at every moment.

`form` turns choices into the text of a cell, `layout` holds the widgets, `views` draws. The studio executes that
cell through the magic like a typed one, so that it can do nothing that a cell cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ipywidgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from ...algorithms import ALGORITHMS
from ...core.errors import MetagdError, one_line
from ...plotting.run_figure import LiveRunFigure
from ...training.drivers import background
from ...training.run import Run
from ..controls import Controls
from ..widgets import status_line, unpin
from . import views
from .form import Choice, declarations, equivalent, examples
from .layout import INNER, LANDSCAPE, LOSS, NONE, StudioWidgets, field_values, option_field, picture

if TYPE_CHECKING:
    from ..magic.cell import Cell


class Studio(StudioWidgets):
    """A studio: its widgets with their behavior, and the run that it started last.

    Parameters
    ----------
    cell : Cell
        The magic of the shell: it executes bodies and prepares runs.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self._cell = cell
        self.run: Run | None = None
        self.history = views.History()
        self._controls: Controls | None = None
        self._plot: LiveRunFigure | None = None
        self._drawn: dict[int, int] = {}  # view → the iteration that it shows
        self.options: dict[str, ipywidgets.ValueWidget] = {}
        self._changed: set[str] = set()  # options that the user has set
        self._silent = False
        self._observe()
        self._choose_method()

    def _observe(self) -> None:
        for widget, trait, act in (
            (self.method, "value", self._choose_method),
            (self.example, "value", self._choose_example),
            (self.body, "value", self._update_cell),
            (self.when, "value", self._draw_inner_loop),
            (self.tabs, "selected_index", self._update_view),
        ):
            widget.observe(lambda _, act=act: self._safely(act), trait)
        self.go.on_click(lambda _: self._safely(self.start))
        self.clear.on_click(lambda _: self._safely(self.reset))

    def _safely(self, act: Callable[[], None]) -> None:
        """Call a function and show its exception, since an exception in a callback is displayed nowhere."""
        if self._silent:
            return
        try:
            act()
        except BaseException as error:
            self.status.value = status_line(str(error) if isinstance(error, MetagdError) else one_line(error))

    @contextmanager
    def _silenced(self) -> Iterator[None]:
        """Set widgets without calling their callbacks."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    # ---- choices -----------------------------------------------------------------------------------------------

    def _choose_method(self) -> None:
        """Show the options and examples of the method; options that the user has set and that it has too stay."""
        method = self.method.value
        with self._silenced():
            before = {name: self.options[name].value for name in self._changed if name in self.options}
            self.options = {name: option_field(one, self._change) for name, one in declarations(method).items()}
            for name, value in before.items():
                if name in self.options and type(self.options[name].value) is type(value):
                    self.options[name].value = value
            own = [field for name, field in self.options.items() if hasattr(ALGORITHMS[method], name)]
            self.own.children = (*own, self.options["steps"])
            self.every.children = tuple(field for field in self.options.values() if field not in self.own.children)
            if tuple(self.example.options) != tuple(examples(method)):
                self.example.options = list(examples(method))
                self.example.value = self.example.options[0]
                self._choose_example()
        self._update_cell()

    def _choose_example(self) -> None:
        if self.example.value is not None:
            self.body.value = examples(self.method.value)[self.example.value]

    def _change(self, option: str) -> None:
        if not self._silent:
            self._changed.add(option)
        self._safely(self._update_cell)

    def choice(self) -> Choice:
        """Return the method, body and options chosen now.

        Raises
        ------
        MetagdError
            For an option that is not allowed.
        """
        method = self.method.value
        return Choice(method, self.body.value.rstrip(), field_values(declarations(method), self.options))

    def _update_cell(self) -> None:
        """Show the equivalent cell, followed by the changes to its run as comments."""
        cell = self.choice().cell
        self.equivalent.value = equivalent(cell, self.run.events if self.run is not None else [])
        self.status.value = ""

    # ---- the run -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run the cell that is shown, in the background."""
        chosen = self.choice()
        self._stop()
        run = self._cell.prepare(chosen.line, chosen.body)
        if run is None:
            return
        self._use(run)
        self._plot = LiveRunFigure(run)
        self._controls = Controls(run)
        self.hands.children = (self._controls.box,)
        self._update_cell()
        self.status.value = status_line(run.note or "")
        background(run, self)

    def _use(self, run: Run | None) -> None:
        """Forget the former run."""
        self.run, self.history, self._drawn, self._plot = run, views.History(), {}, None
        self.hands.children = ()
        self.when.options = NONE

    def _stop(self) -> None:
        if self.run is not None and self.run.loop.running:
            self.run.stop()

    def reset(self) -> None:
        """End the run, empty the views, and set every option to its default."""
        self._stop()
        self._use(None)
        self._changed.clear()
        for view in self.views:
            view.value = ""
        self._choose_example()
        self._choose_method()

    def frame(self, final: bool = False) -> None:
        """Update controls and views between two steps, in the thread that trains.

        Parameters
        ----------
        final : bool
            True after the last step.
        """
        run, plot, controls = self.run, self._plot, self._controls
        if run is None or plot is None or controls is None:
            return
        controls.frame(final)
        self.history.add(run.loop.snapshot, last=final)
        index = self.tabs.selected_index
        if index in (LOSS, None) or final:
            data, metadata = plot.show(final)
            self.views[LOSS].value = picture(data["image/png"], metadata["image/png"]["alt"])
        if final:
            self._finish(run)
        elif index != LANDSCAPE or run.iteration >= 2 * self._drawn.get(LANDSCAPE, 0):  # a landscape costs the most
            self._update_view()

    def _finish(self, run: Run) -> None:
        """Remove the controls and show the last state of a run that has ended."""
        self.hands.children = ()
        self._plot = None
        if len(self.history.shots) < views.FEW and run.iteration <= views.QUICK:
            self._safely(self._retrace)
        self._safely(self._update_cell)
        self.status.value = status_line(run.note or "")
        self._update_view()

    def _retrace(self) -> None:
        if self.run is not None:
            self.history = views.retraced(self.run)

    # ---- views -------------------------------------------------------------------------------------------------

    def _update_view(self) -> None:
        """Draw the open view, unless it shows the current iteration already."""
        run, index = self.run, self.tabs.selected_index
        if run is None or index in (LOSS, None) or self._drawn.get(index) == run.iteration:
            return
        self._drawn[index] = run.iteration
        if index == INNER:
            self._update_slider()
            self._draw_inner_loop()
        elif index == LANDSCAPE:
            self.draw(index, lambda: views.landscape(run, self.history.shots))
        else:
            self.draw(index, lambda: views.rates(run))

    def _update_slider(self) -> None:
        """Offer the iterations seen so far; the slider follows the newest until the user chooses an older one."""
        steps = [shot.step for shot in self.history.shots] or [0]
        here, follows = self.when.value, self.when.value == self.when.options[-1][1]
        with self._silenced():
            self.when.options = [(f"{step:,} steps", step) for step in steps]
            self.when.value = steps[-1] if follows else min(steps, key=lambda step: abs(step - here))

    def _draw_inner_loop(self) -> None:
        run, shots = self.run, {shot.step: shot for shot in self.history.shots}
        if run is not None and self.when.value in shots:
            self.draw(INNER, lambda: views.inner_loop(run, shots[self.when.value]))


def studio() -> None:
    """Display a studio: choose tasks, model and method, run, examine, and copy the equivalent cell.

    Raises
    ------
    MetagdError
        Outside a notebook.
    """
    ip: Any = get_ipython()
    if ip is None or not hasattr(ip, "kernel"):
        raise MetagdError("the studio needs a notebook: JupyterLab or Notebook 7", "studio")
    if getattr(ip, "_metagd", None) is None:
        ip.run_line_magic("load_ext", "metagd_nb")
    shown = Studio(ip._metagd[0])
    for widget in (shown.go, shown.clear):
        unpin(widget)
    display(shown.box)
