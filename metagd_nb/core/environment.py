"""Environment of a computation: memory, and the machine, versions and BLAS threads that decide its last bits."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FREED_BYTES = 30 << 20  # just below the largest block for which the GNU C library adapts; untouched, so never resident
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def keep_freed_memory() -> None:
    """Have the GNU C library keep what is freed, up to some 60 MB, instead of returning it to the system.

    It returns every block above 128 KB at once, so an array (T, P) costs a page fault for each 4 KB, at every step:
    half the time of a small meta-step. After a larger block has been freed once, it keeps blocks up to that size
    (``man mallopt``, M_MMAP_THRESHOLD). Elsewhere this does nothing.
    """
    np.empty(FREED_BYTES, np.uint8)


def can_start_threads() -> bool:
    """Return False where threads cannot start, as in a browser (Pyodide)."""
    thread = threading.Thread(target=int)
    try:
        thread.start()
    except RuntimeError:
        return False
    thread.join()
    return True


def environment() -> dict[str, str]:
    """Return the machine, the versions and the number of BLAS threads, by name.

    Two runs can be equal to the bit only where all of these are equal.
    """
    import importlib.metadata  # both are slow to load, and few runs are saved
    import platform

    from .. import __version__

    try:
        processors = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        processors = [f"model name:{platform.processor()}"]
    blas: Any = np.show_config(mode="dicts")
    blas = blas.get("Build Dependencies", {}).get("blas", {})
    versions = {
        "metagd_nb": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "processor": next((p.partition(":")[2].strip() for p in processors if p.startswith("model name")), ""),
        "BLAS": f"{blas.get('name', '?')} {blas.get('version', '?')}",
        "BLAS threads": next(filter(None, map(os.environ.get, THREADS)), None) or _processors(),
    }
    for package in ("autograd", "jax"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "none"
    return versions


def _processors() -> str:
    """Return the number of processors that this process may use; BLAS takes one thread for each."""
    return str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """List the names whose values differ: ``numpy 2.3.1 → 2.4.0``.

    Parameters
    ----------
    before, now : dict name → value
        As from `environment`.

    Returns
    -------
    list of str
    """
    names = {**before, **now}
    return [f"{name} {before.get(name)} → {now.get(name)}" for name in names if before.get(name) != now.get(name)]
