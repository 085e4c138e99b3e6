"""Groups that can be cut told from those that cannot, by trials of many at once: all, halves, the guilty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from secateur.surgery.graph import ChannelGraph
from secateur.surgery.trial import Trial

Mend = Callable[[Trial, ChannelGraph, str, Sequence[str], str], ChannelGraph | None]
"""(trial, graph, group, groups proven, why its cuts are wrong) -> the graph in which they are right."""
_MOST_ROUNDS = 100


class Sieve:
    """Sorts the groups of a graph into those whose cuts are proven and those that are refused.

    Attributes:
        graph: follows what is mended.
        proven: groups whose cuts passed together.
        refused: group -> why its cuts are wrong.
    """

    def __init__(self, trial: Trial, graph: ChannelGraph, mend: Mend):
        self.trial, self.graph, self.mend = trial, graph, mend
        self.proven: list[str] = []
        self.refused: dict[str, str] = {}

    def sifted(self) -> ChannelGraph:
        """Prove all groups together, and of any two each without the other; freeze those that fail."""
        names = list(self.graph.groups)
        together = self.trial.failure(self.graph, names) is None
        if together:
            self.proven = names
        else:
            self._sift(names, quick=True)
        for _ in range(_MOST_ROUNDS):
            if not together and self.trial.failure(self.graph, self.proven):
                names, self.proven = self.proven, []
                self._sift(names)
            elif found := self.trial.apart(self.graph, self.proven):
                together = False
                self._sift_apart(*found)
            else:
                break
        else:
            self._refuse(dict.fromkeys(self.proven, "cuts of it are wrong together with cuts of others"))
        return self.graph.without({n: why for n, why in self.refused.items() if n in self.graph.groups})

    def _sift(self, names: Sequence[str], *, quick: bool = False) -> None:
        """Try groups together with those proven; of those that fail, halves; mend or refuse the guilty."""
        before, waiting = self.graph, [list(names)]
        while waiting:
            part = [name for name in waiting.pop() if name in self.graph.groups]
            if len(part) == 1:
                self._settle(part[0])
            elif part and self.trial.failure(self.graph, [*self.proven, *part], quick=quick) is None:
                self.proven += part
            elif part:
                waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
        if self.graph is not before:  # what was mended for one may have mended others
            for name in [name for name in self.refused if name in self.graph.groups]:
                if self.trial.failure(self.graph, [*self.proven, name]) is None:
                    del self.refused[name]
                    self.proven.append(name)

    def _settle(self, name: str) -> None:
        """Prove one group by itself and together with those proven, or mend it, or refuse it."""
        graph = self.graph
        reason = self.trial.failure(graph, [name]) or self.trial.failure(graph, [*self.proven, name])
        if reason is None:
            self.proven.append(name)
        elif better := self.mend(self.trial, graph, name, self.proven, reason):
            self._adopt(better)
            self.proven += [name] if name in better.groups and name not in self.proven else []
        else:
            self.refused[name] = reason

    def _sift_apart(self, names: Sequence[str], reason: str) -> None:
        """Find who is to blame where cuts of these groups are wrong without cuts of the others."""
        part = Sieve(self.trial, self.graph, self.mend)
        part._sift(names)
        blamed = part.refused
        if part.graph is not self.graph:
            self._adopt(part.graph)
        elif not blamed:
            alone = ((name, self.trial.failure(self.graph, [name])) for name in names)
            blamed = {name: why for name, why in alone if why} or {names[-1]: reason}
        self._refuse(blamed)

    def _adopt(self, graph: ChannelGraph) -> None:
        """Go on with a mended graph: groups may have become one, and new ones are tried with all next."""
        fresh = [name for name in graph.groups if name not in self.graph.groups]
        self.proven = [name for name in self.proven if name in graph.groups] + fresh
        self.graph = graph

    def _refuse(self, refused: Mapping[str, str]) -> None:
        self.refused |= refused
        self.proven = [name for name in self.proven if name not in refused]
