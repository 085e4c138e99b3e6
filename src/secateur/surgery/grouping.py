"""Channel groups out of what hangs together, and why the rest is frozen."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from secateur.surgery.computed_weights import remedy
from secateur.surgery.cutting import Axis, out_size, passes_on
from secateur.surgery.graph import ChannelGraph, ChannelGroup, Frozen, Site
from secateur.surgery.links import Links
from secateur.surgery.probe import OUTPUT, Probe
from secateur.surgery.watching import SpreadWatch


@dataclass
class _Alike:
    """Channels of equal make-up: the same number of entries of the same axes."""

    axes: tuple[tuple[Axis, int], ...]
    members: list[dict[Axis, list[int]]] = field(default_factory=list)

    @property
    def writer(self) -> str:
        return next(axis[0] for axis, _ in self.axes if axis[1] == "out")


def group_channels(model: nn.Module, probe: Probe, links: Links) -> ChannelGraph:
    """Make one group of all components of equal make-up, each one channel; freeze what cannot be cut."""
    rank = {name: i for i, name in enumerate([*probe.order, *probe.channelwise])}
    found: dict[tuple[tuple[Axis, int], ...], _Alike] = {}
    for component in links.components():
        sizes = ((axis, len(entries)) for axis, entries in component.items())
        axes = tuple(sorted(sizes, key=lambda sized: _rank_of(sized[0], rank)))
        writes = [axis for axis, _ in axes if axis[1] == "out" and axis[0] in probe.calls]
        if writes:
            found.setdefault(axes, _Alike(axes)).members.append(component)
    groups: list[ChannelGroup] = []
    frozen: list[Frozen] = []
    names: dict[str, int] = {}
    for alike in sorted(found.values(), key=lambda alike: (rank[alike.writer], -len(alike.members))):
        names[alike.writer] = count = names.get(alike.writer, 0) + 1
        name = alike.writer if count == 1 else f"{alike.writer}#{count}"
        reason = _why_frozen(alike, probe)
        if reason:
            frozen.append(Frozen(name, len(alike.members), reason))
        else:
            groups.append(_as_group(name, alike, probe))
    return ChannelGraph.of(model, groups, frozen)


def _rank_of(axis: Axis, rank: dict[str, int]) -> tuple[int, int, str]:
    """Rank axes: writers first, in the order of their calls, then parameters, then readers."""
    kind = 0 if axis[1] == "out" else 2 if axis[1] == "in" else 1
    return (kind, rank.get(axis[0], len(rank)), axis[1])


def _as_group(name: str, alike: _Alike, probe: Probe) -> ChannelGroup:
    first = alike.axes[0][0]
    members = sorted(alike.members, key=lambda member: min(member[first]))
    sites = []
    for axis, _ in alike.axes:
        mixes = axis[0] in probe.mixers and not passes_on(probe.mixers[axis[0]])
        entries = torch.tensor([sorted(member[axis]) for member in members])
        sites.append(Site(axis, entries, mixes and axis[1] == "in", mixes and axis[1] == "out"))
    return ChannelGroup(name, tuple(sites), len(members))


def _why_frozen(alike: _Alike, probe: Probe) -> str | None:
    """Say why these channels cannot be cut; None where they can, as far as tracing knows."""
    axes = dict(alike.axes)
    if OUTPUT in axes:
        return "written to the network's output"
    if len(alike.members) == axes.get((alike.writer, "out")) == 1:
        return "one channel, and one must be left"
    if not any(kind == "in" and not passes_on(probe.mixers[name]) for name, kind in axes):
        return "read by no convolution or linear layer"
    if len(alike.members) > 1:
        return None
    if computed := [name for name, _ in axes if name in probe.computed]:
        return f"the weight of {computed[0]} {remedy(computed[0], probe.model.get_submodule(computed[0]))}"
    entries = axes[(alike.writer, "out")]
    writers = [name for name, kind in axes if kind == "out" and name in probe.calls]
    blamed = next(filter(None, (_spreader(name, probe) for name in writers)), "the layers that share them")
    return f"its {entries} channels hang together: {blamed} mixes them"


def _spreader(writer: str, probe: Probe) -> str | None:
    """Name the first operator that spreads one marked channel over all others, and the module it is in."""
    layer = probe.mixers[writer]
    mark = torch.zeros(1, out_size(layer), dtype=torch.bool)
    mark[0, 0] = True
    watch = SpreadWatch(probe.model)
    with watch:
        probe.run({(writer, "out"): mark}, 1)
    return watch.culprit
