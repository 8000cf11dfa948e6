"""Run: the user's interface to a training, with controls that return when they have taken effect.

Reading a result (``params``, ``loss``, ``learned``, ``adapt``, ``evaluate``, ``replay``) waits until the run has ended
or is paused; ``repr``, ``stopped``, ``events``, ``plot``, ``record`` and ``rates`` never wait.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..core.errors import MetagdError
from . import control
from .drivers import background
from .loop import TrainingLoop
from .old_names import OldNames
from .plan import Plan
from .record import Record
from .requests import Event
from .results import Results
from .settled import settled
from .summary import note, summary
from .tracebacks import shows_users_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Event", "Plan", "Run"]

Array = np.ndarray


class Run(Results, OldNames):
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
        """Pause after the current step."""
        control.request(self, "pause")

    def resume(self, **changed: float | None) -> None:
        """Continue in the background after a pause or after the end.

        Parameters
        ----------
        **changed : settings
            New value of the rule that ended the run: ``run.resume(steps=2000)`` for 2000 steps in all,
            ``loss_below=…``, ``grad_below=…``, ``patience=…`` or ``seconds=…``. A cosine schedule keeps its end, and
            the rate is 0 in steps beyond it until it is set. ``checkpoint=…`` names the file of
            checkpoints; a run from a file writes none unless it is given.

        Raises
        ------
        MetagdError
            For a rule changed while the run goes on.
        """
        loop = self.loop
        if loop.running or (loop.stopped is None and loop.saved is None and not changed):
            if changed:
                raise MetagdError("the run is going on; its rules can be changed once it has ended", "resume")
            control.request(self, "resume")
            return
        control.reopen(loop, changed)
        background(self)

    @shows_users_lines
    def step(self, n: int = 1) -> None:
        """Take some steps and pause.

        Parameters
        ----------
        n : int
            Number of steps.
        """
        with control.blocking(self):
            control.step(self.loop, n)

    def stop(self) -> None:
        """End the run after the current step, and return then; a run that has ended stays as it is."""
        control.request(self, "stop")

    def set(self, **changed: float) -> None:
        """Change rates during training: ``run.set(lr=0.05)``.

        Parameters
        ----------
        **changed : float
            New values, in effect from the next step.
        """
        control.request(self, "set", changed)

    @shows_users_lines
    def wait(self) -> Run:
        """Wait until the run has ended or is paused; an interrupt stops the run and keeps its state.

        Returns
        -------
        Run
            This run.
        """
        control.wait(self.loop)
        return self

    def __await__(self) -> Generator[Any, None, Run]:
        """Wait as `wait` does, and let the event loop go on: ``await run``."""
        return control.wait_async(self).__await__()

    # ---- state -----------------------------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """Plan of the run: method, algorithm, problem, batches, settings, tasks."""
        return self.loop.plan

    @property
    def record(self) -> Record:
        """Record of the run, one row a step."""
        return self.loop.record

    @property
    def events(self) -> list[Event]:
        """Requests of the user that were carried out, each with its step."""
        return self.loop.events

    @property
    def stopped(self) -> str | None:
        """Reason of the end, such as ``steps`` or ``diverged``; None while the run goes on."""
        return self.loop.stopped

    @property
    def note(self) -> str | None:
        """Note on the run in words, such as the reason of a divergence."""
        return note(self.loop)

    @property
    def iteration(self) -> int:
        """Number of updates so far."""
        return max(self.loop.snapshot.step, 0)

    # ---- files -----------------------------------------------------------------------------------------------------

    @shows_users_lines
    def save(self, path: str | os.PathLike[str], data: bool = True) -> None:
        """Write the run to one file, atomically; `metagd_nb.load` reads it.

        The file holds settings, events, record, parameters and the text of the cell, and hashes of your functions,
        never their code. It also holds the data of ``x``, ``y`` and `groups`, up to 64 MB each.

        Parameters
        ----------
        path : str or path
        data : bool
            False to leave the data out; `load` then needs it again.
        """
        from .persistence.contents import write_run

        write_run(settled(self, "saved"), path, data)

    @shows_users_lines
    def replay(self, **session: Any) -> Run:
        """Repeat the run from seed, settings and events; the result is equal to the bit.

        A stop by time or by the user happens at the same step as before. For a run from a file, a line that is logged
        first (and printed in a notebook) says whether equality to the bit (same machine, versions and number of BLAS
        threads) or to 1e-9 relative can be expected, and what differs in code and data; a line at the end gives the
        distance of the two runs.

        Parameters
        ----------
        **session : loss, gradient, model, tasks, x, y, namespace, schedule
            For a run from a file: inputs that the file does not hold, such as your loss.

        Returns
        -------
        Run
        """
        from .persistence.replay import replay_into, replay_plan

        loop = settled(self, "record")
        again = Run(replay_plan(loop, session))
        replay_into(loop, again.loop)
        return again

    @shows_users_lines
    def plot(self) -> Figure:
        """Draw the run so far.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from ..plotting.run_figure import figure

        return figure(self)

    @shows_users_lines
    def export(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the run in the format that the ending of ``path`` names.

        Parameters
        ----------
        path : str or path
            ``.csv``: the record. ``.png``, ``.svg``: the figure. ``.gif``: adaptation to a held-out task, step by
            step. ``.py``: a script that repeats the training without the magic.
        **options
            ``steps=`` for the number of steps in a ``.gif``.
        """
        settled(self, "exported")
        from ..plotting.export import export

        export(self, path, **options)

    def __reduce__(self) -> NoReturn:
        raise MetagdError("a run cannot be pickled or copied; run.save(path) stores it, and metagd_nb.load reads it")

    def __repr__(self) -> str:
        return summary(self.loop)
