"""An interrupt from outside, as Ctrl-C or the stop button of a notebook sends it."""

from __future__ import annotations

import _thread
import threading
import time

PATIENCE = 30  # seconds after which a run that has not begun will not begin


def interrupt_training(seconds: float) -> threading.Thread:
    """Interrupt the main thread that many seconds after a thread that trains is there.

    On a busy machine preparing a run takes longer than any fixed time.

    Parameters
    ----------
    seconds : float
        From the beginning of the training to the interrupt.

    Returns
    -------
    Thread
        Ends with the interrupt; to be joined.
    """

    def interrupt() -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not any(one.name == "metagd" for one in threading.enumerate()):
            time.sleep(0.01)
        time.sleep(seconds)
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    return thread
