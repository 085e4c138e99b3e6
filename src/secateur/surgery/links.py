"""Which entries of which axes hang together, and the ties that follow from the kinds of layers alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from secateur.surgery.cutting import (
    CHANNELWISE,
    Axis,
    in_size,
    is_transposed,
    out_size,
    passes_on,
    whole_groups,
)
from secateur.surgery.probe import OUTPUT, Probe


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

    def components(self) -> list[dict[Axis, list[int]]]:
        """List the entries of every axis that hang together, of all that hang together with any other."""
        root = self.roots()
        found: dict[int, dict[Axis, list[int]]] = {}
        for axis, start in self.start.items():
            for entry, label in enumerate(root[start : start + self.sizes[axis]].tolist()):
                found.setdefault(label, {}).setdefault(axis, []).append(entry)
        return list(found.values())


def axes_of(probe: Probe) -> dict[Axis, int]:
    """List the axes of everything that a probe can mark or watch, each with its size."""
    found: dict[Axis, int] = {OUTPUT: 1}
    for name in probe.order:
        found[name, "out"] = out_size(probe.mixers[name])
        found[name, "in"] = in_size(probe.mixers[name])
    found |= {(name, "out"): out_size(module) for name, module in probe.channelwise.items()}
    for axis, value in probe.parameters().items():
        found[axis] = value.shape[int(axis[1].partition("@")[2])]
    return found


def tie_grouped(probe: Probe, links: Links) -> None:
    """Tie what a grouped layer can only lose at once: the same offset of every group, or whole groups."""
    for name in probe.order:
        layer = probe.mixers[name]
        if isinstance(layer, _ConvNd) and layer.groups > 1:
            if passes_on(layer):
                _tie_rows(links, (name, "in"), layer.groups)
                _tie_rows(links, (name, "out"), layer.groups)
                firsts = torch.arange(layer.groups)
                each_in, each_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
                links.tie_each((name, "in"), firsts * each_in, (name, "out"), firsts * each_out)
            else:
                _tie_offsets(links, (name, "in"), layer.groups)
                _tie_offsets(links, (name, "out"), layer.groups)
    for name, module in probe.channelwise.items():
        if isinstance(module, nn.GroupNorm) and module.num_groups > 1:
            tie = _tie_rows if whole_groups(module) else _tie_offsets
            tie(links, (name, "out"), module.num_groups)
    for name in probe.computed:
        kinds = [kind for kind in ("in", "out") if (name, kind) in links.start]
        for kind in kinds:
            links.tie_all((name, kind), (name, kinds[0]), 0)
    _tie_shared(probe, links)


def _tie_rows(links: Links, axis: Axis, groups: int) -> None:
    each, entries = links.sizes[axis] // groups, torch.arange(links.sizes[axis])
    links.tie_each(axis, entries, axis, entries // each * each)


def _tie_offsets(links: Links, axis: Axis, groups: int) -> None:
    each, entries = links.sizes[axis] // groups, torch.arange(links.sizes[axis])
    links.tie_each(axis, entries, axis, entries % each)


def _tie_shared(probe: Probe, links: Links) -> None:
    """Tie the axes of modules that share a parameter or a buffer: they lose the same of its entries."""
    first: dict[tuple[int, int], Axis] = {}
    for name, module in probe.model.named_modules(remove_duplicate=False):
        for own, value in (*module._parameters.items(), *module._buffers.items()):
            for dim in range(value.dim() if value is not None else 0):
                axis = _axis_along(name, module, own, dim)
                if axis not in links.start or links.sizes[axis] != value.shape[dim]:
                    continue
                owner = first.setdefault((id(value), dim), axis)
                if owner != axis:
                    entries = torch.arange(links.sizes[axis])
                    links.tie_each(axis, entries, owner, entries)


def _axis_along(name: str, module: nn.Module, own: str, dim: int) -> Axis:
    """Find the axis that a dimension of a module's parameter or buffer follows."""
    if isinstance(module, (_ConvNd, nn.Linear)) and own in ("weight", "bias"):
        writes = dim == 0 if own == "bias" or not is_transposed(module) else dim == 1
        return (name, "out" if writes else "in")
    return (name, "out" if isinstance(module, CHANNELWISE) else f"{own}@{dim}")
