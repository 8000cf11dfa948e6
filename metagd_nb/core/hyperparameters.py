"""One declaration per hyperparameter, and the readers of that declaration.

A setting is declared once, as the field of a frozen dataclass::

    lr: float = hyper(0.1, "learning rate η", low=0, high=100, scale="log", live=True)

The constructor, the cell's options, the sliders, the help, the README's table and the edge values
of the tests all read it from there.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from dataclasses import dataclass
from typing import Any

from .errors import MetagdError, nearest, shorten


def format_bound(bound: float) -> str:
    """A bound as a person writes it: ``1,000,000``, ``0.000001``, ``1e-300``."""
    size = abs(bound)
    if float(bound).is_integer() and size < 1e15:
        return f"{bound:,.0f}"
    if 1e-6 <= size < 1e15:
        return f"{bound:,.12f}".rstrip("0")
    return f"{bound:g}".replace("e+", "e")


@dataclass(frozen=True)
class Hyperparameter:
    """What one setting allows. ``low`` and ``high`` are inclusive unless ``above`` says that ``low`` is not."""

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

    @property
    def option(self) -> str:
        """The cell's spelling, ``--inner-lr``."""
        return "--" + self.name.replace("_", "-")

    @property
    def allowed(self) -> str:
        """The allowed values in words, for help, tables and errors."""
        if self.choices:
            return " | ".join(self.choices)
        if self.kind is str:
            return "text"
        noun = "a whole number" if self.kind is int else "a number"
        if self.low is not None:
            noun += f" {'>' if self.above else '≥'} {format_bound(self.low)}"
        if self.high is not None:
            noun += f"{' and' if self.low is not None else ''} ≤ {format_bound(self.high)}"
        return noun + (" (or several, comma-separated)" if self.vector else "")

    def check(self, value: Any) -> Any:
        """``value`` in its proper type.

        Raises
        ------
        MetagdError
            Naming the setting, the value and what is allowed.
        """
        if value is None and self.optional:
            return None
        if self.vector and not isinstance(value, (str, numbers.Real)):
            try:
                several = tuple(self._check_one(v) for v in value)
            except TypeError:
                raise self._refuse(value) from None
            if not several:
                raise self._refuse(value)
            return several
        return self._check_one(value)

    def _check_one(self, value: Any) -> Any:
        if self.choices:
            if not isinstance(value, str) or value not in self.choices:
                hint = nearest(str(value), self.choices)
                raise MetagdError(f"{shorten(value)} is not one of {', '.join(self.choices)}{hint}", self.name)
            return value
        if self.kind is str:
            if not isinstance(value, str) or not value.strip():
                raise self._refuse(value)
            return value
        if self.kind is bool:
            if not isinstance(value, bool):
                raise self._refuse(value)
            return value
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise self._refuse(value)
        try:
            check_float = float(value)  # exact for whole numbers up to 2⁵³, beyond any bound here
        except OverflowError:
            raise self._refuse(value) from None
        if not math.isfinite(check_float):
            raise self._refuse(value)
        below = self.low is not None and (check_float < self.low or (self.above and check_float == self.low))
        if below or (self.high is not None and check_float > self.high):
            raise self._refuse(value)
        if self.kind is int:
            if not check_float.is_integer():
                raise self._refuse(value)
            return int(check_float)
        return check_float

    def _refuse(self, value: Any) -> MetagdError:
        return MetagdError(f"{shorten(value)} is not allowed; needs {self.allowed}", self.name)

    def parse(self, text: str) -> Any:
        """The value that a cell's option text stands for, checked."""
        if self.kind is str:
            return self.check(text)
        try:
            parts = [float(part) for part in text.split(",")]
        except ValueError:
            raise MetagdError(f"{text!r} is not a number; needs {self.allowed}", self.name) from None
        if len(parts) > 1:
            if not self.vector:
                raise MetagdError(f"{text!r} is not allowed; needs {self.allowed}", self.name)
            return self.check(parts)
        return self.check(parts[0])


def hyperparameter(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: bool = False,
    scale: str = "linear",
    live: bool = False,
    vector: bool = False,
    choices: tuple[str, ...] = (),
    kind: type | None = None,
) -> Any:
    """Declare a setting as a dataclass field; see the module's head for the readers.

    Parameters
    ----------
    default : value
        ``None`` makes the setting optional; ``kind`` then names its type.
    low, high : float, optional
        Inclusive bounds; ``above=True`` excludes ``low``.
    scale : "linear" | "log"
        How a slider moves.
    live : bool
        Whether a person may change it while the run goes on.
    vector : bool
        Whether several values (per coordinate) are accepted too.
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
    )
    return dataclasses.field(default=default, metadata={"hyper": meta})


def check_float(value: Any, name: str, low: float | None = None) -> float:
    """``value`` as a finite float, at least ``low``; for arguments that no field declares."""
    checked: float = Hyperparameter(name, float, 0.0, "", low=low).check(value)
    return checked


def check_int(value: Any, name: str, low: int) -> int:
    """``value`` as an int, at least ``low``; for arguments that no field declares."""
    checked: int = Hyperparameter(name, int, low, "", low=low).check(value)
    return checked


def hyperparameters(declared: type | object) -> dict[str, Hyperparameter]:
    """Name → declaration, in the order written, of a dataclass or an instance of one."""
    found: dict[str, Hyperparameter] = {}
    for field in dataclasses.fields(declared):  # type: ignore[arg-type]
        if "hyper" in field.metadata:
            found[field.name] = dataclasses.replace(field.metadata["hyper"], name=field.name, default=field.default)
    return found


class Checked:
    """A frozen dataclass whose fields are checked against their declarations when it is made."""

    def __post_init__(self) -> None:
        for name, declared in hyperparameters(self).items():
            object.__setattr__(self, name, declared.check(getattr(self, name)))
