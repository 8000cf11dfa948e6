"""A run: a stepper with no thread of its own, the record it writes, and what a person may ask of it.

``advance()`` does one step: it moves from θ_{t−1} to θ_t (not at the first call) and writes row t, so after every
call the last row and the present parameters belong together. Whoever drives it (`drive`) may be a blocking loop
or a background thread. What the person asks for is queued by ``request`` and obeyed between two steps; each such
thing is an event in the record of the run, at its step.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .adapt import Panel, panel, predictor
from .algorithms import Algorithm, Look, Meta
from .errors import MetagdError, unknown
from .evaluate import Evaluation, evaluate
from .hyper import hypers
from .record import Record
from .stops import Settings, Verdict
from .tasks import Reference, Tasks

Array = np.ndarray
COUNTED = ("step", "loss", "grad_norm", "grad_evals", "hvps", "seconds")


class Event(NamedTuple):
    """What the person did, after the row of which step."""

    step: int
    kind: str
    value: Any = None


class Shown(NamedTuple):
    """A consistent snapshot: the parameters and the loss of one row."""

    step: int
    theta: Array  # (M,)
    loss: float
    state: Any = None


class Plan(NamedTuple):
    """All that a run is made from: the same plan makes the same run."""

    method: str
    algorithm: Algorithm
    problem: Any
    batches: Callable[[int], Any]
    settings: Settings
    tasks: Tasks | None = None
    references: tuple[Reference, ...] = ()
    note: str | None = None


class Run:
    """One training: its settings, its record, its controls and its result.

    Reading a result (``params``, ``loss``, ``adapt``, ``evaluate``, ``replay``) waits for a run that is going
    on; ``repr``, ``stopped``, ``events``, ``plot``, ``record`` and ``peek`` never wait.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.method, self.algorithm, self.problem, self._batches, self.settings = plan[:5]
        self.sampled = self.algorithm.kind == "meta" and not (plan.tasks is not None and plan.tasks.full)
        self.note = plan.note
        self.events: list[Event] = []
        self.stopped: str | None = None
        self.paused = False
        self.waiting = 0
        self.driver: threading.Thread | None = None
        self.keep: Any = None  # an asyncio task, which its loop only references weakly
        self.error: BaseException | None = None  # what a user's function raised under way
        self.record = Record((*COUNTED, *self.algorithm.live()))
        start = self.problem.start(np.random.default_rng(self.settings.seed))
        self.theta: Array = self.algorithm.lift(self.problem, start)  # (M,): the parameters (P,), then learned rates
        self._state = self.algorithm.init(self.theta)
        self._look: Look | None = None
        self._shown = self._best = Shown(-1, self.theta, math.nan, self._state)
        self._verdict = Verdict(self.settings, self.sampled)
        self._grad_evals = self._hvps = 0
        self._steps_owed = 0
        self._clock = 0.0  # the moment at which training would have begun had it never rested
        self._requests: deque[tuple[str, Any]] = deque()
        self._asked = self._obeyed = 0
        self.wake = threading.Event()  # for a driver that rests
        self._changed = threading.Condition()  # for readers that wait

    # ---- stepping -----------------------------------------------------------------------------------------------

    @property
    def iteration(self) -> int:
        """Updates done."""
        return max(self._shown.step, 0)

    def advance(self) -> None:
        """One step: an update (except at the first call), then the row of where it led."""
        step = self._shown.step + 1
        if self._look is None:
            self._clock = time.perf_counter()
            theta, state = self.theta, self._state
        else:
            theta, state = self.algorithm.move(self.theta, self._look)
        look = self.algorithm.look(self.problem, theta, state, self._batches(step))
        self.theta, self._state, self._look = theta, look.state, look
        norm = math.sqrt(look.grad @ look.grad)
        self._grad_evals += look.grad_evals
        self._hvps += look.hvps
        seconds = time.perf_counter() - self._clock
        rates = self.algorithm.rates(self.problem, theta, look.state)
        self.record.append((step, look.loss, norm, self._grad_evals, self._hvps, seconds, *rates))
        self._shown = Shown(step, theta, look.loss, look.state)
        reason = self._verdict.judge(step, look.loss, norm, seconds)
        if self._verdict.best_step == step and reason != "diverged":
            self._best = self._shown
        if self._steps_owed:
            self._steps_owed -= 1
        if reason is not None:
            self._end(reason)

    def rested(self, seconds: float) -> None:
        """Time that was not spent training (drawing, paused) is not counted as such."""
        self._clock += seconds

    def tell(self) -> None:
        """Wake those who wait, to look again."""
        with self._changed:
            self._changed.notify_all()

    def _end(self, reason: str) -> None:
        if reason == "diverged":
            names = " or ".join(n for n in self.algorithm.live() if n.endswith("lr") and not n.startswith("hyper"))
            best = self._best
            kept = f"the parameters of step {best.step} are kept" if best.step >= 0 else "nothing to keep"
            self.note = (
                f"diverged at step {self._shown.step} (loss {self._shown.loss:.3g}): {kept};"
                f" a smaller {names} usually helps"
            )
            if best.step >= 0:
                self._shown = best
        self.stopped = reason
        self.tell()

    def fail(self, error: BaseException) -> None:
        """End because a user's function raised: the state is kept, the reason told in one line."""
        self.error = error
        self.note = f"failed at step {self._shown.step + 1}: {type(error).__name__}: {error}"
        self._end("failed")

    # ---- what a person may ask ----------------------------------------------------------------------------------

    def request(self, kind: str, value: Any = None) -> None:
        """Queue ``pause``, ``resume``, ``step`` (n), ``stop`` or ``set`` ({name: value}); returns at once."""
        self._queue(kind, value)

    def _queue(self, kind: str, value: Any) -> int:
        """The number that ``_obeyed`` reaches once this has been done."""
        if kind == "set":
            value = self._checked(value)
        elif kind not in ("pause", "resume", "step", "stop"):
            raise unknown("request", kind, ("pause", "resume", "step", "stop", "set"))
        with self._changed:
            self._asked += 1
            self._requests.append((kind, value))
            ticket = self._asked
        self.wake.set()
        return ticket

    def _checked(self, changed: dict[str, Any]) -> dict[str, Any]:
        declared = {name: one for name, one in hypers(self.algorithm).items() if one.live}
        for name in changed:
            if name not in declared:
                raise unknown("rate", name, declared)
        return {name: declared[name].check(value) for name, value in changed.items()}

    @property
    def pending(self) -> bool:
        """Whether something was asked for that has not been obeyed yet."""
        return bool(self._requests)

    def obey(self) -> None:
        """Do what was asked for since the last step; called by the driver between two steps."""
        if self._shown.step < 0:
            self.advance()  # events have a row to stand at, and a result has one
        while self._requests:
            kind, value = self._requests.popleft()
            if self.stopped is None:
                self._obey_one(kind, value)
            self._obeyed += 1
        self.tell()

    def _obey_one(self, kind: str, value: Any) -> None:
        if kind == "stop":
            self._write(kind, value)
            self._end(value or "user")
        elif kind == "set":
            self.algorithm = replace(self.algorithm, **value)
            self.theta, self._state = self.algorithm.retuned(self.problem, self.theta, self._state, value)
            if self._look is not None:
                self._look = self._look._replace(state=self._state)
            self._write(kind, value)
        elif kind == "pause":
            if not self.paused:
                self.paused = True
                self._write(kind)
        elif kind == "step":
            self._steps_owed += int(value or 1)
            if not self.paused:
                self.paused = True
                self._write("pause")
            self._write(kind, int(value or 1))
        elif self.paused:
            self.paused, self._steps_owed = False, 0
            self._write(kind)

    def _write(self, kind: str, value: Any = None) -> None:
        self.events.append(Event(self._shown.step, kind, value))

    @property
    def held(self) -> bool:
        """Whether it is paused with no step owed: the driver has nothing to do."""
        return self.paused and not self._steps_owed

    def _ask(self, kind: str, value: Any = None) -> None:
        if self.stopped is not None:
            if kind == "stop":
                return
            raise MetagdError(f"the run has ended ({self.stopped}); start a new one", kind)
        ticket = self._queue(kind, value)
        if self._driven_elsewhere():
            self._await(lambda: self._obeyed >= ticket or not self.running)
        else:
            self.obey()  # nobody drives: it takes effect now

    def pause(self) -> None:
        """Hold after the step under way."""
        self._ask("pause")

    def resume(self) -> None:
        """Go on."""
        self._ask("resume")

    def step(self, n: int = 1) -> None:
        """Hold, and do ``n`` steps."""
        self._ask("step", n)
        if self._driven_elsewhere():
            self._await(lambda: not self._steps_owed or not self.running)
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
        with self._changed:
            while not done():
                self._changed.wait(timeout=0.5)  # the timeout only guards against a driver that died

    def wait(self) -> Run:
        """Wait until it has ended, or is paused; an interrupt meanwhile stops it and keeps its state."""
        if not self._driven_elsewhere():
            return self
        self.waiting += 1
        try:
            self._await(lambda: not self._driven_elsewhere() or self.held)
        except KeyboardInterrupt:
            self.request("stop", "interrupted")
            self._await(lambda: not self.running)
        finally:
            self.waiting -= 1
        return self

    def _settle(self, what: str) -> None:
        self.wait()
        if self.running and self.paused:
            print(f"metagd: paused at step {self.iteration}; {what} as of now")

    # ---- results ------------------------------------------------------------------------------------------------

    @property
    def shown(self) -> Shown:
        """Step, parameters (P,) and loss that belong together, now; never waits."""
        return self._shown

    def peek(self) -> dict[str, Any]:
        """``step``, ``loss`` and ``params`` that belong together, now; never waits."""
        shown = self._shown
        return {"step": shown.step, "loss": shown.loss, "params": self._named(shown)}

    def _named(self, shown: Shown) -> dict[str, Array]:
        flat = self.algorithm.result(self.problem, shown.theta, shown.state)
        return {name: view.copy() for name, view in self.problem.layout.views(flat).items()}

    @property
    def params(self) -> dict[str, Array]:
        """Name → array; of the best row where the run diverged, else of the last."""
        self._settle("params")
        return self._named(self._shown)

    @property
    def learned(self) -> dict[str, Array]:
        """What was learned beside ``params``, by name: ``inner_lr`` (R,) where inner rates are learned."""
        self._settle("what was learned")
        return self.algorithm.learned(self.problem, self._shown.theta)

    @property
    def loss(self) -> float:
        """The loss at ``params``."""
        self._settle("loss")
        return self._shown.loss

    @property
    def rates(self) -> dict[str, float]:
        """Present value of every live rate; never waits."""
        return dict(
            zip(self.algorithm.live(), self.algorithm.rates(self.problem, self.theta, self._state), strict=True)
        )

    @property
    def references(self) -> tuple[Reference, ...]:
        """Known values of the loss."""
        return self.plan.references

    def _meta(self, what: str) -> Meta:
        if not isinstance(self.algorithm, Meta):
            raise MetagdError(f"{self.method} has one task only; adapting is for meta-learning methods", what)
        return self.algorithm

    def adapt(self, x: Any, y: Any, steps: int | None = None) -> Callable[[Any], Array]:
        """A predictor adapted to one new task.

        Parameters
        ----------
        x : array (K,) or (K, D)
        y : array (K,) or (K, C)
        steps : int, optional
            Adaptation steps; by default those of training.

        Returns
        -------
        function
            ``f(x_new)`` → array (N,) or (N, C), as ``y`` was given.
        """
        algorithm = self._meta("adapt")
        self._settle("parameters")
        return predictor(self.problem, algorithm, self._shown.theta, x, y, steps)

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

        By default the tasks, the shots and the steps are those of training; the seed is not.
        """
        algorithm = self._meta("evaluate")
        self._settle("scores")
        return evaluate(
            self.problem,
            algorithm,
            self._shown.theta,
            tasks or self.plan.tasks,  # type: ignore[arg-type]  # a meta run always has tasks
            shots or algorithm.shots,
            algorithm.inner_steps if steps is None else steps,
            n_tasks,
            seed,
            queries,
            metric,
        )

    def replay(self) -> Run:
        """The same run again, from seed, settings and events: equal to the bit.

        A stop by time or by a person happens at the step at which it happened.
        """
        self._settle("record")
        again = Run(self.plan)
        changes = deque(e for e in self.events if e.kind == "set")
        last = int(self.record.last("step")) if len(self.record) else -1
        with np.errstate(all="ignore"):
            while again._shown.step < last and again.stopped is None:
                while changes and changes[0].step <= again._shown.step:
                    again.request("set", changes.popleft().value)
                    again.obey()
                again.advance()
        if again.stopped is None and self.stopped is not None:
            again._end(self.stopped)
        again.events, again.note = list(self.events), self.note
        return again

    def plot(self) -> Any:
        """The figure of this run, up to now."""
        from .plot import figure

        return figure(self)

    def panel(self) -> Panel | None:
        """One held-out task before and after adaptation, for the plot; None where there is none to draw."""
        tasks, algorithm = self.plan.tasks, self.algorithm
        if tasks is None or not isinstance(algorithm, Meta):
            return None
        return panel(self.problem, algorithm, tasks, self._shown.theta, self.settings.seed)

    def __repr__(self) -> str:
        rows = len(self.record)
        if not rows:
            return f"metagd {self.method}: not started"
        told = ", ".join(f"{name}={getattr(self.plan.algorithm, name)}" for name in hypers(self.plan.algorithm))
        state = f"stopped by {self.stopped}" if self.stopped else "paused" if self.paused else "running"
        first = float(self.record.since("loss", 0)[0])
        text = f"metagd {self.method}: {told}\n{state} after {int(self.record.last('step'))} steps"
        text += f"\nloss {first:.6g} → {self._shown.loss:.6g}"
        return f"{text}\n{self.note}" if self.note else text
