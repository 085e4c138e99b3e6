"""Runs that fail while others go on: kept in their folders, told at once, raised or given at the end."""

from __future__ import annotations

import datetime
import errno
from dataclasses import dataclass, field

from secateur.errors import InputError, TrainingError, UnreadableError, kind_and_line
from secateur.progress import Reporter
from secateur.records.failed import Failed
from secateur.records.ours import VERSION
from secateur.runs.graph import Made, Node, NotMadeError

SHOWN = 3
_OF_THE_SYSTEM = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO),
    *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE),
)
"""A full disk and its like: no other run would fare better."""


def stops_all(error: BaseException) -> bool:
    """Whether an error is of the system rather than of one run, so that nothing more is begun."""
    return isinstance(error, UnreadableError) or (
        isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM
    )


def message_of(error: BaseException) -> str:
    """Say an error in a line: ours as it is, others' with their kind."""
    return str(error) if isinstance(error, (InputError, TrainingError)) else kind_and_line(error)


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

    def add(self, node: Node, error: BaseException, reporter: Reporter, made: Made | None = None) -> None:
        """Keep a failure, tell it, and write it into the run's folder."""
        message = message_of(error)
        failed = Failed(
            run_id=_id_of(node, made),
            label=node.name,
            error=" ".join(message.split()).removeprefix(f"{node.name}: "),
            refused=isinstance(error, InputError),
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            environment={"secateur": VERSION},
        )
        if made is not None:
            # What holds an error holds all that its frames do: a network on the GPU, for example.
            error = error.with_traceback(None) if self.total > 1 else error
            made.store.save_failure(failed)
        self.errors[node.name], self.told[node.name] = error, failed
        reporter.note(f"failed: {_named(node.name, failed.error)}")

    def passes_over(self, node: Node, made: Made, reporter: Reporter) -> bool:
        """Whether a run failed under an earlier command, and is not tried again; that is said."""
        if self.retried or (run_id := _id_of(node, made)) is None:
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
            raise first
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


def _id_of(node: Node, made: Made | None) -> str | None:
    """The run's id; None where it follows from what is not there, or cannot be told for another reason."""
    try:
        return made.run(node).run_id if made is not None else node.run.run_id if node.run else None
    except (NotMadeError, ValueError, RuntimeError):
        return None
