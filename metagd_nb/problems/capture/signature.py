"""Signature of a user's function: its parameters, its other arguments, and the form of a gradient's result."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import filterfalse
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...core.errors import MetagdError, nearest
from ...core.parameters import ParameterLayout
from ..base import Array

Gradient = ArrayLike | Mapping[str, ArrayLike] | None  # results that a user's gradient may give
_EMPTY = inspect.Parameter.empty
_POSITIONAL_REST, _KEYWORD_REST = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD  # *args, **kwargs


def similar(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most likely meant by ``name``: ``y`` for ``y_true``, else the nearest spelling."""
    names = [c for c in candidates if not c.startswith("_") and c != name]
    stems = [c for c in names if name.startswith(f"{c}_") or c.startswith(f"{name}_")]
    found = sorted(stems, key=len, reverse=True) or difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return found[0] if found else None


def data_names(namespace: Mapping[str, Any]) -> list[str]:
    """Names of a namespace that hold data: neither modules nor functions nor classes."""
    return [n for n, v in namespace.items() if isinstance(n, str) and not isinstance(v, ModuleType) and not callable(v)]


def reads_missing(what: str, name: str, candidates: Iterable[str]) -> MetagdError:
    """``gradient reads y_true, which does not exist; did you mean y?``"""
    meant = similar(name, candidates)
    return MetagdError(f"{what} reads {name}, which does not exist{f'; did you mean {meant}?' if meant else ''}")


def namespace_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The globals that a function sees; empty for a callable without any."""
    inner = inspect.unwrap(getattr(function, "func", function))
    found: Mapping[str, Any] = getattr(getattr(inner, "__func__", inner), "__globals__", {})
    return found


def check_called_with(function: Callable[..., Any], what: str, names: Sequence[str]) -> None:
    """Refuse a function that cannot be called with so many arguments.

    Raises
    ------
    MetagdError
        ``loss takes (w); here it is called as loss(prediction, target)``.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a library in C: its own error says it
        return
    try:
        signature.bind(*names)
    except TypeError:
        taken = ", ".join(str(one.replace(annotation=_EMPTY)) for one in signature.parameters.values())
        raise MetagdError(f"{what} takes ({taken}); here it is called as {what}({', '.join(names)})") from None


