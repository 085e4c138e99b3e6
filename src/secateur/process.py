"""What Secateur does to a process that is its own: the command line's, a worker's; never its host's."""

from __future__ import annotations

import gc
import os
from contextlib import suppress
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


def keep_imported() -> None:
    """Have Python's collector pass over all that is there now: what was imported stays until the end.

    torch is a million objects, and each full collection looked at all of them; a sixth of a report's time.
    """
    gc.freeze()


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
