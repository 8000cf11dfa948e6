"""Which kind of task is this? Answered from a support set alone, with a probability, or "unlike anything seen"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import MetagdError, shorten, unknown_name
from ..core.hyperparameters import check_float, check_int
from ..core.statistics import measure_calibration, normal_half_width
from ..models.logistic import Classifier
from ..models.net import Net, mlp
from ..problems.closed_form.mlp import NetProblem
from ..problems.factory import check_shapes
from ..tasks import Batch, Tasks
from ..tasks.meta_features import Standardizer, support_meta_features
from ..tasks.validation import numbers_2d, refuse_unequal
from .task_embedding import Embedding, embed

Array = np.ndarray
WAYS = ("features", "curvature")
AXES = 12  # of movement and of curvature each
UNLIKE = "unlike anything seen"


class Recognition(NamedTuple):
    """The answer for one support set.

    Attributes
    ----------
    kind : str
        The likeliest, or "unlike anything seen".
    probabilities : dict name → float
        Of the kinds, given that it is one of them.
    distance : float
        From the nearest kind, as a multiple of the distance that counts as unlike anything seen.
    """

    kind: str
    probabilities: dict[str, float]
    distance: float

    def __repr__(self) -> str:
        told = ", ".join(f"{kind} {p:.2f}" for kind, p in sorted(self.probabilities.items(), key=lambda kp: -kp[1]))
        return f"{self.kind} ({told}; distance {self.distance:.2f})"


@dataclass(frozen=True)
class Recognised:
    """How well kinds are recognised over many tasks.

    Attributes
    ----------
    kinds : tuple of str
    confusion : array (G, G)
        Tasks of kind i that were taken for kind j.
    accuracy, interval : float
        Share taken for what they are; half-width of its 95 % interval.
    log_loss, ece : float
        Of the probabilities: mean −log p of what it was, and the expected calibration error (Naeini et al. 2015).
    confidence, right, count : array (B,)
        For each bin of the largest probability: its mean, the share that was right, and how many tasks.
    alarms : float
        Share of these tasks called unlike anything seen.
    """

    kinds: tuple[str, ...]
    confusion: Array
    accuracy: float
    interval: float
    log_loss: float
    ece: float
    confidence: Array
    right: Array
    count: Array
    alarms: float

    def __repr__(self) -> str:
        return (
            f"{self.accuracy:.3f} ± {self.interval:.3f} of {self.confusion.sum()} tasks recognised, log-loss"
            f" {self.log_loss:.3f}, calibration error {self.ece:.3f}, {self.alarms:.1%} called unlike anything seen"
        )


def judged(probabilities: Array, kind: Array, unlike: Array, kinds: tuple[str, ...]) -> Recognised:
    """Scores of probabilities (T, G) for tasks of kind (T,), of which some were called ``unlike`` (T,)."""
    taken = probabilities.argmax(axis=1)
    hit = taken == kind
    confusion = np.zeros((len(kinds), len(kinds)), int)
    np.add.at(confusion, (kind, taken), 1)
    found = measure_calibration(probabilities, kind)
    return Recognised(
        kinds,
        confusion,
        float(hit.mean()),
        normal_half_width(hit),
        found.log_loss,
        found.ece,
        found.confidence,
        found.right,
        found.count,
        float(unlike.mean()),
    )


def _principal(block: Array) -> tuple[Array, Array]:
    """The mean (P,) of a block (T, P), and the ``AXES`` directions (A, P) along which it varies most."""
    mean = block.mean(0)
    return mean, np.linalg.svd(block - mean, full_matrices=False)[2][:AXES]


class Reader:
    """From support sets to features (T, F): what was learned of their scale, and of the directions that vary."""

    def __init__(self, by: str, seen: Batch, model: Net | None) -> None:
        self.by, self.scale = by, Standardizer.of(seen)
        if by == "curvature":
            net = model or mlp(seen.x.shape[-1], 16, 16, seen.y.shape[-1], activation="tanh")
            self.problem = NetProblem(net)
            rng = np.random.default_rng(3)
            self.theta = self.problem.start(rng)
            for name, view in net.layout.views(self.theta).items():
                if name.startswith("b"):  # biases of zero would leave every unit's kink at the middle
                    view[...] = rng.uniform(-1.5, 1.5, view.shape)
            self._axes = [_principal(block) for block in self._blocks(self._embed(seen))]

    def _embed(self, support: Batch) -> Embedding:
        found = embed(self.problem, self.theta, Batch(*self.scale.apply(support)))
        if not all(np.isfinite(part).all() for part in found):
            raise MetagdError(f"diverges when it is adapted: {self.problem.net!r}; choose a smaller one", "model")
        return found

    def _blocks(self, found: Embedding) -> tuple[Array, Array]:
        """Where it moved, and the curvature with its sign on a log scale: (T, P) both."""
        return found.moved, np.sign(found.curvature) * np.log1p(100 * np.abs(found.curvature))

    def __call__(self, support: Batch) -> Array:
        """(T, F)"""
        if self.by == "features":
            return support_meta_features(support, self.scale)
        found = self._embed(support)
        blocks = zip(self._blocks(found), self._axes, strict=True)
        main = [(block - mean) @ axes.T for block, (mean, axes) in blocks]
        return np.concatenate([np.log(found.loss + 1e-3), *main], axis=1)


class Recogniser:
    """What has learned to tell kinds apart; see `recognise`. Called with x and y it gives a `Recognition`."""

    def __init__(
        self, tasks: Tasks, by: str, shots: int, n_tasks: int, false_alarm: float, model: Any, seed: int
    ) -> None:
        self.tasks, self.kinds, self.by, self.shots, self.false_alarm = tasks, tasks.kinds, by, shots, false_alarm
        rng = np.random.default_rng([seed, 0x4B])  # no stream that training draws from
        seen, held = (tasks.sample(rng, 1, n, shots, 1).support for n in (n_tasks, max(n_tasks // 2, 200)))
        assert seen.kind is not None
        assert held.kind is not None
        if missing := set(range(len(self.kinds))) - set(seen.kind.tolist()):
            raise MetagdError(f"deals none of kind {self.kinds[min(missing)]}: {tasks!r}", "tasks")
        self._read = Reader(by, seen, model)
        told, told_held = self._read(seen), self._read(held)
        self.classifier = Classifier.learned(told, seen.kind, told_held, held.kind, len(self.kinds))
        self._near = [self._law(told[seen.kind == g]) for g in range(len(self.kinds))]
        self.threshold = 1.0
        distances = np.sort(self._distance(told_held))
        # A new task of a known kind is as likely past the r-th smallest of n as 1 − r/(n+1)
        rank = int(np.ceil((1 - false_alarm) * (len(distances) + 1)))
        self.threshold = float(distances[min(rank, len(distances)) - 1])

    def __repr__(self) -> str:
        return f"recogniser of {', '.join(self.kinds)} by {self.by} from {self.shots} points"

    def _standard(self, features: Array) -> Array:
        return np.asarray((features - self.classifier.mean) / self.classifier.scale)

    def _law(self, features: Array) -> tuple[Array, Array]:
        """Mean and inverse covariance of one kind's features, the covariance mixed with a tenth of the identity."""
        own = self._standard(features)
        covariance = np.cov(own.T) if len(own) > 1 else np.zeros((own.shape[1], own.shape[1]))
        return own.mean(0), np.linalg.inv(0.9 * covariance + 0.1 * np.eye(own.shape[1]))

    def _distance(self, features: Array) -> Array:
        """Mahalanobis distance (T,) to the nearest kind, as a multiple of the threshold."""
        own = self._standard(features)
        squares = [np.einsum("tf,fg,tg->t", own - mean, inverse, own - mean) for mean, inverse in self._near]
        return np.asarray(np.sqrt(np.min(squares, axis=0)) / self.threshold)

    def probabilities(self, support: Batch) -> Array:
        """Of the kinds (T, G), from support sets."""
        return self.classifier.probabilities(self._read(support))

    def unlike(self, support: Batch) -> Array:
        """Whether each task (T,) is unlike anything seen."""
        return np.asarray(self._distance(self._read(support)) > 1)

    def __call__(self, x: Any, y: Any) -> Recognition:
        """Which kind of task has these points, ``x`` (K,) or (K, D) and ``y`` (K,) or (K, C)?"""
        inputs, wanted = numbers_2d(x, "x"), numbers_2d(y, "y")
        refuse_unequal("points", x=inputs, y=wanted)
        for what, got, known in (("x", inputs, self.tasks.inputs), ("y", wanted, self.tasks.outputs)):
            if got.shape[1] != known:
                raise MetagdError(f"has {got.shape[1]} columns; the tasks have {known}", what)
        features = self._read(Batch(inputs[None], wanted[None]))
        p, distance = self.classifier.probabilities(features)[0], float(self._distance(features)[0])
        kind = UNLIKE if distance > 1 else self.kinds[int(p.argmax())]
        return Recognition(kind, dict(zip(self.kinds, p.tolist(), strict=True)), distance)

    def evaluate(self, tasks: Tasks | None = None, n_tasks: int = 2000, seed: int = 1) -> Recognised:
        """Scores on new tasks of the same kinds, whose number of points may differ from those learned from."""
        support = self._new(self.tasks if tasks is None else tasks, n_tasks, seed)
        if support.kind is None or (tasks is not None and tasks.kinds != self.kinds):
            raise MetagdError(f"must deal tasks of the kinds {', '.join(self.kinds)}", "tasks")
        features = self._read(support)
        p = self.classifier.probabilities(features)
        return judged(p, support.kind, self._distance(features) > 1, self.kinds)

    def alarms(self, tasks: Tasks, n_tasks: int = 1000, seed: int = 1) -> tuple[float, float]:
        """Share of a family's tasks called unlike anything seen, and the half-width of its 95 % interval."""
        called = self.unlike(self._new(tasks, n_tasks, seed))
        return float(called.mean()), normal_half_width(called)

    def _new(self, tasks: Tasks, n_tasks: int, seed: int) -> Batch:
        if not isinstance(tasks, Tasks) or (tasks.inputs, tasks.outputs) != (self.tasks.inputs, self.tasks.outputs):
            raise MetagdError(f"{shorten(tasks)} is no family with the inputs and outputs of {self.tasks!r}", "tasks")
        n_tasks, seed = check_int(n_tasks, "n_tasks", 2), check_int(seed, "seed", 0)
        return tasks.sample(np.random.default_rng([seed, n_tasks, 0x4E]), 1, n_tasks, self.shots, 1).support


