"""What is computed on the way to the first step is computed once."""

from __future__ import annotations

from typing import Any

import pytest

import metagd_nb as mg
from metagd_nb.algorithms import multimodal
from metagd_nb.core.errors import MetagdError
from metagd_nb.problems import factory
from metagd_nb.training.costs import CountingProblem

GIVEN: dict[str, Any] = {"model": mg.mlp(1, 3, 1), "meta_batch_size": 4, "shots": 3, "queries": 3}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[CountingProblem]:
    """The problems that are made, each of which counts its evaluations."""
    made: list[CountingProblem] = []
    net = factory.net

    def counting(*arguments: Any) -> CountingProblem:
        made.append(CountingProblem(net(*arguments)))
        return made[-1]

    monkeypatch.setattr(factory, "net", counting)
    return made


def test_the_first_meta_gradient_is_computed_once(counted: list[CountingProblem]) -> None:
    run = mg.prepare("maml", tasks=mg.sinusoid(), inner_steps=2, steps=1, **GIVEN)
    assert [(problem.grad_evals, problem.hvps) for problem in counted] == [(4 * 3, 4 * 2)]
    run.loop.advance()  # row 0: nothing moves, and the evaluation is there
    assert [(problem.grad_evals, problem.hvps) for problem in counted] == [(4 * 3, 4 * 2)]
    run.loop.advance()
    assert [(problem.grad_evals, problem.hvps) for problem in counted] == [(2 * 4 * 3, 2 * 4 * 2)]
    assert run.record["grad_evals"].tolist() == [4 * 3, 2 * 4 * 3]


def test_the_recogniser_is_trained_once(counted: list[CountingProblem], monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    learn = multimodal.learn_to_recognise
    monkeypatch.setattr(multimodal, "learn_to_recognise", lambda *given: trained.append(1) or learn(*given))
    run = mg.train("multimodal", tasks=mg.mixed("sinusoid", "line"), steps=1, **GIVEN)
    assert len(trained) == 1
    run.replay()
    assert len(trained) == 1
    assert counted[0].grad_evals > 0


def test_what_does_not_fit_is_refused_before_the_run() -> None:
    with pytest.raises(MetagdError, match=r"^inner_lr: has 2 rates for 10 parameters"):
        mg.prepare("maml", tasks=mg.sinusoid(), inner_lr=(0.1, 0.2), **GIVEN)


def test_runs_of_one_plan_are_equal_though_they_share_the_first_evaluation() -> None:
    run = mg.train("maml", tasks=mg.sinusoid(), steps=5, **GIVEN)
    again = mg.Run(run.plan)
    again.step(6)
    assert again.record["loss"].tolist() == run.record["loss"].tolist()
    fresh = mg.Run(run.plan._replace(first=None))
    fresh.step(6)
    assert fresh.record["loss"].tolist() == run.record["loss"].tolist()
    assert fresh.record["grad_norm"].tolist() == run.record["grad_norm"].tolist()


def test_moved_names_say_where_they_are() -> None:
    run = mg.prepare("gd", loss=lambda w: w**2, params={"w": 1.0})
    with pytest.warns(DeprecationWarning, match=r"run.problem is now run.plan.problem"):
        assert run.problem is run.plan.problem
    with pytest.warns(DeprecationWarning, match=r"run.theta is now run.loop.theta"):
        assert run.theta is run.loop.theta
    with pytest.raises(AttributeError, match="'Run' object has no attribute 'problen'"):
        _ = run.problen
