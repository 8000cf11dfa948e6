"""Widgets of the studio: its arrangement, its style sheet, and one input field for each option."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets

from ...algorithms import ALGORITHMS
from ...core.errors import MetagdError
from ...core.hyperparameters import Hyperparameter
from ...plotting.figures import RunFigure, crisp
from ...plotting.run_figure import words
from ..magic.help import shown

WIDE = {"width": "auto", "max_width": "100%"}
LABEL = {"description_width": "130px"}
ROW = {"flex_flow": "row wrap", "grid_gap": "4px 12px", "overflow": "visible"}
ONE = {"flex": "1 1 300px", "max_width": "362px", "min_width": "0"}
# Rules that the widgets' own layouts cannot express: on a phone labels stand above, and no tab's name is cut.
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


NONE = [("–", 0)]  # choices of an iteration before a run
TABS = ("loss", "inner loop", "landscape", "learned rates")
LOSS, INNER, LANDSCAPE = range(3)


class StudioWidgets:
    """The widgets of one studio and their arrangement, without behavior."""

    def __init__(self) -> None:
        self.method = ipywidgets.Dropdown(
            options=list(ALGORITHMS), value="maml", description="method", style=LABEL, layout=dict(ONE)
        )
        self.example = ipywidgets.Dropdown(description="what to learn", style=LABEL, layout=dict(ONE))
        self.body = ipywidgets.Textarea(description="the code", rows=5, style=LABEL, layout=dict(WIDE))
        self.own, self.every = ipywidgets.HBox(layout=dict(ROW)), ipywidgets.HBox(layout=dict(ROW))
        self.more = ipywidgets.Accordion([self.every], titles=("schedule, when to stop, seed, precision",))
        self.go = ipywidgets.Button(description="Run", icon="play", button_style="primary", tooltip="Run this cell")
        self.clear = ipywidgets.Button(description="Reset", icon="undo", tooltip="Back to the defaults; ends the run")
        self.status = ipywidgets.HTML()
        self.hands = ipywidgets.VBox()
        self.when = ipywidgets.SelectionSlider(
            options=NONE, description="learned for", continuous_update=False, style=LABEL, layout=dict(WIDE)
        )
        self.views = [ipywidgets.HTML() for _ in TABS]
        pages = [self.views[LOSS], ipywidgets.VBox([self.when, self.views[INNER]]), *self.views[LANDSCAPE:]]
        self.tabs = ipywidgets.Tab(pages, titles=TABS)
        self.equivalent = ipywidgets.HTML()
        self.box = self._arrange()

    def _arrange(self) -> ipywidgets.VBox:
        choice = ipywidgets.HBox([self.method, self.example], layout=dict(ROW))
        form = ipywidgets.VBox([choice, self.body, self.own, self.more])
        buttons = ipywidgets.HBox([self.go, self.clear], layout=dict(ROW))
        style = ipywidgets.HTML(STYLE, layout={"height": "0", "margin": "0"})
        parts = [style, form, buttons, self.status, self.hands, self.tabs, self.equivalent]
        box = ipywidgets.VBox(parts, layout={"width": "100%", "max_width": "760px", "overflow": "visible"})
        box.add_class("metagd-studio")
        return box

    def draw(self, index: int, make: Callable[[], RunFigure]) -> None:
        """Draw a figure in a view, or the message of the error that says why there is none."""
        view = self.views[index]
        view.value = view.value or "<p>drawing …</p>"
        try:
            figure = make()
            view.value = picture(crisp(figure), figure.alt)
        except MetagdError as error:
            view.value = f"<p>{escape(str(error))}</p>"


def option_field(one: Hyperparameter, changed: Callable[[str], None]) -> ipywidgets.ValueWidget:
    """Return the input field of an option: a list of choices, a whole number, or text for any other value.

    Parameters
    ----------
    one : Hyperparameter
    changed : function (str) → None
        Called with the option's name after each change.

    Returns
    -------
    ValueWidget
    """
    common = {"description": words(one.name), "tooltip": f"{one.help}; {one.allowed}", "style": LABEL}
    common["layout"] = dict(ONE)
    if one.choices:
        field = ipywidgets.Dropdown(options=list(one.choices), value=one.default, **common)
    elif one.kind is int and not one.optional:
        high = int(one.high) if one.high is not None else 2**31 - 1
        field = ipywidgets.BoundedIntText(value=one.default, min=int(one.low or 0), max=high, **common)
    elif one.forms:
        options = [form for form in one.forms if " " not in form]  # the others are words
        field = ipywidgets.Combobox(value=shown(one.default), options=options, continuous_update=False, **common)
    else:
        default = "" if one.default is None else shown(one.default)
        hint = "not set" if one.optional else one.allowed
        field = ipywidgets.Text(value=default, placeholder=hint, continuous_update=False, **common)
    field.observe(lambda _: changed(one.name), "value")
    return field


def field_values(
    declared: Mapping[str, Hyperparameter], fields: Mapping[str, ipywidgets.ValueWidget]
) -> dict[str, Any]:
    """Return option → value of the fields, without optional ones that are empty.

    Raises
    ------
    MetagdError
        For a value that is not allowed.
    """
    values = {}
    for name, field in fields.items():
        one = declared[name]
        if not isinstance(field, ipywidgets.Text):
            values[name] = one.check(field.value)
            continue
        text = field.value.strip()
        if text not in ("", "–", "None"):
            values[name] = one.default if text == shown(one.default) else one.parse(text)
        elif not one.optional:
            raise MetagdError(f"needs a value: {one.allowed}", one.option)
    return values


def picture(image: bytes, alt: str) -> str:
    """Return the HTML of a PNG with its description, as wide as its place allows."""
    data = base64.b64encode(image).decode()
    return f'<img alt="{escape(alt)}" style="width:100%;max-width:720px" src="data:image/png;base64,{data}">'
