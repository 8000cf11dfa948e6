"""Multimodal MAML: an initialization for every kind of task, mixed by the probabilities of the kinds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..core.array_api import is_concrete, namespace
from ..core.errors import MetagdError
from ..core.hyperparameters import hyperparameter
from ..core.parameters import ParameterLayout
from ..models.logistic import Classifier, expansion, softmax
from ..problems.base import Problem
from ..tasks import Batch, TaskBatch, Tasks
from ..tasks import meta_features as supports
from .base import MetaGradient
from .inner_loop import Parameters, pull_back, unroll
from .meta import Meta
from .theta import NOTHING

Array = np.ndarray
SEEN, HELD_OUT = 2000, 1000  # tasks that fit the recogniser's weights, and tasks that fit its temperature


def recogniser_layout(inputs: int, outputs: int, kinds: int) -> ParameterLayout:
    """Return the slices of a recogniser of support sets; the last one holds the number of kinds."""
    own = len(supports.NAMES)
    ends = {"x_mean": (inputs,), "x_scale": (inputs,), "y_mean": (outputs,), "y_scale": (outputs,)}
    return ParameterLayout({**ends, "mean": (own,), "scale": (own,), "weights": (expansion(own), kinds), "kinds": ()})


def learn_to_recognise(tasks: Tasks, shots: int) -> Array:
    """Return a recogniser (R,) of the kinds of a family.

    It is a logistic regression on meta-features of the support set, with a temperature; `recogniser_layout` names its
    slices.
    """
    rng = np.random.default_rng([0x4D, shots])  # no stream that training draws from
    seen, held_out = (tasks.sample(rng, 1, n, shots, 1).support for n in (SEEN, HELD_OUT))
    assert seen.kind is not None
    assert held_out.kind is not None
    scale, kinds = supports.Standardizer.of(seen), len(tasks.kinds)
    features, held_features = (supports.support_meta_features(batch, scale) for batch in (seen, held_out))
    classifier = Classifier.learned(features, seen.kind, held_features, held_out.kind, kinds)
    parts = {**scale._asdict(), **classifier._asdict(), "kinds": np.array(kinds)}
    return recogniser_layout(tasks.inputs, tasks.outputs, kinds).flatten(parts)


@dataclass(frozen=True)
class Multimodal(Meta):
    """Multimodal MAML: a start for each kind of task, mixed by how likely the kind is.

    Adaptation begins at θ + Σ_g p_g δ_g, where p are the probabilities of the kinds given the support set. The
    meta-gradient in θ is MAML's, the mean over tasks of v; that in δ_g is the mean of p_g v; that in the log-odds
    of g is p_g (δ_g − Σ p δ)·v, used with ``kinds="learned"``. Every δ begins at zero. Where the paper modulates one
    start by a network that reads the support set, the recogniser here is a logistic regression on meta-features,
    fitted before the first step. Without kinds, or with one, the method is MAML.
    """

    source: ClassVar[str] = "Vuorio et al. 2019 (a mixture of starts in place of their modulation network)"

    kinds: str = hyperparameter(
        "recognised",
        "a task's kind: recognised in its support set; the same, and learned on; or told",
        choices=("recognised", "learned", "told"),
    )
    family: tuple[int, int, int] = dataclasses.field(default=(0, 0, 0), repr=False)  # kinds G, inputs, outputs: `bind`

    def bind(self, tasks: Tasks | None) -> Self:
        if tasks is None or len(tasks.kinds) < 2:
            return dataclasses.replace(self, family=(0, 0, 0))
        return dataclasses.replace(self, family=(len(tasks.kinds), tasks.inputs, tasks.outputs))

    def extra_layout(self, problem: Problem) -> ParameterLayout:
        kinds, inputs, outputs = self.family
        if not kinds:
            return NOTHING
        return ParameterLayout(
            {"offsets": (kinds, problem.layout.size), **recogniser_layout(inputs, outputs, kinds).shapes}
        )

    def constants(self) -> tuple[str, ...]:
        learned = ("weights",) if self.kinds == "learned" else ()
        return tuple(name for name in recogniser_layout(0, 0, 0).shapes if name not in learned)

    def init_parameters(self, problem: Problem, theta: Array, tasks: Tasks | None = None) -> Array:
        if self.bind(tasks) != self:
            raise TypeError("the method is bound to other tasks; call bind(tasks) first")
        if tasks is None or not self.family[0]:
            return theta
        recogniser = learn_to_recognise(tasks, self.shots).astype(theta.dtype)
        return np.concatenate([theta, np.zeros(len(tasks.kinds) * len(theta), theta.dtype), recogniser])

    def _weigh(self, problem: Problem, theta: Array, support: Batch) -> tuple[Array, Array]:
        """Return the probabilities of the kinds (T, G) and the recogniser's features of the support sets (T, E)."""
        kinds, unread = self.family[0], np.zeros((len(support), 0))
        if not kinds:
            return unread.astype(theta.dtype), unread
        if self.kinds == "told":
            if support.kind is None:
                raise MetagdError("'told' needs tasks that know their kind, such as mixed()", "kinds")
            if is_concrete(support.kind) and support.kind.max() >= kinds:
                raise MetagdError(f"'told' of {kinds} kinds cannot be told of kind {support.kind.max() + 1}", "kinds")
            return namespace(theta).eye(kinds, dtype=theta.dtype)[support.kind], unread
        learned = self.extras(problem, theta)
        scale = supports.Standardizer(*(learned[name] for name in supports.Standardizer._fields))
        classifier = Classifier(*(learned[name] for name in Classifier._fields))
        read = classifier.read(supports.support_meta_features(support, scale))
        return softmax(read @ classifier.weights).astype(theta.dtype), read

    def recognise(self, problem: Problem, theta: Array, support: Batch) -> Array:
        """Return the probabilities of the kinds (T, G) from support sets alone; (T, 0) without kinds."""
        return self._weigh(problem, theta, support)[0]

    def _begin(self, problem: Problem, theta: Array, weight: Array) -> Array:
        """Return the parameters where each task's adaptation begins: (T, P), or (P,) without kinds."""
        shared = theta[: problem.layout.size]
        return shared + weight @ self.extras(problem, theta)["offsets"] if weight.size else shared

    def path(self, problem: Problem, theta: Array, support: Batch, steps: int) -> Iterator[Parameters]:
        begin = self._begin(problem, theta, self.recognise(problem, theta, support))
        return super().path(problem, begin, support, steps)

    def meta_gradient(self, problem: Problem, theta: Array, batch: TaskBatch) -> MetaGradient:
        weight, read = self._weigh(problem, theta, batch.support)
        phi, rates = self.start(problem, self._begin(problem, theta, weight), self.inner_steps)
        passed, phis = unroll(problem, phi, batch.support, rates)
        query = problem.linearize(phis[-1], batch.query)
        v, _ = pull_back(passed, rates, query.grad, learns=False)
        found = {"offsets": weight.T @ v / len(v)} if weight.size else {}
        if weight.size and self.kinds == "learned":
            along = v @ self.extras(problem, theta)["offsets"].T  # (T, G), slope of the loss along each offset
            odds = weight * (along - (weight * along).sum(axis=1, keepdims=True))
            found["weights"] = (read.T @ odds / len(v)).astype(theta.dtype)
        rest = [  # the other slices of the recogniser do not learn
            found[name].reshape(-1) if name in found else np.zeros(math.prod(shape), theta.dtype)
            for name, shape in self.extra_layout(problem).shapes.items()
        ]
        grad = namespace(v).concatenate([v.mean(axis=0), *rest])
        return MetaGradient(query.loss, grad, self.inner_steps + 1, self.inner_steps)

    def learned(self, problem: Problem, theta: Array) -> dict[str, Array]:
        """Return ``starts`` (G, P), one for each kind; `Run.params` are the part that they share."""
        size = problem.layout.size
        if len(theta) == size:
            return {}
        kinds = int(theta[-1])  # a run that was loaded without its tasks is not bound to them
        return {"starts": theta[:size] + theta[size : size + kinds * size].reshape(kinds, size)}
