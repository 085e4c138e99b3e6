"""Following sources to where they arrive: all at once where that is clear, and apart where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from secateur.surgery.actions import Marks
from secateur.surgery.arrivals import ALL, NONE, SOME, Arrival
from secateur.surgery.cutting import Axis

_PARTS = (2, 3, 4, 8, 16)
_FEW = 16  # of so few channels half a run may look like another by chance


def codes(size: int) -> Tensor:
    """Write the bits of 0..size-1, then their complements: (2 * bits, size), boolean."""
    bits = max(1, (size - 1).bit_length())
    ones = (torch.arange(size)[None] >> torch.arange(bits)[:, None] & 1).bool()
    return torch.cat([ones, ~ones])


def decode(seen: Tensor) -> Tensor:
    """Read the one index that arrived, -1 where none, -2 several: (2 * bits, entries) -> (entries,)."""
    bits = len(seen) // 2
    ones, zeros = seen[:bits], seen[bits:]
    index = (ones.long() << torch.arange(bits)[:, None]).sum(0)
    index[(ones & zeros).any(0)] = ALL
    index[~seen.any(0)] = NONE
    return index


class Follower:
    """Follows sources by runs in which their channels are marked.

    Sources that arrive at no common axis share examples and runs: which may arrive where is known beforehand,
    by what was computed from what.
    """

    def __init__(
        self,
        sources: Mapping[Axis, int],
        readers: Mapping[Axis, int],
        sizes: Mapping[Axis, int],
        run: Callable[[Marks], Marks],
        mixing: Callable[[Axis], bool],
        few: bool = False,
    ):
        """Args:
        sources: axis -> the bit that stands for it.
        readers: axis -> the bits of those that may arrive.
        sizes: of the sources.
        run: marks -> what was seen, for as many examples.
        mixing: whether the channels of a source that meet hang together.
        few: whether examples are dear: then a random half and the other are tried first, as most sources
            arrive in order, or all over.
        """
        self.sources, self.readers, self.sizes, self.run, self.mixing = sources, readers, sizes, run, mixing
        self.few = few
        self.hits: dict[Axis, dict[Axis, Tensor]] = {}  # reader -> source -> (entries,)
        self.found: dict[tuple[Axis, Axis], Arrival] = {}

    def follow(self) -> list[Arrival]:
        """Find what every source's channels do at every axis that they arrive at."""
        if not self.sources:
            return []
        self._reach()
        left = set(self.sources)
        if self.few:
            for group in self._coloured(left):
                left -= self._halved(group)
        else:
            for group in self._shared_runs(left):
                left -= self._clear(group)
        for group in self._coloured(left):
            self._each(group)
        return list(self.found.values())

    # ---- who arrives where at all ----

    def _reach(self) -> None:
        colour = self._colours(self.sources)
        count = max(colour.values()) + 1
        marks = {}
        for source in self.sources:
            marks[source] = torch.zeros(count, self.sizes[source], dtype=torch.bool)
            marks[source][colour[source]] = True
        seen = self.run(marks)
        for axis, bits in self.readers.items():
            if axis not in seen:
                continue
            for source, bit in self.sources.items():
                if bits & bit and bool((hit := seen[axis][colour[source]]).any()):
                    self.hits.setdefault(axis, {})[source] = hit

    def _colours(self, sources: Iterable[Axis], readers: Mapping[Axis, int] | None = None) -> dict[Axis, int]:
        """Number sources such that those that may arrive at a common axis have different numbers."""
        masks = set((readers or self.readers).values())
        chosen: dict[Axis, int] = {}
        taken: dict[int, list[int]] = {mask: [] for mask in masks}
        for source in sources:
            bit = self.sources[source]
            beside = [numbers for mask, numbers in taken.items() if mask & bit]
            forbidden = set().union(*beside)
            number = next(n for n in range(len(forbidden) + 1) if n not in forbidden)
            chosen[source] = number
            for numbers in beside:
                numbers.append(number)
        return chosen

    def _coloured(self, sources: set[Axis]) -> list[list[Axis]]:
        """Divide sources into those that really arrive at no common axis."""
        met = {axis: sum(self.sources[source] for source in by) for axis, by in self.hits.items()}
        colour = self._colours([source for source in self.sources if source in sources], met)
        groups: dict[int, list[Axis]] = {}
        for source, number in colour.items():
            groups.setdefault(number, []).append(source)
        return list(groups.values())

    def _shared_runs(self, left: set[Axis]) -> Iterable[list[Axis]]:
        """All sources at once; then, of those that are left, those of one size."""
        yield list(self.sources)
        sizes = sorted({self.sizes[source] for source in left})
        for size in sizes if len(sizes) > 1 else []:
            if group := [source for source in self.sources if source in left and self.sizes[source] == size]:
                yield group

    # ---- by codes ----

    def _coded(self, group: Iterable[Axis], part: Callable[[int], Tensor] | None = None) -> Marks:
        group = list(group)
        code = codes(max(self.sizes[source] for source in group))
        marks = {source: code[:, : self.sizes[source]] for source in group}
        if part:
            marks = {source: mark & part(mark.shape[1]) for source, mark in marks.items()}
        return self.run(marks)

    def _clear(self, group: list[Axis]) -> set[Axis]:
        """Run a group at once, and keep what can be told of it: which of it is clear everywhere."""
        index = {axis: decode(seen) for axis, seen in self._coded(group).items() if axis in self.hits}
        clear = set()
        for source in group:
            reached = [(axis, by[source]) for axis, by in self.hits.items() if source in by]
            if all(
                bool(((index[axis] >= 0) & (index[axis] < self.sizes[source]))[hit].all())
                for axis, hit in reached
            ):
                clear.add(source)
                for axis, hit in reached:
                    self._keep(source, axis, index[axis].where(hit, torch.tensor(NONE)))
        return clear

    def _halved(self, group: list[Axis]) -> set[Axis]:
        """Mark one half of the channels, then the other: which sources are clear by that everywhere."""
        generator = torch.Generator().manual_seed(0)
        half = {source: torch.rand(self.sizes[source], generator=generator) < 0.5 for source in group}
        seen = self.run({source: torch.stack([mark, ~mark]) for source, mark in half.items()})
        clear = set()
        for source in group:
            found: dict[Axis, Tensor] = {}
            for axis, hit in ((axis, by[source]) for axis, by in self.hits.items() if source in by):
                one, other = seen[axis]
                times = len(hit) // max(1, len(half[source]))
                expected = half[source].repeat(times)
                in_order = len(expected) == len(hit) > _FEW and torch.equal(one, expected)
                if in_order and torch.equal(other, ~expected):
                    found[axis] = torch.arange(len(half[source])).repeat(times)
                elif torch.equal(one, hit) and torch.equal(other, hit):
                    found[axis] = torch.full((len(hit),), NONE).masked_fill(hit, ALL)
                else:
                    break
            else:
                clear.add(source)
                for axis, index in found.items():
                    self._keep(source, axis, index)
        return clear

    def _keep(self, source: Axis, axis: Axis, index: Tensor, sets: Tensor | None = None) -> None:
        self.found[source, axis] = Arrival(source, axis, index, sets, self.mixing(source))

    def _each(self, group: list[Axis]) -> None:
        """Follow sources of disjoint reach. Channels that meet in an entry hang together; often all do."""
        seen = self._coded(group)
        some: dict[Axis, list[tuple[Axis, Tensor]]] = {}
        for axis, by in self.hits.items():
            index = decode(seen[axis])
            index[(index == ALL) & ~seen[axis].all(0)] = SOME
            for source in by:
                if source not in group:
                    continue
                whole = codes(self.sizes[source])
                own = seen[axis][self._bits(len(seen[axis]), len(whole))]
                found = decode(own)
                found[(found == ALL) & ~own.all(0)] = SOME
                self._keep(source, axis, found)
                if self.mixing(source) and bool((found == SOME).any()):
                    some.setdefault(source, []).append((axis, found))
        if some:
            self._by_parts(some)

    @staticmethod
    def _bits(rows: int, own: int) -> list[int]:
        """The rows of longer codes that are those of a source with fewer channels."""
        half, few = rows // 2, own // 2
        return [*range(few), *range(half, half + few)]

    def _by_parts(self, some: dict[Axis, list[tuple[Axis, Tensor]]]) -> None:
        """Tell the several channels that meet in an entry (halves of a gated unit), a part at a time."""
        for count in _PARTS:
            for divided in (_blocks, _residues):
                left = {s: v for s, v in some.items() if count * len(codes(self.sizes[s])) < self.sizes[s]}
                runs: list[Marks] = []
                for i in range(count):
                    if not left:
                        break
                    runs.append(self._coded(left, _part(divided, count, i)))
                    left = {
                        source: places
                        for source, places in left.items()
                        if all(self._single(source, axis, index, runs[-1]) for axis, index in places)
                    }
                for source, places in left.items():
                    for axis, index in places:
                        self._tell(source, axis, index, runs)
                    del some[source]
                some = dict(some)
        if some:
            most = max(self.sizes[source] for source in some)
            eye = torch.eye(most, dtype=torch.bool)
            seen = self.run({source: eye[:, : self.sizes[source]] for source in some})
            for source, places in some.items():
                for axis, index in places:
                    self._keep(source, axis, index, seen[axis][: self.sizes[source]])

    def _decoded(self, source: Axis, seen: Tensor) -> Tensor:
        return decode(seen[self._bits(len(seen), len(codes(self.sizes[source])))])

    def _single(self, source: Axis, axis: Axis, index: Tensor, run: Marks) -> bool:
        """Whether at most one channel of a part arrives wherever several do."""
        return not bool((self._decoded(source, run[axis]) < NONE)[index == SOME].any())

    def _tell(self, source: Axis, axis: Axis, index: Tensor, runs: list[Marks]) -> None:
        sets = torch.zeros(self.sizes[source], len(index), dtype=torch.bool)
        for run in runs:
            found = self._decoded(source, run[axis])
            at = (found >= 0).nonzero().flatten()
            sets[found[at], at] = True
        self._keep(source, axis, index, sets)


def _part(divided: Callable[[int, int], Tensor], count: int, number: int) -> Callable[[int], Tensor]:
    return lambda size: divided(size, count) == number


def _blocks(size: int, count: int) -> Tensor:
    return torch.arange(size) * count // size


def _residues(size: int, count: int) -> Tensor:
    return torch.arange(size) % count
