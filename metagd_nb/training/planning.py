"""Planning of a run: checks that its inputs fit each other and the method, and gathers all that it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import ALGORITHMS, Algorithm, Meta
from ..core.errors import MetagdError, shorten, unknown_name
from ..models.net import Net
from ..problems import factory
from ..problems.base import Problem
from ..problems.capture.fingerprint import LIMIT
from ..problems.factory import check_shapes
from ..tasks import Quadratics, Reference, Sampler, Tasks
from ..tasks.validation import check_loss_name
from .minibatches import Epochs, every_of
from .plan import Inputs, Plan
from .settings import Settings, options_of
from .single_task import Parts, fit_parts, loss_parts, with_roles
from .update_planning import bounded, update_options
from .user_callbacks import Metrics, Watchers


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
    _check_batches(method, algorithm, settings)
    inputs, decided = with_roles(method, algorithm, settings, _with_copies(inputs))
    if isinstance(algorithm, Meta):
        parts = _meta_parts(method, algorithm, settings, inputs, evaluate)
    elif inputs.model is not None:
        parts = fit_parts(method, settings, inputs)
    else:
        parts = loss_parts(method, settings, inputs)

    def again(**other: Any) -> Plan:
        for name in other:
            if name not in Inputs._fields:
                raise unknown_name("argument", name, Inputs._fields)
        return planned(method, algorithm, settings, inputs._replace(**other))

    problem, batches, tasks, references, note, validation, epochs, encoding = parts
    settings = _in_steps(settings, epochs)
    options, settings = update_options(method, algorithm, settings, inputs, problem)
    note = "\n".join(line for line in (decided, note) if line) or None
    bound = algorithm.bind(tasks)
    with np.errstate(all="ignore"):
        begin = _start(inputs.warm_start, problem, settings.seed)
        references = bounded(method, algorithm, settings, problem, references)
        if problem.bounds is not None:
            begin = problem.bounds.project(begin)
        theta = bound.init_parameters(problem, begin, tasks)
        first = None
        if (
            evaluate and isinstance(bound, Meta) and settings.backend != "jax"
        ):  # JAX traces the step, which finds misfits too
            first = bound.evaluate(problem, theta, bound.init(theta), batches(0))
            first = first._replace(grad=first.grad.copy())  # the problem may use its array again
    remarks = (tasks, references, note, inputs, again, validation)
    made = Plan(method, bound, problem, batches, settings, begin, theta, first, *remarks)
    made = made._replace(epochs=epochs, encoding=encoding)
    return made._replace(metrics=_metrics(made), watchers=_watchers(inputs), update_options=options)


def _metrics(plan: Plan) -> Metrics | None:
    """The user's metrics, evaluated together with the validation where there is one."""
    if plan.inputs.metrics is None:
        return None
    metrics = Metrics(plan.inputs.metrics, every_of(plan.epochs))
    taken = set(plan.columns()) & set(metrics.functions)
    if taken:
        raise MetagdError(f"{taken.pop()} is a column of the record already; choose another name", "metrics")
    return metrics


def _watchers(inputs: Inputs) -> Watchers | None:
    """The user's callbacks."""
    if inputs.callbacks is None:
        if inputs.callback_every is not None:
            raise MetagdError("says how often callbacks=[f] are called; there are none", "callback_every")
        return None
    return Watchers(inputs.callbacks, inputs.callback_every)


def _check_batches(method: str, algorithm: Algorithm, settings: Settings) -> None:
    """Refuse mini-batches and epochs for methods that have none."""
    for name in ("batch_size", "epochs"):
        if getattr(settings, name) is not None and isinstance(algorithm, Meta):
            raise MetagdError("is for single-task methods; a batch of tasks has meta_batch_size", name)
    if settings.batch_size is not None and not algorithm.takes_batches:
        able = [name for name, kind in ALGORITHMS.items() if kind.setting == "single" and kind.takes_batches]
        raise MetagdError(
            f"{method} needs the same rows in every step; methods that take batches: {', '.join(able)}", "batch_size"
        )


def _in_steps(settings: Settings, epochs: Epochs | None) -> Settings:
    """Return settings whose epochs are counted in steps; without mini-batches an epoch is one step."""
    if settings.epochs is None:
        return settings
    return replace(settings, steps=settings.epochs * (1 if epochs is None else epochs.length), epochs=None)


def _with_copies(inputs: Inputs) -> Inputs:
    """Return inputs whose rows are copies, as `_snapshot` makes them."""
    held_out: Any = inputs.validation
    if isinstance(held_out, (tuple, list)):
        held_out = tuple(map(_snapshot, held_out))
    elif isinstance(held_out, Mapping):
        held_out = {name: _snapshot(value) for name, value in held_out.items()}
    return inputs._replace(x=_snapshot(inputs.x), y=_snapshot(inputs.y), validation=held_out)


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
    own, shared = options_of(kind)
    for name in options:
        if name not in own and name not in shared:
            raise unknown_name(f"option of {method}", name, [*own, *shared])
    if options.get("steps") is not None and options.get("epochs") is not None:
        raise MetagdError("sets the number of steps; give either epochs or steps", "epochs")
    algorithm = kind(**{name: value for name, value in options.items() if name in own})
    return algorithm, Settings(**{name: value for name, value in options.items() if name in shared})


def _meta_parts(method: str, algorithm: Meta, settings: Settings, inputs: Inputs, known_losses: bool) -> Parts:
    """A model, and tasks that share it."""
    tasks, model = inputs.tasks, inputs.model
    if settings.validation is not None or inputs.validation is not None:
        raise MetagdError(
            "is for single-task methods; meta-learning is judged on new tasks: run.evaluate()", "validation"
        )
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
    algorithm.rate(problem)  # refuses another number of rates than parameters
    known: tuple[Reference, ...] = ()
    if known_losses and loss == tasks.loss:
        known = tuple(tasks.references(algorithm.inner_lr, algorithm.inner_steps, algorithm.shots))
    return Parts(problem, batches, tasks, known)


def _named(value: Any) -> str:
    return "is missing" if value is None else f"{shorten(value)} is not one"
