"""From a click in JupyterLab to its effect, while a cell trains; the median must be under 50 ms.

Pause and Resume in turn, in a real JupyterLab on this environment's ipykernel. *Obeyed* is the moment at which the
run writes the event, between two steps; *shown* is the moment at which the button has changed in the page.

python -m tests.bench.speed.bench_click [CLICKS]
"""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import ipykernel
import jupyterlab

from tests.helpers.labserver import Lab, browser, lab_page, lab_server

LIMIT_MS = 50
CELLS = {
    "linear regression": "%%metagd gd --lr 0.00001 --steps 100000000\nmodel = linear(3)",
    "MAML, 25 tasks": "%%metagd maml --steps 100000000 --dtype float32\ntasks = sinusoid()\nmodel = mlp(1, 40, 40, 1)",
}
SETUP = """%load_ext metagd_nb
x = np.random.default_rng(0).standard_normal((50, 3))
y = x @ np.array([1.0, -2.0, 0.5]) + 3"""
CLOCKED = """
import time
class Clocked(list):
    def append(self, event):
        super().append(event)
        times.append(time.time())
times = []
run.events = Clocked(run.events)
"""
WATCH = """() => {
    const button = [...document.querySelectorAll('.jupyter-button')].find(b => b.textContent.includes('Pause'));
    const now = () => (performance.timeOrigin + performance.now()) / 1000;
    window.clicked = []; window.shown = [];
    let said = button.textContent;
    button.addEventListener('click', () => window.clicked.push(now()), true);
    new MutationObserver(() => {
        if (button.textContent !== said && button.textContent.trim()) {
            said = button.textContent;
            window.shown.push(now());
        }
    }).observe(button, {childList: true, subtree: true, characterData: true});
}"""


def measured(lab: Lab, name: str, cell: str, clicks: int) -> tuple[list[float], list[float]]:
    """Milliseconds from each click until it was obeyed, and until that was shown."""
    lab.open(name.replace(" ", "-"), [SETUP, cell])
    for index in (0, 1):
        lab.run_cell(index)
    lab.until("run.iteration > 50")
    lab.ask(CLOCKED)
    lab.page.evaluate(WATCH)
    button = lab.page.locator(".jupyter-button").first
    for number in range(clicks):
        lab.page.wait_for_timeout(random.uniform(150, 350))
        button.click()
        lab.page.wait_for_function("n => window.shown.length > n", arg=number, timeout=10_000)
    clicked, shown = lab.page.evaluate("() => [window.clicked, window.shown]")
    obeyed = json.loads(lab.ask("print(times)"))
    lab.ask("run.loop.request('stop')")
    assert len(clicked) == len(shown) == len(obeyed) == clicks
    return _differences(obeyed, clicked), _differences(shown, clicked)


def _differences(later: list[float], earlier: list[float]) -> list[float]:
    return [1000 * (b - a) for a, b in zip(earlier, later, strict=True)]


def told(name: str, values: list[float]) -> str:
    """Median and tenths."""
    low, *_, high = statistics.quantiles(values, n=10)
    return f"{name} {statistics.median(values):.0f} ms (tenth {low:.0f}, ninetieth {high:.0f})"


def main() -> int:
    """Print the figures; exit code 1 when a median is over the limit."""
    clicks = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    chromium: Any = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("no Chromium here: not measured")
        return 0
    print(f"ipykernel {ipykernel.__version__}, jupyterlab {jupyterlab.__version__}, {platform.machine()}", end="")
    print(f", {os.cpu_count()} cores; {clicks} clicks each; limit {LIMIT_MS} ms")
    slow = False
    root = str(Path(__file__).resolve().parents[3])
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        lab_server(Path(home), {"PYTHONPATH": root}) as server,
        browser(chromium) as chrome,
    ):
        for name, cell in CELLS.items():
            with lab_page(chrome, server) as lab:
                obeyed, shown = measured(lab, name, cell, clicks)
            print(f"{name}: {told('obeyed after', obeyed)}, {told('shown after', shown)}")
            slow = slow or statistics.median(obeyed) >= LIMIT_MS or statistics.median(shown) >= LIMIT_MS
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
