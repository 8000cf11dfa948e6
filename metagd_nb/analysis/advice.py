"""Advice on the settings of a method, from remembered runs on similar problems and from closed forms.

A setting is a weighted mean, of logarithms, of what went best on past problems, each weighted by the similarity of its
features; the closed form counts as one more past problem, so that a nearly empty memory changes little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..algorithms import Meta
from ..training.prepare import prepare
from ..training.run import Run
from .problem_features import ProblemFeatures, describe_problem
from .run_memory import RunMemory, remembered
from .similar_problems import TUNED, Similar, converged_step, similar_problems, warm_start

PRIOR = 0.5  # weight of the closed form, or of the default where there is none
SOLVED = 1e-6  # of the loss at the start: target of the closed form's number of steps


@dataclass(frozen=True)
class Advice:
    """Proposed settings, and the evidence for them.

    Attributes
    ----------
    method : str
    options : dict
        Settings, by their Python names; ``warm_start`` among them where a remembered start has a lower loss.
    factor : dict name → float
        Uncertainty of the setting as a factor (×): the spread of the best settings of the problems used.
    rests_on : tuple of int
        Numbers of the remembered runs that were used, those of largest weight first.
    problems : float
        Number of similar past problems, each counted by its similarity.
    features : ProblemFeatures
        Features of the problem; their ``grad_evals`` and ``hvps``, with `tried`, are the cost of the advice.
    tried : int
        Gradient evaluations spent on warm starts.
    reason : str
        The evidence and its certainty, in one line.
    """

    method: str
    options: dict[str, Any]
    factor: dict[str, float]
    rests_on: tuple[int, ...]
    problems: float
    features: ProblemFeatures
    tried: int = 0
    reason: str = ""

    @property
    def grad_evals(self) -> int:
        """Gradient evaluations spent on the advice."""
        return self.features.grad_evals + self.tried

    def __repr__(self) -> str:
        shown = [
            f"--{name.replace('_', '-')} {value:.3g}" if isinstance(value, float) else f"--{name} {value}"
            for name, value in self.options.items()
            if name != "warm_start"
        ]
        start = [f"start from run {self.rests_on[0]}'s parameters"] if "warm_start" in self.options else []
        first = f"advice for {self.method}: {' '.join(shown) or 'the defaults'}"
        return "\n".join(filter(None, [", ".join([first, *start]), self.reason]))


def advise(method: str, *, memory: RunMemory | str | None = None, **given: Any) -> Advice:
    """Propose settings for a problem before training.

    Parameters
    ----------
    method : str
        A name from ``ALGORITHMS``.
    memory : RunMemory or path, optional
        Default: the memory that `remember` turned on; without any, the closed form alone is used.
    **given
        The problem, and settings that stay as given, as for `train`.

    Returns
    -------
    Advice
    """
    run = prepare(method, **given)
    if memory is None:
        memory = remembered()
    elif not isinstance(memory, RunMemory):
        memory = RunMemory(memory)
    return advice_for(run, memory, set(given))


def advice_for(run: Run, memory: RunMemory | None, fixed: set[str]) -> Advice:
    """Propose settings for a run that has not started.

    Parameters
    ----------
    run : Run
    memory : RunMemory or None
    fixed : set of str
        Names of the settings that stay as they are.

    Returns
    -------
    Advice
    """
    features = describe_problem(run.plan.problem, run.plan.batches(0), run.plan.start)
    if not np.isfinite([features.loss, features.top]).all() or features.top <= 0:
        reason = "no advice: the loss has no positive curvature at its start, or is not finite there"
        return Advice(run.plan.method, {}, {}, (), 0.0, features, reason=reason)
    return _based_on(memory, run, features, fixed)


def _based_on(memory: RunMemory | None, run: Run, features: ProblemFeatures, fixed: set[str]) -> Advice:
    """Advice from the runs in a memory and from closed forms."""
    similar = similar_problems(memory, run, features)
    closed = _closed_form(run, features)
    means = {name: _mean(name, similar, closed, run, features) for name in _tunable(run) if name not in fixed}
    options: dict[str, Any] = {name: mean for name, (mean, _) in means.items()}
    factor = {name: spread for name, (_, spread) in means.items()}
    if not {"steps", "epochs"} & set(fixed):
        options |= _steps(run, similar, features)
    warm, tried = (None, 0) if "warm_start" in fixed else warm_start(memory, run, features)
    used = [one.best.id for one in similar]
    if warm is not None:
        options["warm_start"] = warm[1]
        used = [warm[0], *(i for i in used if i != warm[0])]
    total = sum(one.weight for one in similar)
    reason = _reason(similar, factor, closed, memory)
    return Advice(run.plan.method, options, factor, tuple(used), total, features, tried, reason)


def _tunable(run: Run) -> list[str]:
    """Names of the run's settings on which advice is given: those with a single number."""
    return [name for name in TUNED if isinstance(getattr(run.loop.algorithm, name, None), (int, float))]


