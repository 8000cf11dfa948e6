"""Recognition of the kind of a task from its support set: probabilities of the kinds, or "unlike anything seen"."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import MetagdError, shorten, unknown_name
from ..core.hyperparameters import check_float, check_int
from ..core.statistics import Array, half_width
from ..models.builtin import mlp
from ..models.logistic import Classifier
from ..models.net import Net
from ..problems.closed_form.net import NetProblem
from ..problems.factory import check_shapes
from ..tasks import Batch, Tasks
from ..tasks.meta_features import Standardizer, support_meta_features
from ..tasks.validation import numbers_2d, refuse_unequal
from .recognition_scores import Recognition, RecognitionScores, score_recognition
from .task_embedding import Embedding, embed

WAYS = ("features", "curvature")
AXES = 12  # of movement and of curvature each
UNLIKE = "unlike anything seen"


def _principal(block: Array) -> tuple[Array, Array]:
    """Mean (P,) of a block (T, P), and its first ``AXES`` principal directions (A, P)."""
    mean = block.mean(0)
    return mean, np.linalg.svd(block - mean, full_matrices=False)[2][:AXES]


class FeatureReader:
    """Map from support sets to features (T, F), standardized by the tasks that it was made with.

    Parameters
    ----------
    by : "features" | "curvature"
        Meta-features, or the principal components of `task_embedding.embed`.
    seen : Batch
        Support sets of the tasks to learn from.
    model : Net or None
        The network of ``by="curvature"``.
    """

    def __init__(self, by: str, seen: Batch, model: Net | None) -> None:
        self.by, self.scale = by, Standardizer.of(seen)
        if by == "curvature":
            net = model or mlp(seen.x.shape[-1], 16, 16, seen.y.shape[-1], activation="tanh")
            self.problem = NetProblem(net)
            rng = np.random.default_rng(3)
            self.theta = self.problem.start(rng)
            for name, view in net.layout.views(self.theta).items():
                if name.startswith("b"):  # with zero biases every unit would bend at the same input
                    view[...] = rng.uniform(-1.5, 1.5, view.shape)
            self._axes = [_principal(block) for block in self._blocks(self._embed(seen))]

    def _embed(self, support: Batch) -> Embedding:
        found = embed(self.problem, self.theta, Batch(*self.scale.apply(support)))
        if not all(np.isfinite(part).all() for part in found):
            raise MetagdError(f"diverges when it is adapted: {self.problem.net!r}; choose a smaller one", "model")
        return found

    def _blocks(self, found: Embedding) -> tuple[Array, Array]:
        """Change of the parameters, and curvature on a signed log scale: (T, P) both."""
        return found.displacement, np.sign(found.curvature) * np.log1p(100 * np.abs(found.curvature))

    def __call__(self, support: Batch) -> Array:
        """Features (T, F) of support sets."""
        if self.by == "features":
            return support_meta_features(support, self.scale)
        found = self._embed(support)
        blocks = zip(self._blocks(found), self._axes, strict=True)
        main = [(block - mean) @ axes.T for block, (mean, axes) in blocks]
        return np.concatenate([np.log(found.loss + 1e-3), *main], axis=1)


class Recognizer:
    """Classifier of the kinds of a family's tasks; see `recognise`."""

    def __init__(
        self, tasks: Tasks, by: str, shots: int, n_tasks: int, false_alarm: float, model: Net | None, seed: int
    ) -> None:
        self.tasks, self.kinds, self.by, self.shots, self.false_alarm = tasks, tasks.kinds, by, shots, false_alarm
        rng = np.random.default_rng([seed, 0x4B])  # a stream that training does not use
        seen, held = (tasks.sample(rng, 1, n, shots, 1).support for n in (n_tasks, max(n_tasks // 2, 200)))
        assert seen.kind is not None
        assert held.kind is not None
        if missing := set(range(len(self.kinds))) - set(seen.kind.tolist()):
            raise MetagdError(f"deals none of kind {self.kinds[min(missing)]}: {tasks!r}", "tasks")
        self._read = FeatureReader(by, seen, model)
        features, features_held = self._read(seen), self._read(held)
        self.classifier = Classifier.learned(features, seen.kind, features_held, held.kind, len(self.kinds))
        self._gaussians = [self._gaussian(features[seen.kind == g]) for g in range(len(self.kinds))]
        self.threshold = 1.0
        distances = np.sort(self._distance(features_held))
        # a new task of a known kind lies beyond the r-th smallest of n distances with probability 1 − r/(n+1)
        rank = int(np.ceil((1 - false_alarm) * (len(distances) + 1)))
        self.threshold = float(distances[min(rank, len(distances)) - 1])

    def __repr__(self) -> str:
        return f"recogniser of {', '.join(self.kinds)} by {self.by} from {self.shots} points"

    def _standard(self, features: Array) -> Array:
        return np.asarray((features - self.classifier.mean) / self.classifier.scale)

    def _gaussian(self, features: Array) -> tuple[Array, Array]:
        """Mean and inverse covariance of one kind's features; a tenth of the covariance is the identity."""
        own = self._standard(features)
        covariance = np.cov(own.T) if len(own) > 1 else np.zeros((own.shape[1], own.shape[1]))
        return own.mean(0), np.linalg.inv(0.9 * covariance + 0.1 * np.eye(own.shape[1]))

    def _distance(self, features: Array) -> Array:
        """Mahalanobis distance (T,) to the nearest kind, as a multiple of the threshold."""
        own = self._standard(features)
        squares = [np.einsum("tf,fg,tg->t", own - mean, inverse, own - mean) for mean, inverse in self._gaussians]
        return np.asarray(np.sqrt(np.min(squares, axis=0)) / self.threshold)

    def probabilities(self, support: Batch) -> Array:
        """Probabilities (T, G) of the kinds, from support sets."""
        return self.classifier.probabilities(self._read(support))

    def unlike(self, support: Batch) -> Array:
        """True (T,) for tasks unlike anything seen."""
        return np.asarray(self._distance(self._read(support)) > 1)

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Recognition:
        """Recognize the kind of one task.

        Parameters
        ----------
        x : array (K,) or (K, D)
        y : array (K,) or (K, C)
            The task's points.

        Returns
        -------
        Recognition

        Raises
        ------
        MetagdError
            For points that do not fit each other or the tasks.
        """
        inputs, targets = numbers_2d(x, "x"), numbers_2d(y, "y")
        refuse_unequal("points", x=inputs, y=targets)
        for name, column, known in (("x", inputs, self.tasks.inputs), ("y", targets, self.tasks.outputs)):
            if column.shape[1] != known:
                raise MetagdError(f"has {column.shape[1]} columns; the tasks have {known}", name)
        features = self._read(Batch(inputs[None], targets[None]))
        p, distance = self.classifier.probabilities(features)[0], float(self._distance(features)[0])
        kind = UNLIKE if distance > 1 else self.kinds[int(p.argmax())]
        return Recognition(kind, dict(zip(self.kinds, p.tolist(), strict=True)), distance)

    def evaluate(self, tasks: Tasks | None = None, n_tasks: int = 2000, seed: int = 1) -> RecognitionScores:
        """Score the recognizer on new tasks of the same kinds.

        Parameters
        ----------
        tasks : Tasks, optional
            Default: the family that was learned from.
        n_tasks, seed : int
            Number of tasks, and seed of their drawing.

        Returns
        -------
        RecognitionScores
        """
        support = self._new(self.tasks if tasks is None else tasks, n_tasks, seed)
        if support.kind is None or (tasks is not None and tasks.kinds != self.kinds):
            raise MetagdError(f"must deal tasks of the kinds {', '.join(self.kinds)}", "tasks")
        features = self._read(support)
        p = self.classifier.probabilities(features)
        return score_recognition(p, support.kind, self._distance(features) > 1, self.kinds)

    def alarms(self, tasks: Tasks, n_tasks: int = 1000, seed: int = 1) -> tuple[float, float]:
        """Share of a family's tasks called unlike anything seen, and half-width of its 95 % interval.

        Parameters
        ----------
        tasks : Tasks
        n_tasks, seed : int
            Number of tasks, and seed of their drawing.

        Returns
        -------
        share, half_width : float
        """
        called = self.unlike(self._new(tasks, n_tasks, seed))
        return float(called.mean()), half_width(called)

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
) -> Recognizer:
    """Train a classifier of the kinds of a family's tasks: logistic regression on features and their products.

    >>> tell = recognise(mixed("sinusoid", "line", noise=0.0), shots=5)
    >>> tell([-4, -2, 0, 1, 4], [-4, -2, 0, 1, 4]).kind
    'line'

    Parameters
    ----------
    tasks : Tasks
        A family whose tasks have known kinds, such as `mixed`.
    by : "features" | "curvature"
        Meta-features of the support set, or gradients and curvature along the adaptation of a small network.
    shots : int
        Points of a task.
    n_tasks : int
        Tasks to learn from; half as many more fit the temperature of the probabilities and the threshold.
    false_alarm : float
        Share of tasks of the known kinds that may be called unlike anything seen.
    model : Net, optional
        The network of ``by="curvature"``; by default two layers of 16 tanh units.
    seed : int
        Seed of the tasks drawn.

    Returns
    -------
    Recognizer
        Called with the points of a task it returns a `Recognition`; `Recognizer.evaluate` scores it on new tasks.

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
        raise MetagdError(f"{shorten(false_alarm)} is not allowed; needs a number > 0 and < 1", "false_alarm")
    if model is not None:
        check_shapes(model, tasks.inputs, tasks.outputs, "the tasks")
    shots, n_tasks = check_int(shots, "shots", 1), check_int(n_tasks, "n_tasks", 20 * len(tasks.kinds))
    return Recognizer(tasks, by, shots, n_tasks, false_alarm, model, check_int(seed, "seed", 0))
