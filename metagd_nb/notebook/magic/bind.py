"""From the names in the user's namespace to the parts of a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from IPython.core.interactiveshell import InteractiveShell

from ...algorithms import ALGORITHMS
from ...core.errors import MetagdError
from ...models.net import Net
from ...problems.capture.signature import similar
from ...tasks import Quadratics
from .line import Line

MANY = 100  # an array with more entries, as long as another one's first axis, is taken for data

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
    return _meta(line, names) if ALGORITHMS[line.word].setting == "meta" else _descent(line, names)


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
    return {
        "loss": loss,
        "params": starting_values(loss, names, line.params),
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
    if line.params:
        raise MetagdError("names arguments of a loss; a built-in model brings its own parameters", "--params")
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


def required(function: Callable[..., Any]) -> list[str]:
    """Return the arguments without a default, in order, without ``*args`` and ``**kwargs``.

    Raises
    ------
    MetagdError
        For a function whose signature cannot be read.
    """
    try:
        arguments = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise MetagdError(f"the arguments of {function!r} cannot be read; wrap it in a def") from None
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [a.name for a in arguments if a.default is a.empty and a.kind not in variable]


def starting_values(loss: Callable[..., Any], names: Names, params: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return parameter → starting value: the variables with the names of the loss's arguments.

    Parameters
    ----------
    loss : function
    names : Names
    params : tuple of str
        The arguments that are parameters; by default those without a default value.

    Returns
    -------
    dict

    Raises
    ------
    MetagdError
        For a parameter without a variable, and for a variable that looks like data.
    """
    chosen = params or tuple(required(loss))
    if not chosen:
        name = getattr(loss, "__name__", "loss")
        raise MetagdError(f"{name} has no argument to train; its arguments without a default are the parameters")
    for name in chosen:
        if names.get(name) is None:
            near = names.near(name)
            raise MetagdError(f"{name} has no starting value; define it, such as {name} = np.zeros(3){near}")
    values = {name: names.get(name) for name in chosen}
    if not params:
        _refuse_data(values)
    return values


def _refuse_data(values: Mapping[str, Any]) -> None:
    """Raise an error if a starting value looks like data."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in values.items():
        with suppress(ValueError):  # a ragged list, which is refused later with its own message
            arrays[name] = np.asarray(value)
    arrays = {name: array for name, array in arrays.items() if array.ndim}
    suspects = {name: reason for name in arrays if (reason := _suspicion(name, arrays))}
    if not suspects:
        return
    long = {name for name, reason in suspects.items() if "as long as" in reason}
    trained = _without(values, suspects) or _without(values, long) or list(values)
    name = (*_without(suspects, trained), *suspects)[0]
    raise MetagdError(
        f"{name} looks like data ({suspects[name]}); name what is to be trained: --params {','.join(trained)}"
    )


def _without(names: Iterable[str], excluded: Collection[str]) -> list[str]:
    return [name for name in names if name not in excluded]


def _suspicion(name: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Return the reason for which an array looks like data, or ``""``."""
    array = arrays[name]
    twin = next((n for n, other in arrays.items() if n != name and len(other) == len(array)), None)
    if array.size > MANY and twin is not None:
        return f"{array.size:,} entries, as long as {twin}"
    return "an array of integers" if array.dtype.kind in "iub" else ""
