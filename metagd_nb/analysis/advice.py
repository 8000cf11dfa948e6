"""Advice: how to set a method for a problem, from what is remembered of others and from what is known in closed form.

External meta-learning: nothing of the learner's own learning is touched, it is told where to begin. The advice is a
weighted mean, of logarithms, of what went best on past problems, each weighted by how much it looks like this one;
the closed form counts as one more past problem, so that a thin memory changes little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..algorithms import Meta
from ..training.prepare import prepare
from ..training.run import Run
from .problem_features import ProblemFeatures, describe_problem
from .run_memory import Past, RunMemory, choices_of, layout_of, remembered

Array = np.ndarray
TUNED = ("lr", "momentum", "inner_lr", "meta_lr")
WITHIN = 1.0  # of `Features.place`: how far away a problem still tells something
PRIOR = 0.5  # weight of the closed form, or of the default where there is none
LEAST = 0.05  # weight below which a problem is not counted as like this one
LATE = 0.1  # of its evaluations: how a run went is asked from there on
WARM = 3  # remembered parameters that are tried, those of the likeliest problems
BETTER = 0.95  # of the loss at the own start: above it a warm start is not worth its oddness
SOLVED = 1e-6  # of the loss at the start: what the closed form's number of steps is meant for


@dataclass(frozen=True)
class Advice:
    """What is proposed, and on what grounds.

    Attributes
    ----------
    method : str
    options : dict
        Settings, by their Python names; ``warm_start`` among them where a remembered start is better than the own.
    factor : dict
        Name → about how far off the setting may be (×): the spread of what went best on the problems it rests on.
    rests_on : tuple of int
        The remembered runs, the weightiest first.
    problems : float
        Number of past problems that are like this one, each counted by its likeness.
    features : Features
        What the problem looks like; its ``grad_evals`` and ``hvps`` are what the advice has cost, with `tried`.
    tried : int
        Gradient evaluations spent on warm starts.
    """

    method: str
    options: dict[str, Any]
    factor: dict[str, float]
    rests_on: tuple[int, ...]
    problems: float
    features: ProblemFeatures
    tried: int = 0
    told: tuple[str, ...] = field(default=())

    @property
    def grad_evals(self) -> int:
        """Gradient evaluations that the advice has cost."""
        return self.features.grad_evals + self.tried

    def __repr__(self) -> str:
        shown = [
            f"--{name.replace('_', '-')} {value:.3g}" if isinstance(value, float) else f"--{name} {value}"
            for name, value in self.options.items()
            if name != "warm_start"
        ]
        start = [f"start from run {self.rests_on[0]}'s parameters"] if "warm_start" in self.options else []
        first = f"advice for {self.method}: {' '.join(shown) or 'the defaults'}"
        return "\n".join([", ".join([first, *start]), *self.told])


class Vote(NamedTuple):
    """What one past problem says."""

    weight: float
    best: Past


def advise(method: str, *, memory: RunMemory | str | None = None, **given: Any) -> Advice:
    """Settings for a problem that has not been learned yet.

    Parameters
    ----------
    method : str
        As for `train`.
    memory : Memory or path, optional
        Default: the one that `remember` turned on; without any, the closed form alone.
    **given
        The problem, and settings that are not to be advised, as for `train`.
    """
    run = prepare(method, **given)
    if memory is None:
        memory = remembered()
    elif not isinstance(memory, RunMemory):
        memory = RunMemory(memory)
    return advice_for(run, memory, set(given))


def advice_for(run: Run, memory: RunMemory | None, fixed: set[str]) -> Advice:
    """Advice for a run that has not begun; what is named in ``fixed`` stays as it is."""
    algorithm, problem = run.algorithm, run.problem
    theta = run.beginning()
    found = describe_problem(algorithm, problem, run.plan.batches(0), theta)
    if not np.isfinite([found.loss, found.top]).all() or found.top <= 0:
        told = ("nothing can be said: the loss has no positive curvature at its start, or is not finite there",)
        return Advice(run.method, {}, {}, (), 0.0, found, told=told)
    votes = _votes(memory, run, found)
    options: dict[str, Any] = {}
    factor: dict[str, float] = {}
    closed = _closed_form(run, found)
    for name in TUNED:
        if hasattr(algorithm, name) and name not in fixed and not isinstance(getattr(algorithm, name), tuple):
            options[name], factor[name] = _mean(name, votes, closed, run, found)
    if "steps" not in fixed and (steps := _steps(run, votes, found)) is not None:
        options["steps"] = steps
    warm, tried = (None, 0) if "warm_start" in fixed else _warm(memory, run, found, theta)
    rests = [vote.best.id for vote in votes]
    if warm is not None:
        options["warm_start"] = warm[1]
        rests = [warm[0], *(i for i in rests if i != warm[0])]
    total = sum(vote.weight for vote in votes)
    return Advice(run.method, options, factor, tuple(rests), total, found, tried, _told(votes, factor, closed, memory))


def _told(
    votes: list[Vote], factor: dict[str, float], closed: dict[str, float], memory: RunMemory | None
) -> tuple[str]:
    """In one line, what the advice rests on and how sure it is."""
    formula = "the closed form at the curvature found" if closed else "the defaults"
    if memory is None:
        return (f"rests on {formula}: no memory of runs is on (%metagd remember)",)
    if not votes:
        return (f"rests on {formula}: nothing like this is remembered",)
    runs = ", ".join(f"#{vote.best.id}" for vote in votes[:5]) + (" …" if len(votes) > 5 else "")
    sure = max(factor.values(), default=1.0)
    word = "sure" if sure < 1.5 and len(votes) > 2 else "fairly sure" if sure < 3 else "unsure"
    count = f"{len(votes)} past problem{'s' * (len(votes) != 1)}"
    return (f"rests on {count} ({runs}) and {formula}; {word}: within ×{sure:.2g}",)


# ---- what the memory says -------------------------------------------------------------------------------------------


def _votes(memory: RunMemory | None, run: Run, found: ProblemFeatures) -> list[Vote]:
    """Past problems that look like this one, the most alike first, each with the run that went best on it."""
    if memory is None:
        return []
    problems: dict[str, list[Past]] = {}
    for past in memory.past(run.method, choices_of(run.algorithm)):
        problems.setdefault(past.problem, []).append(past)
    here, votes = found.place(), []
    for runs in problems.values():
        away = (runs[0].features.place() - here) / WITHIN
        likeness = math.exp(-0.5 * float(away @ away))
        tried = len({tuple(past.settings.get(name, 0.0) for name in TUNED) for past in runs})
        best = min(runs, key=lambda past: _score(past, runs))
        if likeness >= LEAST and math.isfinite(_score(best, runs)):
            votes.append(Vote(likeness * tried / (tried + 1), best))  # the best of one tells little
    return sorted(votes, key=lambda vote: -vote.weight)


def _score(past: Past, among: list[Past]) -> float:
    """How a run went, against others on the same problem: mean log-loss over log-spaced evaluations; less is better.

    The evaluations are the last nine tenths of those that the longest of them spent, for where a rate leads counts more
    than how its first steps look. A run that ended early because it was good enough keeps its last loss; one that
    diverged counts as infinite.
    """
    if past.stopped == "diverged":
        return math.inf
    spent, loss = past.curve[:, 0], past.curve[:, 1]
    most = max(other.curve[-1, 0] for other in among)
    grid = np.geomspace(max(spent[0], LATE * most, 1.0), max(most, 2.0), 50)
    left = np.maximum(loss / max(abs(loss[0]), 1e-300), 1e-12)
    return float(np.interp(np.log(grid), np.log(np.maximum(spent, 1.0)), np.log(left)).mean())


def _by_curvature(run: Run, name: str) -> bool:
    """Whether a setting is a rate that means something only against the problem's curvature."""
    algorithm = run.algorithm
    if name == "inner_lr":
        return True
    if name == "meta_lr":
        return getattr(algorithm, "outer", "") != "adam"
    return name == "lr" and run.method != "adam" and getattr(algorithm, "rule", "") != "adam"