def recognise(
    tasks: Tasks,
    by: str = "features",
    shots: int = 10,
    n_tasks: int = 4000,
    false_alarm: float = 0.05,
    model: Net | None = None,
    seed: int = 0,
) -> Recogniser:
    """Learn to tell the kinds of a family apart from ``shots`` points: a logistic regression with products.

    >>> tell = recognise(mixed("sinusoid", "line", noise=0.0), shots=5)
    >>> tell([-4, -2, 0, 1, 4], [-4, -2, 0, 1, 4]).kind
    'line'

    Parameters
    ----------
    tasks : Tasks
        A family whose tasks know their kind, such as `mixed`.
    by : "features" | "curvature"
        Meta-features of the support set, or gradients and curvature along the adaptation of a small network.
    n_tasks : int
        Tasks to learn from; half as many more fit the temperature of the probabilities and the threshold.
    false_alarm : float
        Share of tasks of the known kinds that may be called unlike anything seen.
    model : Net, optional
        The network of ``by="curvature"``; by default two layers of 16 tanh units.

    Raises
    ------
    MetagdError
        For a family without kinds, and for settings out of range.
    """
    if by not in WAYS:
        raise unknown_name("way", str(by), WAYS)
    if not isinstance(tasks, Tasks) or len(tasks.kinds) < 2:
        raise MetagdError(f"{shorten(tasks)} does not have two kinds or more; mixed() does", "tasks")
    if not 0 < check_float(false_alarm, "false_alarm", low=0) < 1:
        raise MetagdError(f"{false_alarm!r} is not allowed; needs a number > 0 and < 1", "false_alarm")
    if model is not None:
        check_shapes(model, tasks.inputs, tasks.outputs, "the tasks")
    shots, n_tasks = check_int(shots, "shots", 1), check_int(n_tasks, "n_tasks", 20 * len(tasks.kinds))
    return Recogniser(tasks, by, shots, n_tasks, false_alarm, model, check_int(seed, "seed", 0))
