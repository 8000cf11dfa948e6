"""Result of an evaluation: scores of many tasks after every adaptation step, their mean, interval and quantiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.statistics import half_width
from ..core.tables import html_table, text_table
from ..tasks.identity import FEW, Judged
from .costs import Costs

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of quantiles
CARRIED = 1 / 4  # of the sum; more in the largest scores is worth a warning


@dataclass(frozen=True)
class Evaluation:
    """Scores over many tasks, indexed by the number of adaptation steps 0…steps.

    The interval of the mean is that of Student's t over tasks. In 95 of 100 repetitions it contains the true mean where
    scores of tasks are nearly normal, with any number of tasks. Losses are often skewed, and then it is too short; its
    coverage, measured in 20,000 repetitions:

    ======================================== ===== ===== ===== ====== ====== =======
    losses of the tasks                      n = 4 n = 5 n = 8 n = 20 n = 50 n = 600
    ======================================== ===== ===== ===== ====== ====== =======
    normal                                   .95   .95   .95   .95    .95    .95
    exponential                              .88   .88   .90   .92    .93    .95
    log-normal, σ = 1                        .83   .82   .83   .87    .90    .94
    MAML on sinusoids, 5 shots, 1 step       .84   .84   .86   .90    .93    .94
    the same run, adapted for 3 steps        .76   .76   .79   .83    .85    .88
    ======================================== ===== ===== ===== ====== ====== =======

    Below 10 tasks the text says so. Where a few tasks carry the mean, `few_carry` says so and ``run.evaluate`` warns:
    the mean of other tasks may then be far away, and the median and the quantiles are the better summary.

    Attributes
    ----------
    scores : array (steps+1, n_tasks)
        Score of each task.
    metric : str
    judged : Judged
        Tasks that were judged: how many, and if they were learned from.
    adaptation : tuple of Costs (steps+1,)
        What it costs to adapt to one task that far: counted, and memory measured, on the first; seconds are the mean.
    training : Costs or None
        What it cost to learn the start.
    numbers : array (n_tasks,) of int or None
        Number of each task in its family, ascending, where the family has a finite number of tasks.
    """

    scores: np.ndarray
    metric: str
    judged: Judged
    adaptation: tuple[Costs, ...] = ()
    training: Costs | None = None
    numbers: np.ndarray | None = None

    @property
    def n_tasks(self) -> int:
        """Number of tasks that were judged: a family of so many groups has no more than these."""
        return self.judged.n_tasks

    @property
    def tasks_judged(self) -> str:
        """``held-out``, or ``training`` if any task of the family was learned from."""
        return self.judged.origin

    @property
    @np.errstate(all="ignore")  # a step too many may diverge: that is what the numbers then say
    def mean(self) -> np.ndarray:
        """Mean over tasks (steps+1,)."""
        return np.asarray(self.scores.mean(axis=1))

    @property
    @np.errstate(all="ignore")
    def interval(self) -> np.ndarray:
        """Half-width of the 95 % interval of the mean (steps+1,), by Student's t over tasks; nan for one task."""
        return np.array([half_width(each) for each in self.scores])

    @property
    def median(self) -> np.ndarray:
        """Median over tasks (steps+1,)."""
        return self.quantiles[0.5]

    @property
    @np.errstate(all="ignore")
    def quantiles(self) -> dict[float, np.ndarray]:
        """Quantiles over tasks (steps+1,), by share: 0.05, 0.25, 0.5, 0.75 and 0.95."""
        scores = np.where(np.isnan(self.scores), np.inf, self.scores)
        exact, higher = (np.quantile(scores, SHARES, axis=1, method=m) for m in ("linear", "higher"))
        return dict(zip(SHARES, np.where(np.isnan(exact), higher, exact), strict=True))

    @property
    def few_carry(self) -> str | None:
        """Warning that a few tasks carry the mean, in words; None if they do not.

        The largest score, or in many tasks the largest hundredth of them, then makes up more than a quarter of the
        sum, and more than it does in 99 of 100 samples from an exponential distribution.
        """
        if self.metric == "accuracy":
            return None
        carried = {step: share for step, scores in enumerate(self.scores) if (share := carried_share(scores))}
        if not carried:
            return None
        step, share = max(carried.items(), key=lambda item: item[1])
        count = largest(self.n_tasks)
        largest_ones = "the largest score makes" if count == 1 else f"the {count} largest scores make"
        mean, median = (f"{values[step]:.4g}" for values in (self.mean, self.median))
        return (
            f"a few tasks carry the mean: after {step} step{'s' * (step != 1)} {largest_ones} up {share:.0%} of the sum"
            f" over {self.n_tasks} tasks (mean {mean}, median {median}); the interval may be far too short:"
            " read .median and .quantiles"
        )

    def __repr__(self) -> str:
        steps = ", ".join(f"{m:.4g} ± {h:.2g}" for m, h in zip(self.mean, self.interval, strict=True))
        return f"{self.metric} after 0…{len(self.scores) - 1} steps on {self.judged}{self._few}: {steps}"

    @property
    def _few(self) -> str:
        return " (few: the interval may be too short)" if self.n_tasks < FEW else ""

    def rows(self, measured: bool = True) -> list[tuple[str, ...]]:
        """The table in words, its head first; ``measured`` adds what differs from run to run: seconds and memory."""
        head = ("steps", self.metric, "median", "gradient evaluations", "Hessian·vectors", "seconds", "peak MB")
        lines: list[tuple[str, ...]] = [head]
        each = zip(self.mean, self.interval, self.median, self.adaptation, strict=True)
        for step, (m, h, median, cost) in enumerate(each):
            memory = "–" if math.isnan(cost.peak_bytes) else f"{cost.peak_bytes / 2**20:.2f}"
            score = f"{m:.4g} ± {h:.2g}"
            counts = (str(cost.grad_evals), str(cost.hvps))
            lines.append((str(step), score, f"{median:.4g}", *counts, f"{cost.seconds:.2g}", memory))
        return lines if measured else [line[:5] for line in lines]

    def table(self) -> str:
        """Scores and costs step by step, for printing: adaptation of one task, then the training."""
        text = text_table(self.rows(), str.rjust)
        text.append(f"on {self.judged}{self._few}; costs of adapting to one")
        if self.training is not None:
            text.append(f"training: {self.training.words()}")
        return "\n".join(text)

    def _repr_mimebundle_(self, **chosen: Any) -> dict[str, str]:
        """A table for the notebook, of what is the same at each run: a check of the notebook can compare it."""
        note = f"{self.judged}, mean ± half-width of the 95 % interval{self._few}; costs of adapting to one"
        return {"text/plain": repr(self), "text/html": html_table(self.rows(measured=False), note)}


def largest(n: int) -> int:
    """Number of the largest scores that are looked at in a sample of ``n``: a hundredth, one at least."""
    return max(1, n // 100)


@np.errstate(all="ignore")
def carried_share(scores: np.ndarray) -> float:
    """Share of the sum of |scores| (n,) that the `largest` make up; 0 where it is no larger than it usually is."""
    n, size = len(scores), np.sort(np.abs(scores[np.isfinite(scores)]))[::-1]
    if n < 4 or len(size) < n:  # too few to be few of them; scores that are not finite are seen in the mean
        return 0.0
    share = float(size[: largest(n)].sum() / size.sum())
    usual = 1 - (0.01 / n) ** (1 / (n - 1))  # 99 % point of the largest exponential variable's share (Fisher 1929)
    return share if share > max(CARRIED, usual) else 0.0
