"""Settings that all methods share: when a run ends, its seed, what of it is kept, and what computes it."""

from __future__ import annotations

from dataclasses import dataclass

from ..algorithms.schedules import FORMS
from ..core.hyperparameters import Checked, Hyperparameter, hyperparameter, hyperparameters


@dataclass(frozen=True)
class Settings(Checked):
    """Settings of a run beside those of its method; each field is an option of the cell."""

    steps: int = hyperparameter(1000, "updates at most", low=0, high=1_000_000_000)
    loss_below: float | None = hyperparameter(None, "stop when the loss is below this", kind=float)
    grad_below: float | None = hyperparameter(None, "stop when the gradient's norm is below this", low=0, kind=float)
    patience: int | None = hyperparameter(
        None, "stop after this many steps (with validation: evaluations) without a better loss", low=1, kind=int
    )
    batch_size: int | None = hyperparameter(
        None, "rows of a mini-batch; all rows in every step without it (single-task methods)", low=1, kind=int
    )
    epochs: int | None = hyperparameter(
        None, "passes over the rows, in place of steps; without a batch size each is one step", low=1, kind=int
    )
    validation: float | None = hyperparameter(
        None, "share of the rows held out to validate on (single-task methods)", low=0, above=True, high=0.9, kind=float
    )
    keep: str = hyperparameter(
        "last", "parameters that the run holds: of the last step or of the best", choices=("last", "best")
    )
    schedule: str = hyperparameter(
        "constant",
        "factor of the rate by step",
        forms=FORMS,
    )
    clip: float | None = hyperparameter(
        None, "norm to which longer gradients are shortened", low=0, above=True, kind=float
    )
    weight_decay: float = hyperparameter(
        0.0, "λ: adds λθ to the gradient of the update; loss and gradient norm are without it", low=0, high=1e6
    )
    bounds: str | None = hyperparameter(
        None, "NAME:LOW:HIGH,… keeps parameters in a range, such as w:0: for w ≥ 0 (single-task methods)", kind=str
    )
    positive: str | None = hyperparameter(None, "NAMES of parameters that stay ≥ 0", kind=str)
    seconds: float | None = hyperparameter(None, "stop after this long", low=0, kind=float)
    seed: int = hyperparameter(0, "seed of everything random", low=0, high=2**32 - 1)
    record_every: int = hyperparameter(
        1, "steps between rows of the record; rows of events and the last are always kept", low=1, high=1_000_000_000
    )
    checkpoint: str | None = hyperparameter(None, "file that keeps the run while it goes on, and its end", kind=str)
    checkpoint_every: float = hyperparameter(60.0, "seconds between two checkpoints", low=0, high=1e6)
    backend: str = hyperparameter(
        "numpy", "what computes; auto: jax where it pays off", choices=("numpy", "jax", "auto")
    )
    devices: int = hyperparameter(1, "devices over which the tasks of a step are spread (jax)", low=1, high=100_000)
    dtype: str = hyperparameter("float64", "precision", choices=("float32", "float64"))


def options_of(method: type[Checked]) -> tuple[dict[str, Hyperparameter], dict[str, Hyperparameter]]:
    """Return name → declaration of a method's own options, and of the settings that it does not declare itself.

    Parameters
    ----------
    method : class of an Algorithm

    Returns
    -------
    own, shared : dict name → Hyperparameter
    """
    own = hyperparameters(method)
    return own, {name: one for name, one in hyperparameters(Settings).items() if name not in own}
