"""Channel groups out of what hangs together, and why the rest is frozen."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from secateur.surgery.computed_weights import remedy
from secateur.surgery.cutting import Axis, passes_on
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup, Frozen, Site
from secateur.surgery.links import Links
from secateur.surgery.probe import OUTPUT
from secateur.surgery.survey import Survey
from secateur.surgery.watching import SpreadWatch


@dataclass
class _Alike:
    """Channels of equal make-up: the same number of entries of the same axes.

    Attributes:
        axes: with their numbers of entries; those that make the channels first.
        reasons: why they cannot be cut, of axes that are no module's.
        leaves: whether the network's output shows them.
        summed: whether a product of activations sums over them.
    """

    axes: tuple[tuple[Axis, int], ...]
    leaves: bool
    summed: bool
    reasons: tuple[str, ...]
    members: list[dict[Axis, list[int]]] = field(default_factory=list)

    @property
    def writer(self) -> Axis:
        return self.axes[0][0]


def group_channels(model: nn.Module, survey: Survey, links: Links) -> ChannelGraph:
    """Make one group of all components of equal make-up, each one channel; freeze what cannot be cut."""
    rank = {name: i for i, name in enumerate([*survey.order, *survey.channelwise])}
    found: dict[tuple[object, ...], _Alike] = {}
    for component in links.components(lambda axis: _writes(axis, survey)):
        reasons = tuple(reason for axis, reason in survey.reasons.items() if axis in component)
        leaves = OUTPUT in component
        summed = any(axis[1] in ("left", "right") for axis in component)
        own = {axis: entries for axis, entries in component.items() if not _made(axis)}
        sizes = ((axis, len(entries)) for axis, entries in own.items())
        axes = tuple(sorted(sizes, key=lambda sized: _rank_of(sized[0], survey, rank)))
        found.setdefault((axes, leaves), _Alike(axes, leaves, summed, reasons)).members.append(own)
    groups: list[ChannelGroup] = []
    frozen: list[Frozen] = []
    names: dict[str, int] = {}
    blamed = _Blame(survey)
    for alike in sorted(found.values(), key=lambda each: (rank.get(each.writer[0], -1), -len(each.members))):
        axis_name = alike.writer[1].partition("@")[0]
        writer = alike.writer[0] or axis_name  # of the network itself
        names[writer] = count = names.get(writer, 0) + 1
        name = writer if count == 1 else f"{writer}#{count}"
        reason = _why_frozen(alike, survey, blamed)
        if reason:
            frozen.append(Frozen(name, len(alike.members), reason))
        else:
            groups.append(_as_group(name, alike, survey))
    cut = {site.axis for group in groups for site in group.sites}
    over = {name: dim for name, dim in survey.over_kept.items() if _concerns(name, cut, survey)}
    return ChannelGraph.of(model, groups, frozen, over_kept=over)


def _concerns(name: str, cut: set[Axis], survey: Survey) -> bool:
    """Whether a module computes over channels that are cut."""
    if name in survey.mixers:
        return (name, "in") in cut
    return any(module == name or module.startswith(f"{name}.") for module, _ in cut)


def _made(axis: Axis) -> bool:
    """Whether an axis is no module's: of an operator, or the output."""
    return axis[0].startswith("#") or axis[1].startswith("#") or axis == OUTPUT


def _writes(axis: Axis, survey: Survey) -> bool:
    """Whether channels are made on an axis out of others."""
    if axis[1] == "out":
        return axis[0] in survey.mixers and axis[0] in survey.order
    return "write" in survey.roles.get(axis, ())


def _reads(axis: Axis, survey: Survey) -> bool:
    """Whether channels are read on an axis and mixed with others."""
    if axis[1] == "in":
        return not passes_on(survey.mixers[axis[0]])
    return "read" in survey.roles.get(axis, ())


def _rank_of(axis: Axis, survey: Survey, rank: dict[str, int]) -> tuple[int, int, str]:
    """Rank axes: writers first, in the order of their calls, then parameters, then readers."""
    kind = 0 if axis[1] == "out" or _writes(axis, survey) else 2 if _reads(axis, survey) else 1
    kind = 1 if kind == 0 and axis[0] in survey.channelwise else kind
    return (kind, rank.get(axis[0], len(rank)), axis[1])


def _as_group(name: str, alike: _Alike, survey: Survey) -> ChannelGroup:
    first = alike.writer
    members = sorted(alike.members, key=lambda member: min(member[first]))
    sites = []
    for axis, _ in alike.axes:
        writes = _writes(axis, survey) and not (axis[1] == "out" and passes_on(survey.mixers[axis[0]]))
        entries = torch.tensor([sorted(member[axis]) for member in members])
        sites.append(Site(axis, entries, _reads(axis, survey), writes))
    return ChannelGroup(name, tuple(sites), len(members))


def _why_frozen(alike: _Alike, survey: Survey, blame: _Blame) -> str | None:
    """Say why these channels cannot be cut; None where they can, as far as tracing knows."""
    if alike.leaves:
        return "written to the network's output"
    if alike.reasons:
        return alike.reasons[0]
    entries = dict(alike.axes)[alike.writer]
    if len(alike.members) == entries == 1:
        return "one channel, and one must be left"
    if not alike.summed and not any(_reads(axis, survey) for axis, _ in alike.axes):
        return "read by no convolution or linear layer"
    if len(alike.members) > 1:
        return None
    names = {axis[0] for axis, _ in alike.axes}
    if computed := [name for name in survey.computed if name in names]:
        return f"the weight of {computed[0]} {remedy(computed[0], survey.model.get_submodule(computed[0]))}"
    writers = [axis for axis, _ in alike.axes if _writes(axis, survey)]
    culprit = next(filter(None, map(blame.spreader, writers)), "the layers that share them")
    return f"its {entries} channels hang together: {culprit} mixes them"


class _Blame:
    """Finds who mixes channels."""

    def __init__(self, survey: Survey):
        self.survey = survey

    def spreader(self, writer: Axis) -> str | None:
        """Name the first operator that spreads a marked channel over all others, and the module it is in."""
        for probe in self.survey.probes:
            source = next(
                (axis for axis in probe.record.written_by(writer) if axis in probe.record.sources), None
            )
            if source is None:
                continue
            mark = torch.zeros(1, probe.record.sizes[source], dtype=torch.bool)
            mark[0, 0] = True
            watch = SpreadWatch(probe.model)
            with watch:
                probe.run({source: mark}, mixing=watch)
            if watch.culprit:
                return watch.culprit
        return None
