"""Processes: what Secateur does to its own, which others are there still, and what packages may tell."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

_HUB = {"HF_HUB_DISABLE_TELEMETRY": "1"}
_TELLS_NOBODY = {
    "onnxruntime": {"ORT_DISABLE_TELEMETRY": "1"},  # else to Microsoft, with an id kept in ~/.cache
    "huggingface_hub": _HUB,  # else what is installed here, and which assistant is at work, with each request
    "datasets": _HUB,
    "transformers": _HUB,
    "timm": _HUB,
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true"},  # else to Databricks, wherever the runs are shown
    "wandb": {"WANDB_ERROR_REPORTING": "false"},
}
"""Package -> what tells it, by its environment, to send nothing of its own accord."""
_REPORTERS = {"openvino": "openvino_telemetry"}
"""Package -> the module by which it reports, to Google Analytics, that it was imported; it does without."""
_LEFT_UNSAID = {"matplotlib": ("mkdir -p failed", "Matplotlib created a temporary")}
"""Package -> how the lines begin that it logs where home cannot be written; it then works all the same."""


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


def silent(name: str) -> Any:
    """Import somebody else's package, or a module of it, told to send nothing of its own accord.

    What the user's environment says of that already stays so. Every optional package that could report its
    use is imported by this: `tests/test_nothing_sent.py` reads the sources for it, and sees that none does.

    Raises:
        ImportError: it is not there, or cannot be imported.
    """
    package = name.partition(".")[0]
    for variable, value in _TELLS_NOBODY.get(package, {}).items():
        os.environ.setdefault(variable, value)
    with _absent(_REPORTERS.get(package)), _quiet(package):
        found = import_module(name)
    _silence_what_was_there(package)
    return found


@contextmanager
def _absent(module: str | None) -> Iterator[None]:
    """Have a module as if it were not installed, unless it was imported before."""
    if module is None or module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # so says the import system: not to be had
    try:
        yield
    finally:
        sys.modules.pop(module, None)


@contextmanager
def _quiet(package: str) -> Iterator[None]:
    """Leave out some of what a package logs."""
    log, starts = logging.getLogger(package), _LEFT_UNSAID.get(package, ())

    def is_said(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(starts)

    log.addFilter(is_said)
    try:
        yield
    finally:
        log.removeFilter(is_said)


def _silence_what_was_there(package: str) -> None:
    """Tell packages that the host imported before us, and which read their environment only then."""
    if constants := sys.modules.get("huggingface_hub.constants"):
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]
    if package == "onnxruntime":
        sys.modules["onnxruntime"].disable_telemetry_events()
