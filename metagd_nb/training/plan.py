"""Plan of a run: all that it is made from, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import Algorithm, StepEvaluation
from ..algorithms.update_options import UpdateOptions
from ..models.net import Net
from ..problems.base import Problem
from ..tasks import Reference, Tasks
from ..tasks.user_data.table_encoding import Encoding
from .minibatches import Epochs
from .record import COUNTED
from .settings import Settings
from .user_callbacks import Metrics, Watchers
from .validation import Validation

Array = np.ndarray


class Inputs(NamedTuple):
    """Arguments of `prepare` that describe the problem; None where they are not needed."""

    loss: Callable[..., Any] | str | None = None
    params: Mapping[str, Any] | None = None
    gradient: Callable[..., Any] | None = None
    model: Net | Callable[..., Any] | None = None
    tasks: Tasks | None = None
    x: ArrayLike | None = None
    y: ArrayLike | None = None
    namespace: Mapping[str, Any] | None = None
    check: bool = True
    warm_start: ArrayLike | Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None
    validation: tuple[ArrayLike, ArrayLike] | Mapping[str, Any] | None = None
    metrics: Mapping[str, Callable[..., Any]] | tuple[str, ...] | None = None
    callbacks: Sequence[Callable[..., object]] | None = None
    callback_every: int | None = None
    schedule: Callable[[int], float] | None = None
    columns: tuple[str, ...] | None = None


class Batches(Protocol):
    """Batch of each step: a function of the step alone, so that a run can be repeated."""

    def __call__(self, step: int, /) -> Any:
        """`TaskBatch` or `Batch` of ``step``; for a loss its data arguments, or None if it brings its own data."""


class Plan(NamedTuple):
    """All that a run is made from; the same plan makes the same run.

    Attributes
    ----------
    start : array (P,)
        Parameters at which training begins.
    theta : array (M,)
        All that is learned, at the beginning: ``start``, then what the method learns besides.
    first : StepEvaluation, optional
        Evaluation at ``theta``, where preparing has computed it.
    again : function, optional
        Makes a plan of the same settings from other inputs: ``again(loss=…)``.
    validation : Validation, optional
        Loss on rows that are held out.
    metrics, watchers : Metrics, Watchers, optional
        The user's own metrics and callbacks.
    encoding : Encoding, optional
        Columns and classes of the rows that a model is fitted to.
    epochs : Epochs, optional
        Division of the rows into mini-batches.
    update_options : UpdateOptions, optional
        What is done to the gradient and to the rate before each update.
    """

    method: str
    algorithm: Algorithm
    problem: Problem
    batches: Batches
    settings: Settings
    start: Array
    theta: Array
    first: StepEvaluation | None = None
    tasks: Tasks | None = None
    references: tuple[Reference, ...] = ()
    note: str | None = None
    inputs: Inputs = Inputs()
    again: Callable[..., Plan] | None = None
    validation: Validation | None = None
    metrics: Metrics | None = None
    watchers: Watchers | None = None
    epochs: Epochs | None = None
    encoding: Encoding | None = None
    update_options: UpdateOptions | None = None

    def check_available(self) -> None:
        """Raise a MetagdError for a run from a file that cannot take steps, and say what to give for it."""
        self.problem.check_available()
        if self.update_options is not None and self.update_options.schedule is not None:
            self.update_options.schedule.check_available()

    def measured(self) -> tuple[str, ...]:
        """Names of the columns that are measured at some steps only."""
        validated = () if self.validation is None else ("validation",)
        return (*validated, *(self.metrics.functions if self.metrics is not None else ()))

    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the record."""
        batched = () if self.epochs is None else ("epoch",)
        return (*COUNTED, *self.algorithm.live_rates(), *batched, *self.measured())

    @property
    def sampled(self) -> bool:
        """True where each step sees other tasks or other rows, so that losses carry sampling noise."""
        noisy = self.epochs is not None and self.epochs.length > 1
        return noisy or (self.algorithm.setting == "meta" and not (self.tasks is not None and self.tasks.full_batch))
