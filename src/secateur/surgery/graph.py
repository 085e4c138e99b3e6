"""What hangs together in a network: channel groups, and the axes of the layers that each of them spans."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from secateur.errors import InputError
from secateur.models import Family
from secateur.surgery.cutting import Axis, axis_size, cut
from secateur.surgery.optimizer_state import Optimizers


@dataclass(frozen=True, eq=False)
class Site:
    """A group's share of one axis of one layer.

    Attributes:
        axis: (module, "out" | "in" | "PARAMETER@DIM").
        entries: (width, spread): the entries of the axis that belong to each channel, in the numbering of
            the uncut network. The spread is above 1 behind a flatten, and for balanced sets.
        read: whether the layer mixes what it reads here, so that a channel is gone when this reads zero.
            False on out axes, and where a grouped or depthwise convolution only passes the channel on.
        write: whether the layer mixes what it writes here out of others. False on in axes, at normalisations,
            activations and bare parameters, and where a convolution only passes the channel on.
    """

    axis: Axis
    entries: Tensor
    read: bool = False
    write: bool = False


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels of which any number can go, as long as one is left: each is a set of entries of every site.

    Attributes:
        name: of the first layer that writes them, with "#2", ... where there are several groups of one.
        sites: every axis that is cut.
        width: channels in the uncut network.
        sets: how channels found by tracing were tied so that the cut is right, e.g. "4 parts"; mostly "".
        stage: of a built-in family's residual stream, the index in its argument `stages` that is its width.
    """

    name: str
    sites: tuple[Site, ...]
    width: int
    sets: str = ""
    stage: int | None = None

    def tied(self, sets: str) -> ChannelGroup:
        """Tie the channels in sets.

        Args:
            sets: "4 parts": the same offset of each of 4 parts; "4 runs": runs of 4 that follow each other.

        Raises:
            InputError: where the width does not divide.
        """
        found = re.fullmatch(r"(\d{1,6}) (parts|runs)", sets)
        size = int(found[1]) if found else 0
        if not found or size < 2 or self.width % size or self.width == size:
            raise InputError(f"{self.name}: {self.width} channels cannot be tied in sets of '{sets[:40]}'")
        numbers = torch.arange(self.width)
        together = numbers.view(size, -1).T if found[2] == "parts" else numbers.view(-1, size)
        sites = tuple(replace(site, entries=site.entries[together].flatten(1)) for site in self.sites)
        return ChannelGroup(self.name, sites, len(together), sets)

    @property
    def reads(self) -> tuple[Site, ...]:
        """The sites at which the channels are read and mixed with others."""
        return tuple(site for site in self.sites if site.read)

    @property
    def writes(self) -> tuple[Site, ...]:
        """The sites at which a convolution or linear layer makes the channels out of others."""
        return tuple(site for site in self.sites if site.write)

    @property
    def inner(self) -> bool:
        """Whether one layer alone writes the channels, as inside a block.

        Otherwise they are a stream: what several layers write is added up (or multiplied, by a gate that is
        computed) and lives together.
        """
        return len({site.axis[0] for site in self.writes}) == 1

    @property
    def modules(self) -> tuple[str, ...]:
        """The dotted names of the layers spanned, each once, in order."""
        return tuple(dict.fromkeys(site.axis[0] for site in self.sites))


@dataclass(frozen=True)
class Frozen:
    """Channels that cannot be cut, and why: what names the operator that is to blame."""

    name: str
    width: int
    reason: str


