"""Costs of several methods side by side: of their training, and of adapting to one new task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..algorithms import Meta
from ..core.hyperparameters import check_int
from ..core.tables import html_table, text_table
from ..training.costs import Costs
from ..training.results import evaluated
from ..training.run import Run
from .compare import as_named

HEAD = (
    "",
    "training: gradient evaluations",
    "Hessian·vectors",
    "seconds",
    "peak MB of a step",
    "adapting to one task: gradient evaluations",
    "Hessian·vectors",
    "seconds",
    "peak MB",
)


@dataclass(frozen=True)
class CostTable:
    """Costs of several methods; a table in a notebook, and a figure by `charts.costs`.

    Attributes
    ----------
    training : dict name → Costs
    adapting : dict name → Costs
        To one new task, with as many steps as in training; seconds are the mean over tasks. Without methods that learn
        one task only.
    """

    training: dict[str, Costs]
    adapting: dict[str, Costs]

    def rows(self, measured: bool = True) -> list[tuple[str, ...]]:
        """Return the rows of the table, head first.

        Parameters
        ----------
        measured : bool
            True adds seconds and memory, which differ from run to run.

        Returns
        -------
        list of tuple of str
        """
        lines: list[tuple[str, ...]] = [HEAD]
        for name, cost in self.training.items():
            lines.append((name, *_cells(cost), *(_cells(self.adapting[name]) if name in self.adapting else ["–"] * 4)))
        return lines if measured else [tuple(line[i] for i in (0, 1, 2, 5, 6)) for line in lines]

    def __repr__(self) -> str:
        return "\n".join(text_table(self.rows(measured=False)))

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        """Return the whole table in HTML; as text only what is equal in every run, so that notebooks can be tested."""
        return {"text/plain": repr(self), "text/html": html_table(self.rows())}


def _cells(cost: Costs) -> tuple[str, ...]:
    memory = "–" if math.isnan(cost.peak_bytes) else f"{cost.peak_bytes / 2**20:.2g}"
    return f"{cost.grad_evals:,}", f"{cost.hvps:,}", f"{cost.seconds:.2g}", memory


def cost_table(runs: Sequence[Run] | Mapping[str, Run], n_tasks: int = 50, seed: int = 1) -> CostTable:
    """Count the evaluations and Hessian·vector products of several runs, and measure their seconds and memory.

    >>> run = mg.train("maml", tasks=mg.sinusoid(), model=mg.mlp(1, 40, 40, 1), steps=10)
    >>> mg.cost_table([run]).training["maml"].grad_evals
    550

    Parameters
    ----------
    runs : list of Run, or mapping name → Run
    n_tasks : int
        New tasks over which the seconds of adapting are averaged.
    seed : int
        Seed of these tasks.

    Returns
    -------
    CostTable

    Raises
    ------
    MetagdError
        For no runs, and for what is no run.
    """
    found = as_named(runs)
    training = {name: run.wait().costs for name, run in found.items()}
    adapting = {}
    for name, run in found.items():
        if isinstance(run.loop.algorithm, Meta):
            steps = run.loop.algorithm.inner_steps
            adapting[name] = evaluated(
                run, steps=steps, n_tasks=check_int(n_tasks, "n_tasks", 1), seed=seed
            ).adaptation[-1]
    return CostTable(training, adapting)
