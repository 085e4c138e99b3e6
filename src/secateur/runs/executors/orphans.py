"""Kills the processes that carry a mark when the one that marked them is gone: also a program of its own.

Ray's own processes end with the one that started them (Linux kills its children; they end theirs), but two
agents of it wait up to a minute for an answer of a dead server, and its folder stays. A process carries a
mark by having it in the environment that it was started with, as all have that it starts. Where there is no
/proc, none is found.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PARENT_EVERY_S = 0.5
PATIENCE_S = 15.0
QUIET_S = 1.0
"""How long nobody with the mark must have been seen: who begins a program has no environment for a moment."""


class Watch:
    """A process that outlives this one as long as it takes to kill what carries the mark."""

    def __init__(self, mark: str, folder: str):
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, mark, folder, str(os.getpid())],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for a group
        )

    def close(self) -> None:
        """Have it do so now, and wait until it has."""
        self._process.communicate()


def marked(mark: str) -> list[int]:
    """The ids of the processes that carry the mark, those aside that only wait to be forgotten."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def sweep(mark: str) -> None:
    """Kill all that carry the mark, and wait until none has been seen for a while."""
    seen = begun = time.monotonic()
    while (now := time.monotonic()) < min(seen + QUIET_S, begun + PATIENCE_S):
        for process in marked(mark):
            seen = now
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


def main(mark: str, folder: str, parent: int) -> None:
    """Wait for the end of standard input, or of the parent, whichever is noticed first."""
    while os.getppid() == parent and not select.select([0], [], [], PARENT_EVERY_S)[0]:
        pass
    sweep(mark)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
