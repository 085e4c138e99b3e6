"""The graph of runs: which there are, what each waits for, and about what each costs.

Whoever wants runs adds them to a graph; `--plan` prints it, an executor makes it (`secateur.runs.executors`),
resuming skips what is finished, and points are read from its records. Some runs are known beforehand. Others
follow from the records of those that they wait for: the architecture that pruning finds, the epochs that a
compute budget buys; `settle` tells them then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from secateur.atomic import write_json
from secateur.records.plan import PLAN, Plan, PlannedRun
from secateur.records.record import Record
from secateur.runs.run import Run
from secateur.runs.store import RunStore


class NotMadeError(LookupError):
    """A run is not finished, so what follows from it cannot be told."""


@dataclass(frozen=True, eq=False)
class Node:
    """One run of a graph, as far as it is known beforehand.

    Attributes:
        name: unique in the graph; for people, as the run's label is.
        after: the names of the nodes that must be finished before.
        compute: its training MACs, about.
        run: the run; None: `settle` tells.
        settle: from the records of what is finished the run; NotMadeError while that is too little.
    """

    name: str
    after: tuple[str, ...]
    compute: float
    run: Run | None = None
    settle: Callable[[Made], Run] | None = None


class Graph:
    """Runs and what they wait for, each after those; a run that is wanted twice is one node.

    Args:
        world: processes that make each run together.
    """

    def __init__(self, world: int = 1):
        self.world = world
        self.nodes: dict[str, Node] = {}
        self._by_id: dict[str, Node] = {}

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __len__(self) -> int:
        return len(self.nodes)

    def add(self, run: Run, after: Iterable[Node] = (), compute: float | None = None) -> Node:
        """Add a run that is known, after `after` and after the run that it goes on from; its node.

        Args:
            compute: training MACs, about; None: as the run says.
        """
        if (found := self._by_id.get(run.run_id)) is not None:
            return found
        before = [*after]
        before += [self.add(other) for other in (run.first, run.taught_by()) if other is not None]
        cost = run.compute(self.world) if compute is None else compute
        node = self._insert(Node(self._unused(run.label), _names(before), cost, run))
        self._by_id[run.run_id] = node
        return node

    def add_later(
        self, name: str, settle: Callable[[Made], Run], after: Iterable[Node], compute: float
    ) -> Node:
        """Add a run that follows from the records of others; its node."""
        return self._insert(Node(self._unused(name), _names(after), compute, None, settle))

    @property
    def compute(self) -> float:
        """Training MACs of all of it, about."""
        return sum(node.compute for node in self)

    def _insert(self, node: Node) -> Node:
        self.nodes[node.name] = node
        return node

    def _unused(self, name: str) -> str:
        """The name, numbered where another run has it."""
        found, number = name, 1
        while found in self.nodes:
            number += 1
            found = f"{name} #{number}"
        return found


class Made:
    """The finished runs of a graph, by node; records are read when they are asked for, and not kept."""

    def __init__(self, graph: Graph, store: RunStore):
        self.graph, self.store = graph, store
        self._runs: dict[str, Run] = {}

    def run(self, node: Node) -> Run:
        """Tell which run a node is.

        Raises:
            NotMadeError: where that follows from a run that is not finished.
        """
        if node.run is not None:
            return node.run
        if node.name not in self._runs:
            assert node.settle is not None
            self._runs[node.name] = node.settle(self)
        return self._runs[node.name]

    def id(self, node: Node) -> str | None:
        """Name the node's run; None where it cannot be told, also as what tells it fails: it failed then."""
        try:
            return self.run(node).run_id
        except (Exception, SystemExit):  # an arm of somebody else's may tell it
            return None

    def has(self, node: Node) -> bool:
        """Say whether the node's run is finished."""
        run_id = self.id(node)
        return run_id is not None and self.store.finished(run_id)

    def record(self, node: Node) -> Record:
        """Read the record of a node's run.

        Raises:
            NotMadeError: where it is not finished.
        """
        run_id = self.id(node)
        record = None if run_id is None else self.store.record(run_id)
        if record is None:
            raise NotMadeError(node.name)
        return record

    def before(self, record: Record) -> Record | None:
        """Read the record of the training that a run went on from, if there was one."""
        return self.store.record(record.trained) if record.trained else None

    def unfinished(self) -> list[Node]:
        """The nodes that are still to be made, in order."""
        return [node for node in self.graph if not self.has(node)]


def _names(nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node.name for node in nodes))


def write_plan(made: Made) -> None:
    """Write the graph down beside the runs, for `secateur runs list`: what is wanted, what waits for what."""
    runs = tuple(
        PlannedRun(name=node.name, after=node.after, compute=node.compute, run_id=made.id(node))
        for node in made.graph
    )
    write_json(made.store.directory / PLAN, Plan(runs=runs).to_json())
