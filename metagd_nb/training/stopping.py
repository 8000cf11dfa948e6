"""When a run ends: the settings every method shares, and the verdict on each row."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.hyperparameters import Checked, hyperparameter

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
}
EXPLODED = 1e8  # times the first loss, or times 1


@dataclass(frozen=True)
class Settings(Checked):
    """What every run can be told, whatever its method."""

    steps: int = hyperparameter(1000, "updates at most", low=0, high=1_000_000_000)
    loss_below: float | None = hyperparameter(None, "stop when the loss is below this", kind=float)
    grad_below: float | None = hyperparameter(None, "stop when the gradient's norm is below this", low=0, kind=float)
    patience: int | None = hyperparameter(None, "stop after this many steps without a better loss", low=1, kind=int)
    seconds: float | None = hyperparameter(None, "stop after this long", low=0, kind=float)
    seed: int = hyperparameter(0, "seed of everything random", low=0, high=2**32 - 1)
    record_every: int = hyperparameter(
        1, "steps between rows of the record; rows of events and the last are always kept", low=1, high=1_000_000_000
    )
    checkpoint: str | None = hyperparameter(None, "file that keeps the run while it goes on, and its end", kind=str)
    checkpoint_every: float = hyperparameter(60.0, "seconds between two checkpoints", low=0, high=1e6)
    backend: str = hyperparameter(
        "numpy", "what computes; auto: jax where it pays off", choices=("numpy", "jax", "auto")
    )
    devices: int = hyperparameter(1, "devices over which the tasks of a step are spread (jax)", low=1, high=100_000)
    dtype: str = hyperparameter("float64", "precision", choices=("float32", "float64"))


class StoppingRule:
    """Watches the rows of one run and says, after each, whether and why it ends.

    Parameters
    ----------
    settings : Settings
    sampled : bool
        Whether losses carry sampling noise: then the mean of the last 20 rows is what is compared.
    """

    def __init__(self, settings: Settings, sampled: bool) -> None:
        self.settings, self.sampled = settings, sampled
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._limit = math.inf
        self.best = math.inf
        self.best_step = 0

    def state(self) -> dict[str, Any]:
        """What it has seen, as far as it matters."""
        return {"recent": list(self._recent), "limit": self._limit, "best": self.best, "best_step": self.best_step}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self._recent.extend(state["recent"])
        self._limit, self.best, self.best_step = state["limit"], state["best"], state["best_step"]

    def judge(self, step: int, loss: float, norm: float, seconds: float) -> str | None:
        """The reason to stop at this row, or None. ``best_step`` is ``step`` where the row is the best so far."""
        settings = self.settings
        if step == 0:
            self._limit = EXPLODED * max(abs(loss), 1.0)
        if not (math.isfinite(norm) and math.isfinite(loss) and abs(loss) <= self._limit):
            return "diverged"
        compared = loss
        if self.sampled:
            self._recent.append(loss)
            compared = sum(self._recent) / len(self._recent)
        if compared < self.best or (self.sampled and step == WINDOW - 1):  # means of fewer rows no longer count
            self.best, self.best_step = compared, step
        settled = not self.sampled or len(self._recent) == WINDOW
        if settings.loss_below is not None and settled and compared < settings.loss_below:
            return "loss-below"
        if settings.grad_below is not None and norm < settings.grad_below:
            return "grad-below"
        if step >= settings.steps:
            return "steps"
        if settings.patience is not None and step - self.best_step >= settings.patience:
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
