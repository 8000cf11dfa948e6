"""From the names in a namespace to what a run is made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from ...algorithms import ALGORITHMS
from ...core.errors import MetagdError
from ...models import linear_regression as beginner
from ...models.net import Net
from ...problems.capture.signature import similar
from ...tasks import Quadratics
from .line import Line

MANY = 100  # entries beyond which an array that is as long as another one's first axis looks like data


class Names:
    """A person's namespace.

    Parameters
    ----------
    ip : InteractiveShell
    defined : collection of str
        The names that this cell's body binds.
    empty : bool
        Whether there was no body.
    """

    def __init__(self, ip: Any, defined: Collection[str] = (), empty: bool = True) -> None:
        self.space: dict[str, Any] = ip.user_ns
        self.hidden: Mapping[str, Any] = ip.user_ns_hidden
        self.defined, self.empty = defined, empty

    def get(self, name: str) -> Any:
        """The value, or None where there is none."""
        return self.space.get(name)

    def near(self, name: str, kind: Callable[[Any], bool]) -> str:
        """``; did you mean W?``: the nearest of the person's own names whose values are of a kind."""
        own = [
            n
            for n, value in self.space.items()
            if isinstance(n, str)
            and value is not self.hidden.get(n, self)
            and not inspect.ismodule(value)
            and kind(value)
        ]
        meant = similar(name, own)
        return f"; did you mean {meant}?" if meant else ""

    def function(self, name: str) -> Callable[..., Any]:
        """The function of that name, which must exist."""
        value = self.get(name)
        if value is None:
            raise MetagdError(f"{name} does not exist{self.near(name, inspect.isroutine)}")
        if not callable(value):
            raise MetagdError(f"{name} must be a function, not {type(value).__name__}")
        return value  # type: ignore[no-any-return]


def given(line: Line, names: Names) -> dict[str, Any]:
    """What `prepare` needs, from what the body and the namespace have."""
    return _meta(line, names) if ALGORITHMS[line.word].setting == "meta" else _descent(line, names)


def _where(names: Names, wanted: str) -> str:
    return f"nothing is defined below the line; {wanted}" if names.empty else wanted


def _meta(line: Line, names: Names) -> dict[str, Any]:
    tasks, model = names.get("tasks"), names.get("model")
    if tasks is None:
        near = names.near("tasks", _is_data)
        raise MetagdError(_where(names, f"{line.word} needs tasks, a family such as tasks = sinusoid(){near}"))
    if model is None and not isinstance(tasks, Quadratics):
        near = names.near("model", lambda value: callable(value) or isinstance(value, Net))
        raise MetagdError(_where(names, f"{line.word} needs a model, such as model = mlp(1, 40, 40, 1){near}"))
    found = {"tasks": tasks, "model": model}
    if "loss" in names.defined:
        found["loss"] = _loss(names)
    if callable(model):
        found["params"] = names.get("params")
        if found["params"] is None:
            near = names.near("params", _is_data)
            raise MetagdError(f"{line.word} with a model that is a function needs params, a dict of arrays{near}")
    return found


def _descent(line: Line, names: Names) -> dict[str, Any]:
    if _fits_a_model(names):
        return _fit(line, names)
    if names.get("loss") is None:
        wanted = f"{line.word} needs a function loss of the parameters, or a built-in model with x and y"
        raise MetagdError(_where(names, wanted + names.near("loss", inspect.isfunction)))
    loss = names.function("loss")
    return {
        "loss": loss,
        "params": starting_values(loss, names, line.params),
        "gradient": names.function("gradient") if "gradient" in names.defined else None,
        "namespace": names.space,
        "check": line.check,
    }


def _fits_a_model(names: Names) -> bool:
    """Whether the cell is about a built-in model with x and y rather than about a loss of the parameters.

    What the body defines decides; a model that is a function is a helper of the loss.
    """
    if not isinstance(names.get("model"), Net):
        return False
    if _named(names):
        return True
    if "loss" in names.defined:
        return "model" in names.defined and _of_prediction_and_target(names)
    return "model" in names.defined or names.get("loss") is None


