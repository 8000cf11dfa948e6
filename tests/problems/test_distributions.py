"""scipy.stats in a loss: keywords, location and scale, frozen distributions; derivatives against differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg

stats = pytest.importorskip("scipy.stats")
norm = stats.norm
d = np.random.default_rng(0).normal(2, 3, 30)
sizes = np.abs(d) + 0.1
counts = sizes.astype(int)
prior, wide = norm(0, 2), stats.t(5, scale=3)

LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "keywords": lambda m, s: -np.mean(norm.logpdf(d, loc=m, scale=np.exp(s))),
    "positions": lambda m, s: -np.mean(norm.logpdf(d, m, np.exp(s))),
    "both": lambda m, s: -np.mean(stats.norm.logpdf(d, m, scale=np.exp(s))),
    "x by keyword": lambda m, s: -np.mean(stats.norm.logpdf(x=d, loc=m, scale=np.exp(s))),
    "density": lambda m, s: -np.mean(np.log(norm.pdf(d, loc=m, scale=np.exp(s)))),
    "distribution function": lambda m, s: np.mean(norm.cdf(d, loc=m, scale=np.exp(s)) ** 2),
    "survival": lambda m, s: np.mean(norm.logsf(d, loc=m, scale=np.exp(s)) ** 2),
    "frozen": lambda m, s: -np.mean(norm(loc=m, scale=np.exp(s)).logpdf(d)),
    "frozen by position": lambda m, s: -np.mean(stats.norm(m, np.exp(s)).logpdf(d)),
    "frozen outside": lambda m, s: -prior.logpdf(m) - wide.logpdf(s),
    "t": lambda m, s: -np.mean(stats.t.logpdf(d, df=5, loc=m, scale=np.exp(s))),
    "gamma": lambda m, s: -np.mean(stats.gamma.logpdf(sizes + m**2, a=2.0, scale=np.exp(s))),
    "beta": lambda m, s: -np.mean(stats.beta.logpdf(sizes / 20, a=np.exp(m), b=np.exp(s))),
    "chi2": lambda m, s: -np.mean(stats.chi2.logpdf(sizes + m**2, 3, scale=np.exp(s))),
    "poisson": lambda m, s: -np.mean(stats.poisson.logpmf(counts, mu=np.exp(m) + s**2)),
    "a list": lambda m, s: -np.mean(norm.logpdf([1.0, 2.0], loc=m, scale=np.exp(s))),
    "several": lambda m, s: (
        -np.mean(stats.multivariate_normal.logpdf(d[:, None], mean=m * np.ones(1), cov=np.exp(s) * np.eye(1)))
    ),
}


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("name", LOSSES)
def test_values_and_derivatives(name: str, backend: str) -> None:
    if backend == "jax":
        pytest.importorskip("jax")
    loss, at, rate = LOSSES[name], (0.4, 0.3), 1e-3
    run = mg.train("gd", loss=loss, params=dict(zip("ms", at, strict=True)), lr=rate, steps=1, backend=backend)
    assert run.record["loss"][0] == pytest.approx(float(loss(*at)), rel=1e-10)
    for i, p in enumerate("ms"):
        ahead, behind = ([*at], [*at])
        ahead[i] += 1e-5
        behind[i] -= 1e-5
        slope = (loss(*ahead) - loss(*behind)) / 2e-5
        assert (at[i] - run.params[p]) / rate == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_what_cannot_be_followed_is_named() -> None:
    with pytest.raises(mg.MetagdError, match=r"scipy\.stats\.norm\.ppf \(line \d+\) has no automatic derivative"):
        mg.train("gd", loss=lambda w: norm.ppf(w) ** 2, params={"w": 0.4})
    with pytest.raises(mg.MetagdError, match="write it with NumPy"):
        mg.train("gd", loss=lambda w: -stats.expon.logpdf(w), params={"w": 0.4})
    with pytest.raises(TypeError, match="unexpected"):
        mg.train("gd", loss=lambda w: norm.logpdf(w, mean=w), params={"w": 0.4})


def test_what_is_not_traced_is_scipys_own() -> None:
    def loss(w: Any) -> Any:
        return (w - norm.ppf(0.975) - norm(1).mean() + norm.interval(0.5)[0] * 0) ** 2

    assert mg.train("gd", loss=loss, params={"w": 0.0}, lr=0.5, steps=5).params["w"] == pytest.approx(2.96, abs=1e-3)