def _mean(
    name: str, votes: list[Vote], closed: dict[str, float], run: Run, found: ProblemFeatures
) -> tuple[float, float]:
    """Weighted mean of a setting over past problems and the closed form, and about how far off it may be (×)."""
    scale = found.top if _by_curvature(run, name) else 1.0
    into, back = (_logit, _expit) if name == "momentum" else (math.log, math.exp)
    said = [(PRIOR, into(_positive(name, closed.get(name, float(getattr(run.algorithm, name))) * scale)))]
    for vote in votes:
        past = vote.best.settings[name] * (vote.best.features.top if scale != 1.0 else 1.0)
        said.append((vote.weight, into(_positive(name, past))))
    weights, values = np.array(said).T
    mean = float(weights @ values / weights.sum())
    variance = float(weights @ (values - mean) ** 2 / weights.sum())
    unsure = 1.0 / weights.sum() if name not in closed else 0.25 / weights.sum()  # one opinion is no certainty
    return back(mean) / scale, math.exp(math.sqrt(variance + 0.25 * unsure))


def _positive(name: str, value: float) -> float:
    return min(max(value, 1e-4), 1 - 1e-4) if name == "momentum" else max(value, 1e-12)


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _steps(run: Run, votes: list[Vote], found: ProblemFeatures) -> int | None:
    """Steps by which like problems had made 99 % of their way, with half as many again; in closed form for descent."""
    if votes:
        weights = np.array([vote.weight for vote in votes])
        taken = [math.log(max(_settled(vote.best), 1)) for vote in votes]
        return _round(1.5 * math.exp(float(weights @ taken / weights.sum())))
    if run.method in ("gd", "momentum") and found.condition > 1:
        kappa = found.condition if run.method == "gd" else math.sqrt(found.condition)
        return _round(math.log(SOLVED) / 2 / math.log((kappa - 1) / (kappa + 1)))
    return None


