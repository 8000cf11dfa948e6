"""From what a person has — a loss, or a model and data, or a model and tasks — to a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..algorithms import ALGORITHMS, Algorithm, Meta
from ..core.errors import MetagdError, unknown_name
from ..core.hyperparameters import hyperparameters
from ..models.net import Net
from ..problems import factory
from ..problems.base import Problem
from ..problems.capture.fingerprint import LIMIT
from ..problems.factory import check_shapes
from ..tasks import Batch, Quadratics, Reference, Sampler, Tasks
from ..tasks.validation import check_loss_name, numbers_2d, targets
from .backend_choice import resolve_backend
from .drivers import background, foreground
from .pacing import Frame
from .run import Plan, Run
from .stopping import Settings


class Inputs(NamedTuple):
    """What the person handed over; what is not needed stays None."""

    loss: Callable[..., Any] | str | None = None
    params: Mapping[str, Any] | None = None
    gradient: Callable[..., Any] | None = None
    model: Any = None
    tasks: Any = None
    x: Any = None
    y: Any = None
    namespace: Mapping[str, Any] | None = None
    check: bool = True
    warm_start: Any = None


def prepare(
    method: str,
    *,
    loss: Callable[..., Any] | str | None = None,
    params: Mapping[str, Any] | None = None,
    gradient: Callable[..., Any] | None = None,
    model: Any = None,
    tasks: Any = None,
    x: Any = None,
    y: Any = None,
    namespace: Mapping[str, Any] | None = None,
    check: bool = True,
    warm_start: Any = None,
    **options: Any,
) -> Run:
    """A run that has not started yet.

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
        Single-task methods with a ``model``: the data, all of it in every step; ``y`` may be class labels (n,).
    namespace : mapping, optional
        Where arguments of ``loss`` and ``gradient`` that are not parameters are looked up.
    warm_start : array (P,) or dict name → array, optional
        Where learning begins, in place of the model's or the loss's own start.
    **options
        Fields of the method and of `Settings`.

    Raises
    ------
    MetagdError
        One line that names the option or array, what was wrong and what is allowed.
    """
    if method not in ALGORITHMS:
        raise unknown_name("algorithm", method, ALGORITHMS)
    algorithm, settings = configured(method, options)
    given = Inputs(loss, params, gradient, model, tasks, x, y, namespace, check, warm_start)
    chosen = resolve_backend(settings, algorithm, model, loss)
    try:
        return Run(planned(method, algorithm, chosen, given))
    except MetagdError:
        if settings.backend != "auto" or chosen.backend == "numpy":
            raise
        return Run(planned(method, algorithm, replace(chosen, backend="numpy"), given))  # what JAX cannot follow


def planned(method: str, algorithm: Algorithm, settings: Settings, given: Inputs) -> Plan:
    """What a run of these parts is made from."""
    given = given._replace(**{name: _snapshot(getattr(given, name)) for name in ("x", "y")})
    make = _meta_plan if isinstance(algorithm, Meta) else _descent_plan
    plan = make(method, algorithm, settings, given)
    if given.warm_start is not None:
        plan = plan._replace(warm_start=_flat(given.warm_start, plan.problem))

    def again(**other: Any) -> Plan:
        for name in other:
            if name not in Inputs._fields:
                raise unknown_name("argument", name, Inputs._fields)
        return planned(method, algorithm, settings, given._replace(**other))

    return plan._replace(given=given, again=again)


def _snapshot(column: Any) -> Any:
    """Data as it is now: what a later cell writes into it does not reach a run under way, up to 64 MB."""
    if column is None:
        return None
    try:
        array = np.asarray(column)
    except ValueError:
        return column  # refused later, in words
    return array if array.nbytes > LIMIT else array.copy()


def _flat(given: Any, problem: Problem) -> np.ndarray:
    """Parameters as handed over, as (P,) in the problem's precision."""
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
    """The method and the settings that ``options`` spell out, each value checked."""
    kind = ALGORITHMS[method]
    own, shared = hyperparameters(kind), hyperparameters(Settings)
    for name in options:
        if name not in own and name not in shared:
            raise unknown_name(f"option of {method}", name, [*own, *shared])
    algorithm = kind(**{name: value for name, value in options.items() if name in own})
    return algorithm, Settings(**{name: value for name, value in options.items() if name in shared})


def train(method: str, **given: Any) -> Run:
    """Train and return the finished run; no display. Arguments as `prepare`'s.

    >>> run = train("gd", loss=lambda w: (w - 3.0) ** 2, params={"w": 0.0}, steps=100)
    >>> round(float(run.params["w"]), 6)
    3.0
    """
    return foreground(prepare(method, **given))


