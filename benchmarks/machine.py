"""The machine a benchmark runs on: whether it is idle, and what a record says of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secateur import process
from secateur.device import Runtime
from secateur.runs.environment import describe_environment

ROOT = Path(__file__).resolve().parents[1]
IDLE_BELOW = 0.10  # share of all cores that may be in use before a benchmark begins
BUSY_ABOVE = 0.05  # share of one core from which a process is named


def keep_freed_memory() -> None:
    """Tune glibc's malloc as the command line does for its own process."""
    tuner()()


def tuner() -> Callable[[], None]:
    """What does so: the command line's own."""
    return process.keep_freed_memory


def environment(device: str) -> dict[str, Any]:
    """As a record of a run says it; the commit is marked where benchmarks/ was edited too."""
    found = describe_environment(Runtime(device), "fp32")
    commit = found["commit"]
    if commit and not commit.endswith("+changes") and _edited():
        found["commit"] = f"{commit}+changes"
    return found


def _edited() -> bool:
    """Whether the benchmarks differ from the commit; what they leave behind does not count."""
    paths = ["benchmarks", ":(exclude)benchmarks/results"]
    done = subprocess.run(
        ["git", "-C", str(ROOT), "status", "--porcelain", "--", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode != 0 or bool(done.stdout.strip())


def idleness(seconds: float = 1.0) -> dict[str, Any]:
    """How busy the machine is before anything is measured, over so many seconds.

    Returns:
        "idle" (None: this system does not say), "cpu" (share of all cores in use), "load" (averages over 1, 5
        and 15 minutes) and "busy" (other processes: name and share of one core).
    """
    load = list(os.getloadavg()) if hasattr(os, "getloadavg") else None
    before, processes = _cpu_ticks(), _process_ticks()
    if before is None:
        return {"idle": None, "cpu": None, "load": load, "busy": []}
    time.sleep(seconds)
    after = _cpu_ticks()
    assert after is not None
    used, total = (new - old for new, old in zip(after, before, strict=True))
    share = used / max(total, 1)
    ticks = seconds * os.sysconf("SC_CLK_TCK")
    busy = [
        {"process": name, "cores": round((now - processes[pid][1]) / ticks, 2)}
        for pid, (name, now) in _process_ticks().items()
        if pid in processes and pid != os.getpid() and now - processes[pid][1] > BUSY_ABOVE * ticks
    ]
    return {"idle": share <= IDLE_BELOW, "cpu": round(share, 3), "load": load, "busy": busy}


def _cpu_ticks() -> tuple[int, int] | None:
    """(in use, all) of all cores since the start of the system; None where /proc is not Linux's."""
    try:
        fields = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    idle = fields[3] + fields[4]  # waiting for disks is idle
    return sum(fields) - idle, sum(fields)


def _process_ticks() -> dict[int, tuple[str, int]]:
    """(name, ticks used) of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = path.read_text().rpartition(")")
            fields = rest.split()
            found[int(path.parent.name)] = (head.partition("(")[2], int(fields[11]) + int(fields[12]))
        except (OSError, ValueError, IndexError):
            continue  # it is gone
    return found
