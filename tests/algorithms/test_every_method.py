"""Every row of ``ALGORITHMS``: its reference value and the central differences of its objective, from every source."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from cases import META, METHODS
from methods import META_SOURCES, SINGLE_SOURCES, check_direction, check_reference, variants

from metagd_nb.algorithms import ALGORITHMS
from metagd_nb.algorithms.base import MetaGradient
from metagd_nb.algorithms.reference import REFERENCE

HAS_JAX = importlib.util.find_spec("jax") is not None


def cases() -> list[Any]:
    """Method, source and variant: all variants on the built-in model, the default settings on every other source."""
    found = []
    for method in METHODS:
        cls = ALGORITHMS[method]
        for source in META_SOURCES if method in META else SINGLE_SOURCES:
            if source.endswith("quadratics") and getattr(cls, "embeds", False):
                continue  # quadratics have no features
            if source.startswith("JAX") and not (HAS_JAX and cls.compiles):
                continue
            for variant in variants(method) if source == "built-in model" else [{}]:
                told = " ".join([method, source, *(f"{k}={v}" for k, v in variant.items())])
                marks = [pytest.mark.slow] if source.startswith("JAX") else []  # compiles
                found.append(pytest.param(method, source, variant, id=told, marks=marks))
    return found


def test_every_method_has_a_reference_value() -> None:
    assert REFERENCE.keys() == ALGORITHMS.keys()


@pytest.mark.parametrize("method", METHODS)
def test_reference_value(method: str) -> None:
    check_reference(method, REFERENCE[method])


@pytest.mark.parametrize(("method", "source", "variant"), cases())
def test_direction(method: str, source: str, variant: dict[str, str]) -> None:
    check_direction(method, source, **variant)


def wrong(method: str, fault: str) -> Any:
    """A class that is almost ``method``."""
    right: Any = ALGORITHMS[method]

    class Wrong(right):  # type: ignore[misc]
        def meta_gradient(self, problem: Any, theta: Any, batch: Any) -> MetaGradient:
            found: MetaGradient = super().meta_gradient(problem, theta, batch)
            if fault == "first order":
                query = problem.linearize(self.adapt(problem, theta, batch.support), batch.query)
                return found._replace(grad=query.grad.mean(axis=0))
            if fault == "one number":
                return found._replace(grad=found.grad + 1e-3 * np.eye(len(theta))[-1])
            return found._replace(grad=float(fault) * found.grad)

    return Wrong


@pytest.mark.parametrize("fault", ["-1.5", "1.001", "first order", "one number"])
@pytest.mark.parametrize("method", ["maml", "boil", "multimodal", "meta-sgd", "imaml", "fomaml", "reptile"])
def test_a_wrong_row_is_noticed(method: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that is added to the table is checked without a test of its own."""
    if fault == "first order" and method in ("fomaml", "reptile", "meta-sgd", "multimodal"):
        pytest.skip("is right, or has another length")
    monkeypatch.setitem(ALGORITHMS, "mine", wrong(method, fault))
    monkeypatch.setitem(REFERENCE, "mine", REFERENCE[method])
    with pytest.raises(AssertionError):
        check_direction("mine", "built-in model")
    monkeypatch.setitem(ALGORITHMS, "mine", wrong(method, "1"))  # the fault is what was noticed
    check_direction("mine", "built-in model")
