"""Methods of the user's own: on JAX, in other processes, in files and in scripts, as the built-in ones."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.algorithms import Descent, Meta
from metagd_nb.algorithms.base import MetaGradient, Optimizer, hyperparameter, learning_rate

SCALE = 1.0


@dataclass(frozen=True)
class SignDescent(Descent):
    """Sign descent."""

    lr: float = learning_rate(0.01)

    def optimizer(self) -> Optimizer:
        return Optimizer(lambda theta: (), lambda grad, state, lr: (lr * SCALE * np.sign(grad), state))


@dataclass(frozen=True)
class Clipped(SignDescent):
    """Plain descent whose steps are clipped where the gradient is large; in all kinds of methods."""

    most: float = hyperparameter(0.5, "largest entry of a step's gradient", low=0)

    @staticmethod
    def small(grad: Any) -> Any:
        return np.abs(grad) < 1

    @property
    def top(self) -> Any:
        return np.maximum(self.most, 0.0)

    def clipped(self, grad: Any) -> Any:
        return np.where(self.small(grad), grad, np.clip(grad, -self.top, self.top))

    def optimizer(self) -> Optimizer:
        sign = super().optimizer()
        return Optimizer(
            lambda theta: (np.zeros_like(theta),),
            lambda grad, state, lr: (
                lr * self.clipped(grad) + 0.1 * sign.update(grad, (), lr)[0],
                (np.stack([state[0], np.square(grad)]).max(axis=0),),
            ),
        )


@dataclass(frozen=True)
class Bounded(Meta):
    """MAML of first order with a bounded query gradient."""

    def meta_gradient(self, problem: Any, theta: Any, batch: Any) -> MetaGradient:
        phi = theta
        for _ in range(self.inner_steps):
            phi = problem.linearize(phi, batch.support).step(self.inner_lr)
        query = problem.linearize(phi, batch.query)
        grad = np.where(np.abs(query.grad) > 0.5, 0.5 * np.sign(query.grad), query.grad)
        return MetaGradient(query.loss, np.mean(grad, axis=0), self.inner_steps + 1, 0)


OWN = {"sign": SignDescent, "clipped": Clipped, "bounded": Bounded}


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    mg.ALGORITHMS.update(OWN)
    yield
    for name in OWN:
        mg.ALGORITHMS.pop(name, None)


def bowl(w: Any) -> Any:
    return np.sum(np.array([1.0, 30.0, 4.0]) * w**2)


def given(method: str, **more: Any) -> dict[str, Any]:
    if method == "bounded":
        return {"model": mg.mlp(1, 4, 1), "tasks": mg.sinusoid(), "steps": 30, **more}
    return {"loss": bowl, "params": {"w": np.array([1.0, -1.0, 0.3])}, "lr": 0.01, "steps": 30, **more}


@pytest.mark.parametrize("method", OWN)
def test_numpys_functions_in_a_method_work_on_jax(method: str) -> None:
    pytest.importorskip("jax")
    ours, numpys = (mg.train(method, **given(method), backend=backend) for backend in ("jax", "numpy"))
    np.testing.assert_allclose(ours.record["loss"], numpys.record["loss"], rtol=1e-9)
    assert type(ours.plan.algorithm) is OWN[method]


def test_a_global_that_a_method_reads_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax")
    losses = []
    for scale in (1.0, 2.0):
        monkeypatch.setattr(sys.modules[__name__], "SCALE", scale)
        runs = [mg.train("sign", **given("sign"), backend=backend) for backend in ("jax", "numpy")]
        np.testing.assert_allclose(runs[0].record["loss"], runs[1].record["loss"], rtol=1e-9)
        losses.append(runs[0].loss)
    assert losses[0] != losses[1]


DEFINED = """
from dataclasses import dataclass
import numpy as np
import metagd_nb as mg
from metagd_nb.algorithms import Descent
from metagd_nb.algorithms.base import Optimizer, learning_rate

@dataclass(frozen=True)
class SignDescent(Descent):
    lr: float = learning_rate(0.01)
    def optimizer(self):
        return Optimizer(lambda theta: (), lambda grad, state, lr: (lr * np.sign(grad), state))

mg.ALGORITHMS["sign"] = SignDescent
"""


def python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code as a script of its own, as a notebook's cells run."""
    path = folder / "code.py"
    path.write_text(textwrap.dedent(code))
    return subprocess.run([sys.executable, str(path), *arguments], capture_output=True, text=True, cwd=folder)


def test_a_sweep_on_processes(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    code = """
    given = {"loss": lambda w: np.sum(w**2), "params": {"w": np.ones(2)}, "steps": 9}
    here, there = (mg.sweep("sign", {"lr": [0.01, 0.02, 0.03]}, jobs=jobs, **given) for jobs in (1, 2))
    assert {t: o.score for t, o in here.outcomes.items()} == {t: o.score for t, o in there.outcomes.items()}
    print(len(there.outcomes))
    handle = (i for i in range(3))
    def optimizer(self, inner=SignDescent.optimizer): return handle and inner(self)
    SignDescent.optimizer = optimizer
    try:
        mg.sweep("sign", {"lr": [0.01, 0.02]}, jobs=2, **given)
    except mg.MetagdError as error:
        print(error)
    """
    done = python(DEFINED + textwrap.dedent(code), tmp_path)
    assert done.returncode == 0, done.stderr
    count, line = done.stdout.splitlines()
    assert count == "3"
    assert line.startswith("jobs: a process cannot be given what a trial needs (")
    assert line.endswith("; use jobs=1")


def test_a_file_without_its_method_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.metagd"
    mg.train("clipped", **given("clipped")).save(path)
    assert mg.load(path, loss=bowl).replay().stopped == "steps"
    mg.ALGORITHMS["clipped"] = SignDescent
    with pytest.raises(
        mg.MetagdError, match=r"your own method 'clipped' with the settings \['lr', 'most'\]; the class"
    ):
        mg.load(path)
    del mg.ALGORITHMS["clipped"]
    with pytest.raises(mg.MetagdError) as raised:
        mg.load(path)
    assert str(raised.value) == (
        f"{path} holds a run of 'clipped', a method of your own that is not here; "
        "define its class, then metagd_nb.ALGORITHMS['clipped'] = …"
    )


def test_a_script_without_its_method_says_so(tmp_path: Path) -> None:
    code = """
    def loss(w):
        return np.sum(w**2)
    run = mg.train("sign", loss=loss, params={"w": np.ones(2)}, steps=9)
    run.export("script.py")
    print(run.loss)
    """
    done = python(DEFINED + textwrap.dedent(code), tmp_path)
    assert done.returncode == 0, done.stderr
    script = (tmp_path / "script.py").read_text()
    alone = python(script, tmp_path)
    assert alone.returncode == 1
    assert alone.stderr.strip() == (
        "this script repeats a run of 'sign', a method of your own that is not here; "
        "define its class, then metagd_nb.ALGORITHMS['sign'] = …"
    )
    both = python(f"{DEFINED}\nexec(open('script.py').read())\nprint(run.loss)", tmp_path)
    assert both.stdout.splitlines()[-1] == done.stdout.strip(), both.stderr


def test_a_script_imports_a_method_of_a_module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(DEFINED)
    code = """
    import mine, numpy as np, metagd_nb as mg
    def loss(w):
        return np.sum(w**2)
    mg.train("sign", loss=loss, params={"w": np.ones(2)}, steps=9).export("script.py")
    """
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    again = python((tmp_path / "script.py").read_text(), tmp_path)
    assert again.returncode == 0, again.stderr
    assert "sign" in again.stdout
