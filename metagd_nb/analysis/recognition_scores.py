"""Answers of a recognizer of task kinds, and their scores over many tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..core.statistics import Array, Calibration, half_width, measure_calibration


class Recognition(NamedTuple):
    """Answer for one support set.

    Attributes
    ----------
    kind : str
        The most probable kind, or "unlike anything seen".
    probabilities : dict name → float
        Of the kinds, given that the task is of one of them.
    distance : float
        Distance to the nearest kind; above 1 the task counts as unlike anything seen.
    """

    kind: str
    probabilities: dict[str, float]
    distance: float

    def __repr__(self) -> str:
        ranked = sorted(self.probabilities.items(), key=lambda pair: -pair[1])
        return f"{self.kind} ({', '.join(f'{kind} {p:.2f}' for kind, p in ranked)}; distance {self.distance:.2f})"


@dataclass(frozen=True)
class RecognitionScores(Calibration):
    """Scores of a recognizer over many tasks, with the calibration of its probabilities.

    Attributes
    ----------
    kinds : tuple of str
    confusion : array (G, G)
        Number of tasks of kind i (row) that were recognized as kind j (column).
    accuracy, interval : float
        Share of tasks recognized correctly; half-width of its 95 % interval.
    alarms : float
        Share of the tasks called unlike anything seen.
    """

    kinds: tuple[str, ...]
    confusion: Array
    accuracy: float
    interval: float
    alarms: float

    def __repr__(self) -> str:
        return (
            f"{self.accuracy:.3f} ± {self.interval:.3f} of {self.confusion.sum()} tasks recognised, log-loss"
            f" {self.log_loss:.3f}, calibration error {self.ece:.3f}, {self.alarms:.1%} called unlike anything seen"
        )


def score_recognition(probabilities: Array, kind: Array, unlike: Array, kinds: tuple[str, ...]) -> RecognitionScores:
    """Score predicted kinds.

    Parameters
    ----------
    probabilities : array (T, G)
    kind : array (T,) of int
        The true kinds.
    unlike : array (T,) of bool
        True for tasks that were called unlike anything seen.
    kinds : tuple of str
        Names of the G kinds.

    Returns
    -------
    RecognitionScores
    """
    predicted = probabilities.argmax(axis=1)
    hit = predicted == kind
    confusion = np.zeros((len(kinds), len(kinds)), int)
    np.add.at(confusion, (kind, predicted), 1)
    calibration = vars(measure_calibration(probabilities, kind))
    return RecognitionScores(
        **calibration,
        kinds=kinds,
        confusion=confusion,
        accuracy=float(hit.mean()),
        interval=half_width(hit),
        alarms=float(unlike.mean()),
    )
