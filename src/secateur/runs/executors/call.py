"""One call in a worker: what is prepared for it, and how its answer or its error travels back as JSON.

Errors travel as text because unpickling somebody else's exception can fail, which takes a whole pool down.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from secateur.errors import InputError, TrainingError, UnreadableError, kind_and_line
from secateur.process import keep_freed_memory
from secateur.records.ours import VERSION

_KINDS: dict[str, type[Exception]] = {
    "UnreadableError": UnreadableError,
    "InputError": InputError,
    "TrainingError": TrainingError,
    "OSError": OSError,
}


def thread_environment(threads: int) -> dict[str, str]:
    """What numerical libraries read when they are loaded. MKL and OpenBLAS prefer their own to OMP's."""
    return {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}


def search_paths() -> list[str]:
    """Where this process finds modules, in its order; "" is the current directory."""
    return [os.path.abspath(path) for path in sys.path]


def paths_of_ones_own() -> list[str]:
    """The same without Python's own folders and the installed packages', which every Python has."""
    python = sysconfig.get_path("stdlib")
    return [
        path
        for path in search_paths()
        if not path.startswith(python)
        and not path.endswith(".zip")
        and not {"site-packages", "dist-packages"} & set(Path(path).parts)
    ]


def prepare(threads: int) -> None:
    """Give this process, a worker, its number of threads, and have it keep the memory that it freed."""
    import_module("torch").set_num_threads(threads)
    keep_freed_memory()


def outcome(function: str, argument: str) -> str:
    """Call "package.module:name" with a text, and pack what comes of it: see `unpack`."""
    try:
        module, _, name = function.partition(":")
        answer = getattr(import_module(module), name)(argument)
        if not isinstance(answer, str):
            raise TypeError(f"{function} must give text, got {type(answer).__name__}")
    except BaseException as error:  # Ctrl-C is for the process that waits: whatever this is, it is the call's
        return json.dumps(_packed(error))
    return json.dumps({"answer": answer})


def unpack(packed: str) -> str:
    """The answer of a call; raises what the call raised, or RuntimeError for what is not ours."""
    content = json.loads(packed)
    if "failed" in content:
        raise _KINDS.get(content["failed"], RuntimeError)(*content["arguments"])
    return content["answer"]


def _packed(error: BaseException) -> dict[str, Any]:
    kind = next((name for name, known in _KINDS.items() if isinstance(error, known)), "")
    if not kind:
        traceback.print_exc()  # for the worker's log; the caller gets one line
        return {"failed": "", "arguments": [kind_and_line(error)]}
    if isinstance(error, OSError) and error.errno is not None:
        file = [] if error.filename is None else [os.fsdecode(error.filename)]
        return {"failed": kind, "arguments": [error.errno, error.strerror, *file]}
    return {"failed": kind, "arguments": [str(error)]}


def seen_from_here(path: str) -> str:
    """What a worker reads in a file, and of which version its Secateur is; called by `RayPool.probe`."""
    try:
        found = Path(path).read_text(encoding="utf-8")
    except OSError:
        found = None
    return json.dumps({"found": found, "version": VERSION})
