"""Runs that fail while others go on: kept, told when they happen, raised at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from secateur.errors import InputError, TrainingError, kind_and_line
from secateur.progress import Reporter
from secateur.runs.graph import Node

SHOWN = 3


def message_of(error: BaseException) -> str:
    """Say an error in a line: ours as it is, others' with their kind."""
    return str(error) if isinstance(error, (InputError, TrainingError)) else kind_and_line(error)


def _named(name: str, error: BaseException) -> str:
    """An error with the run that it is of, said once."""
    message = message_of(error)
    return message if name in message else f"{name}: {message}"


@dataclass
class Failures:
    """The runs of a graph that failed.

    Attributes:
        total: how many runs were to be made.
    """

    total: int
    errors: dict[str, BaseException] = field(default_factory=dict)

    def add(self, node: Node, error: BaseException, reporter: Reporter) -> None:
        """Keep a failure, and tell it."""
        self.errors[node.name] = error
        reporter.note(f"failed: {_named(node.name, error)}")

    def raise_if_any(self, left: int) -> None:
        """Raise what failed: the error itself where it is the only run, else all of them in a line.

        Args:
            left: how many runs were not begun, as they wait for one that failed.
        """
        if not self.errors:
            return
        first = next(iter(self.errors.values()))
        if self.total == 1:
            raise first
        named = "; ".join(_named(name, error) for name, error in list(self.errors.items())[:SHOWN])
        more = len(self.errors) - SHOWN
        kind = InputError if isinstance(first, InputError) else TrainingError
        raise kind(
            f"{len(self.errors)} of {self.total} runs failed: {named}"
            + (f"; and {more} more" if more > 0 else "")
            + (f"; {left} that wait for them were not begun" if left else "")
            + "; the others are finished and kept, and the same command tries these again"
        ) from first
