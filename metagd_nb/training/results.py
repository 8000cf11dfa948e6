"""Results of a run: parameters, losses, costs, and adapting to new tasks.

Reading one waits until the run has ended or is paused; ``rates`` never waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import Meta
from ..core.errors import MetagdError
from ..core.messages import warn
from ..tasks import Tasks
from ..tasks.identity import held_out_or
from .loop import TrainingLoop
from .predictions import Predictions
from .settled import settled
from .tracebacks import shows_users_lines

if TYPE_CHECKING:
    from .costs import Costs
    from .evaluation_result import Evaluation

Array = np.ndarray


class Best(NamedTuple):
    """The best row of a run.

    Attributes
    ----------
    step : int
    loss : float
        Training loss of that row.
    params : dict name → array
    validation : float or None
        Loss on held-out rows at that step.
    """

    step: int
    loss: float
    params: dict[str, Array]
    validation: float | None = None


class Results(Predictions):
    """Part of `Run` that reads what was learned.

    Attributes
    ----------
    loop : TrainingLoop
    """

    loop: TrainingLoop

    @property
    def params(self) -> dict[str, Array]:
        """Parameters by name, at the last row; at the best row if the run diverged or keeps the best."""
        params: dict[str, Array] = settled(self, "params").peek()["params"]
        return params

    @property
    def learned(self) -> dict[str, Array]:
        """Arrays learned beside ``params``, by name, such as ``inner_lr`` (R,) for learned inner rates.

        As in `rates`, a rate that the user has set is included at once.
        """
        loop = settled(self, "what was learned")
        return loop.algorithm.learned(loop.plan.problem, loop.result.theta)

    @property
    def loss(self) -> float:
        """Loss at ``params``; in meta-learning the query loss after adaptation with the rates of that row."""
        return settled(self, "loss").result.loss

    @property
    def best(self) -> Best:
        """The best row: by the loss on held-out rows where there is validation, otherwise by its own loss.

        Where losses carry sampling noise, the best row is the one that ends the best mean of 20 rows, or with
        mini-batches of an epoch.
        """
        loop = settled(self, "best row")
        problem, row = loop.plan.problem, loop.best
        flat = loop.algorithm.result(problem, row.theta, row.state)
        params = {name: view.copy() for name, view in problem.layout.views(flat).items()}
        return Best(row.step, row.loss, params, loop.stopping.best if loop.stopping.validated else None)

    @property
    def rates(self) -> dict[str, float]:
        """Live rates that the next step will use (the mean of a rate with several values); never waits.

        ``learned`` has all values of a rate, and ``adapt`` and ``evaluate`` use them. A rate that the user sets shows
        at once; rows of the record keep the rates with which they were reached.
        """
        return dict(zip(self.loop.algorithm.live_rates(), self.loop.rates(), strict=True))

    @property
    @shows_users_lines
    def costs(self) -> Costs:
        """Costs of the training so far; memory is measured on one additional step, which is discarded."""
        from .costs import training_costs

        return training_costs(settled(self, "costs"))

    @shows_users_lines
    def adapt(self, x: ArrayLike, y: ArrayLike, steps: int | None = None) -> Callable[[ArrayLike], Array]:
        """Adapt to one new task.

        With batch norm the prediction at a point depends on the other points of the call: predict all at once.

        Parameters
        ----------
        x : array (K,) or (K, D)
        y : array (K,) or (K, C)
            For classification: labels (K,).
        steps : int, optional
            Adaptation steps; by default those of training.

        Returns
        -------
        function
            ``f(x_new)`` → array (N,) or (N, C), as ``y`` was given; labels (N,) for labels.

        Raises
        ------
        MetagdError
            For a run with one task only, and for arrays that do not fit the model.
        """
        from .adaptation import predictor

        loop, algorithm = _meta_learner(self, "adapt")
        return predictor(self.loop.plan.problem, algorithm, loop.result.theta, x, y, steps, self.loop.plan.tasks)

    @shows_users_lines
    def evaluate(
        self,
        tasks: Tasks | None = None,
        shots: int | None = None,
        steps: int | None = None,
        n_tasks: int = 600,
        seed: int = 1,
        queries: int | None = None,
        metric: str = "loss",
    ) -> Evaluation:
        """Adapt to new tasks, and score after each of 0…``steps`` adaptation steps; warn if a few tasks carry the mean.

        Parameters
        ----------
        tasks : Tasks, optional
            Default: the held-out tasks of the family that was learned from, or where it holds none out the family
            itself. The result says which they are.
        shots, steps : int, optional
            Support points of a task (or class), and adaptation steps; by default those of training.
        n_tasks : int
            Number of tasks; each group of a table is judged at most once.
        seed : int
            Seed of the tasks drawn, from a stream that training does not use.
        queries : int, optional
            Query points of a task (or class); by default as many as the family proposes.
        metric : "loss" | "accuracy"

        Returns
        -------
        Evaluation
        """
        found = evaluated(self, tasks, shots, steps, n_tasks, seed, queries, metric)
        if found.few_carry:
            warn(found.few_carry)
        return found


def evaluated(
    run: Results,
    tasks: Tasks | None = None,
    shots: int | None = None,
    steps: int | None = None,
    n_tasks: int = 600,
    seed: int = 1,
    queries: int | None = None,
    metric: str = "loss",
) -> Evaluation:
    """Evaluate as `Results.evaluate` does, without warnings.

    Parameters
    ----------
    run : Run
    tasks, shots, steps, n_tasks, seed, queries, metric
        As in `Results.evaluate`.

    Returns
    -------
    Evaluation
    """
    from .evaluation import evaluate

    loop, algorithm = _meta_learner(run, "evaluate")
    trained = loop.plan.tasks
    assert trained is not None  # a meta-learning run always has tasks
    return evaluate(
        loop.plan.problem,
        algorithm,
        loop.result.theta,
        held_out_or(trained) if tasks is None else tasks,
        algorithm.shots if shots is None else shots,
        algorithm.inner_steps if steps is None else steps,
        n_tasks,
        seed,
        queries,
        metric,
        run.costs,
        trained,
    )


def _meta_learner(run: Results, member: str) -> tuple[TrainingLoop, Meta]:
    """Return loop and algorithm of a meta-learning run that has ended or is paused.

    Raises
    ------
    MetagdError
        For a method with one task only, and for a problem of which a file does not hold all parts.
    """
    if not isinstance(run.loop.algorithm, Meta):
        raise MetagdError(f"{run.loop.plan.method} has one task only; adapting is for meta-learning methods", member)
    run.loop.plan.problem.check_available()
    loop = settled(run, "parameters" if member == "adapt" else "scores")
    assert isinstance(loop.algorithm, Meta)
    return loop, loop.algorithm
