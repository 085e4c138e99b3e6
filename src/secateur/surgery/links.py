"""Which entries of which axes hang together, and the ties that follow from the kinds of layers alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from secateur.surgery.cutting import Axis

AxisAlong = Callable[[str, nn.Module, str, int], Axis | None]
"""(module's name, module, parameter, dimension) -> the axis that it follows."""


class Links:
    """Holds which entries of which axes hang together: ties are gathered, and resolved at once in the end.

    Attributes:
        start: axis -> the number of its first entry among those of all axes.
        sizes: axis -> how many entries it has.
    """

    def __init__(self, axes: Mapping[Axis, int]):
        self.start: dict[Axis, int] = {}
        self.sizes: dict[Axis, int] = {}
        self.total = 0
        self._ties: list[Tensor] = []
        for axis, size in axes.items():
            self.add(axis, size)

    def add(self, axis: Axis, size: int) -> None:
        """Make an axis known; one that is known already stays."""
        if axis not in self.start:
            self.start[axis], self.sizes[axis] = self.total, size
            self.total += size

    def tie_each(self, one: Axis, entries: Tensor, other: Axis, others: Tensor) -> None:
        """Tie entries of one axis to as many of another, each to the one at its place."""
        if len(entries):
            self._ties.append(torch.stack([entries + self.start[one], others + self.start[other]]))

    def tie_all(self, one: Axis, other: Axis, j: int) -> None:
        """Tie every entry of one axis to entry `j` of another."""
        entries = torch.arange(self.sizes[one])
        self.tie_each(one, entries, other, torch.full_like(entries, j))

    def roots(self) -> Tensor:
        """Number what hangs together: for every entry of every axis the smallest entry that it is tied to.

        Labels sink along the ties, and entries that share a label follow where it went, until none moves.
        """
        root = torch.arange(self.total)
        if not self._ties:
            return root
        a, b = torch.cat(self._ties, 1)
        while True:
            low = torch.minimum(root[a], root[b])
            new = root.clone()
            for ends in (a, b, root[a], root[b]):
                new.scatter_reduce_(0, ends, low, "amin")
            new = new[new]
            if torch.equal(new, root):
                return root
            root = new

    def components(self, wanted: Callable[[Axis], bool]) -> list[dict[Axis, list[int]]]:
        """List the entries of every axis that hang together, of all that hold an entry of a wanted axis."""
        root = self.roots()
        labels = [
            root[start : start + self.sizes[axis]] for axis, start in self.start.items() if wanted(axis)
        ]
        keep = torch.zeros(self.total, dtype=torch.bool)
        if labels:
            keep[torch.cat(labels)] = True
        found: dict[int, dict[Axis, list[int]]] = {}
        for axis, start in self.start.items():
            own = root[start : start + self.sizes[axis]]
            at = keep[own].nonzero().flatten()
            for entry, label in zip(at.tolist(), own[at].tolist(), strict=True):
                found.setdefault(label, {}).setdefault(axis, []).append(entry)
        return list(found.values())


def tie_grouped(links: Links, reads: Axis, writes: Axis, groups: int, whole: bool) -> None:
    """Tie what a grouped convolution can only lose at once: whole groups, or one offset of every group."""
    for axis in (reads, writes):
        (tie_rows if whole else tie_offsets)(links, axis, groups)
    if whole:
        firsts = torch.arange(groups)
        each_in, each_out = links.sizes[reads] // groups, links.sizes[writes] // groups
        links.tie_each(reads, firsts * each_in, writes, firsts * each_out)


def tie_rows(links: Links, axis: Axis, groups: int) -> None:
    """Tie the entries of each of the groups that follow each other."""
    each, entries = links.sizes[axis] // groups, torch.arange(links.sizes[axis])
    links.tie_each(axis, entries, axis, entries // each * each)


def tie_offsets(links: Links, axis: Axis, groups: int) -> None:
    """Tie the entries at the same place of each group."""
    each, entries = links.sizes[axis] // groups, torch.arange(links.sizes[axis])
    links.tie_each(axis, entries, axis, entries % each)


def tie_shared(links: Links, model: nn.Module, axis_along: AxisAlong) -> None:
    """Tie the axes of modules that share a parameter or a buffer: they lose the same of its entries."""
    first: dict[tuple[int, int], Axis] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        for own, value in (*module._parameters.items(), *module._buffers.items()):
            for dim in range(value.dim() if value is not None else 0):
                axis = axis_along(name, module, own, dim)
                if axis is None or links.sizes.get(axis) != value.shape[dim]:
                    continue
                owner = first.setdefault((id(value), dim), axis)
                if owner != axis:
                    entries = torch.arange(links.sizes[axis])
                    links.tie_each(axis, entries, owner, entries)
