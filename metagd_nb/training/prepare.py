"""Preparation of a run from a loss, from a model and data, or from a model and tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import ALGORITHMS
from ..core.errors import MetagdError, unknown_name
from ..models.net import Net
from ..tasks import Tasks
from ..tasks.user_data.table_encoding import numeric_columns
from .backend_choice import resolve_backend
from .drivers import background, foreground
from .pacing import Frame
from .plan import Inputs
from .planning import configured, planned
from .python_forms import text_options
from .run import Run
from .tracebacks import shows_users_lines

Array = np.ndarray


@shows_users_lines
def prepare(
    method: str,
    *,
    loss: Callable[..., Any] | str | None = None,
    params: Mapping[str, Any] | None = None,
    gradient: Callable[..., Any] | None = None,
    model: Net | Callable[..., Any] | None = None,
    tasks: Tasks | None = None,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    namespace: Mapping[str, Any] | None = None,
    check: bool = True,
    warm_start: ArrayLike | Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    validation: float | tuple[ArrayLike, ArrayLike] | Mapping[str, Any] | None = None,
    metrics: Mapping[str, Callable[[dict[str, Array]], float]] | None = None,
    callbacks: Sequence[Callable[..., object]] | None = None,
    callback_every: int | None = None,
    bounds: str | Mapping[str, Sequence[float | None]] | None = None,
    positive: str | Sequence[str] | None = None,
    schedule: str | Callable[[int], float] = "constant",
    **options: Any,
) -> Run:
    """Prepare a run without starting it.

    Parameters
    ----------
    method : str
        A name from ``ALGORITHMS``.
    loss : function
        Single task: the loss of the parameters, a number. With a ``model``: ``loss(prediction, target)`` of one
        task, (K, C) both, or the name of a built-in one, ``mse`` or ``cross-entropy``. Left out, it is what the tasks
        say, or what fits ``y``: ``cross-entropy`` for text (class labels), ``mse`` for numbers.
    params : dict name → array
        Starting values of the parameters of ``loss``, or of a ``model`` that is a function.
    gradient : function, optional
        The gradient of ``loss``, used after a check against the true one (unless ``check`` is False).
    model : Net or function(params, x)
        `linear`, `mlp`, or your own.
    tasks : Tasks
        Meta-learning methods: the family.
    x, y : arrays (n, D) or (n,), (n, C) or (n,)
        Single-task methods with a ``model``: the data, all of it in every step, or mini-batches of ``batch_size`` rows;
        ``y`` may be class labels (n,).
    namespace : mapping, optional
        Values of the arguments of ``loss`` and ``gradient`` that are not parameters.
    check : bool
        False skips the check of ``gradient``.
    warm_start : array (P,) or dict name → array, optional
        Initial parameters, in place of the model's or the loss's own.
    data : dict name → value, optional
        Arguments of ``loss`` that are never trained; with it, ``params`` is trained as it stands. Without it,
        arguments with the usual names of data are not trained, and one that may be either is refused. With
        ``batch_size`` those with rows are cut along the first axis; a DataFrame or Series stays one.
    validation : float, pair of arrays or dict name → value, optional
        Single-task methods: share of the rows that are held out, chosen from the seed; or the rows to validate on,
        ``(x, y)`` of a model, or the data arguments of a loss by name. The loss on them is a column of the record.
    metrics : dict name → function, optional
        ``f(params)``, with ``params`` a dict name → array, gives a number. Each is a column of the record and a curve
        of the plot, evaluated with the validation, or else every 20 steps.
    callbacks : list of functions, optional
        ``f(run)`` is called in the thread that trains after a recorded row, at most every 0.1 seconds, and after the
        last one. It may read and control the run; an exception in it ends the run as ``failed``. `replay`, saved
        files and exported scripts leave callbacks out.
    callback_every : int, optional
        Recorded rows from one call of the callbacks to the next, in place of the 0.1 seconds.
    bounds : dict name → (low, high), or str, optional
        Ranges in which parameters stay, each end a number or None: ``{"w": (0, None)}``, or ``"w:0:"``. Steps of
        first-order methods are projected; ``lbfgs`` searches along the projected direction.
    positive : name or list of names, optional
        Parameters that stay ≥ 0.
    schedule : str or function, optional
        Factor by which the rate (``lr``, or ``meta_lr`` of a meta-learning method) is multiplied in the update from
        row ``step`` to the next: ``constant``, ``cosine``, ``step:N:F``, ``warmup:N``, ``warmup:N,cosine``, or
        ``f(step)`` → factor ≥ 0, a function of the step alone, called in any order. A rate that is set during
        training stays as it is set. ``cosine`` takes the number of steps at the start of the run; after them the rate
        is 0, also where `Run.resume` adds steps. Files do not hold a function: ``load(path, schedule=f)``.
    **options
        Fields of the method and of `Settings`.

    Returns
    -------
    Run

    Raises
    ------
    MetagdError
        One line that names the option or array, what was wrong and what is allowed.
    """
    if method not in ALGORITHMS:
        raise unknown_name("algorithm", method, ALGORITHMS)
    several = {"validation": validation, "bounds": bounds, "positive": positive, "schedule": schedule}
    options, instead = text_options({**options, **several})
    algorithm, settings = configured(method, options)
    inputs = Inputs(
        loss, params, gradient, model, tasks, x, y, namespace, check, warm_start, data, metrics=metrics,
        callbacks=callbacks, callback_every=callback_every, columns=numeric_columns(x), **instead,
    )  # fmt: skip
    chosen = resolve_backend(settings, algorithm, model, loss)
    try:
        return Run(planned(method, algorithm, chosen, inputs))
    except MetagdError:
        if settings.backend != "auto" or chosen.backend == "numpy":
            raise
        return Run(planned(method, algorithm, replace(chosen, backend="numpy"), inputs))  # what JAX cannot follow


@shows_users_lines
def train(method: str, **given: Any) -> Run:
    """Train, and return the finished run; without display.

    >>> run = train("gd", loss=lambda w: (w - 3.0) ** 2, params={"w": 0.0}, steps=100)
    >>> round(float(run.params["w"]), 6)
    3.0

    Parameters
    ----------
    method : str
        A name from ``ALGORITHMS``.
    **given
        The problem and the settings, as for `prepare`.

    Returns
    -------
    Run

    Raises
    ------
    Exception
        Whatever your function raises under way; its ``run`` is the run so far, which has ended as ``failed``.
    """
    return foreground(prepare(method, **given))


@shows_users_lines
def start(method: str, *, frame: Frame | None = None, **given: Any) -> Run:
    """Train in the background: return at once; reading a result of the run waits.

    Parameters
    ----------
    method : str
        A name from ``ALGORITHMS``.
    frame : Frame, optional
        Display of the run, drawn between steps.
    **given
        The problem and the settings, as for `prepare`.

    Returns
    -------
    Run
    """
    return background(prepare(method, **given), frame)
