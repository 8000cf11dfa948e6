"""Memory that the C library keeps for the next array."""

from __future__ import annotations

import numpy as np

KEPT_BYTES = 30 << 20  # just below the largest block for which the GNU C library learns; untouched, so never resident


def keep_freed_memory() -> None:
    """Have the GNU C library keep what is freed, up to some 60 MB, instead of returning it to the system.

    It gives every block above 128 KB back at once, so an array (T, P) costs a page fault for each 4 KB, at every
    step: half the time of a small meta-step. After a larger block has been freed once, it keeps blocks up to that size
    (``man mallopt``, M_MMAP_THRESHOLD). Elsewhere this does nothing.
    """
    np.empty(KEPT_BYTES, np.uint8)
