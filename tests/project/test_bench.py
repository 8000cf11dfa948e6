"""The programs of tests/bench are not run by the tests, but must go on importing what they measure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path for path in (ROOT / "tests" / "bench").rglob("*.py") if path.name != "__init__.py")


@pytest.mark.slow
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_imports(path: Path) -> None:
    """In a process of its own: some fix the number of threads before NumPy is loaded."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
