"""One display, updated in place from the training thread, whose text never changes."""

from __future__ import annotations

import contextlib
import gc
import io
import queue
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from PIL import Image
from standin_run import StandInRun

import metagd_nb as mg
from metagd_nb.notebook.display import LiveDisplay
from metagd_nb.plotting.run_figure import LiveRunFigure
from metagd_nb.training.drivers import background


class Frontend(CapturingDisplayPublisher):
    """A notebook as seen from the kernel: keeps what is published, and by which thread."""

    def publish(self, data: Any, metadata: Any = None, **rest: Any) -> None:  # type: ignore[override]
        self.outputs.append(
            {"data": data, "metadata": metadata, "thread": threading.current_thread(), **rest},
        )


@pytest.fixture
def notebook(shell: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A shell whose displays go to a front end that shows pictures."""
    frontend = Frontend(parent=shell)
    monkeypatch.setattr(shell, "display_pub", frontend)
    return frontend


def size(output: Any) -> tuple[int, int]:
    return Image.open(io.BytesIO(output["data"]["image/png"])).size


def shown(notebook: Any) -> list[Any]:
    return [output for output in notebook.outputs if "image/png" in output["data"]]


def test_one_display_is_shown_once_and_then_updated(notebook: Any) -> None:
    run = StandInRun().fill([3.0, 2.0])
    live = LiveDisplay(run)
    live.show()
    live.show()  # once is enough
    for _ in range(3):
        run.fill([1.5])
        live.frame()
    run.stopped = "user"
    live.frame(final=True)
    outputs = shown(notebook)
    assert [output.get("update", False) for output in outputs] == [False, True, True, True, True]
    assert len({output["transient"]["display_id"] for output in outputs}) == 1
    assert {output["data"]["text/plain"] for output in outputs} == {"metagd plot"}
    shapes = [output["metadata"]["image/png"] for output in outputs]
    assert {(shape["width"], shape["height"]) for shape in shapes} == {(720, 320)}
    assert shapes[0]["alt"] != shapes[-1]["alt"], "the words of the picture follow the run"
    assert [size(output)[0] for output in outputs] == [720] * 4 + [1440]
    assert len({output["data"]["image/png"] for output in outputs}) == 5


def test_frames_come_from_the_thread_that_trains_and_two_runs_do_not_cross(notebook: Any) -> None:
    x = np.random.default_rng(0).standard_normal((50, 3))
    lives = []
    for lr in (0.01, 0.02):
        run = mg.prepare("gd", model=mg.linear(3), x=x, y=x @ [1.0, 2.0, 3.0], lr=lr, steps=100_000, seconds=0.4)
        lives.append(LiveDisplay(run))
        lives[-1].show()
        background(run, lives[-1])
    for live in lives:
        live.run.wait()
        assert live.run.stopped in ("seconds", "steps")
        assert live.run.note is None
    ids = {output["transient"]["display_id"] for output in shown(notebook)}
    assert len(ids) == 2
    for one in ids:
        mine = [output for output in shown(notebook) if output["transient"]["display_id"] == one]
        assert mine[0]["thread"] is threading.main_thread()
        assert len({output["thread"] for output in mine[1:]} | {threading.main_thread()}) == 2
        assert [size(output)[0] for output in mine] == [720] * (len(mine) - 1) + [1440]
        assert len(mine) >= 3


def test_a_frame_before_the_display_shows_nothing(notebook: Any) -> None:
    live = LiveDisplay(StandInRun().fill([1.0]))
    live.frame()
    assert not shown(notebook)


def test_the_final_frame_frees_the_plot_and_a_later_one_starts_afresh(notebook: Any) -> None:
    run = StandInRun().fill([3.0, 2.0])
    live = LiveDisplay(run)
    live.show()
    plot = weakref.ref(live._plot)  # type: ignore[arg-type]
    live.frame(final=True)
    gc.collect()
    assert plot() is None
    run.fill([1.0])
    live.frame()
    assert isinstance(live._plot, LiveRunFigure)
    assert live._plot.rows == 3
    ref = weakref.ref(run)
    del run, live
    gc.collect()
    assert ref() is None


def test_a_terminal_gets_a_line_of_progress(
    shell: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run = StandInRun().fill([3.0, 2.0])
    live = LiveDisplay(run)
    live.show()
    live.frame()
    run.stopped, run.loop.note = "diverged", "diverged at step 1; a smaller lr usually helps"
    live.frame(final=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\r") == 3
    assert "step 1 of 500  ·  loss 2" in err
    assert err.endswith("loss 3 → 2\ndiverged at step 1; a smaller lr usually helps\n")


def test_a_log_file_gets_the_last_line_only(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = StandInRun().fill([3.0, 2.0])
    live = LiveDisplay(run)
    live.show()
    live.frame()
    run.stopped = "steps"
    live.frame(final=True)
    assert capsys.readouterr() == ("", "metagd gd: all steps done  ·  1 step  ·  loss 3 → 2\n")


@pytest.mark.kernel
def test_in_a_real_kernel_every_frame_updates_the_cells_own_display(jupyter_dirs: dict[str, str]) -> None:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", env=jupyter_dirs)
    try:
        cell = (
            "import numpy as np, metagd_nb as mg\nfrom metagd_nb.notebook.display import LiveDisplay\n"
            "from metagd_nb.training.drivers import background\n"
            "x = np.eye(3)\nrun = mg.prepare('gd', model=mg.linear(3), x=x, y=x[0], lr=.001, steps=10**6, seconds=.6)\n"
            "live = LiveDisplay(run); live.show(); background(run, live)"
        )
        cells = [client.execute(cell), client.execute("run.wait(); print(run.note)")]
        messages: list[Any] = []
        idle: set[str] = set()
        while not idle.issuperset(cells):
            messages.append(client.get_iopub_msg(timeout=30))
            if messages[-1]["content"].get("execution_state") == "idle":
                idle.add(messages[-1]["parent_header"]["msg_id"])
        with contextlib.suppress(queue.Empty):
            while True:
                messages.append(client.get_iopub_msg(timeout=0.2))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    pictures = [m for m in messages if "image/png" in m["content"].get("data", {})]
    assert [m["msg_type"] for m in pictures] == ["display_data"] + ["update_display_data"] * (len(pictures) - 1)
    assert len({m["content"]["transient"]["display_id"] for m in pictures}) == 1
    assert [m["content"]["text"] for m in messages if m["msg_type"] == "stream"] == ["None\n"]
    assert len(pictures) >= 3
