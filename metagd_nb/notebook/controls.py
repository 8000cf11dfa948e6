"""The person's hands on a run: pause, step, stop, a slider for each live rate, and how far it is.

Callbacks only queue a request; the thread that trains shows what came of it between two steps, through ``frame``.
So what is seen is what happened, and no click ever waits for a step. When the run has ended nothing can be asked
of it any more: the controls are disabled, freed, and gone from under the plot, which tells the reason. A
notebook opened again then shows no empty shells of widgets.
"""

from __future__ import annotations

import html
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import ipywidgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from ..core.errors import one_line
from ..core.hyperparameters import Hyperparameter, hyperparameters
from ..plotting.figures import WIDTH
from ..plotting.run_figure import words
from ..training.run import Run
from ..training.stopping import REASONS

VIEW = "application/vnd.jupyter.widget-view+json"
TOLD = 0.25  # seconds between two texts; faster is not read
KEPT = 12  # texts over which the speed is taken
DECADES = 2  # of a rate to either side of where it starts
SMALL = -5  # the least power of ten of which ".3g" shows all in a slider's width
FOLLOW = 1.0  # seconds for which a slider rests that follows its rate: a move would pull it out of a person's hand
CLOSE = 0.01  # part of a rate by which its slider may be off until then


def hears_clicks() -> bool:
    """Whether the kernel can deliver a click while a cell waits: on a subshell, which ipykernel 7 has."""
    kernel = getattr(get_ipython(), "kernel", None)
    return "kernel subshells" in getattr(kernel, "kernel_info", {}).get("supported_features", ())


def unpin(widget: Any) -> None:
    """Let messages to a widget reach the subshell to which they were sent.

    ipykernel 7.4 routes them to the shell that last sent on the widget's comm instead: the main one, which is
    busy while a cell waits for a result.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, default: default


def span(value: float, declared: Hyperparameter) -> tuple[float, float]:
    """Powers of ten between which a rate's slider moves: two decades to either side, within what is allowed."""
    middle = round(math.log10(value if value > 0 else declared.default or 1.0))
    low, high = float(middle - DECADES), float(middle + DECADES)
    if declared.low:
        low = max(low, math.log10(declared.low))
    return low, high if declared.high is None else min(high, math.log10(declared.high))


def lasting(seconds: float) -> str:
    """A time to come in plain words, no finer than it is known."""
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.0f} days"