def _reason(
    similar: list[Similar], factor: dict[str, float], closed: dict[str, float], memory: RunMemory | None
) -> str:
    formula = "the estimated curvature" if closed else "the defaults"
    if memory is None:
        return f"based on {formula}; the run memory is off (%metagd remember)"
    if not similar:
        return f"based on {formula}; no similar problem is remembered"
    runs = ", ".join(f"#{one.best.id}" for one in similar[:5]) + (" …" if len(similar) > 5 else "")
    spread = max(factor.values(), default=1.0)
    word = "certain" if spread < 1.5 and len(similar) > 2 else "fairly certain" if spread < 3 else "uncertain"
    count = f"{len(similar)} past problem{'s' * (len(similar) != 1)}"
    return f"based on {count} ({runs}) and {formula}; {word}: within ×{spread:.2g}"


def _by_curvature(run: Run, name: str) -> bool:
    """Return True for a rate that scales with the inverse of the problem's curvature."""
    algorithm = run.loop.algorithm
    rules = {
        "inner_lr": "sgd",
        "meta_lr": getattr(algorithm, "outer", "sgd"),
        "lr": getattr(algorithm, "rule", run.plan.method),
    }
    return rules.get(name, "adam") != "adam"


def _mean(
    name: str, similar: list[Similar], closed: dict[str, float], run: Run, features: ProblemFeatures
) -> tuple[float, float]:
    """Weighted mean of a setting over past problems and the closed form, and its uncertainty as a factor."""
    curvature = _by_curvature(run, name)
    scale = features.top if curvature else 1.0
    into, back = (_logit, _expit) if name == "momentum" else (_log, math.exp)
    known = [(PRIOR, into(closed.get(name, float(getattr(run.loop.algorithm, name))) * scale))]
    for weight, best in similar:
        if name not in best.settings:
            continue
        known.append((weight, into(best.settings[name] * (best.features.top if curvature else 1.0))))
    weights, values = np.array(known).T
    mean = float(np.average(values, weights=weights))
    variance = float(np.average((values - mean) ** 2, weights=weights))
    unsure = (1.0 if name not in closed else 0.25) / weights.sum()  # a single value has no spread
    return back(mean) / scale, math.exp(math.sqrt(variance + 0.25 * unsure))


def _log(rate: float) -> float:
    return math.log(max(rate, 1e-12))


def _logit(momentum: float) -> float:
    p = min(max(momentum, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _steps(run: Run, similar: list[Similar], features: ProblemFeatures) -> dict[str, int]:
    """1.5 times the steps in which similar problems converged; without any, a closed form for gradient descent."""
    if similar:
        steps = [math.log(max(converged_step(one.best), 1)) for one in similar]
        return {"steps": _round(1.5 * math.exp(np.average(steps, weights=[one.weight for one in similar])))}
    if run.plan.method in ("gd", "momentum") and features.condition > 1:
        kappa = features.condition if run.plan.method == "gd" else math.sqrt(features.condition)
        return {"steps": _round(math.log(SOLVED) / 2 / math.log((kappa - 1) / (kappa + 1)))}
    return {}


def _round(steps: float) -> int:
    """Round up to two digits, the precision of an estimate."""
    steps = min(max(steps, 10.0), 1e6)
    unit = 10 ** max(math.floor(math.log10(steps)) - 1, 0)
    return int(math.ceil(steps / unit) * unit)


def _closed_form(run: Run, features: ProblemFeatures) -> dict[str, float]:
    """Best settings on a quadratic with the estimated spectrum; for adaptation, the rate 1/L.

    gd: 2/(L+μ). Heavy ball: η = 4/(√L+√μ)², β = ((√L−√μ)/(√L+√μ))² (Polyak 1964). Ritz values lie inside the
    spectrum, so L is taken 2 % larger.
    """
    top, bottom = 1.02 * features.top, min(features.bottom, features.top)
    if isinstance(run.loop.algorithm, Meta):
        return {"inner_lr": 1 / top}
    if run.plan.method == "momentum":
        root, low = math.sqrt(top), math.sqrt(bottom)
        return {"lr": 4 / (root + low) ** 2, "momentum": ((root - low) / (root + low)) ** 2}
    if _by_curvature(run, "lr"):
        return {"lr": 2 / (top + bottom) if run.plan.method == "gd" else 1 / top}
    return {}
