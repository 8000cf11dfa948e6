"""Binder without Docker: the recipe that repo2docker makes of binder/, and the same environment built with pip."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import venv
from pathlib import Path

import psutil
import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 1_500_000_000  # bytes for server and kernel together
SKIP = shutil.ignore_patterns(".*", "__pycache__", "artefacts")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone would hold, so that a build leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("binder") / "checkout"
    shutil.copytree(ROOT, copy, ignore=SKIP)
    shutil.copy(ROOT / ".gitignore", copy)
    return copy


@pytest.fixture(scope="module")
def dockerfile(checkout: Path) -> str:
    """What ``jupyter-repo2docker`` would build from."""
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_dockerfile(dockerfile: str) -> None:
    lines = [line.strip() for line in dockerfile.splitlines()]
    copy = lines.index("COPY --chown=0:0 src/ ${REPO_DIR}/")
    install = lines.index('RUN ${KERNEL_PYTHON_PREFIX}/bin/pip install --no-cache-dir -r "binder/requirements.txt"')
    assert copy < install < lines.index("RUN ./binder/postBuild")  # the repository is there when it is installed
    assert sum("pip install" in line for line in lines) == 1
    assert not any("apt-get" in line and "chromium" in line for line in lines)


def test_python_version(dockerfile: str) -> None:
    """The image's Python is one that repo2docker has packages for, and that the project supports."""
    wanted = re.fullmatch(r"python-(3\.\d+)\n", (ROOT / "binder" / "runtime.txt").read_text())
    assert wanted
    assert f"environment for python={wanted[1]}\n" in dockerfile
    found = importlib.util.find_spec("repo2docker")  # found, not imported: it imports what is deprecated
    assert found
    assert found.origin
    conda = Path(found.origin).parent / "buildpacks" / "conda"
    assert (conda / f"environment.py-{wanted[1]}-linux-64.lock").exists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert wanted[1] in SpecifierSet(project["requires-python"])


def test_files() -> None:
    """What Binder needs, and nothing else; postBuild must be executable."""
    names = {path.name for path in (ROOT / "binder").iterdir()}
    assert names == {"requirements.txt", "runtime.txt", "postBuild", "overrides.json"}
    assert os.access(ROOT / "binder" / "postBuild", os.X_OK)
    listed = (ROOT / "binder" / "requirements.txt").read_text().splitlines()
    wanted = [line for line in listed if not line.startswith("#")]
    assert wanted[0] == ".[tutorials]"
    assert all(re.fullmatch(r"[a-z-]+==[\d.]+", line) for line in wanted[1:])


class Peak(threading.Thread):
    """The memory of a process and all that it starts: the sum of each one's own peak of resident bytes.

    The kernel keeps each peak (VmHWM), so a spike between two looks is not missed; the sum is an upper bound.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.root, self.peaks = psutil.Process(pid), {}
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            try:
                for process in [self.root, *self.root.children(recursive=True)]:
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    if high := re.search(r"VmHWM:\s+(\d+) kB", status):
                        self.peaks[process.pid] = max(self.peaks.get(process.pid, 0), 1024 * int(high[1]))
            except (psutil.NoSuchProcess, OSError):
                continue  # one of them has just ended

    def stop(self) -> int:
        self.over.set()
        self.join()
        return sum(self.peaks.values())


def measured(command: list[str], environment: dict[str, str], cwd: Path) -> tuple[int, str, int]:
    """Run a command; (exit code, what it said, peak bytes)."""
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, cwd=cwd, text=True, **pipe) as process:
        peak = Peak(process.pid)
        peak.start()
        said = process.communicate(timeout=300)[0]
        return process.returncode, said, peak.stop()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc (Linux)")
def test_the_measure_sees_a_childs_spike(tmp_path: Path) -> None:
    child = "x = bytearray(200_000_000); del x; import time; time.sleep(.3)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    _, _, peak = measured([sys.executable, "-c", parent], dict(os.environ), tmp_path)
    assert 200_000_000 < peak < 300_000_000


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fresh environment in which Binder's own two steps were taken."""
    folder = tmp_path_factory.mktemp("binder-env")
    venv.create(folder, with_pip=True)
    environment = dict(os.environ, PATH=f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    pip = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "-r", "binder/requirements.txt"]
    for step in (pip, ["./binder/postBuild"]):
        done = subprocess.run(step, cwd=checkout, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_defaults_are_where_jupyterlab_reads_them(built: Path, tmp_path: Path) -> None:
    """In the folder that JupyterLab reads, for settings that its schemas know."""
    code = "from jupyterlab.commands import get_app_dir; print(get_app_dir())"
    done = subprocess.run([built / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    app = Path(done.stdout.strip())
    overrides = json.loads((app / "settings" / "overrides.json").read_text())
    for plugin, values in overrides.items():
        extension, name = plugin.split(":")
        schema = json.loads((app / "schemas" / extension / f"{name}.json").read_text())
        for setting, value in values.items():
            declared = schema["properties"][setting]
            assert declared["type"] == {bool: "boolean", str: "string"}[type(value)]
            assert value in declared.get("enum", [value]) or value in [o["const"] for o in declared.get("oneOf", [])]


@pytest.mark.slow
@pytest.mark.kernel
def test_the_first_chapter_runs_in_binders_memory(built: Path, checkout: Path, jupyter_dirs: dict[str, str]) -> None:
    chapters = sorted((checkout / "notebooks").glob("*.ipynb"))
    if not chapters:
        pytest.skip("no chapter is written yet")
    jupyter_dirs.pop("PYTHONPATH", None)  # the package that Binder installed, not the one under test
    code, said, peak = measured(
        [str(built / "bin" / "metagd"), "test-book", str(chapters[0])], jupyter_dirs, checkout / "notebooks"
    )
    assert code == 0, said
    # VmHWM and not ru_maxrss: the latter starts at the peak of the process that forked it
    server = (
        "import jupyterlab.labapp, pathlib, re; status = pathlib.Path('/proc/self/status').read_text(); "
        "print(1024 * int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]))"
    )
    lab = subprocess.run([built / "bin" / "python", "-c", server], capture_output=True, text=True, check=True)
    assert peak + int(lab.stdout) < LIMIT, f"{peak / 1e6:.0f} MB and a server of {int(lab.stdout) / 1e6:.0f} MB"