@dataclass(eq=False)
class ChannelGraph:
    """The channel groups of one network, and which channels are left of them.

    The groups are in the numbering of the uncut network and never change; `kept` and the axes follow the
    cuts. A graph belongs to one network: copy both together, or take `uncut()`.

    Attributes:
        groups: prunable, by name, in network order.
        frozen: what cannot be pruned.
        kept: for each group the channels left, by their number in the uncut network, ascending.
    """

    groups: dict[str, ChannelGroup]
    frozen: tuple[Frozen, ...] = ()
    kept: dict[str, list[int]] = field(default_factory=dict)
    _left: dict[Axis, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: nn.Module, groups: Sequence[ChannelGroup], frozen: Sequence[Frozen] = ()
    ) -> ChannelGraph:
        """Make the graph of an uncut network."""
        axes = {site.axis for group in groups for site in group.sites}
        left = {axis: torch.ones(axis_size(model, axis), dtype=torch.bool) for axis in sorted(axes)}
        kept = {group.name: list(range(group.width)) for group in groups}
        return cls({group.name: group for group in groups}, tuple(frozen), kept, left)

    def uncut(self) -> ChannelGraph:
        """Make the same graph before anything was cut."""
        kept = {name: list(range(group.width)) for name, group in self.groups.items()}
        left = {axis: torch.ones_like(mask) for axis, mask in self._left.items()}
        return ChannelGraph(self.groups, self.frozen, kept, left)

    def without(self, refused: Mapping[str, str]) -> ChannelGraph:
        """Make the graph of the uncut network with some groups frozen: name -> reason."""
        frozen = [Frozen(name, self.groups[name].width, reason) for name, reason in refused.items()]
        whole = self.uncut()
        kept = {name: whole.kept[name] for name in self.groups if name not in refused}
        groups = {name: self.groups[name] for name in kept}
        return ChannelGraph(groups, (*self.frozen, *frozen), kept, whole._left)

    def with_group(self, group: ChannelGroup) -> ChannelGraph:
        """Make the graph of the uncut network with the group of that name replaced."""
        whole = self.uncut()
        groups = {**self.groups, group.name: group}
        kept = {**whole.kept, group.name: list(range(group.width))}
        return ChannelGraph(groups, self.frozen, kept, whole._left)

    def __iter__(self) -> Iterator[ChannelGroup]:
        return iter(self.groups.values())

    def __deepcopy__(self, memo: dict[int, object]) -> ChannelGraph:
        """Share the groups, as nothing changes them."""
        return ChannelGraph(self.groups, self.frozen, copy.deepcopy(self.kept), dict(self._left))

    def width(self, name: str) -> int:
        """The present number of channels of a group."""
        return len(self.kept[name])

    @property
    def widths(self) -> dict[str, int]:
        """The present width of every group."""
        return {name: len(kept) for name, kept in self.kept.items()}

    def axes(self) -> tuple[Axis, ...]:
        """Every axis that a group spans."""
        return tuple(self._left)

    def left(self, axis: Axis) -> Tensor:
        """Which entries of an axis are left, in the uncut network's numbering (boolean)."""
        return self._left[axis]

    def size(self, axis: Axis) -> int:
        """How many entries of an axis are left."""
        return int(self._left[axis].sum())

    def present(self, site: Site, name: str) -> Tensor:
        """(width, spread): the entries of the group's present channels in the network's present numbering."""
        position = self._left[site.axis].cumsum(0) - 1
        return position[site.entries[self.kept[name]]]

    def picked(self, site: Site, name: str, device: torch.device) -> Tensor | None:
        """`present`, to index an axis with on a device; None where the channels are the axis, in order."""
        entries = self.present(site, name)
        same = entries.shape == (self.size(site.axis), 1)
        if same and torch.equal(entries[:, 0], torch.arange(len(entries))):
            return None
        return entries.to(device if device.type != "meta" else "cpu")

    def remove(
        self, model: nn.Module, name: str, channels: Sequence[int], optimizer: Optimizers = None
    ) -> None:
        """Remove `channels` (present numbers) of the group, in place, from network and optimizer.

        Args:
            optimizer: see `secateur.surgery.cutting.cut`.

        Raises:
            InputError: where a channel does not exist or none would be left; nothing is changed then.
        """
        self._cut(model, {name: check_removal(name, channels, self.width(name))}, optimizer)

    def _cut(self, model: nn.Module, gone: Mapping[str, set[int]], optimizer: Optimizers = None) -> None:
        keeps, _ = self.keeps_without(gone)
        cut(model, keeps, optimizer)
        self.note_removal(gone)
        for name in gone:
            if (stage := self.groups[name].stage) is not None:
                assert isinstance(model, Family)
                model.arguments["stages"][stage] = self.width(name)

    def note_removal(self, gone: Mapping[str, set[int]]) -> None:
        """Follow a cut of present channels that is made elsewhere, or only pretended."""
        _, after = self.keeps_without(gone)
        self._left.update(after)
        for name, channels in gone.items():
            self.kept[name] = [old for index, old in enumerate(self.kept[name]) if index not in channels]

    def keeps_without(self, gone: Mapping[str, set[int]]) -> tuple[dict[Axis, Tensor], dict[Axis, Tensor]]:
        """Make what `cut` takes to remove present channels, and the axes' entries that are then left."""
        after: dict[Axis, Tensor] = {}
        for name, channels in gone.items():
            original = [self.kept[name][channel] for channel in sorted(channels)]
            for site in self.groups[name].sites:
                mask = after.setdefault(site.axis, self._left[site.axis].clone())
                mask[site.entries[original].flatten()] = False
        return {axis: mask[self._left[axis]] for axis, mask in after.items()}, after

    def beyond(self, widths: Mapping[str, int]) -> dict[str, set[int]]:
        """Group -> the present channels beyond a width, where there are any."""
        return {
            name: set(range(width, self.width(name)))
            for name, width in widths.items()
            if width < self.width(name)
        }

    def narrow(self, model: nn.Module, widths: Mapping[str, int]) -> None:
        """Cut every group to a width, the last channels first: which ones makes no difference to the shape.

        Raises:
            InputError: for an unknown group, or a width beyond the present one.
        """
        for name, width in widths.items():
            if name not in self.groups:
                named = ", ".join(self.groups)
                raise InputError(f"the network has no channel group '{name}': it has {named}")
            if not 1 <= width <= self.width(name):
                raise InputError(
                    f"{name}: a width lies in 1..{self.width(name)}, the channels that are there; got {width}"
                )
        self._cut(model, self.beyond(widths))


def check_removal(name: str, channels: Sequence[int], width: int) -> set[int]:
    """The channels to remove, as a set; InputError where one does not exist or none would be left."""
    gone = set(channels)
    if not gone <= set(range(width)):
        raise InputError(f"{name}: channels lie in 0..{width - 1}, got {sorted(gone)}")
    if len(gone) == width:
        raise InputError(f"{name}: one channel must be left, got all {width} to remove")
    return gone
