"""Runs made in this process, one after the other."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from secateur.device import lost_another
from secateur.errors import TrainingError, UnfinishedError
from secateur.runs.executors.failures import Failures, stops_all
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
        UnfinishedError: at once, where the time is over.
    """
    failures = Failures(len(made.graph), session.retries_failed)
    unmade: set[str] = set()
    for node in made.unfinished():
        if unmade.intersection(node.after) and not _settled(made, node):
            unmade.add(node.name)
            continue
        if failures.passes_over(node, made, session.reporter):
            unmade.add(node.name)
            continue
        try:
            session.make(made.run(node))
        except (NotMadeError, UnfinishedError, KeyboardInterrupt):
            raise
        except BaseException as error:  # somebody's code: exit() and kinds of its own may come out of it
            if stops_all(error, made.store):
                raise
            if session.runtime.world > 1:  # the others would wait for this one in another run than it is at
                raise _of_several(error) from error
            if os.environ.get("SECATEUR_DEBUG"):
                traceback.print_exc()
            failures.add(node, error, session.reporter, made)
            unmade.add(node.name)
        else:
            finished(node)
    failures.left = len(unmade) - len(failures.told)
    return failures


def _of_several(error: BaseException) -> BaseException:
    """The error itself, or that another process is gone."""
    said = lost_another(error)
    return error if said is None else TrainingError(said)


def _settled(made: Made, node: Node) -> bool:
    """Whether a run that follows from others can be told although one of them failed."""
    try:
        return node.run is None and made.run(node) is not None
    except NotMadeError:
        return False
