"""Environment of a computation: the machine, the versions and the number of BLAS threads decide its last bits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def environment() -> dict[str, str]:
    """The machine, the versions and the number of BLAS threads: what "equal to the bit" depends on."""
    import importlib.metadata  # both are slow to load, and few runs are kept
    import platform

    from .. import __version__

    blas: Any = np.show_config(mode="dicts")
    blas = blas.get("Build Dependencies", {}).get("blas", {})
    found = {
        "metagd_nb": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "processor": _processor(),
        "BLAS": f"{blas.get('name', '?')} {blas.get('version', '?')}",
        "BLAS threads": _threads(),
    }
    for package in ("autograd", "jax"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def _processor() -> str:
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _threads() -> str:
    """As asked for in the environment; else what the libraries then take, one a processor."""
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name):
            return os.environ[name]
    return str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """``numpy 2.3.1 → 2.4.0``, one for each name whose values differ."""
    return [f"{n} {before.get(n)} → {now.get(n)}" for n in (before | now) if before.get(n) != now.get(n)]  # type: ignore[operator]
