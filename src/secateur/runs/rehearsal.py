"""What a command would train: the same way through the code up to the first run, which is not made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from secateur.runs.graph import Graph
from secateur.runs.session import Session


class Rehearsed(Exception):
    """The graph is known; nothing of it was made."""

    def __init__(self, graph: Graph):
        super().__init__("rehearsed")
        self.graph = graph


class Rehearsal(Session):
    """A session that makes nothing, holds no folder and writes nothing."""

    @contextmanager
    def working(self, what: str, compute: float) -> Iterator[None]:
        """Go through the work, without the folder and without progress."""
        yield

    def before_making(self, graph: Graph) -> None:
        """Stop here."""
        raise Rehearsed(graph)


def rehearsed(session: Session, work: Callable[[Session], Any]) -> Graph:
    """Tell which runs `work` would make in a session.

    Raises:
        InputError: as `work` does before it trains.
    """
    try:
        work(Rehearsal(session.store, session.runtime, session.reporter))
    except Rehearsed as found:
        return found.graph
    raise AssertionError("the work makes no runs")
