"""The controls of a run: pause, step, stop, a slider for each rate, and its progress.

A callback only queues a request; the thread that trains carries it out between two steps and then updates the widgets
with `Controls.frame`. The widgets therefore show what has happened, and no click waits for a step. When the run ends,
the controls are disabled, removed from the page and freed; the figure shows the reason. A saved notebook then holds no
widgets that cannot be displayed.
"""

from __future__ import annotations

import html
import math
import time
from collections import deque
from collections.abc import Callable, Hashable

import ipywidgets
from IPython.core.getipython import get_ipython
from IPython.display import DisplayHandle, display

from ..core.errors import one_line
from ..core.hyperparameters import Hyperparameter, hyperparameters
from ..plotting.figures import WIDTH
from ..plotting.run_figure import words
from ..training.run import Run
from ..training.stopping import REASONS
from .widgets import hears_clicks, lasting, span, status_line, tree, unpin

VIEW = "application/vnd.jupyter.widget-view+json"
INTERVAL = 0.25  # seconds between two texts of progress
SPEED_ROWS = 12  # texts over which the speed is averaged
SMALL = -5  # the smallest power of ten of which ".3g" shows all digits in a slider's width
FOLLOW = 1.0  # seconds between moves of a slider that follows its rate; more moves would disturb dragging
CLOSE = 0.01  # relative difference between a rate and its slider that may last so long
BAR_STYLES = {"diverged": "danger", "failed": "danger", "user": "", "interrupted": ""}  # the others: success
ROW = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "2px 14px", "overflow": "visible"}


