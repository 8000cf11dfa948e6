"""Full-batch linear regression against the loop that everybody writes first; must be 25 times faster.

10,000 × 100 in float64, 1,000 steps of gradient descent. Whole time on both sides: ours includes XᵀX and Xᵀy.

python -m tests.bench.speed.bench_linear [ROUNDS]
"""

from __future__ import annotations

import sys

from .timing import machine, one_thread, whole

one_thread()

import numpy as np  # noqa: E402 — after one_thread

import metagd_nb as mg  # noqa: E402

ROWS, WIDTH, STEPS, LR = 10_000, 100, 1_000, 0.05
TARGET = 25.0


def naive(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (D,) and bias after the steps: two products with X in each."""
    w, b, n = np.zeros(x.shape[1]), 0.0, len(x)
    for _ in range(STEPS):
        error = x @ w + b - y
        w -= LR * 2 / n * (x.T @ error)
        b -= LR * 2 / n * error.sum()
    return w, b


def ours(x: np.ndarray, y: np.ndarray) -> mg.Run:
    """The public path."""
    return mg.train("gd", model=mg.linear(WIDTH), x=x, y=y, lr=LR, steps=STEPS)


def main() -> int:
    """Print the figures; exit code 1 below the target."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, WIDTH))
    y = x @ rng.standard_normal(WIDTH) + 0.5 + 0.1 * rng.standard_normal(ROWS)
    w, b = naive(x, y)
    params = ours(x, y).params
    apart = max(np.abs(params["W0"][:, 0] - w).max(), abs(params["b0"][0] - b))
    assert apart < 1e-10, f"not the same work: parameters {apart:.1e} apart"
    found = whole({"naive": lambda: naive(x, y), "ours": lambda: ours(x, y)}, rounds)
    ratio = found["naive"].over(found["ours"])
    print(f"linear regression {ROWS:,} × {WIDTH}, {STEPS:,} steps, float64; {machine()}")
    for name, timing in found.items():
        print(f"  {name:6} {1e3 * timing.median:8.1f} ms   (least {1e3 * timing.least:.1f})")
    print(f"  {ratio:.1f} times faster (median of {rounds} rounds; target ≥ {TARGET:g}); parameters {apart:.0e} apart")
    return int(ratio < TARGET)


if __name__ == "__main__":
    sys.exit(main())
