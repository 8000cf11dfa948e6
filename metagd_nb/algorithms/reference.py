"""Reference values: for each row of ``ALGORITHMS`` a number that is known without running the method.

The tests compare every method with its row and fail for a method without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

Settings = Mapping[str, float | str | tuple[float, ...]]


class Reference(NamedTuple):
    """A value of one method on one small problem.

    The problems are ``quadratic``: ½θᵀAθ with A = [[2, 1], [1, 3]], support and query alike, θ in two layers W0 and W1;
    ``parabola``: ½hx² from x = 1; ``prototypes``: relu(wx + b), one example of each class at 1 and 2, a query at 2.
    """

    problem: str
    settings: Settings
    expected: tuple[float, ...]  # the direction (M,) at θ, or the parameters after ``updates``
    formula: str
    theta: tuple[float, ...] = (1.0, -2.0)
    h: float = 2.0  # curvature of the parabola
    updates: int = 0
    exact: Settings = MappingProxyType({})  # settings with which a method that iterates to a tolerance is exact


O7: dict[str, float | str | tuple[float, ...]] = {
    "inner_lr": (0.1, 0.2),
    "inner_steps": 2,
}  # D = diag(inner_lr), R = I − DA, k = inner_steps
PULLED = "(Rᵀ)ᵏ A Rᵏ θ"
QUERY = 0.2689414213699951  # 1/(1 + e)

REFERENCE: dict[str, Reference] = {
    "gd": Reference("parabola", {"lr": 0.1}, (0.32768,), "(1 − ηh)⁵", updates=5),
    "momentum": Reference(
        "parabola", {"lr": 4 / 9, "momentum": 1 / 9}, (13 / 729,), "(1 + 2t/3)/3ᵗ, a double root", h=1.0, updates=5
    ),
    "nesterov": Reference("parabola", {"lr": 0.1, "momentum": 0.5}, (0.44,), "m₁ = 2, m₂ = 2.4", updates=2),
    "rmsprop": Reference(
        "parabola", {"lr": 0.1, "decay": 0.5}, (0.6518567314179577,), "Tieleman & Hinton 2012", updates=3
    ),
    "adam": Reference("parabola", {"lr": 0.1}, (0.7015862729460295,), "Kingma & Ba 2015, algorithm 1", updates=3),
    "adamw": Reference(
        "parabola",
        {"lr": 0.1, "weight_decay": 0.1},
        (0.6751012216400696,),
        "Loshchilov & Hutter 2019, algorithm 2",
        updates=3,
    ),
    "lbfgs": Reference("parabola", {}, (0.0,), "the secant of a parabola is exact", updates=3),
    "hd": Reference("parabola", {"lr": 0.01, "hyper_lr": 0.001}, (0.8372462247,), "its recurrence", updates=5),
    "unroll": Reference(
        "parabola", {"lr": 0.13, "horizon": 7}, (0.0, -0.558689343738), "0, −Th²(1 − ηh)²ᵀ⁻¹", theta=(1.0,)
    ),
    "maml": Reference("quadratic", O7, (1.008, -0.306), PULLED),
    "fomaml": Reference("quadratic", O7, (1.2, -0.9), "A Rᵏ θ"),
    "reptile": Reference("quadratic", O7, (0.1, -1.4), "(I − Rᵏ) θ"),
    "anil": Reference("quadratic", O7, (1.624, -0.128), PULLED + " with D = diag(0, 0.2)"),
    "boil": Reference("quadratic", O7, (1.2288, -1.8856), PULLED + " with D = diag(0.1, 0)", theta=(2.0, -1.0)),
    "meta-sgd": Reference("quadratic", O7, (1.008, -0.306, -1.2, -4.2), PULLED + ", then −Σⱼ gⱼ⊙vⱼ₊₁"),
    "imaml": Reference(
        "quadratic",
        {"inner_lr": 0.2, "lam": 2.0, "inner_steps": 1000, "inner_tol": 1e-13},
        (180 / 361, -340 / 361),
        "(λ(A + λI)⁻¹)² A θ",
        exact={"lam": 60.0, "inner_steps": 200, "inner_tol": 1e-12, "cg_steps": 30, "cg_tol": 1e-13},
    ),
    "cavia": Reference(
        "quadratic", O7 | {"adapted": "W1"}, (1.6752, 0.0), PULLED + " from (θ₀, 0), with D = diag(0, 0.2)"
    ),
    "protonet": Reference(
        "prototypes", {}, (-2 * QUERY, 0, 0, 0, 0, 0), "−2w/(1 + exp w²) in w, 0 in b", theta=(1.0, 0, 0, 0, 0, 0)
    ),
    "l2l": Reference(
        "quadratic",
        O7 | {"cell": "linear", "query_loss": "last"},
        (0.0, 0.0, -0.96, -0.9),
        "with φ₂ = φ₁ − ηD(βg₀ + g₁): ∂/∂η and ∂/∂β at η = 1, β = 0",
    ),
    "multimodal": Reference("quadratic", O7, (1.008, -0.306), PULLED + ": tasks of no kind"),
    "pretrain": Reference("quadratic", O7, (0.0, -5.0), "A θ"),
    "scratch": Reference("quadratic", O7, (0.0, 0.0), "0"),
}
