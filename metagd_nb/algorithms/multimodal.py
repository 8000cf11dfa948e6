"""Multimodal MAML: a start for every kind of task, mixed by what the support set looks like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..core.array_api import is_concrete, namespace
from ..core.errors import MetagdError
from ..core.hyperparameters import hyperparameter
from ..core.parameters import ParameterLayout
from ..models.logistic import Classifier, expansion, softmax
from ..problems.base import Problem
from ..tasks import Batch, TaskBatch, Tasks
from ..tasks import meta_features as supports
from .base import Meta, MetaGradient
from .maml import pull_back

Array = np.ndarray
SEEN, HELD_OUT = 2000, 1000  # tasks from which the recogniser learns kinds, and its temperature


def recogniser_layout(inputs: int, outputs: int, kinds: int) -> ParameterLayout:
    """What a recogniser of support sets is made of, as slices of a flat vector; the last holds how many kinds."""
    own = len(supports.NAMES)
    ends = {"x_mean": (inputs,), "x_scale": (inputs,), "y_mean": (outputs,), "y_scale": (outputs,)}
    return ParameterLayout({**ends, "mean": (own,), "scale": (own,), "weights": (expansion(own), kinds), "kinds": ()})


def learn_to_recognise(tasks: Tasks, shots: int) -> Array:
    """A recogniser (R,) of the kinds of a family: logistic regression on meta-features, with its temperature."""
    rng = np.random.default_rng([0x4D, shots])  # no stream that training draws from
    seen, held_out = (tasks.sample(rng, 1, n, shots, 1).support for n in (SEEN, HELD_OUT))
    assert seen.kind is not None
    assert held_out.kind is not None
    scale, kinds = supports.Standardizer.of(seen), len(tasks.kinds)
    told = (supports.support_meta_features(batch, scale) for batch in (seen, held_out))
    classifier = Classifier.learned(next(told), seen.kind, next(told), held_out.kind, kinds)
    parts = {**scale._asdict(), **classifier._asdict(), "kinds": np.array(kinds)}
    return recogniser_layout(tasks.inputs, tasks.outputs, kinds).flatten(parts)


@dataclass(frozen=True)
class Multimodal(Meta):
    """Multimodal MAML: a start for each kind of task, mixed by how likely the kind is.

    Adaptation begins at θ + Σ_g p_g δ_g, where p are the probabilities of the kinds given the support set. The
    meta-gradient in θ is MAML's, the mean over tasks of v; that in δ_g is the mean of p_g v; that in the log-odds
    of g is p_g (δ_g − Σ p δ)·v, used with ``kinds="learned"``. Every δ begins at zero. Where the paper modulates one
    start by a network that reads the support set, the recogniser here is a logistic regression on meta-features,
    fitted before the first step. Tasks of one kind, or of none that is known, make this MAML.
    """

    source: ClassVar[str] = "Vuorio et al. 2019 (a mixture of starts in place of their modulation network)"

    kinds: str = hyperparameter(
        "recognised",
        "a task's kind: recognised in its support set; the same, and learned on; or told",
        choices=("recognised", "learned", "told"),
    )

    def init_parameters(self, problem: Problem, theta: Array, tasks: Tasks | None = None) -> Array:
        if tasks is None or len(tasks.kinds) < 2:
            return theta
        is_concrete = learn_to_recognise(tasks, self.shots).astype(theta.dtype)
        return np.concatenate([theta, np.zeros(len(tasks.kinds) * len(theta), theta.dtype), is_concrete])

    def _kinds(self, problem: Problem, theta: Array, support: Batch) -> int:
        """G, from the length of ``theta`` (M,): its last entry tells too, but not while it is traced."""
        size = problem.layout.size
        if len(theta) == size:
            return 0
        none, one = (recogniser_layout(support.x.shape[-1], support.y.shape[-1], kinds).size for kinds in (0, 1))
        return (len(theta) - size - none) // (size + one - none)

    def _offsets(self, problem: Problem, theta: Array, kinds: int) -> Array:
        """What each kind adds to the shared start: (G, P), a view of ``theta`` (M,); (0, P) where kinds are none."""
        size = problem.layout.size
        return theta[size : size + kinds * size].reshape(kinds, size)

    def _known(self, problem: Problem, theta: Array, support: Batch, kinds: int) -> dict[str, Array]:
        """The recogniser: views of ``theta`` (M,)."""
        layout = recogniser_layout(support.x.shape[-1], support.y.shape[-1], kinds)
        return layout.views(theta[(1 + kinds) * problem.layout.size :])

    def _weigh(self, problem: Problem, theta: Array, support: Batch) -> tuple[Array, Array]:
        """Probabilities of the kinds (T, G), and what the recogniser read of the support sets (T, E)."""
        kinds = self._kinds(problem, theta, support)
        if not kinds:
            return np.zeros((len(support), 0), theta.dtype), np.zeros((len(support), 0))
        if self.kinds == "told":
            if support.kind is None:
                raise MetagdError("'told' needs tasks that know their kind, such as mixed()", "kinds")
            if is_concrete(support.kind) and support.kind.max() >= kinds:
                raise MetagdError(f"'told' of {kinds} kinds cannot be told of kind {support.kind.max() + 1}", "kinds")
            return namespace(theta).eye(kinds, dtype=theta.dtype)[support.kind], np.zeros((len(support), 0))
        learned = self._known(problem, theta, support, kinds)
        scale = supports.Standardizer(*(learned[name] for name in supports.Standardizer._fields))
        classifier = Classifier(*(learned[name] for name in Classifier._fields))
        read = classifier.read(supports.support_meta_features(support, scale))
        return softmax(read @ classifier.weights).astype(theta.dtype), read

    def recognise(self, problem: Problem, theta: Array, support: Batch) -> Array:
        """Probabilities of the kinds (T, G), from support sets alone; (T, 0) where there are no kinds."""
        return self._weigh(problem, theta, support)[0]

    def _begin(self, problem: Problem, theta: Array, weight: Array) -> Array:
        """Where each task starts: (T, P), or (P,) where there are no kinds."""
        shared = theta[: problem.layout.size]
        return shared + weight @ self._offsets(problem, theta, weight.shape[1]) if weight.size else shared

    def path(self, problem: Problem, theta: Array, support: Batch, steps: int) -> Iterator[Any]:
        begin = self._begin(problem, theta, self.recognise(problem, theta, support))
        return super().path(problem, begin, support, steps)

    def meta_gradient(self, problem: Problem, theta: Array, batch: TaskBatch) -> MetaGradient:
        weight, read = self._weigh(problem, theta, batch.support)
        phi: Any = self._begin(problem, theta, weight)
        rates = [self.rate(problem)] * self.inner_steps
        passed = []
        for rate in rates:
            passed.append(problem.linearize(phi, batch.support))
            phi = passed[-1].step(rate)
        query = problem.linearize(phi, batch.query)
        v, _ = pull_back(passed, rates, query.grad, learns=False)
        grad = v.mean(axis=0)
        if weight.size:
            offsets = (weight.T @ v / len(v)).reshape(-1)
            rest = self._recogniser_gradient(problem, theta, weight, read, v)
            grad = namespace(grad).concatenate([grad, offsets, rest])
        return MetaGradient(query.loss, grad, self.inner_steps + 1, self.inner_steps)

    def _recogniser_gradient(self, problem: Problem, theta: Array, weight: Array, read: Array, v: Array) -> Array:
        """(R,): zero but in the weights, and there too unless they are learned on."""
        xp = namespace(v)
        offsets = self._offsets(problem, theta, weight.shape[1])
        rest = len(theta) - problem.layout.size - offsets.size
        if self.kinds != "learned":
            return np.zeros(rest, theta.dtype)
        along = v @ offsets.T  # (T, G): how the loss changes towards each kind's start
        odds = weight * (along - (weight * along).sum(axis=1, keepdims=True))
        learned = (read.T @ odds / len(v)).reshape(-1).astype(theta.dtype)
        before, last = (np.zeros(n, theta.dtype) for n in (rest - learned.size - 1, 1))  # the number of kinds is last
        grad: Array = xp.concatenate([before, learned, last])
        return grad

    def learned(self, problem: Problem, theta: Array) -> dict[str, Array]:
        """``starts`` (G, P), one a kind; `Run.params` are what they share."""
        offsets = self._offsets(problem, theta, int(theta[-1]) if len(theta) > problem.layout.size else 0)
        return {"starts": theta[: problem.layout.size] + offsets} if len(offsets) else {}
