"""A real JupyterLab of the test's own, and a page of it in Chromium: what the browser tests and benches drive.

The server has its own folders, port and token, so that a person's settings and sessions play no part.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class LabServer:
    """A running ``jupyter lab``, or Notebook 7 where ``app`` is "notebook"; notebooks live in ``root``."""

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None, app: str = "jupyterlab") -> None:
        self.app = app
        self.root = home / "notebooks"
        self.port, self.token = free_port(), secrets.token_hex(16)
        self.log = home / "lab.log"
        folders = {name: home / name for name in ("config", "data", "runtime", "ipython", "settings", "workspaces")}
        for folder in (self.root, *folders.values()):
            folder.mkdir(parents=True)
        for name, value in SETTINGS.items():
            path = folders["settings"] / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value))
        own = {f"JUPYTER_{name.upper()}_DIR": str(folders[name]) for name in ("config", "data", "runtime")}
        own |= {
            "IPYTHONDIR": str(folders["ipython"]),
            "JUPYTERLAB_SETTINGS_DIR": str(folders["settings"]),
            "JUPYTERLAB_WORKSPACES_DIR": str(folders["workspaces"]),
            "JUPYTER_PLATFORM_DIRS": "1",
        }
        command = [sys.executable, "-m", app, "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}"]
        command += [f"--ServerApp.root_dir={self.root}"]
        command += [f"--{name}.expose_app_in_browser=True" for name in ("LabApp", "JupyterNotebookApp")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **own, **(environment or {})}, stdout=log, stderr=log, cwd=home
            )

    def get(self, path: str, method: str = "GET") -> Any:
        """A call of the server's own interface."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}", headers={"Authorization": f"token {self.token}"}, method=method
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def wait(self, seconds: float = 60) -> None:
        """Until it answers."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.get("api/status")
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.app} did not start:\n{self.log.read_text()[-2000:]}") from None
                time.sleep(0.1)

    def stop(self) -> None:
        """End it and its kernels."""
        if self.process.poll() is None:
            for kernel in self.get("api/kernels"):
                self.get(f"api/kernels/{kernel['id']}", "DELETE")
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def lab_server(
    home: Path, environment: Mapping[str, str] | None = None, app: str = "jupyterlab"
) -> Iterator[LabServer]:
    """A server that is up, and is ended afterwards."""
    server = LabServer(home, environment, app)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@contextmanager
def browser(chromium: str) -> Iterator[Any]:
    """A Chromium that is already on this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            yield chrome
        finally:
            chrome.close()


CELL = "window.jupyterapp.shell.currentWidget.content.widgets"


