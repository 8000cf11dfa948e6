"""An environment with the lowest versions that pyproject.toml allows, and with no optional package, runs the tests."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DEPENDENCIES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "dependencies"
]
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "nbformat", "nbclient", "ipykernel", "psutil")
OLD = ("pyparsing<3.2",)  # with newer ones matplotlib 3.8 warns
QUICK = "not slow and not browser and not kernel"
FOLDERS = ("core", "models", "tasks", "problems", "plotting", "notebook/test_magic.py", "notebook/test_live.py")


def lowest(dependency: str) -> str:
    """``numpy>=1.26`` → ``numpy==1.26``."""
    name, bound = dependency.split(">=")
    assert re.fullmatch(r"[\w-]+", name)
    assert re.fullmatch(r"[\d.]+", bound)
    return f"{name}=={bound}"


LOWEST = [lowest(dependency) for dependency in DEPENDENCIES]


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> str:
    """The Python of the environment; made where it is not there yet, by one worker at a time."""
    if sys.version_info >= (3, 13):
        pytest.skip("NumPy 1.26 has wheels for Python up to 3.12")
    folder = request.config.cache.mkdir("lowest-versions")
    ready, wanted = folder / "ready.json", [sys.version, str(ROOT), *LOWEST, *TOOLS, *OLD]
    made = str(folder / "bin" / "python")
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.exists() and json.loads(ready.read_text()) == wanted:
            return made
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [made, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        for packages in ([*LOWEST, *TOOLS, *OLD], ["--no-deps", "-e", str(ROOT)]):
            done = subprocess.run([*pip, *packages], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        ready.write_text(json.dumps(wanted))
    return made


@pytest.mark.slow
def test_the_environment_has_the_lowest_versions_and_nothing_optional(python: str) -> None:
    names = [dependency.split("==")[0] for dependency in LOWEST]
    code = (
        "import importlib.metadata as m, importlib.util as u, json\n"
        f"found = [m.version(name) for name in {names}]\n"
        "extra = [name for name in ('scipy', 'pandas', 'sklearn', 'jax', 'joblib') if u.find_spec(name)]\n"
        "print(json.dumps([found, extra]))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    found, extra = json.loads(done.stdout)
    assert extra == []
    for requirement, version in zip(LOWEST, found, strict=True):
        bound = requirement.split("==")[1]
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", version), requirement


@pytest.mark.slow
def test_the_quick_tier_passes(python: str) -> None:
    """The folders that use NumPy, matplotlib, autograd, IPython and ipywidgets most; in one process."""
    command = [python, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-m", QUICK]
    command += [f"tests/{folder}" for folder in FOLDERS]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 1000


def test_the_lower_bounds_are_plain() -> None:
    assert [dependency.split(">=")[0] for dependency in DEPENDENCIES] == [
        "numpy", "matplotlib", "ipywidgets", "ipython", "autograd",
    ]  # fmt: skip
