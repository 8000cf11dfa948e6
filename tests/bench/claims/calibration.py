"""How honest the probabilities of the medical fields are, and what forty patients can tell: parts of FIELDS.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from metagd_nb.core.statistics import half_width, measure_calibration

Array = np.ndarray
DRAWS = 4000
FORTY = 40
POOLED = "logistic regression, other hospitals pooled"
ALONE = "logistic regression"  # on one hospital's known patients
COMMONER = "share of the classes elsewhere"
SHOWN = ("`maml`", ALONE, POOLED, COMMONER)
PAIRS = (("`maml`", POOLED), ("`maml`", ALONE), (POOLED, COMMONER))
FLOOR = 1e-3  # a forest says 0 and 1; the logarithm of 0 would be all that a mean tells


class Told(NamedTuple):
    """What a method said of the patients of one hospital, draw by draw."""

    probability: Array  # (n, C)
    came: Array  # (n,) the class
    patient: Array  # (n,) which patient it was


def floored(probability: Array) -> Array:
    """No probability below `FLOOR`."""
    held = np.maximum(probability, FLOOR)
    return np.asarray(held / held.sum(axis=1, keepdims=True))


def per_hospital(told: list[Told]) -> tuple[Array, Array, Array]:
    """Accuracy, log-loss and Brier score of each hospital (H,)."""
    every = [measure_calibration(floored(one.probability), one.came) for one in told]
    right = [np.mean(one.probability.argmax(axis=1) == one.came) for one in told]
    return np.array(right), np.array([c.log_loss for c in every]), np.array([c.brier for c in every])


def ece(told: list[Told]) -> tuple[float, float, float]:
    """Calibration error over all hospitals, and its 95 % interval from drawing hospitals again."""
    rng, count = np.random.default_rng(0), len(told)
    found = [_ece(told)]
    found += [_ece([told[i] for i in rng.integers(count, size=count)]) for _ in range(400)]
    low, high = np.quantile(found[1:], (0.025, 0.975))
    return found[0], float(low), float(high)


def _ece(told: list[Told]) -> float:
    return measure_calibration(
        np.concatenate([t.probability for t in told]), np.concatenate([t.came for t in told])
    ).ece


def honest_ece(told: list[Told]) -> float:
    """The calibration error, in the mean, that these probabilities would have if they were true.

    Every patient is drawn anew, once for all that was said of that patient: so few are not right as often as it was
    said, even where it is.
    """
    rng, found = np.random.default_rng(1), []
    for _ in range(100):
        drawn = []
        for one in told:
            luck = rng.random(one.patient.max() + 1)[one.patient]
            came = (luck[:, None] > one.probability.cumsum(axis=1)).sum(axis=1)
            drawn.append(one._replace(came=np.minimum(came, one.probability.shape[1] - 1)))
        found.append(_ece(drawn))
    return float(np.mean(found))


def pm(values: Array, digits: int = 3) -> str:
    """Mean over hospitals with Student's t."""
    return f"{values.mean():.{digits}f} ± {half_width(values):.{digits}f}"


def calibration(found: dict[str, list[Told]], shots: int, reference: str = COMMONER) -> Iterator[str]:
    """The lines of a field's table."""
    yield f"Calibration with {shots} patients known: log-loss and Brier score (0 to 2), means over hospitals; the Brier"
    yield f"score against *{reference}*, hospital by hospital (negative: better); the calibration error over all,"
    yield "its interval from drawing hospitals anew, and what it would be with so few patients, were the probabilities"
    yield "true:\n"
    yield "| method | log-loss | Brier score | Brier − reference | calibration error | if they were true |"
    yield "| --- | --- | --- | --- | --- | --- |"
    base = per_hospital(found[reference])[2]
    for name, told in found.items():
        _, log, brier = per_hospital(told)
        gap = "–" if name == reference else f"{(brier - base).mean():+.3f} ± {half_width(brier - base):.3f}"
        mean, low, high = ece(told)
        error = f"{mean:.3f} ({low:.3f}…{high:.3f})"
        yield f"| {name} | {pm(log)} | {pm(brier)} | {gap} | {error} | {honest_ece(told):.3f} |"
    yield ""


