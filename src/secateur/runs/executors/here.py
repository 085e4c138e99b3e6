"""Runs made in this process, one after the other."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from secateur.errors import UnfinishedError
from secateur.runs.executors.failures import Failures, stops_all
from secateur.runs.executors.ranks import Ranks
from secateur.runs.graph import Made, Node, NotMadeError
from secateur.runs.session import Session

Finished = Callable[[Node], None]
"""Is told of every node whose run is finished."""


def make_here(made: Made, session: Session, finished: Finished) -> Failures:
    """Make every run of a graph that is not finished, each after those that it waits for.

    Args:
        finished: is told of every node whose run is finished now and was not before.

    Returns:
        The runs that failed; all that do not wait for them were made.

    Raises:
        OSError: at once, where the system refuses to write.
        TrainingError: at once, where another of several processes is gone.
        UnfinishedError: at once, where the time is over.
    """
    failures = Failures(len(made.graph), session.retries_failed)
    ranks = Ranks(session.runtime) if session.runtime.world > 1 else None
    unmade: set[str] = set()
    for node in made.unfinished():
        if unmade.intersection(node.after) and not _settled(made, node):
            unmade.add(node.name)
            continue
        if failures.passes_over(node, made, session.reporter):
            unmade.add(node.name)
            continue
        error = _failure(made, node, session)
        if ranks is not None:
            error = ranks.agree(error)
        if error is None:
            finished(node)
        else:
            failures.add(node, error, session.reporter, made, writes=session.runtime.is_main)
            unmade.add(node.name)
    failures.left = len(unmade) - len(failures.told)
    return failures


def _failure(made: Made, node: Node, session: Session) -> BaseException | None:
    """Make a node's run; why it failed, if it did."""
    try:
        session.make(made.run(node))
    except (NotMadeError, UnfinishedError, KeyboardInterrupt):
        raise
    except BaseException as error:  # somebody's code: exit() and kinds of its own may come out of it
        if stops_all(error, made.store):
            raise
        if os.environ.get("SECATEUR_DEBUG"):
            traceback.print_exc()
        return error
    return None


def _settled(made: Made, node: Node) -> bool:
    """Whether a run that follows from others can be told although one of them failed."""
    return node.run is None and made.id(node) is not None
