"""Planning of a run: checks that its inputs fit each other and the method, and gathers all that it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import ALGORITHMS, Algorithm, Meta
from ..core.errors import MetagdError, shorten, unknown_name
from ..core.hyperparameters import hyperparameters
from ..models.net import Net
from ..problems import factory
from ..problems.base import Problem
from ..problems.capture.fingerprint import LIMIT
from ..problems.factory import check_shapes
from ..tasks import Batch, Quadratics, Reference, Sampler, Tasks
from ..tasks.validation import check_loss_name, numbers_2d, targets
from .plan import Batches, Inputs, Plan
from .settings import Settings


class _Parts(NamedTuple):
    """Parts of a plan that follow from the inputs."""

    problem: Problem
    batches: Batches
    tasks: Tasks | None = None
    references: tuple[Reference, ...] = ()
    note: str | None = None


def planned(method: str, algorithm: Algorithm, settings: Settings, inputs: Inputs, evaluate: bool = True) -> Plan:
    """Plan of a run.

    Parameters
    ----------
    method : str
        A name from ``ALGORITHMS``.
    algorithm : Algorithm
    settings : Settings
        With a backend that is there.
    inputs : Inputs
    evaluate : bool
        False computes nothing on tasks: neither the first evaluation of a meta-learning method nor known losses.

    Raises
    ------
    MetagdError
        For inputs that do not fit each other or the method.
    """
    inputs = inputs._replace(x=_snapshot(inputs.x), y=_snapshot(inputs.y))
    inputs, decided = _with_roles(method, algorithm, inputs)
    if isinstance(algorithm, Meta):
        parts = _meta_parts(method, algorithm, settings, inputs, evaluate)
    elif inputs.model is not None:
        parts = _fit_parts(method, settings, inputs)
    else:
        parts = _loss_parts(method, settings, inputs)

    def again(**other: Any) -> Plan:
        for name in other:
            if name not in Inputs._fields:
                raise unknown_name("argument", name, Inputs._fields)
        return planned(method, algorithm, settings, inputs._replace(**other))

    problem, batches, tasks, references, note = parts
    note = "\n".join(line for line in (decided, note) if line) or None
    bound = algorithm.bind(tasks)
    with np.errstate(all="ignore"):
        begin = _start(inputs.warm_start, problem, settings.seed)
        theta = bound.init_parameters(problem, begin, tasks)
        first = None
        if (
            evaluate and isinstance(bound, Meta) and settings.backend != "jax"
        ):  # JAX traces the step, which finds misfits too
            first = bound.evaluate(problem, theta, bound.init(theta), batches(0))
            first = first._replace(grad=first.grad.copy())  # the problem may use its array again
    return Plan(method, bound, problem, batches, settings, begin, theta, first, tasks, references, note, inputs, again)


def _snapshot(column: ArrayLike | None) -> ArrayLike | None:
    """Copy of data up to 64 MB: what a later cell writes into it does not reach a run under way."""
    if column is None:
        return None
    try:
        array = np.asarray(column)
    except ValueError:
        return column  # refused later, in words
    return array if array.nbytes > LIMIT else array.copy()


def _start(given: ArrayLike | Mapping[str, Any] | None, problem: Problem, seed: int) -> np.ndarray:
    """Parameters (P,) at which learning begins, in the problem's precision: those given, or the problem's own."""
    if given is None:
        return np.asarray(problem.start(np.random.default_rng(seed)))
    layout = problem.layout
    try:
        if isinstance(given, Mapping):
            if set(given) != set(layout.shapes):
                raise MetagdError(f"has {', '.join(given)}; needs {', '.join(layout.shapes)}", "warm_start")
            given = np.concatenate([np.reshape(given[n], np.prod(s, dtype=int)) for n, s in layout.shapes.items()])
        flat = np.array(given, problem.dtype)
    except (TypeError, ValueError) as error:
        if isinstance(error, MetagdError):
            raise
        raise MetagdError(f"does not hold the parameters of this problem ({error})", "warm_start") from None
    if flat.shape != (layout.size,):
        raise MetagdError(f"has shape {flat.shape}; needs ({layout.size},)", "warm_start")
    if not np.isfinite(flat).all():
        raise MetagdError("holds values that are not finite", "warm_start")
    return flat


def configured(method: str, options: Mapping[str, Any]) -> tuple[Algorithm, Settings]:
    """Method and settings from their options, each value checked."""
    kind = ALGORITHMS[method]
    own, shared = hyperparameters(kind), hyperparameters(Settings)
    for name in options:
        if name not in own and name not in shared:
            raise unknown_name(f"option of {method}", name, [*own, *shared])
    algorithm = kind(**{name: value for name, value in options.items() if name in own})
    return algorithm, Settings(**{name: value for name, value in options.items() if name in shared})


def _with_roles(method: str, algorithm: Algorithm, inputs: Inputs) -> tuple[Inputs, str | None]:
    """Separate the arguments of a loss into data and parameters; return the line that says what was decided."""
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
    return inputs._replace(params=roles.params, data=data), roles.note


def _loss_parts(method: str, settings: Settings, inputs: Inputs) -> _Parts:
    """The user's own loss of the parameters."""
    if not callable(inputs.loss):
        raise MetagdError(f"{method} needs a loss of the parameters, or a model with x and y", "loss")
    if not inputs.params:
        raise MetagdError("needs a dict of starting values, one for each parameter of the loss", "params")
    from ..problems.gradient_check import check_gradient

    problem = factory.loss(
        settings.backend, settings.dtype, inputs.loss, inputs.params, inputs.gradient, inputs.namespace, inputs.data
    )
    note = None
    if inputs.gradient is not None and inputs.check:
        report = check_gradient(problem)
        if report.fatal:
            raise MetagdError(report.lines[0])
        note = report.lines[0] if report.wrong else None
    return _Parts(problem, _nothing, note=note)