def _of_prediction_and_target(names: Names) -> bool:
    arguments = required(names.function("loss"))
    return len(arguments) == 2 and any(names.get(name) is None for name in arguments)


def _fit(line: Line, names: Names) -> dict[str, Any]:
    if line.params:
        raise MetagdError("names arguments of a loss; a built-in model brings its own parameters", "--params")
    for name in ("x", "y"):
        if names.get(name) is None:
            raise MetagdError(
                f"{line.word} with a model needs x and y; {name} does not exist{names.near(name, _is_data)}"
            )
    found = {name: names.get(name) for name in ("model", "x", "y")}
    if "loss" in names.defined or (_named(names) and "model" not in names.defined):
        found["loss"] = _loss(names)
    return found


def _named(names: Names) -> bool:
    """Whether the loss is a built-in one, by name."""
    return isinstance(names.get("loss"), str)


def _loss(names: Names) -> Callable[..., Any] | str:
    return str(names.get("loss")) if _named(names) else names.function("loss")


# ---- the parameters of a loss ------------------------------------------------------------------------------------


def required(function: Callable[..., Any]) -> list[str]:
    """The arguments without a default, in order; ``*args`` and ``**kwargs`` are none."""
    try:
        arguments = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise MetagdError(f"the arguments of {function!r} cannot be read; wrap it in a def") from None
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [a.name for a in arguments if a.default is a.empty and a.kind not in variable]


def starting_values(loss: Callable[..., Any], names: Names, params: tuple[str, ...] = ()) -> dict[str, Any]:
    """Parameter → starting value: the variables that are named as the loss's arguments.

    Raises
    ------
    MetagdError
        For a parameter without a variable, and for a variable that looks like data.
    """
    chosen = params or tuple(required(loss))
    what = getattr(loss, "__name__", "loss")
    if not chosen:
        raise MetagdError(f"{what} has no argument to train; its arguments without a default are the parameters")
    for name in chosen:
        if names.get(name) is None:
            near = names.near(name, _is_data)
            raise MetagdError(f"{name} has no starting value; define it, such as {name} = np.zeros(3){near}")
    values = {name: names.get(name) for name in chosen}
    if not params:
        _refuse_data(values)
    return values


def _refuse_data(values: Mapping[str, Any]) -> None:
    arrays = {name: array for name, value in values.items() if (array := _array(value)) is not None and array.ndim}
    suspects = {name: why for name in arrays if (why := _suspicion(name, arrays))}
    if not suspects:
        return
    long = [name for name in suspects if "as long as" in suspects[name]]
    left = [n for n in values if n not in suspects] or [n for n in values if n not in long] or list(values)
    name = next((n for n in suspects if n not in left), next(iter(suspects)))
    raise MetagdError(
        f"{name} looks like data ({suspects[name]}); name what is to be trained: --params {','.join(left)}"
    )


def _suspicion(name: str, arrays: Mapping[str, np.ndarray]) -> str:
    array = arrays[name]
    twin = next((n for n, other in arrays.items() if n != name and len(other) == len(array)), None)
    if array.size > MANY and twin is not None:
        return f"{array.size:,} entries, as long as {twin}"
    return "an array of integers" if array.dtype.kind in "iub" else ""


def _array(value: Any) -> np.ndarray | None:
    try:
        return np.asarray(value)
    except ValueError:  # ragged: refused later, in words of its own
        return None


def _is_data(value: Any) -> bool:
    return not callable(value)


def new_names(before: Mapping[str, Any], after: Mapping[str, Any], bound: Iterable[str]) -> set[str]:
    """What a body defined: what its text binds, and what it bound in other ways (``%run``, ``import *``).

    The kit's own ``gradient`` from an ``import *`` is nobody's gradient of a loss.
    """
    changed = {n for n in ("loss", "gradient", "model") if n in after and after[n] is not before.get(n)}
    if after.get("gradient") is beginner.gradient:
        changed.discard("gradient")
    return changed | set(bound)
