"""Groups merged: channels that can only go together although no layer ties them, as the halves of a chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from secateur.surgery.graph import ChannelGraph

MOST_ALONE = 4  # partners that are tried one by one
MOST_TOLD = 16  # groups that share an axis: of more it is not asked which of them fail


def united(graph: ChannelGraph, names: Sequence[str], width: int, how: str = "parts") -> ChannelGraph:
    """Merge groups into the first: its channel i is then channel i of each of them.

    Args:
        names: of groups whose widths are multiples of `width`, which is 2 or more.
        how: "parts" or "runs", in which those that are wider are tied first (`ChannelGroup.tied`).
    """
    for name in names:
        size = graph.groups[name].width // width
        if size > 1:
            graph = graph.with_group(graph.groups[name].tied(f"{size} {how}"))
    return graph.with_union(names)


def pairs(graph: ChannelGraph, name: str) -> Iterator[tuple[str, ChannelGraph]]:
    """List unions with groups that are as wide and have a layer in common: with one, with all."""
    width = graph.groups[name].width
    alike = [other for other in _near(graph, name) if graph.groups[other].width == width]
    for other in alike[:MOST_ALONE]:
        yield "one", united(graph, [name, other], width)
    if len(alike) > 1:
        yield "all", united(graph, [name, *alike], width)


def unions(
    graph: ChannelGraph, name: str, proven: Sequence[str], fails: Callable[[ChannelGraph, str], bool]
) -> Iterator[tuple[str, ChannelGraph]]:
    """List unions with groups that fail as this one does, and that hang together with it.

    A chain of chunks and shuffles ties all that shares an axis. Code that divides the width of a residual
    stream by a number of heads ties the stream to the heads of all its blocks: a star.
    """
    failing = _Failing(graph, proven, fails)
    chain = _chain(graph, name, lambda other: other not in proven)
    if len(chain) > 1:
        yield from _at_common_width(graph, chain, "chain")
    if len(chain) > MOST_TOLD:
        return
    few = _chain(graph, name, failing.fails)
    if 1 < len(few) < len(chain):
        yield from _at_common_width(graph, few, "chain")
    wider = [n for n in failing.near(name) if graph.groups[n].width > graph.groups[name].width]
    for center in [name, *wider]:
        for around in _stars(graph, center, failing.near(center)):
            if name in (center, *around):
                others = [other for other in (center, *around) if other != name]
                yield from _at_common_width(graph, [name, *others], "star")


def _stars(graph: ChannelGraph, center: str, around: Sequence[str]) -> Iterator[list[str]]:
    """List what may have to be cut with a group in the middle: neighbours of one width, then all that fit."""
    width = {name: graph.groups[name].width for name in (center, *around)}
    classes = sorted({width[name] for name in around}, reverse=True)
    for each in classes:
        yield [name for name in around if width[name] == each]
    fitting = [name for name in around if width[center] % width[name] == 0]
    if len({width[name] for name in fitting}) > 1:
        narrow = min(width[name] for name in fitting)
        few = [name for name in fitting if width[name] == narrow or graph.groups[name].inner]
        if few != fitting:  # without the streams of other stages
            yield few
        yield fitting


class _Failing:
    """Asks which groups fail by themselves, each once, and which of them are near each other."""

    def __init__(
        self, graph: ChannelGraph, proven: Sequence[str], fails: Callable[[ChannelGraph, str], bool]
    ):
        self.graph, self._fails = graph, fails
        self._known = dict.fromkeys(proven, False)

    def fails(self, name: str) -> bool:
        if name not in self._known:
            self._known[name] = self._fails(self.graph, name)
        return self._known[name]

    def near(self, name: str) -> list[str]:
        return [other for other in _near(self.graph, name) if self.fails(other)]


def _chain(graph: ChannelGraph, name: str, goes_on: Callable[[str], bool]) -> list[str]:
    """Follow shared axes from one group to the next."""
    found, todo = [name], [name]
    while todo:
        for other in _sharing(graph, todo.pop(), axes=True):
            if other not in found and goes_on(other):
                found.append(other)
                todo.append(other)
    return found


def _at_common_width(
    graph: ChannelGraph, names: Sequence[str], label: str
) -> Iterator[tuple[str, ChannelGraph]]:
    widths = {graph.groups[name].width for name in names}
    width = min(widths)
    if width > 1 and all(each % width == 0 for each in widths):
        for how in ("parts", "runs") if len(widths) > 1 else ("parts",):
            yield f"{label} {how}", united(graph, names, width, how)


def _near(graph: ChannelGraph, name: str) -> list[str]:
    """List the groups that have a layer in common with one, those that share an axis of it first."""
    axes = _sharing(graph, name, axes=True)
    return [*axes, *(other for other in _sharing(graph, name, axes=False) if other not in axes)]


def _sharing(graph: ChannelGraph, name: str, *, axes: bool) -> list[str]:
    own = {site.axis if axes else site.axis[0] for site in graph.groups[name].sites}
    return [
        group.name
        for group in graph
        if group.name != name and any((s.axis if axes else s.axis[0]) in own for s in group.sites)
    ]
