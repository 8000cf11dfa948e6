"""A run as a person meets it: controls that return when they have taken effect, results that wait.

Reading a result (``params``, ``loss``, ``learned``, ``adapt``, ``evaluate``, ``replay``) waits for a run that is
going on; ``repr``, ``stopped``, ``events``, ``plot``, ``record``, ``rates`` and ``peek`` never wait.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..algorithms import Meta
from ..core.errors import MetagdError
from ..core.hyperparameters import hyperparameters
from ..tasks import Reference, Tasks
from .adaptation import Panel, panel, predictor
from .costs import Costs, peak_of
from .evaluation import Evaluation, evaluate
from .executors.base import Plan
from .loop import Event
from .persistence.replay import Kept
from .stopping import REASONS

__all__ = ["Event", "Plan", "Run"]

Array = np.ndarray


class Run(Kept):
    """One training: its settings, its record, its controls and its result."""

    # ---- what a person may ask ----------------------------------------------------------------------------------

    def _ask(self, kind: str, value: Any = None) -> None:
        if self.stopped is not None:
            if kind == "stop":
                return
            raise MetagdError(f"the run has ended ({self.stopped}); start a new one, or resume this one", kind)
        ticket = self._queue(kind, value)
        if self._driven_elsewhere():
            self._await(lambda: self._obeyed >= ticket or not self.running)
        else:
            with self._by_hand():
                self.obey()  # nobody drives: it takes effect now

    @contextlib.contextmanager
    def _by_hand(self) -> Iterator[None]:
        """Steps that nobody drives: told of in words when they diverge, and the time between them is rest."""
        with np.errstate(all="ignore"):
            yield
        if not self.running and self._left is None:
            self._left = time.perf_counter()

    def pause(self) -> None:
        """Hold after the step under way."""
        self._ask("pause")

    def resume(self, **changed: Any) -> None:
        """Go on, in the background: after a pause, or after the end as if there had been none.

        Parameters
        ----------
        **changed : settings
            For a run that has ended by a rule, the rule that now holds: ``run.resume(steps=2000)`` for 2000 steps
            in all, ``loss_below=…``, ``grad_below=…``, ``patience=…``, ``seconds=…``.
        """
        if self.running or (self.stopped is None and self.kept is None and not changed):
            if changed:
                raise MetagdError("the run is going on; its rules can be changed once it has ended", "resume")
            self._ask("resume")
            return
        from .drivers import background

        self.reopen(changed)
        background(self)

    def step(self, n: int = 1) -> None:
        """Hold, and do ``n`` steps."""
        self._ask("step", n)
        if self._driven_elsewhere():
            self._await(lambda: not self._steps_owed or not self.running)
        with self._by_hand():
            while not self.running and self._steps_owed and self.stopped is None:
                self.advance()

    def stop(self) -> None:
        """End after the step under way; returns when that is done. Does nothing to a run that has ended."""
        self._ask("stop")

    def set(self, **changed: Any) -> None:
        """Change live rates: ``run.set(lr=0.05)``. Training goes on with the next step."""
        self._ask("set", changed)

    # ---- waiting ------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether somebody drives it, be it paused; False once its last frame is drawn."""
        return self.driver is not None

    def _driven_elsewhere(self) -> bool:
        return self.running and self.driver is not threading.current_thread()

    def _await(self, done: Callable[[], bool]) -> None:
        """Wait for the driver; an interrupt meanwhile stops the run and keeps its state."""
        try:
            self._sleep_until(done)
        except KeyboardInterrupt:
            self.request("stop", "interrupted")
            self._sleep_until(lambda: not self.running)

    def _sleep_until(self, done: Callable[[], bool]) -> None:
        with self._changed:
            while not done():
                self._changed.wait(timeout=0.5)  # the timeout only guards against a driver that died

    def wait(self) -> Run:
        """Wait until it has ended, or is paused; an interrupt meanwhile stops it and keeps its state."""
        if not self._driven_elsewhere():
            return self
        self.waiting += 1
        try:
            self._await(lambda: not self._driven_elsewhere() or (self.held and not self.pending))
        finally:
            self.waiting -= 1
        return self

    def _settle(self, what: str) -> None:
        self.wait()
        if self.running and self.paused:
            print(f"metagd: paused at step {self.iteration}; {what} as of now")

    # ---- results ------------------------------------------------------------------------------------------------

    def peek(self) -> dict[str, Any]:
        """``step``, ``loss`` and ``params`` that belong together, now; never waits."""
        shown = self._shown
        return {"step": shown.step, "loss": shown.loss, "params": self.named(shown)}

    @property
    def params(self) -> dict[str, Array]:
        """Name → array; of the best row where the run diverged, else of the last."""
        self._settle("params")
        return self.named(self._shown)

    @property
    def learned(self) -> dict[str, Array]:
        """What is learned beside ``params``, by name: ``inner_lr`` (R,) where inner rates are learned.

        As `rates`: what a person has set is in it at once.
        """
        self._settle("what was learned")
        return self.algorithm.learned(self.problem, self._shown.theta)

    @property
    def loss(self) -> float:
        """The loss at ``params``, adapted with the rates of that row where one adapts."""
        self._settle("loss")
        return self._shown.loss

    @property
    def rates(self) -> dict[str, float]:
        """Every live rate as the next step will use it (of one that has several, the mean); never waits.

        ``learned`` has the same rates one by one, and ``adapt`` and ``evaluate`` use them: all show a rate as soon as
        it is set. The row before keeps the rate with which it was reached, and ``loss`` is that row's.
        """
        shown = self._shown
        return dict(
            zip(self.algorithm.live_rates(), self.algorithm.rates(self.problem, shown.theta, shown.state), strict=True)
        )

    @property
    def references(self) -> tuple[Reference, ...]:
        """Known values of the loss."""
        return self.plan.references

    @property
    def costs(self) -> Costs:
        """What the training has cost up to now; the memory is that of one step, measured by doing one more aside."""
        self._settle("costs")
        seconds = self.record.last("seconds") if len(self.record) else 0.0
        peak = math.nan
        if self.error is None and self.settings.backend == "numpy":
            batch = self._batches(self.iteration)
            peak = peak_of(lambda: self.algorithm.evaluate(self.problem, self.theta, self._state, batch))
        return Costs(self._grad_evals, self._hvps, seconds, peak)

    def _meta(self, what: str) -> Meta:
        if not isinstance(self.algorithm, Meta):
            raise MetagdError(f"{self.method} has one task only; adapting is for meta-learning methods", what)
        return self.algorithm

    def adapt(self, x: Any, y: Any, steps: int | None = None) -> Callable[[Any], Array]:
        """A predictor adapted to one new task.

        With batch norm a point's prediction depends on the points that are predicted with it: predict all at once.

        Parameters
        ----------
        x : array (K,) or (K, D)
        y : array (K,) or (K, C)
            Where the tasks are about classes: their labels (K,).
        steps : int, optional
            Adaptation steps; by default those of training.

        Returns
        -------
        function
            ``f(x_new)`` → array (N,) or (N, C), as ``y`` was given; labels (N,) for labels.
        """
        algorithm = self._meta("adapt")
        self.plan.problem.check_available()
        self._settle("parameters")
        return predictor(self.problem, algorithm, self._shown.theta, x, y, steps, self.plan.tasks)

    def evaluate(
        self,
        tasks: Tasks | None = None,
        shots: int | None = None,
        steps: int | None = None,
        n_tasks: int = 600,
        seed: int = 1,
        queries: int | None = None,
        metric: str = "loss",
    ) -> Evaluation:
        """Adapt to new tasks and score after each of 0…``steps`` steps; see `evaluate.evaluate`.

        By default the tasks, the shots and the steps are those of training; the seed is not. Each group of a table is
        judged at most once.
        """
        algorithm = self._meta("evaluate")
        self.plan.problem.check_available()
        self._settle("scores")
        return evaluate(
            self.problem,
            algorithm,
            self._shown.theta,
            self.plan.tasks if tasks is None else tasks,  # type: ignore[arg-type]  # a meta run always has tasks
            algorithm.shots if shots is None else shots,
            algorithm.inner_steps if steps is None else steps,
            n_tasks,
            seed,
            queries,
            metric,
            self.costs,
        )

    def save(self, path: Any, data: bool = True) -> None:
        """Keep the run in one file, whole or not at all; `metagd_nb.load` reads it.

        The file holds settings, events, the record, the parameters and, as text, the cell; of your functions only
        hashes, never the code. It holds the data of ``x``, ``y`` and `groups` too, up to 64 MB each.

        Parameters
        ----------
        path : str or path
        data : bool
            False leaves that data out: `load` then needs it again.
        """
        self._settle("saved")
        self.write(path, data)

    def replay(self, **session: Any) -> Run:
        """The same run again, from seed, settings and events: equal to the bit.

        A stop by time or by a person happens at the step at which it happened. Of a run that came from a file this
        says first whether to expect equality to the bit (same machine, versions and number of BLAS threads) or to
        1e-9 relative, and what differs in code and data; at the end how far the two are apart.

        Parameters
        ----------
        **session : loss, gradient, model, tasks, x, y, namespace
            For a run from a file: what the file does not hold, such as your loss.
        """
        self._settle("record")
        again = Run(self.plan_again(session))
        self.replay_into(again)
        return again

    def plot(self) -> Any:
        """The figure of this run, up to now."""
        from ..plotting.run_figure import figure

        return figure(self)

    def export(self, path: Any, **options: Any) -> None:
        """Write it for others to read, as the ending of ``path`` says.

        ``.csv``: the record. ``.png``, ``.svg``: the figure. ``.gif``: adaptation to a held-out task, step by step
        (``steps=`` for more of them). ``.py``: a script that trains the same again without the magic.
        """
        self._settle("exported")
        from ..plotting.export import export

        export(self, path, **options)

    def panel(self) -> Panel | None:
        """One held-out task before and after adaptation, for the plot; None where there is none to draw."""
        tasks, algorithm = self.plan.tasks, self.algorithm
        if tasks is None or not isinstance(algorithm, Meta):
            return None
        return panel(self.problem, algorithm, tasks, self._shown.theta, self.settings.seed)

    def __repr__(self) -> str:
        rows = len(self.record)
        if not rows:
            state = f"{REASONS[self.stopped]}, without a step" if self.stopped else "not started"
            return f"metagd {self.method}: {state}" + (f"\n{self.note}" if self.note else "")
        told = ", ".join(
            f"{name}={_told(getattr(self.plan.algorithm, name))}" for name in hyperparameters(self.plan.algorithm)
        )
        state = REASONS[self.stopped] if self.stopped else "paused" if self.paused else "running"
        first, last = float(self.record.since("loss", 0)[0]), self.reached
        text = f"metagd {self.method}: {told}\n{state} after {last} step{'s' * (last != 1)}"
        text += f"\nloss {first:.6g} → {self._shown.loss:.6g}"
        return f"{text}\n{self.note}" if self.note else text


def _told(value: Any) -> str:
    """A setting as the summary shows it; of many rates only the number and the ends."""
    if isinstance(value, tuple) and len(value) > 4:
        return f"{len(value)} rates from {min(value):.4g} to {max(value):.4g}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
