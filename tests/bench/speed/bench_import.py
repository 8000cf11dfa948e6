"""Cost of ``import metagd_nb`` beyond ``import numpy``, as a share of the latter; it must be at most 0.35.

python tests/bench/speed/bench_import.py [PAIRS]

Medians over pairs of fresh interpreters, byte code compiled.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

LIMIT = 0.35
HEAVY = ("matplotlib", "IPython", "ipywidgets", "autograd", "sqlite3")


def printed(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def seconds(statement: str) -> float:
    """Return the time of a statement in a fresh interpreter, without the start of the interpreter."""
    return float(printed(f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"))


def main() -> int:
    """Print the figures; return 1 if the share is over the limit or a heavy module is loaded."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    seconds("import numpy, metagd_nb")  # byte code compiled and files read once
    both, alone = zip(
        *[(seconds("import numpy, metagd_nb"), seconds("import numpy")) for _ in range(pairs)], strict=True
    )
    added = statistics.median(b - a for b, a in zip(both, alone, strict=True))
    numpy = statistics.median(alone)
    loaded = printed(f"import sys, metagd_nb; print(*[m for m in {HEAVY} if m in sys.modules])")
    print(
        f"import numpy: {1000 * numpy:.1f} ms; import metagd_nb adds {1000 * added:.1f} ms: {added / numpy:.3f} of it"
    )
    print(f"median of {pairs} pairs; limit {LIMIT}; heavy modules loaded: {loaded or 'none'}")
    return int(added / numpy > LIMIT or bool(loaded))


if __name__ == "__main__":
    sys.exit(main())
