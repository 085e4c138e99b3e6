"""Whether processes are there still."""

from __future__ import annotations

import time

from secateur.runs.executors.orphans import marked


def gone(mark, patience_s=60.0):
    """Whether no process with the mark is left, a while later."""
    last = time.monotonic() + patience_s
    while (left := marked(mark)) and time.monotonic() < last:
        time.sleep(0.05)
    return not left
