"""The studio: choose, run and look with widgets; at every moment the cell that does the same stands below.

A folder: `form` turns choices into the text of a cell, `views` draws, and here are the widgets. What runs is the cell
itself, through the same door as a typed one; so the studio can do nothing that a cell cannot.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from typing import Any

import ipywidgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from ...algorithms import ALGORITHMS
from ...core.errors import MetagdError, one_line
from ...core.hyperparameters import Hyperparameter
from ...plotting.figures import crisp
from ...plotting.run_figure import LiveRunFigure, words
from ...training.drivers import background
from ...training.run import Run
from ..controls import Controls, unpin
from ..magic.help import shown
from . import views
from .form import Choice, declarations, examples, insertion

WIDE = {"width": "auto", "max_width": "100%"}
LABEL = {"description_width": "130px"}
ROW = {"flex_flow": "row wrap", "grid_gap": "4px 12px", "overflow": "visible"}
ONE = {"flex": "1 1 300px", "max_width": "362px", "min_width": "0"}
# What widgets' own layouts cannot say: on a phone labels stand above, and no tab's name is cut.
STYLE = """<style>
.metagd-studio { container-type: inline-size; }
.metagd-studio .lm-TabBar-content { flex-wrap: wrap; }
.metagd-studio .lm-TabBar-tab { flex: 0 1 auto !important; min-width: max-content !important; }
.metagd-studio .widget-tab-contents { padding: 4px !important; overflow-x: auto; }
.metagd-studio .widget-tab-contents img { min-width: 340px; }
.metagd-studio textarea { font-family: var(--jp-code-font-family, monospace); }
@container (max-width: 420px) {
  .metagd-studio .jupyter-button { width: auto; padding: 0 8px; }
  .metagd-studio select { min-height: var(--jp-widgets-inline-height); }
  .metagd-studio .widget-inline-hbox { flex-wrap: wrap; height: auto; }
  .metagd-studio .widget-inline-hbox > label { width: 100% !important; text-align: left; }
  .metagd-studio .widget-inline-hbox > :is(input, select, textarea) { width: 100%; flex: 1 1 100%; }
  .metagd-studio .widget-inline-hbox > .slider-container { flex: 1 1 120px; }
}
</style>"""
NONE = [("–", 0)]  # iterations to look at, before a run
TABS = ("loss", "inner loop", "landscape", "learned rates")


def picture(image: bytes, alt: str) -> str:
    """HTML of a PNG that fits its place, with words for whoever cannot see it."""
    data = base64.b64encode(image).decode()
    style = "width:100%;max-width:720px"
    return f'<img alt="{html.escape(alt, quote=True)}" style="{style}" src="data:image/png;base64,{data}">'


class Studio:
    """The widgets of one studio.

    Parameters
    ----------
    cell : Cell
        The magic of the shell: it executes bodies and prepares runs.
    """

    def __init__(self, cell: Any) -> None:
        self._cell = cell
        self.run: Run | None = None
        self.history = views.History()
        self._controls: Controls | None = None
        self._plot: LiveRunFigure | None = None
        self._drawn: dict[int, int] = {}  # view → the iteration that it shows
        self.method = ipywidgets.Dropdown(
            options=list(ALGORITHMS), value="maml", description="method", style=LABEL, layout=dict(ONE)
        )
        self.example = ipywidgets.Dropdown(description="what to learn", style=LABEL, layout=dict(ONE))
        self.body = ipywidgets.Textarea(description="the code", rows=5, style=LABEL, layout=dict(WIDE))
        self.own, self.every = ipywidgets.HBox(layout=dict(ROW)), ipywidgets.HBox(layout=dict(ROW))
        self.more = ipywidgets.Accordion([self.every], titles=("when to stop, seed, precision",))
        self.go = ipywidgets.Button(description="Run", icon="play", button_style="primary", tooltip="Run this cell")
        self.clear = ipywidgets.Button(description="Reset", icon="undo", tooltip="Back to the defaults; ends the run")
        self.status = ipywidgets.HTML()
        self.hands = ipywidgets.VBox()
        self.when = ipywidgets.SelectionSlider(
            options=NONE, description="learned for", continuous_update=False, style=LABEL, layout=dict(WIDE)
        )
        self.views = [ipywidgets.HTML() for _ in TABS]
        pages = [self.views[0], ipywidgets.VBox([self.when, self.views[1]]), *self.views[2:]]
        self.tabs = ipywidgets.Tab(pages, titles=TABS)
        self.equivalent = ipywidgets.HTML()
        self.options: dict[str, Any] = {}
        self._changed: frozenset[str] = frozenset()  # options that were set by hand
        self._quiet = False
        self._listen()
        self._choose_method()
        self.box = self._arrange()

    def _arrange(self) -> Any:
        form = ipywidgets.VBox(
            [ipywidgets.HBox([self.method, self.example], layout=dict(ROW)), self.body, self.own, self.more]
        )
        buttons = ipywidgets.HBox([self.go, self.clear], layout=dict(ROW))
        style = ipywidgets.HTML(STYLE, layout={"height": "0", "margin": "0"})
        parts = [style, form, buttons, self.status, self.hands, self.tabs, self.equivalent]
        box = ipywidgets.VBox(parts, layout={"width": "100%", "max_width": "760px", "overflow": "visible"})
        box.add_class("metagd-studio")
        return box

    def _listen(self) -> None:
        for widget, act in (
            (self.method, self._choose_method),
            (self.example, self._choose_example),
            (self.body, self._tell),
            (self.when, self._inner),
        ):
            widget.observe(lambda _, act=act: self._safely(act), "value")
        self.tabs.observe(lambda _: self._safely(self._evaluation), "selected_index")
        self.go.on_click(lambda _: self._safely(self.start))
        self.clear.on_click(lambda _: self._safely(self.reset))

    def _safely(self, act: Callable[[], None]) -> None:
        """Do it; an exception in a callback would be shown nowhere."""
        if self._quiet:
            return
        try:
            act()
        except BaseException as error:
            self._say(str(error) if isinstance(error, MetagdError) else one_line(error))

    def _say(self, text: str) -> None:
        self.status.value = f'<span role="status">{html.escape(text)}</span>' if text else ""

    # ---- choosing ----------------------------------------------------------------------------------------------

    def _choose_method(self) -> None:
        """Options and examples of the method; what is set and still means something stays."""
        method = self.method.value
        found = examples(method)
        self._quiet = True
        try:
            before = {name: widget.value for name, widget in self.options.items()}
            declared = declarations(method)
            self.options = {name: self._option(one) for name, one in declared.items()}
            for name, value in before.items():
                fits = name in self._changed and name in self.options
                if fits and type(self.options[name].value) is type(value):
                    self.options[name].value = value
            own = [w for n, w in self.options.items() if hasattr(ALGORITHMS[method], n)]
            self.own.children = (*own, self.options["steps"])
            self.every.children = tuple(w for n, w in self.options.items() if w not in self.own.children)
            if tuple(self.example.options) != tuple(found):
                self.example.options = list(found)
                self.example.value = next(iter(found))
                self.body.value = found[self.example.value]
        finally:
            self._quiet = False
        self._tell()

    def _choose_example(self) -> None:
        if self.example.value is not None:
            self.body.value = examples(self.method.value)[self.example.value]

    def _option(self, one: Hyperparameter) -> Any:
        """The control of a declaration: a list of choices, a whole number, or text for what a slider cannot say."""
        common = {"description": words(one.name), "tooltip": f"{one.help}; {one.allowed}", "style": LABEL}
        common["layout"] = dict(ONE)
        widget: Any
        if one.choices:
            widget = ipywidgets.Dropdown(options=list(one.choices), value=one.default, **common)
        elif one.kind is int and not one.optional:
            high = int(one.high) if one.high is not None else 2**31 - 1
            widget = ipywidgets.BoundedIntText(value=one.default, min=int(one.low or 0), max=high, **common)
        else:
            widget = ipywidgets.Text(
                value="" if one.default is None else shown(one.default),
                placeholder="not set" if one.optional else one.allowed,
                continuous_update=False,
                **common,
            )

        def changed(_: Any) -> None:
            if not self._quiet:
                self._changed = self._changed | {one.name}
            self._safely(self._tell)

        widget.observe(changed, "value")
        return widget

    def choice(self) -> Choice:
        """What is chosen now.

        Raises
        ------
        MetagdError
            For an option that is not allowed.
        """
        declared, found = declarations(self.method.value), {}
        for name, widget in self.options.items():
            one = declared[name]
            if isinstance(widget, ipywidgets.Text):
                text = widget.value.strip()
                if text in ("", "–", "None"):
                    if not one.optional:
                        raise MetagdError(f"needs a value: {one.allowed}", one.option)
                    continue
                found[name] = one.default if text == shown(one.default) else one.parse(text)
            else:
                found[name] = one.check(widget.value)
        return Choice(self.method.value, self.body.value.rstrip(), found)

    def _tell(self) -> None:
        """Show the cell that does the same, and what was done to its run by hand."""
        cell = self.choice().cell
        done = [f"# at step {e.step}: {_said(e)}" for e in (self.run.events if self.run is not None else [])]
        text = html.escape("\n".join([cell, *done]))
        code = f"<pre tabindex='0' style='white-space:pre-wrap;user-select:all;margin:4px 0'>{text}</pre>"
        self.equivalent.value = f"<div><b>the same as a cell</b> {insertion(cell)}{code}</div>"
        self._say("")

    # ---- running -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run the cell that is shown, in the background."""
        chosen = self.choice()
        self._stop()
        run = self._cell.prepare(chosen.line, chosen.body)
        if run is None:
            return
        self.run, self.history, self._drawn = run, views.History(), {}
        self.when.options = NONE
        self._plot = LiveRunFigure(run)
        self._controls = Controls(run)
        self.hands.children = (self._controls.box,)
        self._tell()
        self._say(run.note or "")
        background(run, self)

    def _stop(self) -> None:
        if self.run is not None and self.run.loop.running:
            self.run.stop()

    def reset(self) -> None:
        """End the run, empty the views, and set everything back to its default."""
        self._stop()
        self.run, self._plot, self._changed, self.options = None, None, frozenset(), {}
        self.history, self._drawn = views.History(), {}
        self.hands.children = ()
        self.when.options = NONE
        for view in self.views:
            view.value = ""
        self.body.value = examples(self.method.value)[self.example.value]
        self._choose_method()

    def frame(self, final: bool = False) -> None:
        """Show how the run stands; called by the thread that trains, between two steps."""
        run, plot, controls = self.run, self._plot, self._controls
        if run is None or plot is None or controls is None:
            return
        controls.frame(final)
        self.history.add(run.loop.snapshot, last=final)
        if self.tabs.selected_index in (0, None) or final:
            data, metadata = plot.show(final)
            self.views[0].value = picture(data["image/png"], metadata["image/png"]["alt"])
        if final:
            self.hands.children = ()
            self._plot = None
            if len(self.history.shots) < views.FEW and run.iteration <= views.QUICK:
                self._safely(self._retrace)
            self._safely(self._tell)
            self._say(run.note or "")
            self._evaluation()
        elif self.tabs.selected_index != 2 or run.iteration >= 2 * self._drawn.get(2, 0):  # a landscape costs the most
            self._evaluation()

    def _retrace(self) -> None:
        self.history = views.retraced(self.run)

    # ---- looking -----------------------------------------------------------------------------------------------

    def _evaluation(self) -> None:
        """Bring the open view up to date."""
        index = self.tabs.selected_index
        if self.run is None or index in (0, None) or self._drawn.get(index) == self.run.iteration:
            return
        self._drawn[index] = self.run.iteration
        if index == 1:
            self._slide()
            self._inner()
        elif index == 2:
            self._draw(2, lambda: views.landscape(self.run, self.history.shots))
        else:
            self._draw(3, lambda: views.rates(self.run))

    def _slide(self) -> None:
        """Give the slider the iterations seen so far; it follows the newest until a person chooses an older one."""
        steps = [shot.step for shot in self.history.shots] or [0]
        here, follows = self.when.value, self.when.value == self.when.options[-1][1]
        self._quiet = True
        try:
            self.when.options = [(f"{step:,} steps", step) for step in steps]
            self.when.value = steps[-1] if follows else min(steps, key=lambda step: abs(step - here))
        finally:
            self._quiet = False

    def _inner(self) -> None:
        shots = {shot.step: shot for shot in self.history.shots}
        if self.run is not None and self.when.value in shots:
            self._draw(1, lambda: views.inner_loop(self.run, shots[self.when.value]))

    def _draw(self, index: int, make: Callable[[], Any]) -> None:
        self.views[index].value = self.views[index].value or "<p>drawing …</p>"
        try:
            figure = make()
            self.views[index].value = picture(crisp(figure), figure.alt)
        except MetagdError as error:  # there is nothing to draw, and why
            self.views[index].value = f"<p>{html.escape(str(error))}</p>"


def _said(event: Any) -> str:
    """What a person did, as code."""
    if event.kind == "set":
        return f"run.set({', '.join(f'{name}={value!r}' for name, value in event.value.items())})"
    return f"run.{event.kind}({event.value if event.kind == 'step' else ''})"


def studio() -> None:
    """Show a studio under the cell: choose tasks, model and method, run, look, and take the cell with you.

    Raises
    ------
    MetagdError
        Outside a notebook, or before ``%load_ext metagd_nb``.
    """
    ip: Any = get_ipython()
    if ip is None or not hasattr(ip, "kernel"):
        raise MetagdError("the studio needs a notebook: JupyterLab or Notebook 7", "studio")
    if getattr(ip, "_metagd", None) is None:
        ip.run_line_magic("load_ext", "metagd_nb")
    made = Studio(ip._metagd[0])
    for widget in (made.go, made.clear):
        unpin(widget)
    display(made.box)
