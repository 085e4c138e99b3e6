"""Which run of a graph is next: of those that can begin, the one with the longest way to the end."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable

from secateur.runs.graph import Made, Node, NotMadeError


class Schedule:
    """Gives out the nodes of a graph, each once, when all that it waits for is there.

    Args:
        nodes: those to be made, each after those that it waits for; what they wait for besides is finished.
        made: tells the runs that follow from others.
    """

    def __init__(self, nodes: Iterable[Node], made: Made):
        self.made = made
        self.waiting = {node.name: node for node in nodes}
        self.running: set[str] = set()
        self._missing = {
            name: {other for other in node.after if other in self.waiting}
            for name, node in self.waiting.items()
        }
        self._followers: defaultdict[str, list[str]] = defaultdict(list)
        for name, missing in self._missing.items():
            for other in missing:
                self._followers[other].append(name)
        self.ways = self._ways()
        self._ready: list[tuple[float, int, str]] = []
        self._listed: set[str] = set()
        self._order = {name: index for index, name in enumerate(self.waiting)}
        for name in list(self.waiting):
            self._list_if_ready(name)

    def _ways(self) -> dict[str, float]:
        """Training MACs from the beginning of each node to the end of all that waits for it."""
        ways: dict[str, float] = {}
        for name, node in reversed(self.waiting.items()):
            ways[name] = node.compute + max((ways[other] for other in self._followers[name]), default=0.0)
        return ways

    @property
    def over(self) -> bool:
        """Whether nothing can begin and nothing is being made."""
        return not self._ready and not self.running

    @property
    def ready(self) -> int:
        """How many could begin now."""
        return len(self._ready)

    def take(self) -> Node | None:
        """Take the node that is next; None: none can begin now."""
        if not self._ready:
            return None
        name = heapq.heappop(self._ready)[2]
        self.running.add(name)
        return self.waiting.pop(name)

    def finish(self, node: Node) -> None:
        """Say that the node is finished: what waited for it may begin."""
        self.running.discard(node.name)
        for name in self._followers[node.name]:
            self._missing[name].discard(node.name)
            self._list_if_ready(name)

    def fail(self, node: Node) -> None:
        """Say that the node will not be finished: what waits for it never begins."""
        self.running.discard(node.name)

    def _list_if_ready(self, name: str) -> None:
        """A run that follows from others may be told before all of them are finished."""
        if name in self._listed or name not in self.waiting:
            return
        node = self.waiting[name]
        if self._missing[name]:
            if node.run is not None:
                return
            try:
                self.made.run(node)
            except NotMadeError:
                return
            except (Exception, SystemExit):  # whoever begins it hears that again, and says it
                pass
        self._listed.add(name)
        heapq.heappush(self._ready, (-self.ways[name], self._order[name], name))