class Lab:
    """One page with one notebook open."""

    def __init__(self, page: Any, server: LabServer) -> None:
        self.page, self.server = page, server
        self.name = ""

    def open(self, name: str, cells: Sequence[str] | None = None, kernel: bool = True) -> None:
        """Open a notebook, written first when ``cells`` are given. A new name for each: sessions go by path."""
        path = self.server.root / f"{name}.ipynb"
        if cells is not None:
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
            notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
            nbformat.write(notebook, path)
        self.name = name
        base, token = f"http://127.0.0.1:{self.server.port}", f"token={self.server.token}"
        if self.server.app == "notebook":
            self.page.goto(f"{base}/notebooks/{name}.ipynb?{token}")
            self.page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.content", timeout=30_000)
        else:
            self._open_in_lab(f"{base}/lab?reset&{token}", kernel)
        count = len(nbformat.read(path, as_version=4).cells)
        self.page.wait_for_function(f"count => ({CELL} || []).length === count", arg=count, timeout=20_000)
        if kernel:
            self.page.wait_for_function(
                "() => window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'",
                timeout=30_000,
            )
        self.command("application:toggle-left-area") if self.page.locator(".jp-SideBar .lm-mod-current").count() else 0

    def _open_in_lab(self, address: str, kernel: bool) -> None:
        self.page.goto(address)
        self.page.wait_for_function("() => window.jupyterapp !== undefined", timeout=30_000)
        self.page.evaluate("() => window.jupyterapp.restored")
        preferred = "undefined" if kernel else "{shouldStart: false, canStart: false, autoStartDefault: false}"
        self.page.evaluate(
            f"async path => {{ await window.jupyterapp.commands.execute('docmanager:open',"
            f" {{path, factory: 'Notebook', kernelPreference: {preferred}}}); }}",
            f"{self.name}.ipynb",
        )

    def command(self, name: str, **arguments: Any) -> None:
        """Execute one of JupyterLab's commands without waiting for what it does."""
        self.page.evaluate("([name, args]) => { window.jupyterapp.commands.execute(name, args); }", [name, arguments])

    def theme(self, name: str) -> None:
        """``LIGHT`` or ``DARK``."""
        self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        dark = str(name == DARK).lower()
        self.page.wait_for_function(f"() => document.body.dataset.jpThemeLight !== '{dark}'")

    def run_all(self, wait: bool = True) -> None:
        """Run every cell; wait until all are done."""
        self.command("notebook:run-all-cells")
        if wait:
            self.page.wait_for_timeout(50)
            self.until_idle()

    def run_cell(self, index: int, wait: bool = True) -> None:
        """Run one cell."""
        self.page.evaluate(
            "i => { const p = window.jupyterapp.shell.currentWidget; p.content.deselectAll();"
            " p.content.activeCellIndex = i; window.jupyterapp.commands.execute('notebook:run-cell'); }",
            index,
        )
        if wait:
            self.page.wait_for_timeout(50)
            self.until_idle()

    def until_idle(self, seconds: float = 60) -> None:
        """Until every cell is done: the kernel's status alone misleads."""
        self.page.wait_for_function(
            f"() => {CELL}.every(c => c.model.type !== 'code' || c.model.executionState === 'idle')",
            timeout=1000 * seconds,
        )

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell, as they would be saved."""
        found: list[dict[str, Any]] = self.page.evaluate(f"i => {CELL}[i].model.outputs.toJSON()", index)
        return found

    def text(self, index: int) -> str:
        """What a cell printed and returned."""
        parts = []
        for output in self.outputs(index):
            text = output.get("text") or output.get("data", {}).get("text/plain") or output.get("traceback") or ""
            parts.append(text if isinstance(text, str) else "".join(text))
        return re.sub(r"\x1b\[[0-9;]*m", "", "".join(parts))

    def picture(self, index: int) -> str | None:
        """The PNG under a cell, base64; None while there is none."""
        for output in self.outputs(index):
            data = output.get("data", {})
            if "image/png" in data:
                return "".join(data["image/png"])
        return None

    def ask(self, code: str) -> str:
        """What ``code`` prints in the kernel, asked beside the notebook so that no cell is needed."""
        answer: str = self.page.evaluate(
            """async code => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({code, store_history: false});
                let text = '';
                future.onIOPub = m => {
                    if (m.header.msg_type === 'stream') text += m.content.text;
                    if (m.header.msg_type === 'error') text += m.content.traceback.join('\\n');
                };
                await future.done;
                return text;
            }""",
            code,
        )
        return answer.strip()

    def until(self, code: str, seconds: float = 20) -> str:
        """Until the expression is true in the kernel, and all that it names is there; its value printed."""
        asked = f"try:\n    print({code})\nexcept NameError:\n    print(False)"
        return self.poll(lambda: self.ask(asked), lambda text: text not in ("", "False", "None"), seconds)

    def poll(self, look: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 20) -> Any:
        """What ``evaluate`` gives once it is good."""
        deadline = time.monotonic() + seconds
        while True:
            seen = look()
            if good(seen):
                return seen
            assert time.monotonic() < deadline, f"still {seen!r} after {seconds} s"
            self.page.wait_for_timeout(50)

    def save(self) -> Any:
        """Save, and read the file."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.save()")
        return nbformat.read(self.server.root / f"{self.name}.ipynb", as_version=4)

    def shutdown_kernel(self) -> None:
        """End the notebook's kernel."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")


@contextmanager
def lab_page(chrome: Any, server: LabServer, width: int = 1200, height: int = 900) -> Iterator[Lab]:
    """A fresh page (its own storage); closed afterwards, and the kernels it started are ended."""
    context = chrome.new_context(viewport={"width": width, "height": height})
    try:
        yield Lab(context.new_page(), server)
    finally:
        context.close()
        for session in server.get("api/sessions"):
            server.get(f"api/sessions/{session['id']}", "DELETE")
