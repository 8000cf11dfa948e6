"""Run: the user's interface to a training, with controls that return when they have taken effect.

Reading a result (``params``, ``loss``, ``learned``, ``adapt``, ``evaluate``, ``replay``) waits for a run that goes
on; ``repr``, ``stopped``, ``events``, ``plot``, ``record`` and ``rates`` never wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import Meta
from ..core.errors import MetagdError
from ..tasks import Tasks
from . import control
from .adaptation import predictor
from .costs import Costs, training_costs
from .drivers import background
from .evaluation import Evaluation, evaluate
from .loop import TrainingLoop
from .old_names import OldNames
from .persistence.contents import write_run
from .persistence.replay import reopen, replay_into, replay_plan
from .plan import Plan
from .record import Record
from .requests import Event
from .summary import summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Event", "Plan", "Run"]

Array = np.ndarray


class Run(OldNames):
    """One training: its record, its controls and its result.

    Parameters
    ----------
    plan : Plan
        All that the run is made from.

    Attributes
    ----------
    loop : TrainingLoop
        The steps: the present state, and what displays and drivers need.
    """

    def __init__(self, plan: Plan) -> None:
        self.loop = TrainingLoop(plan)

    # ---- controls --------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Hold after the step under way."""
        control.ask(self.loop, "pause")

    def resume(self, **changed: float | None) -> None:
        """Go on, in the background: after a pause, or after the end as if there had been none.

        Parameters
        ----------
        **changed : settings
            For a run that has ended by a rule, the rule that now holds: ``run.resume(steps=2000)`` for 2000 steps
            in all, ``loss_below=…``, ``grad_below=…``, ``patience=…``, ``seconds=…``.
        """
        loop = self.loop
        if loop.running or (loop.stopped is None and loop.saved is None and not changed):
            if changed:
                raise MetagdError("the run is going on; its rules can be changed once it has ended", "resume")
            control.ask(loop, "resume")
            return
        reopen(loop, changed)
        background(self)

    def step(self, n: int = 1) -> None:
        """Hold, and do ``n`` steps."""
        control.step(self.loop, n)

    def stop(self) -> None:
        """End after the step under way; returns when that is done. Does nothing to a run that has ended."""
        control.ask(self.loop, "stop")

    def set(self, **changed: float) -> None:
        """Change live rates: ``run.set(lr=0.05)``. Training goes on with the next step."""
        control.ask(self.loop, "set", changed)

    def wait(self) -> Run:
        """Wait until it has ended, or is paused; an interrupt meanwhile stops it and keeps its state."""
        control.wait(self.loop)
        return self

    # ---- state -----------------------------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """All that the run is made from: method, algorithm, problem, batches, settings, tasks."""
        return self.loop.plan

    @property
    def record(self) -> Record:
        """Rows of numbers, one a step."""
        return self.loop.record

    @property
    def events(self) -> list[Event]:
        """Requests of the user that were carried out, each with its step."""
        return self.loop.events

    @property
    def stopped(self) -> str | None:
        """Why the run ended, such as ``steps`` or ``diverged``; None before."""
        return self.loop.stopped

    @property
    def note(self) -> str | None:
        """What there is to say about the run, in words."""
        return self.loop.note

    @property
    def iteration(self) -> int:
        """Updates done."""
        return max(self.loop.snapshot.step, 0)

    # ---- results ---------------------------------------------------------------------------------------------------

    def _settle(self, what: str) -> TrainingLoop:
        """The loop, once the run has ended or is paused."""
        self.wait()
        if self.loop.running and self.loop.paused:
            print(f"metagd: paused at step {self.iteration}; {what} as of now")
        return self.loop

    @property
    def params(self) -> dict[str, Array]:
        """Name → array; of the best row where the run diverged, else of the last."""
        params: dict[str, Array] = self._settle("params").peek()["params"]
        return params

    @property
    def learned(self) -> dict[str, Array]:
        """What is learned beside ``params``, by name: ``inner_lr`` (R,) where inner rates are learned.

        As in `rates`, a rate that the user has set is in it at once.
        """
        loop = self._settle("what was learned")
        return loop.algorithm.learned(loop.plan.problem, loop.snapshot.theta)

    @property
    def loss(self) -> float:
        """The loss at ``params``, adapted with the rates of that row where one adapts."""
        return self._settle("loss").snapshot.loss

    @property
    def rates(self) -> dict[str, float]:
        """Every live rate as the next step will use it (of one that has several, the mean); never waits.

        ``learned`` has the same rates one by one, and ``adapt`` and ``evaluate`` use them: all show a rate as soon as
        it is set. The row before keeps the rate with which it was reached, and ``loss`` is that row's.
        """
        algorithm, snapshot = self.loop.algorithm, self.loop.snapshot
        values = algorithm.rates(self.plan.problem, snapshot.theta, snapshot.state)
        return dict(zip(algorithm.live_rates(), values, strict=True))

    @property
    def costs(self) -> Costs:
        """Costs of the training up to now; the memory is that of one more step, taken only to measure it."""
        return training_costs(self._settle("costs"))

    def _meta(self, what: str) -> tuple[TrainingLoop, Meta]:
        """Loop and algorithm of a meta-learning run, once it has ended or is paused."""
        if not isinstance(self.loop.algorithm, Meta):
            raise MetagdError(f"{self.plan.method} has one task only; adapting is for meta-learning methods", what)
        self.plan.problem.check_available()
        loop = self._settle("parameters" if what == "adapt" else "scores")
        assert isinstance(loop.algorithm, Meta)
        return loop, loop.algorithm

    def adapt(self, x: ArrayLike, y: ArrayLike, steps: int | None = None) -> Callable[[ArrayLike], Array]:
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
        loop, algorithm = self._meta("adapt")
        return predictor(self.plan.problem, algorithm, loop.snapshot.theta, x, y, steps, self.plan.tasks)

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
        loop, algorithm = self._meta("evaluate")
        return evaluate(
            self.plan.problem,
            algorithm,
            loop.snapshot.theta,
            self.plan.tasks if tasks is None else tasks,  # type: ignore[arg-type]  # a meta run always has tasks
            algorithm.shots if shots is None else shots,
            algorithm.inner_steps if steps is None else steps,
            n_tasks,
            seed,
            queries,
            metric,
            self.costs,
        )

    # ---- files -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], data: bool = True) -> None:
        """Keep the run in one file, whole or not at all; `metagd_nb.load` reads it.

        The file holds settings, events, the record, the parameters and, as text, the cell; of your functions only
        hashes, never the code. It holds the data of ``x``, ``y`` and `groups` too, up to 64 MB each.

        Parameters
        ----------
        path : str or path
        data : bool
            False leaves that data out: `load` then needs it again.
        """
        write_run(self._settle("saved"), path, data)

    def replay(self, **session: Any) -> Run:
        """The same run again, from seed, settings and events: equal to the bit.

        A stop by time or by the user happens at the step at which it happened. Of a run that came from a file this
        says first whether to expect equality to the bit (same machine, versions and number of BLAS threads) or to
        1e-9 relative, and what differs in code and data; at the end how far the two are apart.

        Parameters
        ----------
        **session : loss, gradient, model, tasks, x, y, namespace
            For a run from a file: what the file does not hold, such as your loss.
        """
        loop = self._settle("record")
        again = Run(replay_plan(loop, session))
        replay_into(loop, again.loop)
        return again

    def plot(self) -> Figure:
        """The figure of this run, up to now."""
        from ..plotting.run_figure import figure

        return figure(self)

    def export(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write it for others to read, as the ending of ``path`` says.

        ``.csv``: the record. ``.png``, ``.svg``: the figure. ``.gif``: adaptation to a held-out task, step by step
        (``steps=`` for more of them). ``.py``: a script that trains the same again without the magic.
        """
        self._settle("exported")
        from ..plotting.export import export

        export(self, path, **options)

    def __repr__(self) -> str:
        return summary(self.loop)