def _settled(past: Past) -> float:
    """The step at which a run had made 99 % of its way down, on a log scale."""
    spent, loss = past.curve.T
    left = np.log(np.maximum(loss, 1e-300))
    low = left.min()
    row = int(np.argmax(left <= left[0] + 0.99 * (low - left[0])))
    each = max(spent[0], 1.0)  # the first row is one step's worth
    return float(spent[row] / each)


def _round(steps: float) -> int:
    """Two digits are all that an estimate has."""
    steps = min(max(steps, 10.0), 1e6)
    unit = 10 ** max(math.floor(math.log10(steps)) - 1, 0)
    return int(math.ceil(steps / unit) * unit)


def _warm(
    memory: RunMemory | None, run: Run, found: ProblemFeatures, theta: Array
) -> tuple[tuple[int, Array] | None, int]:
    """The remembered parameters, of the same names and shapes, at which this problem's loss is least; and the cost."""
    if memory is None:
        return None, 0
    here, layout = found.place(), layout_of(run.problem)
    fits = [past for past in memory.past() if past.layout == layout and past.theta is not None]
    fits.sort(key=lambda past: float(np.linalg.norm(past.features.place() - here)))
    own, count = _start_loss(run, theta), 0
    best: tuple[int, Array] | None = None
    least = BETTER * own[0]
    for past in fits[:WARM]:
        assert past.theta is not None
        loss, cost = _start_loss(run, past.theta.astype(run.problem.dtype))
        count += cost
        if loss < least:
            least, best = loss, (past.id, past.theta)
    return best, count + (own[1] if fits else 0)


def _start_loss(run: Run, theta: Array) -> tuple[float, int]:
    """The loss that a run would begin with at ``theta`` (P,), on one batch, and its cost."""
    algorithm, batch = run.algorithm, run.plan.batches(0)
    with np.errstate(all="ignore"):
        if isinstance(algorithm, Meta):
            lifted = algorithm.init_parameters(run.problem, theta, run.plan.tasks)
            phi = algorithm.adapt(run.problem, lifted, batch.support)
            loss = float(np.mean(run.problem.linearize(phi, batch.query).loss))
            return (loss if math.isfinite(loss) else math.inf), len(batch) * (algorithm.inner_steps + 1)
        loss = float(run.problem.linearize(theta, batch).loss[0])
        return (loss if math.isfinite(loss) else math.inf), 1


# ---- what is known without it ---------------------------------------------------------------------------------------


def _closed_form(run: Run, found: ProblemFeatures) -> dict[str, float]:
    """The best settings on a quadratic with the spectrum found; for adaptation, the rate 1/L.

    gd: 2/(L+μ). Heavy ball: η = 4/(√L+√μ)², β = ((√L−√μ)/(√L+√μ))² (Polyak 1964). Ritz values lie inside the
    spectrum, so L is taken 2 % larger.
    """
    top, bottom = 1.02 * found.top, min(found.bottom, found.top)
    if isinstance(run.algorithm, Meta):
        return {"inner_lr": 1 / top}
    if run.method == "momentum":
        root, low = math.sqrt(top), math.sqrt(bottom)
        return {"lr": 4 / (root + low) ** 2, "momentum": ((root - low) / (root + low)) ** 2}
    if _by_curvature(run, "lr"):
        return {"lr": 2 / (top + bottom) if run.method == "gd" else 1 / top}
    return {}
