"""A run that only looks like one: what the plot reads of a run, filled in by the test."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np

from metagd_nb.tasks import Reference
from metagd_nb.training.record import Record
from metagd_nb.training.stopping import WINDOW, RecentMean


class StandInRun:
    """``add`` writes a row; everything else is set by hand."""

    def __init__(
        self,
        method: str = "gd",
        rates: dict[str, float] | None = None,
        sampled: bool = False,
        steps: int = 500,
        references: Iterable[tuple[float, str]] = (),
    ) -> None:
        settings = SimpleNamespace(steps=steps, record_every=1)
        known = [Reference(value, label) for value, label in references]
        self.plan = SimpleNamespace(
            method=method,
            settings=settings,
            references=known,
            tasks=None,
            metrics=None,
            measured=tuple,
            epochs=None,
            update_options=None,
        )
        self.rates = dict(rates or {"lr": 0.1})
        self.record = Record(("step", "loss", "grad_norm", "grad_evals", "hvps", "seconds", *self.rates))
        self.stopped: str | None = None
        self.loop = SimpleNamespace(
            plan=self.plan, algorithm=None, sampled=sampled, paused=False, snapshot=None, note=None, record=self.record,
            stopped=None, settings=settings, stopping=SimpleNamespace(recent=RecentMean(WINDOW)),
        )  # fmt: skip

    @property
    def note(self) -> str | None:
        return self.loop.note

    def add(self, loss: float, grad_norm: float = 1.0) -> None:
        n = len(self.record)
        self.record.append((n, loss, grad_norm, n, 0, 0.01 * n, *self.rates.values()))
        self.loop.snapshot = SimpleNamespace(step=n, loss=loss)
        self.loop.stopping.recent.add(loss)

    def fill(self, losses: Iterable[float]) -> StandInRun:
        for loss in losses:
            self.add(float(loss), abs(float(loss)))
        return self


def held_out() -> Any:
    """The panel of a sinusoid task."""
    x = np.linspace(-5, 5, 200)
    support = np.array([-4.2, -3.1, -1, -0.4, 0.3, 1.2, 2.2, 3, 3.9, 4.6])
    return SimpleNamespace(
        x_support=support, y_support=3.4 * np.sin(support - 1), x=x, truth=3.4 * np.sin(x - 1),
        before=-1.1 * np.cos(x), after=3 * np.sin(x - 1.1) + 0.1 * x, label="3.4·sin(x − 1.0)", origin="held-out",
    )  # fmt: skip
