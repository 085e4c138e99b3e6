"""What hangs together in a network: all its channel groups, and which channels are left of them."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from secateur.errors import InputError
from secateur.models import Family
from secateur.network.attention import with_own_heads
from secateur.surgery.copies_alike import copies_of
from secateur.surgery.cutting import Axis, axis_size, cut
from secateur.surgery.group import ChannelGroup, Frozen, Site
from secateur.surgery.held_numbers import Number
from secateur.surgery.optimizer_state import Optimizers


@dataclass(eq=False)
class ChannelGraph:
    """The channel groups of one network, and which channels are left of them.

    The groups are in the numbering of the uncut network and never change; `kept` and the axes follow the
    cuts. A graph belongs to one network: copy both together, or take `uncut()`.

    Attributes:
        groups: prunable, by name, in network order.
        frozen: what cannot be pruned.
        kept: for each group the channels left, by their number in the uncut network, ascending.
        numbers: sizes that modules hold as Python numbers, which follow every cut.
        over_kept: module -> the dimension of its input along which channels lie, for modules, other than
            torch's own normalisations, that by definition compute over the very channels that are cut.
    """

    groups: dict[str, ChannelGroup]
    frozen: tuple[Frozen, ...] = ()
    kept: dict[str, list[int]] = field(default_factory=dict)
    _left: dict[Axis, Tensor] = field(default_factory=dict)
    numbers: tuple[Number, ...] = ()
    over_kept: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        groups: Sequence[ChannelGroup],
        frozen: Sequence[Frozen] = (),
        numbers: Sequence[Number] = (),
        over_kept: Mapping[str, int] | None = None,
    ) -> ChannelGraph:
        """Make the graph of an uncut network."""
        axes = {site.axis for group in groups for site in group.sites}
        left = {axis: torch.ones(axis_size(model, axis), dtype=torch.bool) for axis in sorted(axes)}
        kept = {group.name: list(range(group.width)) for group in groups}
        named = {group.name: group for group in groups}
        return cls(named, tuple(frozen), kept, left, tuple(numbers), dict(over_kept or {}))

    def uncut(self) -> ChannelGraph:
        """Make the same graph before anything was cut."""
        kept = {name: list(range(group.width)) for name, group in self.groups.items()}
        left = {axis: torch.ones_like(mask) for axis, mask in self._left.items()}
        return replace(self, kept=kept, _left=left)

    def without(self, refused: Mapping[str, str]) -> ChannelGraph:
        """Make the graph of the uncut network with some groups frozen: name -> reason."""
        frozen = [Frozen(name, self.groups[name].width, reason) for name, reason in refused.items()]
        whole = self.uncut()
        kept = {name: whole.kept[name] for name in self.groups if name not in refused}
        groups = {name: self.groups[name] for name in kept}
        gone = {name: self.groups[name].width for name in refused}
        numbers = tuple(left for number in self.numbers if (left := number.without(gone)).each)
        return replace(whole, groups=groups, frozen=(*self.frozen, *frozen), kept=kept, numbers=numbers)

    def with_group(self, group: ChannelGroup) -> ChannelGraph:
        """Make the graph of the uncut network with the group of that name replaced, as by itself in sets."""
        whole = self.uncut()
        before = self.groups[group.name].width if group.name in self.groups else group.width
        numbers = tuple(number.in_sets(group.name, before // group.width) for number in self.numbers)
        groups = {**self.groups, group.name: group}
        kept = {**whole.kept, group.name: list(range(group.width))}
        return replace(whole, groups=groups, kept=kept, numbers=numbers)

    def with_union(self, names: Sequence[str]) -> ChannelGraph:
        """Make the graph of the uncut network with groups of one width merged into the first of them."""
        first, *others = names
        whole = self.uncut()
        merged = self.groups[first].united([self.groups[name] for name in others])
        groups = {name: merged if name == first else group for name, group in self.groups.items()}
        groups = {name: group for name, group in groups.items() if name not in others}
        kept = {name: whole.kept[name] for name in groups}
        numbers = tuple(number.united(first, others) for number in self.numbers)
        return replace(whole, groups=groups, kept=kept, numbers=numbers)

    def with_sites(self, name: str, sites: Sequence[Site]) -> ChannelGraph:
        """Make the graph of the uncut network in which a group spans more axes, whole ones."""
        whole = self.uncut()
        group = replace(self.groups[name], sites=(*self.groups[name].sites, *sites))
        left = {site.axis: torch.ones(site.entries.numel(), dtype=torch.bool) for site in sites}
        return replace(whole, groups={**self.groups, name: group}, _left={**whole._left, **left})

    def with_numbers(self, numbers: Sequence[Number]) -> ChannelGraph:
        """Make the same graph with these numbers too; of several for one place the last holds."""
        places = {(n.module, n.attribute, n.index): n for n in (*self.numbers, *numbers)}
        return replace(copy.deepcopy(self), numbers=tuple(places.values()))

    def set_numbers(self, model: nn.Module) -> None:
        """Write what modules hold as Python numbers into `model`, as they are at the present widths.

        Torch's own attention that is cut gets the class that has room for its numbers
        (`secateur.network.attention`).
        """
        widths = self.widths
        with_own_heads(model, {axis[0] for axis, left in self._left.items() if not left.all()})
        for number in self.numbers:
            number.set(model, widths)

    def __iter__(self) -> Iterator[ChannelGroup]:
        return iter(self.groups.values())

    def __deepcopy__(self, memo: dict[int, object]) -> ChannelGraph:
        """Share the groups, as nothing changes them."""
        return replace(self, kept=copy.deepcopy(self.kept), _left=dict(self._left))

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

    def remove_several(
        self, model: nn.Module, gone: Mapping[str, Collection[int]], optimizer: Optimizers = None
    ) -> None:
        """Remove present channels of several groups, as `remove` does, but cut every tensor only once.

        Args:
            gone: group -> channels.
        """
        checked = {name: check_removal(name, list(cut), self.width(name)) for name, cut in gone.items()}
        self._cut(model, checked, optimizer)

    def _cut(self, model: nn.Module, gone: Mapping[str, set[int]], optimizer: Optimizers = None) -> None:
        keeps, _ = self.keeps_without(gone)
        copies = list(copies_of(model))
        cut(model, keeps, optimizer)
        for alike in copies:
            cut(alike, keeps)
        self.note_removal(gone)
        for each in (model, *copies):
            self.set_numbers(each)
        for name in gone:
            if (stage := self.groups[name].stage) is not None:
                assert isinstance(model, Family)
                model.arguments["stages"][stage] = self.width(name)

    def keep(self, model: nn.Module, kept: Mapping[str, Sequence[int]]) -> None:
        """Cut an uncut network down to some channels of each group named: all at once, in place."""
        gone = {name: set(self.kept[name]).difference(left) for name, left in kept.items()}
        self._cut(model, {name: channels for name, channels in gone.items() if channels})

    def note_removal(self, gone: Mapping[str, set[int]]) -> None:
        """Follow a cut of present channels that is made elsewhere, or only pretended."""
        _, after = self.keeps_without(gone)
        self._left.update(after)
        for name, channels in gone.items():
            self.kept[name] = left_of(self.kept[name], channels)

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


def left_of(kept: Sequence[int], gone: Collection[int]) -> list[int]:
    """Leave out what stands at some places; of many, few go at a time.

    Example:
        >>> left_of([2, 5, 7], {1})
        [2, 7]
    """
    left = list(kept)
    for place in sorted(gone, reverse=True):
        del left[place]
    return left
