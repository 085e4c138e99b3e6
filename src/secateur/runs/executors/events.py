"""What a worker says while it makes a run, through a file of JSON lines: any machine that shares it can.

Pipes and queues between processes differ from pool to pool, and need pickle; a file needs neither, and what
was said before a worker died is in it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from secateur.progress import Reporter

STEP_EVERY_S = 0.2


class EventWriter(Reporter):
    """Writes down what it is told."""

    def __init__(self, path: Path):
        self._file = path.open("a", encoding="utf-8")
        self._last = 0.0

    def taken_up(self) -> None:
        """Say which process this is, and that its time begins now."""
        self._tell("taken_up", pid=os.getpid(), host=socket.gethostname())

    def run_started(self, label: str, compute: float) -> None:
        self._tell("run_started", label=label, compute=compute)

    def run_begun(
        self, run_id: str, label: str, seed: int, identity: Mapping[str, Any], history: Sequence[Any]
    ) -> None:
        self._tell(
            "run_begun", run_id=run_id, label=label, seed=seed, identity=identity, history=list(history)
        )

    def step(self, *, done: float, loss: float, accuracy: float | None = None, **more: float) -> None:
        if time.monotonic() - self._last >= STEP_EVERY_S:
            self._last = time.monotonic()
            self._tell("step", done=done, loss=loss, accuracy=accuracy, **more)

    def epoch(self, row: dict[str, Any]) -> None:
        self._tell("epoch", row=row)

    def run_finished(self, text: str) -> None:
        self._tell("run_finished", text=text)

    def note(self, text: str) -> None:
        self._tell("note", text=text)

    def close(self) -> None:
        """Say nothing more."""
        self._file.close()

    def _tell(self, event: str, **content: Any) -> None:
        print(json.dumps({"event": event, "content": content}), file=self._file, flush=True)


class EventReader:
    """Passes on to a reporter what a worker wrote, as far as it came.

    Attributes:
        pid: the worker's process, where it is one of this machine and has begun.
        heard: when that was heard, by `time.monotonic`.
    """

    EVENTS = ("run_started", "run_begun", "step", "epoch", "run_finished", "note")

    def __init__(self, path: Path, reporter: Reporter):
        self.path, self.reporter = path, reporter
        self.pid: int | None = None
        self.heard = 0.0
        self._read = 0

    def pass_on(self) -> None:
        """Tell what was written since; a line that is not whole yet waits."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        for line in whole.splitlines():
            said = json.loads(line)
            if said["event"] in self.EVENTS:
                getattr(self.reporter, said["event"])(**said["content"])
            elif said["event"] == "taken_up":
                self._taken_up(**said["content"])

    def _taken_up(self, pid: int, host: str) -> None:
        self.pid, self.heard = pid if host == socket.gethostname() else None, time.monotonic()
