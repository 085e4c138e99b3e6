"""Whether a run is alive: who makes it, its last sign of life, and what became of one that ended.

While a run is made its folder has `alive.json`, touched every second or so of training; whoever ends in
order takes it away. A run that is held (`RunStore.claimed`) is running; one that is stuck is
known by a last sign of life that is long ago.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from secateur.atomic import make_folder, write_json
from secateur.errors import InputError
from secateur.progress import Reporter, duration
from secateur.records.ours import VERSION
from secateur.records.run_folder import RunFolder
from secateur.records.stored import Stored

ALIVE_FILE = "alive.json"
EVERY_S = 1.0
FRESH_S = 60.0
"""Who gave a sign of life since then is taken to live where nothing tells it surely."""
FINISHED, FAILED, RUNNING, KILLED, INTERRUPTED = "finished", "failed", "running", "killed", "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive(Stored):
    """Who makes a run.

    Attributes:
        pid, host: the process.
        since: when it began, in seconds since 1970.
        label: the run, for people.
        environment: the version of Secateur.
    """

    SCHEMA: ClassVar[int | None] = 1

    pid: int
    host: str
    since: float
    label: str
    environment: Mapping[str, Any]

    @property
    def is_here(self) -> bool:
        """Whether its process is one of this machine."""
        return self.host == socket.gethostname()


class Pulse(Reporter):
    """Touches a run's `alive.json` when it hears of a step."""

    def __init__(self, path: Path):
        self.path, self._last = path, 0.0

    def step(self, *, done: float, loss: float, accuracy: float | None = None, **more: float) -> None:
        if (now := time.monotonic()) - self._last >= EVERY_S:
            self._last = now
            with suppress(OSError):  # no sign of life is worth a run
                os.utime(self.path)


@contextmanager
def alive(store: RunFolder, run_id: str, label: str) -> Iterator[Pulse]:
    """Show that a run is being made, until it ends in whatever way but a kill."""
    path = store.path(run_id) / ALIVE_FILE
    make_folder(path.parent)
    found = Alive(
        pid=os.getpid(),
        host=socket.gethostname(),
        since=time.time(),
        label=label,
        environment={"secateur": VERSION},
    )
    write_json(path, found.to_json())
    try:
        yield Pulse(path)
    finally:
        forget_maker(store, run_id)


def forget_maker(store: RunFolder, run_id: str) -> None:
    """Have nobody make a run."""
    with suppress(OSError):
        (store.path(run_id) / ALIVE_FILE).unlink(missing_ok=True)


def maker_of(store: RunFolder, run_id: str) -> Alive | None:
    """Who makes a run, or was killed at it; None where nobody says."""
    path = store.path(run_id) / ALIVE_FILE
    try:
        return Alive.load(path) if path.is_file() else None
    except InputError:
        return None


@dataclass(frozen=True)
class State:
    """What became of a run: one of the five names, and more in words."""

    name: str
    label: str = ""
    said: str = ""

    @property
    def text(self) -> str:
        """For people.

        Example:
            >>> State("running", said="process 7, last sign of life 3 s ago").text
            'running (process 7, last sign of life 3 s ago)'
        """
        return f"{self.name} ({self.said})" if self.said else self.name


def state_of(store: RunFolder, run_id: str) -> State:
    """Say what became of a run that has a folder."""
    if store.finished(run_id):
        return State(FINISHED)
    maker, failure = maker_of(store, run_id), store.failure(run_id)
    ago = _ago(store.path(run_id) / ALIVE_FILE)
    if store.is_claimed(run_id) or (maker and _seems_alive(maker, ago)):
        said = f"process {maker.pid} on {maker.host}, {_told(ago)}" if maker else ""
        return State(RUNNING, maker.label if maker else "", said)
    if failure is not None:
        return State(FAILED, failure.label, failure.error)
    if maker is not None:
        return State(KILLED, maker.label, _told(ago))
    return State(INTERRUPTED)


def _seems_alive(maker: Alive, ago: float) -> bool:
    """Of runs that nobody holds here: those of other machines, and of several processes together."""
    if maker.is_here:
        try:
            os.kill(maker.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    return ago < FRESH_S


def _ago(path: Path) -> float:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0


def _told(ago: float) -> str:
    return f"last sign of life {duration(ago)} ago"
