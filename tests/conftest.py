"""What several test files share: a real shell, a browser, and Jupyter folders of the test's own."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
import re
import shutil
import signal
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from labserver import Lab, browser, lab_page, lab_server

# One core may be busy with a kernel or a browser: a slow example is not a wrong one.
settings.register_profile("metagd", deadline=None)
settings.load_profile("metagd")

ROOT = Path(__file__).resolve().parent.parent
MOST_WORKERS = 4
GROUPS = {"tests/e2e/test_kernel.py": "kernel", "tests/e2e/": "browser"}  # paths, first match: what the tests share
BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two to four workers for folders; none, so that a debugger works, where files or single tests are named."""
    if any("::" in argument or Path(argument).suffix == ".py" for argument in config.args):
        return 0
    return min(os.cpu_count() or 2, MOST_WORKERS)


def pytest_xdist_setupnodes() -> None:
    """Workers inherit one BLAS thread each: more would compete for the processors."""
    for name in BLAS_THREADS:
        os.environ.setdefault(name, "1")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the tests that share a browser or a kernel to one worker each, and every other test to a free one.

    By path: `pytest.mark.xdist_group` has no effect with pytest 9.2 and pytest-xdist 3.8.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByResource(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return next((group for start, group in GROUPS.items() if path.startswith(start)), nodeid)

    return ByResource(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let long tests start first, so that none is last."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


OPTIONAL = ("scipy", "sklearn", "pandas", "jax", "joblib", "statsmodels", "lifelines", "babel")
MISSING = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]


def missing_package(error: BaseException) -> str | None:
    """Why a test fails where an optional package is missing: its own import, or a refusal of the kit that names it.

    An import that fails inside the kit stays a failure: the kit must refuse in words.
    """
    if (advice := re.search(r"pip install [\"']?(metagd-nb\[\w+\]|pandas|scipy|jax)", str(error))) is not None:
        return advice[0]
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or name not in MISSING or error.__traceback__ is None:
        return None
    frame, _ = list(traceback.walk_tb(error.__traceback__))[-1]
    inside = Path(frame.f_code.co_filename).is_relative_to(ROOT / "metagd_nb")
    return None if inside else f"needs {name}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Skip a test that needs an optional package which is not here; where all are, nothing changes."""
    report = yield
    if MISSING and report.failed and call.excinfo is not None and (reason := missing_package(call.excinfo.value)):
        path, line, _ = item.location
        report.outcome, report.longrepr = "skipped", (path, line, f"Skipped: {reason}")
    return report


JUPYTER_DIRS = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
OURS = ("METAGD_WAIT", "METAGD_MEMORY")


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """Let Ctrl-C interrupt: a process that a script starts in the background inherits that SIGINT is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Modules live as long as the tests: the collector, which each shell calls as it ends, need not visit them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the person's own Jupyter settings, history and runtime files out of every test."""
    home = tmp_path_factory.mktemp("jupyter")
    before = {name: os.environ.get(name) for name in (*JUPYTER_DIRS, *OURS)}
    for name in JUPYTER_DIRS:
        (home / name.lower()).mkdir()
        os.environ[name] = str(home / name.lower())
    for name in OURS:  # a cell waits, and a run is remembered, only where a test says so
        os.environ.pop(name, None)
    yield home
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture
def jupyter_dirs(tmp_path: Path) -> dict[str, str]:
    """An environment whose Jupyter folders belong to this test alone, for a server or a kernel that it starts."""
    environment = dict(os.environ)
    for name in JUPYTER_DIRS:
        (tmp_path / name.lower()).mkdir()
        environment[name] = str(tmp_path / name.lower())
    return environment


@pytest.fixture
def shell() -> Iterator[Any]:
    """A fresh IPython shell, a terminal's, current for ``get_ipython()``."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False  # its database thread would outlive the test
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(config=config)
    yield made
    made.atexit_operations()
    atexit.unregister(made.atexit_operations)
    InteractiveShell.clear_instance()


@pytest.fixture
def ip(shell: Any) -> Iterator[Any]:
    """The shell with the extension loaded; runs it left going are stopped."""
    shell.run_line_magic("load_ext", "metagd_nb")
    yield shell
    for value in list(shell.user_ns.values()):
        if type(value).__module__ == "metagd_nb.training.run" and value.loop.running:
            value.loop.request("stop")
    if "metagd_nb" in shell.extension_manager.loaded:
        shell.run_line_magic("unload_ext", "metagd_nb")  # which prints what is logged


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the test is skipped, or fails where METAGD_REQUIRE_BROWSER=1."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        reason = "no Chromium here (Debian: apt-get install chromium)"
        if os.environ.get("METAGD_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """An ignored folder for screenshots and logs that a person may look at after a run."""
    folder = ROOT / "tests" / "artefacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def chrome(chromium: str) -> Iterator[Any]:
    """A Chromium that is running."""
    with browser(chromium) as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Any]:
    """A JupyterLab of the module's own."""
    with lab_server(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture
def lab(chrome: Any, server: Any, artefacts: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A fresh page of it."""
    with lab_page(chrome, server) as found:
        yield found
        found.page.screenshot(path=artefacts / f"{request.node.name}.png")  # how it ended, for when it failed
