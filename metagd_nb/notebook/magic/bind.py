"""From the names in the user's namespace to the parts of a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from IPython.core.interactiveshell import InteractiveShell

from ...algorithms import ALGORITHMS
from ...algorithms.schedules import NAMES as SCHEDULES
from ...core.errors import MetagdError
from ...models.net import Net
from ...problems.capture.roles import assigned, required
from ...problems.capture.signature import similar
from ...tasks import Quadratics
from .line import Line

T = TypeVar("T")


def instances(space: Mapping[str, Any], kind: type[T]) -> dict[str, T]:
    """Return the values of a type in a namespace by name, without names that begin with an underscore."""
    return {name: value for name, value in space.items() if isinstance(value, kind) and not name.startswith("_")}


class Names:
    """The user's namespace after a body was executed.

    Parameters
    ----------
    ip : InteractiveShell
    defined : collection of str
        The names that the body defined.
    empty : bool
        True if there was no body.
    """

    def __init__(self, ip: InteractiveShell, defined: Collection[str] = (), empty: bool = True) -> None:
        self.space: dict[str, Any] = ip.user_ns
        self.hidden: Mapping[str, Any] = ip.user_ns_hidden
        self.defined, self.empty = defined, empty

    def get(self, name: str) -> Any:
        """Return the value of a name, or None if it is not defined."""
        return self.space.get(name)

    def near(self, name: str, kind: Callable[[Any], bool] = lambda value: not callable(value)) -> str:
        """Return ``; did you mean W?`` with the closest of the user's names whose value is of a kind, or ``""``.

        ``kind`` is a predicate of values; by default those that cannot be called.
        """
        own = [
            n
            for n, value in self.space.items()
            if isinstance(n, str)
            and value is not self.hidden.get(n, self)
            and not inspect.ismodule(value)
            and kind(value)
        ]
        match = similar(name, own)
        return f"; did you mean {match}?" if match else ""

    def function(self, name: str) -> Callable[..., Any]:
        """Return the function of a name.

        Raises
        ------
        MetagdError
            If the name is not defined, or no function.
        """
        value = self.get(name)
        if value is None:
            raise MetagdError(f"{name} does not exist{self.near(name, inspect.isroutine)}")
        if not callable(value):
            raise MetagdError(f"{name} must be a function, not {type(value).__name__}")
        return value  # type: ignore[no-any-return]

    def missing(self, message: str) -> MetagdError:
        """Return the error for a missing part, which says first if the cell has no body."""
        return MetagdError(f"nothing is defined below the line; {message}" if self.empty else message)


def run_parts(line: Line, names: Names) -> dict[str, Any]:
    """Return the arguments of `prepare` that the body and the namespace define.

    Raises
    ------
    MetagdError
        For a missing part.
    """
    parts = _meta(line, names) if ALGORITHMS[line.word].setting == "meta" else _descent(line, names)
    if line.metrics:
        parts["metrics"] = {name: names.function(name) for name in line.metrics}
    if line.callbacks:
        parts["callbacks"] = [names.function(name) for name in line.callbacks]
    schedule = line.options.get("schedule", "constant")
    if schedule not in SCHEDULES and callable(names.get(schedule)):
        parts["schedule"] = names.get(schedule)  # in place of its name
    return parts


def _meta(line: Line, names: Names) -> dict[str, Any]:
    tasks, model = names.get("tasks"), names.get("model")
    if tasks is None:
        raise names.missing(f"{line.word} needs tasks, a family such as tasks = sinusoid(){names.near('tasks')}")
    if model is None and not isinstance(tasks, Quadratics):
        near = names.near("model", lambda value: callable(value) or isinstance(value, Net))
        raise names.missing(f"{line.word} needs a model, such as model = mlp(1, 40, 40, 1){near}")
    parts = {"tasks": tasks, "model": model}
    if "loss" in names.defined:
        parts["loss"] = _loss(names)
    if callable(model):
        parts["params"] = names.get("params")
        if parts["params"] is None:
            near = names.near("params")
            raise MetagdError(f"{line.word} with a model that is a function needs params, a dict of arrays{near}")
    return parts


def _descent(line: Line, names: Names) -> dict[str, Any]:
    if _has_built_in_model(names):
        return _model_fit(line, names)
    if names.get("loss") is None:
        near = names.near("loss", inspect.isfunction)
        raise names.missing(
            f"{line.word} needs a function loss of the parameters, or a built-in model with x and y{near}"
        )
    loss = names.function("loss")
    params, data = starting_values(loss, names, line)
    return {
        "loss": loss,
        "params": params,
        "data": data,
        "gradient": names.function("gradient") if "gradient" in names.defined else None,
        "namespace": names.space,
        "check": line.check,
    }


def _has_built_in_model(names: Names) -> bool:
    """Return True if the cell fits a built-in model to x and y, and False if it minimizes a loss of the parameters.

    What the body defines decides; a model that is a function is a helper of the loss.
    """
    if not isinstance(names.get("model"), Net):
        return False
    if isinstance(names.get("loss"), str):
        return True
    if "loss" not in names.defined:
        return "model" in names.defined or names.get("loss") is None
    arguments = required(names.function("loss"))  # of a model: prediction and target
    return "model" in names.defined and len(arguments) == 2 and any(names.get(name) is None for name in arguments)


def _model_fit(line: Line, names: Names) -> dict[str, Any]:
    for option, given in (("--params", line.params), ("--data", line.data)):
        if given:
            raise MetagdError("names arguments of a loss; a built-in model has parameters and data, x and y", option)
    for name in ("x", "y"):
        if names.get(name) is None:
            raise MetagdError(f"{line.word} with a model needs x and y; {name} does not exist{names.near(name)}")
    parts = {name: names.get(name) for name in ("model", "x", "y")}
    if "loss" in names.defined or (isinstance(names.get("loss"), str) and "model" not in names.defined):
        parts["loss"] = _loss(names)
    return parts


def _loss(names: Names) -> Callable[..., Any] | str:
    """Return the loss: a function, or the name of a built-in one."""
    loss = names.get("loss")
    return loss if isinstance(loss, str) else names.function("loss")


# ---- the parameters of a loss ------------------------------------------------------------------------------------


def starting_values(loss: Callable[..., Any], names: Names, line: Line) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return parameter → starting value, and data → value: the variables with the names of the loss's arguments.

    Parameters
    ----------
    loss : function
    names : Names
    line : Line
        With ``--params`` the named arguments are the parameters; with ``--data`` the named ones are not.

    Returns
    -------
    params : dict
    data : dict or None
        None if neither option says which arguments are data.

    Raises
    ------
    MetagdError
        For an argument without a variable, and for one that may be data or a parameter.
    """
    trained = [*line.params] or [name for name in required(loss) if name not in line.data]
    if not trained:
        name = getattr(loss, "__name__", "loss")
        raise MetagdError(f"{name} has no argument to train; its arguments without a default are the parameters")
    for name in (*trained, *line.data):
        if names.get(name) is None:
            near = names.near(name)
            what = "value" if name in line.data else "starting value"
            raise MetagdError(f"{name} has no {what}; define it, such as {name} = np.zeros(3){near}")
    params = {name: names.get(name) for name in trained}
    data = {name: names.get(name) for name in line.data}
    if line.data and not line.params:
        return assigned(loss, params, data, names.space)[:2]
    return params, data if line.params else None
