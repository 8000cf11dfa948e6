"""A step asks nothing new of the system, and nothing but the record grows. Counted, not timed."""

from __future__ import annotations

import platform
import subprocess
import sys
import textwrap

import pytest

GNU = platform.libc_ver()[0] == "glibc"


def alone(code: str) -> str:
    """What a fresh interpreter prints: no other test has shaped its memory."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(not GNU, reason="page faults are counted, and avoided, with the GNU C library")
@pytest.mark.parametrize("where", ["train", "start"])
def test_a_step_asks_for_no_fresh_pages(where: str) -> None:
    faults = alone(f"""
        import resource
        import metagd_nb as mg

        def work(steps):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            run = mg.{where}("maml", model=mg.mlp(1, 40, 40, 1), tasks=mg.sinusoid(), steps=steps, dtype="float32")
            assert run.wait().stopped == "steps"
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        work(200)
        print((work(600) - work(200)) / 400)
    """)
    assert float(faults) < 1
