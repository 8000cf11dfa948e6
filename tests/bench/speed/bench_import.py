"""What ``import metagd_nb`` adds to ``import numpy``: the median over pairs of fresh interpreters; must be < 150 ms.

python tests/bench/speed/bench_import.py [PAIRS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys

LIMIT_MS = 150


def seconds(statement: str) -> float:
    """How long a statement takes in a fresh interpreter, its start not counted."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> int:
    """Print the figure; exit code 1 when it is over the limit."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    seconds("import numpy, metagd_nb")  # bytecode compiled and files read once
    extra = [seconds("import numpy, metagd_nb") - seconds("import numpy") for _ in range(pairs)]
    ms = 1000 * statistics.median(extra)
    print(f"import metagd_nb adds {ms:.1f} ms to import numpy (median of {pairs} pairs; limit {LIMIT_MS} ms)")
    return int(ms >= LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