class Controls:
    """The widgets of one run.

    Parameters
    ----------
    run : Run
    leave : bool
        Whether they leave nothing behind when the run has ended; else a line that says why, for want of a plot.
    """

    def __init__(self, run: Run, leave: bool = True) -> None:
        self.run, self.leave = run, leave
        self.closed = False
        self.pause = self._button("", "", "", self._pause_or_resume)
        self.step = self._button("Step", "step-forward", "Do one step, then hold", lambda: run.loop.request("step", 1))
        self.stop = self._button("Stop", "stop", "End the run and keep its result", lambda: run.loop.request("stop"))
        fill = ipywidgets.Layout(width="auto", min_width="0", margin="0 2px", height="12px")
        most = max(run.plan.settings.steps, 1)
        self.bar = ipywidgets.FloatProgress(max=most, layout=fill, tooltip="Steps done, of those asked for")
        self.told = ipywidgets.HTML(layout={"width": "auto"})
        self.status = ipywidgets.HTML(layout={"width": "auto", "display": "none"})
        self.sliders = {
            name: self._slider(name, declared, run.rates[name])
            for name, declared in hyperparameters(run.loop.algorithm).items()
            if declared.live and not isinstance(getattr(run.loop.algorithm, name), tuple)
        }
        self.box = self._arrange()
        self._handle: Any = None
        self._hears = hears_clicks()
        self._holds = False  # whether the first button says Resume
        self._rates = dict(run.rates)
        self._put: dict[str, float] = {}  # where `frame` itself moved a slider: no wish of a person's
        self._touched: dict[str, float] = {}
        self._seen: tuple[Any, ...] = ()
        self._next = 0.0
        self._speed: deque[tuple[float, int]] = deque(maxlen=KEPT)
        self._trouble = ""
        self._left = ""  # what a page without widgets shows in their place
        for widget in self._widgets():
            unpin(widget)
        self._buttons()
        self._tell()

    # ---- what stands where -------------------------------------------------------------------------------------

    def _button(self, text: str, icon: str, tooltip: str, act: Callable[[], object]) -> Any:
        button = ipywidgets.Button(
            description=text, icon=icon, tooltip=tooltip, layout={"flex": "0 1 92px", "min_width": "0"}
        )
        button.on_click(lambda _: self._safely(act))
        return button

    def _slider(self, name: str, declared: Hyperparameter, value: float) -> Any:
        low, high = span(value, declared)
        slider = ipywidgets.FloatLogSlider(
            value=value,
            min=low,
            max=high,
            step=None,  # else the page rounds what it shows to whole steps; a key press moves a tenth of the span
            readout_format=".3g" if low >= SMALL else ".1e",
            continuous_update=False,
            description=words(name),
            tooltip=f"{declared.help}; {declared.allowed}",
            style={"description_width": "initial"},
            layout={"flex": "1 1 320px", "width": "auto", "min_width": "0", "max_width": "100%"},
        )
        slider.observe(lambda change: self._safely(lambda: self._set(name, change["new"])), "value")
        return slider

    def _arrange(self) -> Any:
        wrap = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "2px 14px", "overflow": "visible"}
        buttons = ipywidgets.HBox([self.pause, self.step, self.stop], layout={"flex": "0 1 296px", "min_width": "0"})
        far = ipywidgets.VBox([self.bar, self.told], layout={"flex": "1 1 300px", "min_width": "0"})
        first = ipywidgets.HBox([buttons, far], layout=wrap)
        rates = ipywidgets.HBox(list(self.sliders.values()), layout=wrap)
        return ipywidgets.VBox([first, rates, self.status], layout={"width": "100%", "max_width": f"{WIDTH}px"})

    def _widgets(self) -> list[Any]:
        """Every widget of the box with its style and layout, which are widgets too."""
        found, todo = [], [self.box]
        while todo:
            widget = todo.pop()
            found += [widget, widget.layout, *([widget.style] if widget.has_trait("style") else [])]
            todo += getattr(widget, "children", ())
        return found

    def show(self) -> None:
        """Display them; call it in the cell's own thread, once. Nothing happens where there is no kernel."""
        if hasattr(get_ipython(), "kernel") and self._handle is None:
            data = {VIEW: self.box.get_view_spec(), "text/plain": self._left}
            self._handle = display(data, raw=True, display_id=True)

    # ---- what the person does ----------------------------------------------------------------------------------

    def _safely(self, act: Callable[[], object]) -> None:
        """Do it; an exception in a callback would be shown nowhere."""
        try:
            act()
            self._trouble = ""
        except Exception as error:
            self._trouble = one_line(error)
            self._say(self._trouble)

    def _pause_or_resume(self) -> None:
        self.run.loop.request("resume" if self._holds else "pause")

    def _set(self, name: str, value: float) -> None:
        if self._put.pop(name, None) == value:
            return
        self._touched[name] = time.monotonic()
        try:
            self.run.loop.request("set", {name: value})
        except Exception:
            self._rates[name] = math.nan  # the next frame puts the slider back
            raise

    # ---- what is shown -----------------------------------------------------------------------------------------

    def frame(self, final: bool = False) -> None:
        """Show how things stand; called by the thread that trains. Only what has changed is sent."""
        if self.closed:
            return
        run = self.run
        now = time.monotonic()
        seen = (
            run.stopped,
            run.loop.paused,
            len(run.events),
            self._deaf(),
            run.loop.paused and run.iteration,
            self._trouble,
        )
        if final or seen != self._seen or now >= self._next:
            self._seen, self._next = seen, now + TOLD
            self._buttons()
            self._move(now)
            self._tell()
        if final:
            self._release()

    def _deaf(self) -> bool:
        """Whether clicks would arrive too late: a cell waits for this run, and the kernel reads nothing meanwhile."""
        return self.run.loop.waiting > 0 and not self._hears

    def _buttons(self) -> None:
        run = self.run
        off = run.stopped is not None or self._deaf()
        for widget in (self.pause, self.step, self.stop, *self.sliders.values()):
            widget.disabled = off
        if self._holds != run.loop.paused or not self.pause.description:
            self._holds = run.loop.paused
            resume, pause = ("Resume", "play", "Go on"), ("Pause", "pause", "Hold after this step")
            text, icon, tooltip = resume if run.loop.paused else pause
            self.pause.description, self.pause.icon, self.pause.tooltip = text, icon, tooltip

    def _move(self, now: float) -> None:
        """Let the sliders follow rates that moved without them: set in code, or by the method itself."""
        if self.run.loop.requests.pending:
            return  # what a person has just done must not be undone before it is obeyed
        rates = self.run.rates
        for name, slider in self.sliders.items():
            value = rates[name]
            if value == self._rates[name] or not (math.isfinite(value) and value > 0):
                continue
            rests = now < self._touched.get(name, -math.inf) + FOLLOW or math.isclose(
                value, slider.value, rel_tol=CLOSE
            )
            if value != getattr(self.run.loop.algorithm, name) and rests:
                continue  # the method moves it
            power = math.log10(value)
            slider.min, slider.max = min(slider.min, math.floor(power)), max(slider.max, math.ceil(power))
            self._rates[name] = self._put[name] = value
            self._touched[name] = now
            slider.value = value

    def _tell(self) -> None:
        run = self.run
        self.bar.value = step = run.iteration
        if len(run.record):
            self._speed.append((run.record.last("seconds"), step))
        self.told.value = f'<span style="font-variant-numeric: tabular-nums">{html.escape(self._progress(step))}</span>'
        if run.stopped is not None:
            good = {"diverged": "danger", "failed": "danger", "user": "", "interrupted": ""}
            self.bar.bar_style = good.get(run.stopped, "success")
        deaf = "a cell waits for this run: interrupt to stop" if self._deaf() else ""
        self._say(self._trouble or deaf or run.note or "")

    def _progress(self, step: int) -> str:
        """Why it stands still if it does, steps, speed, and time to go."""
        run, settings = self.run, self.run.plan.settings
        state = REASONS.get(run.stopped, run.stopped) if run.stopped else "paused" if run.loop.paused else ""
        parts = [*filter(None, [state]), f"{step:,} of {settings.steps:,} steps"]
        (before, since), (now, _) = (self._speed[0], self._speed[-1]) if self._speed else ((0.0, 0), (0.0, 0))
        if now > before and step > since and not run.loop.paused:
            speed = (step - since) / (now - before)
            parts.append(f"{speed:,.0f} steps/s" if speed >= 10 else f"{speed:.2g} steps/s")
            left = (settings.steps - step) / speed
            if settings.seconds is not None:
                left = min(left, max(settings.seconds - now, 0.0))
            sooner = (settings.loss_below, settings.grad_below, settings.patience) != (None, None, None)
            if run.stopped is None:
                parts.append(f"{'at most' if sooner else 'about'} {lasting(left)} left")
        return " · ".join(parts)

    def _say(self, text: str) -> None:
        """One line, read out by screen readers; its place is only taken while there is one."""
        self.status.value = f'<span role="status">{html.escape(text)}</span>' if text else ""
        self.status.layout.display = None if text else "none"

    # ---- the end -----------------------------------------------------------------------------------------------

    def _release(self) -> None:
        """No more can be asked: forget the run, and leave."""
        for slider in self.sliders.values():
            slider.unobserve_all()
        for button in (self.pause, self.step, self.stop):
            button._click_handlers.callbacks.clear()
        if not self.leave:
            self._left = "\n".join(filter(None, [self._progress(self.run.iteration), self.run.note]))
        self.close()

    def close(self) -> None:
        """Take them away and free them, also in the browser; the run goes on."""
        if self.closed:
            return
        self.closed = True
        if self._handle is not None:
            self._handle.update({"text/plain": self._left}, raw=True)
        for widget in self._widgets():
            widget.close()
