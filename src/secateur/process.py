"""Processes: what Secateur does to its own (never to its host), and which others are there still."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path


def keep_freed_memory() -> None:
    """Stop glibc from returning every freed activation to the kernel and faulting it in again each step.

    For processes that are ours; the library never does this to its host. Elsewhere than on glibc: nothing.
    """
    import ctypes

    trim_threshold, mmap_threshold, one_gib = -1, -3, 1 << 30
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, one_gib)
        libc.mallopt(trim_threshold, one_gib)
    except (OSError, AttributeError):
        return


def this_process() -> str:
    """Name this process so that others can tell whether it has ended, as a part of files' names.

    The machine since it was started with its space of ids, the id, and when the process began, as ids are
    given out again. "" where there is no /proc.

    Example:
        >>> this_process()  # doctest: +SKIP
        '5f2bc06a-4711-190352'
    """
    began = _began(os.getpid())
    return f"{_ids_of()}-{os.getpid()}-{began}" if began is not None and _ids_of() else ""


def has_ended(name: str) -> bool | None:
    """Whether the process that `this_process` named, somewhere in a file's name, is gone.

    None where that cannot be told: there is no name in it, or it is one of another machine or container.
    """
    found = _NAMED.search(name)
    if found is None or found[1] != _ids_of():
        return None
    began = _began(int(found[2]))
    if began is not None:
        return began != int(found[3])
    try:
        os.kill(int(found[2]), 0)
    except PermissionError:  # it is there, but of another user, and hidden
        return None
    except (ProcessLookupError, OverflowError):
        return True
    return True  # it waits to be forgotten


_NAMED = re.compile(r"(?<![0-9a-f])([0-9a-f]{8})-(\d{1,10})-(\d{1,20})(?!\d)")


@cache
def _ids_of() -> str:
    """Eight hex digits of the machine, since it was started, and of its space of process ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        space = os.readlink("/proc/self/ns/pid")
    except (OSError, UnicodeDecodeError):
        return ""
    return hashlib.sha256(f"{boot}{space}".encode()).hexdigest()[:8]


def _began(process: int) -> int | None:
    """When a process began, in ticks since the machine did; None where none is at work that can be seen."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def holders(path: Path) -> str:
    """Who has a file open besides this process, for a message; "" where nobody can tell.

    A worker holds what its parent held, and one that is stopped does not notice that its parent is gone.
    """
    found = [process for process in _processes() if process != os.getpid() and _has_open(process, path)]
    if not found:
        return ""
    stopped = [str(process) for process in found if _is_stopped(process)]
    said = f"process{'es' if len(found) > 1 else ''} {', '.join(map(str, found))}"
    if not stopped:
        return f" ({said})"
    those = " ".join(stopped)
    return f" ({said}; stopped: {those}; `kill -CONT {those}` lets it go on, `kill -KILL {those}` ends it)"


def _processes() -> list[int]:
    """The ids of all; none where there is no /proc."""
    return sorted(int(each.name) for each in Path("/proc").glob("[0-9]*") if each.name.isdigit())


def _has_open(process: int, path: Path) -> bool:
    with suppress(OSError):  # another user's, or it is gone
        wanted = path.stat()
        for each in (Path("/proc") / str(process) / "fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(each.stat(), wanted):
                    return True
    return False


def _is_stopped(process: int) -> bool:
    with suppress(OSError, IndexError):
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    return False
