"""Single-task part of planning: a user's loss of the parameters, or a built-in model on x and y."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import Algorithm, Meta
from ..core.errors import MetagdError, shorten
from ..models.net import Net
from ..problems import factory
from ..problems.base import Problem
from ..problems.factory import check_shapes
from ..tasks import Batch, Reference, Tasks
from ..tasks.user_data.table_encoding import Encoding
from ..tasks.validation import Targets, numbers_2d, targets
from .minibatches import (
    ArgumentBatches,
    Epochs,
    RowBatches,
    common_rows,
    epochs_of,
    every_of,
    looked_up,
    snapshots,
    taken,
)
from .plan import Batches, Inputs
from .settings import Settings
from .validation import Validation, split_rows

if TYPE_CHECKING:
    from ..problems.autograd.loss import LossProblem

Array = np.ndarray


class Parts(NamedTuple):
    """Parts of a plan that follow from the inputs."""

    problem: Problem
    batches: Batches
    tasks: Tasks | None = None
    references: tuple[Reference, ...] = ()
    note: str | None = None
    validation: Validation | None = None
    epochs: Epochs | None = None
    encoding: Encoding | None = None


def with_roles(method: str, algorithm: Algorithm, settings: Settings, inputs: Inputs) -> tuple[Inputs, str | None]:
    """Separate the arguments of a loss into data and parameters; return the line that says what was decided.

    Where rows are held out or cut into batches, the data include what the loss takes from the namespace, as a copy.
    """
    if isinstance(algorithm, Meta) or inputs.model is not None:
        if inputs.data is not None:
            raise MetagdError("names arguments of a loss of the parameters; a model takes x and y, or tasks", "data")
        return inputs, None
    if not callable(inputs.loss) or not isinstance(inputs.params, Mapping) or not inputs.params:
        return inputs, None  # refused later, with its own message
    from ..problems.capture.roles import assigned, settled

    if inputs.data is not None:
        roles = settled(inputs.params, inputs.data)
    else:
        roles = assigned(inputs.loss, inputs.params, namespace=inputs.namespace)
    data = roles.data if roles.data or inputs.data is not None else None
    if settings.batch_size is not None or settings.validation is not None:
        data = snapshots(looked_up(inputs.loss, roles.params, inputs.namespace) | (data or {}))
    return inputs._replace(params=roles.params, data=data), roles.note


def loss_parts(method: str, settings: Settings, inputs: Inputs) -> Parts:
    """The user's own loss of the parameters."""
    loss, params = inputs.loss, inputs.params
    if not callable(loss):
        raise MetagdError(f"{method} needs a loss of the parameters, or a model with x and y", "loss")
    if not params:
        raise MetagdError("needs a dict of starting values, one for each parameter of the loss", "params")
    from ..problems.gradient_check import check_gradient

    data, held_out = _split_data(settings, inputs)
    batches, note = _argument_batches(settings, inputs, data)
    epochs = None if batches is None else batches.epochs
    first = data if batches is None else {**(data or {}), **batches(0)}

    def made(gradient: Callable[..., Any] | None, data: Mapping[str, Any] | None) -> LossProblem:
        return factory.loss(settings.backend, settings.dtype, loss, params, gradient, inputs.namespace, data)

    problem = made(inputs.gradient, first)
    validation = None if held_out is None else Validation(made(None, held_out), None, every_of(epochs))
    if inputs.gradient is not None and inputs.check:
        report = check_gradient(problem)
        if report.fatal:
            raise MetagdError(report.lines[0])
        note = "\n".join(filter(None, [note, report.lines[0] if report.wrong else None])) or None
    return Parts(problem, batches or _nothing, note=note, validation=validation, epochs=epochs)


def _argument_batches(
    settings: Settings, inputs: Inputs, data: Mapping[str, Any] | None
) -> tuple[ArgumentBatches | None, str | None]:
    """Return the batches of the data arguments of a loss, None without mini-batches; and a line about them."""
    if settings.batch_size is None:
        return None, None
    from .batch_checks import refuse_uncut

    given = {"loss": inputs.loss, "gradient": inputs.gradient}
    functions = {role: function for role, function in given.items() if callable(function)}
    note = refuse_uncut(functions, inputs.data or {}, settings.backend)
    epochs = epochs_of(settings, common_rows(data or {}))
    assert epochs is not None
    return ArgumentBatches(data or {}, epochs), note


def _nothing(step: int) -> None:
    """The batch of a loss that brings its own data."""