def start(method: str, *, frame: Frame | None = None, **given: Any) -> Run:
    """The same in the background: returns at once, and reading a result waits."""
    return background(prepare(method, **given), frame)


def _descent_plan(method: str, algorithm: Algorithm, settings: Settings, given: Inputs) -> Plan:
    if given.model is not None:
        return _fit_plan(method, algorithm, settings, given)
    if not callable(given.loss):
        raise MetagdError(f"{method} needs a loss of the parameters, or a model with x and y", "loss")
    if not given.params:
        raise MetagdError("needs a dict of starting values, one for each parameter of the loss", "params")
    from ..problems.gradient_check import check_gradient

    problem = factory.loss(
        settings.backend, settings.dtype, given.loss, given.params, given.gradient, namespace=given.namespace
    )
    note = None
    if given.gradient is not None and given.check:
        verdict = check_gradient(problem)
        if verdict.fatal:
            raise MetagdError(verdict.lines[0])
        note = verdict.lines[0] if verdict.wrong else None
    return Plan(method, algorithm, problem, _nothing, settings, note=note)


def _nothing(step: int) -> None:
    """The batch of a loss that brings its own data."""


class _Always:
    """The same batch at every step."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __call__(self, step: int) -> Batch:
        return self.batch


def _fit_plan(method: str, algorithm: Algorithm, settings: Settings, given: Inputs) -> Plan:
    """A built-in model on the person's own x and y, all rows in every step."""
    if not isinstance(given.model, Net):
        raise MetagdError(f"{given.model!r} is not a built-in model; {method} takes linear(…) or mlp(…)", "model")
    if given.x is None or given.y is None:
        raise MetagdError(f"{method} with a model needs both x and y", "x, y")
    loss = given.loss if given.loss is None or isinstance(given.loss, str) else None
    x = numbers_2d(given.x, "x")
    y, loss, _ = targets(given.y, "y", loss)
    if len(x) != len(y):
        raise MetagdError(f"have {len(x)} and {len(y)} rows; need the same number", "x, y")
    check_shapes(given.model, x.shape[1], y.shape[1], "the data", "targets" if loss == "mse" else "classes")
    batch = Batch(x[None], y[None])
    if given.model.plain and len(given.model.sizes) == 2 and loss == "mse" and not callable(given.loss):
        squares = factory.squares(given.model, batch, settings.backend, settings.dtype)
        known = (Reference(squares.best_loss, "least squares (optimum)"),)
        return Plan(method, algorithm, squares, _nothing, settings, references=known)
    problem = factory.net(given.model, given.loss or loss, settings.backend, settings.dtype)
    return Plan(method, algorithm, problem, _Always(batch.cast(settings.dtype)), settings)


def _meta_plan(method: str, algorithm: Algorithm, settings: Settings, given: Inputs) -> Plan:
    assert isinstance(algorithm, Meta)
    tasks, model = given.tasks, given.model
    if not isinstance(tasks, Tasks):
        raise MetagdError(f"{_told(tasks)}; {method} needs a family such as sinusoid() or groups(x, y, group)", "tasks")
    algorithm = algorithm.bind(tasks)
    loss = tasks.loss if given.loss is None else given.loss
    if isinstance(loss, str):
        check_loss_name(loss, tasks.outputs)
    if isinstance(tasks, Quadratics):
        problem: Problem = factory.quadratic(tasks, settings.backend, settings.dtype)
    elif isinstance(model, Net):
        check_shapes(model, tasks.inputs, None if algorithm.embeds else tasks.outputs, "the tasks")
        problem = factory.net(model, loss, settings.backend, settings.dtype)
    elif callable(model):
        if not given.params:
            raise MetagdError("needs a dict of starting arrays for a model that is a function", "params")
        problem = factory.model(settings.backend, settings.dtype, model, loss, given.params)
    else:
        raise MetagdError(f"{_told(model)}; {method} needs mlp(…), linear(…) or function(params, x)", "model")
    batches = Sampler(
        tasks, algorithm.meta_batch_size, algorithm.shots, algorithm.queries, settings.seed, settings.dtype
    )
    with np.errstate(all="ignore"):  # what does not fit is refused here, not under way
        theta = algorithm.init_parameters(problem, problem.start(np.random.default_rng(settings.seed)), tasks)
        if settings.backend != "jax":  # there the step is traced, which looks at all but the values
            algorithm.meta_gradient(problem, theta, batches(0))
    known: tuple[Reference, ...] = ()
    if loss == tasks.loss:
        known = tuple(tasks.references(algorithm.inner_lr, algorithm.inner_steps, algorithm.shots))
    return Plan(method, algorithm, problem, batches, settings, tasks, known)


def _told(value: Any) -> str:
    return "is missing" if value is None else f"{value!r} is not one"
