"""What arrived where: which channels of a source reach which entries of an axis, and what that ties."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from secateur.surgery.cutting import Axis
from secateur.surgery.links import Links

NONE, ALL, SOME = -1, -2, -3


@dataclass(eq=False)
class Arrival:
    """What one source's channels do at one axis.

    Attributes:
        index: (entries,): the channel that arrives there; NONE, ALL of them, or SOME, which `sets` lists.
        sets: (channels, entries), boolean, where SOME arrive at an entry.
        may_mix: whether channels that meet in an entry hang together. Of a parameter several entries meet
            where they are no channels, but positions or tokens: nothing is tied then.
    """

    source: Axis
    axis: Axis
    index: Tensor
    sets: Tensor | None = None
    may_mix: bool = True

    @property
    def apart(self) -> Tensor | None:
        """Where the source's channels are told apart, each alone in its entries; None if fewer than two."""
        single = self.index >= 0
        found = self.index[single]
        return single if len(found) > 1 and bool((found != found[0]).any()) else None

    def broadcast(self, other: Arrival) -> int | None:
        """Find the channel that covers all entries at which another source tells channels apart.

        Returns:
            The channel; ALL if every one covers them; None if none does.
        """
        apart = other.apart
        if apart is None:
            return None
        found = self.index[apart]
        single = found[found >= 0].unique()
        if len(single) > 1 or bool(((found == NONE) | (found == SOME)).any()):
            return None
        return int(single[0]) if len(single) else ALL


@dataclass
class Arrivals:
    """All that arrived, by axis; ties follow when everything is known."""

    found: dict[Axis, list[Arrival]] = field(default_factory=dict)

    def add(self, arrival: Arrival) -> None:
        self.found.setdefault(arrival.axis, []).append(arrival)

    def tie(self, links: Links) -> None:
        """Tie channels to the entries that they reach, and those that meet in one entry.

        An index that covers all the entries at which another source tells channels apart is a broadcast
        there (a class token's position, a gate of one channel), and ties nothing.
        """
        for arrivals in self.found.values():
            for arrival in arrivals:
                others = [other for other in arrivals if other is not arrival]
                _tie(arrival, _broadcasts(arrival, others, links), links)
        roots = links.roots()
        for arrivals in self.found.values():
            for arrival in arrivals:
                if arrival.sets is not None and not arrival.may_mix:
                    _tie_together(arrival, roots, links)


def _broadcasts(arrival: Arrival, others: list[Arrival], links: Links) -> set[int]:
    """The source's channels that are broadcasts; ALL if every one is.

    What mixes as many channels as it reaches (attention over channels) is none.
    """
    single = arrival.index[arrival.index >= 0]
    if len(single.unique()) == len(single) and not bool((arrival.index == ALL).any()):
        return set()
    found: set[int] = set()
    for other in others:
        channel = arrival.broadcast(other)
        mixes = channel == ALL and links.sizes[arrival.source] == len(other.index[other.apart].unique())
        if channel is not None and not mixes:
            found.add(channel)
    return found


def _tie(arrival: Arrival, broadcasts: set[int], links: Links) -> None:
    if ALL in broadcasts:
        return
    index, entries = arrival.index, torch.arange(len(arrival.index))
    tied = index >= 0
    for channel in broadcasts:
        tied &= index != channel
    links.tie_each(arrival.source, index[tied], arrival.axis, entries[tied])
    if not arrival.may_mix:
        return
    if bool((index == ALL).any()):
        meeting = entries[index == ALL]
        every = torch.arange(links.sizes[arrival.source])
        links.tie_each(arrival.source, every, arrival.axis, meeting[:1].expand(len(every)))
        links.tie_each(arrival.axis, meeting[:1].expand(len(meeting)), arrival.axis, meeting)
    if arrival.sets is not None:
        channels, at = (arrival.sets & (index == SOME)).nonzero(as_tuple=True)
        links.tie_each(arrival.source, channels, arrival.axis, at)


def _tie_together(arrival: Arrival, roots: Tensor, links: Links) -> None:
    """Tie entries at which several channels meet that are one by now, as a head's in several windows."""
    assert arrival.sets is not None
    start = links.start[arrival.source]
    own = roots[start : start + links.sizes[arrival.source]]
    for entry in (arrival.index == SOME).nonzero().flatten().tolist():
        channels = arrival.sets[:, entry].nonzero().flatten()
        if len(channels) and bool((own[channels] == own[channels[0]]).all()):
            links.tie_each(arrival.source, channels[:1], arrival.axis, torch.tensor([entry]))