class _Always:
    """The same batch at every step."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __call__(self, step: int) -> Batch:
        return self.batch


def fit_parts(method: str, settings: Settings, inputs: Inputs) -> Parts:
    """A built-in model on the user's x and y: all rows in every step, or mini-batches."""
    if not isinstance(inputs.model, Net):
        raise MetagdError(
            f"{shorten(inputs.model)} is not a built-in model; {method} takes linear(…) or mlp(…)", "model"
        )
    rows, wanted, held_out = _rows(method, inputs.model, settings, inputs)
    loss, flat = wanted.loss, np.ndim(inputs.y) == 1  # type: ignore[arg-type]  # it has been read
    encoding = Encoding(rows.x.shape[2], inputs.columns, wanted.classes, flat)
    epochs = epochs_of(settings, rows.x.shape[1])
    validation = None
    if held_out is not None:
        judge = factory.net(inputs.model, inputs.loss or loss, settings.backend, settings.dtype)
        validation = Validation(judge, held_out.cast(settings.dtype), every_of(epochs))
    known: tuple[Reference, ...] = ()
    linear = inputs.model.closed_form() == "plain" and len(inputs.model.sizes) == 2
    if linear and loss == "mse" and not callable(inputs.loss):
        squares = factory.squares(inputs.model, rows, settings.backend, settings.dtype)
        known = (Reference(squares.best_loss, "least squares (optimum)"),)
        if epochs is None:
            return Parts(squares, _nothing, references=known, validation=validation, encoding=encoding)
    problem = factory.net(inputs.model, inputs.loss or loss, settings.backend, settings.dtype)
    if epochs is None:
        return Parts(problem, _Always(rows.cast(settings.dtype)), validation=validation, encoding=encoding)
    batches = RowBatches(rows, epochs, settings.dtype)
    return Parts(problem, batches, None, known, None, validation, epochs, encoding)


def _rows(method: str, model: Net, settings: Settings, inputs: Inputs) -> tuple[Batch, Targets, Batch | None]:
    """Return the user's rows to train on as one task, all their targets, and the held-out rows."""
    if inputs.x is None or inputs.y is None:
        raise MetagdError(f"{method} with a model needs both x and y", "x, y")
    x = numbers_2d(inputs.x, "x")
    y = targets(inputs.y, "y", inputs.loss if isinstance(inputs.loss, str) else None)
    every = _table(model, x, y.values, y.loss, "x", "y")
    if inputs.validation is not None:
        x_held, y_held = _pair(inputs.validation)
        x, wanted = numbers_2d(x_held, "validation"), targets(y_held, "validation", y.loss, y.classes)
        return every, y, _table(model, x, wanted.values, y.loss, "validation", "validation")
    if settings.validation is None:
        return every, y, None
    train, held_out = split_rows(every.x.shape[1], settings.validation, settings.seed)
    return _chosen(every, train), y, _chosen(every, held_out)


def _table(model: Net, x: Array, y: Array, loss: str, x_name: str, y_name: str) -> Batch:
    """Return x (n, D) and targets (n, C) as one task, after a check of their sizes."""
    if len(x) != len(y):
        names = x_name if x_name == y_name else f"{x_name}, {y_name}"
        raise MetagdError(f"have {len(x)} and {len(y)} rows; need the same number", names)
    whose = "the data" if x_name == "x" else f"the {x_name} rows"
    check_shapes(model, x.shape[1], y.shape[1], whose, "targets" if loss == "mse" else "classes")
    return Batch(x[None], y[None])


def _chosen(batch: Batch, rows: Array) -> Batch:
    """Return some rows of one task."""
    return Batch(batch.x[:, rows], batch.y[:, rows])


def _pair(validation: object) -> tuple[ArrayLike, ArrayLike]:
    """Return x and y of the rows that the user gave to validate on."""
    if isinstance(validation, (tuple, list)) and len(validation) == 2:
        return validation[0], validation[1]
    raise MetagdError(f"{shorten(validation)} is neither a share such as 0.2 nor a pair (x, y)", "validation")


def _split_data(settings: Settings, inputs: Inputs) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """Return the data arguments of a loss to train on, and those to validate on, if there are any."""
    data = inputs.data
    if inputs.validation is not None:
        if not isinstance(inputs.validation, Mapping) or not data or set(inputs.validation) - set(data):
            names = ", ".join(f'"{name}": …' for name in data or ("x", "y"))
            raise MetagdError(f"of a loss needs a share, or its data arguments by name: {{{names}}}", "validation")
        return data, {**data, **inputs.validation}
    if settings.validation is None:
        return data, None
    n = common_rows(data or {})
    if not n:
        raise MetagdError("needs data arguments, whose rows can be held out: name them with --data", "validation")
    train, held_out = split_rows(n, settings.validation, settings.seed)
    return taken(data or {}, n, train), taken(data or {}, n, held_out)
