"""Rules that end a run, applied to each row of its record."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from ..algorithms import Algorithm
from .settings import Settings

WINDOW = 20  # rows whose mean stands for the loss of a sampled run
REASONS = {  # why a run ended, in words
    "steps": "all steps done",
    "loss-below": "loss low enough",
    "grad-below": "gradient small enough",
    "patience": "no more progress",
    "seconds": "time is up",
    "user": "stopped by hand",
    "interrupted": "interrupted",
    "diverged": "diverged",
    "failed": "the loss failed",
    "no-descent": "no lower point can be found",
}
RULES = {  # why a run ended → the setting that says so
    "steps": "steps",
    "loss-below": "loss_below",
    "grad-below": "grad_below",
    "patience": "patience",
    "seconds": "seconds",
}
EXPLODED = 1e8  # times the first loss, or times 1


def divergence(algorithm: Algorithm, step: int, loss: float, best: int) -> str:
    """Describe a divergence at ``step``; ``best`` is the step of the best row, −1 if there is none."""
    names = " or ".join(n for n in algorithm.live_rates() if n.endswith("lr") and not n.startswith("hyper"))
    parameters = f"the parameters of step {best} are kept" if best >= 0 else "nothing to keep"
    return f"diverged at step {step} (loss {loss:.3g}): {parameters}; a smaller {names} usually helps"


class RecentMean:
    """Mean of the last numbers of a sequence, kept as a running sum.

    Parameters
    ----------
    window : int
        How many of them, at most.

    Attributes
    ----------
    full : bool
        True once there are as many numbers.
    mean : float
        nan before the first.
    """

    def __init__(self, window: int) -> None:
        self._values: deque[float] = deque(maxlen=window)
        self._window, self._sum, self._added = window, 0.0, 0
        self.full, self.mean = False, math.nan

    @property
    def count(self) -> int:
        """Number of numbers in the mean."""
        return len(self._values)

    def add(self, value: float) -> float:
        """Add a number; return the mean of the last ones."""
        oldest = self._values[0] if self.full else 0.0
        self._values.append(value)
        self._added += 1
        self._sum += value - oldest
        self.full = self.full or len(self._values) == self._window
        if self._window <= WINDOW or self._added >= self._window:  # rounding does not build up
            self._sum, self._added = sum(self._values), 0
        self.mean = self._sum / len(self._values)
        return self.mean

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        state: dict[str, Any] = {"recent": list(self._values)}
        return state if self._window <= WINDOW else {**state, "sum": self._sum, "added": self._added}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a result of `state`."""
        self._values.extend(state["recent"])
        self.full = len(self._values) == self._window
        self._sum, self._added = state.get("sum", sum(self._values)), state.get("added", 0)
        self.mean = self._sum / len(self._values) if self._values else math.nan


class StoppingRule:
    """Judge of one run: decides after each row whether the run ends, and why.

    Parameters
    ----------
    settings : Settings
    sampled : bool
        True if losses carry sampling noise: the mean of the last rows is then compared.
    validated : bool
        True if the best row and the patience are those of the loss on held-out rows (`judge_validation`).
    window : int
        Rows of that mean: 20, or with mini-batches as many as an epoch has.

    Attributes
    ----------
    best, best_step : float, int
        Lowest value compared so far, and its step.
    recent : RecentMean
        Of the last losses, where they carry sampling noise.
    """

    def __init__(self, settings: Settings, sampled: bool, validated: bool = False, window: int = WINDOW) -> None:
        self.settings, self.sampled, self.validated, self.window = settings, sampled, validated, window
        self.recent = RecentMean(window)
        self._limit = math.inf
        self.best = math.inf
        self.best_step = 0
        self._no_better = 0  # evaluations on held-out rows since the best one

    def state(self) -> dict[str, Any]:
        """Return what a restored run needs, for `restore`."""
        state = {**self.recent.state(), "limit": self._limit, "best": self.best, "best_step": self.best_step}
        return {**state, "no_better": self._no_better} if self.validated else state

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a result of `state`."""
        self.recent.restore(state)
        self._limit, self.best, self.best_step = state["limit"], state["best"], state["best_step"]
        self._no_better = state.get("no_better", 0)

    def judge_validation(self, step: int, loss: float) -> str | None:
        """Compare the loss on held-out rows; return the reason to stop after too many that were no better, or None."""
        self._no_better += 1
        if loss < self.best:
            self.best, self.best_step, self._no_better = loss, step, 0
        patience = self.settings.patience
        return "patience" if patience is not None and self._no_better >= patience else None

    def judge(self, step: int, loss: float, norm: float, seconds: float) -> str | None:
        """Return the reason to stop at this row, or None; update ``best`` and ``best_step``."""
        if step == 0:
            self._limit = EXPLODED * max(abs(loss), 1.0)
        if not (math.isfinite(norm) and math.isfinite(loss) and abs(loss) <= self._limit):
            return "diverged"
        compared = loss
        if self.sampled:
            compared = self.recent.add(loss)
        if self.validated:
            pass  # the best row is the best on held-out rows
        elif compared < self.best or (self.sampled and step == self.window - 1):  # means of fewer rows no longer count
            self.best, self.best_step = compared, step
        return self._rule(step, compared, norm, seconds)

    def _rule(self, step: int, compared: float, norm: float, seconds: float) -> str | None:
        """Return the rule of the settings that ends the run at this row, or None."""
        settings = self.settings
        settled = not self.sampled or self.recent.full
        if settings.loss_below is not None and settled and compared < settings.loss_below:
            return "loss-below"
        if settings.grad_below is not None and norm < settings.grad_below:
            return "grad-below"
        if step >= settings.steps:
            return "steps"
        patience = None if self.validated else settings.patience
        if patience is not None and step - self.best_step >= patience:
            return "patience"
        if settings.seconds is not None and seconds >= settings.seconds:
            return "seconds"
        return None

    def judge_all(self, first: int, loss: np.ndarray, norm: np.ndarray, seconds: np.ndarray) -> tuple[int, str | None]:
        """Judge the rows (n,) of steps ``first``…, all but the first of a run that is not sampled, as one by one.

        Returns
        -------
        int, str | None
            How many rows count, and the reason to stop at the last of these, or None.
        """
        settings, step = self.settings, np.arange(first, first + len(loss))
        end = ~(np.isfinite(norm) & np.isfinite(loss) & (np.abs(loss) <= self._limit))
        if settings.loss_below is not None:
            end |= loss < settings.loss_below
        if settings.grad_below is not None:
            end |= norm < settings.grad_below
        if settings.seconds is not None:
            end |= seconds >= settings.seconds
        if settings.patience is not None:
            before = np.minimum.accumulate(np.concatenate([[self.best], loss[:-1]]))
            end |= step - np.maximum.accumulate(np.where(loss < before, step, self.best_step)) >= settings.patience
        last = int(end.argmax()) if end.any() else len(loss) - 1
        if last:
            least = int(loss[:last].argmin())
            if loss[least] < self.best:
                self.best, self.best_step = float(loss[least]), first + least
        return last + 1, self.judge(first + last, float(loss[last]), float(norm[last]), float(seconds[last]))
