"""Runs made in this process, one after the other."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from secateur.errors import UnfinishedError
from secateur.runs.executors.failures import Failures
from secateur.runs.graph import Made, Node, NotMadeError
from secateur.runs.session import Session

Finished = Callable[[Node], None]
"""Is told of every node whose run is finished."""


def make_here(made: Made, session: Session, finished: Finished) -> None:
    """Make every run of a graph that is not finished, each after those that it waits for.

    Args:
        finished: is told of every node whose run is finished now and was not before.

    Raises:
        InputError, TrainingError: at the end, where runs failed; all that do not wait for them were made.
        OSError: at once, where the system refuses to write.
        UnfinishedError: at once, where the time is over.
    """
    failures = Failures(len(made.graph))
    unmade: set[str] = set()
    for node in made.unfinished():
        if unmade.intersection(node.after) and not _settled(made, node):
            unmade.add(node.name)
            continue
        try:
            session.make(made.run(node))
            finished(node)
        except (OSError, NotMadeError, UnfinishedError):
            raise
        except Exception as error:
            if os.environ.get("SECATEUR_DEBUG"):
                traceback.print_exc()
            failures.add(node, error, session.reporter)
            unmade.add(node.name)
    failures.raise_if_any(len(unmade) - len(failures.errors))


def _settled(made: Made, node: Node) -> bool:
    """Whether a run that follows from others can be told although one of them failed."""
    try:
        return node.run is None and made.run(node) is not None
    except NotMadeError:
        return False
