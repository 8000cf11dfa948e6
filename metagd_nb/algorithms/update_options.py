"""Changes to a gradient and to a rate between the evaluation and the update of any method that allows them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..core.array_api import namespace
from .base import Algorithm, StepEvaluation
from .schedules import Schedule
from .theta import Array, State


class UpdateOptions(NamedTuple):
    """Clipping, weight decay and a schedule of the rate.

    Attributes
    ----------
    size : int
        Number of parameters P; what a method learns besides does not decay.
    rate : str
        Name of the rate that the schedule multiplies.
    clip : float or None
        Norm to which longer gradients (M,) are shortened.
    weight_decay : float
        λ in g + λθ, added after clipping.
    schedule : Schedule or None
    """

    size: int
    rate: str
    clip: float | None = None
    weight_decay: float = 0.0
    schedule: Schedule | None = None

    def gradient(self, theta: Array, grad: Array) -> Any:
        """Return the gradient (M,) that the update descends; of NumPy or traced by JAX."""
        xp = namespace(grad)
        if self.clip is not None:
            norm = xp.sqrt(grad @ grad)
            # a factor, so that nothing is divided by zero; a gradient that is not finite stays so
            grad = grad * xp.where(norm > self.clip, self.clip / xp.where(norm > 0, norm, 1.0), 1.0).astype(grad.dtype)
        if self.weight_decay:
            decayed = grad[: self.size] + self.weight_decay * theta[: self.size]
            grad = decayed if len(grad) == self.size else xp.concatenate([decayed, grad[self.size :]])
        return grad

    def scheduled(self, algorithm: Algorithm, step: int) -> Algorithm:
        """Return the method with the rate of the update that leaves row ``step``.

        Raises
        ------
        Exception
            Whatever the user's schedule raises, or a MetagdError for what it gives.
        """
        return algorithm if self.schedule is None else self.scaled(algorithm, self.schedule.at(step))

    def expected(self, algorithm: Algorithm, step: int) -> Algorithm:
        """Return the method as `scheduled` does; its rate is nan where that raises."""
        try:
            return self.scheduled(algorithm, step)
        except Exception:
            return self.scaled(algorithm, math.nan)

    def scaled(self, algorithm: Algorithm, factor: float) -> Algorithm:
        """Return the method with its rate times ``factor``; a copy, since values are checked where they are set.

        It is made at every step, so it takes over what the method has computed from its fields.
        """
        rate = getattr(algorithm, self.rate) * factor
        rates = zip(algorithm._live, algorithm._set_rates, strict=True)
        changed: Algorithm = object.__new__(type(algorithm))
        vars(changed).update(vars(algorithm))
        vars(changed)[self.rate] = rate
        vars(changed)["_set_rates"] = tuple(rate if name == self.rate else value for name, value in rates)
        return changed

    def update(self, algorithm: Algorithm, theta: Array, evaluation: StepEvaluation) -> tuple[Array, State]:
        """Take a step of the method with the changed gradient."""
        return algorithm.update(theta, evaluation._replace(grad=self.gradient(theta, evaluation.grad)))