class Controls:
    """The widgets of one run.

    Parameters
    ----------
    run : Run
    leave : bool
        True to leave nothing on the page when the run has ended; False to leave a line with the reason, where no
        figure shows it.
    """

    def __init__(self, run: Run, leave: bool = True) -> None:
        self.run, self.leave = run, leave
        self.closed = False
        self.pause = self._button("", "", "", lambda: run.loop.request("resume" if self._resumes else "pause"))
        self.step = self._button("Step", "step-forward", "Do one step, then hold", lambda: run.loop.request("step", 1))
        self.stop = self._button("Stop", "stop", "End the run and keep its result", lambda: run.loop.request("stop"))
        self.bar = ipywidgets.FloatProgress(
            max=max(run.plan.settings.steps, 1),
            layout={"width": "auto", "min_width": "0", "margin": "0 2px", "height": "12px"},
            tooltip="Steps done, of those asked for",
        )
        self.progress = ipywidgets.HTML(layout={"width": "auto"})
        self.status = ipywidgets.HTML(layout={"width": "auto", "display": "none"})
        self.sliders = {
            name: self._slider(name, declared, run.rates[name])
            for name, declared in hyperparameters(run.loop.algorithm).items()
            if declared.live and not isinstance(getattr(run.loop.algorithm, name), tuple)
        }
        self.box = self._arrange()
        self._handle: DisplayHandle | None = None
        self._hears = hears_clicks()
        self._resumes = False  # True if the first button says Resume
        self._rates = dict(run.rates)
        self._moved: dict[str, float] = {}  # sliders moved by `frame`, whose callback must request nothing
        self._move_times: dict[str, float] = {}
        self._state: Hashable = None
        self._next = 0.0
        self._speed: deque[tuple[float, int]] = deque(maxlen=SPEED_ROWS)
        self._error = ""
        self._text = ""  # shown in place of the widgets on a page without a kernel
        for widget in tree(self.box):
            unpin(widget)
        self._update_buttons()
        self._update_progress()

    def _button(self, text: str, icon: str, tooltip: str, act: Callable[[], object]) -> ipywidgets.Button:
        layout = {"flex": "0 1 92px", "min_width": "0"}
        button = ipywidgets.Button(description=text, icon=icon, tooltip=tooltip, layout=layout)
        button.on_click(lambda _: self._safely(act))
        return button

    def _slider(self, name: str, declared: Hyperparameter, value: float) -> ipywidgets.FloatLogSlider:
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

    def _arrange(self) -> ipywidgets.VBox:
        buttons = ipywidgets.HBox([self.pause, self.step, self.stop], layout={"flex": "0 1 296px", "min_width": "0"})
        progress = ipywidgets.VBox([self.bar, self.progress], layout={"flex": "1 1 300px", "min_width": "0"})
        rows = [ipywidgets.HBox(row, layout=dict(ROW)) for row in ([buttons, progress], list(self.sliders.values()))]
        return ipywidgets.VBox([*rows, self.status], layout={"width": "100%", "max_width": f"{WIDTH}px"})

    def show(self) -> None:
        """Display the widgets; call it once, in the cell's own thread. Without a kernel it does nothing."""
        if hasattr(get_ipython(), "kernel") and self._handle is None:
            data = {VIEW: self.box.get_view_spec(), "text/plain": self._text}
            self._handle = display(data, raw=True, display_id=True)

    # ---- callbacks ---------------------------------------------------------------------------------------------

    def _safely(self, act: Callable[[], object]) -> None:
        """Call a function and show its exception, since an exception in a callback is displayed nowhere."""
        try:
            act()
            self._error = ""
        except Exception as error:
            self._error = one_line(error)
            self._show_status(self._error)

    def _set(self, name: str, value: float) -> None:
        if self._moved.pop(name, None) == value:
            return
        self._move_times[name] = time.monotonic()
        try:
            self.run.loop.request("set", {name: value})
        except Exception:
            self._rates[name] = math.nan  # the next frame moves the slider back
            raise

    # ---- updates -----------------------------------------------------------------------------------------------

    def frame(self, final: bool = False) -> None:
        """Update the widgets between two steps, in the thread that trains; the ``final`` frame removes them."""
        if self.closed:
            return
        loop, now = self.run.loop, time.monotonic()
        step = loop.paused and self.run.iteration
        state = (self.run.stopped, loop.paused, len(self.run.events), self._ignores_clicks(), step, self._error)
        if final or state != self._state or now >= self._next:
            self._state, self._next = state, now + INTERVAL
            self._update_buttons()
            self._update_sliders(now)
            self._update_progress()
        if final:
            self._release()

    def _ignores_clicks(self) -> bool:
        """Return True while a cell waits for this run in a kernel that delivers no click meanwhile."""
        return self.run.loop.waiting > 0 and not self._hears

    def _update_buttons(self) -> None:
        run = self.run
        disabled = run.stopped is not None or self._ignores_clicks()
        for widget in (self.pause, self.step, self.stop, *self.sliders.values()):
            widget.disabled = disabled
        if self._resumes != run.loop.paused or not self.pause.description:
            self._resumes = run.loop.paused
            resume, pause = ("Resume", "play", "Go on"), ("Pause", "pause", "Hold after this step")
            self.pause.description, self.pause.icon, self.pause.tooltip = resume if run.loop.paused else pause

    def _update_sliders(self, now: float) -> None:
        """Move the sliders of rates that changed without them: in code, or by the method itself."""
        if self.run.loop.requests.pending:
            return  # a slider that was just moved must stay until its request is carried out
        for name, slider in self.sliders.items():
            value = self.run.rates[name] or 10**slider.min  # a logarithmic scale has no 0: its lower end
            if value == self._rates[name] or not math.isfinite(value):
                continue
            recent = now < self._move_times.get(name, -math.inf) + FOLLOW
            by_method = value != getattr(self.run.loop.algorithm, name)
            if by_method and (recent or math.isclose(value, slider.value, rel_tol=CLOSE)):
                continue
            power = math.log10(value)
            slider.min, slider.max = min(slider.min, math.floor(power)), max(slider.max, math.ceil(power))
            self._rates[name] = self._moved[name] = value
            self._move_times[name] = now
            slider.value = value

    def _update_progress(self) -> None:
        run = self.run
        self.bar.value = run.iteration
        if len(run.record):
            self._speed.append((run.record.last("seconds"), run.iteration))
        text = html.escape(self._progress_text())
        self.progress.value = f'<span style="font-variant-numeric: tabular-nums">{text}</span>'
        if run.stopped is not None:
            self.bar.bar_style = BAR_STYLES.get(run.stopped, "success")
        waits = "a cell waits for this run: interrupt to stop" if self._ignores_clicks() else ""
        self._show_status(self._error or waits or run.note or "")

    def _progress_text(self) -> str:
        """Return the state of a run that stands still, its steps, its speed and the estimated time left."""
        run, steps = self.run, self.run.plan.settings.steps
        state = REASONS.get(run.stopped, run.stopped) if run.stopped else "paused" if run.loop.paused else ""
        parts = [*filter(None, [state]), f"{run.iteration:,} of {steps:,} steps"]
        if run.plan.epochs is not None:
            parts.append(f"epoch {run.iteration // run.plan.epochs.length:,}")
        (start, first), (now, _) = (self._speed[0], self._speed[-1]) if self._speed else ((0.0, 0), (0.0, 0))
        if now > start and run.iteration > first and not run.loop.paused:
            speed = (run.iteration - first) / (now - start)
            parts.append(f"{speed:,.0f} steps/s" if speed >= 10 else f"{speed:.2g} steps/s")
            if run.stopped is None:
                parts.append(self._time_left((steps - run.iteration) / speed, now))
        return " · ".join(parts)

    def _time_left(self, seconds: float, now: float) -> str:
        """Return the estimated time left, an upper bound where a stopping rule may end the run earlier."""
        settings = self.run.plan.settings
        if settings.seconds is not None:
            seconds = min(seconds, max(settings.seconds - now, 0.0))
        rules = (settings.loss_below, settings.grad_below, settings.patience)
        return f"{'about' if rules == (None, None, None) else 'at most'} {lasting(seconds)} left"

    def _show_status(self, text: str) -> None:
        """Show one line, which screen readers announce; without text it takes no place."""
        self.status.value = status_line(text)
        self.status.layout.display = None if text else "none"

    # ---- the end -----------------------------------------------------------------------------------------------

    def _release(self) -> None:
        """Drop the callbacks, which hold the run, and remove the widgets."""
        for slider in self.sliders.values():
            slider.unobserve_all()
        for button in (self.pause, self.step, self.stop):
            button._click_handlers.callbacks.clear()
        if not self.leave:
            self._text = "\n".join(filter(None, [self._progress_text(), self.run.note]))
        self.close()

    def close(self) -> None:
        """Remove the widgets from the page and free them; the run continues."""
        if self.closed:
            return
        self.closed = True
        if self._handle is not None:
            self._handle.update({"text/plain": self._text}, raw=True)
        for widget in list(tree(self.box)):
            widget.close()
