"""Formulas broken one at a time, and the test that noticed: ``python -m tests.bench.mutations [-o FILE] [PART …]``.

Each row changes one place of one module in a copy of the package and runs the tests of its part until the first that
fails. A part is a piece of a module's name (``l2l``, ``bayes``). A row whose text no longer stands in the module just
once is reported too: it has to be brought up to date. Exit code 1 where a change survived or could not be made.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from .formulas import BLOCKS

ROOT = Path(__file__).resolve().parents[2]


class Change(NamedTuple):
    """One place of one module, and the test files that must notice."""

    module: str
    old: str
    new: str
    tests: str


CHANGES = [
    Change("algorithms/cells.py", "d_m = scale * d_out + d_state", "d_m = scale * d_out", "test_l2l.py"),
    Change(
        "algorithms/cells.py",
        "return Pulled(d_m[0], mass * d_m, d_w)",
        "return Pulled(d_m[0], d_m, d_w)",
        "test_l2l.py",
    ),
    Change("algorithms/cells.py", "m = mass * state + grad", "m = mass * (state + grad)", "test_l2l.py"),
    Change("algorithms/cells.py", "(d_m * tape.kept).sum()", "(d_m * tape.state).sum()", "test_l2l.py"),
    Change(
        "algorithms/cells.py", "c_next[...] = forget * c + into * new", "c_next[...] = forget * c + new", "test_l2l.py"
    ),
    Change("algorithms/cells.py", "        gates += 1\n", "        gates += 1.001\n", "test_l2l.py"),
    Change("algorithms/cells.py", "d_h * show * (1 - bent * bent)", "d_h * show", "test_l2l.py"),
    Change(
        "algorithms/cells.py",
        "d_z[: 3 * n] *= z[: 3 * n] * (1 - z[: 3 * n])",
        "d_z[: 3 * n] *= 1 - z[: 3 * n]",
        "test_l2l.py",
    ),
    Change("algorithms/cells.py", "d_z[3 * n :] *= 1 - new * new", "d_z[3 * n :] *= 1 - new", "test_l2l.py"),
    Change(
        "algorithms/cells.py",
        "(d_c * new, d_c * c, d_h * bent, d_c * into)",
        "(d_c * new, d_c * bent, d_h * bent, d_c * into)",
        "test_l2l.py",
    ),
    Change(
        "algorithms/cells.py",
        "(d_seen[:2] * slopes(grad.reshape(-1))).sum(axis=0)",
        "(d_seen[:1] * slopes(grad.reshape(-1))[:1]).sum(axis=0)",
        "test_l2l.py",
    ),
    Change("algorithms/cells.py", 'd_grad = view["skip"] * d_out + ', "d_grad = ", "test_l2l.py"),
    Change("algorithms/cells.py", "[d_seen[2:], d_c * forget]", "[d_seen[2:], d_c]", "test_l2l.py"),
    Change("algorithms/cells.py", "np.exp(SMALL) * grad)])", "grad)])", "test_l2l.py"),
    Change(
        "algorithms/cells.py", "1 / (SMALL * np.where(large, grad, 1))", "1 / np.where(large, grad, 1)", "test_l2l.py"
    ),
    Change("algorithms/cells.py", 'view["skip"][...] = 1.0', 'view["skip"][...] = 0.0', "test_l2l.py"),
    Change("algorithms/cells.py", 'view["bias"][n : 2 * n] = 1.0', 'view["bias"][n : 2 * n] = 0.0', "test_l2l.py"),
    Change(
        "algorithms/l2l.py",
        "v = v + point.hvp(pulled.grad) + early",
        "v = v - point.hvp(pulled.grad) + early",
        "test_l2l.py",
    ),
    Change("algorithms/l2l.py", "v = v + point.hvp(pulled.grad) + early", "v = v + early", "test_l2l.py"),
    Change(
        "algorithms/l2l.py",
        "v = v + point.hvp(pulled.grad) + early",
        "v = v + point.hvp(pulled.grad + 0) + 2 * early",
        "test_l2l.py",
    ),
    Change("algorithms/l2l.py", "in reversed(passed)", "in passed", "test_l2l.py"),
    Change("algorithms/l2l.py", "pulled = back(-rate * v, z)", "pulled = back(-v, z)", "test_l2l.py"),
    Change(
        "algorithms/l2l.py",
        "pulled = back(-rate * v, z)",
        "pulled = back(rate * v, z)",
        "test_l2l.py",
    ),
    Change("algorithms/l2l.py", "            z = pulled.state\n", "", "test_l2l.py"),
    Change("algorithms/l2l.py", "d_w / len(batch)", "d_w", "test_l2l.py"),
    Change("algorithms/l2l.py", "share = 1 / max(steps, 1) if weighs_all else 1", "share = 1", "test_l2l.py"),
    Change("algorithms/l2l.py", "if weighs_all and j else 0", "if weighs_all else 0", "test_l2l.py"),
    Change(
        "algorithms/l2l.py",
        "            phi = phi - rate * out\n            yield",
        "            phi = phi + rate * out\n            yield",
        "test_l2l.py",
    ),
    Change("algorithms/l2l.py", "steps + judged, steps)", "steps + 1, steps)", "test_l2l.py"),
    Change("algorithms/l2l.py", "out, state, _ = taken(self._cell", "out, _, _ = taken(self._cell", "test_l2l.py"),
    Change(
        "algorithms/pretrain.py",
        "(shots * support.grad + queries * query.grad) / (shots + queries)",
        "(support.grad + query.grad) / 2",
        "test_baselines.py",
    ),
    Change(
        "algorithms/pretrain.py",
        "(shots * support.grad + queries * query.grad) / (shots + queries)",
        "support.grad",
        "test_baselines.py",
    ),
    Change("algorithms/pretrain.py", "range(self.inner_steps - 1)", "range(self.inner_steps)", "test_baselines.py"),
    Change("algorithms/pretrain.py", "2 + judged", "1 + judged", "test_baselines.py"),
    Change(
        "algorithms/scratch.py", "namespace(theta).zeros_like(theta)", "query.grad.mean(axis=0)", "test_baselines.py"
    ),
    Change("algorithms/lbfgs.py", "root, y.astype(float) * root", "root, y.astype(float)", "test_baselines.py"),
    Change("algorithms/lbfgs.py", "-gamma * operator", "-operator", "test_baselines.py"),
    Change(
        "algorithms/lbfgs.py", "gamma = float(s[-1] @ y[-1]) / float(y[-1] @ y[-1])", "gamma = 1.0", "test_baselines.py"
    ),
    Change(
        "algorithms/lbfgs.py",
        "[-self.history :], np.vstack([y, turned])",
        "[-1:], np.vstack([y, turned])",
        "test_baselines.py",
    ),
    Change("algorithms/lbfgs.py", "cost + tried, 0,", "cost, 0,", "test_baselines.py"),
    Change("algorithms/lbfgs.py", "not in seen:", "not in seen or True:", "test_baselines.py"),
    Change("algorithms/lbfgs.py", "[1] < loss:", "[1] < loss + 1:", "test_baselines.py"),
    Change("algorithms/lbfgs.py", "if math.isfinite(there) else math.inf", "", "test_baselines.py"),
    Change(
        "algorithms/lbfgs.py",
        "if memory.ahead is not None and np.array_equal(memory.ahead[0], theta):",
        "if False:",
        "test_baselines.py",
    ),
    Change("algorithms/lbfgs.py", "theta + self.lr * (whole - theta)", "whole", "test_baselines.py"),
    Change(
        "algorithms/lbfgs.py", "if not moved @ turned > FLAT * (turned @ turned):", "if False:", "test_baselines.py"
    ),
    Change("algorithms/lbfgs.py", "            s, y = s[:0], y[:0]\n", "", "test_baselines.py"),
    Change("algorithms/lbfgs.py", "tried += more", "pass", "test_baselines.py"),
    Change("algorithms/lbfgs.py", "grad - memory.grad", "grad", "test_baselines.py"),
    Change("algorithms/lbfgs.py", "np.array_equal(memory.theta, theta):  # it", "False:  # it", "test_baselines.py"),
    Change("algorithms/lbfgs.py", "-grad / max(1.0, float(np.linalg.norm(grad)))", "-grad", "test_baselines.py"),
    Change("bayes.py", "+ noise[:, None, None] * np.eye", "+ np.sqrt(noise)[:, None, None] * np.eye", "test_bayes.py"),
    Change("bayes.py", "cov - gain @ spread, noise)", "cov, noise)", "test_bayes.py"),
    Change("bayes.py", "Belief(mean + (gain @ off)[..., 0]", "Belief(mean - (gain @ off)[..., 0]", "test_bayes.py"),
    Change("bayes.py", "logdet = 2 * np.log", "logdet = np.log", "test_bayes.py"),
    Change("bayes.py", "h.shape[-2] * np.log(2 * np.pi)", "np.log(2 * np.pi)", "test_bayes.py"),
    Change("bayes.py", "cov = posterior.covariance.mean(axis=0) + np.einsum", "cov = np.einsum", "test_bayes.py"),
    Change("bayes.py", "/ len(off)", "/ (len(off) - 1)", "test_bayes.py"),
    Change("bayes.py", "((left**2).sum(axis=(0, 1)) + unsure)", "((left**2).sum(axis=(0, 1)))", "test_bayes.py"),
    Change(
        "bayes.py",
        "np.sqrt(np.maximum(spread, 0) + self.prior.noise)",
        "np.sqrt(np.maximum(spread, 0))",
        "test_bayes.py",
    ),
    Change("bayes.py", "inv_cdf((1 + level) / 2)", "inv_cdf(level)", "test_bayes.py"),
    Change("bayes.py", "if net.bias else h", "if False else h", "test_bayes.py"),
    Change(
        "bayes.py",
        "condition(self.prior, self.features(inputs[None])",
        "condition(self.prior._replace(noise=2 * self.prior.noise), self.features(inputs[None])",
        "test_bayes.py",
    ),
    Change("bayes.py", "evidence[-1] - evidence[-2] < tol", "evidence[-1] - evidence[-2] < 1e9 * tol", "test_bayes.py"),
    Change(
        "costs.py", "get_traced_memory()[1] - self._before", "get_traced_memory()[1]", "test_costs.py test_evaluate.py"
    ),
    Change("costs.py", "        tracemalloc.reset_peak()\n", "", "test_costs.py test_evaluate.py"),
    Change("costs.py", "return aside(measured)", "return measured()", "test_costs.py test_evaluate.py"),
    Change("evaluate.py", "drawn.support[:1], steps", "drawn.support[:2], steps", "test_costs.py test_evaluate.py"),
    Change(
        "costs.py",
        "self.grad_evals += len(point.loss)",
        "self.grad_evals += 1 + len(point.loss)",
        "test_costs.py test_evaluate.py",
    ),
    Change("costs.py", "self._owner.hvps += len(v)", "pass", "test_costs.py test_evaluate.py"),
    Change("evaluate.py", "seconds=s / count", "seconds=0 * s", "test_costs.py test_evaluate.py"),
    Change(
        "evaluate.py",
        "return lines if measured else [line[:4] for line in lines]",
        "return lines",
        "test_costs.py test_evaluate.py",
    ),
    Change("evaluate.py", "1.96 * spread / np.sqrt(count)", "1.96 * spread", "test_costs.py test_evaluate.py"),
    Change("evaluate.py", "seconds[step:] +=", "seconds[step] =", "test_costs.py test_evaluate.py"),
    Change(
        "run.py",
        "return Costs(self._grad_evals, self._hvps",
        "return Costs(self._hvps, self._grad_evals",
        "test_costs.py test_evaluate.py",
    ),
]
CHANGES += [Change(module, old, new, tests) for module, tests, pairs in BLOCKS for old, new in pairs]
PATIENCE = 240  # seconds for the tests of one row


def caught(change: Change, folder: Path) -> str:
    """The first test that fails once the change is made in ``folder``, a copy of the checkout; "" if none does."""
    path = folder / "metagd_nb" / change.module
    text = path.read_text(encoding="utf-8")
    if text.count(change.old) != 1:
        raise LookupError(f"stands there {text.count(change.old)} times")
    write(path, text.replace(change.old, change.new))
    files = [f"tests/{name}" for name in change.tests.split()]
    slow = [] if "test_jax.py" in change.tests else ["-k", "not jax"]  # compiling the same formulas takes minutes
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *files, *slow]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"no end within {PATIENCE} s"
    finally:
        write(path, text)
    found = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", done.stdout, flags=re.M)
    return found.group(1) if found else ""


def write(path: Path, text: str) -> None:
    """Write it a minute later than it was: compiled code is told from its source by whole seconds."""
    later = path.stat().st_mtime + 60
    path.write_text(text, encoding="utf-8")
    os.utime(path, (later, later))


def one_line(code: str) -> str:
    """Code as it fits into a cell of a table."""
    return "`" + " ".join(code.split()).replace("|", "\\|") + "`" if code.strip() else "nothing"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", help="only modules with one of these in their name")
    parser.add_argument("-o", type=Path, help="file for the table")
    given = parser.parse_args()
    chosen = [c for c in CHANGES if not given.parts or any(part in c.module for part in given.parts)]
    made, failed = kept(given.o), 0
    print(*TOP, sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("metagd_nb", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        for change in chosen:
            try:
                by = caught(change, folder)
            except LookupError as error:
                by = f"**not made: {error}**"
            failed += not by or by.startswith("**")
            made[told(change)] = by or "**nothing**"
            print(f"{told(change)} {made[told(change)]} |", flush=True)
            if given.o:
                rows = [f"{told(c)} {made[told(c)]} |" for c in CHANGES if told(c) in made]
                given.o.write_text("\n".join([HEAD, *TOP, *rows]) + "\n", encoding="utf-8")
    return int(failed > 0)


def told(change: Change) -> str:
    """A row without its last cell."""
    return f"| {change.module} | {one_line(change.old)} | {one_line(change.new)} |"


def kept(path: Path | None) -> dict[str, str]:
    """What noticed, row by row, in a table made before."""
    if path is None or not path.exists():
        return {}
    split = (line.rsplit(" | ", 1) for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("| "))
    return {f"{row} |": by.removesuffix(" |") for row, by in split}


TOP = ["| module | instead of | stands | noticed by |", "| --- | --- | --- | --- |"]
HEAD = """# Formulas broken one at a time

Made by `python -m tests.bench.mutations -o tests/bench/MUTATIONS.md`: what was changed, and the test that failed.
"""

if __name__ == "__main__":
    sys.exit(main())
