"""Declaration of a hyperparameter, and the check of values against it.

A hyperparameter is declared once, as the field of a frozen dataclass::

    lr: float = hyperparameter(0.1, "learning rate η", low=0, high=100, scale="log", live=True)

The constructor, the cell's options, the sliders, the help and the edge values of the tests read that declaration.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import MetagdError, nearest, shorten

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from numpy.typing import ArrayLike

Value = bool | int | float | str | tuple[float, ...] | None


def format_bound(bound: float) -> str:
    """Format a bound for a message: ``1,000,000``, ``0.000001``, ``1e-300``."""
    size = abs(bound)
    if float(bound).is_integer() and size < 1e15:
        return f"{bound:,.0f}"
    if 1e-6 <= size < 1e15:
        return f"{bound:,.12f}".rstrip("0")
    return f"{bound:g}".replace("e+", "e")


@dataclass(frozen=True)
class Hyperparameter:
    """Allowed values of one setting; see `hyperparameter` for the fields."""

    name: str
    kind: type
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    above: bool = False
    scale: str = "linear"
    live: bool = False
    vector: bool = False
    optional: bool = False
    choices: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()

    @property
    def option(self) -> str:
        """Spelling of the setting in a cell, ``--inner-lr``."""
        return "--" + self.name.replace("_", "-")

    @property
    def allowed(self) -> str:
        """Allowed values in words, for help, tables and errors."""
        if self.choices:
            return " | ".join(self.choices)
        if self.kind is str:
            return " | ".join(self.forms) or "text"
        noun = "a whole number" if self.kind is int else "a number"
        if self.low is not None:
            noun += f" {'>' if self.above else '≥'} {format_bound(self.low)}"
        if self.high is not None:
            noun += f"{' and' if self.low is not None else ''} ≤ {format_bound(self.high)}"
        return noun + (" (or several, comma-separated)" if self.vector else "")

    def check(self, value: ArrayLike | None) -> Any:
        """Check a value and convert it to the type of the setting.

        Parameters
        ----------
        value : value, or sequence of values for a setting with ``vector``

        Returns
        -------
        Value

        Raises
        ------
        MetagdError
            Naming the setting, the value and the allowed values.
        """
        if value is None and self.optional:
            return None
        if not self.vector or isinstance(value, (str, numbers.Real)):
            return self._check_one(value)
        try:
            several = tuple(self._check_one(one) for one in value)  # type: ignore[union-attr]
        except TypeError:  # not a sequence
            several = ()
        if not several:
            raise self._invalid(value)
        return several

    def _check_one(self, value: ArrayLike | None) -> Value:
        if self.choices:
            if not isinstance(value, str) or value not in self.choices:
                hint = nearest(str(value), self.choices)
                raise MetagdError(f"{shorten(value)} is not one of {', '.join(self.choices)}{hint}", self.name)
            return value
        if self.kind not in (str, bool):
            return self._check_number(value)
        if not isinstance(value, self.kind) or (self.kind is str and not str(value).strip()):
            raise self._invalid(value)
        return value

    def _check_number(self, value: object) -> int | float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise self._invalid(value)
        try:
            number = float(value)  # exact for whole numbers up to 2⁵³, beyond any bound here
        except OverflowError:
            number = math.inf
        if not self._contains(number):
            raise self._invalid(value)
        return int(number) if self.kind is int else number

    def _contains(self, number: float) -> bool:
        """Return True for a finite number within the bounds, whole if ``kind`` is int."""
        below = self.high is None or number <= self.high
        above = self.low is None or number > self.low or (number == self.low and not self.above)
        return below and above and math.isfinite(number) and (self.kind is not int or number.is_integer())

    def _invalid(self, value: object) -> MetagdError:
        return MetagdError(f"{shorten(value)} is not allowed; needs {self.allowed}", self.name)

    def parse(self, text: str) -> Any:
        """Convert the text of a cell's option to a value, and check it.

        Parameters
        ----------
        text : str

        Returns
        -------
        Value

        Raises
        ------
        MetagdError
            As `check`, and for text that is not a number where one is needed.
        """
        if self.kind is str:
            return self.check(text)
        try:
            parts = [float(part) for part in text.split(",")]
        except ValueError:
            raise MetagdError(f"{shorten(text)} is not a number; needs {self.allowed}", self.name) from None
        if len(parts) > 1 and not self.vector:
            raise MetagdError(f"{shorten(text)} is not allowed; needs {self.allowed}", self.name)
        return self.check(parts if len(parts) > 1 else parts[0])


def hyperparameter(
    default: Value,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: bool = False,
    scale: str = "linear",
    live: bool = False,
    vector: bool = False,
    choices: tuple[str, ...] = (),
    forms: tuple[str, ...] = (),
    kind: type | None = None,
) -> Any:
    """Declare a setting as the field of a dataclass.

    Parameters
    ----------
    default : bool, int, float, str or None
        None makes the setting optional; ``kind`` then names its type.
    help : str
        One line.
    low, high : float, optional
        Inclusive bounds.
    above : bool
        True to exclude ``low``.
    scale : "linear" | "log"
        Scale of the slider.
    live : bool
        True if it can be changed during training.
    vector : bool
        True to accept several values (one per coordinate) too.
    choices : tuple of str
        Allowed values of a string setting.
    forms : tuple of str
        How the text of a string setting may look, as ``step:N``, for help and completion; what uses it checks it.
    kind : type, optional
        By default that of ``default``.

    Returns
    -------
    dataclasses.Field
    """
    meta = Hyperparameter(
        name="",
        kind=kind or type(default),
        default=default,
        help=help,
        low=low,
        high=high,
        above=above,
        scale=scale,
        live=live,
        vector=vector,
        optional=default is None,
        choices=choices,
        forms=forms,
    )
    return dataclasses.field(default=default, metadata={"hyper": meta})


def check_float(value: ArrayLike, name: str, low: float | None = None) -> float:
    """Check an argument that is not a declared field: a finite number, at least ``low``."""
    return float(Hyperparameter(name, float, 0.0, "", low=low).check(value))


def check_int(value: ArrayLike, name: str, low: int, high: int | None = None) -> int:
    """Check an argument that is not a declared field: a whole number, at least ``low`` and at most ``high``."""
    return int(Hyperparameter(name, int, low, "", low=low, high=high).check(value))


def hyperparameters(declared: DataclassInstance | type[DataclassInstance]) -> dict[str, Hyperparameter]:
    """Return the declarations in a dataclass or an instance of one, by name and in the order written."""
    return {
        field.name: dataclasses.replace(field.metadata["hyper"], name=field.name, default=field.default)
        for field in dataclasses.fields(declared)
        if "hyper" in field.metadata
    }


@dataclass(frozen=True)
class Checked:
    """Dataclass whose fields are checked against their declarations at construction."""

    def __post_init__(self) -> None:
        for name, declared in hyperparameters(self).items():
            object.__setattr__(self, name, declared.check(getattr(self, name)))
