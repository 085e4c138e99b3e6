"""A channel group: channels that go together, and the axes of the layers that each of them spans."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secateur.errors import InputError
from secateur.surgery.cutting import Axis


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

    def united(self, others: Sequence[ChannelGroup]) -> ChannelGroup:
        """Merge with others of the same width: channel i is then channel i of each.

        Raises:
            InputError: where the widths differ.
        """
        groups = (self, *others)
        if len({group.width for group in groups}) > 1:
            raise InputError(f"{self.name}: only groups of one width can be merged")
        by_axis: dict[Axis, list[Site]] = {}
        for site in (site for group in groups for site in group.sites):
            by_axis.setdefault(site.axis, []).append(site)
        sites = tuple(
            Site(
                axis,
                torch.cat([site.entries for site in found], 1),
                any(site.read for site in found),
                any(site.write for site in found),
            )
            for axis, found in by_axis.items()
        )
        sets = ", ".join(group.sets for group in groups if group.sets)
        return ChannelGroup(self.name, sites, self.width, f"{len(groups)} groups" + (sets and f" of {sets}"))

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