def _nothing(step: int) -> None:
    """The batch of a loss that brings its own data."""


class _Always:
    """The same batch at every step."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __call__(self, step: int) -> Batch:
        return self.batch


def _fit_parts(method: str, settings: Settings, inputs: Inputs) -> _Parts:
    """A built-in model on the user's x and y, all rows in every step."""
    if not isinstance(inputs.model, Net):
        raise MetagdError(
            f"{shorten(inputs.model)} is not a built-in model; {method} takes linear(…) or mlp(…)", "model"
        )
    batch, loss = _rows(method, inputs.model, inputs)
    linear = inputs.model.closed_form() == "plain" and len(inputs.model.sizes) == 2
    if linear and loss == "mse" and not callable(inputs.loss):
        squares = factory.squares(inputs.model, batch, settings.backend, settings.dtype)
        known = (Reference(squares.best_loss, "least squares (optimum)"),)
        return _Parts(squares, _nothing, references=known)
    problem = factory.net(inputs.model, inputs.loss or loss, settings.backend, settings.dtype)
    return _Parts(problem, _Always(batch.cast(settings.dtype)))


def _rows(method: str, model: Net, inputs: Inputs) -> tuple[Batch, str]:
    """Return the user's data as one task, and the name of the loss that fits them."""
    if inputs.x is None or inputs.y is None:
        raise MetagdError(f"{method} with a model needs both x and y", "x, y")
    x = numbers_2d(inputs.x, "x")
    y, loss, _ = targets(inputs.y, "y", inputs.loss if isinstance(inputs.loss, str) else None)
    if len(x) != len(y):
        raise MetagdError(f"have {len(x)} and {len(y)} rows; need the same number", "x, y")
    check_shapes(model, x.shape[1], y.shape[1], "the data", "targets" if loss == "mse" else "classes")
    return Batch(x[None], y[None]), loss


def _meta_parts(method: str, algorithm: Meta, settings: Settings, inputs: Inputs, known_losses: bool) -> _Parts:
    """A model, and tasks that share it."""
    tasks, model = inputs.tasks, inputs.model
    if not isinstance(tasks, Tasks):
        raise MetagdError(
            f"{_named(tasks)}; {method} needs a family such as sinusoid() or groups(x, y, group)", "tasks"
        )
    loss = tasks.loss if inputs.loss is None else inputs.loss
    if isinstance(loss, str):
        check_loss_name(loss, tasks.outputs)
    if isinstance(tasks, Quadratics):
        problem: Problem = factory.quadratic(tasks, settings.backend, settings.dtype)
    elif isinstance(model, Net):
        check_shapes(model, tasks.inputs, None if algorithm.embeds else tasks.outputs, "the tasks")
        problem = factory.net(model, loss, settings.backend, settings.dtype)
    elif callable(model):
        if not inputs.params:
            raise MetagdError("needs a dict of starting arrays for a model that is a function", "params")
        problem = factory.model(settings.backend, settings.dtype, model, loss, inputs.params)
    else:
        raise MetagdError(f"{_named(model)}; {method} needs mlp(…), linear(…) or function(params, x)", "model")
    sizes = algorithm.meta_batch_size, algorithm.shots, algorithm.queries
    batches = Sampler(tasks, *sizes, settings.seed, settings.dtype, distributions=loss == "cross-entropy")
    known: tuple[Reference, ...] = ()
    if known_losses and loss == tasks.loss:
        known = tuple(tasks.references(algorithm.inner_lr, algorithm.inner_steps, algorithm.shots))
    return _Parts(problem, batches, tasks, known)


def _named(value: Any) -> str:
    return "is missing" if value is None else f"{shorten(value)} is not one"