class Binding:
    """Assignment of parameters and data to the arguments of a function.

    Parameters
    ----------
    function : callable
        The function as the user wrote it.
    names : sequence of str
        Parameters, in the order in which values are given to ``call``.
    namespace : mapping
        Where an argument that is neither a parameter nor has a default is looked up.
    what : str
        ``loss`` or ``gradient``, for errors.
    every : bool
        Whether each parameter must be an argument.
    data : mapping, optional
        Arguments that the user gave as data, before their defaults and the namespace.

    Attributes
    ----------
    data : dict
        Arguments taken from the namespace; the caller may put copies in their place.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        names: Sequence[str],
        namespace: Mapping[str, Any],
        what: str = "loss",
        every: bool = True,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        given = data or {}
        self.names, self.what = tuple(names), what
        self.data: dict[str, Any] = {}
        self._positional: list[str] = []
        self._keyword: list[str] = []
        signature = _signature(function, what)
        unused = list(filterfalse(signature.__contains__, names))
        positional = True  # until an argument is left to its default: those after it are given by name
        for argument in signature.values():
            if argument.kind in (_POSITIONAL_REST, _KEYWORD_REST):
                (self._positional if argument.kind is _POSITIONAL_REST else self._keyword).extend(unused)
                unused = []
            elif argument.name not in {*names, *given} and argument.default is not _EMPTY:
                positional = False
            else:
                if argument.name not in names:
                    self.data[argument.name] = _looked_up(
                        argument.name, names, given if argument.name in given else namespace, what
                    )
                by_position = positional and argument.kind is not argument.KEYWORD_ONLY
                (self._positional if by_position else self._keyword).append(argument.name)
        unfit = {"params": unused, "data": list(filterfalse(signature.__contains__, given))}
        for option, unknown in unfit.items() if every else ():
            for name in unknown:
                raise MetagdError(f"{name} is not an argument of {what}{nearest(name, signature)}", option)
        self._direct = (tuple(self._positional), self._keyword) == (self.names, [])

    def at(self, batch: Mapping[str, Any]) -> Binding:
        """Return a binding of other data: those of the batch, where it has them."""
        other = copy.copy(self)
        other.data = {name: batch.get(name, value) for name, value in self.data.items()}
        return other

    def call(self, function: Callable[..., Any], values: Sequence[Any]) -> Any:
        """``function`` at these values of the parameters."""
        if self._direct:
            return function(*values)
        given = dict(zip(self.names, values, strict=True)) | self.data
        return function(*[given[n] for n in self._positional], **{n: given[n] for n in self._keyword})


def _looked_up(name: str, names: Sequence[str], namespace: Mapping[str, Any], what: str) -> Any:
    """Return the value of an argument that is no parameter."""
    if name not in namespace:
        raise reads_missing(what, name, [*names, *data_names(namespace)])
    return namespace[name]


def missing_arguments(function: Callable[..., Any], names: Sequence[str], namespace: Mapping[str, Any]) -> list[str]:
    """Arguments of a gradient that are no parameter, have no default and are not in the namespace."""
    needed = [
        a
        for a in _signature(function, "gradient").values()
        if a.default is _EMPTY and a.kind not in (_POSITIONAL_REST, _KEYWORD_REST)
    ]
    return [a.name for a in needed if a.name not in names and a.name not in namespace]


def _signature(function: Callable[..., Any], what: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        raise MetagdError(f"{what} must be a function, not {type(function).__name__}") from None


def as_parameters(params: Mapping[str, Any]) -> dict[str, Array]:
    """Starting values as float64 arrays.

    Raises
    ------
    MetagdError
        For one that is not made of finite real numbers.
    """
    if not isinstance(params, Mapping) or not params:
        raise MetagdError("needs a dict of name and starting value, such as {'w': np.zeros(3)}", "params")
    return {name: _as_parameter(name, value) for name, value in params.items()}


def _as_parameter(name: str, value: ArrayLike) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        kind = "complex numbers" if array.dtype.kind == "c" else f"{type(value).__name__} of {array.dtype}"
        raise MetagdError(f"{name} must be made of real numbers, not {kind}", "params")
    if not array.size:
        raise MetagdError(f"{name} is empty, of shape {array.shape}; it needs at least one number", "params")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        where = ParameterLayout.of({name: array}).where(int(np.argmin(np.isfinite(array.ravel()))))
        raise MetagdError(f"{where} starts at {array[~np.isfinite(array)][0]}; it needs a finite number", "params")
    return array


def flat_gradient(result: Gradient, layout: ParameterLayout, dtype: np.typing.DTypeLike = np.float64) -> Array:
    """Convert the result of a user's gradient to (P,).

    A dict by name; a tuple or list in the parameters' order; or an array, of the one parameter's
    shape or flat over all of them.
    """
    names = list(layout.shapes)
    if result is None:
        raise MetagdError("gradient returns nothing; it needs a `return`")
    if isinstance(result, Mapping):
        lacking = [n for n in names if n not in result]
        if lacking:
            raise MetagdError(f"gradient gives no value for {lacking[0]}{nearest(lacking[0], result)}")
        return _joined({n: result[n] for n in names}, layout, dtype)
    if isinstance(result, tuple) and len(result) != len(names):
        raise MetagdError(f"gradient gives {len(result)} parts; it needs {len(names)}, for {', '.join(names)}")
    if _one_for_each(result, layout):
        return _joined(dict(zip(names, result, strict=True)), layout, dtype)  # type: ignore[arg-type]
    if len(names) == 1:
        return _joined({names[0]: result}, layout, dtype)
    if np.shape(result) != (layout.size,):
        raise MetagdError(
            f"gradient gives an array of shape {np.shape(result)}; it needs one array each for {', '.join(names)}"
        )
    return _numbers(result, "the parameters").astype(dtype)


def _one_for_each(result: ArrayLike, layout: ParameterLayout) -> bool:
    """Return True for a tuple or list with an array for each parameter; a list may also be the one array itself."""
    if not isinstance(result, (tuple, list)) or len(result) != len(layout.shapes):
        return False
    return len(result) > 1 or np.shape(result[0]) == next(iter(layout.shapes.values()))


def _numbers(value: ArrayLike, name: str) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        raise MetagdError(f"gradient gives {type(value).__name__} of {array.dtype} for {name}; it needs real numbers")
    return array


def _joined(parts: Mapping[str, Any], layout: ParameterLayout, dtype: np.typing.DTypeLike) -> Array:
    arrays = {name: _numbers(part, name) for name, part in parts.items()}
    for name, array in arrays.items():
        if array.shape != layout.shapes[name]:
            raise MetagdError(f"gradient gives shape {array.shape} for {name}, which has {layout.shapes[name]}")
    return layout.flatten(arrays, dtype)
