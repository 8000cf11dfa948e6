"""The fast closed form can be switched off or deleted: results and tests stay the same."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import metagd_nb as mg
from metagd_nb.problems.closed_form import net as nets

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "metagd_nb"

WITHOUT = """
import sys
sys.modules["metagd_nb.problems.closed_form.accelerated"] = None  # as if the folder were deleted
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-n", "0", *sys.argv[1:]]))
"""


def test_nothing_else_imports_it() -> None:
    importers = set()
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "accelerated":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and "accelerated" in (node.module or ""):
                    importers.add(path.relative_to(PACKAGE).as_posix())
    assert importers == {"problems/closed_form/net.py"}


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_both_train_alike(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for accelerated in (True, False):
        monkeypatch.setattr(nets, "ACCELERATED", accelerated)
        model = mg.mlp(1, 8, 8, 1, activation=activation)
        run = mg.train("maml", model=model, tasks=mg.sinusoid(), steps=5, inner_steps=2, meta_lr=0.01)
        assert (run.plan.problem.accelerator is not None) is accelerated
        found.append(run.record["loss"])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


@pytest.mark.slow
def test_the_reference_values_hold_without_it() -> None:
    """The tests of the algorithms on nets, in a process where the folder cannot be imported."""
    chosen = ["tests/algorithms/test_oracles.py", "-k", "net or built or mlp"]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *chosen], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
