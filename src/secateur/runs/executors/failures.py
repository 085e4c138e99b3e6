"""Runs that fail while others go on: kept in their folders, told at once, raised or given at the end."""

from __future__ import annotations

import datetime
import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from secateur.errors import (
    OUT_OF_MEMORY,
    InputError,
    TrainingError,
    UnreadableError,
    kind_and_line,
    out_of_memory,
)
from secateur.progress import Reporter
from secateur.records.failed import Failed
from secateur.records.ours import VERSION
from secateur.runs.graph import Made, Node
from secateur.runs.store import RunStore

SHOWN = 3
_OF_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""A full disk and its like: no other run would fare better."""
_REFUSED = (errno.EACCES, errno.EPERM)
"""Nor would one where it is the folder of the runs that is refused."""


def stops_all(error: BaseException, store: RunStore) -> bool:
    """Whether an error is of the system rather than of one run, so that nothing more is begun."""
    if isinstance(error, UnreadableError):
        return True
    if not isinstance(error, OSError) or error.errno not in (*_OF_THE_SYSTEM, *_REFUSED):
        return False
    return error.errno in _OF_THE_SYSTEM or _is_within(error.filename, store)


def _is_within(filename: object, store: RunStore) -> bool:
    """Whether a file, as an error names it, is one of the runs' folder; unnamed, it is taken for one."""
    if not isinstance(filename, (str, bytes)):
        return True
    return Path(os.fsdecode(filename)).absolute().is_relative_to(store.directory.absolute())


def message_of(error: BaseException) -> str:
    """Say an error in a line: ours as it is, others' with their kind."""
    if isinstance(error, (InputError, TrainingError)):
        return str(error)
    said = kind_and_line(error)
    return f"{said}: {OUT_OF_MEMORY}" if out_of_memory(error) else said


def _named(name: str, message: str) -> str:
    """An error with the run that it is of, said once."""
    return message if name in message else f"{name}: {message}"


@dataclass
class Failures:
    """The runs of a graph that failed.

    Attributes:
        total: how many runs were to be made.
        retried: whether the same command tries them again without being asked to.
        errors: the errors of this command, by node.
        told: node -> what is kept of it, those of an earlier command too.
        left: how many runs were not begun, as they wait for one that failed.
    """

    total: int
    retried: bool = True
    errors: dict[str, BaseException] = field(default_factory=dict)
    told: dict[str, Failed] = field(default_factory=dict)
    left: int = 0

    def __bool__(self) -> bool:
        return bool(self.told)

    def add(
        self,
        node: Node,
        error: BaseException,
        reporter: Reporter,
        made: Made | None = None,
        *,
        writes: bool = True,
    ) -> None:
        """Keep a failure, tell it, and write it into the run's folder, where this process `writes`."""
        message = message_of(error)
        failed = Failed(
            run_id=_id_of(node) if made is None else made.id(node),
            label=node.name,
            error=" ".join(message.split()).removeprefix(f"{node.name}: "),
            refused=isinstance(error, InputError),
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            environment={"secateur": VERSION},
        )
        if made is not None:
            # What holds an error holds all that its frames do: a network on the GPU, for example.
            error = error.with_traceback(None) if self.total > 1 else error
            if writes:
                made.store.save_failure(failed)
        self.errors[node.name], self.told[node.name] = error, failed
        reporter.note(f"failed: {_named(node.name, failed.error)}")

    def passes_over(self, node: Node, made: Made, reporter: Reporter) -> bool:
        """Whether a run failed under an earlier command, and is not tried again; that is said."""
        if self.retried or (run_id := made.id(node)) is None:
            return False
        failed = made.store.failure(run_id)
        if failed is None:
            return False
        self.told[node.name] = failed
        reporter.note(f"failed before: {_named(node.name, failed.error)} (--retry-failed tries it again)")
        return True

    def raise_if_any(self, left: int = 0) -> None:
        """Raise what failed: the error itself where it is the only run, else all of them in a line.

        Args:
            left: how many runs were not begun, as they wait for one that failed.
        """
        if not self.told:
            return
        left = left or self.left
        first = next(iter(self.errors.values()), None)
        if self.total == 1 and first is not None:
            raise _as_one(first, next(iter(self.told)))
        named = "; ".join(_named(name, each.error) for name, each in list(self.told.items())[:SHOWN])
        more = len(self.told) - SHOWN
        refused = next(iter(self.told.values())).refused
        again = f"the same command tries these again{'' if self.retried else ' with --retry-failed'}"
        raise (InputError if refused else TrainingError)(
            f"{len(self.told)} of {self.total} runs failed: {named}"
            + (f"; and {more} more" if more > 0 else "")
            + (f"; {left} that wait for them were not begun" if left else "")
            + f"; the others are finished and kept, and {again}"
        ) from first


def _as_one(error: BaseException, name: str) -> BaseException:
    """The error of the only run. What is neither ours nor of the system is told with the run: by itself it
    would look like a fault of ours, and exit(0) like success."""
    known = isinstance(error, (InputError, TrainingError, OSError, MemoryError, ImportError))
    if known or out_of_memory(error) or os.environ.get("SECATEUR_DEBUG"):
        return error
    told = TrainingError(f"{_named(name, message_of(error))}: SECATEUR_DEBUG=1 shows where")
    told.__cause__ = error
    return told


def _id_of(node: Node) -> str | None:
    return node.run.run_id if node.run else None