# ---- forty patients -------------------------------------------------------------------------------------------------


def once(told: list[Told]) -> Told:
    """One prediction a patient: the first that was made."""
    parts = []
    for one in told:
        first = np.unique(one.patient, return_index=True)[1]
        parts.append([column[first] for column in one])
    return Told(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Forty(NamedTuple):
    """95 % ranges of what forty patients show of a method whose truth is known from all of them."""

    right: tuple[float, float, float]  # the truth, low, high
    brier: tuple[float, float, float]
    ece: tuple[float, float, float]
    honest: float  # 97.5 % point of the calibration error, were the probabilities true


def forty(told: Told, patients: int = FORTY) -> Forty:
    """Draw ``patients`` from all, again and again."""
    rng, rows = np.random.default_rng(2), []
    for _ in range(DRAWS):
        chosen = rng.integers(len(told.came), size=patients)
        p, came = told.probability[chosen], told.came[chosen]
        seen = measure_calibration(p, came)
        true = np.minimum((rng.random(patients)[:, None] > p.cumsum(axis=1)).sum(axis=1), p.shape[1] - 1)
        rows.append((np.mean(p.argmax(axis=1) == came), seen.brier, seen.ece, measure_calibration(p, true).ece))
    low, high = np.quantile(rows, (0.025, 0.975), axis=0)
    whole = measure_calibration(told.probability, told.came)
    truth = (float(np.mean(told.probability.argmax(axis=1) == told.came)), whole.brier, whole.ece)
    ranges = [(t, float(a), float(b)) for t, a, b in zip(truth, low[:3], high[:3], strict=True)]
    return Forty(*ranges, float(high[3]))


def told_apart(one: Told, other: Told) -> tuple[float, float, float]:
    """How often two methods differ in being right, and the differences that forty and four hundred patients tell apart.

    With 95 % confidence and a chance of 80 %: 2.8 standard deviations of the paired difference, √(discordant/n).
    """
    hits = [t.probability.argmax(axis=1) == t.came for t in (one, other)]
    differ = float(np.mean(hits[0] != hits[1]))
    return differ, *(2.8 * np.sqrt(max(differ, 1 / len(hits[0])) / n) for n in (FORTY, 10 * FORTY))


def needed(share: float, half: float = 0.05) -> int:
    """Patients for an interval of ± ``half`` about a share."""
    return int(np.ceil(1.96**2 * share * (1 - share) / half**2))


def limits(found: dict[str, list[Told]]) -> Iterator[str]:
    """The section on what forty patients can tell, of the methods in `SHOWN`."""
    single = {name: once(found[name]) for name in SHOWN}
    yield f"### What {FORTY} patients can tell\n"
    yield f"What each method said of the field's {len(single[POOLED].came)} patients is taken as the whole truth, and"
    yield f"{FORTY} patients are drawn from them {DRAWS:,} times: in 95 of 100 draws they show what stands in brackets."
    yield "The last columns: the calibration error that they do not exceed in 97.5 of 100 draws where the probabilities"
    yield "are true, and how many patients an accuracy to ± 5 points takes.\n"
    yield "| method | accuracy | Brier score | calibration error | not exceeded if true | for ± 5 points |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, told in single.items():
        r = forty(told)
        cells = [f"{100 * r.right[0]:.1f} ({100 * r.right[1]:.0f}…{100 * r.right[2]:.0f})"]
        cells += [f"{t:.3f} ({a:.3f}…{b:.3f})" for t, a, b in (r.brier, r.ece)]
        cells += [f"{r.honest:.3f}", str(needed(r.right[0]))]
        yield f"| {name} | {' | '.join(cells)} |"
    yield "\nTwo methods on the same patients: how often just one of them is right, and the difference in accuracy that"
    yield f"{FORTY} patients, and {10 * FORTY}, would find in four of five studies:\n"
    yield f"| methods | just one right | {FORTY} patients | {10 * FORTY} patients |"
    yield "| --- | --- | --- | --- |"
    for one, other in PAIRS:
        differ, few, many = (100 * v for v in told_apart(single[one], single[other]))
        yield f"| {one}; {other} | {differ:.1f} % | {few:.1f} points | {many:.1f} points |"
    yield ""
